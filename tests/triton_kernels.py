"""The Triton kernels against plain loops in double precision, on the CPU; a script with its own process.

Triton decides at import whether it interprets.

    TRITON_INTERPRET=1 python triton_kernels.py
"""

from __future__ import annotations

import itertools

import numpy as np
import torch

from explain_core.backends.torch import arrays, cuda
from explain_core.backends.torch.recurrent.on_gpu import OnGPU
from explain_core.backends.torch.recurrent.paired import project
from explain_core.backends.torch.recurrent.weights import Weights as LayerWeights
from explain_core.rules.cells import GRU, LSTM, RNN, Members
from explain_core.rules.recurrence import Layer, Recurrence, Reference

SIZES = [(3, 3, 2, 7), (2, 1, 1, 1), (1, 2, 2, 33), (1, 1, 1, 130)]
"""Timesteps, rows, pairs, units."""

ROUNDINGS = 30
"""How far a kernel may be from the loop, in roundings of the largest number. Measured: up to 9."""


def draw(*shape, seed):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def decay(u):
    return torch.where(u == 0, 1.0, -torch.expm1(-u) / u)


def sigmoid_secant(a, b):
    return decay((a - b).abs()) * torch.sigmoid(torch.maximum(a, b)) * torch.sigmoid(-torch.minimum(a, b))


def tanh_secant(a, b):
    return 4 * sigmoid_secant(2 * a, 2 * b)


def relu_secant(a, b):
    return torch.where(a == b, (a > 0).double(), (torch.relu(a) - torch.relu(b)) / (a - b))


class Problem:
    """One set of sizes: what a layer is given, and multipliers that arrive."""

    def __init__(self, gates, steps, rows, pairs, units):
        self.x = 2 * draw(steps, rows, gates * units, seed=0)
        self.w = draw(units, gates * units, seed=1) / units**0.5
        self.bias = draw(units, seed=2)
        self.h0, self.c0 = draw(rows, units, seed=3), draw(rows, units, seed=4)
        self.m_h, self.m_c = draw(steps, pairs, units, seed=5), draw(steps, pairs, units, seed=6)
        self.test = torch.arange(pairs) % rows
        self.base = torch.full((pairs,), rows - 1)  # of one pair both members are the same row

    def of(self, values):
        """A number of each row, (U, ...), in both members of each pair."""
        return values[self.test], values[self.base]

    def mean(self, values):
        a, b = self.of(values)
        return (a + b) / 2


def lstm(problem):
    """States, pre-activations, factors and multipliers by the equations, step by step."""
    p, h, c, told = problem, problem.h0, problem.c0, []
    for x in p.x:
        pre = x + h @ p.w
        i, f, g, o = pre.chunk(4, -1)
        before = c
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        factors = [
            p.mean(torch.tanh(g)) * sigmoid_secant(*p.of(i)),
            p.mean(before) * sigmoid_secant(*p.of(f)),
            p.mean(torch.sigmoid(i)) * tanh_secant(*p.of(g)),
            p.mean(torch.tanh(c)) * sigmoid_secant(*p.of(o)),
            p.mean(torch.sigmoid(f)),
            p.mean(torch.sigmoid(o)) * tanh_secant(*p.of(c)),
        ]
        told.append((h, c, pre, torch.stack(factors, 1)))
    m_h, m_c, found = torch.zeros_like(p.m_h[0]), torch.zeros_like(p.m_h[0]), []
    for t in range(len(p.x) - 1, -1, -1):
        at_h, at_c = m_h + p.m_h[t], m_c + p.m_c[t]
        by = told[t][3].unbind(1)
        m = at_c + at_h * by[5]
        m_pre = torch.cat([m * by[0], m * by[1], m * by[2], at_h * by[3]], -1)
        m_h, m_c = m_pre @ p.w.T, m * by[4]
        found.insert(0, (m_pre, at_h, at_c))
    return [torch.stack(s) for s in zip(*told, strict=True)], (
        *(torch.stack(s) for s in zip(*found, strict=True)),
        m_h,
        m_c,
    )


