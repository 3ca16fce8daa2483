"""make_maml.py -- golden losses and outer gradients of MAML (Finn et al. 2017, alg. 1) -> maml.safetensors.

# env: debian

The network: conv 3x3 (3 -> 4), batch norm over the batch's own statistics, ReLU, max pool 2; the same (4 -> 6);
linear (24 -> 5); cross-entropy.  Images are 8x8, 10 a set.  Two inner steps of rate 0.1 on the support set, the
loss on the query set, its gradient in the parameters before the inner steps, by torch.autograd with create_graph, in
double precision.  Parameters and images (uniform in -1.7 .. 1.7) by fill.py.  For task K in 0 .. 3, images
"taskK.support" and "taskK.query":
    taskK/losses           f64 [3]: before each inner step, and the outer loss
    taskK/grad/NAME        f64: of the outer loss
"""
import os
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import fill
import st

HERE = os.path.dirname(os.path.abspath(__file__))
SHAPES = {"conv1.weight": (4, 3, 3, 3), "bn1.weight": (4,), "bn1.bias": (4,),
          "conv2.weight": (6, 4, 3, 3), "bn2.weight": (6,), "bn2.bias": (6,),
          "fc.weight": (5, 24), "fc.bias": (5,)}


def loss_of(p, x, y):
    for i in "12":
        x = F.conv2d(x, p[f"conv{i}.weight"], None, 1, 1)
        x = F.relu(F.batch_norm(x, None, None, p[f"bn{i}.weight"], p[f"bn{i}.bias"], True, 0.0, 1e-5))
        x = F.max_pool2d(x, 2)
    return F.cross_entropy(F.linear(x.flatten(1), p["fc.weight"], p["fc.bias"]), y)


def task(k, p):
    x, q = (torch.from_numpy(fill.values(f"task{k}.{part}", (10, 3, 8, 8), -1.7, 1.7)) for part in ("support", "query"))
    y = torch.from_numpy(fill.labels(10, 5))
    fast, losses = p, []
    for _ in range(2):
        loss = loss_of(fast, x, y)
        losses.append(loss.detach())
        grads = torch.autograd.grad(loss, list(fast.values()), create_graph=True)
        fast = {n: v - 0.1 * g for (n, v), g in zip(fast.items(), grads)}
    loss = loss_of(fast, q, y)
    return torch.stack([*losses, loss.detach()]), torch.autograd.grad(loss, list(p.values()))


if __name__ == "__main__":
    torch.set_num_threads(1)
    p = {n: torch.from_numpy(fill.parameter(n, s)).requires_grad_() for n, s in SHAPES.items()}
    tensors = {}
    for k in range(4):
        tensors[f"task{k}/losses"], grads = task(k, p)
        print(k, tensors[f"task{k}/losses"].tolist())
        for n, g in zip(p, grads):
            tensors[f"task{k}/grad/{n}"] = g
    path = os.path.join(HERE, "maml.safetensors")
    st.save(path, tensors, {"script": "tests/goldens/make_maml.py", "torch": torch.__version__})
    print(f"{path}: {len(tensors)} tensors, {os.path.getsize(path)} bytes, torch {torch.__version__}")
