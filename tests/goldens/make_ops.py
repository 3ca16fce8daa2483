"""make_ops.py -- golden outputs and input gradients of single ops, from PyTorch -> ops.safetensors.

# env: debian

Tensors of a case are named OP.VARIANT/PART.  OP is the function of autograd.h without tlv_:
    in0, in1, ..   inputs, f32 (i32 for indices and labels, u8 for masks); an absent number is a NULL input
    out            f64: the result; batch_norm has mean and var (unbiased) too
    g              the gradient that goes into the sweep, of out's shape
    d0, d1, ..     f64: the gradient of in0, in1, ..; only where the op has one
    attr           f64 [n]: numbers that rebuild the call, in the order below; absent if there are none

Everything is computed in double precision from inputs that f32 holds exactly: what is compared with it may
differ by its own rounding only.

    OP                                     in                                   attr
    add sub mul div maximum minimum pow    a, b (broadcast)
    exp log sqrt rsqrt abs sin cos erf     x
    powf                                   x                                    p
    clamp                                  x                                    lo, hi
    where                                  mask (u8), a, b
    relu relu6 sigmoid tanh silu hard_swish hard_sigmoid softplus gelu gelu_tanh quick_gelu     x
    leaky_relu                             x                                    slope
    sum mean var std prod max min logsumexp    x                                correction, keepdim, axes...
                                                                                (no axes: over all of them)
    softmax log_softmax                    x                                    axis
    matmul                                 a, b                                 ta, tb
    linear                                 x, w, bias                           act (a tlv_act)
    conv2d                                 x, w, bias                           CONV
    conv2d_fused                           x, w, scale, shift, residual         CONV, act
    conv2d_dx (transposed convolution)     g, w                                 CONV, h, w
    max_pool2d avg_pool2d                  x                                    POOL
    adaptive_avg_pool2d adaptive_max_pool2d    x                                oh, ow
    global_avg_pool                        x
    batch_norm                             x, gamma, beta, residual             eps, act
    batch_norm_with                        x, mean, var, gamma, beta, residual  eps, act
    layer_norm                             x, gamma, beta                       n_dims, eps
    group_norm                             x, gamma, beta                       groups, eps
    cross_entropy                          logits, target (i32 or soft), weight smoothing, use_ignore_index,
                                                                                ignore_index, reduction
    bce_with_logits                        logits, target, weight, pos_weight   reduction
    mse_loss                               x, y                                 reduction
    smooth_l1_loss                         x, y                                 beta, reduction
    gather take_along                      x, index (i32)                       axis
    pad                                    x                                    axis, before, after, value
    attention                              q, k, v, bias, key_mask (u8)         scale (0: default), causal
    attention_packed                       qkv                                  scale (0: default), causal
    resize                                 x                                    oh, ow, mode, align_corners, antialias

    CONV = stride, stride_w, top, bottom, left, right, dilation, dilation_w, groups
    POOL = k, k_w, stride, stride_w, top, bottom, left, right, dilation, ceil_mode, exclude_pad
    reduction = 0 mean, 1 sum, 2 none;  mode = 0 nearest, 1 bilinear, 2 bicubic
"""
import math
import os
import sys
import zlib

import torch
import torch.nn.functional as F

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import st

HERE = os.path.dirname(os.path.abspath(__file__))
REDUCTIONS = ["mean", "sum", "none"]
tensors = {}
rng = torch.Generator()


def f32(t):
    """Rounded to what f32 holds, still double."""
    return t.to(torch.float32).to(torch.float64)


def randn(*shape, scale=1.0, shift=0.0):
    return f32(torch.randn(shape, generator=rng, dtype=torch.float64) * scale + shift)


def rand(*shape, lo=0.0, hi=1.0):
    return f32(torch.rand(shape, generator=rng, dtype=torch.float64) * (hi - lo) + lo)


def ints(high, *shape):
    return torch.randint(0, high, shape, generator=rng, dtype=torch.int64)


def values(*v):
    return f32(torch.tensor(v, dtype=torch.float64))


def narrow(t):
    """As stored: f32, i32 or u8."""
    return t.to({torch.float64: torch.float32, torch.int64: torch.int32, torch.bool: torch.uint8}[t.dtype])


