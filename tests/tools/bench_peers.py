#!/usr/bin/env python3
"""bench_peers.py -- the library beside the peers, by turns, each case at 1 and 2 threads (make bench-peers, roofline).

    bench_peers.py PEERS [options]          PEERS: folder of the peers' programs (gemm_cblas.c, torch_ops.py ...)

    --cases RE      only these cases of ours           --threads 1,2     at so many threads
    --quick         a case or two of each bar, at 3 pairs, under 10 minutes
    --budget MIN    minutes for all (default 35): scales how long each turn times; what is left waits for the next call
    --pairs N       pairs a case (default 5; 3 where a step takes more than 3 s)
    --fresh         forget earlier results             --table           measure nothing, print what there is
    --write FILE    also put the table between the marks in FILE (docs/performance.md)
    --roofline      no peers: each case against the limits of the machine (PEERS may be missing)

Results are appended to build/bench/results.jsonl after each turn, with a checksum of the library; a call goes on where
the last one ended, and begins again where the library has changed.  Bars are in bars.tsv.  Peers are what is
installed (peers_setup.sh): those that are not are named and left out.  Every program is warm before its first turn,
and all of them time by the same rules (benchtime.h, torch_session.py).
Environment: BENCHES (our programs), BUILD, LIB, CC, CXX, TORCH1, TORCH2 (interpreters; TORCH2 for the current one).
"""
import argparse
import datetime
import glob
import hashlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.environ.get("BUILD", "build")
DIR = os.path.join(BUILD, "bench")
LIB = os.environ.get("LIB", os.path.join(BUILD, "libtlvision.a"))
OURS = "ours"
MODELS = ("resnet18", "resnet50", "mobilenet_v2", "vit_b_16", "resnet20")
LIMITS = "^(peak_f32|(read|copy|triad)_.*)$"
SLOW_STEP = 3.0             # seconds; above it 3 pairs are enough: noise is small beside such a step
DROP = 1.15                 # a torch that is so much slower than another after two turns leaves the race


def note(text):
    print("# " + text, file=sys.stderr, flush=True)


# ---- the machine -------------------------------------------------------------------------------------------------

def busy():
    """Busy seconds of all cores, stolen time included, less our own."""
    with open("/proc/stat") as f:
        v = [int(x) for x in f.readline().split()[1:9]]
    return (sum(v[:3]) + sum(v[5:8])) / os.sysconf("SC_CLK_TCK") - sum(os.times()[:4])


def wait_quiet(seconds=20):
    end = time.time() + seconds
    while not os.environ.get("BENCH_NOWAIT") and time.time() < end:
        before = busy()
        time.sleep(0.1)
        if busy() - before < 0.025:
            return


