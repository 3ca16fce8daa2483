#!/usr/bin/env python3
"""Compares this library's decoders with Pillow's on a folder of hard cases (make torture):

    torture.py PROGRAM DIR [WORD]       PROGRAM: tests/tools/decode_files.c; WORD: only paths that contain it

For each file that DIR/MANIFEST.tsv names: what Pillow opens must open, with the same size, orientation and
pixels (JPEG: 99.9 % of the samples within one level, none off by more than 3; arithmetic and lossless coding are
not read); what Pillow refuses must be
refused with a sentence that names the file, or stand with a reason in tests/torture_opened.tsv; 16-bit samples
of PNG files must be those of libpng (pngtopnm, where it is installed).  A file is one test.
"""
import os
import subprocess
import sys
import warnings

import numpy as np
from PIL import Image

OURS = {'PNG', 'JPEG', 'MPO', 'BMP', 'DIB', 'PPM'}
LEFT_OUT = ('JPEG: arithmetic coding', 'JPEG: lossless')    # kinds that are not read, on purpose
CMYK, ORIENTATION = 5, 0x0112
HERE = os.path.dirname(os.path.abspath(__file__))


class Skip(Exception):
    pass


def records(out):
    """What the program found: (path, None or a dict, sentence)."""
    while True:
        line = out.readline()
        if not line:
            return
        word, path, *rest = line.decode('utf-8', 'replace').rstrip('\n').split('\t')
        if word == 'refused':
            yield path, None, rest[1]
            continue
        w, h, channels, depth, kind, orientation = map(int, rest)
        got = dict(w=w, h=h, depth=depth, kind=kind, orientation=orientation)

        def take(n, dtype=np.uint8):
            size = h * w * n * np.dtype(dtype).itemsize
            return np.frombuffer(out.read(size), dtype).reshape(h, w, n)

        got['as it is'] = take(channels, np.uint16 if depth == 16 else np.uint8)
        for name, n in (('L', 1), ('RGB', 3), ('RGBA', 4)):
            got[name] = take(n)
        yield path, got, ''


def pillow(path):
    """The image, or the reason for which Pillow does not open it."""
    try:
        im = Image.open(path)
        im.load()
        return im, None
    except Exception as e:
        return None, f'{type(e).__name__}: {e}'


def same(what, got, want, jpeg=False):
    want = np.asarray(want)
    want = want.reshape(want.shape[0], want.shape[1], -1)
    if got.shape != want.shape:
        return f'{what}: {got.shape}, want {want.shape}'
    off = np.abs(got.astype(np.int64) - want)
    if jpeg:
        near = (off <= 1).mean()
        if near >= 0.999 and off.max() <= 3:
            return None
        return f'{what}: {100 * near:.3f} % of the samples within 1, the worst off by {off.max()}'
    if off.any():
        return f'{what}: {(off != 0).sum()} of {off.size} samples differ, by up to {off.max()}'
    return None


def libpng_samples(path):
    """Samples of more than 8 bits without alpha, and how many bits, by pngtopnm (which drops those beyond sBIT)."""
    try:
        r = subprocess.run(['pngtopnm', path], capture_output=True)
    except FileNotFoundError:
        raise Skip('no pngtopnm (netpbm)')
    head = r.stdout[:64].split(None, 4)
    if r.returncode or len(head) < 4 or int(head[3]) < 256:
        return None, 0
    channels, w, h = {b'P5': 1, b'P6': 3}[head[0]], int(head[1]), int(head[2])
    samples = np.frombuffer(r.stdout[-w * h * channels * 2:], '>u2').reshape(h, w, channels)
    return samples, int(head[3]).bit_length()


def compare(path, got, im):
    """What is wrong with an image that both opened; None if nothing is."""
    if im.format not in OURS:
        return f'opened, though it is {im.format}'
    if im.size != (got['w'], got['h']):
        return f"{got['w']}x{got['h']}, want {im.size[0]}x{im.size[1]}"
    jpeg = im.format in ('JPEG', 'MPO')
    if 'exif' in im.info:
        want = im.getexif().get(ORIENTATION, 1)
        want = want if want in range(1, 9) else 1
        if got['orientation'] != want:
            return f"orientation {got['orientation']}, want {want}"
    if im.mode in ('1', 'L'):
        return same('L', got['L'], im.convert('L'), jpeg) or wide(path, got, im)
    if im.mode in ('I', 'I;16', 'I;16B'):
        if got['depth'] != 16:
            return 'not 16 bits a sample'
        return same('16 bits', got['as it is'][:, :, :1], im) or wide(path, got, im)
    if im.mode == 'CMYK':
        if got['kind'] != CMYK:
            return f"kind {got['kind']}, want CMYK"
        return same('CMYK', 255 - got['as it is'], im, jpeg) or same('RGB', got['RGB'], im.convert('RGB'), jpeg)
    if im.mode == 'P' and 'transparency' in im.info or im.mode in ('RGBA', 'LA', 'PA'):
        return same('RGBA', got['RGBA'], im.convert('RGBA'), jpeg) or wide(path, got, im)
    return same('RGB', got['RGB'], im.convert('RGB'), jpeg) or wide(path, got, im)


def wide(path, got, im):
    if got['depth'] != 16 or im.format != 'PNG':
        return None
    want, bits = libpng_samples(path)
    if want is None:
        return 'pngtopnm gives no samples of more than 8 bits'
    return same(f'{bits} bits', got['as it is'][:, :, :want.shape[2]] >> (16 - bits), want)


def opened_list():
    name = os.path.join(HERE, '..', 'torture_opened.tsv')
    entries = {}
    if os.path.exists(name):
        for line in open(name, encoding='utf-8'):
            if line.strip() and not line.startswith('#'):
                path, reason = line.rstrip('\n').split('\t')
                entries[path] = reason
    return entries


def verdict(root, path, got, sentence, opened):
    full = os.path.join(root, path)
    im, why = pillow(full)
    if got is None:
        if not sentence or os.path.basename(path) not in sentence:
            return f'the sentence does not name the file: {sentence!r}'
        if im is not None and im.format in OURS and not any(w in sentence for w in LEFT_OUT):
            return f'refused ({sentence}), and Pillow opens it: {im.size[0]}x{im.size[1]} {im.mode}'
        return f'in torture_opened.tsv, but refused: {sentence}' if path in opened else None
    if im is None:
        return None if opened.get(path) else f'opened; Pillow refuses it ({why}); not in torture_opened.tsv'
    if path in opened:
        return 'in torture_opened.tsv, but Pillow opens it'
    return compare(full, got, im)


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    program, root, word = sys.argv[1], sys.argv[2], (sys.argv + [''])[3]
    warnings.simplefilter('ignore')
    opened = opened_list()
    passed = failed = skipped = 0
    run = subprocess.Popen([program, root], stdout=subprocess.PIPE)
    seen = set()
    for path, got, sentence in records(run.stdout):
        seen.add(path)
        if word not in path:
            continue
        try:
            bad = verdict(root, path, got, sentence, opened)
        except Skip as e:
            skipped += 1
            print(f'SKIPPED {path}: {e}')
            continue
        failed += bad is not None
        passed += bad is None
        if bad:
            print(f'FAILED {path}: {bad}')
    stale = [p for p in opened if p not in seen]
    for p in stale:
        print(f'FAILED {p}: in torture_opened.tsv, but no such file')
    if run.wait() != 0:
        failed += 1
        print(f'FAILED {program} ended with status {run.returncode}')
    failed += len(stale)
    print(f'{passed} passed, {failed} failed, {skipped} skipped')
    sys.exit(1 if failed or not passed else 0)


main()
