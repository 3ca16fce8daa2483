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
        out_has "^model    resnet$n, dialect pytorch, 10 classes, 64 features"
        json_is "$tmp/i.json" arch "\"resnet$n\""
        json_is "$tmp/i.json" classes 10
    done
    while read -r f model; do
        need "$f.safetensors" || return
        run inspect "$data/$f.safetensors" --stats
        status_is 0
        out_has "^model    $model"
    done <<'EOF'
squeezenet_v1_0/squeezenet_v1_0 squeezenet1_0, dialect caffe, 1000 classes, 512 features
mobilenetv2_035_224/mobilenetv2_035_224_notop mobilenet_v2 x0.35, dialect keras, no head, 1280 features
coral_mobilenet/mobilenet_v2_1.0_224_quant_dequant mobilenet_v2, dialect tflite, 1001 classes, 1280 features
EOF
    out_has '^rules    padding same, batch norms folded into convolutions'
    out_has '^input    shorter side 256 bilinear, centre crop 224x224, RGB, mean .5 .5 .5'
}

# ---- training and measuring ------------------------------------------------------------------------------

test_train_and_measure() {
    run finetune shapes:100 --arch resnet20 --epochs 1 --per-class 10 --threads 1 \
        --out "$tmp/run" --json "$tmp/f.json"
    status_is 0
    err_is_empty
    json_is "$tmp/f.json" arch '"resnet20"'
    json_is "$tmp/f.json" train_images 100
    json_is "$tmp/f.json" n 1000
    for key in accuracy best_accuracy best_epoch n seconds peak_bytes max_rss_bytes; do
        [ -n "$(json "$tmp/f.json" $key)" ] || fails "the JSON of finetune has no $key"
    done
    for file in best.safetensors last.ckpt log.csv options.txt; do
        [ -s "$tmp/run/$file" ] || fails "the run folder has no $file"
    done
    out_has '^weights  none: from nothing, random'
    run eval shapes:100 --weights "$tmp/run/best.safetensors" --threads 1 --json "$tmp/e.json"
    status_is 0
    out_has '^star +100 '
    json_is "$tmp/e.json" accuracy "$(json "$tmp/f.json" best_accuracy)"
    run inspect "$tmp/run/best.safetensors"
    status_is 0
    out_has '^model    resnet20, 10 classes'
    out_has 'arch = resnet20'
    out_has 'class_names = .*disc.*ring.*square.*frame.*triangle.*cross.*bar.*star.*wave.*grid'
    out_has 'libtlvision = [0-9]+\.[0-9]+\.[0-9]+'

    run finetune shapes:100 --arch resnet20 --epochs 1 --out "$tmp/run"
    status_is 1
    err_is_two_lines
    err_has 'the folder is not empty'
    run eval shapes:100 --weights "$tmp/run/log.csv"
    status_is 1
    err_has '^error: .*log.csv: '
    run eval "idx:$tmp/run/log.csv,x" --weights "$tmp/run/best.safetensors"
    status_is 1
    err_is_two_lines
    err_has 'log.csv: not an IDX file'
    run eval shapes:10 --weights "$tmp/none.safetensors"
    status_is 1
    err_is_two_lines
    run eval shapes:10 --weights "$tmp/run/best.safetensors" --arch resnet32
    status_is 1
    err_is_two_lines
}

test_finetune_usage() {
    run eval shapes:10
    status_is 2
    err_has 'eval: --weights FILE is missing'
    while IFS='|' read -r args says; do
        # shellcheck disable=SC2086  # several words
        run finetune $args
        status_is 2
        out_is_empty
        err_is_two_lines
        err_has "$says"
    done <<'END'
--arch resnet20|DATA is missing
shapes:10|name it by --arch
shapes:10 --arch resnet20 --head-only|--head-only wants --weights
shapes:10 --arch resnet20 --bn frozen|--bn frozen wants --weights
shapes:10 --arch resnet20 --bn half|--bn half: want frozen.train
shapes:10 --arch resnet20 --optim adam|--optim adam: want sgd.adamw
shapes:10 --arch resnet20 --schedule cos|--schedule cos: want
shapes:10 --arch resnet20 --augment crop,turn|--augment crop,turn: want
shapes:10 --arch resnet20 --epochs 0|want at least 1
shapes:10 --arch resnet20 --momentum 1|want a number from 0
--resume x --epochs 3|--resume goes on with the run's own options
shapes:10 --resume x|--resume knows its data
END
    run finetune shapes:10 --arch resnet21 --out "$tmp/no"
    status_is 1
    err_is_two_lines
    err_has "there is no architecture 'resnet21'"
    [ ! -e "$tmp/no" ] || fails "a run that never began left a folder"
    run finetune --resume "$tmp/no"
    status_is 1
    err_is_two_lines
}