def case(name, fn, make_inputs, attr=(), no_grad=()):
    """Runs fn(*inputs); None stands for an absent input.  no_grad: numbers of inputs without gradient."""
    assert f"{name}/out" not in tensors, name
    rng.manual_seed(zlib.crc32(name.encode()))
    inputs = make_inputs()
    leaves = {}
    for i, t in enumerate(inputs):
        if t is None:
            continue
        tensors[f"{name}/in{i}"] = narrow(t)
        if t.dtype == torch.float64 and i not in no_grad:
            leaves[i] = t.requires_grad_()

    out = fn(*inputs)
    out, extra = out if isinstance(out, tuple) else (out, {})
    assert torch.isfinite(out).all(), name
    g = randn(*out.shape)
    grads = torch.autograd.grad(out, list(leaves.values()), g)
    tensors[f"{name}/out"] = out.detach()
    tensors[f"{name}/g"] = narrow(g)
    for i, d in zip(leaves, grads):
        assert torch.isfinite(d).all() and d.abs().max() > 0, f"{name}: d{i}"
        tensors[f"{name}/d{i}"] = d
    for part, t in extra.items():
        tensors[f"{name}/{part}"] = t.detach()
    if len(attr):
        tensors[f"{name}/attr"] = torch.tensor(list(attr), dtype=torch.float64)


# ---- element-wise ---------------------------------------------------------------------------------------

def act(x, number):
    """A tlv_act by its number.  F.hardswish and F.hardsigmoid are written out: they multiply by a 1/6 rounded to
    single precision whatever they compute in."""
    hard = lambda v: F.relu6(v + 3) / 6
    y = [lambda v: v, F.relu, F.relu6, F.silu, lambda v: v * hard(v), F.gelu, lambda v: F.gelu(v, approximate="tanh"),
         lambda v: v * torch.sigmoid(1.702 * v), torch.sigmoid, torch.tanh, hard][number](x)
    theirs = {4: F.hardswish, 10: F.hardsigmoid}.get(number)
    assert theirs is None or torch.allclose(y, theirs(x), rtol=1e-7, atol=1e-7)
    return y


def elementwise():
    two = [("add", torch.add), ("sub", torch.sub), ("mul", torch.mul), ("maximum", torch.maximum),
           ("minimum", torch.minimum)]
    for op, fn in two:
        case(f"{op}.broadcast", fn, lambda: [randn(2, 1, 5), randn(3, 1)])
    case("div.broadcast", torch.div, lambda: [randn(2, 1, 5), rand(3, 1, lo=0.5, hi=2)])
    case("pow.broadcast", torch.pow, lambda: [rand(2, 1, 5, lo=0.2, hi=3), randn(3, 1)])
    for op, fn in two[3:]:      # where both are equal the gradient is halved
        case(f"{op}.ties", fn, lambda: [values(1, 2, 3, -1, 0, 0), values(1, 3, 2, -1, 0, -2)])

    anywhere = {"exp": torch.exp, "abs": torch.abs, "sin": torch.sin, "cos": torch.cos, "erf": torch.erf,
                "relu": F.relu, "relu6": F.relu6, "sigmoid": torch.sigmoid, "tanh": torch.tanh, "silu": F.silu,
                "hard_swish": lambda x: act(x, 4), "hard_sigmoid": lambda x: act(x, 10), "softplus": F.softplus, "gelu": F.gelu,
                "gelu_tanh": lambda x: act(x, 6), "quick_gelu": lambda x: act(x, 7)}
    for op, fn in anywhere.items():
        case(f"{op}.random", fn, lambda: [randn(3, 11, scale=3)])
    for op in ["abs", "relu", "relu6", "hard_sigmoid"]:
        case(f"{op}.kinks", anywhere[op], lambda: [values(-6, -4, -3, -1, 0, 1, 3, 4, 6, 7)])
    # Not at -3 and 3 themselves, where PyTorch 1.13 and 2.13 have different derivatives.
    case("hard_swish.kinks", lambda x: act(x, 4), lambda: [values(-6, -3.001, -2.999, -1.5, 0, 2.999, 3.001, 6)])
    for op in ["sigmoid", "tanh", "silu", "softplus", "gelu", "gelu_tanh", "quick_gelu"]:
        # Far out, where the naive formulas overflow or cancel.  (From 20 on F.softplus is the identity,
        # which is exact in f32.)
        case(f"{op}.far", anywhere[op], lambda: [values(-80, -30, -15, -9, 9, 15, 30, 80)])

    for op, fn in {"log": torch.log, "sqrt": torch.sqrt, "rsqrt": torch.rsqrt}.items():
        case(f"{op}.random", fn, lambda: [rand(3, 11, lo=0.01, hi=9)])
    for p in [2.5, -1.0, 3.0]:
        case(f"powf.{p}", lambda x: torch.pow(x, p), lambda: [rand(3, 7, lo=0.1, hi=3)], [p])
    case("leaky_relu.random", lambda x: F.leaky_relu(x, 0.125), lambda: [randn(3, 11)], [0.125])
    case("leaky_relu.zero", lambda x: F.leaky_relu(x, 0.125), lambda: [values(-1, 0, 1)], [0.125])
    case("clamp.bounds", lambda x: torch.clamp(x, -1, 2), lambda: [values(-3, -1, -0.5, 0, 2, 2.5)], [-1, 2])
    case("where.broadcast", torch.where, lambda: [ints(2, 3, 1).bool(), randn(2, 3, 5), randn(5)])


