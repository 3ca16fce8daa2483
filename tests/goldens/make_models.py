"""make_models.py -- golden outputs, gradients, statistics and loss curves of ResNets -> models.safetensors.

# env: debian

Parameters and inputs come from fill.py, computation is in double precision.  For ARCH in resnet18, resnet50
(torchvision.s, `apart`) and resnet20 (option-A shortcut, as in resnet_cifar.c), with an input "xK" (uniform in -1.7 .. 1.7)
and labels of fill.py:
    ARCH/input             f64 [5]: K; batch, channels, height, width.  K is the first for which every ReLU stays on
                           its side of the kink when all is computed in single precision, with room to spare (for
                           Winograd's rounding, too): there a gradient jumps, and nothing could be compared.
    ARCH/eval/logits, ARCH/eval/loss, ARCH/eval/grad/NAME        in eval mode: given statistics
    ARCH/train/logits, ARCH/train/loss, ARCH/train/grad/NAME     in train mode: statistics of the batch
    ARCH/stats/NAME        running_mean and running_var after that step
    resnet18/curve         f64 [10]: losses of 10 steps with SGD (rate 0.00001, momentum 0.9, 10 classes, `apart`)
    resnet18/curve_input   f64 [5], as above
grad and stats of each parameter are a digest, f64 [12]:
    L2 norm, sum of magnitudes, sum, largest magnitude, 4 indices (the first is the largest's), 4 values there
"""
import copy
import os
import sys

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torchvision

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import fill
import st

HERE = os.path.dirname(os.path.abspath(__file__))
tensors = {}


class Block(nn.Module):
    def __init__(self, inside, out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inside, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.extra = (out - inside) // 2

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.extra:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.extra, self.extra))
        return F.relu(x + y)


class ResNet20(nn.Module):
    """He et al. 2015, section 4.2, with the shortcut of option A."""
    def __init__(self, num_classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        stage = lambda a, b, s: nn.Sequential(Block(a, b, s), Block(b, b, 1), Block(b, b, 1))
        self.layer1, self.layer2, self.layer3 = stage(16, 16, 1), stage(16, 32, 2), stage(32, 64, 2)
        self.linear = nn.Linear(64, num_classes)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return self.linear(x.mean((2, 3)))


def filled(net, apart=False):
    net.double()
    state = {n: torch.from_numpy(np.asarray(fill.parameter(n, tuple(t.shape), apart)))
             for n, t in net.state_dict().items()}
    net.load_state_dict(state)
    return net


def batch(k, shape, classes):
    x = fill.values(f"x{k}", shape, -1.7, 1.7)
    return torch.from_numpy(x), torch.from_numpy(fill.labels(shape[0], classes))


def relu_inputs(net, x):
    """What goes into every ReLU: of modules, and of F.relu."""
    seen, plain = [], F.relu
    def noted(v, *args, **kw):
        seen.append(v.detach().double())
        return plain(v.clone(), *args)
    F.relu = torch.nn.functional.relu = noted
    with torch.no_grad():
        net(x)
    F.relu = torch.nn.functional.relu = plain
    return seen


def room(net, x):
    """The least distance of a ReLU's input from 0, in units of its layer's error in single precision (rms)."""
    single = copy.deepcopy(net).float()
    return min(float(a.abs().min() / ((a - b) ** 2).mean().sqrt())
               for a, b in zip(relu_inputs(copy.deepcopy(net), x), relu_inputs(single, x.float())))


def choose(net, shape, tries, enough):
    for k in range(tries):
        x, _ = batch(k, shape, 10)
        least = min(room(net.train(mode), x) for mode in (False, True))
        print(f"input x{k}: room {least:.2f}", flush=True)
        if least > enough:
            return k
    raise SystemExit("no input keeps every ReLU away from its kink")


def digest(name, t):
    v = t.detach().double().flatten().numpy()
    at = [int(np.abs(v).argmax())] + [fill.fnv1a(f"{name}#{k}") % len(v) for k in range(3)]
    return torch.tensor([np.sqrt((v * v).sum()), np.abs(v).sum(), v.sum(), np.abs(v).max(), *at, *v[at]],
                        dtype=torch.float64)


def network(arch, net, shape, classes, tries=30, enough=5):
    k = choose(net, shape, tries, enough)
    x, y = batch(k, shape, classes)
    tensors[f"{arch}/input"] = torch.tensor([k, *shape], dtype=torch.float64)
    for mode in ["eval", "train"]:      # eval first: train changes the statistics
        net.train(mode == "train")
        net.zero_grad()
        logits = net(x)
        loss = F.cross_entropy(logits, y)
        loss.backward()
        tensors[f"{arch}/{mode}/logits"] = logits.detach()
        tensors[f"{arch}/{mode}/loss"] = loss.detach()
        for name, p in net.named_parameters():
            tensors[f"{arch}/{mode}/grad/{name}"] = digest(name, p.grad)
    for name, b in net.named_buffers():
        if not name.endswith("num_batches_tracked"):
            tensors[f"{arch}/stats/{name}"] = digest(name, b)


def curve(shape, steps=10):
    net = filled(torchvision.models.resnet18(num_classes=10), apart="basic").train()
    opt = torch.optim.SGD(net.parameters(), lr=0.00001, momentum=0.9)
    x, y = batch(0, shape, 10)
    losses = []
    for _ in range(steps):
        opt.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        opt.step()
        losses.append(float(loss))
    print("curve", losses)
    tensors["resnet18/curve"] = torch.tensor(losses, dtype=torch.float64)
    tensors["resnet18/curve_input"] = torch.tensor([0, *shape], dtype=torch.float64)


if __name__ == "__main__":
    torch.set_num_threads(1)
    network("resnet18", filled(torchvision.models.resnet18(), apart="basic"), (2, 3, 64, 64), 1000, enough=25)
    network("resnet50", filled(torchvision.models.resnet50(), apart=True), (2, 3, 64, 64), 1000)
    network("resnet20", filled(ResNet20()), (4, 3, 32, 32), 10)
    curve((4, 3, 64, 64))
    path = os.path.join(HERE, "models.safetensors")
    st.save(path, tensors, {"script": "tests/goldens/make_models.py", "torch": torch.__version__,
                            "torchvision": torchvision.__version__})
    print(f"{path}: {len(tensors)} tensors, {os.path.getsize(path)} bytes, torch {torch.__version__}")
