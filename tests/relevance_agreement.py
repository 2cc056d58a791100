"""What relevances must satisfy in either framework: the reference's numbers, and a table that accounts for the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from relevance_reference import Explained, Layer, explain

from explain_core import Explanation

COLUMNS = ["sample", "output", "layer", "absorbed_by", "value"]
# Per element, over the largest relevance of that sample and output. Measured: 1e-6 and 5e-14.
AGREEMENT = {"float32": 1e-5, "float64": 1e-10}
# What prediction, relevances and absorbed are off by, over the sizes of all that was summed. Measured: 3e-16.
RESIDUAL = {"float32": 1e-5, "float64": 1e-12}


def relevances(found: Explanation) -> list[np.ndarray]:
    """Of every explained input as (output, sample, ...)."""
    labelled = found.attributions
    parts = labelled.values() if isinstance(labelled, dict) else [labelled]
    return [part.values if "output" in part.dims else part.values[None] for part in parts]


def absorbed(found: Explanation, *by: str) -> np.ndarray:
    """What was absorbed in all layers, (output, sample), by what is named or, without names, by everything."""
    table = found.diagnostics["absorbed"]
    assert list(table.columns) == COLUMNS
    assert np.isfinite(table["value"]).all()
    if by:
        table = table[table["absorbed_by"].isin(by)]
    sums = table.groupby(["output", "sample"])["value"].sum().to_dict()
    outputs, samples = found.prediction["output"].values.tolist(), found.prediction["sample"].values.tolist()
    assert set(sums) <= {(output, sample) for output in outputs for sample in samples}
    return np.array([[sums.get((output, sample), 0.0) for sample in samples] for output in outputs])


def assert_adds_up(found: Explanation, precision: str) -> None:
    """``prediction = Σ relevances + Σ absorbed``, for every output and sample."""
    parts = [part.reshape(*part.shape[:2], -1).astype(np.float64) for part in relevances(found)]
    table = found.diagnostics["absorbed"]
    size = sum(np.abs(part).sum(-1) for part in parts) + np.abs(table["value"]).sum() / table["sample"].nunique()
    left = sum(part.sum(-1) for part in parts) + absorbed(found) - found.prediction.values.T
    assert (np.abs(left) <= RESIDUAL[precision] * size).all(), f"off by {np.max(np.abs(left) / size):.1e} of all"


def expected_of(
    model: Sequence[Layer],
    x: np.ndarray,
    targets: Sequence[tuple[int, ...]],
    eps: float,
    kept: np.ndarray | None = None,
) -> list[list[Explained]]:
    """The reference's answer, by output and sample.

    Args:
        model: the layers, the same for every sample.
        x: (N, T, I).
        targets: elements of the model's output.
        kept: (N, T), the timesteps that the model reads; the others are of no relevance. All if None.
    """
    rows = np.asarray(x, dtype=np.float64)
    kept = np.ones(rows.shape[:2], dtype=bool) if kept is None else kept

    def one(row: np.ndarray, steps: np.ndarray, target: tuple[int, ...]) -> Explained:
        found, whole = explain(model, row[steps], target, eps), np.zeros(row.shape)
        whole[steps] = found.relevance
        return replace(found, relevance=whole)

    return [[one(row, steps, target) for row, steps in zip(rows, kept, strict=True)] for target in targets]


# Constants, such as given first states, may be booked as biases: where a cell is written out, the two meet in one sum.
BOOKS = {"constants": ("biases", "constants"), "stabilizer": ("stabilizer",)}


def assert_relevance(found: Explanation, expected: Sequence[Sequence[Explained]], precision: str) -> None:
    """The one explained input has the reference's relevances, and the rest was absorbed where the reference has it.

    Args:
        expected: by output and sample.
        precision: of the model, "float32" or "float64".
    """
    assert_adds_up(found, precision)
    (parts,) = relevances(found)
    assert parts.shape[:2] == (len(expected), len(expected[0]))
    for k, of_output in enumerate(expected):
        for n, one in enumerate(of_output):
            bound = AGREEMENT[precision] * np.abs(one.relevance).max()
            assert bound > 0
            np.testing.assert_allclose(found.prediction.values[n, k], one.prediction, rtol=AGREEMENT[precision])
            np.testing.assert_allclose(parts[k, n], one.relevance, rtol=0, atol=bound)
            for name, by in BOOKS.items():
                values = [one.absorbed[part] for part in by]
                size = max(bound, AGREEMENT[precision] * max(map(abs, values)))
                np.testing.assert_allclose(absorbed(found, *by)[k, n], sum(values), rtol=0, atol=size, err_msg=name)
