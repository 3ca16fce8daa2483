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
        [ "$p" = predict ] && continue              # takes any number of images
        run "$p" a b c d
        status_is 2
        out_is_empty
        err_is_two_lines
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
    out_has '^model    resnet20, dialect pytorch, 10 classes'
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

# Starts a program with its arguments in the background; its id in $pid.
start() {
    local prog=$1
    shift
    what="$prog, interrupted"
    # shellcheck disable=SC2086
    ${RUN:-} "$bin/tlv-$prog" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null &
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
    start finetune $options --threads 1 --out "$tmp/parts"
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

    start finetune --resume "$tmp/parts" --threads 2
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
    out_has '^model    resnet20, dialect pytorch, 3 classes'
    run finetune shapes:2 --weights "$tmp/idx/best.safetensors" --epochs 1 --out "$tmp/ten"
    status_is 0
    out_has 'head: 3 -> 10 classes, new'
    run eval shapes:2 --weights "$tmp/idx/best.safetensors"
    status_is 1
    err_is_two_lines
    err_has 'the model knows 3 classes but the data has 10'
}

# ---- folders of images: tlv-probe, tlv-predict, tlv-embed, tlv-eval, tlv-finetune -------------------------

# A picture of 24x20 pixels about the colour $2 $3 $4, with a pattern that $5 shifts, to the file $1.
draw() {
    awk -v r="$2" -v g="$3" -v b="$4" -v s="$5" 'BEGIN {
        print "P3 24 20 255"
        for (y = 0; y < 20; y++) for (x = 0; x < 24; x++) {
            d = (x * 7 + y * 5 + s * 11) % 23 - 11
            print r + d, g + d, b + d
        }
    }' >"$1"
}

# Two classes that differ by colour, 8 pictures each and no two alike, in $photos/{train,val}/{a,b}; a model of ten
# other classes in $base.  Made once.
photos=$tmp/photos base=$tmp/base/last.safetensors
need_photos() {
    local i s k
    [ -e "$base" ] && return 0
    for s in train val; do
        mkdir -p "$photos/$s/a" "$photos/$s/b"
        for ((i = 0; i < 8; i++)); do
            k=$i
            [ $s = val ] && k=$((i + 20))
            draw "$photos/$s/a/$i.ppm" $((40 + i)) 30 30 $k
            draw "$photos/$s/b/$i.ppm" 60 $((200 + i)) 220 $k
        done
    done
    run finetune shapes:1 --arch resnet20 --epochs 1 --val shapes:1 --threads 1 --out "$tmp/base"
    status_is 0
    [ -e "$base" ] || { fails "there is no $base"; return 1; }
}

is_png() { [ "$(head -c 8 "$1" | od -An -tx1 | tr -d ' \n')" = 89504e470d0a1a0a ] || fails "$1 is no PNG file"; }

# The files that answers leave in the folder $1, of $2 images.
has_verdicts() {
    is_png "$1/confusion.png"
    is_png "$1/classes.png"
    is_png "$1/worst.png"
    [ "$(sed -n 1p "$1/predictions.csv")" = image,label,answer,probability,right ] ||
        fails "predictions.csv begins with $(sed -n 1p "$1/predictions.csv")"
    [ "$(wc -l <"$1/predictions.csv")" -eq $(($2 + 1)) ] ||
        fails "predictions.csv has $(wc -l <"$1/predictions.csv") lines, want $(($2 + 1))"
    [ -z "$(awk -F, 'NR > 1 && ($5 != ($2 == $3) || $4 < 0.5 || $4 > 1)' "$1/predictions.csv")" ] ||
        fails "predictions.csv contradicts itself"
}

test_probe_a_folder() {
    need_photos || return
    run probe "$photos" --weights "$base" --out "$tmp/probe" --json "$tmp/p.json"
    status_is 0
    err_is_empty
    out_has '^data     folder .*photos, train, 16 images, 2 classes'
    out_has '^val      folder .*photos, val, 16 images, 2 classes'
    out_has '^features 64 numbers an image: 32 images in'
    out_has '^accuracy 100.00 % \[80.64, 100.00\], 16 of 16 right'
    for pair in accuracy=1 right=16 n=16 train_images=16 skipped=0 dim=64 classes=2 cached=0 \
        'arch="resnet20"' "folder=\"$tmp/probe\""; do
        json_is "$tmp/p.json" "${pair%%=*}" "${pair#*=}"
    done
    for key in loss l2 feature_seconds fit_seconds seconds peak_bytes max_rss_bytes; do
        [ -n "$(json "$tmp/p.json" $key)" ] || fails "the JSON of probe has no $key"
    done
    has_verdicts "$tmp/probe" 16
    is_png "$tmp/probe/penalty.png"
    run inspect "$tmp/probe/best.safetensors"
    status_is 0
    out_has '^model    resnet20, dialect pytorch, 2 classes'
    run predict "$tmp/probe/best.safetensors" "$photos/val/a/3.ppm" "$photos/val/b/3.ppm" --quiet
    status_is 0
    err_is_empty
    [ "$(cut -f 2 "$tmp/out" | tr '\n' ' ')" = 'a b ' ] || fails "predict says $(cat "$tmp/out")"

    run eval "$photos" --weights "$tmp/probe/best.safetensors" --split val --out "$tmp/eval" --json "$tmp/e.json"
    status_is 0
    for key in accuracy loss n skipped; do json_is "$tmp/e.json" $key "$(json "$tmp/p.json" $key)"; done
    has_verdicts "$tmp/eval" 16
    cmp -s "$tmp/probe/predictions.csv" "$tmp/eval/predictions.csv" || fails "probe and eval answer otherwise"
    run eval "$photos" --weights "$tmp/probe/best.safetensors" --out "$tmp/eval"
    status_is 1
    err_is_two_lines
    err_has 'the folder is not empty'

    run probe "$photos" --weights "$base" --out "$tmp/probe-l2" --l2 0.5 --per-class 3 --json "$tmp/p.json"
    status_is 0
    out_has 'at most 3 a class to learn from: 6 images'
    json_is "$tmp/p.json" l2 0.5
    json_is "$tmp/p.json" train_images 6
    [ ! -e "$tmp/probe-l2/penalty.png" ] || fails "a penalty that was given was chosen"
}

