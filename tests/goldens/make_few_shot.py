"""make_few_shot.py -- golden logits and gradients of networks for few-shot learning, and outer gradients of MAML
through them -> few_shot.safetensors.

# env: debian

conv4, conv4_stride, conv4_stride_flat (8 filters) and vit_mini_patch4 (timm's names), images [5,1,28,28] called "x"
(-1.7 .. 1.7), 5 classes, batch statistics, double precision, parameters by fill.py.  For each ARCH:
    ARCH/logits, ARCH/loss, ARCH/grad/NAME
    ARCH/mamlK/loss, ARCH/mamlK/grad/NAME      for conv4_stride and vit_mini_patch4, K = 1, 2, 5 inner steps of rate 0.1
                                               (0.02 for the ViT) on "support", judged by "query"
A gradient is a digest, f64 [8]: L2 norm, sum of magnitudes, sum, and the numbers at 0, n/4, n/2, 3n/4 and n-1.
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
WAYS, FILTERS, DIM, HEADS, DEPTH, PATCH, SIDE = 5, 8, 64, 4, 4, 4, 28
SIDE_LEFT = {"conv4": 1, "conv4_stride": 1, "conv4_stride_flat": 2}


def conv4_shapes(arch):
    shapes = {}
    for i in range(1, 5):
        shapes[f"conv{i}.weight"] = (FILTERS, 1 if i == 1 else FILTERS, 3, 3)
        shapes[f"bn{i}.weight"] = shapes[f"bn{i}.bias"] = (FILTERS,)
    shapes["fc.weight"], shapes["fc.bias"] = (WAYS, FILTERS * SIDE_LEFT[arch] ** 2), (WAYS,)
    return shapes


def conv4(arch, p, x):
    for i in range(1, 5):
        x = F.conv2d(x, p[f"conv{i}.weight"], None, 1 if arch == "conv4" else 2, 1)
        x = F.relu(F.batch_norm(x, None, None, p[f"bn{i}.weight"], p[f"bn{i}.bias"], True, 0.0, 1e-5))
        if arch == "conv4":
            x = F.max_pool2d(x, 2)
    x = x.mean((2, 3)) if arch == "conv4_stride" else x.flatten(1)
    return F.linear(x, p["fc.weight"], p["fc.bias"])


def vit_shapes():
    shapes = {"cls_token": (1, 1, DIM), "pos_embed": (1, (SIDE // PATCH) ** 2 + 1, DIM),
              "patch_embed.proj.weight": (DIM, 1, PATCH, PATCH), "patch_embed.proj.bias": (DIM,)}
    for i in range(DEPTH):
        for name, (out, inside) in {"attn.qkv": (3 * DIM, DIM), "attn.proj": (DIM, DIM),
                                    "mlp.fc1": (4 * DIM, DIM), "mlp.fc2": (DIM, 4 * DIM)}.items():
            shapes[f"blocks.{i}.{name}.weight"], shapes[f"blocks.{i}.{name}.bias"] = (out, inside), (out,)
        for name in "norm1", "norm2":
            shapes[f"blocks.{i}.{name}.weight"] = shapes[f"blocks.{i}.{name}.bias"] = (DIM,)
    shapes.update({"norm.weight": (DIM,), "norm.bias": (DIM,), "head.weight": (WAYS, DIM), "head.bias": (WAYS,)})
    return shapes


def vit(p, x):
    lin = lambda n, h: F.linear(h, p[n + ".weight"], p[n + ".bias"])
    norm = lambda n, h: F.layer_norm(h, (DIM,), p[n + ".weight"], p[n + ".bias"], 1e-6)
    b = len(x)
    x = F.conv2d(x, p["patch_embed.proj.weight"], p["patch_embed.proj.bias"], PATCH).flatten(2).transpose(1, 2)
    x = torch.cat([p["cls_token"].expand(b, -1, -1), x], 1) + p["pos_embed"]
    for i in range(DEPTH):
        q, k, v = lin(f"blocks.{i}.attn.qkv", norm(f"blocks.{i}.norm1", x)) \
            .reshape(b, -1, 3, HEADS, DIM // HEADS).permute(2, 0, 3, 1, 4)
        a = (q @ k.transpose(-2, -1) / (DIM // HEADS) ** 0.5).softmax(-1)
        x = x + lin(f"blocks.{i}.attn.proj", (a @ v).transpose(1, 2).reshape(b, -1, DIM))
        x = x + lin(f"blocks.{i}.mlp.fc2", F.gelu(lin(f"blocks.{i}.mlp.fc1", norm(f"blocks.{i}.norm2", x))))
    return lin("head", norm("norm", x)[:, 0])


def digest(t):
    v = t.detach().flatten().numpy()
    n = len(v)
    at = [0, n // 4, n // 2, 3 * n // 4, n - 1]
    return torch.tensor([np.sqrt((v * v).sum()), np.abs(v).sum(), v.sum(), *v[at]], dtype=torch.float64)


def images(name):
    return torch.from_numpy(fill.values(name, (WAYS, 1, SIDE, SIDE), -1.7, 1.7))


def store(out, prefix, loss, p):
    out[f"{prefix}/loss"] = loss.detach().reshape(1)
    for (n, _), g in zip(p.items(), torch.autograd.grad(loss, list(p.values()))):
        out[f"{prefix}/grad/{n}"] = digest(g)


def network(out, arch, shapes, net, rate):
    p = {n: torch.from_numpy(np.asarray(fill.parameter(n, s))).requires_grad_() for n, s in shapes.items()}
    y = torch.from_numpy(fill.labels(WAYS, WAYS))
    logits = net(p, images("x"))
    out[f"{arch}/logits"] = logits.detach()
    store(out, arch, F.cross_entropy(logits, y), p)
    for steps in (1, 2, 5) if rate else ():
        fast = p
        for _ in range(steps):
            loss = F.cross_entropy(net(fast, images("support")), y)
            g = torch.autograd.grad(loss, list(fast.values()), create_graph=True)
            fast = {n: v - rate * d for (n, v), d in zip(fast.items(), g)}
        store(out, f"{arch}/maml{steps}", F.cross_entropy(net(fast, images("query")), y), p)


def main():
    out = {}
    for arch, rate in ("conv4", 0), ("conv4_stride", 0.1), ("conv4_stride_flat", 0):
        network(out, arch, conv4_shapes(arch), lambda p, x, arch=arch: conv4(arch, p, x), rate)
    network(out, "vit_mini_patch4", vit_shapes(), vit, 0.02)
    path = os.path.join(HERE, "few_shot.safetensors")
    st.save(path, out, {"torch": torch.__version__})
    print(path, os.path.getsize(path), "bytes")


main()
