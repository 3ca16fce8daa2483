#!/usr/bin/env bash
# The programs, end to end: help, wrong usage, failures, JSON, run folders, Ctrl-C, published numbers.
#
#   TLV_BIN=build/bin TLV_TMP=build/tmp tests/test_programs.sh [FILTER]
#
# Run by `make test` (tests/run.sh counts the last line).  RUN stands before each program: an emulator.
set -u

bin=${TLV_BIN:-build/bin}
data=${TLV_DATA:-../shared/data}
tmp=${TLV_TMP:-build/tmp}/programs-$$
filter=${1:-}
mkdir -p "$tmp" || exit 1
trap 'rm -rf "$tmp"' EXIT

passed=0 failed=0 skipped=0
name= bad= skip=

# ---- the harness ---------------------------------------------------------------------------------------

fails() { bad=1; echo "$name: $*" >&2; }
fails_with_err() { fails "$what: $1"; head -n 5 "$tmp/err" >&2; }

# Runs a program: what it prints is in $tmp/out and $tmp/err, its status in $status.
run() {
    what="$*"
    local prog=$1
    shift
    # shellcheck disable=SC2086  # RUN may hold several words or none
    ${RUN:-} "$bin/tlv-$prog" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
    status=$?
}

status_is() { [ "$status" -eq "$1" ] || fails_with_err "status $status, want $1"; }
out_has() { grep -qE -- "$1" "$tmp/out" || fails "$what: standard output has no /$1/"; }
err_has() { grep -qE -- "$1" "$tmp/err" || fails_with_err "standard error has no /$1/"; }
out_is_empty() { [ ! -s "$tmp/out" ] || fails "$what: wrote to standard output"; }
err_is_empty() { [ ! -s "$tmp/err" ] || fails_with_err "wrote to standard error"; }

# One error line, one hint line, nothing else.
err_is_two_lines() {
    [ "$(wc -l <"$tmp/err")" -eq 2 ] && sed -n 1p "$tmp/err" | grep -q '^error: ..' &&
        sed -n 2p "$tmp/err" | grep -q '^hint: ..' || fails_with_err "not one error: and one hint:"
}

# The value of a key of a flat JSON object in file $1.
json() { sed -nE "s/^  \"$2\": (.*[^,]),?\$/\1/p" "$1"; }
json_is() {
    local got
    got=$(json "$1" "$2")
    [ "$got" = "$3" ] || fails "$what: JSON has $2: '$got', want '$3'"
}

# Runs the test of that name; one that is to be skipped says why in $skip.
check() {
    case $1 in *"$filter"*) ;; *) return ;; esac
    name=$1 bad= skip=
    "$1"
    if [ -n "$bad" ]; then
        failed=$((failed + 1))
        echo "FAILED $1"
    elif [ -n "$skip" ]; then
        skipped=$((skipped + 1))
        echo "skipped $1: $skip"
    else
        passed=$((passed + 1))
    fi
}

# 1 and a skip (no folder of data) or a failure (the folder is there, the file is not).
need() {
    [ -e "$data/$1" ] && return 0
    if [ -d "$data" ]; then fails "$data/$1 is missing"; else skip="no data folder $data (TLV_DATA)"; fi
    return 1
}

programs=$(cd "$bin" && for p in tlv-*; do echo "${p#tlv-}"; done)

# ---- every program -------------------------------------------------------------------------------------

test_help() {
    for p in $programs; do
        run "$p" --help
        status_is 0
        err_is_empty
        out_has "^tlv-$p: .+"
        out_has "^usage: tlv-$p "
        out_has '^example:'
        out_has "^  tlv-$p"
    done
}

