"""Methods that need nothing of a model but its predictions: Shapley values through shap, and occlusion.

A player is one value of the explained inputs; where it is out, it has the baseline's value, and the prediction is
averaged over the baselines.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from explain_core.errors import MethodError
from explain_core.methods.sample import PlainModel, Sample, in_batches, seeded

MOST_EXACT = 14  # players: 16,384 subsets
MOST_REGRESSED = 1000  # players: the regression is cubic in them
MOST_MEMORY = 2**30  # bytes that shap holds of rows at once
RUNS_AT_WILL = 40_000  # runs of the model that random orders may take where nobody says how many


def exact_shapley(model: PlainModel, sample: Sample) -> list[np.ndarray]:
    """Shapley (1953) over all subsets, by ``shap.ExactExplainer``."""
    import shap

    players = _flat(sample.test).shape[1]
    if players > MOST_EXACT:
        raise MethodError(
            f"Exact Shapley values of {players:,} values need 2^{players:,} runs of the model; the limit is "
            f"{MOST_EXACT} values.",
            hint="Use sampled_shapley.",
        )
    explainer = shap.ExactExplainer(_function(model, sample), _masker(sample))
    return _unflat(explainer(_flat(sample.test), max_evals=2**players, silent=True).values[0], sample)


def sampled_shapley(model: PlainModel, sample: Sample, orders: int | None) -> list[np.ndarray]:
    """Castro et al. 2009 with antithetic orders (Mitchell et al. 2022), by ``shap.PermutationExplainer``.

    Args:
        orders: how many random orders, each also taken backwards; None for 10, or fewer where that is much.
    """
    import shap

    players, baselines = _flat(sample.test).shape[1], len(sample.base[0])
    one = 2 * players + 1
    if one * baselines * players * 8 > MOST_MEMORY:
        raise MethodError(
            f"shap would hold {one * baselines:,} rows of {players:,} values in memory at once.",
            hint="Use fewer timesteps, or one baseline instead of a background.",
        )
    if orders is None:
        orders = min(10, max(1, RUNS_AT_WILL // (one * baselines)))
    with seeded(sample.seed):
        explainer = shap.PermutationExplainer(_function(model, sample), _masker(sample), seed=sample.seed)
        found = explainer(_flat(sample.test), max_evals=orders * one, silent=True)
    return _unflat(found.values[0], sample)


def kernel_shap(model: PlainModel, sample: Sample, subsets: int | None) -> list[np.ndarray]:
    """Lundberg & Lee 2017, by ``shap.KernelExplainer``, on all values (no selection of a few by the lasso).

    Args:
        subsets: how many random subsets; None for shap's own choice, ``2 * players + 2048``.
    """
    import shap

    players = _flat(sample.test).shape[1]
    if players > MOST_REGRESSED:
        raise MethodError(
            f"Kernel SHAP solves for all {players:,} values at once; the limit is {MOST_REGRESSED:,}.",
            hint="Use sampled_shapley.",
        )
    with seeded(sample.seed):
        explainer = shap.KernelExplainer(_function(model, sample), _flat(sample.base))
        nsamples = "auto" if subsets is None else subsets
        values = explainer.shap_values(_flat(sample.test), nsamples=nsamples, l1_reg=False, silent=True)
    return _unflat(np.asarray(values)[0], sample)


def occlusion(model: PlainModel, sample: Sample) -> list[np.ndarray]:
    """Zeiler & Fergus 2014 for one value at a time: ``f(x) - f(x with the baseline's value there)``.

    PairLift's own code: shap has no occlusion, and captum's is for PyTorch.
    """
    test, base = _flat(sample.test), _flat(sample.base)
    function, players = _function(model, sample), test.shape[1]
    whole = function(test)[0]
    change = np.zeros((players, len(whole)))
    for baseline in base:
        for first in range(0, players, sample.rows_at_once):
            some = np.arange(first, min(first + sample.rows_at_once, players))
            rows = np.repeat(test, len(some), 0)
            rows[np.arange(len(some)), some] = baseline[some]
            change[some] += (whole - function(rows)) / len(base)
    return _unflat(change, sample)


def _flat(leaves: list[np.ndarray]) -> np.ndarray:
    """Explained inputs (R, ...) as one table (R, player) of doubles, which hold floats and token ids alike."""
    return np.concatenate([leaf.reshape(len(leaf), -1).astype(np.float64) for leaf in leaves], axis=1)


def _function(model: PlainModel, sample: Sample) -> Any:
    ends = np.cumsum([leaf[0].size for leaf in sample.test])[:-1]

    def predict(table: np.ndarray) -> np.ndarray:
        parts = np.split(np.asarray(table), ends, axis=1)
        rows = [
            part.reshape(-1, *leaf.shape[1:]).astype(leaf.dtype) for part, leaf in zip(parts, sample.test, strict=True)
        ]
        return in_batches(model.predict, rows, sample.rows_at_once).astype(np.float64)

    return predict


def _masker(sample: Sample) -> Any:
    import shap

    base = _flat(sample.base)
    return shap.maskers.Independent(base, max_samples=len(base))


def _unflat(values: np.ndarray, sample: Sample) -> list[np.ndarray]:
    """(player, K), or (player,) as shap has it where K is 1, as (K, ...) of each input."""
    values = values.reshape(len(values), -1)
    ends = np.cumsum([leaf[0].size for leaf in sample.test])[:-1]
    parts = np.split(values.T, ends, axis=1)
    return [part.reshape(len(part), *leaf.shape[1:]) for part, leaf in zip(parts, sample.test, strict=True)]