def gru(problem):
    p, h, told = problem, problem.h0, []
    for x in p.x:
        (x_r, x_z, x_n), (u_r, u_z, u_n) = x.chunk(3, -1), (h @ p.w).chunk(3, -1)
        q, a_r, a_z = u_n + p.bias, x_r + u_r, x_z + u_z
        a_n = x_n + torch.sigmoid(a_r) * q
        z, n, before = torch.sigmoid(a_z), torch.tanh(a_n), h
        h = z * h + (1 - z) * n
        by_n = p.mean(1 - z) * tanh_secant(*p.of(a_n))
        factors = [
            p.mean(q) * sigmoid_secant(*p.of(a_r)) * by_n,
            p.mean(before - n) * sigmoid_secant(*p.of(a_z)),
            by_n,
            p.mean(z),
            p.mean(torch.sigmoid(a_r)),
        ]
        told.append((h, torch.cat([a_r, a_z, a_n], -1), torch.stack(factors, 1)))
    m_h, found = torch.zeros_like(p.m_h[0]), []
    for t in range(len(p.x) - 1, -1, -1):
        at = m_h + p.m_h[t]
        by = told[t][2].unbind(1)
        m_n, m_z = at * by[2], at * by[1]
        m_r = at * by[0]
        m_h = at * by[3] + torch.cat([m_r, m_z, m_n * by[4]], -1) @ p.w.T
        found.insert(0, (torch.cat([m_r, m_z, m_n], -1), at))
    return [torch.stack(s) for s in zip(*told, strict=True)], (*(torch.stack(s) for s in zip(*found, strict=True)), m_h)


def rnn(problem, activation):
    p, h, told = problem, problem.h0, []
    value, secant = {"tanh": (torch.tanh, tanh_secant), "relu": (torch.relu, relu_secant)}[activation]
    for x in p.x:
        pre = x + h @ p.w
        h = value(pre)
        told.append((h, pre, secant(*p.of(pre)).unsqueeze(1)))
    m_h, found = torch.zeros_like(p.m_h[0]), []
    for t in range(len(p.x) - 1, -1, -1):
        at = m_h + p.m_h[t]
        m_pre = at * told[t][2][:, 0]
        m_h = m_pre @ p.w.T
        found.insert(0, (m_pre, at))
    return [torch.stack(s) for s in zip(*told, strict=True)], (*(torch.stack(s) for s in zip(*found, strict=True)), m_h)


def far(found, wanted, dtype):
    """The largest difference, in roundings of the largest number."""
    assert found.shape == wanted.shape, (found.shape, wanted.shape)
    size = wanted.abs().max().clamp(min=1e-30)
    return float((found.double().cpu() - wanted).abs().max() / size) / torch.finfo(dtype).eps


