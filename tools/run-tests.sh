#!/bin/sh
# run-tests.sh: builds heaptap with warnings as errors and runs all its tests. The last line counts them.
#
#     tools/run-tests.sh [BUILD_DIRECTORY [MESON_OPTION...]]
#
# CC and CXX choose the compiler, as always with meson.
set -eu

cd "$(dirname "$0")/.."
. tools/packages.sh
trap '[ $? -eq 0 ] || echo "0 passed, 1 failed"' EXIT # until the tests themselves are counted
# shellcheck disable=SC2086
need_packages $build_packages $test_packages
need_python_tests
need_go

build=${1:-build-tests}
[ $# -eq 0 ] || shift
mkdir -p "$build"

echo "building heaptap in $build"
if [ -f "$build/build.ninja" ]; then
    quietly "$build/run-tests.log" meson configure "$build" --werror "$@"
else
    quietly "$build/run-tests.log" meson setup "$build" --werror "$@"
fi
quietly "$build/run-tests.log" meson compile -C "$build"

# Debian's redis-server is redis-check-rdb by another name; the package of that name would start a service.
if ! command -v redis-server >/dev/null && [ -x /usr/bin/redis-check-rdb ]; then
    mkdir -p "$build/bin"
    ln -sf /usr/bin/redis-check-rdb "$build/bin/redis-server"
    PATH="$PWD/$build/bin:$PATH"
    export PATH
fi

echo "running the tests"
rm -f "$build/meson-logs/testlog.json"
meson test -C "$build" --no-rebuild >"$build/run-tests.log" 2>&1 </dev/null || true
trap - EXIT
python3 tests/count.py "$build/meson-logs/testlog.json"