# The second run computes nothing; a file's name does not matter, each of its bytes does.
test_the_cache_of_features() {
    need_photos || return
    cp -r "$photos" "$tmp/cached"
    local n=0
    probe_cached() {
        n=$((n + 1))
        run probe "$tmp/cached" --weights "$base" --cache "$tmp/features" --out "$tmp/cached-$n" \
            --json "$tmp/cached-$n.json"
        status_is 0
        json_is "$tmp/cached-$n.json" cached "$1"
        json_is "$tmp/cached-$n.json" accuracy 1
    }
    probe_cached 0
    probe_cached 32
    out_has '^features 64 numbers an image: 32 images in .* s, 32 of them from the cache'
    json_is "$tmp/cached-2.json" loss "$(json "$tmp/cached-1.json" loss)"
    [ "$(rows "$tmp/cached-1/best.safetensors" .)" = "$(rows "$tmp/cached-2/best.safetensors" . |
        sed 's/cached-2/cached-1/')" ] || fails "the cache changes the model"
    mv "$tmp/cached/train/a/7.ppm" "$tmp/cached/train/a/renamed.ppm"
    probe_cached 32
    sed -i '1s/P3 24/P3  24/' "$tmp/cached/val/b/0.ppm"
    probe_cached 31
    run embed "$tmp/cached" --weights "$base" --split val --cache "$tmp/features" --out "$tmp/c.npy" \
        --json "$tmp/c.json"
    status_is 0
    json_is "$tmp/c.json" cached 16
}

