"""make_probe.py -- optima of the linear probe's problem, by Newton's method -> probe.safetensors.

# env: debian

    minimise over W [K,D], b [K]   mean_i CE(W z_i + b, y_i) + l2 sum(W^2),   z = (x - m) / (s + 1e-5)

m and s (by n - 1) are of the rows; in double precision to a gradient of 1e-13.  (In scikit-learn's terms C = 1 / (2 n l2).)
Features: x = fill.values("CASE", [n,D], -1, 1), in single precision 0.4 added to feature y_i of row i; labels
of fill.py.  Case twice: row 6 is row 0 again, with the same label.
    CASE.I/attr      f64 [4]: n, D, K, l2
    CASE.I/w, /b     f64 [K,D], [K]: for raw features: W / s and b - W (m / s)
    CASE.I/objective f64 []
"""
import os
import sys

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import fill
import st

HERE = os.path.dirname(os.path.abspath(__file__))
tensors = {}


def softmax(a):
    e = np.exp(a - a.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def value(z1, hot, l2, theta):
    a = z1 @ theta.T
    top = a.max(1)
    ce = np.log(np.exp(a - top[:, None]).sum(1)) + top - (a * hot).sum(1)
    return ce.mean() + l2 * (theta[:, :-1] ** 2).sum()


def newton(z, y, k, l2):
    """theta [K,D+1], the bias last; each step halved until it descends."""
    n, d = z.shape
    z1, hot, theta = np.hstack([z, np.ones((n, 1))]), np.eye(k)[y], np.zeros((k, d + 1))
    penalty = 2 * l2 * np.tile(np.append(np.ones(d), 0), k)
    for _ in range(100):
        p = softmax(z1 @ theta.T)
        g = ((p - hot).T @ z1 / n).ravel() + penalty * theta.ravel()
        if abs(g).max() < 1e-13:
            return theta
        h = np.diag(penalty)
        for i in range(k):
            for j in range(k):
                s = p[:, i] * ((i == j) - p[:, j])
                h[i * (d + 1):(i + 1) * (d + 1), j * (d + 1):(j + 1) * (d + 1)] += (z1 * s[:, None]).T @ z1 / n
        step, t, f = -np.linalg.lstsq(h, g, rcond=1e-13)[0].reshape(theta.shape), 1.0, value(z1, hot, l2, theta)
        while t > 1e-4 and value(z1, hot, l2, theta + t * step) > f:
            t /= 2
        theta = theta + t * step
    raise SystemExit(f"no optimum: gradient {abs(g).max()}")


def case(name, n, d, k, penalties):
    y = fill.labels(n, k)
    x = fill.values(name, (n, d), -1, 1).astype(np.float32)
    x[np.arange(n), y] += np.float32(0.4)
    if name == "twice":
        x[6] = x[0]
    x = x.astype(np.float64)
    m, s = x.mean(0), x.std(0, ddof=1) + 1e-5
    z = (x - m) / s
    for i, l2 in enumerate(penalties):
        theta = newton(z, y, k, l2)
        w, b = theta[:, :-1], theta[:, -1]
        tensors[f"{name}.{i}/attr"] = np.array([n, d, k, l2])
        tensors[f"{name}.{i}/w"], tensors[f"{name}.{i}/b"] = w / s, b - w @ (m / s)
        tensors[f"{name}.{i}/objective"] = np.array(value(np.hstack([z, np.ones((n, 1))]), np.eye(k)[y], l2, theta))


case("wide", 24, 60, 2, [1e-3, 1e-1])
case("tall", 40, 8, 3, [1e-4, 1e-2])
case("twice", 15, 40, 3, [1e-2])
st.save(os.path.join(HERE, "probe.safetensors"), tensors, {"made_by": "make_probe.py"})