def cpu_facts():
    with open("/proc/cpuinfo") as f:
        text = f.read()
    def get(key):
        m = re.search(r"^%s\s*: (.*)$" % key, text, re.M)
        return m.group(1) if m else "?"
    flags = set(get("flags").split())
    isa = [x for x in ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16") if x in flags]
    return "%s (family %s, model %s; %s), %d cores, Linux %s" % (
        get("model name"), get("cpu family"), get("model"), " ".join(isa), os.cpu_count(), os.uname().release)


def cache_bytes(level):
    for d in glob.glob("/sys/devices/system/cpu/cpu0/cache/index*"):
        def read(name):
            with open(os.path.join(d, name)) as f:
                return f.read().strip()
        if read("level") == str(level) and read("type") != "Instruction":
            return int(read("size").rstrip("K")) * 1024
    return {1: 32 << 10, 2: 512 << 10, 3: 8 << 20}[level]


# ---- programs that take turns ------------------------------------------------------------------------------------

def parse(line):
    """case, peer, threads, median_ms, rate, unit, min_ms, max_ms, runs[, note ...]"""
    f = [x.strip() for x in line.split(",")]
    if len(f) < 9:
        return None
    r = {"peer": f[1], "ms": float(f[3]), "rate": float(f[4]), "unit": f[5], "lo": float(f[6]), "hi": float(f[7]),
         "runs": int(f[8]), "disturbed": "disturbed" in f[9:]}
    for n in f[9:]:
        m = re.match(r"(peak_rss_mb|gflop|gb)=([\d.e-]+)", n)
        if m:
            r[m.group(1)] = float(m.group(2))
        elif n != "disturbed":
            r.setdefault("note", n)
    return r


class Program:
    """A program in session mode, warm when made; None in .p means that it has no such case."""

    def __init__(self, cmd, env, case):
        full = dict(os.environ, BENCH_SESSION="1", BENCH_NOWAIT="1", BENCH_ONLY=case, **env)
        full.pop("CASES", None)
        self.p = subprocess.Popen(cmd, env=full, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL)
        if not self.hear("ready"):
            self.end()

    def hear(self, word):
        for line in self.p.stdout:
            if line.strip() == word:
                return True
        return False

    def say(self, text):
        self.p.stdin.write(text + "\n")
        self.p.stdin.flush()

    def go(self, seconds, least, most):
        self.say("go %g %d %d" % (seconds, least, most))
        return parse(self.p.stdout.readline())

    def end(self):
        if self.p:
            try:
                self.say("end")
                self.p.stdin.close()
            except OSError:             # it is gone already
                pass
            self.p.stdout.close()
            self.p.wait()
            self.p = None


class Import:
    """Starts an interpreter that imports torch and ends."""

    def __init__(self, python, name):
        self.python, self.name, self.p = python, name, True
        self.go(0, 1, 1)

    def go(self, seconds, least, most):
        t = time.perf_counter()
        p = subprocess.Popen([self.python, "-c", "import torch"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(p.pid, 0)
        p.returncode = status
        ms = (time.perf_counter() - t) * 1e3
        return {"peer": self.name, "ms": ms, "rate": 1e3 / ms, "unit": "start/s", "lo": ms, "hi": ms, "runs": 1,
                "disturbed": False, "peak_rss_mb": usage.ru_maxrss / 1024}

    def end(self):
        self.p = None


class Torch:
    """A PyTorch whose cases run one at a time, each in a child of a process that has imported it."""

    def __init__(self, python, peers, threads, env):
        self.p = subprocess.Popen([python, os.path.join(HERE, "torch_session.py"), peers, str(threads)], text=True,
                                  env=dict(os.environ, **env), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL)
        self.in_use = False

    def open(self, script, argv, case):
        self.in_use = True
        return TorchCase(self, {"script": script, "argv": argv, "only": case})

    def close(self):
        self.p.stdin.close()
        self.p.wait()


class TorchCase(Program):
    def __init__(self, torch, order):
        self.torch, self.p = torch, torch.p
        self.say(json.dumps(order))
        for line in self.p.stdout:
            if line.strip() == "ready":
                return
            if line.strip() == "done":
                break
        self.p, torch.in_use = None, False

    def end(self):
        if self.p:
            self.say("end")
            self.hear("done")
            self.p, self.torch.in_use = None, False


# ---- peers -------------------------------------------------------------------------------------------------------

def plain_case(case):
    """The peers' name of a case of ours."""
    return re.sub(r"/(channels_last|bn_relu6|folded|recompute|op|packed|direct|bf16)$", "", case)


def torch_order(case, threads, gemm_shapes):
    """[(variant, script, arguments, the script's name of the case)]"""
    c, t = plain_case(case), str(threads)
    m = re.match(r"(%s)/(infer|train|probe)/b(\d+)$" % "|".join(MODELS), c)
    if m:
        name, mode, batch = m.groups()
        orders = [("", "torch_e2e.py", [t, name, mode, batch], c)]
        if name != "vit_b_16":
            orders.append(("channels_last", "torch_e2e.py", [t, name, mode, batch, "channels_last"],
                           c + "/channels_last"))
        return orders
    if c in gemm_shapes:
        return [("", "torch_ops.py", [t, "gemm", c], c)]
    m = re.match(r"(\w+)/b(\d+)/(fwd|bwd_d|bwd_w)$", c)
    if m:
        return [("", "torch_ops.py", [t, "conv", m.group(1), m.group(2)], c)]
    if c.startswith("attn_8x12"):
        return [(v, "torch_ops.py", [t, "sdpa"], c.replace("attn_", "attn_%s_" % v)) for v in ("naive", "sdpa")]
    if c.startswith(("sin_", "omni_maml")):
        return [("", "torch_maml.py", [t, c.split("_")[0]], c)]
    what = "add_small" if c.startswith("add_") else "adam_sgd" if c.endswith("_25M") else c.split("/")[0]
    return [("", "torch_ops.py", [t, "ops", what], c)]


class Peers:
    def __init__(self, folder):
        self.folder, self.bin = folder, os.path.join(DIR, "bin")
        self.torches, self.missing, self.versions = {}, {}, {}
        self.gemm_shapes = {}
        os.makedirs(self.bin, exist_ok=True)
        if folder:
            with open(os.path.join(folder, "shapes_gemm.txt")) as f:
                self.gemm_shapes = {x.split()[0]: x for x in f if x.strip() and x[0] != "#"}
            with open(os.path.join(folder, "shapes_conv.txt")) as f:
                self.conv_shapes = {x.split()[0]: x for x in f if x.strip() and x[0] != "#"}
            self.build()
            self.find_torch()
            self.find_blas()

    def build(self):
        cc, cxx = os.environ.get("CC", "cc"), os.environ.get("CXX", "c++")
        clock = ["-D_GNU_SOURCE", "-include", os.path.join(HERE, "..", "benchtime.h")]
        for name, cmd in {
            "gemm_cblas": [cc, "-O2", "gemm_cblas.c", "-ldl"],
            "onednn": [cxx, "-O2", "-fopenmp", "onednn.cpp", "-ldnnl"],
            "sin_mlp": [cc, "-O3", "-march=native", "-ffast-math", "sin_mlp.c", "-lm"],
            "xsmm": [cc, "-O2", "xsmm.c", "-lxsmmext", "-lxsmm", "-lxsmmnoblas", "-ldl", "-lm", "-lpthread"],
        }.items():
            out = os.path.join(self.bin, name)
            source = [os.path.join(self.folder, x) for x in cmd if x.endswith((".c", ".cpp"))][0]
            used = [source, os.path.join(HERE, "..", "benchtime.h")]
            if os.path.exists(out) and all(os.path.getmtime(out) > os.path.getmtime(x) for x in used):
                continue
            cmd = [source if x.endswith((".c", ".cpp")) else x for x in cmd]
            r = subprocess.run(cmd[:1] + clock + cmd[1:] + ["-o", out], stderr=subprocess.PIPE, text=True)
            if r.returncode:
                self.missing[name] = "does not build (peers_setup.sh): " + r.stderr.strip().split("\n")[0]

    def find_torch(self):
        env_sh = os.path.join(HERE, "..", "goldens", "env.sh")
        def python_of(which):
            return subprocess.run([env_sh, "--python", which], stdout=subprocess.PIPE, text=True).stdout.strip()
        stub = subprocess.run([os.path.join(HERE, "peers_setup.sh"), "--where"], stdout=subprocess.PIPE,
                              text=True).stdout.strip()
        blas = glob.glob("/usr/lib/*/openblas-openmp") + glob.glob("/usr/lib*/openblas-openmp")
        first = {"LD_LIBRARY_PATH": blas[0]} if blas else {}
        self.blas = os.path.join(blas[0], "libopenblas.so.0") if blas else "libopenblas.so.0"
        self.pythons = {"torch-1.13": (os.environ.get("TORCH1") or python_of("debian"), first),
                        "torch-2": (os.environ.get("TORCH2") or python_of("torch2"), {"PYTHONPATH": stub})}
        for name in list(self.pythons):
            python, env = self.pythons[name]
            r = subprocess.run([python, "-c", "import torch; print(torch.__version__)"], env=dict(os.environ, **env),
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) \
                if os.path.exists(python) else None
            if not r or r.returncode:
                self.missing[name] = "no %s that imports torch (peers_setup.sh)" % python
                del self.pythons[name]
            else:
                self.versions[name] = r.stdout.strip()

    def find_blas(self):
        """The fastest OPENBLAS_CORETYPE of those that this CPU can run."""
        self.core = ""
        with open("/proc/cpuinfo") as f:
            kinds = ["Zen", "Haswell"] + (["SkylakeX"] if "avx512f" in f.read() else [])
        rates = {}
        running = {} if "gemm_cblas" in self.missing else {core: self.cblas("sq512", 1, core) for core in kinds}
        for core, p in list(running.items()) * 6:       # by turns: the clock changes meanwhile
            if p.p:
                rates[core] = max(rates.get(core, 0), p.go(0.05, 3, 50)["rate"])
        for p in running.values():
            p.end()
        if rates:
            self.core = max(rates, key=rates.get)
            self.versions["openblas"] = "core %s (%s GFLOP/s at sq512, 1 thread)" % (
                self.core, ", ".join("%s %.1f" % x for x in rates.items()))
        for name, package in (("openblas", "libopenblas0-openmp"), ("onednn", "libdnnl2"), ("xsmm", "libxsmm-dev")):
            r = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True) if shutil.which("dpkg-query") else None
            if r and r.stdout:
                self.versions[name] = (r.stdout + " " + self.versions.get(name, "")).strip()

    def one_shape(self, table, name):
        path = os.path.join(DIR, "shape_%s.txt" % name)
        with open(path, "w") as f:
            f.write(table[name])
        return path

    def cblas(self, case, threads, core):
        env = {"OPENBLAS_CORETYPE": core} if core else {}
        shapes = self.one_shape(self.gemm_shapes, case)
        return Program([os.path.join(self.bin, "gemm_cblas"), self.blas, "openblas", str(threads), shapes], env, case)

    def torch_slot(self, name, threads):
        slots = self.torches.setdefault((name, threads), [])
        for t in slots:
            if not t.in_use:
                return t
        python, env = self.pythons[name]
        env = dict(env, PEER_CORETYPE=self.core, PEER_NOWAIT="1")
        slots.append(Torch(python, self.folder, threads, env))
        return slots[-1]

    def open(self, peer, case, threads):
        """{variant: opener} of a peer for a case of ours."""
        c = plain_case(case)
        if peer == "torch":
            return {"/".join(x for x in (name, v) if x): lambda n=name, s=script, a=argv, o=only:
                    self.torch_slot(n, threads).open(s, a, o)
                    for name in self.pythons for v, script, argv, only in torch_order(case, threads, self.gemm_shapes)}
        if peer == "import":
            return {"import " + n: lambda p=python, n=n: Import(p, n) for n, (python, _) in self.pythons.items()}
        if peer == "openblas" and c in self.gemm_shapes and "gemm_cblas" not in self.missing:
            return {peer: lambda: self.cblas(c, threads, self.core)}
        if peer == "onednn" and peer not in self.missing:
            if c in self.gemm_shapes:
                cmd = ["gemm", str(threads), self.one_shape(self.gemm_shapes, c)]
            elif c.split("/")[0] in self.conv_shapes:
                shape, batch, what = c.split("/")
                cmd = ["conv", str(threads), self.one_shape(self.conv_shapes, shape), batch[1:], shape, what]
            else:
                return {}
            return {peer: lambda: Program([os.path.join(self.bin, "onednn")] + cmd, {}, c)}
        if peer == "xsmm" and peer not in self.missing and c in self.gemm_shapes:
            return {peer: lambda: Program([os.path.join(self.bin, "xsmm"), self.one_shape(self.gemm_shapes, c)], {}, c)}
        if peer == "raw-c" and "sin_mlp" not in self.missing:
            return {peer: lambda: Program([os.path.join(self.bin, "sin_mlp")], {}, c)}
        return {}

    def close(self):
        for slots in self.torches.values():
            for t in slots:
                t.close()


# ---- our side ----------------------------------------------------------------------------------------------------

class Ours:
    def __init__(self):
        self.program = {}
        for exe in os.environ.get("BENCHES", "").split():
            r = subprocess.run([exe], env=dict(os.environ, BENCH_LIST="1", CASES=""), stdout=subprocess.PIPE, text=True)
            for case in r.stdout.split("\n"):
                if case:
                    self.program[case] = exe
        h = hashlib.sha256()
        for path in [LIB] + sorted(set(self.program.values())):
            with open(path, "rb") as f:
                h.update(f.read())
        self.id = h.hexdigest()[:12]

    def open(self, case, threads, env=None):
        return Program([self.program[case]], dict({"THREADS": str(threads)}, **(env or {})), case)

    def open_own(self, how, case, threads):
        key, value = how.split(" ", 1)[1].split("=", 1)
        if key == "case":
            case = case.replace(*value.split(":"))
            return self.open(case, threads)
        return self.open(case, threads, {key: value})


def library_mb():
    copy = os.path.join(DIR, "stripped.a")
    shutil.copy(LIB, copy)
    subprocess.run(["strip", "--strip-debug", copy], check=False)
    return os.path.getsize(copy) / 1e6


# ---- results -----------------------------------------------------------------------------------------------------

class Results:
    def __init__(self, lib, fresh):
        self.lib, self.path = lib, os.path.join(DIR, "results.jsonl")
        if fresh and os.path.exists(self.path):
            os.remove(self.path)
        self.absent = set()                 # (case, threads, variant) that the program does not have
        self.rows = {}                      # (case, threads) -> {variant: {round: record}}
        if os.path.exists(self.path):
            with open(self.path) as f:
                for line in f:
                    try:
                        self.keep(json.loads(line))
                    except ValueError:
                        pass                # the last line of a call that was ended

    def keep(self, r):
        if r["lib"] != self.lib:
            return
        if "absent" in r:
            self.absent.add((r["case"], r["threads"], r["variant"]))
        else:
            self.rows.setdefault((r["case"], r["threads"]), {}).setdefault(r["variant"], {})[r["round"]] = r

    def add(self, case, threads, variant, rnd, r):
        r = dict(r, lib=self.lib, case=case, threads=threads, variant=variant, round=rnd,
                 at=datetime.datetime.now().isoformat(timespec="seconds"))
        self.keep(r)
        with open(self.path, "a") as f:
            f.write(json.dumps(r) + "\n")

    def get(self, case, threads):
        return self.rows.get((case, threads), {})


def median(rounds, key="ms"):
    v = [r[key] for r in rounds.values() if key in r]
    return statistics.median(v) if v else None


# ---- bars --------------------------------------------------------------------------------------------------------

class Bar:
    def __init__(self, line):
        f = line.rstrip("\n").split("\t")
        self.row, self.cases, self.metric, self.limit, self.basis = f[0], re.compile(f[1]), f[4], f[7], f[9]
        self.peers = [] if f[2] in ("-", "peak") else f[2].split(",")
        self.peak = f[2] == "peak"
        self.peer_text = f[2]
        self.threads = [int(x) for x in f[3].split(",")]
        self.must, self.target = (None if x == "-" else float(x) for x in f[5:7])
        self.quick = None if f[8] == "-" else re.compile(f[8])


def read_bars():
    with open(os.path.join(HERE, "bars.tsv")) as f:
        return [Bar(x) for x in f if x.strip() and x[0] != "#"]


def plan(bars, cases, args):
    """[(case, threads, [peer ...])] in the order of the bars, 2 threads first."""
    jobs = {}
    for threads in sorted(args.threads, reverse=True):
        for bar in bars:
            if threads not in bar.threads:
                continue
            for case in cases:
                if not bar.cases.search(case) or not re.search(args.cases, case):
                    continue
                if args.quick and not (bar.quick and bar.quick.search(case) and threads == max(bar.threads)):
                    continue
                peers = jobs.setdefault((case, threads), [])
                peers += [p for p in bar.peers if p not in peers]
    return [(case, threads, peers) for (case, threads), peers in jobs.items()]


# ---- measuring ---------------------------------------------------------------------------------------------------

class Race:
    """All programs of one case and number of threads, by turns."""

    def __init__(self, ours, peers, results, args, case, threads, names):
        self.results, self.args, self.case, self.threads = results, args, case, threads
        self.have = results.get(case, threads)
        self.open = {OURS: lambda: ours.open(case, threads)}
        for name in names:
            if name.startswith("own "):
                if name != "own TLV_ISA=avx2" or median_peer(self.have) != "tlvision-avx2":
                    self.open[name] = lambda n=name: ours.open_own(n, case, threads)
            else:
                self.open.update(peers.open(name, case, threads))
        for v in [v for v in self.open if (case, threads, v) in results.absent]:
            del self.open[v]

    def run(self, deadline):
        pairs = self.args.pairs
        done = min((len(self.have.get(v, {})) for v in self.open if v not in self.dropped()), default=0)
        if done >= pairs or (done >= 3 and self.slow()):
            return True
        wait_quiet()
        running = {v: start() for v, start in self.open.items() if v not in self.dropped()}
        for v in [v for v, s in running.items() if not s.p]:
            note("%s has no %s at %d" % (v, self.case, self.threads))
            self.results.add(self.case, self.threads, v, 0, {"absent": True})
            del running[v]
        rnd = done
        while rnd < pairs and not (rnd >= 3 and self.slow()) and OURS in running:
            for v, s in running.items():
                self.turn(v, s, rnd)
            rnd += 1
            self.have = self.results.get(self.case, self.threads)
            for v in [v for v in self.dropped() if v in running]:
                running.pop(v).end()
            if time.time() > deadline:
                break
        for s in running.values():
            s.end()
        return rnd >= pairs or self.slow()

    def turn(self, variant, session, rnd):
        for attempt in range(3):
            r = session.go(self.args.seconds, 1, 60)
            if not r:
                session.p = None
                return
            if not r["disturbed"] or self.case.endswith("/contended") or os.environ.get("BENCH_NOWAIT"):
                break
            if r["ms"] > 1e3 * SLOW_STEP:           # repeating costs more than it tells
                break
            wait_quiet(5)
        self.results.add(self.case, self.threads, variant, rnd, r)

    def slow(self):
        return any(median(r) > 1e3 * SLOW_STEP for r in self.have.values())

    def dropped(self):
        torches = {v: median(r) for v, r in self.have.items() if v.startswith("torch") and len(r) >= 2}
        best = min(torches.values(), default=0)
        return [v for v, ms in torches.items() if ms > DROP * best]


def median_peer(have):
    return next((r["peer"] for r in have.get(OURS, {}).values()), "")


def measure(ours, peers, results, args, jobs):
    deadline = time.time() + 60 * args.budget
    jobs = [(c, t, []) for c in ours.program if re.search(LIMITS, c) for t in args.threads] + jobs
    left = 0
    for i, (case, threads, names) in enumerate(jobs):
        if case == "size/library":
            results.add(case, threads, OURS, 0, {"peer": "tlvision", "mb": library_mb()})
            continue
        if time.time() > deadline:
            left += 1
            continue
        t = time.time()
        Race(ours, peers, results, args, case, threads, names).run(deadline)
        if time.time() - t > 0.05:
            note("%d/%d %s, %d threads: %.1f s" % (i + 1, len(jobs), case, threads, time.time() - t))
    if left:
        note("%d cases are left: the same command goes on with them" % left)


# ---- the table ---------------------------------------------------------------------------------------------------

class Limits:
    """The best that was seen of each limit, in GFLOP/s and GB/s."""

    def __init__(self, results):
        self.rate = {}
        for (case, threads), have in results.rows.items():
            if re.search(LIMITS, case):
                best = max(r["rate"] * r["ms"] / r["lo"] for r in have[OURS].values())
                self.rate[case, threads] = best

    def flop(self, threads):
        return self.rate.get(("peak_f32", threads))

    def bandwidth(self, threads, gigabytes):
        bytes_ = gigabytes * 1e9
        place = "L2" if bytes_ < cache_bytes(2) * threads else "L3" if bytes_ < cache_bytes(3) else "DRAM"
        rates = [v for (c, t), v in self.rate.items() if t == threads and "_" + place in c]
        return max(rates, default=None)

    @staticmethod
    def vit_gflop(case):
        m = re.match(r"vit_b_16/(infer|train)/b(\d+)", case)
        return m and 35.1 * int(m.group(2)) * (3 if m.group(1) == "train" else 1)

    def ms(self, kind, threads, record):
        """What the case takes at the limit; None if it has none."""
        unit, ms = record["unit"], record["ms"]
        work = record["rate"] * ms * 1e-3
        if kind == "bw" and "gb" in record:
            work, unit = record["gb"], "GB/s"
        elif unit in ("img/s", "step/s"):
            work = record.get("gflop") or self.vit_gflop(record.get("case", ""))
        if not work or unit not in ("img/s", "step/s", "GFLOP/s", "GB/s"):
            return None
        if kind in ("flop", "wino", "most") and unit != "GB/s" and self.flop(threads):
            return 1e3 * work / self.flop(threads) / (4 if kind == "wino" else 1)
        if kind == "bw" and unit == "GB/s" and self.bandwidth(threads, work):
            return 1e3 * work / self.bandwidth(threads, work)
        return None


class Verdict:
    """One case of one bar: value and its smallest and largest, what must be, whether it is."""

    def __init__(self, bar, case, threads, have, limits):
        self.case, self.threads, self.value, self.must, self.peer = case, threads, None, bar.must, ""
        self.low_is_good = bar.metric in ("slower", "rss", "ms", "mb")
        own = have.get(OURS)
        if not own:
            return
        record = next(iter(own.values()))
        self.disturbed = any(r.get("disturbed") for r in own.values()) and not case.endswith("/contended")
        values = self.compute(bar, have, own, limits)
        if not values:
            return
        self.value, self.lo, self.hi, self.pairs = statistics.median(values), min(values), max(values), len(values)
        if bar.metric == "time" and self.peer_ms and bar.limit != "-":
            at_limit = limits.ms(bar.limit, threads, record)
            share = 0.55 if bar.limit == "most" else 0.85
            self.limited = at_limit and share * self.peer_ms / at_limit
            if self.must and self.limited and (self.limited < self.must) == (bar.limit != "most"):
                self.must = self.limited

    limited = None

    def compute(self, bar, have, own, limits):
        self.peer_ms = None
        if bar.metric in ("ms", "mb"):
            key = {"ms": ("ms",), "mb": ("mb", "peak_rss_mb")}[bar.metric]
            return [r[k] for r in own.values() for k in key if k in r]
        if bar.peak:
            peak = limits.flop(self.threads)
            self.peer = "peak"
            return [r["rate"] / peak for r in own.values()] if peak else []
        fits = {v: r for v, r in have.items() if v != OURS and any(
            v == p or v.startswith(p + "-") or v.startswith(p + " ") for p in bar.peers)}
        if not fits:
            return []
        key = "peak_rss_mb" if bar.metric == "rss" else "ms"
        fits = {v: r for v, r in fits.items() if median(r, key)}
        if not fits:
            return []
        self.peer = min(fits, key=lambda v: median(fits[v], key))
        other = fits[self.peer]
        self.peer_ms = median(other)
        self.disturbed = self.disturbed or any(r.get("disturbed") for r in other.values())
        both = [(own[n][key], other[n][key]) for n in own if n in other and key in own[n]]
        if bar.metric == "time":
            return [theirs / mine for mine, theirs in both]
        return [mine / theirs for mine, theirs in both]

    def holds(self, bound):
        return bound is None or (self.value <= bound if self.low_is_good else self.value >= bound)

    def word(self, bar):
        if self.value is None or bar.must is None:
            return ""
        if not self.holds(self.must):
            return "MISSED"
        if not self.holds(bar.must):
            return "ok, 0.85 of the limit"
        return "target" if self.holds(bar.target) else "ok"


def fmt(x):
    return "-" if x is None else "%.3g" % x


def verdicts(bars, results, cases, limits, args):
    for bar in bars:
        for threads in bar.threads:
            rows = [Verdict(bar, c, threads, results.get(c, threads), limits) for c in cases if bar.cases.search(c)]
            yield bar, threads, [v for v in rows if v.value is not None], bool(rows)


def summary_lines(bars, results, cases, limits, args):
    """A Markdown table, a line a bar and number of threads; the worst case counts."""
    lines = ["| bar | against | threads | must | target | geometric mean | worst case: median (min..max of pairs) | |",
             "|---|---|---|---|---|---|---|---|"]
    for bar, threads, rows, known in verdicts(bars, results, cases, limits, args):
        head = "| %s | %s | %d | %s | %s |" % (bar.row, bar.peer_text.replace("|", "\\|"), threads, fmt(bar.must),
                                               fmt(bar.target))
        if not rows:
            lines.append(head + " | %s | |" % ("not measured" if known else "no such case yet"))
            continue
        mean = statistics.geometric_mean([v.value for v in rows])
        worst = (max if rows[0].low_is_good else min)(rows, key=lambda v: v.value / (v.must or 1))
        missed = [v for v in rows if v.word(bar) == "MISSED"]
        must = "" if worst.must == bar.must else ", must %s: %s of the limit" % (
            fmt(worst.must), "0.55" if bar.limit == "most" else "0.85")
        verdict = "" if bar.must is None else "%d of %d missed" % (len(missed), len(rows)) if missed else \
            min((v.word(bar) for v in rows), key=["ok, 0.85 of the limit", "ok", "target"].index)
        lines.append(head + " %s | %s: %s (%s..%s)%s%s | %s |" % (
            fmt(mean), worst.case, fmt(worst.value), fmt(worst.lo), fmt(worst.hi), must,
            " disturbed" if worst.disturbed else "", verdict))
    return lines


def detail_lines(bars, results, cases, limits, args):
    """Every case: ours, the peer's, the ratio."""
    lines = ["case, threads, ours_ms, peer, peer_ms, value, min, max, pairs, must, must_by_limit, target, verdict"]
    for bar, threads, rows, _ in verdicts(bars, results, cases, limits, args):
        for v in rows:
            own = median(results.get(v.case, threads)[OURS])
            lines.append("%s, %d, %s, %s, %s, %s, %s, %s, %d, %s, %s, %s, %s%s" % (
                v.case, threads, fmt(own), v.peer or bar.metric, fmt(v.peer_ms), fmt(v.value), fmt(v.lo), fmt(v.hi),
                v.pairs, fmt(bar.must), fmt(v.limited), fmt(bar.target), v.word(bar).replace(",", ";"),
                " disturbed" if v.disturbed else ""))
    return lines


def roofline_lines(bars, results, cases, limits):
    lines = ["case, threads, median_ms, rate, unit, limit, share"]
    for case, threads in sorted(results.rows, key=lambda k: (k[1], cases.index(k[0]) if k[0] in cases else 0)):
        own = results.rows[case, threads].get(OURS)
        record = next(iter(own.values())) if own else None
        if not record or "ms" not in record:
            continue
        ms = median(own)
        record = dict(record, ms=ms, rate=median(own, "rate"))
        kind = "bw" if record["unit"] == "GB/s" else "flop"
        at_limit = limits.ms(kind, threads, record)
        if case in dict.fromkeys(c for c, _ in limits.rate):
            lines.append("%s, %d, %s, %.5g, %s, -, -" % (case, threads, fmt(ms), record["rate"], record["unit"]))
        elif at_limit:
            lines.append("%s, %d, %s, %.5g, %s, %s, %.2f" % (case, threads, fmt(ms), record["rate"], record["unit"],
                                                            kind, at_limit / ms))
    return lines


def header(peers, limits, ours):
    lines = [datetime.date.today().isoformat() + ", " + cpu_facts() + "."]
    git = subprocess.run(["git", "describe", "--always", "--dirty"], stdout=subprocess.PIPE, text=True).stdout.strip()
    lines.append("Library: %s, checksum %s." % (git, ours.id))
    known = "; ".join("%s %s" % x for x in sorted(peers.versions.items()))
    lines.append("Peers: %s." % (known or "none"))
    for name, why in sorted(peers.missing.items()):
        lines.append("Left out: %s, %s." % (name, why))
    rates = ", ".join("%s %.4g" % (("%s at %d" % k), v) for k, v in sorted(limits.rate.items()) if "L1" not in k[0])
    lines.append("Limits (GFLOP/s, GB/s): %s." % (rates or "not measured"))
    return lines


def write_between(path, lines):
    begin, end = "<!-- bench-peers: begin -->", "<!-- bench-peers: end -->"
    with open(path) as f:
        text = f.read()
    if begin not in text or end not in text:
        sys.exit("bench_peers.py: %s has no marks '%s' and '%s'" % (path, begin, end))
    a, b = text.index(begin) + len(begin), text.index(end)
    with open(path, "w") as f:
        f.write(text[:a] + "\n" + "\n".join(lines) + "\n" + text[b:])


def options():
    p = argparse.ArgumentParser(description="the library beside its peers", add_help=True)
    p.add_argument("peers", nargs="?", default="")
    p.add_argument("--cases", default="")
    p.add_argument("--threads", default="1,2", type=lambda s: [int(x) for x in s.split(",")])
    p.add_argument("--quick", action="store_true")
    p.add_argument("--budget", type=float, default=0)
    p.add_argument("--pairs", type=int, default=0)
    p.add_argument("--fresh", action="store_true")
    p.add_argument("--table", action="store_true")
    p.add_argument("--write", default="")
    p.add_argument("--roofline", action="store_true")
    a = p.parse_args()
    a.budget = a.budget or (10 if a.quick or a.roofline else 35)
    a.pairs = a.pairs or (3 if a.quick or a.roofline else 5)
    a.seconds = 0.03 if a.quick or a.roofline else max(0.02, 0.06 * a.budget / 35)
    if a.peers and not os.path.exists(os.path.join(a.peers, "torch_ops.py")):
        sys.exit("bench_peers.py: no peers' programs in %s (PEERS=DIR)" % a.peers)
    if not a.peers and not a.roofline:
        sys.exit("bench_peers.py: say where the peers' programs are (PEERS=DIR)")
    return a


def main():
    args = options()
    os.makedirs(DIR, exist_ok=True)
    ours = Ours()
    cases = list(ours.program) + ["size/library"]
    results = Results(ours.id, args.fresh)
    peers = Peers("" if args.roofline else args.peers)
    bars = read_bars()
    if args.roofline:
        jobs = [(c, t, []) for t in args.threads for c in cases if c != "size/library" and re.search(args.cases, c)
                and not c.startswith(("startup", "sin_", "mobilenet_v2_035")) and not c.endswith(("/op", "/contended"))]
    else:
        jobs = plan(bars, cases, args)
    try:
        if not args.table:
            measure(ours, peers, results, args, jobs)
    except KeyboardInterrupt:
        note("stopped; the same command goes on")
    finally:
        peers.close()
    limits = Limits(results)
    if args.roofline:
        print("\n".join(roofline_lines(bars, results, cases, limits)))
        return
    table = header(peers, limits, ours) + [""] + summary_lines(bars, results, cases, limits, args)
    details = detail_lines(bars, results, cases, limits, args)
    print("\n".join(details + [""] + table))
    with open(os.path.join(DIR, "details.csv"), "w") as f:
        f.write("\n".join(details) + "\n")
    with open(os.path.join(DIR, "table.md"), "w") as f:
        f.write("\n".join(table) + "\n")
    if args.write:
        write_between(args.write, table)


main()