test_wrong_usage() {
    for p in $programs; do
        run "$p" --no-such-option
        status_is 2
        out_is_empty
        err_is_two_lines
        err_has 'there is no option --no-such-option'
        run "$p" a b c d
        status_is 2
        err_has "is one argument too many"
    done
    run inspect
    status_is 2
    err_has 'FILE is missing'
    run inspect --json
    status_is 2
    err_has '--json wants a value'
    run inspect --stats=1 x
    status_is 2
    err_has '--stats takes no value'
    run eval x --weights y --batch 0
    status_is 2
    err_has 'want a number from 1'
    run eval x --weights y --batch 1x
    status_is 2
    err_has 'want a whole number'
    run eval x --batch 99999999999999999999 --weights y
    status_is 2
    err_is_two_lines
}

test_a_full_standard_output() {
    [ -w /dev/full ] || { skip="no /dev/full here"; return; }
    what="inspect to a full disk"
    # shellcheck disable=SC2086
    ${RUN:-} "$bin/tlv-inspect" tests/goldens/ops.safetensors >/dev/full 2>"$tmp/err"
    status=$?
    status_is 1
    err_is_two_lines
    err_has 'standard output: No space left'
}

# ---- tlv-inspect ----------------------------------------------------------------------------------------

test_inspect_failures() {
    run inspect "$tmp/none.safetensors"
    status_is 1
    out_is_empty
    err_is_two_lines
    err_has 'none.safetensors: cannot open it: No such file'
    printf 'PK\003\004 and so on' >"$tmp/model.pth"
    run inspect "$tmp/model.pth"
    status_is 1
    err_is_two_lines
    err_has 'model.pth: this is not a safetensors file: it looks like a zip archive'
    head -c 3000 tests/goldens/ops.safetensors >"$tmp/short.safetensors"
    run inspect "$tmp/short.safetensors"
    status_is 1
    err_is_two_lines
    err_has 'only [0-9]+ follow'
    run inspect tests/goldens/ops.safetensors --json "$tmp/none/x.json"
    status_is 1
    err_has 'x.json: No such file or directory'
}

# A file of three tensors, written by hand: 1 .. 6, a byte, an infinity.
small_file() {
    local h='{"w\u001b[2J":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},'
    h=$h'"u":{"dtype":"U8","shape":[],"data_offsets":[24,25]},'
    h=$h'"n":{"dtype":"F32","shape":[1],"data_offsets":[25,29]},"__metadata__":{"format":"pt"}}   '
    {
        # shellcheck disable=SC2059  # the length, byte by byte
        printf "\\$(printf %o ${#h})\0\0\0\0\0\0\0"
        printf '%s' "$h"
        printf '\0\0\200\77\0\0\0\100\0\0\100\100\0\0\200\100\0\0\240\100\0\0\300\100\7\0\0\200\177'
    } >"$1"
}

test_inspect_tables() {
    small_file "$tmp/s.safetensors"
    run inspect "$tmp/s.safetensors" --stats
    status_is 0
    err_is_empty
    out_has '^tensors  3 with 8 numbers, 29 B, 2 f32, 1 u8'
    out_has '^meta     format = pt'
    out_has '^model    of no architecture known here \(resnet20, '
    out_has '^w\?\[2J +f32 +\[2,3\] +6 +1 +3.5 +6$'
    out_has '^u +u8 +\[\] +1 +7 +7 +7$'
    out_has '^n +f32 +\[1\] +1 +-?nan +-?nan +-?nan  1 not finite$'
    grep -q "$(printf '\033')" "$tmp/out" && fails "an escape sequence reaches the terminal"

    run inspect "$tmp/s.safetensors" --stats --json -
    status_is 0
    err_has '^tensors  3 with'
    json_is "$tmp/out" tensors 3
    json_is "$tmp/out" numbers 8
    json_is "$tmp/out" bytes 29
    json_is "$tmp/out" arch null
    json_is "$tmp/out" meta.format '"pt"'
    json_is "$tmp/out" tensor.u '"u8[]"'
    json_is "$tmp/out" tensor.u.mean 7
    json_is "$tmp/out" tensor.n.mean null
    json_is "$tmp/out" tensor.n.not_finite 1
    [ "$(sed -n 1p "$tmp/out")" = '{' ] && [ "$(tail -n 1 "$tmp/out")" = '}' ] ||
        fails "standard output is not one JSON object"
    for key in seconds peak_bytes max_rss_bytes; do
        [ -n "$(json "$tmp/out" $key)" ] || fails "the JSON has no $key"
    done
}

