"""The compiled recurrences give what the equations give, written out here in float64."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import dataclass

import numpy as np
import pytest

from explain_core.backends.distinct import distinct
from explain_core.kernels import driving
from explain_core.kernels.gru import gru_back, gru_forward
from explain_core.kernels.lstm import lstm_back, lstm_forward
from explain_core.kernels.lstm_of_rows import lstm_back_of_rows
from explain_core.kernels.rnn import rnn_back, rnn_forward

CELLS = ("lstm", "gru", "gru, reset before", "rnn", "rnn, relu")
GATES = {"lstm": 4, "gru": 3, "gru, reset before": 3, "rnn": 1, "rnn, relu": 1}
PRECISIONS = (np.float32, np.float64)
KINK = 5000  # roundings: the slope between members close to the kink, on both sides of it, amplifies them
SIZES = ((1, 1, 1), (3, 1, 7), (4, 5, 33), (2, 6, 8))  # timesteps, pairs, units


def sigmoid(a):
    return np.exp(-np.logaddexp(0, -a))


def secant(a, b, factor=1.0):
    """Of tanh, by sinh Δ / (Δ cosh a cosh b)."""
    change = a - b
    same = change == 0
    return np.where(same, 1.0, np.sinh(change) / np.where(same, 1.0, change)) / np.cosh(a) / np.cosh(b)


def sigmoid_secant(a, b):
    return secant(a / 2, b / 2) / 4


def relu_secant(a, b):
    change = a - b
    between = (np.maximum(a, 0) - np.maximum(b, 0)) / np.where(change == 0, 1, change)
    return np.where((a > 0) == (b > 0), (a > 0) * 1.0, between)


@dataclass
class Case:
    """One recurrent layer on rows that make pairs."""

    cell: str
    x: np.ndarray
    w: np.ndarray
    first: list[np.ndarray]  # states before the first step: h, and c of an LSTM
    test: np.ndarray
    base: np.ndarray
    bias: np.ndarray | None = None
    flags: np.ndarray | None = None

    def forward(self, **options):
        given = (self.test, self.base)
        x, w, h, options = self.x, self.w, self.first[0], {"flags": self.flags, **options}
        if self.cell == "lstm":
            return lstm_forward(x, w, h, self.first[1], *given, **options)
        if self.cell.startswith("gru"):
            return gru_forward(x, w, h, *given, bias=self.bias, **options)
        return rnn_forward(x, w, h, *given, relu="relu" in self.cell, **options)

    def back(self, factors, m_h, **options):
        if self.flags is not None:
            options["counts"] = self.counts()
        if self.cell == "lstm":
            return lstm_back(factors, self.w, m_h, **options)
        if self.cell.startswith("gru"):
            return gru_back(factors, self.w, m_h, after=self.bias is not None, **options)
        return rnn_back(factors, self.w, m_h, **options)

    def counts(self):
        """The mean of the mask over each pair, (T, N)."""
        return ((self.flags[:, self.test] * 1 + self.flags[:, self.base] * 1) / 2).astype(self.x.dtype)


def make(cell, sizes, precision, scale=1.0, masked=False, seed=0):
    """A case whose last two pairs share their baseline."""
    steps, pairs, units = sizes
    draw = np.random.default_rng(seed)
    rows, gates = 2 * pairs - (pairs > 1), GATES[cell]
    x = scale * draw.normal(size=(steps, rows, gates * units))
    w = draw.normal(size=(units, gates * units)) / np.sqrt(units)
    first = [draw.normal(size=(rows, units)) / 2 for _ in range(1 + (cell == "lstm"))]
    test, base = np.arange(pairs), np.minimum(np.arange(pairs) + pairs, rows - 1)
    bias = draw.normal(size=units).astype(precision) if cell == "gru" else None
    flags = draw.random((steps, rows)) < 0.6 if masked else None
    arrays = [array.astype(precision) for array in (x, w, *first)]
    return Case(cell, arrays[0], arrays[1], arrays[2:], test, base, bias, flags)


class Slow:
    """The equations, in float64, row by row and pair by pair."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.x, self.w, *self.first = (np.float64(array) for array in (case.x, case.w, *case.first))
        self.h, self.c, self.steps = [], [], []
        h, c = self.first[0], self.first[-1]
        for t in range(len(self.x)):
            new_h, new_c, step = getattr(self, "_" + case.cell.partition(",")[0])(self.x[t], h, c)
            if case.flags is not None:
                kept = case.flags[t, :, None]
                new_h, new_c = np.where(kept, new_h, h), np.where(kept, new_c, c)
            h, c = new_h, new_c
            self.h.append(h)
            self.c.append(c)
            self.steps.append(step)

    def _mean(self, value):
        return (value[self.case.test] + value[self.case.base]) / 2

    def _members(self, value):
        return value[self.case.test], value[self.case.base]

    def _lstm(self, x, h, c):
        pre = x + h @ self.w
        a_i, a_f, a_g, a_o = np.split(pre, 4, -1)
        i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)
        new = f * c + i * g

        def back(m_h, m_c):
            m = m_c + m_h * self._mean(o) * secant(*self._members(new))
            m_pre = [
                m * self._mean(g) * sigmoid_secant(*self._members(a_i)),
                m * self._mean(c) * sigmoid_secant(*self._members(a_f)),
                m * self._mean(i) * secant(*self._members(a_g)),
                m_h * self._mean(np.tanh(new)) * sigmoid_secant(*self._members(a_o)),
            ]
            m_pre = np.concatenate(m_pre, -1)
            return m_pre, m_pre @ self.w.T, m * self._mean(f)

        return o * np.tanh(new), new, (np.concatenate([i, f, g, o], -1), pre, back)

    def _gru(self, x, h, c):
        x_r, x_z, x_n = np.split(x, 3, -1)
        w_r, w_z, w_n = np.split(self.w, 3, -1)
        a_r, a_z = x_r + h @ w_r, x_z + h @ w_z
        r, z = sigmoid(a_r), sigmoid(a_z)
        after = self.case.bias is not None
        inside = h @ w_n + self.case.bias if after else h
        a_n = x_n + (r * inside if after else (r * h) @ w_n)
        n = np.tanh(a_n)

        def back(m_h, m_c):
            m_n = m_h * self._mean(sigmoid(-a_z)) * secant(*self._members(a_n))
            m_z = m_h * self._mean(h - n) * sigmoid_secant(*self._members(a_z))
            m_product = m_n if after else m_n @ w_n.T
            m_r = m_product * self._mean(inside) * sigmoid_secant(*self._members(a_r))
            m_inside = m_product * self._mean(r)
            before = m_r @ w_r.T + m_z @ w_z.T + m_h * self._mean(z) + (m_inside @ w_n.T if after else m_inside)
            return np.concatenate([m_r, m_z, m_n], -1), before, m_c

        return z * h + (1 - z) * n, c, (np.concatenate([r, z, n], -1), np.concatenate([a_r, a_z, a_n], -1), back)

    def _rnn(self, x, h, c):
        pre = x + h @ self.w
        relu = "relu" in self.case.cell
        out = np.maximum(pre, 0) if relu else np.tanh(pre)

        def back(m_h, m_c):
            m_pre = m_h * (relu_secant if relu else secant)(*self._members(pre))
            return m_pre, m_pre @ self.w.T, m_c

        return out, c, (out, pre, back)

    def back(self, m_h_all, m_c_all, fresh=None):
        """Multipliers: pre-activations (T, N, ·), the first states, and the states after each step."""
        m_h, m_c = np.zeros(m_h_all.shape[1:]), np.zeros(m_h_all.shape[1:])
        counts = np.ones(m_h_all.shape[:2]) if self.case.flags is None else np.float64(self.case.counts())
        pre, seen = [], []
        for t in range(len(self.x) - 1, -1, -1):
            m_h, m_c, count = m_h + m_h_all[t], m_c + m_c_all[t], counts[t, :, None]
            seen.append((m_h, m_c))
            m_pre, before_h, before_c = self.steps[t][2](count * m_h + (0 if fresh is None else fresh[t]), count * m_c)
            if self.case.cell != "lstm":
                before_c = 0 * m_c
            pre.append(m_pre)
            m_h, m_c = before_h + (1 - count) * m_h, before_c + (1 - count) * m_c
        return np.stack(pre[::-1]), m_h, m_c, [np.stack(all_[::-1]) for all_ in zip(*seen, strict=True)]