test_predict() {
    need_photos || return
    local m=$tmp/predict/best.safetensors a=$photos/val/a/0.ppm b=$photos/val/b/1.ppm tab
    tab=$(printf '\t')
    run probe "$photos" --weights "$base" --out "$tmp/predict"
    run predict "$m" "$a" "$b" --top 2 --json "$tmp/p.json"
    status_is 0
    err_has '^data     '
    err_has '^model    resnet20, '
    [ "$(cut -f 1,2 "$tmp/out")" = "$a${tab}a
$a${tab}b
$b${tab}b
$b${tab}a" ] || fails "the answers are $(cat "$tmp/out")"
    grep -vqE "^[^$tab]+$tab[ab]$tab[01]\.[0-9]{4}\$" "$tmp/out" && fails "a line is not image, label, probability"
    json_is "$tmp/p.json" n 2
    json_is "$tmp/p.json" skipped 0
    grep -qE "^  \"predictions\": \[\$" "$tmp/p.json" || fails "the JSON has no list"
    local row='^    \{"image": "[^"]+", "label": "[ab]", "class": [01], "probability": [0-9.e-]+\},?$'
    [ "$(grep -cE "$row" "$tmp/p.json")" -eq 4 ] || fails "the list has not 4 rows: $(cat "$tmp/p.json")"
    run predict "$m" "$a" --json -
    status_is 0
    [ "$(sed -n 1p "$tmp/out")" = '{' ] && [ "$(tail -n 1 "$tmp/out")" = '}' ] ||
        fails "standard output is not one JSON object"

    run predict "$m" "$photos/val" --quiet --batch 3
    status_is 0
    err_is_empty
    [ "$(cut -f 2 "$tmp/out" | tr -d '\n')" = aaaaaaaabbbbbbbb ] || fails "a folder: $(cat "$tmp/out")"
    printf 'left\nright\n' >"$tmp/names"
    run predict "$m" "$b" --labels "$tmp/names" --quiet
    out_has "${tab}right$tab"
    printf 'left\n' >"$tmp/names"
    run predict "$m" "$a" --labels "$tmp/names" --quiet
    status_is 1
    out_is_empty
    err_is_two_lines
    err_has 'names: 1 lines, the model has 2 classes'
    printf 'left\nright\nmiddle\n' >"$tmp/names"
    run predict "$m" "$a" --labels "$tmp/names" --quiet
    status_is 1
    err_has 'names: 3 lines, the model has 2 classes'

    printf 'no image' >"$tmp/bad.ppm"
    printf 'GIF89a and so on' >"$tmp/gif.png"
    run predict "$m" "$a" "$tmp/bad.ppm" "$tmp/gif.png" --quiet
    status_is 1
    err_is_two_lines
    err_has '^error: .*bad.ppm is text; PNG, JPEG, BMP and PNM are read'
    run predict "$m" "$a" "$tmp/bad.ppm" "$tmp/gif.png" "$tmp/none.ppm" --skip-bad --json "$tmp/p.json"
    status_is 0
    [ "$(wc -l <"$tmp/out")" -eq 1 ] || fails "bad files have answers: $(cat "$tmp/out")"
    err_has '^skipped  .*gif.png: .*a GIF file'
    err_has '^skipped  .*none.ppm: .*No such file'
    json_is "$tmp/p.json" n 1
    json_is "$tmp/p.json" skipped 3
    run predict "$m" "$photos/val" "$photos/train" --quiet
    status_is 1
    err_is_two_lines
    run predict "$m"
    status_is 2
    err_has 'IMAGE...*is missing'
}

# MobileNetV2 without its head: features, but no answers.
test_a_model_without_a_head() {
    need mobilenetv2_035_224/mobilenetv2_035_224_notop.safetensors || return
    need_photos || return
    local w=$data/mobilenetv2_035_224/mobilenetv2_035_224_notop.safetensors
    run predict "$w" "$photos/val/a/0.ppm" --quiet
    status_is 1
    out_is_empty
    err_is_two_lines
    err_has 'notop.safetensors: features alone, it names no classes'
    run eval "$photos" --weights "$w"
    status_is 1
    err_is_two_lines
    err_has 'features alone'
    run probe "$photos" --weights "$w" --per-class 4 --out "$tmp/headless" --json "$tmp/p.json"
    status_is 0
    json_is "$tmp/p.json" dim 1280
    json_is "$tmp/p.json" accuracy 1
    run eval "$photos" --weights "$tmp/headless/best.safetensors" --split val --json "$tmp/e.json"
    json_is "$tmp/e.json" accuracy 1
}

test_eval_options() {
    need_photos || return
    run eval "$photos" --weights "$base" --split train --per-class --json "$tmp/e.json"
    status_is 0
    out_has '^data     folder .*photos, train, 16 images'
    json_is "$tmp/e.json" n 16
    json_is "$tmp/e.json" classes 10
    run eval "$photos" --weights "$base" --split val --first-class 9
    status_is 1
    err_is_two_lines
    err_has 'knows 1 classes from its class 9 on, but the data has 2'
    run eval "$photos" --weights "$base" --split val --first-class 8
    status_is 0
    out_has "label 0 of the data is the model's class 8"
    out_has '^wave +8 '
    out_has '^grid +8 '
    run eval "$photos" --weights "$base" --split all
    status_is 1
    err_has "there is no split 'all'"
    mkdir "$tmp/flat" && cp "$photos"/val/a/*.ppm "$tmp/flat"
    run eval "$tmp/flat" --weights "$base"
    status_is 1
    err_is_two_lines
    err_has 'these images have no labels'
    printf 'no image' >"$tmp/flat/bad.ppm"
    mkdir "$tmp/two" && cp -r "$photos"/val/? "$tmp/two" && cp "$tmp/flat/bad.ppm" "$tmp/two/b"
    run eval "$tmp/two" --weights "$base"
    status_is 1
    err_has '^error: .*two/b/bad.ppm is text'
    run eval "$tmp/two" --weights "$base" --skip-bad --json "$tmp/e.json"
    status_is 0
    out_has '^skipped  .*two/b/bad.ppm: '
    json_is "$tmp/e.json" skipped 1
    json_is "$tmp/e.json" n 16
}

test_embed() {
    need_photos || return
    run embed "$photos" --weights "$base" --split val --out "$tmp/f.npy" --json "$tmp/e.json"
    status_is 0
    err_is_empty
    for pair in n=16 dim=64 cached=0 skipped=0 'arch="resnet20"' "file=\"$tmp/f.npy\""; do
        json_is "$tmp/e.json" "${pair%%=*}" "${pair#*=}"
    done
    [ "$(head -c 10 "$tmp/f.npy" | od -An -tx1 | tr -d ' \n')" = 934e554d505901007600 ] || fails "no .npy file"
    head -c 128 "$tmp/f.npy" | grep -aq "{'descr': '<f4', 'fortran_order': False, 'shape': (16, 64), } *\$" ||
        fails "the header of the .npy file"
    [ "$(wc -c <"$tmp/f.npy")" -eq $((128 + 16 * 64 * 4)) ] || fails "the .npy file has $(wc -c <"$tmp/f.npy") bytes"

    run embed "$photos" --weights "$base" --split val --out "$tmp/f.csv"
    status_is 0
    [ "$(sed -n 1p "$tmp/f.csv" | cut -d, -f 1-3,66-)" = image,label,f0,f63 ] || fails "$(sed -n 1p "$tmp/f.csv")"
    [ "$(sed 1d "$tmp/f.csv" | cut -d, -f 2 | tr -d '\n')" = aaaaaaaabbbbbbbb ] || fails "the labels of the .csv file"
    awk -F, 'NF != 66 { exit 1 }' "$tmp/f.csv" || fails "a line of the .csv file has not 66 columns"
    od -An -v -w4 -tf4 -j 128 "$tmp/f.npy" >"$tmp/numbers"       # the same numbers, in the same order
    sed 1d "$tmp/f.csv" | cut -d, -f 3- | tr , '\n' | paste - "$tmp/numbers" |
        awk '{ d = $1 - $2; if (d < 0) d = -d; if (d > 1e-6 + 1e-6 * ($2 < 0 ? -$2 : $2)) bad = 1 }
             END { exit bad || NR != 1024 }' || fails "the .csv file has other numbers"

    run embed "$photos" --weights "$base" --split val --out "$tmp/f.safetensors"
    status_is 0
    run inspect "$tmp/f.safetensors"
    out_has '^features +f32 +\[16,64\]'
    out_has '^labels +i32 +\[16\]'
    out_has '^meta     arch = resnet20'
    out_has '^meta     recipe = size=32 '
    run embed "$photos/val/a" --weights "$base" --out "$tmp/a.csv"
    status_is 0
    [ "$(sed 1d "$tmp/a.csv" | cut -d, -f 3-)" = "$(sed -n 2,9p "$tmp/f.csv" | cut -d, -f 3-)" ] ||
        fails "a folder without classes has other features"
    [ -z "$(sed 1d "$tmp/a.csv" | cut -d, -f 2 | tr -d '\n')" ] || fails "labels from nowhere"

    run embed "$photos" --weights "$base" --out "$tmp/f.txt"
    status_is 2
    err_is_two_lines
    err_has 'want a name that ends in .npy, .safetensors or .csv'
    for f in npy csv safetensors; do
        run embed "$photos" --weights "$base" --out "$tmp/none/f.$f"
        status_is 1
        err_is_two_lines
        err_has "none/f.$f: "
    done
}

test_finetune_a_folder() {
    need_photos || return
    run finetune "$photos" --weights "$base" --epochs 2 --threads 1 --out "$tmp/folder" --json "$tmp/f.json"
    status_is 0
    err_is_empty
    out_has 'head: 10 -> 2 classes, new .*, from a probe'
    out_has '^train    LP-FT: a linear probe, then all layers: .*BatchNorm statistics frozen'
    out_has 'a random part of 0.35 to 1 of the area'
    out_has '^probe  +0\.[0-9]+ +1\.0000 '
    for pair in accuracy=1 best_accuracy=1 n=16 train_images=16 skipped=0 epochs=2 'strategy="lp-ft"'; do
        json_is "$tmp/f.json" "${pair%%=*}" "${pair#*=}"
    done
    [ "$(cut -d, -f1 "$tmp/folder/log.csv" | tr '\n' ' ')" = 'epoch 0 1 2 ' ] ||
        fails "log.csv has $(cut -d, -f1 "$tmp/folder/log.csv" | tr '\n' ' ')"
    has_verdicts "$tmp/folder" 16
    is_png "$tmp/folder/curves.png"
    grep -q '^--strategy=lp-ft$' "$tmp/folder/options.txt" || fails "options.txt does not name the strategy"
    for f in best last; do
        run predict "$tmp/folder/$f.safetensors" "$photos/val/a/0.ppm" "$photos/val/b/0.ppm" --quiet
        status_is 0
        [ "$(cut -f 2 "$tmp/out" | tr -d '\n')" = ab ] || fails "$f.safetensors says $(cat "$tmp/out")"
    done
    run inspect "$tmp/folder/last.ckpt"
    status_is 0

    (cd "$photos" && for s in train val; do for f in $s/?/*.ppm; do
        k=${f#*/} && echo "$f,${k%%/*},$s"; done; done) >"$photos/list.csv"
    run finetune "csv:$photos/list.csv" --weights "$base" --epochs 2 --threads 1 --out "$tmp/list"
    status_is 0
    same_results "$tmp/folder" "$tmp/list" "a list of the same files trains otherwise"
}

