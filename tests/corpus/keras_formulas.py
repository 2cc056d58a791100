"""Keras 2's layers as formulas, in double precision, from its documentation and not from its code."""

from __future__ import annotations

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def hard_sigmoid(x):
    """Keras 2: "0 if x < -2.5, 1 if x > 2.5, 0.2 x + 0.5 between"."""
    return np.clip(0.2 * x + 0.5, 0, 1)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def dense(x, kernel, bias):
    return x @ kernel + bias


def lstm_states(x, kernel, recurrent, bias, *, gate, start=None, mask=None):
    """Hidden and cell states, each (sample, time, unit); gates in the order input, forget, candidate, output.

    Where ``mask`` is False, states and outputs stay what they were.
    """
    x, units = np.asarray(x, float), recurrent.shape[0]
    h, c = start if start is not None else np.zeros((2, len(x), units))
    hs, cs = [], []
    for t in range(x.shape[1]):
        i, f, g, o = np.split(x[:, t] @ kernel + h @ recurrent + bias, 4, axis=1)
        c_new = gate(f) * c + gate(i) * np.tanh(g)
        h_new = gate(o) * np.tanh(c_new)
        keep = np.ones(len(x), bool)[:, None] if mask is None else mask[:, t, None]
        h, c = np.where(keep, h_new, h), np.where(keep, c_new, c)
        hs.append(h)
        cs.append(c)
    return np.stack(hs, 1), np.stack(cs, 1)


def lstm(x, kernel, recurrent, bias, **options):
    return lstm_states(x, kernel, recurrent, bias, **options)[0]


def gru(x, kernel, recurrent, bias, *, gate):
    """Hidden states; gates in the order update, reset, new. A bias (2, 3H) is that of a reset after the product."""
    x, units = np.asarray(x, float), recurrent.shape[0]
    h, hs = np.zeros((len(x), units)), []
    outer, inner = bias if bias.ndim == 2 else (bias, np.zeros_like(bias))
    for t in range(x.shape[1]):
        a_z, a_r, a_n = np.split(x[:, t] @ kernel + outer, 3, axis=1)
        u_z, u_r, u_n = np.split(recurrent, 3, axis=1)
        b_z, b_r, b_n = np.split(inner, 3)
        z, r = gate(a_z + h @ u_z + b_z), gate(a_r + h @ u_r + b_r)
        n = np.tanh(a_n + (r * (h @ u_n + b_n) if bias.ndim == 2 else (r * h) @ u_n))
        h = z * h + (1 - z) * n
        hs.append(h)
    return np.stack(hs, 1)


def rnn(x, kernel, recurrent, bias):
    h, hs = np.zeros((len(x), recurrent.shape[0])), []
    for t in range(x.shape[1]):
        h = np.tanh(x[:, t] @ kernel + h @ recurrent + bias)
        hs.append(h)
    return np.stack(hs, 1)