def assert_near(found, expected, precision, roundings=60):
    assert found.dtype == precision
    assert found.shape == expected.shape
    bound = roundings * np.finfo(precision).eps * max(np.abs(expected).max(), 1e-30)
    assert np.abs(found - expected).max() <= bound


def multipliers(case, seed=1):
    steps, units = len(case.x), case.first[0].shape[1]
    return np.random.default_rng(seed).normal(size=(3, steps, len(case.test), units)).astype(case.x.dtype)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("scale", [1.0, 30.0])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_against_the_equations(cell, sizes, precision, masked, scale):
    case = make(cell, sizes, precision, scale, masked)
    slow = Slow(case)
    states = case.forward(keep=True)
    rounding = KINK if "relu" in cell else 60 if scale == 1 else 500  # of pre-activations thirty times as large
    assert_near(states.h, np.stack(slow.h), precision, rounding)
    assert_near(states.gates, np.stack([step[0] for step in slow.steps]), precision, rounding)
    assert_near(states.pre, np.stack([step[1] for step in slow.steps]), precision, rounding)
    m_h, m_c, fresh = multipliers(case)
    options = {"fresh": fresh} if masked else {}
    if cell == "lstm":
        assert_near(states.c, np.stack(slow.c), precision, rounding)
        options["m_c"] = m_c
    found = case.back(states.factors, m_h, keep=True, **options)
    pre, first_h, first_c, seen = slow.back(*np.float64([m_h, m_c]), fresh if masked else None)
    assert_near(found.pre, pre, precision, rounding)
    assert_near(found.h_first, first_h, precision, rounding)
    assert_near(found.h, seen[0], precision, rounding)
    if cell == "lstm":
        assert_near(found.c_first, first_c, precision, rounding)
        assert_near(found.c, seen[1], precision, rounding)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("cell", CELLS)