# Stopped by SIGKILL after an epoch and gone on with, from files: the same bits.
test_a_killed_run_on_a_folder_goes_on() {
    need_photos || return
    local options="$photos --weights $base --epochs 4 --batch 8 --lr 0.01 --augment rrc,flip,rotate,color"
    # shellcheck disable=SC2086
    run finetune $options --threads 1 --out "$tmp/folder-whole"
    status_is 0
    # shellcheck disable=SC2086
    start finetune $options --threads 1 --out "$tmp/folder-parts"
    until_true '[ -e "$tmp/folder-parts/log.csv" ]'
    until_true '[ "$(wc -l <"$tmp/folder-parts/log.csv")" -ge 3 ]'      # its head, the probe, an epoch
    kill -KILL "$pid"
    wait "$pid" 2>/dev/null
    run finetune --resume "$tmp/folder-parts" --threads 2
    status_is 0
    err_is_empty
    same_results "$tmp/folder-whole" "$tmp/folder-parts" "a resumed run on files ends otherwise"
    cmp -s "$tmp/folder-whole/last.safetensors" "$tmp/folder-parts/last.safetensors" || fails "other last weights"
}

test_killed_at_random() {
    what="tests/tools/kill_test.sh 4"
    TLV_BIN=$bin TLV_TMP=$tmp tests/tools/kill_test.sh 4 >"$tmp/out" 2>"$tmp/err"
    status=$?
    status_is 0
    out_has '^kill_test: [0-9] passed, 0 failed, [0-9] skipped'
}

test_bad_images_and_folders() {
    need_photos || return
    cp -r "$photos/train" "$tmp/some"
    printf 'GIF89a and so on' >"$tmp/some/a/x.png"
    printf 'GIF89a' >"$tmp/some/b/x.gif"
    for p in finetune probe embed; do
        run $p "$tmp/some" --weights "$base" --out "$tmp/some-$p.csv"
        status_is 1
        err_is_two_lines
        err_has '^error: .*some/a/x.png is a GIF file; PNG, JPEG, BMP and PNM are read'
        out_has '1 file left aside \(the first: .*x.gif\)'
        run $p "$tmp/some" --weights "$base" --out "$tmp/skip-$p.csv" --skip-bad --json "$tmp/s.json"
        status_is 0
        err_is_empty
        out_has '^skipped  .*some/a/x.png: .*a GIF file'
        out_has '1 bad file left out'
        json_is "$tmp/s.json" skipped 1
    done
    mkdir "$tmp/some/c"
    for p in finetune probe eval embed; do
        run $p "$tmp/some" --weights "$base" --out "$tmp/no"
        [ $p = embed ] && run embed "$tmp/some" --weights "$base" --out "$tmp/no.csv"
        status_is 1
        out_is_empty
        err_is_two_lines
        err_has 'some/c: this class folder holds no image'
        run $p "$tmp/nowhere" --weights "$base" --out "$tmp/no.csv"
        status_is 1
        err_is_two_lines
        err_has "nowhere' names no data set and is no folder"
    done
    mkdir "$tmp/one" && cp -r "$photos/train/a" "$tmp/one"
    for p in finetune probe; do
        run $p "$tmp/one" --weights "$base" --out "$tmp/no"
        status_is 1
        err_is_two_lines
        err_has '1 class, at least two are needed'
    done
    [ ! -e "$tmp/no" ] && [ ! -e "$tmp/no.csv" ] || fails "a run that never began left something"
    for p in probe eval embed; do
        run $p "$photos"
        status_is 2
        err_has '--weights FILE is missing'
    done
}

# ---- learning to learn: tlv-meta, tlv-fewshot --------------------------------------------------------------

