#!/usr/bin/env bash
# Writes tests/goldens/jpeg.safetensors: small JPEG files of every kind (NAME.jpg: bytes) and the samples that
# Pillow makes of them (NAME.px: [H,W,C]; CMYK as it stands in the file).  Drawn images, no photographs.
#
# Needs cjpeg and jpegtran (libjpeg-turbo 2.1.5) and Python with numpy and Pillow 9.4.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
PYTHONDONTWRITEBYTECODE=1 ${PYTHON:-python3} - "$work" jpeg.safetensors <<'PYTHON'
import io
import subprocess
import sys

import numpy as np
from PIL import Image, features

sys.path.insert(0, ".")
import st

work, out = sys.argv[1:]
tensors = {}


def drawn(w, h, seed=1):
    """Ramps, a disc with a sharp edge, stripes and some noise: [h,w,3]."""
    y, x = np.mgrid[0:h, 0:w].astype(float)
    r = np.hypot(x - w * 0.6, y - h * 0.4)
    a = np.stack([255 * x / max(w - 1, 1), 255 * y / max(h - 1, 1), 127 + 120 * np.sin(x / 2 + y / 3)], -1)
    a[r < min(w, h) / 3] = [230, 30, 60]
    a[(y > h * 0.7) & (x % 4 < 2)] = [10, 200, 240]
    a += np.random.default_rng(seed).normal(0, 6, a.shape)
    return np.clip(a, 0, 255).astype(np.uint8)


def keep(name, data):
    im = Image.open(io.BytesIO(data))
    px = np.asarray(im).reshape(im.size[1], im.size[0], -1)
    tensors[name + ".jpg"] = np.frombuffer(data, np.uint8)
    tensors[name + ".px"] = 255 - px if im.mode == "CMYK" else px


def cjpeg(a, *options):
    """A file by cjpeg; grey for a 2-d array."""
    head = b"P%d %d %d 255\n" % (6 if a.ndim == 3 else 5, a.shape[1], a.shape[0])
    return subprocess.run(["cjpeg", *options], input=head + a.tobytes(), stdout=subprocess.PIPE, check=True).stdout


def jpegtran(data, *options):
    return subprocess.run(["jpegtran", *options], input=data, stdout=subprocess.PIPE, check=True).stdout


def scans(data):
    """Where the scans begin."""
    at, found = 2, []
    while at < len(data) - 3:
        if data[at] == 0xFF and data[at + 1] not in (0, 0xFF) and not 0xD0 <= data[at + 1] <= 0xD9:
            if data[at + 1] == 0xDA:
                found.append(at)
            at += 2 + (data[at + 2] << 8 | data[at + 3])
        else:
            at += 1
    return found


# Sampling: of all components, on a size that divides by nothing.
for s in ["1x1,1x1,1x1", "2x1,1x1,1x1", "1x2,1x1,1x1", "2x2,1x1,1x1", "4x1,1x1,1x1", "1x4,1x1,1x1", "4x2,1x1,1x1",
          "2x4,1x1,1x1", "3x1,1x1,1x1", "1x3,1x1,1x1", "3x2,1x1,1x1", "2x2,2x1,1x2", "1x1,2x2,1x1", "2x1,1x2,1x1",
          "4x1,2x1,1x1", "2x2,1x2,2x1"]:
    a, tag = drawn(37, 27), s.replace(",", "_")
    keep("sample_" + tag, cjpeg(a, "-quality", "80", "-sample", s))
    if s in ("2x2,1x1,1x1", "1x1,2x2,1x1", "3x1,1x1,1x1"):
        keep("sample_progressive_" + tag, cjpeg(a, "-quality", "80", "-progressive", "-sample", s))

# Sizes about the edges of blocks and MCUs; so narrow that nothing is interpolated.
for w, h in [(1, 1), (2, 2), (3, 1), (1, 9), (4, 3), (5, 4), (7, 5), (8, 8), (9, 15), (16, 16), (17, 33), (31, 2), (33, 17)]:
    for s in ["2x2", "2x1", "1x2"]:
        keep(f"size_{w}x{h}_{s}", cjpeg(drawn(w, h), "-quality", "85", "-sample", s))