# ---- reductions -------------------------------------------------------------------------------------------

def reductions():
    def fold(op, fn, variant, make, axes, correction=0, keepdim=0):
        case(f"{op}.{variant}", fn, make, [correction, keepdim, *axes])

    x = lambda: [randn(3, 4, 5)]
    every = (0, 1, 2)
    for op, fn in {"sum": torch.sum, "mean": torch.mean, "max": torch.amax, "min": torch.amin,
                   "logsumexp": torch.logsumexp}.items():
        fold(op, lambda t: fn(t, (1,)), "middle", x, (1,))
        fold(op, lambda t: fn(t, (0, 2), keepdim=True), "outer_keep", x, (0, 2), keepdim=1)
        fold(op, lambda t: fn(t, every), "all", x, ())
    fold("logsumexp", lambda t: torch.logsumexp(t, -1), "large", lambda: [randn(3, 6, scale=40, shift=300)], (-1,))
    for op, fn in {"max": torch.amax, "min": torch.amin}.items():   # equal extremes share the gradient
        fold(op, lambda t: fn(t, (-1,)), "ties", lambda: [ints(3, 4, 6).double()], (-1,))
    for op, fn in {"var": torch.var, "std": torch.std}.items():
        for k in (0, 1):
            fold(op, lambda t: fn(t, dim=(0, 2), correction=k, keepdim=False), f"outer_{k}", x, (0, 2), k)
        fold(op, lambda t: fn(t, dim=every, correction=1, keepdim=False), "all", x, (), 1)
        fold(op, lambda t: fn(t, dim=(1,), correction=1, keepdim=True), "far_mean",
             lambda: [randn(3, 8, shift=100)], (1,), 1, 1)
    fold("prod", lambda t: torch.prod(t, 1), "middle", x, (1,))
    fold("prod", lambda t: torch.prod(t), "all", lambda: [rand(2, 5, lo=0.5, hi=1.5)], ())
    zeros = lambda: [torch.tensor([[1.5, 0, 2, -1], [0, 3, 0, 2], [1, 2, 3, 4]], dtype=torch.float64)]
    fold("prod", lambda t: torch.prod(t, 1, keepdim=True), "zeros", zeros, (1,), keepdim=1)

    for op, fn in {"softmax": torch.softmax, "log_softmax": torch.log_softmax}.items():
        case(f"{op}.last", lambda t: fn(t, -1), lambda: [randn(3, 17, scale=3)], [-1])
        case(f"{op}.channels", lambda t: fn(t, 1), lambda: [randn(2, 5, 3, 2, scale=3)], [1])
        case(f"{op}.large", lambda t: fn(t, -1), lambda: [randn(3, 6, scale=20, shift=500)], [-1])


# ---- matrix products, indices --------------------------------------------------------------------------------

