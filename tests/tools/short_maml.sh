#!/usr/bin/env bash
# A short run on real data: 1,000 outer steps of MAML on Omniglot, 5 ways and 1 shot, must end above 90 % on
# tasks of the validation classes (test classes are left alone).
#
#   tests/tools/short_maml.sh PROGRAMS              (the folder of tlv-meta)
#
# Skipped, and counted so, where $TLV_DATA (default ../shared/data) is missing.  Ends with "N passed, ...".
set -u

data=${TLV_DATA:-../shared/data}/omniglot/omniglot28-images-idx4-ubyte.gz
if [ ! -f "$data" ]; then
    echo "SKIPPED short_maml: no $data"
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
fi
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
"$1/tlv-meta" "idx:$data" --method maml --ways 5 --shots 1 --iterations 1000 --lr 0.003 --lr-end 0.00001 \
    --val-every 500 --val-tasks 300 --no-test --out "$dir/run" || { echo "0 passed, 1 failed, 0 skipped"; exit 1; }
# The last row of the log: iteration, ..., accuracy on validation tasks.
if awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == "val_accuracy") col = i } { last = $col }
            END { exit !(col && last > 0.90) }' "$dir/run/log.csv"; then
    echo "1 passed, 0 failed, 0 skipped"
else
    echo "FAILED short_maml: not above 90 % after 1,000 steps"
    tail -n 3 "$dir/run/log.csv"
    echo "0 passed, 1 failed, 0 skipped"
    exit 1
fi
