# packages.sh: what the scripts beside it need, and how it is installed. To be sourced.
#
# Nothing is installed, and nobody is asked for a password, when all is there already. No service is started or
# enabled: of redis only the programs are wanted, and they are all in redis-tools.

build_packages="gcc libc6-dev meson ninja-build pkg-config libunwind-dev libunwind8
    protobuf-compiler protobuf-c-compiler libprotobuf-c-dev zlib1g-dev libiberty-dev libdw-dev"
view_packages="binutils graphviz sqlite3 libsqlite3-dev"
test_packages="g++ clang lld python3 redis-tools sqlite3 graphviz binutils xz-utils jq valgrind stress-ng gdb git
    libjemalloc-dev libmimalloc-dev libgoogle-perftools-dev libdebuginfod1 gfortran rustc dwz"
format_packages="clang-format"

fail() {
    echo "$0: $*" >&2
    exit 1
}

# quietly LOG COMMAND...: the output goes to LOG and is shown when the command fails.
quietly() {
    quietly_log=$1
    shift
    if ! "$@" >"$quietly_log" 2>&1 </dev/null; then
        tail -n 60 "$quietly_log" >&2
        fail "failed: $* (all of it in $quietly_log)"
    fi
}

missing_packages() {
    for package in "$@"; do
        status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
        [ "$status" = installed ] || printf '%s ' "$package"
    done
}

# need_packages PACKAGE...: installs those that are missing. Waits up to five minutes for another apt.
need_packages() {
    if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
        echo "$0: this is neither Debian nor Ubuntu; these must be there in some form:" "$@" >&2
        return 0
    fi
    missing=$(missing_packages "$@")
    [ -n "$missing" ] || return 0

    as_root=
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null ||
            fail "to be installed, as root: apt-get install $missing"
        as_root=sudo
        [ -t 0 ] || as_root="sudo -n"
        $as_root true || fail "to be installed, as root: apt-get install $missing"
    fi
    echo "installing $missing"
    apt_log=$(mktemp)
    apt="$as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300"
    quietly "$apt_log" $apt update
    # shellcheck disable=SC2086
    quietly "$apt_log" $apt install --no-install-recommends $missing
    rm -f "$apt_log"
}

# What clang's sanitizers need lies in a package with its version in the name.
need_clang_sanitizers() {
    need_packages clang
    [ -e "$(clang -print-runtime-dir)/libclang_rt.asan-x86_64.a" ] ||
        need_packages "libclang-rt-$(clang -dumpversion | cut -d. -f1)-dev"
}

# python3's own tests, which are packaged for each version of it, if they are: without them a test is skipped.
need_python_tests() {
    [ -x /usr/bin/python3 ] || return 0
    python_tests="lib$(/usr/bin/python3 -c 'import sys; print("python%d.%d" % sys.version_info[:2])')-testsuite"
    ! apt-cache show "$python_tests" >/dev/null 2>&1 || need_packages "$python_tests"
}

# go is taken as it is on the PATH; Debian's is installed only when there is none.
need_go() {
    command -v go >/dev/null || need_packages golang-go
    export GOTOOLCHAIN=local
}