def test_every_step_conserves(cell, precision):
    """What the states carry is what the gates and the states before get."""
    case = make(cell, (6, 4, 9), precision)
    states, (m_h, m_c, _) = case.forward(keep=True), multipliers(case)
    found = case.back(states.factors, m_h, keep=True, **({"m_c": m_c} if cell == "lstm" else {}))
    change = lambda rows: np.float64(rows[..., case.test, :]) - rows[..., case.base, :]  # noqa: E731
    mass, inward = (found.h * change(states.h)).sum(-1), ((found.h - m_h) * change(states.h)).sum(-1)
    first = (found.h_first * change(case.first[0])).sum(-1)
    if cell == "lstm":
        mass += (found.c * change(states.c)).sum(-1)
        inward += ((found.c - m_c) * change(states.c)).sum(-1)
        first += (found.c_first * change(case.first[1])).sum(-1)
    before = np.concatenate([first[None], inward[:-1]])
    of_inputs = (found.pre * change(case.x)).sum(-1)
    assert np.abs(mass - of_inputs - before).max() < 100 * np.finfo(precision).eps * np.abs(mass).max()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("cell", CELLS)
def test_equal_rows_give_equal_bits(cell, precision):
    """Wherever a row is, in blocks of rows and outside, it is computed alike; and one row has no difference."""
    case = make(cell, (5, 9, 33), precision)
    case.x[:, 10:], *_ = case.x[:, :1], *(np.copyto(s[10:], s[0]) for s in case.first)
    case.x[:, 3], *_ = case.x[:, 0], *(np.copyto(s[3], s[0]) for s in case.first)
    states = case.forward(keep=True)
    for array in (states.h, states.gates, states.pre):
        assert (array[:, 10:] == array[:, :1]).all()
        assert (array[:, 3] == array[:, 0]).all()
    alone = Case(cell, case.x[:, :1].copy(), case.w, [s[:1] for s in case.first], *np.zeros((2, 1), int), case.bias)
    assert (alone.forward().h[:, 0] == states.h[:, 0]).all()
    assert np.isfinite(alone.forward().factors).all()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("cell", CELLS)
def test_options_change_no_number(cell, precision):
    """Threads, what is kept, and arrays that cannot be written."""
    case = make(cell, (60, 40, 56), precision, masked=True)
    for array in (case.x, case.w, *case.first, case.flags):
        array.flags.writeable = False
    states, m_h = case.forward(), multipliers(case)[0]
    found = case.back(states.factors, m_h)
    assert states.gates is states.pre is found.h is None
    for options in ({"threads": 2}, {"keep": True}):
        again = case.forward(**options)
        assert (again.h == states.h).all()
        assert (again.factors == states.factors).all()
        back = case.back(states.factors, m_h, **options)
        assert (back.pre == found.pre).all()
        assert (back.h_first == found.h_first).all()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_products_by_a_library(cell, threads, monkeypatch):
    """Large products are made outside, with one call each timestep; here all of them, and then none."""
    case = make(cell, (5, 40, 64), np.float64)
    calls = []

    def product(a, b, out):
        calls.append(a.shape)
        np.matmul(a, b, out=out)

    results = []
    for large in (True, False):
        monkeypatch.setattr("explain_core.kernels.driving.library_is_faster", lambda *_, large=large: large)
        states = case.forward(product=product, threads=threads)
        results.append((states.h, states.factors, *case.back(states.factors, states.h[:, :40], product=product)[:2]))
    assert len(calls) == (0 if cell == "gru, reset before" else 10)
    for one, other in zip(*results, strict=True):
        assert_near(one, other, np.float64, KINK if "relu" in cell else 60)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("difference", [0.0, 1e-30, 1e-5, 1.0, 200.0, np.inf])
