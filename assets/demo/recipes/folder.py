"""Writes a demo's folder: sequences, background and manifest. The recipe itself writes the model file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

SCHEMA = 1


@dataclass(frozen=True)
class Sequence:
    """A held-out sequence: `values` (T, F), a label per step in `times`, and what was observed.

    `predicted` holds one number per output of the model; `note` says why the sequence is worth a look.
    """

    name: str
    times: list[str]
    values: np.ndarray
    observed: float | str
    predicted: np.ndarray
    note: str = ""


@dataclass(frozen=True)
class Reference:
    """A forecast or guess to compare the model with, and its metric on the same held-out data."""

    name: str
    description: str
    value: float
    naive: bool


def write(
    folder: Path,
    text: dict[str, Any],
    metrics: dict[str, Any],
    references: list[Reference],
    sequences: list[Sequence],
    background: np.ndarray,
    feature_mean: np.ndarray,
) -> None:
    """Writes `sequences.csv`, `background.npz` and `demo.json` into `folder`.

    Args:
        folder: the demo's folder; its name is the slug.
        text: what the manifest says beside the figures.
        metrics: how well the model does.
        references: what it is compared with.
        sequences: the held-out sequences, in the order in which to offer them.
        background: (m, T, F) training samples.
        feature_mean: (F,) training means.
    """
    features = [feature["name"] for feature in text["inputs"]["features"]]
    pd.concat(
        [
            pd.DataFrame(sequence.values.astype(np.float32), columns=features)
            .assign(sequence=sequence.name, time=sequence.times)
            .reindex(columns=["sequence", "time", *features])
            for sequence in sequences
        ]
    ).to_csv(folder / "sequences.csv", index=False, lineterminator="\n")
    np.savez_compressed(
        folder / "background.npz",
        background=background.astype(np.float32),
        feature_mean=feature_mean.astype(np.float32),
    )
    manifest = {
        "schema": SCHEMA,
        "slug": folder.name,
        **text,
        "sequences": "sequences.csv",
        "background": "background.npz",
        "metrics": {
            **metrics,
            "model": round(metrics["model"], 4),
            "shipped_model": round(metrics["shipped_model"], 4),
            "references": [{**asdict(item), "value": round(item.value, 4)} for item in references],
        },
        "held_out": [
            {
                "name": sequence.name,
                "observed": sequence.observed,
                "predicted": [float(f"{value:.7g}") for value in sequence.predicted],
                "note": sequence.note,
            }
            for sequence in sequences
        ],
    }
    content = json.dumps(manifest, indent=2, ensure_ascii=False)
    (folder / "demo.json").write_text(content + "\n", encoding="utf-8")


def rmse_metrics(
    unit: str, split: str, predicted: np.ndarray, observed: np.ndarray, shipped: Iterable[int]
) -> dict[str, Any]:
    """How well a regression does on all that was held out, and on the part that is shipped.

    Args:
        unit: of what is predicted.
        split: what was held out, in words.
        predicted: (n, 1).
        observed: (n,).
        shipped: positions of the sequences that are shipped.
    """
    chosen = list(shipped)
    return {
        "name": "RMSE",
        "unit": unit,
        "lower_is_better": True,
        "split": split,
        "n": len(observed),
        "model": rmse(predicted[:, 0], observed),
        "shipped_n": len(chosen),
        "shipped_model": rmse(predicted[chosen, 0], observed[chosen]),
    }


def rmse(predicted: np.ndarray, observed: np.ndarray) -> float:
    """Root mean squared error of two equally long rows of numbers."""
    return float(np.sqrt(np.mean((np.asarray(predicted, dtype=np.float64) - observed) ** 2)))


def evenly(count: int, wanted: int) -> np.ndarray:
    """`wanted` positions spread evenly over `count`, the first and the last included."""
    return np.linspace(0, count - 1, wanted).round().astype(int)