# A learner of two ways on drawn shapes, in $learner; made once.
learner=$tmp/meta/best.safetensors
few_tasks="shapes:12 --ways 2 --width 0.25 --size 16 --tasks 2 --inner-lr 0.1 --val-tasks 8 --test-tasks 10"
need_learner() {
    [ -e "$learner" ] && return 0
    # shellcheck disable=SC2086
    run meta $few_tasks --iterations 10 --val-every 4 --threads 1 --out "$tmp/meta" --json "$tmp/m.json"
    status_is 0
    err_is_empty
    cp "$tmp/out" "$tmp/meta.out"
    [ -e "$learner" ] || { fails "there is no $learner"; return 1; }
}

test_meta() {
    need_learner || return
    cp "$tmp/meta.out" "$tmp/out"
    what="meta"
    out_has '^train    6 classes, at least 12 images each'
    out_has '^val      2 classes'
    out_has '^test     2 classes'
    out_has 'no class and no image is in two of them: checked'
    out_has '^learner  maml on conv4_stride x0.25, .* numbers; 2 ways, 1 shot, 1 query a class'
    out_has '^test     [0-9.]+ \+- [0-9.]+ % on 10 tasks of 2 classes'
    out_has 'one by one [0-9.]+ \+- '
    for pair in 'method="maml"' 'arch="conv4_stride"' ways=2 shots=1 iterations=10 test_tasks=10 \
        train_classes=6 val_classes=2 test_classes=2 'turns="none"' "folder=\"$tmp/meta\""; do
        json_is "$tmp/m.json" "${pair%%=*}" "${pair#*=}"
    done
    for key in accuracy ci95 accuracy_one_by_one val_accuracy best_iteration train_seconds \
        seconds_per_iteration peak_bytes max_rss_bytes; do
        [ -n "$(json "$tmp/m.json" $key)" ] || fails "the JSON of meta has no $key"
    done
    [ "$(json "$tmp/m.json" accuracy)" = "$(json "$tmp/meta/result.json" accuracy)" ] ||
        fails "result.json has accuracy $(json "$tmp/meta/result.json" accuracy)"
    [ "$(cut -d, -f1 "$tmp/meta/log.csv" | tr '\n' ' ')" = 'iteration 4 8 10 ' ] ||
        fails "log.csv has $(cut -d, -f1 "$tmp/meta/log.csv" | tr '\n' ' ')"
    is_png "$tmp/meta/curve.png"
    [ "$(cut -f1 "$tmp/meta/classes.txt" | uniq -c | tr -s ' \n' ' ')" = ' 6 train 2 val 2 test ' ] ||
        fails "classes.txt has $(cut -f1 "$tmp/meta/classes.txt" | uniq -c)"
    grep -q '^--inner-steps=1$' "$tmp/meta/options.txt" || fails "options.txt does not name the inner steps"
    run inspect "$tmp/meta/model.safetensors"
    status_is 0
    out_has '^model    conv4_stride'
    out_has 'method = maml'
    run inspect "$learner"
    status_is 0
    out_has 'meta.inner_lr = 0.1'

    # shellcheck disable=SC2086
    run meta $few_tasks --method anil --bn running --iterations 2 --no-test --out "$tmp/anil"
    status_is 0
    grep -qE 'one by one|^test     [0-9.]* [+]' "$tmp/out" && fails "--no-test tests"
    json_is "$tmp/anil/result.json" accuracy null
    json_is "$tmp/anil/result.json" bn '"running"'
    # shellcheck disable=SC2086
    run meta shapes:4 --ways 2 --arch resnet20 --iterations 1 --tasks 1 --val-tasks 2 --no-test --out "$tmp/resnet"
    status_is 0
    run meta --resume "$tmp/resnet/checkpoint.safetensors" --iterations 2 --lr 0.1 --no-test
    status_is 0
    out_has '^outer    rate 0.1 to 0.001 over 2 steps'
    json_is "$tmp/resnet/result.json" iterations 2
    # shellcheck disable=SC2086
    run meta $few_tasks --iterations 100000 --minutes 0.01 --val-classes 0 --no-test --out "$tmp/minutes"
    status_is 0
    [ "$(json "$tmp/minutes/result.json" iterations)" -lt 100000 ] || fails "--minutes does not end the run"
    json_is "$tmp/minutes/result.json" val_accuracy null
    # shellcheck disable=SC2086
    run meta $few_tasks --iterations 0 --weights "$tmp/meta/model.safetensors" --out "$tmp/measured"
    status_is 0
    json_is "$tmp/measured/result.json" iterations 0
    json_is "$tmp/measured/result.json" accuracy "$(json "$tmp/m.json" accuracy)"
}

test_meta_usage() {
    while IFS='|' read -r args says; do
        # shellcheck disable=SC2086  # several words
        run meta $args
        status_is 2
        out_is_empty
        err_is_two_lines
        err_has "$says"
    done <<'END'
--method maml|DATA is missing
shapes:4 --method mama|--method mama: want one of maml, fomaml, anil, boil
shapes:4 --turns twice|--turns twice: want none.episode.classes
shapes:4 --bn none|--bn none: want batch.running.per-step
shapes:4 --channels 2|want 1 or 3
shapes:4 --ways 1|want a number from 2
shapes:4 --arch conv4 --weights x|leave it out
--resume x --shots 2|--resume goes on with the run's own options
shapes:4 --resume x|--resume knows its data
END
    run meta shapes:4 --ways 5 --out "$tmp/no"
    status_is 1
    err_is_two_lines
    err_has 'too few for 5 ways'
    run meta shapes:1 --ways 2 --queries 1 --out "$tmp/no-images"
    status_is 1
    err_is_two_lines
    run meta shapes:4 --ways 2 --arch conv5 --out "$tmp/no"
    status_is 1
    err_is_two_lines
    err_has "there is no architecture 'conv5'"
    [ ! -e "$tmp/no" ] || fails "a run that never began left a folder"
    run meta --resume "$tmp/none.safetensors"
    status_is 1
    err_is_two_lines
    small_file "$tmp/s.safetensors"
    run meta --resume "$tmp/s.safetensors"
    status_is 1
    err_is_two_lines
    err_has 'no options of a run in it'
}

