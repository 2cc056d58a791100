"""What a sequence is compared with: baselines made from what was given, for one input of a model at a time.

Plain Python, no Streamlit: the sidebar chooses, this module prepares. Values that go to the model are in its units.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import xarray as xr

from explain_core.demos import Demo
from explain_core.errors import InputError
from explain_core.explanation.own_units import OFFSET, SCALE
from explain_core.sequences.fitting import scaled_values
from explain_core.sequences.labelled import label, lengths_of, valid_steps
from explain_core.words import listed_in_words

ZEROS, SCALED_ZEROS, HELD = "Zeros", "Zeros after scaling", "First step, held"
TRAINING, PADDING = "Training sequences, averaged", "Padding only"


@dataclass(frozen=True)
class Baseline:
    """What the sequence is compared with.

    Attributes:
        label: its name in the menu.
        words: what it is, in a sentence. They may hold names from files, and are no Markdown.
        values: "zeros", "first", or (1 or n, time, feature); for a model of several inputs a dict of these by name.
        background: whether results are averaged over the n.
        note: what the choice means for the answer, in one line; no Markdown either.
        notes: of several inputs, the note of each by name.
        sequences: where it is other sequences of the file, their names.
    """

    label: str
    words: str
    values: str | np.ndarray | Mapping[str, Any]
    background: bool = False
    note: str = ""
    notes: Mapping[str, str] = field(default_factory=dict)
    sequences: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Material:
    """What the baselines of one input are made from.

    Attributes:
        fitted: the input that is explained, as the model takes it: (1, T, F), (1, T) of ids, or (1, F). Steps after its
            ``length`` are padding.
        sequences: the file that it comes from, in the person's own units; it is the one at ``index``.
        fit: one of them with as many steps as the explained one, as the model takes it, (1, ...).
        padding: the id that fills up token ids, and where: "end" or "start".
        aliases: other names of the features, in their order.
        training: of a demo, (m, T, F) of its training data, and the mean of each feature (1, T, F).
        layers: the kinds of the model's layers.
        preferred: the label of the baseline that a demo was made for.
        beside: the baseline of the sequence, where this is another input of the model; it may be left out of what
            differs.
    """

    fitted: xr.DataArray
    sequences: xr.DataArray
    index: int
    fit: Callable[[xr.DataArray], np.ndarray]
    padding: tuple[int, str] = (0, "end")
    aliases: tuple[str, ...] = ()
    training: tuple[np.ndarray, np.ndarray] | None = None
    layers: tuple[str, ...] = ()
    preferred: str = ""
    beside: Baseline | None = None

    @property
    def is_ids(self) -> bool:
        """Whether these are token ids."""
        return "feature" not in self.fitted.dims and self.fitted.dtype.kind in "iu"

    @property
    def is_numbers(self) -> bool:
        """Whether these are numbers for each feature, which can be averaged and edited."""
        return set(self.fitted.dims) <= {"sample", "time", "feature"} and "feature" in self.fitted.dims

    @property
    def steps(self) -> int:
        """Real timesteps of the explained sequence."""
        return int(lengths_of(self.sequences)[self.index])

    @property
    def features(self) -> list[str]:
        """Names of the columns that a person knows."""
        return [str(name) for name in self.sequences["feature"].values]

    @property
    def has_steps(self) -> bool:
        """Whether its sequences have several timesteps."""
        return self.sequences.sizes.get("time", 1) > 1

    @cached_property
    def real_steps(self) -> np.ndarray:
        """Of all sequences, without padding: (steps, feature), in the person's own units."""
        return valid_steps(self.sequences)

    @property
    def names(self) -> list[str]:
        """Names of all sequences."""
        return [str(name) for name in self.sequences["sample"].values]

    @property
    def others(self) -> list[int]:
        """Places of the sequences that are not explained."""
        return [i for i in range(self.sequences.sizes["sample"]) if i != self.index]


