"""fill.py -- numbers by a closed formula, the same here and in tests/filled.c: networks and their inputs need
not be stored with what comes out of them.

Value i of a tensor called `name` is  lo + (hi - lo) u,  u = the upper 24 bits of splitmix64's i-th output for the
seed FNV-1a(name), as a fraction; rounded to single precision.
"""
import math

import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def fnv1a(name):
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = (h ^ byte) * 0x100000001B3 % 2**64
    return h


def values(name, shape, lo, hi):
    """f64 array of values that f32 holds."""
    n = int(np.prod(shape, dtype=np.int64))
    with np.errstate(over="ignore"):
        z = np.uint64(fnv1a(name)) + np.arange(1, n + 1, dtype=np.uint64) * GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    u = (z >> np.uint64(40)).astype(np.float64) / 2**24
    return (lo + (hi - lo) * u).astype(np.float32).astype(np.float64).reshape(shape)


def parameter(name, shape, apart=False):
    """A parameter or buffer of a network by its kind: He's scale for weights, batch norms near 1 and 0.
    apart: biases of batch norms near 3 or -3 (3 where a shortcut is added: after bn3, or after bn2 if apart is
    "basic"), so that of a deep network's many ReLUs hardly any is near its kink."""
    last = name.split(".")[-1]
    if last == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if last == "running_mean":
        return values(name, shape, -0.2, 0.2)
    if last == "running_var":
        return values(name, shape, 0.5, 1.5)
    if last == "bias" and apart and ("bn" in name or "downsample.1" in name):
        v = values(name, shape, -0.1, 0.1)
        up = (v > 0) | ("bn3" in name or "downsample" in name or (apart == "basic" and "bn2" in name))
        return (v + np.where(up, 3.0, -3.0)).astype(np.float32).astype(np.float64)
    if last == "bias":
        return values(name, shape, -0.1, 0.1)
    if name.endswith("bn3.weight"):     # a bottleneck adds little to its shortcut, as in trained networks
        return values(name, shape, 0.2, 0.4)
    if len(shape) == 1:
        return values(name, shape, 0.75, 1.25)
    fan_in = int(np.prod(shape[1:], dtype=np.int64))
    bound = math.sqrt(6 / fan_in)
    return values(name, shape, -bound, bound)


def labels(n, classes):
    return np.array([(7 * i + 3) % classes for i in range(n)], np.int64)
