"""The array functions of `explain_core.rules.arrays` at the edges that formulas meet, the same for both frameworks."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from explain_core.rules.arrays import Arrays

INF, NAN = math.inf, math.nan
FORMS = {
    *("array", "cast", "double", "tiny", "eps", "where", "clip", "take_along", "unsort", "count_below", "concat"),
    *("stack", "unstack", "zeta", "matmul", "transpose", "zeros_like", "take_rows", "concat_first", "any", "scan"),
    *("on_cpu", "threads", "dtype_name", "numpy", "from_numpy", "product"),
}
"""Functions about types, places and parts, which `check_forms` has."""

# name: [(arguments, value)]; numbers are arrays of one number, tuples rows.
EDGES: dict[str, list[tuple[tuple, object]]] = {
    "signbit": [((0.0,), False), ((-0.0,), True), ((-1.0,), True), ((1.0,), False), ((-INF,), True)],
    "isfinite": [((0.0,), True), ((INF,), False), ((NAN,), False)],
    "isinf": [((-INF,), True), ((NAN,), False), ((1e30,), False)],
    "is_still": [((0.0, -0.0), True), ((INF, INF), True), ((INF, -INF), False), ((1.0, 1.0 + 1e-6), False)],
    "maximum": [((1.0, 2.0), 2.0), ((-INF, 1.0), 1.0), ((NAN, 1.0), NAN)],
    "minimum": [((1.0, 2.0), 1.0), ((INF, 1.0), 1.0), ((1.0, NAN), NAN)],
    "floor": [((-0.5,), -1.0), ((2.0,), 2.0)],
    "round": [((0.5,), 0.0), ((1.5,), 2.0), ((-2.5,), -2.0)],
    "remainder": [((-1.0, 3.0), 2.0), ((5.5, -2.0), -0.5), ((4.0, 2.0), 0.0)],
    "fmod": [((-1.0, 3.0), -1.0), ((5.5, -2.0), 1.5)],
    "exp": [((-INF,), 0.0), ((0.0,), 1.0), ((INF,), INF)],
    "exp2": [((-INF,), 0.0), ((3.0,), 8.0), ((0.5,), math.sqrt(2))],
    "expm1": [((-INF,), -1.0), ((1e-10,), math.expm1(1e-10)), ((0.0,), 0.0), ((INF,), INF)],
    "log": [((0.0,), -INF), ((1.0,), 0.0), ((INF,), INF), ((-1.0,), NAN)],
    "log1p": [((-1.0,), -INF), ((1e-10,), math.log1p(1e-10)), ((INF,), INF)],
    "sqrt": [((0.0,), 0.0), ((4.0,), 2.0), ((INF,), INF)],
    "hypot": [((0.0, 0.0), 0.0), ((3e30, 4e30), 5e30), ((3e-30, -4e-30), 5e-30), ((INF, 1.0), INF), ((1.0, -INF), INF)],
    "sigmoid": [((-INF,), 0.0), ((INF,), 1.0), ((-80.0,), math.exp(-80))],
    "softplus": [((-INF,), 0.0), ((-10.0,), math.log1p(math.exp(-10))), ((50.0,), 50.0)],
    "tanh": [((-INF,), -1.0), ((1e-10,), 1e-10)],
    "sin": [((0.0,), 0.0), ((1e-10,), 1e-10), ((1.0,), math.sin(1.0))],
    "cos": [((0.0,), 1.0), ((1.0,), math.cos(1.0))],
    "tan": [((1e-10,), 1e-10), ((1.0,), math.tan(1.0))],
    "asin": [((-1.0,), -math.pi / 2), ((1e-10,), 1e-10)],
    "atan": [((INF,), math.pi / 2), ((1e-10,), 1e-10)],
    "atan2": [((0.0, -1.0), math.pi), ((-0.0, -1.0), -math.pi), ((0.0, 0.0), 0.0), ((1.0, -INF), math.pi)],
    "asinh": [((1e-10,), 1e-10), ((-1e20,), -math.asinh(1e20)), ((INF,), INF)],
    "erfc": [((INF,), 0.0), ((-INF,), 2.0), ((3.0,), math.erfc(3.0))],
    "erfinv": [((1.0,), INF), ((-1.0,), -INF), ((0.0,), 0.0)],
    "ndtri": [((0.0,), -INF), ((1.0,), INF), ((0.5,), 0.0)],
    "lgamma": [((0.0,), INF), ((1.0,), 0.0), ((-0.5,), math.lgamma(-0.5))],
    "digamma": [((1.0,), -0.5772156649015329)],
    "weighed": [((0.0, NAN), 0.0), ((0.0, INF), 0.0), ((2.0, 3.0), 6.0)],
    "sum": [(((1.0, 2.0, 4.0),), (7.0,))],
    "max": [(((-INF, 2.0, 1.0),), (2.0,)), (((-INF, -INF),), (-INF,))],
    "logsumexp": [(((0.0, 0.0),), (math.log(2),)), (((-INF, -INF),), (-INF,)), (((1000.0, -INF),), (1000.0,))],
    "log_softmax": [(((0.0, -INF),), (0.0, -INF)), (((1000.0, 0.0),), (0.0, -1000.0))],
    "cumsum": [(((1.0, 2.0, 4.0),), (1.0, 3.0, 7.0))],
    "cumulative_logsumexp": [(((-INF, 0.0, 0.0),), (-INF, 0.0, math.log(2)))],
    "flip": [(((1.0, 2.0, 4.0),), (4.0, 2.0, 1.0))],
    "sort": [(((INF, -INF, 1.0),), (-INF, 1.0, INF))],
    "argsort": [(((3.0, INF, -1.0),), (2, 0, 1))],
}


def check_edges(xp: Arrays, name: str, to: Callable[[np.ndarray], object], dtype: type) -> None:
    """A function at its edges; ``to`` makes a tensor of an array."""
    for given, expected in EDGES[name]:
        found = np.asarray(getattr(xp, name)(*(to(np.array(v, dtype)) for v in given)))
        assert found.dtype == dtype or found.dtype.kind in "bi"
        np.testing.assert_allclose(found, expected, rtol=8 * np.finfo(dtype).eps, err_msg=str(given))


def check_forms(xp: Arrays, to: Callable[[np.ndarray], object], dtype: type) -> None:
    """Functions that are about types, places and parts."""
    x, order = to(np.array([[3.0, 1.0, 2.0], [0.0, 5.0, -1.0]], dtype)), np.array([[1, 2, 0], [2, 0, 1]])
    for a, b in ((0.1, x), (x, 0.1)):
        found = np.asarray(xp.where(x > 1, a, b))
        assert found.dtype == dtype
        assert dtype(0.1) in found
    assert np.asarray(xp.array(0.1, x)) == dtype(0.1)
    assert np.asarray(xp.double(x)).dtype == np.float64
    assert np.asarray(xp.cast(xp.double(x), x)).dtype == dtype
    assert np.asarray(xp.cast(x > 1, x)).tolist() == [[1, 0, 1], [0, 1, 0]]
    assert (xp.tiny(x), xp.eps(x)) == (np.finfo(dtype).tiny, np.finfo(dtype).eps)
    assert np.asarray(xp.clip(x, -INF, 2.0)).max() == 2
    assert np.asarray(xp.clip(x, 0.0, INF)).min() == 0
    np.testing.assert_array_equal(xp.argsort(x), order)
    np.testing.assert_array_equal(xp.take_along(x, to(order)), xp.sort(x))
    np.testing.assert_array_equal(xp.unsort(xp.take_along(x, to(order)), to(order)), x)
    ordered = to(np.array([[1.0, 2.0, 3.0], [0.0, 0.5, 2.0]], dtype))
    for equal, counts in ((True, [[3, 1, 2], [1, 3, 0]]), (False, [[2, 0, 1], [0, 3, 0]])):
        found = np.asarray(xp.count_below(ordered, x, equal=equal))
        assert found.dtype == dtype
        assert found.tolist() == counts
    np.testing.assert_array_equal(xp.concat([x, x[..., :1]]), np.concatenate([x, x[..., :1]], -1))
    parts = xp.unstack(x)
    assert len(parts) == 3
    np.testing.assert_array_equal(xp.stack(parts), x)
    check_recurrences(xp, x, to)
    zeta = np.asarray(xp.zeta(2.0, to(np.array([1.0, 2.0], dtype))))
    np.testing.assert_allclose(zeta, [math.pi**2 / 6, math.pi**2 / 6 - 1], rtol=4 * np.finfo(dtype).eps)


def check_recurrences(xp: Arrays, x: object, to: Callable[[np.ndarray], object]) -> None:
    """Functions of recurrences and of compiled kernels; ``x`` is (2, 3)."""
    array = np.asarray(x)
    np.testing.assert_array_equal(xp.matmul(x, xp.transpose(x)), array @ array.T)
    np.testing.assert_array_equal(xp.zeros_like(x), 0 * array)
    np.testing.assert_array_equal(xp.take_rows(x, to(np.array([1, 1, 0]))), array[[1, 1, 0]])
    np.testing.assert_array_equal(xp.concat_first([x, x[:1]]), array[[0, 1, 0]])
    assert xp.any(x == 5)
    assert not xp.any(x == 6)
    assert xp.on_cpu(x)
    assert xp.threads() >= 1
    assert np.dtype(xp.dtype_name(x)) == array.dtype
    assert xp.numpy(xp.transpose(x)).flags.c_contiguous
    np.testing.assert_array_equal(xp.from_numpy(xp.numpy(x)), array)
    out = np.empty((2, 2), array.dtype)
    xp.product(array, np.ascontiguousarray(array.T), out)
    np.testing.assert_array_equal(out, array @ array.T)


def check_scan(scan: Callable, x: object) -> None:
    """``scan`` of an `Arrays` over the rows of x, from both ends: running sums, and None in a tree."""
    array = np.asarray(x)
    for reverse in (False, True):
        step = lambda before, now: ((before[0] + now["x"], None), (before[0], None))  # noqa: E731
        (last, none), (seen, absent) = scan(step, (x[0] * 0, None), {"x": x}, reverse=reverse)
        order = array[::-1] if reverse else array
        sums = np.cumsum(np.concatenate([0 * array[:1], order]), 0)
        np.testing.assert_allclose(last, sums[-1], rtol=1e-6)
        np.testing.assert_allclose(seen, sums[:-1][::-1] if reverse else sums[:-1], rtol=1e-6)
        assert none is None
        assert absent is None


def check_names(xp: Arrays) -> None:
    """A backend has all functions, and each is checked here."""
    names = {name for name in vars(Arrays) if not name.startswith("_")}
    assert names == set(EDGES) | FORMS
    assert all(hasattr(xp, name) for name in names)