def demo_material(demo: Demo, fitted: xr.DataArray, index: int) -> Material:
    """What the baselines of a demo are made from: its held-out sequences and its training data."""
    lengths = [len(times) for times in demo.times]
    sequences = label(demo.x, demo.names, np.arange(1, demo.x.shape[1] + 1), [each.label for each in demo.features])

    def fit(one: xr.DataArray) -> np.ndarray:
        values = np.array(fitted.values)
        values[:, : one.sizes["time"]] = one.values
        return values

    return Material(
        fitted,
        sequences.assign_coords(length=("sample", lengths)),
        index,
        fit,
        aliases=tuple(each.name for each in demo.features),
        training=(demo.background, demo.mean_baseline),
        preferred=TRAINING if demo.default_baseline == "background" else "Average of the training data",
    )


def values_of(baseline: Baseline, fitted: xr.DataArray) -> np.ndarray:
    """A baseline in numbers, (1 or n, ...) in the model's units."""
    if isinstance(baseline.values, np.ndarray):
        return baseline.values
    if baseline.values == "zeros":
        return np.zeros_like(fitted.values)
    return np.broadcast_to(fitted.isel(time=slice(0, 1)).values, fitted.shape)


def in_own_units(values: np.ndarray, fitted: xr.DataArray) -> np.ndarray:
    """Values (n, ..., feature) of the model's units in the person's, in float64."""
    own = values.astype(np.float64)
    return own * fitted[SCALE].values + fitted[OFFSET].values if OFFSET in fitted.coords else own


def ready(material: Material) -> dict[str, Callable[[], Baseline]]:
    """What makes each baseline that needs no further choice, by label; the usual ones first."""
    fitted = material.fitted
    if material.is_ids:
        return {PADDING: lambda: _blank(material)}
    if not material.is_numbers:
        return {each.label: partial(lambda made: made, each) for each in _of_grid(material)}
    held = {HELD: _held} if "time" in fitted.dims and fitted.sizes["time"] > 1 else {}
    zeros = {SCALED_ZEROS if OFFSET in fitted.coords else ZEROS: lambda: _zeros(material)}
    if not material.others and material.steps < 2:  # nothing to average
        return zeros
    if material.training is not None:
        of, means = "of the training data", _of_training
    else:
        of, means = "of my sequences" if material.others else "over time", _of_sequences
    averages = {f"{kind} {of}": partial(means, material, f"{kind} {of}") for kind in ("Average", "Median")}
    return averages | held | zeros


def _of_grid(material: Material) -> list[Baseline]:
    """Of arrays such as images in time: zeros, the average of the file's samples, and the first step."""
    sequences, fitted = material.sequences, material.fitted
    found = [Baseline(ZEROS, "an array of zeros", "zeros", note="Against zeros everywhere: what is there at all.")]
    if sequences.sizes["sample"] > 1:
        mean = sequences.values.mean(axis=0, keepdims=True).astype(fitted.dtype)
        note = "Against the average of your samples: what is special about this one."
        found.append(Baseline("Average of my samples", "the average of your samples", mean, note=note))
    if "time" in fitted.dims:
        first = np.array(np.broadcast_to(fitted.isel(time=slice(0, 1)).values, fitted.shape))
        found.append(Baseline(HELD, _held().words, first, note=_held().note))
    return found


def _blank(material: Material) -> Baseline:
    padding = material.padding[0]
    values = "zeros" if padding == 0 else np.full_like(material.fitted.values, padding)
    return Baseline(PADDING, "an empty text", values, note="Against an empty text: what each word brings in.")


def _zeros(material: Material) -> Baseline:
    if OFFSET in material.fitted.coords:
        note = "Against zero after scaling: for a scaling by mean and deviation that is the training's average."
        return Baseline(SCALED_ZEROS, "zeros after scaling", "zeros", note=note)
    note = "Against zero in every feature: right where zero means that nothing is there."
    return Baseline(ZEROS, "a sequence of zeros" if material.has_steps else "zeros", "zeros", note=note)


