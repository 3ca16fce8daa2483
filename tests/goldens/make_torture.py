#!/usr/bin/env python3
# env: debian
"""Writes torture.tsv: what Pillow 9.4 makes of the PNG, JPEG, BMP and PNM files of the decoder collection.

    python3 tests/goldens/make_torture.py [FOLDER]      (default: $TLV_DATA or ../shared/data)

A line a file that Pillow opens and loads: path, width, height, form, CRC-32 of the samples in rows.
The form is what the samples were brought to before:

    RGB, RGBA    8 bits; grey is repeated, palettes are expanded, RGBA if the file has transparency
    L16, LA16, RGB16, RGBA16    16 bits, big-endian, as they stand in the file; with A if it has
                                transparency
    CMYK         8 bits as they stand in a JPEG file: 255 is no ink

JPEG files with arithmetic coding (SOF9, SOF10) are left out.
Pillow keeps no 16-bit samples beside grey ones, so 16-bit PNGs are read by the few lines below.
"""
import os
import struct
import sys
import warnings
import zlib

import numpy as np
from PIL import Image

warnings.simplefilter("ignore")

ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def paeth(a, b, c):
    p = a + b - c
    return min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]


def unfilter(kind, row, above, bpp):
    for i in range(len(row)):
        a = row[i - bpp] if i >= bpp else 0
        b = above[i]
        c = above[i - bpp] if i >= bpp else 0
        row[i] = (row[i] + (0, a, b, (a + b) // 2, paeth(a, b, c))[kind]) & 255


def png16(path):
    """Samples [H,W,C] of a 16-bit PNG, with alpha from tRNS."""
    data = open(path, "rb").read()
    at, chunks = 8, {}
    while at < len(data):
        n, kind = struct.unpack(">I4s", data[at:at + 8])
        chunks[kind] = chunks.get(kind, b"") + data[at + 8:at + 8 + n]
        at += 12 + n
    w, h, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[b"IHDR"][:13])
    assert depth == 16
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    raw, at = bytearray(zlib.decompress(chunks[b"IDAT"])), 0
    out = np.zeros((h, w, channels), np.uint16)
    for x0, y0, dx, dy in ADAM7 if interlaced else [(0, 0, 1, 1)]:
        n = len(range(x0, w, dx))
        above = bytearray(n * 2 * channels)
        for y in range(y0, h, dy) if n else []:
            row = raw[at + 1:at + 1 + len(above)]
            unfilter(raw[at], row, above, 2 * channels)
            at += 1 + len(above)
            out[y, x0::dx] = np.frombuffer(bytes(row), ">u2").reshape(n, channels)
            above = row
    if b"tRNS" in chunks:
        key = np.frombuffer(chunks[b"tRNS"][:2 * channels], ">u2")
        alpha = np.where((out == key).all(2), 0, 65535).astype(np.uint16)
        out = np.concatenate([out, alpha[:, :, None]], 2)
    return out


def depth_of(path):
    head = open(path, "rb").read(29)
    return head[24] if head[:4] == b"\x89PNG" and head[12:16] == b"IHDR" else 8


def samples(path):
    """(form, array) of a file, or None if Pillow refuses it."""
    try:
        with Image.open(path) as im:
            im.load()
            transparent = im.mode in ("LA", "PA", "RGBA") or im.info.get("transparency") is not None
            if im.format == "PNG" and depth_of(path) == 16:
                a = png16(path)
                return {1: "L16", 2: "LA16", 3: "RGB16", 4: "RGBA16"}[a.shape[2]], a.astype(">u2")
            if im.mode in ("I", "I;16"):
                return "L16", np.array(im).astype(">u2")
            if im.format == "JPEG" and im.mode == "CMYK":
                return "CMYK", 255 - np.array(im)
            form = "RGBA" if transparent else "RGB"
            return form, np.array(im.convert(form))
    except Exception:       # Pillow refuses with many kinds
        return None


def main():
    data = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("TLV_DATA", "../shared/data")
    root = os.path.join(data, "decoder_torture")
    out = ["# made by make_torture.py, Pillow %s: path, width, height, form, CRC-32 of the samples\n"
           % Image.__version__]
    for line in sorted(open(os.path.join(root, "MANIFEST.tsv"))):
        path, kind = line.split("\t")[:2]
        if line.startswith("#") or kind not in ("png", "jpeg", "bmp", "pnm") or "\tSOF9\t" in line:
            continue
        got = samples(os.path.join(root, path))
        if got:
            form, a = got
            out.append("%s\t%d\t%d\t%s\t%08x\n"
                       % (path, a.shape[1], a.shape[0], form, zlib.crc32(np.ascontiguousarray(a).tobytes())))
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, "torture.tsv"), "w") as f:
        f.writelines(out)


if __name__ == "__main__":
    main()