def test_extreme_pre_activations(cell, precision, difference):
    """Saturated gates, and members that hardly differ: nothing is lost in a difference, and nothing is NaN."""
    at = np.array([-100.0, -20, -1, -1e-20, 0, 1e-20, 1, 20, 100])
    units = len(at)
    x = np.zeros((1, 2, GATES[cell] * units))
    x[0, 1] = np.tile(at, GATES[cell])
    x[0, 0] = x[0, 1] + difference
    w, first = np.zeros((units, x.shape[-1])), [np.full((2, units), 0.5) for _ in range(1 + (cell == "lstm"))]
    arrays = [array.astype(precision) for array in (x, w, *first)]
    bias = np.zeros(units, precision) if cell == "gru" else None
    case = Case(cell, arrays[0], arrays[1], arrays[2:], np.array([0]), np.array([1]), bias)
    found = case.back(case.forward().factors, np.ones((1, 1, units), precision))
    assert np.isfinite(found.pre).all() or (np.isinf(difference) and "relu" in cell)
    if np.isfinite(difference):
        expected = Slow(case).back(np.ones((1, 1, units)), np.zeros((1, 1, units)))[0]
        near = np.abs(found.pre - expected) <= 20 * np.finfo(precision).eps * np.abs(expected) + 1e-36
        assert near.all()


@pytest.mark.parametrize("cell", CELLS)
def test_other_shapes_are_refused(cell):
    """Kernels do not look where an array ends."""
    case = make(cell, (4, 3, 5), np.float64)
    states = case.forward()
    with pytest.raises(ValueError, match="is needed"):
        case.back(states.factors, np.zeros((4, 3, 6)))
    case.w = case.w[:, 1:]
    with pytest.raises(ValueError, match="is needed"):
        case.forward()


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("with_c", [False, True])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("sizes", [(1, 2, 3), (4, 3, 5), (6, 9, 33)], ids=str)
def test_pairs_of_few_rows(sizes, precision, with_c, threads, large, monkeypatch):
    """Every test row with every baseline, by factors that are kept and by those that each step makes."""
    monkeypatch.setattr(driving, "_WORTH_A_THREAD", 1)
    monkeypatch.setattr("explain_core.kernels.lstm_of_rows.library_is_faster", lambda *_: large)
    steps, rows, units = sizes
    random = np.random.default_rng(0)
    draw = lambda *shape: random.normal(size=shape).astype(precision)  # noqa: E731
    x, w, w_x = draw(steps, 2 * rows, 4 * units), draw(units, 4 * units), draw(3, 4 * units)
    h0, c0 = draw(2, 2 * rows, units)
    test, base = (numbers.ravel() for numbers in np.meshgrid(np.arange(rows), np.arange(rows) + rows))
    m_h, m_c = draw(2, steps, rows**2, units)
    m_c = m_c if with_c else None
    states = lstm_forward(x, w, h0, c0, test, base, keep=True)
    expected = lstm_back(states.factors, w, m_h, m_c)
    found = lstm_back_of_rows(states.pre, c0, states.c, test, base, w, w_x, m_h, m_c, threads=threads)
    assert_near(found.x, expected.pre @ w_x.T, precision)
    assert_near(found.h_first, expected.h_first, precision)
    assert_near(found.c_first, expected.c_first, precision)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_rows_of_whole_numbers_run_once(precision):
    """They differ in few bits, and are often not even that: one-hot rows, flags, counts."""
    rows = np.unique(np.random.default_rng(0).integers(0, 2, (100, 30)), axis=0).astype(precision)
    shared = distinct(np.concatenate([rows, np.zeros_like(rows)]))
    assert len(shared.kept) == len(rows) + 1
    assert shared.members == (slice(0, len(rows)), slice(len(rows), len(rows) + 1))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own():
    """It has none of its parent's, so work that is given to those is never done."""
    rows = np.arange(4)
    two = driving.shares(rows, rows, 4, 2**20, 2)
    both = threading.Barrier(2)
    driving.in_threads(lambda share: both.wait(), two)
    child = os.fork()
    if not child:
        signal.alarm(20)  # ends it where it waits
        try:
            driving.in_threads(lambda share: None, two)
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