def products():
    shapes = {"plain": ((3, 4), (4, 5)), "batch": ((2, 3, 4), (2, 4, 5)), "broadcast": ((2, 1, 3, 4), (3, 4, 5)),
              "matrix": ((2, 3, 4), (4, 5)), "column": ((6, 7), (7, 1)), "odd": ((7, 17), (17, 9))}
    for name, (a, b) in shapes.items():
        case(f"matmul.{name}", torch.matmul, lambda: [randn(*a), randn(*b)], [0, 0])
    t = lambda x: x.transpose(-1, -2)
    case("matmul.ta", lambda a, b: t(a) @ b, lambda: [randn(2, 4, 3), randn(2, 4, 5)], [1, 0])
    case("matmul.tb", lambda a, b: a @ t(b), lambda: [randn(2, 3, 4), randn(5, 4)], [0, 1])
    case("matmul.tatb", lambda a, b: t(a) @ t(b), lambda: [randn(4, 3), randn(2, 5, 4)], [1, 1])

    xwb = lambda: [randn(2, 3, 5), randn(4, 5), randn(4)]
    case("linear.bias", F.linear, xwb, [0])
    case("linear.plain", F.linear, lambda: xwb()[:2], [0])
    for number, name in [(1, "relu"), (3, "silu"), (5, "gelu"), (6, "gelu_tanh"), (7, "quick_gelu")]:
        case(f"linear.{name}", lambda x, w, b: act(F.linear(x, w, b), number), xwb, [number])

    case("gather.embedding", lambda x, i: F.embedding(i, x), lambda: [randn(7, 4), ints(7, 2, 6)], [0])
    case("gather.axis1", lambda x, i: torch.index_select(x, 1, i), lambda: [randn(2, 5, 3), ints(5, 8)], [1])
    case("take_along.last", lambda x, i: torch.gather(x, 2, i), lambda: [randn(2, 3, 6), ints(6, 2, 3, 4)], [2])
    case("pad.value", lambda x: F.pad(x, (0, 0, 2, 1), value=1.5), lambda: [randn(2, 3, 4)], [1, 2, 1, 1.5])
    case("pad.crop", lambda x: F.pad(x, (-1, 2)), lambda: [randn(2, 5)], [1, -1, 2, 0])


# ---- convolution, pooling ------------------------------------------------------------------------------------

def conv_attr(stride=1, stride_w=None, pad=(0, 0, 0, 0), dil=1, dil_w=None, groups=1):
    return [stride, stride_w or stride, *pad, dil, dil_w or dil, groups]


def conv(x, w, b, a):
    s, sw, top, bottom, left, right, d, dw, groups = a
    return F.conv2d(F.pad(x, (left, right, top, bottom)), w, b, (s, sw), 0, (d, dw), groups)


