"""What is asked of every recipe: the reference's numbers, sums that are complete, names that are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

import explain_core as xc
from random_graphs.expected import Expected, expected
from random_graphs.recipe import AXES, SAMPLES, Recipe

RESIDUAL = {"float32": 1e-5, "float64": 1e-12}
AGREEMENT = {"float32": 1e-3, "float64": 1e-9}
"""Of the largest attribution: a random stack may amplify rounding."""
FEATURE_NAMES = ["price", "volume"]
ULPS = 30
"""Units in the last place of 1 beside that, for outputs that hardly depend on the inputs."""


def baseline_of(recipe: Recipe) -> tuple[dict[str, np.ndarray], Any]:
    """The baseline by input, sample axis first, and how `explain` is told.

    What ids or inputs without time have no baseline of is drawn for each sample instead.
    """
    test, form = recipe.explained("test"), recipe.baseline
    if form == "zeros":
        return {name: np.zeros_like(values[:1]) for name, values in test.items()}, "zeros"
    if form in ("mean", "median") and "ids" not in test:
        return {name: middle(recipe, values, getattr(np, form)) for name, values in test.items()}, form
    if form == "first" and "static" not in test:
        first = recipe.mask().argmax(1)
        return {
            name: np.stack([row[[at] * recipe.time] for row, at in zip(values, first, strict=True)])
            for name, values in test.items()
        }, form
    if form == "number" and "ids" not in test:
        return {name: np.full_like(values[:1], 0.25) for name, values in test.items()}, 0.25
    if form == "vector" and len(test) == 1:
        vector = np.array([0.5, -0.25])
        return {"series": np.broadcast_to(vector, test["series"][:1].shape)}, by_feature(recipe, vector)
    if form == "function" and len(test) == 1:
        return {"series": 0.5 * test["series"]}, lambda values: 0.5 * values
    base = recipe.explained("base", {"one": 1, "background": 3}.get(form, SAMPLES))
    told = {**base, "series": named(recipe, base["series"]) if recipe.names else base["series"]}
    return base, told if len(test) > 1 else told["series"]


def middle(recipe: Recipe, values: np.ndarray, of: Callable[..., np.ndarray]) -> np.ndarray:
    """Mean or median of each feature over samples and real steps."""
    pool = values[recipe.mask()] if values.ndim == 3 else values
    return np.broadcast_to(of(pool, axis=0), values[:1].shape)


def by_feature(recipe: Recipe, vector: np.ndarray) -> Any:
    """One number for each feature, by name and in another order where the series has names."""
    if not recipe.names:
        return vector
    return xr.DataArray(vector[::-1], dims=("feature",), coords={"feature": FEATURE_NAMES[::-1]})


def named(recipe: Recipe, series: np.ndarray) -> xr.DataArray:
    """(any number of samples, time, feature) in the recipe's order of dimensions."""
    coords = {"time": np.datetime64("2024-01-01") + np.arange(recipe.time), "feature": FEATURE_NAMES}
    return xr.DataArray(series, dims=AXES, coords=coords).transpose(*recipe.names)


def check(recipe: Recipe, model: Any, backend: str) -> None:
    """Explain ``model`` and hold the result against the reference."""
    dtype = "float64" if recipe.double else "float32"
    base, told = baseline_of(recipe)
    inputs = {
        name: values.astype(dtype) if values.dtype.kind == "f" else values
        for name, values in {**recipe.explained("test"), **recipe.constants()}.items()
    }
    if recipe.names:
        inputs["series"] = named(recipe, inputs["series"])
    found = xc.explain(
        model,
        inputs if len(inputs) > 1 else inputs["series"],
        told,
        backend=backend,
        device="cpu",
        precision=dtype,
        background=recipe.baseline == "background",
    )
    wanted = expected(recipe, base)
    parts = found.attributions
    attributions = dict(parts) if isinstance(parts, dict) else {"series": parts}
    assert list(attributions) == list(wanted.attributions)
    attributions["series"] = require_names(recipe, attributions["series"])
    require_numbers(found, {name: part.values for name, part in attributions.items()}, wanted, dtype)


def require_names(recipe: Recipe, series: xr.DataArray) -> xr.DataArray:
    """Names that were given stay, the axis of the samples comes first. Returns (output, sample, time, feature)."""
    if not recipe.names:
        assert series.dims[:2] == ("output", "sample")
        return series
    assert series.dims == ("output", "sample", *(axis for axis in recipe.names if axis != "sample"))
    assert list(series.feature.values) == FEATURE_NAMES
    assert series.time.values[0] == np.datetime64("2024-01-01")
    return series.transpose("output", *AXES)


def require_numbers(found: xc.Explanation, attributions: dict[str, np.ndarray], wanted: Expected, dtype: str) -> None:
    unit = ULPS * np.finfo(dtype).eps
    for name in ("prediction", "baseline_prediction"):
        values, right = getattr(found, name).values, getattr(wanted, name)
        assert np.abs(values - right).max() <= AGREEMENT[dtype] * np.abs(right).max() + unit, (
            f"{name}: {values}, not {right}"
        )
    size = np.maximum(found.attribution_size.values, np.abs(wanted.prediction))
    assert (np.abs(found.residual.values) <= RESIDUAL[dtype] * size + unit).all(), "does not add up"
    largest = max(np.abs(part).max() for part in wanted.attributions.values())
    for name, right in wanted.attributions.items():
        assert attributions[name].shape == right.shape
        off = np.abs(attributions[name] - right).max()
        assert off <= AGREEMENT[dtype] * largest + unit, (
            f"attributions of {name}: off by {off:.2e}, largest {largest:.2e}"
        )