# What a run of tlv-meta computed, without its times.
meta_results() { cut -d, -f1-8 "$1/log.csv" && cksum <"$1/best.safetensors" && cksum <"$1/model.safetensors"; }

# Stopped by Ctrl-C and by SIGKILL, gone on with, on another number of threads: the same bits.
test_a_stopped_learner_goes_on() {
    local options="$few_tasks --iterations 400 --val-every 50 --seed 5" key
    # shellcheck disable=SC2086
    run meta $options --threads 1 --out "$tmp/meta-whole" --json "$tmp/whole.json"
    status_is 0
    # shellcheck disable=SC2086
    start meta $options --threads 1 --out "$tmp/meta-parts"
    until_true '[ -e "$tmp/meta-parts/log.csv" ] && [ "$(wc -l <"$tmp/meta-parts/log.csv")" -ge 2 ]'
    kill -INT "$pid"
    wait "$pid"
    status=$?
    status_is 130
    err_has 'stopped after step [0-9]+ of 400; the checkpoint is in'
    start meta --resume "$tmp/meta-parts/checkpoint.safetensors" --threads 2
    until_true '[ "$(wc -l <"$tmp/meta-parts/log.csv")" -ge 4 ]'
    kill -KILL "$pid"
    wait "$pid" 2>/dev/null
    run meta --resume "$tmp/meta-parts/checkpoint.safetensors" --threads 1 --json "$tmp/parts.json"
    status_is 0
    err_is_empty
    out_has '^resumed  .*: [0-9]+ steps are done'
    [ "$(meta_results "$tmp/meta-whole")" = "$(meta_results "$tmp/meta-parts")" ] ||
        fails "a resumed run ends otherwise: $(meta_results "$tmp/meta-parts" | diff - <(meta_results \
            "$tmp/meta-whole") | head -n 4)"
    for key in accuracy accuracy_one_by_one val_accuracy best_iteration iterations; do
        json_is "$tmp/parts.json" $key "$(json "$tmp/whole.json" $key)"
    done
    head -c 5000 "$tmp/meta-parts/checkpoint.safetensors" >"$tmp/cut" &&
        mv "$tmp/cut" "$tmp/meta-parts/checkpoint.safetensors"
    run meta --resume "$tmp/meta-parts/checkpoint.safetensors"
    status_is 1
    err_is_two_lines
}

