#!/usr/bin/env bash
# From photographs to digits: ResNet-20 with CIFAR-10 weights learns USPS from 20 labels a class,
# beside the same network from nothing with as many steps.  Prints accuracy on the 2,007 test images after the
# last epoch, mean and standard deviation over the seeds.
#
#   examples/usps.sh [DATA] [SEEDS]         DATA: the folder that holds usps/ and resnet_cifar10/
#                                           (default $TLV_DATA, then ../shared/data); SEEDS: default 3
#
# Optimizer, rate and augmentation were chosen for each of the two by itself, from one grid (sgd and adamw,
# five rates, with and without shifts), on 600 images held out of the training set, never on the test set.
# TLV_BIN is where tlv-finetune is (default build/bin).
set -eu

data=${1:-${TLV_DATA:-../shared/data}}
seeds=${2:-3}
bin=${TLV_BIN:-build/bin}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

for split in train test; do
    for kind in images-idx3 labels-idx1; do
        gunzip -c "$data/usps/usps-$split-$kind-ubyte.gz" >"$tmp/$split-$kind"
    done
done
train="idx:$tmp/train-images-idx3,$tmp/train-labels-idx1"
test="idx:$tmp/test-images-idx3,$tmp/test-labels-idx1"

# $1: a name; the rest: options.  One line a seed, then mean and spread.
measure() {
    local name=$1 seed accuracy all=()
    shift
    for ((seed = 0; seed < seeds; seed++)); do
        "$bin/tlv-finetune" "$train" --val "$test" --per-class 20 --epochs 15 --batch 50 \
            --seed "$seed" --out "$tmp/$name-$seed" --json "$tmp/$name-$seed.json" "$@" >"$tmp/log" ||
            { cat "$tmp/log"; exit 1; }
        accuracy=$(sed -nE 's/^ *"accuracy": ([0-9.eE+-]+),?$/\1/p' "$tmp/$name-$seed.json")
        printf '%-12s seed %d  %6.2f %%\n' "$name" "$seed" "$(awk "BEGIN { print 100 * $accuracy }")"
        all+=("$accuracy")
    done
    printf '%s\n' "${all[@]}" | awk -v name="$name" '
        { s += 100 * $1; q += 1e4 * $1 * $1 }
        END { m = s / NR; v = NR > 1 ? (q - NR * m * m) / (NR - 1) : 0
              printf "%-12s %6.2f +- %.2f %%  (%d seeds)\n", name, m, sqrt(v > 0 ? v : 0), NR }'
}

measure transfer --weights "$data/resnet_cifar10/resnet20.safetensors" --new-head \
    --bn train --optim adamw --lr 0.01
measure from-nothing --arch resnet20 --optim sgd --lr 0.05 --augment crop