def convolutions():
    cases = {   # x, w, attr, bias
        "same3x3": ((2, 3, 5, 6), (5, 3, 3, 3), conv_attr(pad=(1, 1, 1, 1)), True),
        "valid": ((1, 2, 5, 6), (3, 2, 3, 2), conv_attr(), False),
        "stride2": ((2, 3, 7, 6), (4, 3, 3, 3), conv_attr(2, pad=(1, 1, 1, 1)), True),
        "strides": ((1, 3, 7, 8), (4, 3, 3, 3), conv_attr(2, 3, (1, 1, 1, 1)), True),
        "floor": ((1, 2, 8, 8), (3, 2, 3, 3), conv_attr(3), False),     # the last rows are read by no window
        "asymmetric": ((1, 3, 6, 7), (4, 3, 3, 3), conv_attr(2, pad=(0, 1, 2, 1)), True),
        "dilation": ((1, 3, 6, 7), (4, 3, 3, 3), conv_attr(pad=(2, 2, 2, 2), dil=2), True),
        "dilations": ((1, 2, 5, 8), (3, 2, 3, 3), conv_attr(pad=(1, 1, 3, 3), dil=1, dil_w=3), False),
        "groups": ((1, 6, 5, 6), (4, 3, 3, 3), conv_attr(pad=(1, 1, 1, 1), groups=2), True),
        "depthwise": ((2, 5, 5, 4), (5, 1, 3, 3), conv_attr(pad=(1, 1, 1, 1), groups=5), True),
        "depthwise5x5": ((1, 5, 7, 7), (5, 1, 5, 5), conv_attr(2, pad=(2, 2, 2, 2), groups=5), False),
        "depthwise_x2": ((1, 3, 6, 6), (6, 1, 3, 3), conv_attr(2, pad=(0, 1, 0, 1), groups=3), False),
        "pointwise": ((2, 7, 3, 3), (9, 7, 1, 1), conv_attr(), True),
        "pointwise_s2": ((1, 7, 5, 5), (9, 7, 1, 1), conv_attr(2), False),
        "stem": ((1, 3, 9, 11), (2, 3, 7, 7), conv_attr(2, pad=(3, 3, 3, 3)), False),
        "patches": ((1, 3, 8, 8), (3, 3, 4, 4), conv_attr(4), True),
        "whole": ((2, 4, 3, 3), (5, 4, 3, 3), conv_attr(), True),
        "wide": ((1, 9, 7, 6), (7, 9, 3, 3), conv_attr(pad=(1, 1, 1, 1)), True),
        "pixel": ((3, 5, 1, 1), (4, 5, 3, 3), conv_attr(pad=(1, 1, 1, 1)), True),
    }
    for name, (x, w, a, bias) in cases.items():
        case(f"conv2d.{name}", lambda *t: conv(t[0], t[1], t[2] if bias else None, a),
             lambda: [randn(*x), randn(*w, scale=0.3)] + [randn(w[0])] * bias, a)

    def fused(name, x, w, a, number, parts, out):
        def run(x, w, scale, shift, residual):
            y = conv(x, w, None, a)
            y = y if scale is None else y * scale.view(1, -1, 1, 1)
            y = y if shift is None else y + shift.view(1, -1, 1, 1)
            return act(y if residual is None else y + residual, number)
        case(f"conv2d_fused.{name}", run,
             lambda: [randn(*x), randn(*w, scale=0.3), rand(w[0], lo=0.5, hi=1.5) if "s" in parts else None,
                      randn(w[0]) if "b" in parts else None, randn(*out) if "r" in parts else None], a + [number])

    same = conv_attr(pad=(1, 1, 1, 1))
    fused("block", (1, 4, 6, 5), (4, 4, 3, 3), same, 1, "sbr", (1, 4, 6, 5))
    fused("silu", (1, 3, 7, 6), (5, 3, 3, 3), conv_attr(2, pad=(1, 1, 1, 1)), 3, "sb", None)
    fused("hard_swish", (1, 4, 6, 6), (4, 1, 3, 3), conv_attr(pad=(1, 1, 1, 1), groups=4), 4, "sb", None)
    fused("bias_relu6", (1, 6, 3, 4), (7, 6, 1, 1), conv_attr(), 2, "b", None)
    fused("residual", (1, 6, 3, 4), (5, 6, 1, 1), conv_attr(), 0, "sbr", (1, 5, 3, 4))
    fused("gelu", (1, 5, 6, 5), (6, 5, 3, 3), same, 5, "sb", None)

    def transposed(name, g, w, out_hw, a, output_padding=0):
        s, sw, top, bottom, left, right, d, dw, groups = a
        assert (top, left) == (bottom, right)
        case(f"conv2d_dx.{name}",
             lambda g, w: F.conv_transpose2d(g, w, None, (s, sw), (top, left), output_padding, groups, (d, dw)),
             lambda: [randn(*g), randn(*w, scale=0.3)], a + list(out_hw))
        assert tuple(tensors[f"conv2d_dx.{name}/out"].shape[2:]) == out_hw, name

    transposed("k4s2", (2, 3, 3, 4), (3, 2, 4, 4), (6, 8), conv_attr(2, pad=(1, 1, 1, 1)))
    transposed("k2s2", (1, 4, 3, 3), (4, 3, 2, 2), (6, 6), conv_attr(2))
    transposed("output_padding", (1, 4, 3, 4), (4, 3, 3, 3), (6, 8), conv_attr(2, pad=(1, 1, 1, 1)), 1)
    transposed("groups", (1, 4, 3, 3), (4, 3, 3, 3), (5, 5), conv_attr(groups=2))
    transposed("dilation", (1, 3, 4, 4), (3, 2, 3, 3), (8, 8), conv_attr(dil=2))


def pool_attr(k, k_w=None, stride=None, stride_w=None, pad=0, pad_w=None, dil=1, ceil=0, exclude=0):
    stride = stride or k
    pad_w = pad if pad_w is None else pad_w
    return [k, k_w or k, stride, stride_w or (stride if stride != k else k_w or stride),
            pad, pad, pad_w, pad_w, dil, ceil, exclude]