test_inspect_published_files() {
    need resnet_cifar10/resnet20.safetensors || return
    for n in 20 32; do
        run inspect "$data/resnet_cifar10/resnet$n.safetensors" --json "$tmp/i.json"
        status_is 0
        out_has "^model    resnet$n, 10 classes"
        json_is "$tmp/i.json" arch "\"resnet$n\""
        json_is "$tmp/i.json" classes 10
    done
    for f in squeezenet_v1_0/squeezenet_v1_0 mobilenetv2_035_224/mobilenetv2_035_224_notop \
        coral_mobilenet/mobilenet_v2_1.0_224_quant_dequant; do
        need "$f.safetensors" || return
        run inspect "$data/$f.safetensors" --stats
        status_is 0
        out_has 'of no architecture known here'
    done
}

# ---- training and measuring ------------------------------------------------------------------------------

test_train_and_measure() {
    run finetune shapes:100 --arch resnet20 --epochs 1 --per-class 10 --threads 1 \
        --out "$tmp/run" --json "$tmp/f.json"
    status_is 0
    err_is_empty
    json_is "$tmp/f.json" arch '"resnet20"'
    for key in accuracy best_accuracy best_epoch n seconds peak_bytes max_rss_bytes; do
        [ -n "$(json "$tmp/f.json" $key)" ] || fails "the JSON of finetune has no $key"
    done
    run eval shapes:100 --weights "$tmp/run/best.safetensors" --threads 1 --json "$tmp/e.json"
    status_is 0
    json_is "$tmp/e.json" accuracy "$(json "$tmp/f.json" best_accuracy)"
    run inspect "$tmp/run/best.safetensors"
    status_is 0
    out_has '^model    resnet20, 10 classes'

    run finetune shapes:100 --arch resnet20 --epochs 1 --out "$tmp/run"
    status_is 1
    err_is_two_lines
    err_has 'the folder is not empty'
    run eval shapes:100 --weights "$tmp/run/log.csv"
    status_is 1
    err_has '^error: .*log.csv: '
}

test_ctrl_c_leaves_a_checkpoint() {
    what="finetune, interrupted"
    # shellcheck disable=SC2086
    ${RUN:-} "$bin/tlv-finetune" shapes:1000 --arch resnet20 --epochs 50 --threads 1 --out "$tmp/stop" \
        >"$tmp/out" 2>"$tmp/err" </dev/null &
    local pid=$! i=0
    while [ ! -e "$tmp/stop" ] && [ $i -lt 100 ]; do sleep 0.1; i=$((i + 1)); done
    sleep 1
    kill -INT $pid
    wait $pid
    status=$?
    status_is 130
    [ -s "$tmp/stop/last.ckpt" ] || fails "no checkpoint in $(ls "$tmp/stop" | tr '\n' ' ')"
}

test_published_accuracy() {
    need cifar10/test_batch.bin && need resnet_cifar10/resnet20.safetensors || return
    run eval "cifar10:$data/cifar10" --weights "$data/resnet_cifar10/resnet20.safetensors" \
        --json "$tmp/e.json"
    status_is 0
    json_is "$tmp/e.json" n 10000
    awk -v a="$(json "$tmp/e.json" accuracy)" 'BEGIN { exit !(a >= 0.9171 && a <= 0.9175) }' ||
        fails "ResNet-20 on CIFAR-10: accuracy $(json "$tmp/e.json" accuracy), published 0.9173"
}

for t in $(declare -F | sed -n 's/^declare -f \(test_.*\)/\1/p'); do check "$t"; done
echo "test_programs: $passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