def _held() -> Baseline:
    note = "Against a start that never changes: what the course since then has done."
    return Baseline(HELD, "its own first step, held to the end", "first", note=note)


_MEDIAN_NOTE = "Against a middle value of each feature, which a few extreme steps do not move."


def _of_training(material: Material, label: str) -> Baseline:
    assert material.training is not None
    background, mean = material.training
    if label.startswith("Average"):
        note = "Against an average of the training data: what is special about this sequence."
        return Baseline(label, "an average sequence", mean, note=note)
    step = np.median(background.reshape(-1, background.shape[-1]), axis=0)
    return Baseline(
        label, "a median step of the training data", everywhere(step[None], material.fitted), False, _MEDIAN_NOTE
    )


def _of_sequences(material: Material, label: str) -> Baseline:
    is_average = label.startswith("Average")
    middle, word = (np.mean, "average") if is_average else (np.median, "median")
    values = everywhere(middle(material.real_steps, axis=0)[None], material.fitted)
    if not material.others:
        note = f"Against its own {word} over time: which steps stand out within this sequence."
        return Baseline(label, f"its own {word} over time", values, note=note)
    step = "step of your" if material.has_steps else "of your"
    note = f"Against an average {step} {len(material.names):,} sequences: what is special about this one."
    article = "an average" if is_average else "a median"
    return Baseline(label, f"{article} {step} sequences", values, note=note if is_average else _MEDIAN_NOTE)


def everywhere(table: np.ndarray, fitted: xr.DataArray) -> np.ndarray:
    """A table (steps or 1, feature) in the person's own units as the model's input, (1, ...); one row is held.

    Where steps lie side by side the table does as well. Padding stays as the sequence has it.
    """
    if "time" not in fitted.dims:
        flat = table.reshape(-1)
        values = scaled_values(np.tile(flat, fitted.sizes["feature"] // len(flat)), fitted)
        return np.broadcast_to(values, fitted.shape).astype(fitted.dtype)
    values = np.array(fitted.values)
    real = int(fitted["length"].values[0]) if "length" in fitted.coords else fitted.sizes["time"]
    values[:, :real] = scaled_values(np.broadcast_to(table, (real, table.shape[1])), fitted)
    return values


def together(chosen: Mapping[str, Baseline], fitted: Mapping[str, xr.DataArray]) -> Baseline:
    """The baselines of several inputs by their names, as one.

    Raises:
        InputError: two inputs have backgrounds of different sizes.
    """
    if len(chosen) == 1:
        return next(iter(chosen.values()))
    sizes = {name: len(values_of(each, fitted[name])) for name, each in chosen.items() if each.background}
    if len(set(sizes.values())) > 1:
        raise InputError(
            f"The backgrounds have {' and '.join(f'{n} sequences for {name!r}' for name, n in sizes.items())}.",
            where="the baselines",
            hint="Choose as many for each input: the first of each go together, then the second, and so on.",
        )
    values: dict[str, Any] = {name: each.values for name, each in chosen.items()}
    if sizes:
        n = next(iter(sizes.values()))
        arrays = {name: values_of(each, fitted[name]) for name, each in chosen.items()}
        values = {name: np.array(np.broadcast_to(array, (n, *array.shape[1:]))) for name, array in arrays.items()}
    notes = {name: each.note for name, each in chosen.items()}
    note = " ".join(f"{name}: {each}" for name, each in notes.items())
    return Baseline("Several", _in_words(chosen), values, bool(sizes), note, notes)


def _in_words(chosen: Mapping[str, Baseline]) -> str:
    """What each input is compared with; those that are compared with the same are named together."""
    names: dict[str, list[str]] = {}
    for name, each in chosen.items():
        names.setdefault(each.words, []).append(name)
    parts = [f"{words} as {listed_in_words(of)}" for words, of in names.items()]
    if len(parts) < len(chosen):  # so that nobody takes one part's "and" for that of another
        parts[-1] = f"and {parts[-1]}" if len(parts) > 1 else parts[-1]
        return ", ".join(parts)
    return listed_in_words(parts)
