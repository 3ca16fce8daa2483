#!/usr/bin/env bash
# The long runs behind docs/results/ (make reproduce): learning to learn on Omniglot.
#
#   tests/tools/reproduce.sh PROGRAMS [NAME...]     (the folder of tlv-meta; default: every run)
#
#   MINUTES      of training at most, over all calls (default 20 a run)
#   THREADS      of a run (default: all)
#   RUNS         where runs live (default build/reproduce): a run that is there goes on from its checkpoint
#
# A run that reached its time or its steps is tested once on the test classes; its log.csv, result.json and, up to
# 1.5 MB, checkpoint.safetensors go to docs/results/NAME.  Needs $TLV_DATA (default ../shared/data).
set -eu

bin=$1
shift
runs=${RUNS:-build/reproduce}
data=${TLV_DATA:-../shared/data}/omniglot/omniglot28-images-idx4-ubyte.gz
[ -f "$data" ] || { echo "reproduce: no $data: set TLV_DATA" >&2; exit 1; }

# Name, and what differs from the method's published recipe.
table='
maml-5w1s       --method maml --lr 0.003 --lr-end 0.00001 --iterations 9500
fomaml-5w1s     --method fomaml --lr 0.003 --lr-end 0.00001 --iterations 12000
reptile-5w1s    --method reptile --iterations 100000 --val-every 5000
protonet-5w1s   --method protonet --iterations 2500
maml-5w5s       --method maml --shots 5 --lr 0.003 --lr-end 0.00001 --iterations 6000
maml-20w1s      --method maml --ways 20
fomaml-20w1s    --method fomaml --ways 20
anil-20w1s      --method anil --ways 20 --lr 0.003 --lr-end 0.00001 --iterations 20000 --val-every 1000
maml++-20w1s    --method maml++ --ways 20
'

run() {                                 # NAME OPTION...
    local name=$1 dir=$runs/$1 to=docs/results/$1
    shift
    mkdir -p "$runs"
    echo "== $name"
    if [ -f "$dir/checkpoint.safetensors" ]; then
        "$bin/tlv-meta" --resume "$dir/checkpoint.safetensors" --minutes "${MINUTES:-20}"
    else
        "$bin/tlv-meta" "idx:$data" "$@" --threads "${THREADS:-0}" --minutes "${MINUTES:-20}" --val-tasks 300 --test-tasks 2000 \
            --test-seed 20261201 --out "$dir"
    fi
    mkdir -p "$to"
    cp "$dir/log.csv" "$to/"
    grep -v '"folder"' "$dir/result.json" >"$to/result.json"
    if [ "$(stat -c %s "$dir/checkpoint.safetensors")" -le 1500000 ]; then
        cp "$dir/checkpoint.safetensors" "$to/"
    fi
}

wanted=${*:-$(awk 'NF { print $1 }' <<<"$table")}
for name in $wanted; do
    options=$(awk -v n="$name" '$1 == n { $1 = ""; print }' <<<"$table")
    [ -n "$options" ] || { echo "reproduce: no run $name: see the table in this file" >&2; exit 2; }
    # shellcheck disable=SC2086  # several words
    run "$name" $options
done