def measure(kind, sizes, dtype, known, device="cpu"):
    """Names of results of one kind of cell, and how far each is from the loop; equal members are the same bits.

    Args:
        known: whether the hidden states are given, as from cuDNN.
    """
    name, _, activation = kind.partition(" ")
    problem = Problem({"lstm": 4, "gru": 3, "rnn": 1}[name], *sizes)
    of = lambda array: array.to(device, dtype)  # noqa: E731
    p = problem
    (all_h, *states), back = {"lstm": lstm, "gru": gru, "rnn": lambda q: rnn(q, activation)}[name](problem)
    h = of(all_h) if known else None
    if name == "lstm":
        done = cuda.lstm_forward(of(p.x), of(p.w), of(p.h0), of(p.c0), p.test, p.base, True, h)
        found = [done.h, done.c, done.pre, done.factors]
        for way in ways_back(p, dtype):
            m = cuda.lstm_back(of(states[2]), of(p.w), of(p.m_h), of(p.m_c), True, way)
            found += [m.pre, m.h, m.c, m.first_h, m.first_c]
        without = cuda.lstm_back(done.factors, of(p.w), of(p.m_h))
        zero = cuda.lstm_back(done.factors, of(p.w), of(p.m_h), torch.zeros_like(of(p.m_c)))
        assert torch.equal(without.pre, zero.pre)
    elif name == "gru":
        done = cuda.gru_forward(of(p.x), of(p.w), of(p.bias), of(p.h0), p.test, p.base, True, h)
        found = [done.h, done.pre, done.factors]
        for way in ways_back(p, dtype):
            m = cuda.gru_back(of(states[1]), of(p.w), of(p.m_h), True, way)
            found += [m.pre, m.h, m.first_h]
    else:
        done = cuda.rnn_forward(of(p.x), of(p.w), of(p.h0), p.test, p.base, activation, True, h)
        m = cuda.rnn_back(of(states[1]), of(p.w), of(p.m_h), True)
        found = [done.h, done.pre, done.factors, m.pre, m.h, m.first_h]
    results = ["m_pre", "m_h", "first"] if name != "lstm" else ["m_pre", "m_h", "m_c", "first", "first_c"]
    names = ["h", "pre", "factors"] if name != "lstm" else ["h", "c", "pre", "factors"]
    wanted, times = [all_h, *states], (len(found) - len(names)) // len(results)
    for way in range(times):
        names += [f"{result}{', at once' * way}" for result in results]
        wanted += back
    return {n: far(f, v, dtype) for n, f, v in zip(names, found, wanted, strict=True)}


def ways_back(problem, dtype):
    """Step by step, and where a chip has room for the weights in one kernel."""
    return (False, True) if dtype is torch.float32 and len(problem.w) <= cuda.MOST_UNITS_ON_CHIP else (False,)


KINDS = ("lstm", "gru", "rnn tanh", "rnn relu")


LAYERS = {"lstm": (torch.nn.LSTM, LSTM()), "gru": (torch.nn.GRU, GRU()), "rnn tanh": (torch.nn.RNN, RNN("tanh"))}


def compare_in_layer(kind):
    """A layer as the engine runs it on a GPU, beside the same step by step: states, multipliers, contributions."""
    module, cell = LAYERS[kind]
    torch.manual_seed(0)
    own = module(3, 5)
    w = LayerWeights(*(weight.detach() for weight in own.parameters()))
    weights, bias = w.of(cell)
    x = draw(4, 3, 3, seed=7).float()
    first = [draw(3, 5, seed=8 + k).float() for k in range(2 if cell.has_cell_state else 1)]
    states = first[0], first[1] if len(first) > 1 else None
    layer = Layer(cell, project(x, w.w_ih, bias), *states, weights, Members(slice(0, 2), slice(2, 3)))
    m_h = draw(4, 2, 5, seed=10).float()
    told = []
    for kernel in (OnGPU(x, w), Reference()):
        run = Recurrence(arrays, kernel, layer, keep=True)
        found = run.back(m_h)
        defects = torch.stack(list(run.defects(found).values())).abs().max()
        assert defects < 1e-5, (kind, defects)
        told.append(
            (run.h, run.gates(), found.returned.pre, run.contribution(found), run.carry(found), run.mass(found))
        )
    for ours, reference in zip(*told, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-4, atol=1e-5)


def main() -> None:
    for kind in LAYERS:
        compare_in_layer(kind)
    worst = {}
    first = itertools.product(KINDS, SIZES[:1], ((torch.float32, False), (torch.float32, True), (torch.float64, False)))
    others = itertools.product(KINDS, SIZES[1:], ((torch.float32, True),))
    for kind, sizes, (dtype, known) in (*first, *others):
        for name, apart in measure(kind, sizes, dtype, known).items():
            assert apart < ROUNDINGS, (kind, sizes, dtype, known, name, apart)
            worst[kind, name] = max(worst.get((kind, name), 0.0), apart)
    print(max(worst.items(), key=lambda item: item[1]))


if __name__ == "__main__":
    main()
