#!/usr/bin/env python3
"""parity.py -- photographs from the file to the logits, against Pillow and PyTorch (make parity).

    /usr/bin/python3 tests/tools/parity.py [BIN]          BIN: folder of the programs (default build/bin)

Pillow decodes, resizes and crops by each recipe; PyTorch runs the published networks as their own descriptions say
(tests/goldens/make_published.py).  Compared with tlv-embed and tlv-predict on the same files, EXIF applied by both:
    features of MobileNetV2 x0.35 on hymenoptera's validation images: distance / length, at most 1e-4
    logits of MobileNetV2 (TensorFlow Lite) and SqueezeNet on 250 ImageNet images and hymenoptera, all of odd sizes:
    distance / length at most 1e-4 (ours from probabilities: logits less their mean), the same first class on 99 %
Needs PyTorch, torchvision, Pillow and the data folder ($TLV_DATA).  Ends with "N passed, N failed, N skipped".
"""
import glob
import json
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "goldens"))
import numpy as np
import torch
from PIL import Image, ImageOps

import make_published as published

BIN = sys.argv[1] if len(sys.argv) > 1 else "build/bin"
DATA = published.DATA
verdicts = []


def check(name, ok, text):
    verdicts.append(ok)
    print(f"{'ok    ' if ok else 'FAILED'} {name}: {text}", flush=True)


def prepared(path, size):
    """torchvision's Resize(256) and CenterCrop(size) on Pillow's image."""
    im = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    w, h = im.size
    im = im.resize((256, int(256 * h / w)) if w < h else (int(256 * w / h), 256), Image.BILINEAR)
    top, left = (int(round((n - size) / 2.0)) for n in (im.size[1], im.size[0]))
    return np.asarray(im.crop((left, top, left + size, top + size)), dtype=np.float64)


def batches(paths, size, scale):
    for i in range(0, len(paths), 16):
        x = np.stack([scale(prepared(p, size)) for p in paths[i:i + 16]])
        yield torch.from_numpy(x).permute(0, 3, 1, 2).contiguous()


def inception(x):
    return x / 127.5 - 1


def caffe_scale(x):
    return x[:, :, ::-1] - np.array([104.0, 117.0, 123.0])


def torch_rows(net, paths, size, scale):
    with torch.no_grad():
        return torch.cat([net(x) for x in batches(paths, size, scale)]).numpy()


def our_features(weights, data, split):
    with tempfile.TemporaryDirectory() as tmp:
        out = os.path.join(tmp, "f.npy")
        subprocess.run([BIN + "/tlv-embed", data, "--split", split, "--weights", weights, "--out", out], check=True,
                       stdout=subprocess.DEVNULL)
        return np.load(out)


def our_logits(weights, paths, classes):
    """Logits less their mean: log p less its mean."""
    out = subprocess.run([BIN + "/tlv-predict", weights, *paths, "--top", str(classes), "--quiet", "--json", "-"],
                         check=True, stdout=subprocess.PIPE).stdout
    p = np.zeros((len(paths), classes))
    for i, row in enumerate(json.loads(out)["predictions"]):
        p[i // classes, row["class"]] = row["probability"]
    logs = np.log(np.maximum(p, 1e-38))
    return logs, p


def distance(a, b):
    return (np.linalg.norm(a - b, axis=1) / np.linalg.norm(b, axis=1)).max()


def compare_logits(name, paths, weights, net, size, scale):
    want = torch_rows(net, paths, size, scale)
    logs, p = our_logits(weights, paths, want.shape[1])
    seen = p > 1e-30                        # below, a probability in f32 has lost its logarithm's digits
    worst = 0.0
    for i in range(len(paths)):
        a, b = logs[i][seen[i]], want[i][seen[i]]
        worst = max(worst, np.linalg.norm((a - a.mean()) - (b - b.mean())) / np.linalg.norm(b))
    same = (logs.argmax(1) == want.argmax(1)).mean()
    check(name, worst <= 1e-4 and same >= 0.99,
          f"{len(paths)} images, distance / length {worst:.1e}, the same first class on {100 * same:.1f} %")


def main():
    if not os.path.isdir(DATA):
        print(f"no data folder {DATA} (TLV_DATA)\n0 passed, 0 failed, 1 skipped")
        return 0
    ants = [p for c in ("ants", "bees") for p in sorted(glob.glob(f"{DATA}/hymenoptera/val/{c}/*.jp*g"))]
    all_ants = ants + sorted(glob.glob(f"{DATA}/hymenoptera/train/*/*.jp*g"))
    thousand = sorted(glob.glob(f"{DATA}/imagenet_sample/images/*"))
    keras = f"{DATA}/mobilenetv2_035_224/mobilenetv2_035_224_notop.safetensors"
    d = distance(our_features(keras, f"{DATA}/hymenoptera", "val"),
                 torch_rows(published.keras, ants, 224, inception))
    check("features, MobileNetV2 x0.35, hymenoptera", d <= 1e-4, f"{len(ants)} images, distance / length {d:.1e}")
    nets = (("MobileNetV2 (TensorFlow Lite)", "coral_mobilenet/mobilenet_v2_1.0_224_quant_dequant", published.tflite,
             224, inception),
            ("SqueezeNet 1.0 (Caffe)", "squeezenet_v1_0/squeezenet_v1_0", lambda x: published.caffe(x)[0], 227,
             caffe_scale))
    for name, weights, net, size, scale in nets:
        for what, paths in (("ImageNet sample", thousand), ("hymenoptera", all_ants)):
            compare_logits(f"logits, {name}, {what}", paths, f"{DATA}/{weights}.safetensors", net, size, scale)
    print(f"{sum(verdicts)} passed, {len(verdicts) - sum(verdicts)} failed, 0 skipped")
    return 0 if all(verdicts) else 1


sys.exit(main())
