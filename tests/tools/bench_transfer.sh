#!/usr/bin/env bash
# Times the transfer programs beside PyTorch on the same machine, the two sides by turns (make bench-transfer).
#
#   tests/tools/bench_transfer.sh [probe] [finetune] [predict]
#
#   BIN       the programs (default build/bin)            PAIRS     of runs (default 5; finetune 3)
#   TLV_DATA  the data (default ../shared/data)           THREADS   of both sides (default 2)
#   PEERS     the programs that drive PyTorch (default ../shared/peers); without them our side is timed alone
#   PYTHON    an interpreter with PyTorch (default: that of tests/goldens/env.sh --python debian)
#
# A line a case: median seconds of both sides, their ratio (above 1: we are faster), smallest and largest of each.
set -u

bin=${BIN:-build/bin} data=${TLV_DATA:-../shared/data} peers=${PEERS:-../shared/peers} threads=${THREADS:-2}
python=${PYTHON:-$(tests/goldens/env.sh --python debian)}
hymenoptera=$data/hymenoptera weights=$data/mobilenetv2_035_224/mobilenetv2_035_224_notop.safetensors
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
[ -d "$hymenoptera" ] || { echo "bench_transfer: no $hymenoptera (set TLV_DATA)"; exit 1; }

now() { date +%s.%N; }
calc() { awk "BEGIN { printf \"%.4f\", $1 }"; }
median() { sort -g | awk '{ v[NR] = $1 } END { printf "%.4f\n", NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
ends() { sort -g | awk 'NR == 1 { lo = $1 } { hi = $1 } END { printf "%.3f..%.3f", lo, hi }'; }

# Seconds of PyTorch for method $1, decoding included, import excluded: as the peer's program counts them.
torch() {
    [ -f "$peers/torch_transfer.py" ] || return 1
    "$python" - "$peers" "$threads" "$data" "$1" "${2:-15}" <<'PY'
import contextlib, io, os, runpy, sys, time
peers, threads, data, method, epochs = sys.argv[1:]
sys.path.insert(0, peers)
sys.argv = ["torch_transfer.py", threads, data, method, "1", epochs]
import torch, numpy                     # both would be imported before the peer's clock starts
begin, first = time.time, []
time.time = lambda: first.append(begin()) or first[-1]
out = io.StringIO()
with contextlib.redirect_stdout(out):
    runpy.run_path(os.path.join(peers, "torch_transfer.py"), run_name="__main__")
sys.stderr.write("    " + out.getvalue())
print(first[-1] - first[0])
PY
}

# Seconds of a program of ours, the whole process.
ours() {
    local begin end
    begin=$(now)
    "$@" --threads "$threads" --out "$tmp/run-$RANDOM$RANDOM" --json "$tmp/json" >"$tmp/log" 2>&1 ||
        { cat "$tmp/log" >&2; exit 1; }
    end=$(now)
    calc "$end - $begin"
}

report() {      # name, what we took, what PyTorch took: files of numbers
    local a b
    a=$(median <"$2")
    if [ -s "$3" ]; then
        b=$(median <"$3")
        echo "$1: $a s ($(ends <"$2")), PyTorch $b s ($(ends <"$3")), ratio $(calc "$b / $a"), $threads threads"
    else
        echo "$1: $a s ($(ends <"$2")), no PyTorch beside it, $threads threads"
    fi
}

bench_probe() {
    for i in $(seq "${PAIRS:-5}"); do
        ours "$bin/tlv-probe" "$hymenoptera" --weights "$weights" >>"$tmp/probe.a"
        echo >>"$tmp/probe.a"
        torch probe >>"$tmp/probe.b"
    done
    report "probe, hymenoptera, MobileNetV2 x0.35" "$tmp/probe.a" "$tmp/probe.b"
}

# An epoch: (all of LP-FT - its probe) / EPOCHS (default 15), on both sides.
bench_finetune() {
    local all probe epochs=${EPOCHS:-15}
    for i in $(seq "${PAIRS:-3}"); do
        all=$(ours "$bin/tlv-finetune" "$hymenoptera" --weights "$weights" --strategy lp-ft --epochs "$epochs" \
              --batch 16)
        probe=$(ours "$bin/tlv-probe" "$hymenoptera" --weights "$weights")
        calc "($all - $probe) / $epochs" >>"$tmp/epoch.a"
        echo >>"$tmp/epoch.a"
        all=$(torch lpft "$epochs") && probe=$(torch probe) &&
            { calc "($all - $probe) / $epochs"; echo; } >>"$tmp/epoch.b"
    done
    report "an epoch of LP-FT, hymenoptera, MobileNetV2 x0.35, batch 16" "$tmp/epoch.a" "$tmp/epoch.b"
}

for what in ${*:-probe finetune}; do "bench_$what"; done
