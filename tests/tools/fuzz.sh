#!/usr/bin/env bash
# Runs the libFuzzer targets tests/fuzz/fuzz_NAME.c, T seconds each (make fuzz T=60).
#
#   BUILD=build/fuzz T=60 tests/tools/fuzz.sh [NAME...]
#
# Needs clang.  Each begins from tests/fuzz/corpus/NAME and leaves what it found in $BUILD/found/NAME; an input that
# fails is in $BUILD/crash-NAME-*.  To keep new inputs: MERGE=1 copies those that reach new code into the
# corpus, which a test in `make check` runs again.
set -eu

build=${BUILD:-build/fuzz} seconds=${T:-60}
flags="-g -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all"
names=${*:-$(ls tests/fuzz/fuzz_*.c | sed 's,.*/fuzz_,,; s,\.c$,,')}

command -v clang >/dev/null || { echo "fuzz: no clang here"; exit 1; }
"${MAKE:-make}" --no-print-directory MODE=asan CC=clang BUILD="$build" OUT="$build" CFLAGS=-fsanitize=fuzzer-no-link \
    "$build/libtlvision.a"

status=0
for name in $names; do
    prog=$build/fuzz_$name corpus=tests/fuzz/corpus/$name found=$build/found/$name
    # shellcheck disable=SC2086  # flags are several words
    clang -std=c11 -I. $flags -fsanitize=fuzzer "tests/fuzz/fuzz_$name.c" tests/fuzz_inputs.c \
        "$build/libtlvision.a" -lm -pthread -o "$prog"
    mkdir -p "$found" "$corpus"
    "$prog" -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="$build/crash-$name-" "$found" "$corpus" 2>&1 | tail -n 12 || status=1
    [ "${PIPESTATUS[0]}" -eq 0 ] || status=1
    if [ "${MERGE:-0}" = 1 ]; then "$prog" -merge=1 -max_len=512 "$corpus" "$found" 2>&1 | tail -n 3; fi
done
[ $status -eq 0 ] && echo "fuzz: nothing found" || echo "fuzz: FAILED, see $build/crash-*"
exit $status