# What a run computed, without its times: the table and the weights.
results() { cut -d, -f1-5 "$1/log.csv" && cksum <"$1/best.safetensors"; }
same_results() {
    local a b
    a=$(results "$1") b=$(results "$2")
    [ "$a" = "$b" ] || fails "$3: $(printf '%s\n' "$a" "$b" | tr '\n' ' ')"
}

# Starts finetune with "$@" in the background; its id in $pid.
start() {
    what="finetune, interrupted"
    # shellcheck disable=SC2086
    ${RUN:-} "$bin/tlv-finetune" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null &
    pid=$!
}

# Waits until $1, a command, says yes; at most 60 seconds.
until_true() {
    local i=0
    until eval "$1"; do
        i=$((i + 1))
        [ $i -lt 1200 ] && kill -0 "$pid" 2>/dev/null || { fails "no sign of: $1"; return 1; }
        sleep 0.05
    done
}

# Stopped by Ctrl-C and by SIGKILL, gone on with, on another number of threads: the same bits.
test_a_stopped_run_goes_on() {
    local options="shapes:30 --arch resnet20 --epochs 4 --batch 10 --augment crop,flip --warmup 5
                   --optim adamw --val shapes:5 --seed 3"
    # shellcheck disable=SC2086
    run finetune $options --threads 1 --out "$tmp/whole" --json "$tmp/whole.json"
    status_is 0

    # shellcheck disable=SC2086
    start $options --threads 1 --out "$tmp/parts"
    until_true '[ -s "$tmp/parts/log.csv" ]'
    sleep 0.3
    kill -INT "$pid"
    wait "$pid"
    status=$?
    status_is 130
    err_has 'stopped in epoch [0-9]+ after step [0-9]+ of 30; the checkpoint is in'
    [ -s "$tmp/parts/last.ckpt" ] || fails "no checkpoint in $(ls "$tmp/parts" | tr '\n' ' ')"
    run inspect "$tmp/parts/last.ckpt"
    status_is 0

    start --resume "$tmp/parts" --threads 2
    until_true '[ "$(wc -l <"$tmp/parts/log.csv")" -ge 3 ]'     # its head, two epochs
    kill -KILL "$pid"
    wait "$pid" 2>/dev/null
    run finetune --resume "$tmp/parts" --threads 1 --json "$tmp/parts.json"
    status_is 0
    err_is_empty
    out_has '^resumed .*: [0-9]+ epochs and [0-9]+ steps are done'
    same_results "$tmp/whole" "$tmp/parts" "a resumed run ends otherwise"
    for key in accuracy best_accuracy best_epoch loss steps; do
        json_is "$tmp/parts.json" $key "$(json "$tmp/whole.json" $key)"
    done

    run finetune --resume "$tmp/parts" --json "$tmp/again.json"     # nothing is left to do
    status_is 0
    for key in accuracy best_accuracy best_epoch loss steps; do
        json_is "$tmp/again.json" $key "$(json "$tmp/whole.json" $key)"
    done

    head -c 5000 "$tmp/parts/last.ckpt" >"$tmp/cut" && mv "$tmp/cut" "$tmp/parts/last.ckpt"
    run finetune --resume "$tmp/parts"
    status_is 1
    err_is_two_lines
}

# From published weights two epochs on 100 images a class know the shapes; from nothing they do not.
test_transfer_to_shapes() {
    need resnet_cifar10/resnet20.safetensors || return
    local weights=$data/resnet_cifar10/resnet20.safetensors
    run finetune shapes:100 --weights "$weights" --epochs 2 --bn train --optim adamw --lr 0.005 \
        --batch 32 --val shapes:50 --out "$tmp/transfer" --json "$tmp/t.json"
    status_is 0
    out_has '^weights  .*resnet20.safetensors: '
    out_has 'head: linear kept'
    awk -v a="$(json "$tmp/t.json" accuracy)" 'BEGIN { exit !(a >= 0.75) }' ||
        fails "transfer to shapes: accuracy $(json "$tmp/t.json" accuracy), want 0.75"
}

