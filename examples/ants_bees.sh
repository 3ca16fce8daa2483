#!/usr/bin/env bash
# What pre-trained weights bring: ants against bees, 244 photographs to learn from and 153 to measure on, with MobileNetV2
# x0.35 from ImageNet: a linear probe, LP-FT, and the same network from nothing with as many steps.  Prints the accuracy
# after the last epoch, and mean and standard deviation over the seeds.
#
#   examples/ants_bees.sh [DATA] [SEEDS]    DATA: the folder that holds hymenoptera/ and mobilenetv2_035_224/
#                                           (default $TLV_DATA, then ../shared/data); SEEDS: default 3
#
# Options are the program's defaults; LP-FT's rate was chosen on a fifth of the training images, never on the others.
# TLV_BIN is where the programs are (default build/bin).
set -eu

data=${1:-${TLV_DATA:-../shared/data}}
seeds=${2:-3}
bin=${TLV_BIN:-build/bin}
weights=$data/mobilenetv2_035_224/mobilenetv2_035_224_notop.safetensors
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# $1: a name; $2: the program; the rest: options.  One line a seed, then mean and spread.
measure() {
    local name=$1 program=$2 seed accuracy all=()
    shift 2
    for ((seed = 0; seed < seeds; seed++)); do
        "$bin/$program" "$data/hymenoptera" --weights "$weights" --seed "$seed" --out "$tmp/$name-$seed" \
            --json "$tmp/json" "$@" >"$tmp/log" || { cat "$tmp/log"; exit 1; }
        accuracy=$(sed -nE 's/^ *"accuracy": ([0-9.eE+-]+),?$/\1/p' "$tmp/json")
        printf '%-12s seed %d  %6.2f %%\n' "$name" "$seed" "$(awk "BEGIN { print 100 * $accuracy }")"
        all+=("$accuracy")
    done
    printf '%s\n' "${all[@]}" | awk -v name="$name" '
        { s += 100 * $1; q += 1e4 * $1 * $1 }
        END { m = s / NR; v = NR > 1 ? (q - NR * m * m) / (NR - 1) : 0
              printf "%-12s %6.2f +- %.2f %%  (%d seeds)\n", name, m, sqrt(v > 0 ? v : 0), NR }'
}

measure probe tlv-probe
measure lp-ft tlv-finetune --strategy lp-ft
measure from-nothing tlv-finetune --scratch
