#!/bin/sh
# quickstart.sh: builds heaptap, profiles sqlite3 while it builds a database with an index, and shows which code
# held and which code churned the heap. Everything it writes is in build/.
set -eu

cd "$(dirname "$0")/.."
. tools/packages.sh
# shellcheck disable=SC2086
need_packages $build_packages $view_packages
need_go

echo "building heaptap"
mkdir -p build
[ -f build/build.ninja ] || quietly build/quickstart.log meson setup build
quietly build/quickstart.log meson compile -C build \
    profiler/heaptap:shared_library tools/heaptap:executable

directory=build/quickstart
rm -rf "$directory"
mkdir -p "$directory"

# Debian strips libsqlite3.so of its names. The archive of libsqlite3-dev has them: the same code, loaded in its
# place, gives a profile that can be read.
archive=$(gcc -print-file-name=libsqlite3.a)
gcc -shared -o "$directory/libsqlite3.so.0" -Wl,-soname,libsqlite3.so.0 -Wl,-Bsymbolic \
    -Wl,--whole-archive "$archive" -Wl,--no-whole-archive -lm -lpthread 2>"$directory/library.log" ||
    echo "(sqlite3 without names: see $directory/library.log)"

cat >"$directory/database.sql" <<'END'
CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT, mail TEXT);
WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 400000)
    INSERT INTO person SELECT n, hex(randomblob(12)), hex(randomblob(8)) || '@example.org' FROM number;
CREATE INDEX person_by_name ON person (name);
SELECT count(*) || ' rows, first ' || min(name) FROM person;
END

# A profile every 100 ms and one at the end: sqlite3 gives everything back before it exits.
echo
echo "$ heaptap run --every 100ms -- sqlite3 :memory: < database.sql"
LD_LIBRARY_PATH=$directory build/tools/heaptap run --every 100ms --output "$directory/heaptap.%e.%p.%n.pb.gz" -- \
    sqlite3 :memory: <"$directory/database.sql" 2>"$directory/heaptap.log" || {
    cat "$directory/heaptap.log" >&2
    fail "sqlite3 failed"
}
sed "s|$directory/||" "$directory/heaptap.log"

# "heaptap: wrote FILE: 1.2 MiB in use, ..."
richest=$(awk '/^heaptap: wrote / {
    split("B KiB MiB GiB", unit)
    factor = 1
    for (i = 1; i <= 4 && unit[i] != $5; i++)
        factor *= 1024
    if ($4 * factor >= most) { most = $4 * factor; file = $3 }
} END { sub(/:$/, "", file); print file }' "$directory/heaptap.log")
last=$(awk '/^heaptap: wrote / { file = $3 } END { sub(/:$/, "", file); print file }' \
    "$directory/heaptap.log")
[ -f "$richest" ] && [ -f "$last" ] || fail "no profile was written: see $directory/heaptap.log"

export PPROF_TMPDIR="$directory"
echo
echo "Who held the heap when it was largest:"
echo "$ go tool pprof -top -sample_index=inuse_space $richest"
go tool pprof -top -nodecount=20 -sample_index=inuse_space "$richest"
echo
echo "Who allocated, from start to end:"
echo "$ go tool pprof -top -sample_index=alloc_space $last"
go tool pprof -top -nodecount=20 -sample_index=alloc_space "$last"

go tool pprof -svg -output "$directory/heaptap.svg" "$richest" >/dev/null 2>"$directory/svg.log" || {
    cat "$directory/svg.log" >&2
    fail "the call graph was not written"
}
echo
echo "The call graph is in $directory/heaptap.svg"
echo "The flame chart opens in the browser with:"
echo
echo "    go tool pprof -http=: $richest"
