"""torch_session.py -- runs cases of the peers' PyTorch scripts by turns with other programs (bench_peers.py starts it).

    PYTHON torch_session.py PEERS THREADS

Imports torch once.  A line of standard input {"script": "torch_ops.py", "argv": [...], "only": CASE} forks a child that
runs the script, skips all other cases, warms this one up, prints "ready" and obeys "go SECONDS MIN MAX" and "end", as
benchtime.h describes; then "done".  The timing is the same: a call that is not counted, runs, their median.
"""
import json
import os
import runpy
import sys
import time

peers, threads = sys.argv[1], int(sys.argv[2])
sys.path.insert(0, peers)
import tpeer

torch = tpeer.setup(threads)
tpeer.setup = lambda threads: torch
OUT = os.dup(1)                                     # scripts may redirect standard output while they time


def say(text):
    os.write(OUT, (text + "\n").encode())


def hear():
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            return ""
        line += byte
    return line.decode()


def timed(fn, calls):
    t = time.perf_counter()
    for _ in range(calls):
        fn()
    return (time.perf_counter() - t) / calls


def burst(name, fn, work, unit, one, inner, budget, least, most):
    runs = max(1, least, min(most, int(budget / (one * inner))))
    if one < 0.3:
        fn()
    busy, own = tpeer._cpu()
    t = time.perf_counter()
    r = sorted(timed(fn, inner) for _ in range(runs))
    wall = time.perf_counter() - t
    busy2, own2 = tpeer._cpu()
    others = (busy2 - busy) - (own2 - own)
    note = ", disturbed" if others > 0.05 and others > 0.15 * wall else ""
    m = r[runs // 2]
    say(f"{name}, {tpeer.peer()}, {threads}, {m * 1e3:.6f}, {work / m:.5g}, {unit}, {r[0] * 1e3:.6f}, "
        f"{r[-1] * 1e3:.6f}, {runs}, peak_rss_mb={tpeer.rss_mb():.1f}{note}")


def session(only):
    def bench(name, _threads, fn, work=0.0, unit="GFLOP/s", **_):
        if name != only:
            return
        one = timed(fn, 1)
        if one < 1:
            one = timed(fn, 1)
        if one < 2e-4:
            one = timed(fn, int(2e-4 / one) + 1)
        inner = int(1e-3 / one) + 1 if one < 1e-3 else 1
        say("ready")
        while True:
            words = hear().split()
            if not words or words[0] == "end":
                raise SystemExit(0)
            burst(name, fn, work, unit, one, inner, float(words[1]), int(words[2]), int(words[3]))
    return bench


def main():
    while True:
        line = hear()
        if not line:
            return
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            status = 0
            tpeer.bench = session(order["only"])
            sys.argv = [order["script"]] + order["argv"]
            try:
                runpy.run_path(os.path.join(peers, order["script"]), run_name="__main__")
            except SystemExit:
                pass
            except BaseException as e:              # the parent must go on whatever the script does
                sys.stderr.write(f"{order['script']} {order['only']}: {e!r}\n")
                status = 1
            os._exit(status)
        os.waitpid(child, 0)
        say("done")


main()