def pools():
    def window(kind, name, shape, a, make=randn):
        k, kw, s, sw, top, _, left, _, dil, ceil, exclude = a
        if kind == "max_pool2d":
            fn = lambda x: F.max_pool2d(x, (k, kw), (s, sw), (top, left), dil, bool(ceil))
        else:
            fn = lambda x: F.avg_pool2d(x, (k, kw), (s, sw), (top, left), bool(ceil), not exclude)
        case(f"{kind}.{name}", fn, lambda: [make(*shape)], a)

    for kind in ["max_pool2d", "avg_pool2d"]:
        window(kind, "k2", (1, 3, 6, 7), pool_attr(2))
        window(kind, "k3s2p1", (1, 3, 7, 6), pool_attr(3, stride=2, pad=1))
        window(kind, "ceil", (1, 2, 6, 7), pool_attr(3, stride=2, ceil=1))
        window(kind, "ceil_pad", (1, 2, 8, 6), pool_attr(3, stride=2, pad=1, ceil=1))
        # The last window would begin in the right padding: PyTorch drops it.
        window(kind, "ceil_drop", (1, 2, 5, 5), pool_attr(2, stride=3, pad=1, ceil=1))
        window(kind, "oblong", (1, 2, 5, 7), pool_attr(2, 3, 1, 2, 0, 1))
    window("avg_pool2d", "exclude", (1, 3, 7, 6), pool_attr(3, stride=2, pad=1, exclude=1))
    window("avg_pool2d", "exclude_ceil", (1, 2, 8, 6), pool_attr(3, stride=2, pad=1, ceil=1, exclude=1))
    window("max_pool2d", "dilation", (1, 2, 9, 10), pool_attr(3, stride=1, pad=1, dil=2))
    window("max_pool2d", "ties", (1, 2, 7, 7), pool_attr(3, stride=2, pad=1), lambda *s: ints(3, *s).double())
    window("max_pool2d", "negative", (1, 2, 5, 5), pool_attr(3, stride=2, pad=1), lambda *s: randn(*s, shift=-9))

    for oh, ow, name in [(3, 2, "down"), (1, 1, "one"), (6, 8, "up"), (5, 6, "same")]:
        for op, fn in {"avg": F.adaptive_avg_pool2d, "max": F.adaptive_max_pool2d}.items():
            case(f"adaptive_{op}_pool2d.{name}", lambda x: fn(x, (oh, ow)), lambda: [randn(1, 2, 5, 6)], [oh, ow])
    case("global_avg_pool.image", lambda x: x.mean((2, 3)), lambda: [randn(2, 5, 4, 3)])


# ---- normalisation, losses --------------------------------------------------------------------------------------

def norms():
    def train(name, shape, eps, number=0, residual=False, affine=True, **kw):
        def run(x, gamma, beta, r):
            y = F.batch_norm(x, None, None, gamma, beta, True, 0.0, eps)
            axes = [i for i in range(x.dim()) if i != 1]
            stats = {"mean": x.mean(axes), "var": x.var(axes, unbiased=True)}
            return act(y if r is None else y + r, number), stats
        c = shape[1]
        case(f"batch_norm.{name}", run,
             lambda: [randn(*shape, **kw), randn(c) if affine else None, randn(c) if affine else None,
                      randn(*shape) if residual else None], [eps, number])

    train("image", (3, 4, 3, 2), 1e-5)
    train("plain", (3, 4, 3, 2), 1e-3, affine=False)
    train("rows", (6, 5), 1e-5)
    train("block", (2, 3, 4, 4), 1e-5, 1, True)
    train("silu", (2, 3, 4, 4), 1e-3, 3)
    train("far_mean", (4, 3, 3, 3), 1e-5, shift=50)

    def given(name, number, residual):
        def run(x, mean, var, gamma, beta, r):
            y = F.batch_norm(x, mean, var, gamma, beta, False, 0.0, 1e-5)
            return act(y if r is None else y + r, number)
        case(f"batch_norm_with.{name}", run,
             lambda: [randn(2, 3, 4, 4), randn(3), rand(3, lo=0.3, hi=2), randn(3), randn(3),
                      randn(2, 3, 4, 4) if residual else None], [1e-5, number], no_grad=(1, 2))

    given("image", 0, False)
    given("block", 1, True)
    given("hard_swish", 4, False)

    layer = lambda n, eps: (lambda x, gamma, beta: F.layer_norm(x, x.shape[-n:], gamma, beta, eps))
    case("layer_norm.tokens", layer(1, 1e-6), lambda: [randn(2, 3, 19), randn(19), randn(19)], [1, 1e-6])
    case("layer_norm.plain", lambda x: F.layer_norm(x, x.shape[-1:]), lambda: [randn(4, 8)], [1, 1e-5])
    case("layer_norm.two_dims", layer(2, 1e-5), lambda: [randn(3, 4, 5), randn(4, 5), randn(4, 5)], [2, 1e-5])
    case("layer_norm.far_mean", layer(1, 1e-5), lambda: [randn(3, 16, shift=30), randn(16), randn(16)], [1, 1e-5])
    for groups, name in [(2, "image"), (6, "instance"), (1, "one")]:
        case(f"group_norm.{name}", lambda x, w, b: F.group_norm(x, groups, w, b, 1e-5),
             lambda: [randn(2, 6, 3, 2), randn(6), randn(6)], [groups, 1e-5])
    case("group_norm.plain", lambda x: F.group_norm(x, 3, None, None, 1e-5), lambda: [randn(3, 12)], [3, 1e-5])


