#!/usr/bin/env bash
# Runs the libFuzzer targets tests/fuzz/fuzz_NAME.c, T seconds each (make fuzz T=60).
#
#   BUILD=build/fuzz T=60 tests/tools/fuzz.sh [NAME...]
#
# An input may take SLOWEST seconds (default 1) and have MAX_LEN bytes (default 4096).  Needs clang.  Each begins
# from tests/fuzz/corpus/NAME and leaves what it found in $BUILD/found/NAME; an input that fails is in
# $BUILD/crash-NAME-*.  To keep new inputs: MERGE=1 copies those that reach new code into the corpus, which a test
# in `make check` runs again.  Ends with "N passed, N failed, N skipped".
set -eu

build=${BUILD:-build/fuzz} seconds=${T:-60}
flags="-g -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all"
names=${*:-$(ls tests/fuzz/fuzz_*.c | sed 's,.*/fuzz_,,; s,\.c$,,')}

command -v clang >/dev/null || { echo "fuzz: no clang here"; exit 1; }
# Kernels get their sizes from the code above them, and clang takes minutes to sanitize them: MODE=asan tests them.
"${MAKE:-make}" --no-print-directory MODE=asan CC=clang BUILD="$build" OUT="$build" CFLAGS=-fsanitize=fuzzer-no-link \
    KERNEL_CFLAGS=-fno-sanitize=all "$build/libtlvision.a"

passed=0 failed=0
for name in $names; do
    prog=$build/fuzz_$name corpus=tests/fuzz/corpus/$name found=$build/found/$name
    # shellcheck disable=SC2086  # flags are several words
    clang -std=c11 -D_XOPEN_SOURCE=700 -I. $flags -fsanitize=fuzzer "tests/fuzz/fuzz_$name.c" tests/fuzz_*.c tests/test.c \
        "$build/libtlvision.a" -lm -pthread -o "$prog"
    mkdir -p "$found" "$corpus"
    if "$prog" -max_total_time="$seconds" -max_len="${MAX_LEN:-4096}" -timeout="${SLOWEST:-1}" -rss_limit_mb=1024 \
        -print_final_stats=1 -artifact_prefix="$build/crash-$name-" "$found" "$corpus" >"$build/$name.log" 2>&1; then
        passed=$((passed + 1))
        echo "$name: $(sed -nE 's/.*number_of_executed_units: */runs /p' "$build/$name.log"), $(grep -aoE \
            'cov: [0-9]+ ft: [0-9]+ corp: [0-9]+/[^ ]+' "$build/$name.log" | tail -n 1)"
    else
        failed=$((failed + 1))
        echo "FAILED $name: see $build/$name.log and $build/crash-$name-*"
        tail -n 25 "$build/$name.log"
    fi
    if [ "${MERGE:-0}" = 1 ]; then "$prog" -merge=1 -max_len=512 "$corpus" "$found" 2>&1 | tail -n 3; fi
done
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
