"""The compiled activations and secants, one by one, and the store of compiled kernels."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import mpmath
import numpy as np
import pytest
from numba import njit

from explain_core.kernels import available, elementary, store

LARGE = {np.float32: 42.0, np.float64: 350.0}  # beyond, complements are no normal numbers any more
EXACT = {
    "sigmoid": lambda a: (1 / (1 + mpmath.exp(-a)), 1 / (1 + mpmath.exp(a))),
    "tanh": lambda a: (mpmath.tanh(a), 2 / (1 + mpmath.exp(2 * abs(a)))),
}


@njit
def _sigmoid(a):
    return [elementary.sigmoid(one) for one in a]


@njit
def _tanh(a):
    return [elementary.tanh(one) for one in a]


@njit
def _sigmoid_secant(a, b):
    return [
        elementary.sigmoid_secant(p, q, *elementary.sigmoid(p), *elementary.sigmoid(q))
        for p, q in zip(a, b)  # noqa: B905 - not known to numba
    ]


@njit
def _tanh_secant(a, b):
    return [
        elementary.tanh_secant(p, q, *elementary.tanh(p), *elementary.tanh(q))
        for p, q in zip(a, b)  # noqa: B905
    ]


def arguments(precision, n=300):
    """Of both signs and all sizes, with the places where formulas change."""
    draw = np.random.default_rng(0)
    sizes = np.exp(draw.uniform(np.log(1e-20), np.log(LARGE[precision]), n))
    sizes[:6] = 0, 0.5, np.nextafter(0.5, 0), np.log(2) / 2, 1, 41
    return (draw.choice([-1, 1], n) * sizes).astype(precision)


def roundings(found, exact, precision):
    """The largest error, in units of the relative precision."""
    return max(
        float(abs(f - e) / abs(e)) if e else float(abs(f)) for f, e in zip(np.float64(found), exact, strict=True)
    ) / float(np.finfo(precision).eps)


@pytest.mark.parametrize("precision", LARGE)
@pytest.mark.parametrize("name", EXACT)
def test_activations(name, precision):
    a = arguments(precision)
    found = np.array({"sigmoid": _sigmoid, "tanh": _tanh}[name](a), precision).T
    exact = zip(*(EXACT[name](mpmath.mpf(float(one))) for one in a), strict=True)
    for values, expected in zip(found, exact, strict=True):
        assert roundings(values, expected, precision) < 3
    limits = np.array({"sigmoid": _sigmoid, "tanh": _tanh}[name](np.array([-np.inf, np.inf, np.nan], precision)))
    assert np.allclose(limits[:2, 0], [0 if name == "sigmoid" else -1, 1], rtol=0, atol=1e-30)
    assert np.isnan(limits[2]).all()


@pytest.mark.parametrize("precision", LARGE)
@pytest.mark.parametrize("name", EXACT)
def test_secants(name, precision):
    near, far = arguments(precision), arguments(precision)[::-1]
    a = np.concatenate([near, near, near, near])
    b = np.concatenate([far, near, near * precision(1.001), near + precision(1)])
    found = {"sigmoid": _sigmoid_secant, "tanh": _tanh_secant}[name](a, b)
    assert roundings(found, [secant(name, *map(float, pair)) for pair in zip(a, b, strict=True)], precision) < 8


def secant(name, a, b):
    """By its definition."""
    with mpmath.workdps(400):
        of = EXACT[name]
        if a == b:
            value, rest = of(mpmath.mpf(a))
            return value * rest if name == "sigmoid" else rest * (2 - rest)
        return (of(mpmath.mpf(a))[0] - of(mpmath.mpf(b))[0]) / (mpmath.mpf(a) - mpmath.mpf(b))


def test_only_two_precisions():
    assert available("lstm", np.float32)
    assert not available("lstm", np.float16)


PROGRAM = "from explain_core.kernels import available; print(available('rnn', 'float32'))"


def test_a_worker_compiles_nothing(tmp_path):
    """It has what is stored, and does without where nothing is."""
    answers = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, **store.for_workers(), store.FOLDER: str(folder)},
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        ).stdout.strip()
        for folder in (store.folder(), tmp_path)
        if available("rnn", np.float32)
    ]
    assert answers == ["True", "False"]
    assert not [*tmp_path.iterdir()]


COMPILE = "from explain_core.kernels import available; print(available('rnn', '{}'))"


def test_processes_that_compile_at_the_same_time_keep_what_each_stores(tmp_path):
    """One for each precision, both with an empty folder; after them nothing is missing."""
    environment = {**os.environ, store.FOLDER: str(tmp_path)}
    both = [
        subprocess.Popen([sys.executable, "-c", COMPILE.format(dtype)], env=environment)
        for dtype in ("float32", "float64")
    ]
    assert [process.wait(300) for process in both] == [0, 0]
    for dtype in ("float32", "float64"):
        found = subprocess.run(
            [sys.executable, "-c", COMPILE.format(dtype)],
            env={**environment, **store.for_workers(), store.FOLDER: str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        )
        assert found.stdout.strip() == "True"
    assert not [*tmp_path.glob("*.part")]


@pytest.mark.parametrize("name", ["compiling", "elementary", "products", "rows", "lstm", "lstm_of_rows", "gru", "rnn"])
def test_a_changed_source_is_compiled_anew(name, tmp_path, monkeypatch):
    for path in store._SOURCES.glob("*.py"):
        shutil.copy(path, tmp_path)
    monkeypatch.setattr(store, "_SOURCES", tmp_path)
    before = store.stamp.__wrapped__()
    with open(tmp_path / f"{name}.py", "a") as file:
        file.write("# changed")
    assert store.stamp.__wrapped__() != before