# Rows of tlv-inspect --stats whose name matches $2, in file $1.
rows() { "$bin/tlv-inspect" "$1" --stats | grep -E "$2" | tr -s ' '; }
same_rows() { [ "$(rows "$1" "$3")" = "$(rows "$2" "$3")" ]; }

test_what_is_frozen_stays() {
    need resnet_cifar10/resnet20.safetensors || return
    local w=$data/resnet_cifar10/resnet20.safetensors few="shapes:4 --per-class 2 --epochs 1"
    # shellcheck disable=SC2086
    {
        run finetune $few --weights "$w" --out "$tmp/bn-frozen" --bn frozen
        status_is 0
        out_has 'BatchNorm statistics frozen'
        run finetune $few --weights "$w" --bn train --out "$tmp/bn-train"
        status_is 0
        out_has "BatchNorm takes each batch's statistics"
        run finetune $few --weights "$w" --out "$tmp/head" --head-only --new-head
        status_is 0
        out_has 'head: 10 -> 10 classes, new \(linear.weight, linear.bias\)'
        out_has 'the head alone, the rest is frozen: 650 numbers; BatchNorm statistics frozen'
    }
    [ "$(rows "$w" running_ | wc -l)" -eq 38 ] || fails "not 38 running statistics"
    same_rows "$w" "$tmp/bn-frozen/best.safetensors" running_ || fails "frozen statistics moved"
    same_rows "$w" "$tmp/bn-frozen/best.safetensors" 'conv1.weight' && fails "nothing was trained"
    same_rows "$w" "$tmp/bn-train/best.safetensors" running_ && fails "statistics did not move"
    same_rows "$w" "$tmp/head/best.safetensors" '^(conv1|bn1|layer).*(weight|bias|running)' ||
        fails "--head-only changed more than the head"
    same_rows "$w" "$tmp/head/best.safetensors" '^linear' && fails "the head was not trained"
}

# A probe first, from a cache the second time; rates by name; what contradicts itself.
test_finetune_strategies() {
    need resnet_cifar10/resnet20.safetensors || return
    local w=$data/resnet_cifar10/resnet20.safetensors few="shapes:6 --val shapes:4 --epochs 1 --threads 1"
    local lp="$few --strategy lp-ft --cache $tmp/cache --lr-scale head.*=0,layer1.*=0.5 --clip 1"
    # shellcheck disable=SC2086
    {
        run finetune $lp --weights "$w" --out "$tmp/lp1" --json "$tmp/lp1.json"
        status_is 0
        out_has '^train    LP-FT: a linear probe, then all layers'
        out_has '^cache    0 rows found, 60 computed'
        out_has '^probe    penalty .* of 9 by 5-fold cross-validation'
        out_has '^probe  +[0-9.]+ +[0-9.]+ '
        json_is "$tmp/lp1.json" strategy '"lp-ft"'
        [ "$(cut -d, -f1 "$tmp/lp1/log.csv" | tr '\n' ' ')" = 'epoch 0 1 ' ] ||
            fails "log.csv has $(cut -d, -f1 "$tmp/lp1/log.csv" | tr '\n' ' ')"
        run finetune $lp --weights "$w" --out "$tmp/lp2"
        status_is 0
        out_has '^cache    60 rows found, 0 computed'
        run finetune $few --weights "$w" --out "$tmp/lp3" --lr-scale 'none.*=2'
        status_is 1
        err_is_two_lines
        err_has "no parameter of resnet20 matches 'none"
        run finetune $few --weights "$w" --out "$tmp/lp3" --lr-scale 'head.*'
        status_is 1
        err_has 'want PATTERN=NUMBER'
        run finetune $few --weights "$w" --strategy full --head-only
        status_is 2
        run finetune $few --weights "$w" --augment crop,spin
        status_is 2
        err_has '--augment crop,spin: want words of none'
    }
    same_results "$tmp/lp1" "$tmp/lp2" "the cache changes a run"
    run finetune --resume "$tmp/lp1"
    status_is 0
    out_has '^resumed .*: 1 epochs and 0 steps are done'
}