a = drawn(34, 29)
grey = np.asarray(Image.fromarray(a).convert("L"))
keep("grey", cjpeg(grey, "-quality", "75"))
keep("grey_sampled", cjpeg(grey, "-quality", "75", "-sample", "2x2"))
keep("grey_progressive", cjpeg(grey, "-quality", "75", "-progressive"))
keep("restart_1", cjpeg(a, "-quality", "75", "-restart", "1B"))
keep("restart_3", cjpeg(a, "-quality", "75", "-restart", "3B", "-progressive"))
keep("optimised", cjpeg(a, "-quality", "95", "-optimize", "-sample", "1x1"))
keep("coarse", cjpeg(a, "-quality", "3"))
keep("fine", cjpeg(a, "-quality", "100", "-sample", "1x1"))
keep("quant_16bit", cjpeg(a, "-quality", "1"))
keep("rgb", cjpeg(a, "-quality", "90", "-rgb"))
keep("rgb_progressive", cjpeg(a, "-quality", "90", "-rgb", "-progressive"))
keep("extended", b"\xff\xc1".join(cjpeg(a, "-quality", "75").split(b"\xff\xc0", 1)))

# One scan a component, and scans of two.
base = cjpeg(a, "-quality", "75")
for name, script in [("scans_apart", "0;\n1;\n2;\n"), ("scans_mixed", "0;\n1 2;\n"),
                     ("scans_fine", "0 1 2: 0 0 0 2;\n1: 1 63 0 1;\n0: 1 5 0 3;\n0: 6 63 0 3;\n2: 1 63 0 0;\n"
                                    "0: 1 63 3 2;\n0 1 2: 0 0 2 1;\n0: 1 63 2 1;\n0 1 2: 0 0 1 0;\n0: 1 63 1 0;\n1: 1 63 1 0;\n")]:
    with open(work + "/script", "w") as f:
        f.write(script)
    keep(name, jpegtran(base, "-scans", work + "/script"))

# Incomplete: the first scans only, and half of one (libjpeg guesses the rest from neighbours).
whole = cjpeg(a, "-quality", "85", "-progressive")
at = scans(whole)
for n in (1, 2, 4, 7):
    keep(f"first_scans_{n}", whole[:at[n]] + b"\xff\xd9")
keep("half_scan_1", whole[:(at[0] + at[1]) // 2] + b"\xff\xd9")
keep("half_scan_4", whole[:(at[3] + at[4]) // 2] + b"\xff\xd9")

# Broken in ways that libjpeg gets over.
one = cjpeg(a, "-quality", "75", "-restart", "1B")
rst = [i for i in range(len(one) - 1) if one[i] == 0xFF and 0xD0 <= one[i + 1] <= 0xD7]
keep("restart_lost", one[:rst[2]] + one[rst[3]:])
keep("restart_twice", one[:rst[2]] + one[rst[2]:rst[2] + 2] + one[rst[2]:])
keep("data_short", base[:-90] + b"\xff\xd9")
keep("data_zeroed", base[:-90] + bytes(88) + b"\xff\xd9")
keep("junk_between", base[:2] + b"\xff\xff\xff" + base[2:20] + b"junk\xff\x00" + base[20:])
keep("no_tables", one[:one.index(b"\xff\xc4")] + one[one.index(b"\xff\xdd"):])

for o in range(1, 9):
    exif = Image.Exif()
    exif[0x112] = o
    b = io.BytesIO()
    Image.fromarray(drawn(9, 6)).save(b, "JPEG", exif=exif)
    keep(f"exif_{o}", b.getvalue())

for name, options in [("cmyk", {}), ("cmyk_progressive", {"progressive": True}), ("cmyk_sampled", {"subsampling": 2})]:
    b = io.BytesIO()
    Image.fromarray(drawn(21, 19)).convert("CMYK").save(b, "JPEG", quality=80, **options)
    keep(name, b.getvalue())
    keep(name.replace("cmyk", "ycck"), b.getvalue().replace(b"Adobe\0d\0\0\0\0\0", b"Adobe\0d\0\0\0\0\2"))

st.save(out, tensors, {"made by": "tests/goldens/make_jpeg.sh", "libjpeg-turbo": features.version("libjpeg_turbo"),
                       "pillow": Image.__version__})
print(len(tensors) // 2, "files")
PYTHON
ls -l jpeg.safetensors
