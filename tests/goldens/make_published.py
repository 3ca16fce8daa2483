"""make_published.py -- what published weights say of a formula image, by PyTorch -> published.safetensors.

# env: debian

The weights are not part of the project: without the data folder ($TLV_DATA, default ../shared/data) nothing is made.
Each network is run as its own description beside the weights says (Keras's configuration, the operators of the
TensorFlow Lite file), or by torchvision, not by this project's reading of it; in double precision.  Only results are
stored, f32:
    keras/features         [2,1280] MobileNetV2 x0.35 without head, pooled; fill.py's "image", -1 .. 1, [2,3,224,224]
    keras/odd              [1,1280] the same on "odd", [1,3,160,96]: what "same" means beside the square
    tflite/logits          [1,1001] MobileNetV2 with folded batch norms; the first of "image"
    caffe/logits           [2,1000] SqueezeNet 1.0; "image227", -120 .. 130, [2,3,227,227]
    caffe/features         [2,512]  what goes into its last convolution, pooled
"""
import json
import os
import sys

import torch
import torch.nn.functional as F
import torchvision

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import fill
import st

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.environ.get("TLV_DATA", os.path.join(HERE, "..", "..", "..", "shared", "data"))


def weights(name):
    found, _ = st.load(os.path.join(DATA, name + ".safetensors"))
    return {k: torch.tensor(v).double() for k, v in found.items()}


def image(name, shape, lo, hi):
    return torch.from_numpy(fill.values(name, shape, lo, hi))


def same(x, k, stride):
    """TensorFlow's padding: ceil(n / stride) outputs, an odd zero at the end."""
    ends = []
    for n in (x.shape[3], x.shape[2]):
        total = max((-(-n // stride) - 1) * stride + k - n, 0)
        ends += [total // 2, total - total // 2]
    return F.pad(x, ends)


def keras(x):
    """The layers of the configuration, one by one."""
    folder = "mobilenetv2_035_224"
    with open(os.path.join(DATA, folder, "keras_config.json")) as f:
        layers = json.load(f)["layers"]
    w, v = weights(folder + "/mobilenetv2_035_224_notop"), {}
    for l in layers:
        name, kind, o = l["name"], l["class_name"], l["config"]
        i = [v[n[0]] for n in l["inbound_nodes"][0]] if l["inbound_nodes"] else [x]
        if kind == "InputLayer":
            y = x
        elif kind == "ZeroPadding2D":
            (top, bottom), (left, right) = o["padding"]
            y = F.pad(i[0], (left, right, top, bottom))
        elif kind in ("Conv2D", "DepthwiseConv2D"):
            k, stride = o["kernel_size"][0], o["strides"][0]
            y = F.conv2d(same(i[0], k, stride) if o["padding"] == "same" else i[0], w[name + ".weight"],
                         stride=stride, groups=i[0].shape[1] if kind[0] == "D" else 1)
        elif kind == "BatchNormalization":
            y = F.batch_norm(i[0], w[name + ".running_mean"], w[name + ".running_var"], w[name + ".weight"],
                             w[name + ".bias"], False, 0, o["epsilon"])
        elif kind == "ReLU":
            y = i[0].clamp(0, o["max_value"])
        elif kind == "Add":
            y = i[0] + i[1]
        else:
            raise SystemExit(f"{name}: {kind}")
        v[name] = y
    return y.mean((2, 3))


def tflite(x):
    folder = "coral_mobilenet/mobilenet_v2_1.0_224_quant"
    with open(os.path.join(DATA, folder + "_graph.json")) as f:
        g = json.load(f)
    w, v = weights(folder + "_dequant"), {g["input"]: x}
    for o in g["graph"]:
        if o["op"] == "conv":
            a = w[o["name"] + ".weight"]
            y = F.conv2d(same(v[o["in"]], a.shape[2], o["stride"]), a, w[o["name"] + ".bias"], o["stride"],
                         groups=o["groups"])
            y = y.clamp(0, 6) if o["act"] == "relu6" else y
        elif o["op"] == "add":
            y = v[o["in"][0]] + v[o["in"][1]]
        elif o["op"] == "gap":
            y = v[o["in"]].mean((2, 3), keepdim=True)
        else:
            y = v[o["in"]]
        v[o["out"]] = y
    return v[g["output"]].reshape(x.shape[0], -1)


def caffe(x):
    """torchvision's network of the same shape, with Caffe's names in their order."""
    net = torchvision.models.squeezenet1_0().double().eval()
    w = weights("squeezenet_v1_0/squeezenet_v1_0")
    stem = [f"{n}.{k}" for n in ["conv1"] for k in ("weight", "bias")]
    fires = [f"fire{i}/{n}.{k}" for i in range(2, 10) for n in ("squeeze1x1", "expand1x1", "expand3x3")
             for k in ("weight", "bias")]
    names = stem + fires + ["conv10.weight", "conv10.bias"]
    net.load_state_dict(dict(zip(net.state_dict(), [w[n] for n in names])))
    return net(x), net.features(x).mean((2, 3))


if __name__ == "__main__":
    if not os.path.isdir(DATA):
        print(f"no data folder {DATA} (TLV_DATA): published.safetensors stays as it is")
        sys.exit(0)
    torch.set_num_threads(1)
    with torch.no_grad():
        x = image("image", (2, 3, 224, 224), -1, 1)
        logits, pooled = caffe(image("image227", (2, 3, 227, 227), -120, 130))
        results = {"keras/features": keras(x), "keras/odd": keras(image("odd", (1, 3, 160, 96), -1, 1)),
                   "tflite/logits": tflite(x[:1]), "caffe/logits": logits, "caffe/features": pooled}
    path = os.path.join(HERE, "published.safetensors")
    st.save(path, {k: v.float() for k, v in results.items()},
            {"script": "tests/goldens/make_published.py", "torch": torch.__version__,
             "torchvision": torchvision.__version__})
    print({k: (tuple(v.shape), float(v.abs().max()), float(v.norm())) for k, v in results.items()})
    print(f"{path}: {os.path.getsize(path)} bytes, torch {torch.__version__}")