# A three-class IDX set: 24 images of 6x6, a grey level a class, values a little apart.
bars() {
    local i
    {
        printf '\0\0\10\3\0\0\0\30\0\0\0\6\0\0\0\6'
        for ((i = 0; i < 24; i++)); do head -c 36 /dev/zero | tr '\0' "\\$((i % 3))$((i / 3))0"; done
    } >"$1"
    { printf '\0\0\10\1\0\0\0\30'; for ((i = 0; i < 24; i++)); do printf "\\$((i % 3))"; done; } >"$2"
}

test_idx_and_a_new_head() {
    bars "$tmp/im" "$tmp/la"
    run finetune "idx:$tmp/im,$tmp/la" --arch resnet20 --epochs 1 --out "$tmp/idx" --json - --threads 1
    status_is 0
    err_has 'a fifth of it, of each class: 6 images'
    err_has 'grey is repeated to 3 channels'
    err_has 'images of 6x6 are resized to 32x32'
    json_is "$tmp/out" n 6
    json_is "$tmp/out" train_images 18
    run inspect "$tmp/idx/best.safetensors"
    out_has '^model    resnet20, 3 classes'
    run finetune shapes:2 --weights "$tmp/idx/best.safetensors" --epochs 1 --out "$tmp/ten"
    status_is 0
    out_has 'head: 3 -> 10 classes, new'
    run eval shapes:2 --weights "$tmp/idx/best.safetensors"
    status_is 1
    err_is_two_lines
    err_has 'the model knows 3 classes but the data has 10'
}

test_demo() {
    run demo
    status_is 0
    err_is_empty
    local right
    right=$(sed -nE 's/^([0-9]+) of 1000 new shapes are right.*/\1/p' "$tmp/out")
    [ "${right:-0}" -ge 850 ] || fails "the demo knows ${right:-none} of 1000 shapes, want 850"
    out_has '^next$'
    grep -q "$(printf '\033')" "$tmp/out" && fails "colours in a pipe"
}

# Each value is printed as its comment says.
test_learn_01() {
    what="learn-01"
    # shellcheck disable=SC2086
    ${RUN:-} "$bin/learn-01_tensor_and_gradient" >"$tmp/out" 2>"$tmp/err" || fails "status $?"
    err_is_empty
    sed -nE 's,^.*(show|printf)\(.*; +// (.*)$,\2,p' examples/learn/01_tensor_and_gradient.c >"$tmp/want"
    [ "$(wc -l <"$tmp/want")" -ge 14 ] || fails "only $(wc -l <"$tmp/want") comments with values"
    cut -c 14- "$tmp/out" | head -n "$(wc -l <"$tmp/want")" | diff "$tmp/want" - >&2 ||
        fails "the comments say something else"
}

test_learn_02() {
    need mnist/train-images-idx3-ubyte.gz || return
    local f
    for f in train-images-idx3 train-labels-idx1 t10k-images-idx3 t10k-labels-idx1; do
        gunzip -c "$data/mnist/$f-ubyte.gz" >"$tmp/$f"
    done
    what="learn-02"
    # shellcheck disable=SC2086
    ${RUN:-} "$bin/learn-02_mnist_from_scratch" "$tmp/train-images-idx3" "$tmp/train-labels-idx1" \
        "$tmp/t10k-images-idx3" "$tmp/t10k-labels-idx1" >"$tmp/out" 2>"$tmp/err" || fails "status $?"
    awk '/^epoch 3/ { ok = $(NF - 1) >= 97 } END { exit !ok }' "$tmp/out" ||
        fails "MNIST: $(tail -n 1 "$tmp/out"), want 97 %"
    "$bin/learn-02_mnist_from_scratch" >"$tmp/out" 2>&1
    [ $? -eq 2 ] || fails "learn-02 without files: not status 2"
    "$bin/learn-02_mnist_from_scratch" "$tmp/none" "$tmp/none" >"$tmp/out" 2>"$tmp/err"
    [ $? -eq 1 ] || fails "learn-02 without files there: not status 1"
    err_is_two_lines
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
