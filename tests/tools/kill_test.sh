#!/usr/bin/env bash
# Kills tlv-finetune with SIGKILL at random moments; each run must go on and end as one never stopped.
#
#   TLV_BIN=build/bin TLV_TMP=build/tmp tests/tools/kill_test.sh [KILLS [SEED]]        (50 kills, seed 1)
#
# Two runs by turns: from nothing on drawn shapes (AdamW, statistics of batches), and LP-FT on a folder of small
# images (features, probe, SGD).  Each is killed after a random part of the time that the whole run takes; half of
# the resumed runs are killed again.  After each kill the checkpoint must load, and in the end best accuracy,
# last.safetensors, best.safetensors and the table of epochs must be those of the whole run.  A kill before there
# is a checkpoint leaves nothing to resume, which --resume must say; such kills are counted as skipped.
set -u

bin=${TLV_BIN:-build/bin} kills=${1:-50} seed=${2:-1}
tmp=$(mktemp -d "${TLV_TMP:-${TMPDIR:-/tmp}}/kill-XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT
RANDOM=$seed

passed=0 failed=0 skipped=0 twice=0
log=$tmp/log

# Runs finetune; what it said is in $log.
finetune() {
    # shellcheck disable=SC2086  # RUN may hold several words or none
    ${RUN:-} "$bin/tlv-finetune" "$@" --threads 1 >"$log" 2>&1 </dev/null
}

# The same, killed after $1 seconds.  Says 0 if it was killed, 1 if it had ended before.
killed() {
    local delay=$1 pid
    shift
    # shellcheck disable=SC2086
    ${RUN:-} "$bin/tlv-finetune" "$@" --threads 1 >"$log" 2>&1 </dev/null &
    pid=$!
    sleep "$delay"
    kill -KILL "$pid" 2>/dev/null
    wait "$pid" 2>/dev/null
    [ $? -eq 137 ]
}

# 24x20 pixels about the colour $2 $3 $4 with a pattern that $5 shifts, to the file $1.
draw() {
    awk -v r="$2" -v g="$3" -v b="$4" -v s="$5" 'BEGIN {
        print "P3 24 20 255"
        for (y = 0; y < 20; y++) for (x = 0; x < 24; x++) {
            d = (x * 7 + y * 5 + s * 11) % 47 - 23
            print r + d, g + d, b - d
        }
    }' >"$1"
}

make_folder() {
    local i
    mkdir -p "$1/train/a" "$1/train/b" "$1/val/a" "$1/val/b"
    for ((i = 0; i < 8; i++)); do
        draw "$1/train/a/$i.ppm" $((100 + 3 * i)) 110 120 "$i"
        draw "$1/train/b/$i.ppm" 120 $((100 + 3 * i)) 110 "$i"
        draw "$1/val/a/$i.ppm" 110 $((95 + 2 * i)) 115 $((i + 20))
        draw "$1/val/b/$i.ppm" $((95 + 2 * i)) 110 115 $((i + 20))
    done
}

value() { sed -nE "s/^  \"$2\": (.*[^,]),?\$/\1/p" "$1"; }
results() {
    value "$1.json" best_accuracy && cut -d, -f1-5 "$1/log.csv" &&
        cksum <"$1/last.safetensors" && cksum <"$1/best.safetensors"
}
# A random part of the time that a run takes, in $delay; a subshell would draw from a seed of its own.
draw_delay() {
    local r=$RANDOM
    delay=$(awk -v r="$r" -v t="${seconds[$kind]}" 'BEGIN { printf "%.3f", t * r / 32768 }')
}

says() { echo "kill $n ($kind, after ${at:-?} s): $*" >&2; }

# One kill of the run $kind; says 0: as it should be, 1: not, 2: there was nothing to resume.
one() {
    local dir=$tmp/run again tries=0
    again=$((RANDOM % 2))
    while :; do                                         # a run that had ended was not killed: once more
        rm -rf "$dir" "$dir.json"
        draw_delay
        at=$delay
        # shellcheck disable=SC2086  # several words
        killed "$at" ${options[$kind]} --out "$dir" && break
        tries=$((tries + 1))
        [ $tries -lt 20 ] || { says "never killed: $(tail -n 2 "$log")"; return 1; }
    done
    if [ ! -e "$dir/last.ckpt" ]; then
        finetune --resume "$dir"
        [ $? -eq 1 ] && grep -q '^error: ' "$log" && return 2
        says "a run without a checkpoint was resumed" && return 1
    fi
    "$bin/tlv-inspect" "$dir/last.ckpt" >"$log" 2>&1 || { says "$(cat "$log")"; return 1; }
    if [ $again -eq 1 ]; then
        draw_delay
        at="$at and $delay"
        killed "$delay" --resume "$dir" && twice=$((twice + 1))
        "$bin/tlv-inspect" "$dir/last.ckpt" >"$log" 2>&1 || { says "$(cat "$log")"; return 1; }
    fi
    finetune --resume "$dir" --json "$dir.json" || { says "$(tail -n 2 "$log")"; return 1; }
    [ "$(results "$dir")" = "${whole[$kind]}" ] && return 0
    says "ends otherwise: $(results "$dir" | diff - <(echo "${whole[$kind]}") | head -n 6)"
    return 1
}

declare -A options seconds whole
finetune shapes:1 --arch resnet20 --epochs 1 --val shapes:1 --out "$tmp/base" || { cat "$log"; exit 1; }
make_folder "$tmp/images"
options[shapes]="shapes:2 --arch resnet20 --epochs 5 --batch 10 --optim adamw --augment crop,flip
                 --val shapes:1 --seed 3"
options[folder]="$tmp/images --weights $tmp/base/best.safetensors --epochs 4 --batch 8 --lr 0.01"
for kind in shapes folder; do
    begin=$(date +%s.%N)
    # shellcheck disable=SC2086
    finetune ${options[$kind]} --out "$tmp/whole-$kind" --json "$tmp/whole-$kind.json" || { cat "$log"; exit 1; }
    seconds[$kind]=$(awk -v a="$begin" -v b="$(date +%s.%N)" 'BEGIN { print b - a }')
    whole[$kind]=$(results "$tmp/whole-$kind")
done

for ((n = 1; n <= kills; n++)); do
    kind=shapes
    [ $((n % 2)) -eq 0 ] && kind=folder
    one
    case $? in
        0) passed=$((passed + 1)) ;;
        2) skipped=$((skipped + 1)) ;;
        *) failed=$((failed + 1)) ;;
    esac
done
echo "$kills runs killed, $twice of them twice; $skipped before there was a checkpoint"
echo "kill_test: $passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
