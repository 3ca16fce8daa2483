#!/usr/bin/env bash
# Runs test programs and sums up what they say.
#
#   tests/run.sh PROGRAM...
#
#   RUN             put before each program: an emulator, valgrind
#   TEST_FILTER     given to each program: only the tests whose name contains it
#   TEST_TIMEOUT    seconds a program may take (default 300)
#   TEST_JOBS       programs at a time (default: one for every two CPUs, at least one)
#
# A program that crashes, hangs or ends without its line of counts is one more failed test.  The last line,
# alone on its line, is "N passed, N failed, N skipped"; the exit status is 0 when nothing failed and at
# least one test passed.
set -u

limit=${TEST_TIMEOUT:-300}
jobs=${TEST_JOBS:-$(($(nproc 2>/dev/null || echo 2) / 2))}
[ "$jobs" -ge 1 ] || jobs=1
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT

# Program number $1: what it prints and its status go to files, to be read in order.
run_one() {
    exec >"$tmp/$1.out" 2>&1
    # shellcheck disable=SC2086  # RUN and TEST_FILTER may hold several words or none
    case $2 in
    *.sh) timeout -k 5 "$limit" "$2" ${TEST_FILTER:-} ;;    # puts RUN before programs itself
    *)    timeout -k 5 "$limit" ${RUN:-} "$2" ${TEST_FILTER:-} ;;
    esac
    echo $? >"$tmp/$1.status"
}

passed=0 failed=0 skipped=0

# Adds up program number $1, whose path is $2.
sum_one() {
    local status p=0 f=0 s=0 line
    status=$(cat "$tmp/$1.status")
    line=$(sed -nE 's/^[^ ]+: ([0-9]+) passed, ([0-9]+) failed, ([0-9]+) skipped$/\1 \2 \3/p' \
           "$tmp/$1.out" | tail -n 1)
    [ -z "$line" ] || read -r p f s <<<"$line"
    if [ -n "${TEST_FILTER:-}" ] && [ "$line" = "0 0 0" ]; then
        return                                      # the filter names no test of this program
    fi
    cat "$tmp/$1.out"

    # Ended by a signal, a sanitizer, the time limit: not by itself with a count that explains its status.
    if [ -z "$line" ] || { [ "$status" -ne 0 ] && [ "$f" -eq 0 ]; }; then
        f=$((f + 1))
        case $status in
        124 | 137) echo "FAILED $2: stopped after $limit seconds" ;;
        *)         echo "FAILED $2: ended with status $status" ;;
        esac
    fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
}

i=0
for prog in "$@"; do
    while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n; done
    i=$((i + 1))
    run_one "$i" "$prog" &
done
wait

i=0
for prog in "$@"; do
    i=$((i + 1))
    sum_one "$i" "$prog"
done

[ "$#" -gt 0 ] || echo "run.sh: no test programs given"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
