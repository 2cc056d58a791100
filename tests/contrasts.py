"""Contrasts of two outputs, on models of either framework whose outputs are "each" (step, 3 units) and "price" (1)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import explain_core as xc

CONTRASTS = pytest.mark.parametrize(
    ("target", "first", "second"),
    [
        (xc.contrast(("each", 3, 0), ("each", 1, 2)), ("each", 3, 0), ("each", 1, 2)),
        (xc.contrast("price", "each: t0, unit 1"), ("price", 0), ("each", 0, 1)),
        (xc.contrast((0, 3, 2), "price"), ("each", 3, 2), ("price", 0)),
    ],
)


def explained_as_difference(
    model: Any, x: np.ndarray, base: np.ndarray, target: Any, first: Any, second: Any
) -> tuple[xc.Explanation, xc.Explanation, xc.Explanation]:
    """What ``target`` and its two parts are explained by, the first of which is the difference of the others."""
    found, one, other = (xc.explain(model, x, base, target=t) for t in (target, first, second))
    assert found.outputs == [f"{one.outputs[0]} − {other.outputs[0]}"]
    for part in ("attributions", "prediction", "baseline_prediction"):
        expected = getattr(one, part).values - getattr(other, part).values
        np.testing.assert_allclose(getattr(found, part).values, expected, atol=1e-14)
    assert np.abs(found.residual).max() < 1e-14
    return found, one, other