def losses():
    def ce(name, logits, target, smoothing=0.0, ignore=None, reduction=0, weight=0):
        case(f"cross_entropy.{name}",
             lambda x, t, w: F.cross_entropy(x, t, w, ignore_index=-100 if ignore is None else ignore,
                                             label_smoothing=smoothing, reduction=REDUCTIONS[reduction]),
             lambda: [logits(), target(), rand(weight, lo=0.3, hi=2) if weight else None],
             [smoothing, 0 if ignore is None else 1, 0 if ignore is None else ignore, reduction], no_grad=(2,))

    x, y = lambda: randn(6, 5, scale=2), lambda: ints(5, 6)
    soft = lambda: f32(torch.softmax(randn(6, 5), 1))
    some = lambda v: (lambda: torch.where(torch.tensor([0, 1, 0, 0, 1, 0]).bool(), torch.tensor(v), y()))
    ce("plain", x, y)
    ce("sum", x, y, reduction=1)
    ce("none", x, y, reduction=2)
    ce("smoothing", x, y, smoothing=0.1)
    ce("weight", x, y, weight=5)
    ce("ignore", x, some(-100), ignore=-100)
    ce("ignore_class", x, some(2), ignore=2)
    ce("everything", x, some(-1), smoothing=0.2, ignore=-1, weight=5)
    ce("everything_sum", x, some(-1), smoothing=0.2, ignore=-1, weight=5, reduction=1)
    ce("everything_none", x, some(-1), smoothing=0.2, ignore=-1, weight=5, reduction=2)
    ce("pixels", lambda: randn(2, 4, 3, 5), lambda: ints(4, 2, 3, 5), smoothing=0.1, weight=4)
    ce("soft", x, soft)
    ce("soft_sum", x, soft, reduction=1)
    ce("soft_everything", x, soft, smoothing=0.1, weight=5)
    ce("soft_none", x, soft, smoothing=0.1, reduction=2)
    ce("far", lambda: randn(6, 5, scale=60, shift=200), y)

    def bce(name, weight=None, pos=None, reduction=0, scale=2.0):
        case(f"bce_with_logits.{name}",
             lambda x, t, w, p: F.binary_cross_entropy_with_logits(x, t, w, pos_weight=p,
                                                                   reduction=REDUCTIONS[reduction]),
             lambda: [randn(4, 3, scale=scale), rand(4, 3), rand(*weight) if weight else None,
                      rand(*pos, lo=0.5, hi=3) if pos else None], [reduction], no_grad=(1, 2, 3))

    bce("plain")
    bce("sum", reduction=1)
    bce("none", reduction=2)
    bce("pos_weight", pos=(3,))
    bce("weights", weight=(4, 1), pos=(3,))
    bce("far", scale=60.0)

    for r, name in enumerate(REDUCTIONS):
        case(f"mse_loss.{name}", lambda a, b: F.mse_loss(a, b, reduction=name), lambda: [randn(4, 5), randn(4, 5)], [r])
        case(f"smooth_l1_loss.{name}", lambda a, b: F.smooth_l1_loss(a, b, reduction=name, beta=0.7),
             lambda: [randn(4, 5), randn(4, 5)], [0.7, r])
    case("smooth_l1_loss.beta0", lambda a, b: F.smooth_l1_loss(a, b, beta=0.0), lambda: [randn(4, 5), randn(4, 5)], [0, 0])


# ---- attention, resize --------------------------------------------------------------------------------------------

