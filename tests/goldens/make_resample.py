"""make_resample.py -- CRC-32 of what Pillow 9.4 and torchvision 0.14 make of drawn images -> resample.txt.

# env: debian

Images come from picture(), the same in tests/support_image.c.  Lines of resample.txt:
    resize KIND H W FILTER OUT_H OUT_W LEFT TOP RIGHT BOTTOM CRC        Image.resize; box 0 0 0 0: all of it
    short KIND H W FILTER SIDE OUT_H OUT_W CRC                          torchvision Resize(SIDE)
    center KIND H W OUT_H OUT_W CRC                                     torchvision CenterCrop
    rotate KIND H W FILTER DEGREES CRC                                  Image.rotate
    brightness, contrast, saturation, hue KIND H W FACTOR CRC           torchvision adjust_*
KIND: 1 L, 2 LA, 3 RGB, 4 RGBA, 5 CMYK; FILTER: 0 bilinear, 1 bicubic, 2 Lanczos, 3 box, 4 nearest.
"""
import os
import zlib

import numpy as np
from PIL import Image
from torchvision.transforms import functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA", 5: "CMYK"}
CHANNELS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 4}
FILTERS = [Image.BILINEAR, Image.BICUBIC, Image.LANCZOS, Image.BOX, Image.NEAREST]


def picture(kind, h, w):
    """Squares of noise between slopes; every third row of squares is black and white."""
    ch = CHANNELS[kind]
    y, x, k = np.meshgrid(np.arange(h), np.arange(w), np.arange(ch), indexing="ij")
    i = ((y * w + x) * ch + k).astype(np.uint64)
    noise = ((i * np.uint64(2654435761) + np.uint64(12345)) & np.uint64(0xFFFFFFFF)) >> np.uint64(24)
    noise = noise.astype(np.int64)
    slope = (x * 5 + y * 3 + k * 70) & 255
    v = np.where((x // 8 + y // 8) & 1, noise, slope)
    v = np.where(y // 8 % 3 == 2, np.where(noise & 1, 255, 0), v)
    return Image.fromarray(v.astype(np.uint8).reshape((h, w) if ch == 1 else (h, w, ch)), MODES[kind])


def crc(image):
    return f"{zlib.crc32(image.tobytes()):08x}"


PAIRS = [((1, 1), (1, 1)), ((1, 1), (5, 3)), ((7, 5), (1, 1)), ((1, 9), (1, 4)), ((9, 1), (4, 1)), ((1, 9), (6, 20)),
         ((16, 16), (16, 15)), ((16, 16), (15, 16)), ((16, 16), (17, 16)), ((16, 16), (16, 17)), ((2, 2), (3, 3)),
         ((3, 3), (2, 2)), ((8, 8), (8, 8)), ((50, 33), (7, 5)), ((7, 5), (50, 33)), ((60, 80), (48, 64)),
         ((300, 4), (3, 40)), ((4, 300), (40, 3)), ((200, 150), (2, 2)), ((31, 29), (224, 224)), ((90, 61), (89, 62)),
         ((375, 500), (256, 341)), ((13, 17), (13, 34)), ((13, 17), (26, 17)), ((19, 19), (10, 37))]
BOXES = [((20, 30), (8, 8), (0, 0, 30, 20)), ((20, 30), (8, 8), (3, 2, 21, 17)), ((20, 30), (8, 9), (3.3, 2.7, 21.1, 17.9)),
         ((20, 30), (20, 30), (0.5, 0.5, 29.5, 19.5)), ((20, 30), (20, 11), (0, 0, 11, 20)), ((20, 30), (5, 30), (0, 3, 30, 8)),
         ((20, 30), (40, 3), (29.25, 0, 30, 20)), ((20, 30), (7, 7), (1.01, 19.01, 1.49, 19.99))]


def resizes():
    for (h, w), (oh, ow) in PAIRS:
        for filter in range(5):
            for kind in MODES:
                if kind in (1, 3) or h * w < 2000:
                    yield kind, (h, w), filter, (oh, ow), None
    for (h, w), (oh, ow), box in BOXES:
        for filter in range(5):
            for kind in MODES:
                yield kind, (h, w), filter, (oh, ow), box


def lines():
    for kind, (h, w), filter, (oh, ow), box in resizes():
        m = picture(kind, h, w).resize((ow, oh), FILTERS[filter], box)
        corners = " ".join(str(v) for v in box or (0, 0, 0, 0))
        yield f"resize {kind} {h} {w} {filter} {oh} {ow} {corners} {crc(m)}"
    for kind in (1, 3):
        for h, w, side in [(333, 500, 256), (50, 50, 20), (17, 90, 11), (90, 17, 40), (1, 7, 3), (40, 30, 30), (199, 64, 23)]:
            m = F.resize(picture(kind, h, w), [side], F.InterpolationMode.BICUBIC)
            yield f"short {kind} {h} {w} 1 {side} {m.height} {m.width} {crc(m)}"
        for h, w, oh, ow in [(10, 10, 4, 4), (11, 13, 4, 4), (9, 7, 4, 6), (5, 5, 9, 8), (5, 30, 10, 7), (30, 5, 7, 10),
                             (8, 8, 8, 8), (7, 6, 8, 5), (3, 4, 4, 3)]:
            yield f"center {kind} {h} {w} {oh} {ow} {crc(F.center_crop(picture(kind, h, w), [oh, ow]))}"
        for h, w in [(20, 31), (32, 32), (1, 9), (9, 1), (64, 40)]:
            for degrees in (0, 90, 180, 270, -90, 360, 450, 10, -10, 45, 33.3, 179.5, 359.9, -271.25, 1e-9, 123456.7):
                for filter in (0, 1, 4):
                    m = picture(kind, h, w).rotate(degrees, FILTERS[filter])
                    yield f"rotate {kind} {h} {w} {filter} {degrees} {crc(m)}"
        for name in ("brightness", "contrast", "saturation", "hue"):
            factors = (-0.5, -0.3, -0.01, 0, 0.004, 0.1, 0.25, 0.5) if name == "hue" else \
                (0, 0.1, 0.37, 0.5, 0.9999, 1, 1.001, 1.3, 2, 3.7)
            for h, w in [(40, 50), (1, 1), (3, 100), (24, 7)]:
                for factor in factors:
                    m = getattr(F, f"adjust_{name}")(picture(kind, h, w), factor)
                    yield f"{name} {kind} {h} {w} {factor} {crc(m)}"


if __name__ == "__main__":
    with open(os.path.join(HERE, "resample.txt"), "w", encoding="ascii") as f:
        f.write("\n".join(lines()) + "\n")