# New classes, more of them than the learner knows, and a folder of two.
test_fewshot() {
    need_learner || return
    need_photos || return
    run fewshot shapes:6 --weights "$learner" --shot 2 --queries 3 --repeats 2 --steps 4 --json "$tmp/f.json"
    status_is 0
    err_is_empty
    out_has '^learner  maml on conv4_stride'
    out_has '^draws    2 of 2 images a class to learn from, 30 to be judged by, each without the others'
    out_has '^learned to learn \(maml\) +[0-9.]+ % +\[ *[0-9.]+, *[0-9.]+\]'
    out_has '^linear probe on its features '
    out_has '^fine-tuned, 4 steps '
    out_has '^from nothing, 4 steps '
    out_has '^chance +10.00 %'
    json_is "$tmp/f.json" classes 10
    json_is "$tmp/f.json" n 60
    [ "$(grep -c '"way": ' "$tmp/f.json")" -eq 4 ] || fails "not four ways: $(cat "$tmp/f.json")"
    local a
    a=$(json "$tmp/f.json" accuracy)
    run fewshot shapes:6 --weights "$learner" --shot 2 --queries 3 --repeats 2 --steps 4 --threads 1 --json "$tmp/f.json"
    json_is "$tmp/f.json" accuracy "$a"
    run fewshot "$photos" --weights "$learner" --shot 1 --repeats 1 --steps 1 --invert
    status_is 0
    out_has 'light and dark exchanged'
    out_has '^draws    1 of 1 image a class to learn from, 14 to be judged by'
    run fewshot "$photos" --weights "$learner" --shot 0 --predict "$photos/val/a/3.ppm" "$photos/val/b/3.ppm" \
        --json "$tmp/p.json"
    status_is 0
    [ "$(cut -f 1 "$tmp/out")" = "$photos/val/a/3.ppm
$photos/val/b/3.ppm" ] || fails "the answers are $(cat "$tmp/out")"
    [ "$(cut -f 2 "$tmp/out" | tr '\n' ' ')" = 'a b ' ] || fails "fewshot says $(cat "$tmp/out")"
    json_is "$tmp/p.json" n 2

    run fewshot "$photos"
    status_is 2
    err_has '--weights FILE is missing'
    run fewshot "$photos" --weights "$learner" --shot 0
    status_is 2
    run fewshot "$photos" --weights "$learner" --shot 8
    status_is 1
    err_is_two_lines
    err_has 'no class has more than 8 images'
    run fewshot "$photos" --weights "$tmp/meta/model.safetensors"
    status_is 1
    err_is_two_lines
    err_has 'of no learner'
    run fewshot "$photos" --weights "$learner" --predict "$tmp/none.png"
    status_is 1
    out_is_empty
    err_has '^error: .*none.png'
}

# ---- drawn images ---------------------------------------------------------------------------------------

# A folder that can be learned from, masks and boxes beside it: the same bytes with any number of threads.
test_draw() {
    local k
    for k in 1 2; do
        run draw surfaces --count 3 --threads $k --out "$tmp/parts$k" --masks "$tmp/masks$k" --json "$tmp/d.json"
        status_is 0
        err_is_empty
        out_has '^drawn    surfaces train, 18 images of 6 classes, 64 x 64 pixels'
        json_is "$tmp/d.json" images 18
        json_is "$tmp/d.json" boxes "$(($(wc -l <"$tmp/masks$k/boxes.csv") - 1))"
    done
    diff -r "$tmp/parts1" "$tmp/parts2" >&2 || fails "other images with two threads"
    diff -r "$tmp/masks1" "$tmp/masks2" >&2 || fails "other masks with two threads"
    [ "$(find "$tmp/parts1" -name '*.png' | wc -l)" -eq 18 ] || fails "not 18 images"
    [ "$(grep -c ',ok$' "$tmp/masks1/boxes.csv")" -eq 0 ] || fails "a box where nothing is wrong"
    [ "$(grep -c ',crack$' "$tmp/masks1/boxes.csv")" -ge 3 ] || fails "a crack without a box"
    run draw surfaces --count 3 --seed 1 --hash
    status_is 0
    cp "$tmp/out" "$tmp/seed1"
    run draw surfaces --count 3 --hash
    status_is 0
    cmp -s "$tmp/out" "$tmp/seed1" && fails "another seed draws the same images"
    run draw shapes --count 2 --out "$tmp/shapes"
    status_is 0
    [ "$(find "$tmp/shapes" -name '*.png' | wc -l)" -eq 20 ] || fails "not 20 shapes"
    run probe "$tmp/parts1" --weights "$tmp/none"
    status_is 1
    err_has "none"
}

# Ctrl-C leaves whole images, and the boxes of the masks that are there.
test_a_stopped_drawing() {
    start draw surfaces --count 30000 --size 128 --threads 1 --out "$tmp/drawn" --masks "$tmp/drawn-masks"
    until_true '[ -n "$(find "$tmp/drawn-masks" -name "00003.png" 2>/dev/null)" ]'
    [ ! -e "$tmp/drawn-masks/boxes.csv" ] || fails "boxes.csv is there before it is whole"
    kill -INT "$pid"
    wait "$pid"
    status=$?
    status_is 130
    err_has 'stopped after [0-9]+ of 180000 images; those that are there are whole'
    [ -z "$(find "$tmp/drawn" "$tmp/drawn-masks" -name '*.tmp*')" ] || fails "it left a file that is not whole"
    local flawed boxed
    flawed=$(cd "$tmp/drawn-masks" && find . -name '*.png' ! -path './ok/*' | sed 's/^..//' | sort)
    boxed=$(sed 1d "$tmp/drawn-masks/boxes.csv" | cut -d, -f1 | sort -u)
    [ -n "$boxed" ] && [ "$boxed" = "$flawed" ] || fails "boxes.csv and the masks differ"
}

test_draw_usage() {
    while IFS='|' read -r args says; do
        # shellcheck disable=SC2086  # several words
        run draw $args
        status_is 2
        out_is_empty
        err_is_two_lines
        err_has "$says"
    done <<'END'
circles --hash|circles: want surfaces.shapes.patterns
surfaces|say where to: --out DIR, or --hash
surfaces --hash --split all|--split all: want train.val.test
shapes --out x --masks y|--masks: shapes have nothing to find
END
    run draw shapes --size 64 --hash
    status_is 1
    err_has 'shapes are 32 pixels a side, not 64'
    run draw shapes --split val --hash
    status_is 1
    err_is_two_lines
    err_has "shapes have no split 'val'"
    mkdir "$tmp/full" && : >"$tmp/full/x"
    run draw surfaces --out "$tmp/full"
    status_is 1
    err_has 'the folder is not empty'
}

# A stopped pre-training ends in the same backbone, which others can load.
test_pretrain() {
    local options="--width 0.0625 --size 32 --fractals 4 --contours 4 --textures 2 --batch 16 --steps 24 --log-every 8 --seed 3"
    # shellcheck disable=SC2086
    run pretrain $options --threads 1 --out "$tmp/pre-whole" --json "$tmp/p.json"
    status_is 0
    err_is_empty
    out_has '^images   384, each seen once'
    json_is "$tmp/p.json" steps 24
    [ "$(wc -l <"$tmp/pre-whole/log.csv")" -eq 4 ] || fails "log.csv has not three rows"
    for f in model.safetensors checkpoint.safetensors curve.png samples.png result.json; do
        [ -s "$tmp/pre-whole/$f" ] || fails "no $f"
    done
    # shellcheck disable=SC2086
    start pretrain $options --steps 3000 --threads 1 --out "$tmp/pre-parts"
    until_true '[ -e "$tmp/pre-parts/log.csv" ] && [ "$(wc -l <"$tmp/pre-parts/log.csv")" -ge 2 ]'
    kill -INT "$pid"
    wait "$pid"
    status=$?
    status_is 130
    err_has 'stopped after step [0-9]+ of 3000; the checkpoint is in'
    run pretrain --resume "$tmp/pre-whole/checkpoint.safetensors" --threads 2
    status_is 0
    out_has '^resumed  .*: 24 of 24 steps are done'
    run inspect "$tmp/pre-whole/model.safetensors"
    status_is 0
    out_has '^model    resnet10 x0.0625, .*no head'
    run probe shapes:3 --weights "$tmp/pre-whole/model.safetensors" --out "$tmp/pre-probe"
    status_is 0
    run pretrain --resume "$tmp/pre-whole/checkpoint.safetensors" --steps 30
    status_is 2
    err_has "beside it there may be --threads and --json"
    run pretrain --resume "$tmp/pre-whole/model.safetensors"
    status_is 1
    err_has 'it has no options of a run'
    run pretrain --arch resnet11 --out "$tmp/no"
    status_is 1
    err_has "there is no architecture 'resnet11'"
}

# ---- what a backbone gains ---------------------------------------------------------------------------------------

# Table, page and JSON say the same; the page needs no other file.
test_gain() {
    run pretrain --width 0.0625 --size 32 --fractals 4 --contours 4 --textures 2 --batch 16 --steps 4 --out "$tmp/pre-compare"
    status_is 0
    run gain shapes:12 --weights "$tmp/pre-compare/model.safetensors" --labels 2,4 --runs 2 --steps 4 \
        --images 40 --out "$tmp/gain" --json "$tmp/c.json"
    status_is 0
    err_is_empty
    out_has '^images   90 to learn from, 30 to choose by, 40 to measure on'
    out_has '^kept     (probe|lp-ft|full) with 4 labels a class'
    json_is "$tmp/c.json" images 40
    local cell n=0
    while read -r cell; do
        grep -qF -- "$cell" "$tmp/out" || fails "the table lacks '$cell'"
        grep -qF -- ">$cell<" "$tmp/gain/gain.html" || fails "the page lacks '$cell'"
        n=$((n + 1))
    done < <(sed -nE 's/.*"cell": "([^"]*)".*/\1/p' "$tmp/c.json")
    [ "$n" -eq 10 ] || fails "$n cells, want 10"
    [ "$(grep -o 'src="data:image/png;base64,' "$tmp/gain/gain.html" | wc -l)" -eq 4 ] || fails "not 4 pictures"
    grep -qE 'src="[^d]|href=|https?:' "$tmp/gain/gain.html" && fails "the page wants other files"
    sed -nE '0,/base64,/s/.*base64,([^"]*)".*/\1/p' "$tmp/gain/gain.html" | head -n 1 | base64 -d |
        cmp -s - "$tmp/gain/samples.png" || fails "a picture is not its file"
    run predict "$tmp/gain/model.safetensors" "$tmp/gain/samples.png"
    status_is 0
    while IFS='|' read -r args says; do
        # shellcheck disable=SC2086  # several words
        run gain $args
        status_is 2
        err_is_two_lines
        err_has "$says"
    done <<'END'
shapes:4|--weights is missing
shapes:4 --weights x --labels 5,5|--labels 5,5: want up to 6 rising numbers
shapes:4 --weights x --labels five|--labels five
END
}

# ---- examples to read -----------------------------------------------------------------------------------

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

# What a file brings, with less time to learn than the lesson takes by itself: chance is 10 %.
test_learn_03() {
    what="learn-03"
    local bin_here
    bin_here=$(cd "$bin" && pwd)
    # shellcheck disable=SC2086
    (cd "$tmp" && ${RUN:-} "$bin_here/learn-03_fine_tune" 400 4) >"$tmp/out" 2>"$tmp/err" || fails "status $?"
    err_is_empty
    out_has '^five_shapes.safetensors: five shapes learned from 2000 images'
    out_has '^probe: 32 numbers an image, penalty [0-9.]+ by 5-fold cross-validation'
    awk '/^linear probe / { probe = $3; new = $8 } /^then all layers / { all = $4 } /^from nothing/ { none = $6 }
         END { exit !(probe > 17 && new > 14 && all > 17 && none > 0 && none < 17 && all > none + 5) }' \
        "$tmp/out" || fails "$(cat "$tmp/out")"
    [ -s "$tmp/five_shapes.safetensors" ] || fails "no file of five shapes"
    # shellcheck disable=SC2086
    ${RUN:-} "$bin/learn-03_fine_tune" 1 >"$tmp/out" 2>&1
    [ $? -eq 2 ] || fails "learn-03 with one image: not status 2"
}

# A gradient that agrees with finite differences, of each parameter, and a loss that falls.
test_learn_04() {
    what="learn-04"
    # shellcheck disable=SC2086
    ${RUN:-} "$bin/learn-04_own_layer" >"$tmp/out" 2>"$tmp/err" || fails "status $?"
    err_is_empty
    awk '/<g, v> = / { n++ } /^largest relative difference/ { off = $NF }
         /^step +1 / { first = $NF } /^step 150 / { last = $NF }
         END { exit !(n == 5 && off > 0 && off < 1e-6 && last > 0 && last < 0.5 * first) }' "$tmp/out" ||
        fails "$(cat "$tmp/out")"
}

# Both derivatives of the op are right, the wrong one is found, and it does what it is for.
test_learn_05() {
    what="learn-05"
    # shellcheck disable=SC2086
    ${RUN:-} "$bin/learn-05_own_op" >"$tmp/out" 2>"$tmp/err" || fails "status $?"
    err_is_empty
    awk '/^the gradient is off by/ { one = $6 + 0; two = $NF }
         /^with the factor forgotten/ { wrong = $6 + 0 }
         /^squares / { squares = $4 } /^log cosh / { ours = $5; at = $NF }
         END { exit !(one > 0 && one < 1e-7 && two > 0 && two < 1e-7 && wrong > 0.1 && squares > 4 &&
                      ours > 1.5 && ours < 3 && at > 0.9 && at < 1.1) }' "$tmp/out" || fails "$(cat "$tmp/out")"
}

# A thousand outer steps: five gradient steps on a new task help already.
test_learn_06() {
    what="learn-06"
    local bin_here
    bin_here=$(cd "$bin" && pwd)
    # shellcheck disable=SC2086
    (cd "$tmp" && ${RUN:-} "$bin_here/learn-06_sinusoid_maml" 1000 1) >"$tmp/out" 2>"$tmp/err" ||
        fails "status $?"
    err_is_empty
    awk '/^after  0 / { first = $(NF - 2) } /^after  5 / { last = $(NF - 2) }
         END { exit !(first > 1 && last < 0.9 * first) }' "$tmp/out" || fails "$(cat "$tmp/out")"
    [ -s "$tmp/sinusoid.png" ] || fails "no picture"
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
