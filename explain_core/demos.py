"""The bundled demos: small trained models with held-out sequences, read from their manifests.

Every folder of `assets/demo` that holds a `demo.json` is a demo. `list_demos` says what there is, and
`load_demo` reads one into numpy arrays and names. No framework is imported: the model is only pointed at.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from explain_core.errors import InputError, SequenceFileError

DEMO_ROOT = Path(__file__).resolve().parents[1] / "assets" / "demo"
MANIFEST = "demo.json"
SCHEMA = 1


@dataclass(frozen=True)
class DemoSummary:
    """What a list of demos shows about one of them."""

    slug: str
    title: str
    description: str
    framework: str
    task: str


@dataclass(frozen=True)
class Feature:
    """A column of the input: its name in the CSV file, its label for people and its unit ("" for none)."""

    name: str
    label: str
    unit: str


@dataclass(frozen=True)
class HeldOutSequence:
    """A sequence that the model was not trained on.

    `observed` is what really happened: a number for a regression, the class name for a classification.
    `predicted` is the model's answer when the demo was made, one number per output.
    `note` says in words why the sequence is worth a look; it may be empty.
    """

    name: str
    observed: float | str
    predicted: tuple[float, ...]
    note: str


@dataclass(frozen=True)
class Reference:
    """A forecast or guess that the model is compared with, and how well it did on the same held-out data."""

    name: str
    description: str
    value: float
    naive: bool


@dataclass(frozen=True)
class Metrics:
    """How well the model does: on all `n` held-out sequences, and on the `shipped_n` of them in the demo."""

    name: str
    unit: str
    lower_is_better: bool
    split: str
    n: int
    model: float
    references: tuple[Reference, ...]
    shipped_n: int
    shipped_model: float


@dataclass(frozen=True)
class Demo:
    """One demo, ready to be explained.

    Shapes: n sequences, T steps, F features, m background samples, K outputs.

    Attributes:
        x: (n, T, F) float32 in the units of `features`; shorter sequences are padded with zeros at the end.
        lengths: (n,) int64, the valid steps, where the model takes them as its second input; else None.
        times: the labels of the valid steps of each sequence, as they stand in the CSV file.
        background: (m, T, F) float32, training samples to average explanations over.
        feature_mean: (F,) float32, the mean of each feature over the training data.
        output_names: K names; class names for a classification, whose outputs are logits.
        default_baseline: "mean" or "background".
    """

    slug: str
    title: str
    description: str
    task: str
    framework: str
    folder: Path
    model_path: Path
    sequences_path: Path
    input_name: str
    features: tuple[Feature, ...]
    time_label: str
    time_unit: str
    x: np.ndarray
    lengths_name: str | None
    lengths: np.ndarray | None
    times: tuple[tuple[str, ...], ...]
    held_out: tuple[HeldOutSequence, ...]
    background: np.ndarray
    feature_mean: np.ndarray
    output_label: str
    output_names: tuple[str, ...]
    output_unit: str
    default_target: int
    default_baseline: str
    default_sequence: str
    metrics: Metrics
    source: str
    url: str
    licence: str
    citation: str

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the held-out sequences, in the order of `x`."""
        return tuple(sequence.name for sequence in self.held_out)

    @property
    def mean_baseline(self) -> np.ndarray:
        """(1, T, F) float32: every feature held at its training mean at every step."""
        return np.broadcast_to(self.feature_mean, (1, *self.x.shape[1:])).copy()

    def index(self, name: str) -> int:
        """The position in `x` of the held-out sequence called `name`."""
        if name not in self.names:
            raise InputError(
                f"the demo {self.slug!r} has no sequence called {name!r}",
                hint=f"It has: {', '.join(self.names)}.",
            )
        return self.names.index(name)

    def model_inputs(self, index: int | slice | list[int] = slice(None)) -> tuple[np.ndarray, ...]:
        """What the model takes for the chosen sequences, the batch first: `(x,)` or `(x, lengths)`."""
        chosen = [index] if isinstance(index, int) else index
        return (self.x[chosen],) if self.lengths is None else (self.x[chosen], self.lengths[chosen])


def list_demos(root: Path = DEMO_ROOT) -> list[DemoSummary]:
    """What demos there are, in the order in which to show them; the first is the one to open on.

    Args:
        root: the folder whose subfolders hold a `demo.json` each.
    """
    manifests = sorted((_manifest(path) for path in root.glob(f"*/{MANIFEST}")), key=lambda m: m["position"])
    return [
        DemoSummary(**{key: m[key] for key in ("slug", "title", "description", "framework", "task")}) for m in manifests
    ]