def attend(q, k, v, bias=None, key_mask=None, scale=0.0, causal=0):
    """Written out, so that nothing hangs on how PyTorch fuses it."""
    tq, tk = q.shape[-2], k.shape[-2]
    s = q @ k.transpose(-1, -2) * (scale or 1 / math.sqrt(q.shape[-1]))
    s = s if bias is None else s + bias
    if causal:
        s = s.masked_fill(torch.ones(tq, tk).tril(tk - tq) == 0, -math.inf)
    if key_mask is not None:
        s = s.masked_fill(~key_mask[:, None, None, :], -math.inf)
    return torch.softmax(s, -1) @ v


def attention():
    def one(name, b, h, tq, tk, d, dv, bias=None, mask=False, scale=0.0, causal=0):
        def make():
            keep = ints(3, b, tk) > 0
            keep[:, 0] = True                   # no row without a visible key
            return [randn(b, h, tq, d), randn(b, h, tk, d), randn(b, h, tk, dv), randn(*bias) if bias else None,
                    keep if mask else None]
        case(f"attention.{name}", lambda q, k, v, bias, m: attend(q, k, v, bias, m, scale, causal), make,
             [scale, causal])

    one("self", 1, 2, 5, 5, 4, 4)
    one("cross", 1, 2, 3, 6, 4, 5)
    one("scale", 1, 1, 4, 4, 8, 8, scale=0.25)
    one("causal", 1, 2, 6, 6, 4, 4, causal=1)
    one("causal_tail", 1, 2, 3, 7, 4, 4, causal=1)
    one("bias", 2, 2, 3, 5, 4, 4, bias=(1, 2, 3, 5))
    one("bias_causal", 1, 2, 5, 5, 4, 4, bias=(5, 5), causal=1)
    one("key_mask", 2, 2, 4, 6, 4, 4, mask=True)
    one("everything", 2, 2, 5, 5, 4, 3, bias=(2, 1, 5, 5), mask=True, scale=0.7, causal=1)
    one("long", 1, 1, 11, 35, 4, 4)
    for causal in (0, 1):
        def packed(x):
            q, k, v = x.permute(2, 0, 3, 1, 4)              # each [B,H,T,D]
            return attend(q, k, v, causal=causal).permute(0, 2, 1, 3).flatten(2)
        case(f"attention_packed.{'causal' if causal else 'self'}", packed, lambda: [randn(2, 5, 3, 2, 4)], [0, causal])


def resizes():
    sizes = {"up": (9, 11), "double": (10, 14), "down": (3, 4), "mixed": (8, 3), "one": (1, 1), "same": (5, 7)}
    for number, mode in enumerate(["nearest", "bilinear", "bicubic"]):
        for align in ([0] if mode == "nearest" else [0, 1]):
            for aa in ([0] if mode == "nearest" or align else [0, 1]):
                for name, (oh, ow) in sizes.items():
                    if (align or aa) and name in ("double", "same"):
                        continue
                    kind = mode + "_align" * align + "_antialias" * aa
                    case(f"resize.{kind}_{name}",
                         lambda x: F.interpolate(x, (oh, ow), mode=mode, antialias=bool(aa),
                                                 align_corners=None if mode == "nearest" else bool(align)),
                         lambda: [randn(1, 2 if name == "mixed" else 1, 5, 7)], [oh, ow, number, align, aa])
    case("resize.bilinear_antialias_far", lambda x: F.interpolate(x, (4, 5), mode="bilinear", antialias=True),
         lambda: [randn(1, 1, 17, 19)], [4, 5, 1, 0, 1])
    case("resize.bicubic_antialias_far", lambda x: F.interpolate(x, (4, 5), mode="bicubic", antialias=True),
         lambda: [randn(1, 1, 17, 19)], [4, 5, 2, 0, 1])


if __name__ == "__main__":
    torch.set_num_threads(1)
    for family in [elementwise, reductions, products, convolutions, pools, norms, losses, attention, resizes]:
        family()
    names = sorted({n.split("/")[0] for n in tensors})
    path = os.path.join(HERE, "ops.safetensors")
    st.save(path, tensors, {"script": "tests/goldens/make_ops.py", "torch": torch.__version__,
                            "cases": str(len(names))})
    print(f"{path}: {len(names)} cases, {os.path.getsize(path)} bytes, torch {torch.__version__}")
