"""make_mobilenet.py -- MobileNetV2 (two rules of padding) and SqueezeNet 1.0 -> mobilenet.safetensors.

# env: debian

torchvision's networks with parameters and inputs from fill.py, in double precision; what is stored, under which
names, says make_models.py.  For NAME in
    mobilenet_torch    width 0.25, 10 classes, as torchvision has it
    mobilenet_same     the same by Keras's rules: strided convolutions padded for ceil(n / 2) outputs, an odd zero at
                       the end; epsilon 0.001, momentum 0.001
    squeezenet         SqueezeNet 1.0, 10 classes
ReLU6 is written with two ReLUs, so that the choice of input keeps away from both its kinks; dropout is off.
"""
import os

import torch
import torch.nn as nn
import torch.nn.functional as F
import torchvision

import make_models as models
import st


class ReLU6(nn.Module):
    def forward(self, x):
        return F.relu(x) - F.relu(x - 6)


def pad_same(conv, args):
    """TensorFlow's "SAME" before a strided 3x3 convolution."""
    ends = []
    for n in (args[0].shape[3], args[0].shape[2]):
        total = max((-(-n // 2) - 1) * 2 + 3 - n, 0)
        ends += [total // 2, total - total // 2]
    return F.pad(args[0], ends)


def mobilenet(same):
    net = torchvision.models.mobilenet_v2(width_mult=0.25, num_classes=10)
    for m in list(net.modules()):
        for name, child in m.named_children():
            if isinstance(child, nn.ReLU6):
                setattr(m, name, ReLU6())
        if same and isinstance(m, nn.BatchNorm2d):
            m.eps, m.momentum = 1e-3, 1e-3
        if same and isinstance(m, nn.Conv2d) and m.stride == (2, 2):
            m.padding = (0, 0)
            m.register_forward_pre_hook(pad_same)
    return without_dropout(net)


def without_dropout(net):
    for m in net.modules():
        if isinstance(m, nn.Dropout):
            m.p = 0.0
        if isinstance(m, nn.ReLU):
            m.inplace = False
    return net


if __name__ == "__main__":
    torch.set_num_threads(1)
    models.network("mobilenet_torch", models.filled(mobilenet(False)), (2, 3, 34, 38), 10, 999)
    models.network("mobilenet_same", models.filled(mobilenet(True)), (2, 3, 34, 38), 10, 999)
    net = without_dropout(torchvision.models.squeezenet1_0(num_classes=10))
    models.network("squeezenet", models.filled(net), (2, 3, 51, 45), 10, 999)
    path = os.path.join(models.HERE, "mobilenet.safetensors")
    st.save(path, models.tensors, {"script": "tests/goldens/make_mobilenet.py", "torch": torch.__version__,
                                   "torchvision": torchvision.__version__})
    print(f"{path}: {len(models.tensors)} tensors, {os.path.getsize(path)} bytes, torch {torch.__version__}")