def load_demo(slug: str, root: Path = DEMO_ROOT) -> Demo:
    """Reads one demo.

    Args:
        slug: the name of its folder, as `list_demos` gives it.
        root: the folder whose subfolders hold a `demo.json` each.

    Raises:
        InputError: there is no such demo, or its manifest is not one that this version can read.
        SequenceFileError: its sequences do not match its manifest.
    """
    folder = root / slug
    if slug not in {path.parent.name for path in root.glob(f"*/{MANIFEST}")}:
        choices = ", ".join(summary.slug for summary in list_demos(root)) or "none; they come with a checkout"
        raise InputError(f"there is no demo called {slug!r}", where=str(root), hint=f"There is: {choices}.")
    manifest = _manifest(folder / MANIFEST)
    inputs, outputs = manifest["inputs"], manifest["outputs"]
    features = tuple(Feature(**feature) for feature in inputs["features"])
    told: list[dict[str, Any]] = [{**each, "predicted": tuple(each["predicted"])} for each in manifest["held_out"]]
    held_out = tuple(HeldOutSequence(**each) for each in told)
    sequences_path = folder / manifest["sequences"]
    x, lengths, times = _read_sequences(
        sequences_path,
        [s.name for s in held_out],
        [f.name for f in features],
        inputs["steps"],
    )
    if inputs["lengths"] is None and (lengths != inputs["steps"]).any():
        raise SequenceFileError(
            f"every sequence must have {inputs['steps']} rows, because the model takes no lengths",
            where=str(sequences_path),
        )
    with np.load(folder / manifest["background"], allow_pickle=False) as arrays:
        background, feature_mean = arrays["background"], arrays["feature_mean"]
    metrics: dict[str, Any] = manifest["metrics"]
    metrics["references"] = tuple(Reference(**reference) for reference in metrics["references"])
    return Demo(
        **{key: manifest[key] for key in ("slug", "title", "description", "task", "framework")},
        **{key: manifest[key] for key in ("default_target", "default_baseline", "default_sequence")},
        **{key: manifest[key] for key in ("source", "url", "licence", "citation")},
        folder=folder,
        model_path=folder / manifest["model"],
        sequences_path=sequences_path,
        input_name=inputs["name"],
        features=features,
        time_label=inputs["time"]["label"],
        time_unit=inputs["time"]["unit"],
        x=x,
        lengths_name=inputs["lengths"],
        lengths=None if inputs["lengths"] is None else lengths,
        times=times,
        held_out=held_out,
        background=background,
        feature_mean=feature_mean,
        output_label=outputs["label"],
        output_names=tuple(outputs["names"]),
        output_unit=outputs["unit"],
        metrics=Metrics(**metrics),
    )


def _manifest(path: Path) -> dict[str, Any]:
    """The manifest at `path`, if it is one that this version can read."""
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"the demo's manifest is not JSON: {error}", where=str(path)) from None
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise InputError(
            f"the demo's manifest does not follow schema {SCHEMA}",
            where=str(path),
            hint="Rebuild the demos as assets/demo/README.md says.",
        )
    return manifest


def _read_sequences(
    path: Path, names: list[str], features: list[str], steps: int
) -> tuple[np.ndarray, np.ndarray, tuple[tuple[str, ...], ...]]:
    """Reads a long CSV file (columns sequence, time and the features) into padded arrays.

    Returns:
        x (n, steps, F) float32 padded with zeros, lengths (n,) int64, and the time labels of each sequence.
    """
    table = pd.read_csv(path, dtype={"sequence": str, "time": str})
    if list(table.columns) != ["sequence", "time", *features]:
        raise SequenceFileError(
            f"the columns are {', '.join(table.columns)}",
            where=str(path),
            hint=f"They must be: sequence, time, {', '.join(features)}.",
        )
    groups = dict(list(table.groupby("sequence", sort=False)))
    if list(groups) != names:
        raise SequenceFileError("the sequences are not those that the demo's manifest lists", where=str(path))
    lengths = np.array([len(group) for group in groups.values()], dtype=np.int64)
    if lengths.max() > steps:
        raise SequenceFileError(f"a sequence has {lengths.max()} rows; the most is {steps}", where=str(path))
    x = np.zeros((len(names), steps, len(features)), dtype=np.float32)
    for row, group in enumerate(groups.values()):
        x[row, : len(group)] = group[features].to_numpy(dtype=np.float32)
    return x, lengths, tuple(tuple(group["time"]) for group in groups.values())
