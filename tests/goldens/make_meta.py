"""make_meta.py -- golden losses and outer gradients of Meta-SGD, MAML++ and iMAML -> meta.safetensors.

# env: debian

The network of tests/small_net.h: conv 3x3 of stride 2 with bias (3 -> 3), batch norm over the batch's own statistics,
ReLU; the same (3 -> 4); the mean over all places; linear (4 -> 3); cross-entropy.  Tasks of 3 ways: 6 images of 8x8 in
the support set, 9 in the query set.  Parameters, rates ("meta.rate.*", 0.05 .. 0.15) and images by fill.py, in double
precision.  For task K in 0, 1:
    meta-sgd/taskK/loss, /grad/NAME      two steps with the same rates
    maml++/taskK/losses                  f64 [3]: of the query set after each of three steps
    maml++/taskK/loss, /grad/NAME        their sum by the authors' weights in epoch 4 of 10
    imaml/taskK/loss, /grad/NAME         4 steps of rate 0.1 with lambda 2, then 5 of conjugate gradients
A parameter that the loss does not reach has no entry.
"""
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import fill
import st

HERE = os.path.dirname(os.path.abspath(__file__))
WAYS, SHOTS, QUERIES, STEPS = 3, 2, 3, 3
CONVS = {"conv1.weight": (3, 3, 3, 3), "conv1.bias": (3,), "conv2.weight": (4, 3, 3, 3), "conv2.bias": (4,),
         "fc.weight": (3, 4), "fc.bias": (3,)}
NORMS = {"bn1.weight": (3,), "bn1.bias": (3,), "bn2.weight": (4,), "bn2.bias": (4,)}


def leaf(name, shape):
    v = fill.values(name, shape, 0.05, 0.15) if name.startswith("meta.rate.") else fill.parameter(name, shape)
    return torch.from_numpy(v).requires_grad_()


def logits_of(p, norms, x):
    for i in "12":
        x = F.conv2d(x, p[f"conv{i}.weight"], p[f"conv{i}.bias"], 2, 1)
        x = F.relu(F.batch_norm(x, None, None, norms[f"bn{i}.weight"], norms[f"bn{i}.bias"], True, 0.0, 1e-5))
    return F.linear(x.mean((2, 3)), p["fc.weight"], p["fc.bias"])


def episode(k):
    for part, n in ("support", SHOTS), ("query", QUERIES):
        yield torch.from_numpy(fill.values(f"task{k}.{part}", (WAYS * n, 3, 8, 8), -1.7, 1.7))
        yield torch.from_numpy(fill.labels(WAYS * n, WAYS))


def store(out, prefix, loss, leaves):
    out[f"{prefix}/loss"] = loss.detach().reshape(1)
    for (n, _), g in zip(leaves.items(), torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)):
        if g is not None:
            out[f"{prefix}/grad/{n}"] = g


def meta_sgd(k, out):
    x, y, q, z = episode(k)
    theta = {n: leaf(n, s) for n, s in {**CONVS, **NORMS}.items()}
    alpha = {f"meta.rate.{n}": leaf(f"meta.rate.{n}", v.shape) for n, v in theta.items()}
    fast = theta
    for _ in range(2):
        grads = torch.autograd.grad(F.cross_entropy(logits_of(fast, fast, x), y), list(fast.values()), create_graph=True)
        fast = {n: v - alpha[f"meta.rate.{n}"] * g for (n, v), g in zip(fast.items(), grads)}
    store(out, f"meta-sgd/task{k}", F.cross_entropy(logits_of(fast, fast, q), z), {**theta, **alpha})


def authors_weights(epoch, epochs):
    """get_per_step_loss_importance_vector in few_shot_learning_system.py."""
    w = np.ones(STEPS) / STEPS
    decay, least = 1 / STEPS / epochs, 0.03 / STEPS
    for i in range(STEPS - 1):
        w[i] = np.maximum(w[i] - epoch * decay, least)
    w[-1] = np.minimum(w[-1] + epoch * (STEPS - 1) * decay, 1 - (STEPS - 1) * least)
    return w


def maml_plus_plus(k, out):
    x, y, q, z = episode(k)
    theta = {n: leaf(n, s) for n, s in CONVS.items()}
    rates = {f"meta.rate.{i}.{n}": leaf(f"meta.rate.{i}.{n}", (1,)) for i in range(STEPS) for n in theta}
    norms = {f"meta.step.{i}.{n}": leaf(f"meta.step.{i}.{n}", s) for i in range(STEPS + 1) for n, s in NORMS.items()}
    of_step = [{n: norms[f"meta.step.{i}.{n}"] for n in NORMS} for i in range(STEPS + 1)]
    fast, losses = theta, []
    for i in range(STEPS):
        loss = F.cross_entropy(logits_of(fast, of_step[i], x), y)
        grads = torch.autograd.grad(loss, list(fast.values()), create_graph=True)
        fast = {n: v - rates[f"meta.rate.{i}.{n}"] * g for (n, v), g in zip(fast.items(), grads)}
        losses.append(F.cross_entropy(logits_of(fast, of_step[i + 1], q), z))
    out[f"maml++/task{k}/losses"] = torch.stack(losses).detach()
    total = sum(w * loss for w, loss in zip(authors_weights(4, 10), losses))
    store(out, f"maml++/task{k}", total, {**theta, **rates, **norms})


def imaml(k, out, lam=2.0):
    x, y, q, z = episode(k)
    theta = {n: leaf(n, s) for n, s in {**CONVS, **NORMS}.items()}
    phi = {n: v.detach().requires_grad_() for n, v in theta.items()}
    for _ in range(4):
        grads = torch.autograd.grad(F.cross_entropy(logits_of(phi, phi, x), y), list(phi.values()))
        phi = {n: (v - 0.1 * (g + lam * (v - theta[n]))).detach().requires_grad_() for (n, v), g in
               zip(phi.items(), grads)}
    leaves = list(phi.values())
    loss = F.cross_entropy(logits_of(phi, phi, q), z)
    flat = lambda ts: torch.cat([t.reshape(-1) for t in ts])
    slope = flat(torch.autograd.grad(F.cross_entropy(logits_of(phi, phi, x), y), leaves, create_graph=True))
    times = lambda v: v + flat(torch.autograd.grad(slope @ v, leaves, retain_graph=True)) / lam
    r = flat(torch.autograd.grad(loss, leaves))
    v, d = torch.zeros_like(r), r.clone()
    for _ in range(5):
        ad = times(d)
        a = (r @ r) / (d @ ad)
        v, new = v + a * d, r - a * ad
        d, r = new + (new @ new) / (r @ r) * d, new
    out[f"imaml/task{k}/loss"] = loss.detach().reshape(1)
    at = 0
    for n, t in phi.items():
        out[f"imaml/task{k}/grad/{n}"] = v[at:at + t.numel()].reshape(t.shape)
        at += t.numel()


if __name__ == "__main__":
    torch.set_num_threads(1)
    tensors = {}
    for k in range(2):
        for method in meta_sgd, maml_plus_plus, imaml:
            method(k, tensors)
    path = os.path.join(HERE, "meta.safetensors")
    st.save(path, tensors, {"script": "tests/goldens/make_meta.py", "torch": torch.__version__})
    print(f"{path}: {len(tensors)} tensors, {os.path.getsize(path)} bytes, torch {torch.__version__}")
