"""make_optim.py -- golden runs of torch.optim, schedules, clipping -> optim.safetensors.

# env: debian

Optimizers take 20 steps from the parameters "a.weight" [3,4] and "a.bias" [4] (uniform in -1 .. 1, by fill.py) on the
loss  sum(p G) + sum(p^2) / 2  with G = "gT.NAME" (-2 .. 2) at step T, in double precision:
    CASE/attr      f64: sgd.*: lr, momentum, dampening, decay, nesterov;
                        adam.*: lr, beta1, beta2, eps, decay, decoupled
    CASE/after     f64 [20,16]: all numbers after each step, a.weight first
    lbfgs.rosenbrock/attr, lbfgs.logistic/attr       f64 [N]: max_iter of each run, all from the start
    lbfgs.*/after  f64 [N,P]: parameters after the run;  lbfgs.*/loss f64 [N]: losses there
    lr.NAME/attr, lr.NAME/lr                         the numbers of the schedule, the rate at steps 0 ..
    clip.norm, clip.value                            f64 [16]: gradients G of step 0 clipped to 1.5; to 0.5
    clip.total                                       f64: their norm before

Rosenbrock: p = (-1.2, 1).  Logistic: w [3,4] and b [3] zero, x "lx" [30,4] (-1 .. 1), labels of fill.py, cross-entropy
+ 0.01 |w|^2.
"""
import os
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import fill
import st

HERE = os.path.dirname(os.path.abspath(__file__))
SHAPES = {"a.weight": (3, 4), "a.bias": (4,)}
STEPS = 20
tensors = {}
f64 = lambda v: torch.tensor(v, dtype=torch.float64)


def start():
    return {n: torch.from_numpy(fill.values(n, s, -1, 1)).requires_grad_() for n, s in SHAPES.items()}


def draws(t):
    return [torch.from_numpy(fill.values(f"g{t}.{n}", s, -2, 2)) for n, s in SHAPES.items()]


def flat(p):
    return torch.cat([v.detach().flatten() for v in p])


def run(case, make, attr):
    p = start()
    opt, after = make(list(p.values())), []
    for t in range(STEPS):
        opt.zero_grad()
        sum((v * g).sum() + (v * v).sum() / 2 for v, g in zip(p.values(), draws(t))).backward()
        opt.step()
        after.append(flat(p.values()))
    tensors[f"{case}/attr"], tensors[f"{case}/after"] = f64([float(a) for a in attr]), torch.stack(after)


def sgd(case, lr, momentum=0.0, dampening=0.0, decay=0.0, nesterov=False):
    run(f"sgd.{case}", lambda p: torch.optim.SGD(p, lr, momentum, dampening, decay, nesterov),
        [lr, momentum, dampening, decay, nesterov])


def adam(case, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, decay=0.0, decoupled=False):
    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    run(f"adam.{case}", lambda p: kind(p, lr, betas, eps, decay), [lr, *betas, eps, decay, decoupled])


def lbfgs(case, make, loss, runs):
    after, losses = [], []
    for n in runs:
        p = make()
        opt = torch.optim.LBFGS(p, lr=1, max_iter=n, line_search_fn="strong_wolfe")

        def closure():
            opt.zero_grad()
            v = loss(*p)
            v.backward()
            return v
        opt.step(closure)
        after.append(flat(p))
        losses.append(loss(*p).item())
        print(case, n, losses[-1], opt.state[p[0]]["func_evals"])
    tensors[f"lbfgs.{case}/attr"] = f64([float(n) for n in runs])
    tensors[f"lbfgs.{case}/after"], tensors[f"lbfgs.{case}/loss"] = torch.stack(after), f64(losses)


def schedule(case, make, attr, steps):
    opt = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=attr[0])
    s, rates = make(opt), []
    for _ in range(steps):
        rates.append(opt.param_groups[0]["lr"])
        opt.step()
        s.step()
    tensors[f"lr.{case}/attr"], tensors[f"lr.{case}/lr"] = f64([float(a) for a in attr]), f64(rates)


def clips():
    def grads():
        p = start()
        for v, g in zip(p.values(), draws(0)):
            v.grad = g.clone()
        return list(p.values())
    p = grads()
    tensors["clip.total"] = torch.nn.utils.clip_grad_norm_(p, 1.5)
    tensors["clip.norm"] = flat([v.grad for v in p])
    p = grads()
    torch.nn.utils.clip_grad_value_(p, 0.5)
    tensors["clip.value"] = flat([v.grad for v in p])


if __name__ == "__main__":
    torch.set_num_threads(1)
    sgd("plain", 0.1)
    sgd("momentum", 0.1, 0.9)
    sgd("dampening", 0.1, 0.9, 0.5)
    sgd("nesterov", 0.1, 0.9, nesterov=True)
    sgd("decay", 0.05, 0.8, decay=0.1)
    sgd("everything", 0.05, 0.9, decay=0.02, nesterov=True)
    adam("plain")
    adam("fast", 0.1, (0.5, 0.9), 1e-3)
    adam("decay", 0.01, decay=0.1)
    adam("w", 0.01, decay=0.01, decoupled=True)
    adam("w_fast", 0.1, (0.8, 0.95), 1e-6, 0.3, True)

    one = lambda *v: [f64(list(v)).requires_grad_()]
    lbfgs("rosenbrock", lambda: one(-1.2, 1.0), lambda p: 100 * (p[1] - p[0] ** 2) ** 2 + (1 - p[0]) ** 2,
          [1, 2, 3, 5, 10, 20, 30, 60])
    x, y = torch.from_numpy(fill.values("lx", (30, 4), -1, 1)), torch.from_numpy(fill.labels(30, 3))
    zeros = lambda *s: torch.zeros(s, dtype=torch.float64, requires_grad=True)
    lbfgs("logistic", lambda: [zeros(3, 4), zeros(3)],
          lambda w, b: F.cross_entropy(F.linear(x, w, b), y) + 0.01 * (w * w).sum(), [1, 2, 3, 5, 10, 20])

    lr = torch.optim.lr_scheduler
    schedule("step", lambda o: lr.StepLR(o, 7, 0.3), [0.2, 7, 0.3], 30)
    schedule("multistep", lambda o: lr.MultiStepLR(o, [3, 10, 11, 25], 0.5), [0.2, 0.5, 3, 10, 11, 25], 30)
    schedule("cosine", lambda o: lr.CosineAnnealingLR(o, 25, 0.01), [0.2, 0.01, 25], 26)
    for n, pct in [(30, 0.3), (17, 0.25)]:
        schedule(f"one_cycle_{n}", lambda o: lr.OneCycleLR(o, 0.5, n, pct_start=pct, div_factor=20,
                                                           final_div_factor=1000, cycle_momentum=False),
                 [0.5, n, pct, 20, 1000], n)
    clips()
    path = os.path.join(HERE, "optim.safetensors")
    st.save(path, tensors, {"script": "tests/goldens/make_optim.py", "torch": torch.__version__})
    print(f"{path}: {len(tensors)} tensors, {os.path.getsize(path)} bytes, torch {torch.__version__}")
