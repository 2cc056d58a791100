"""Explanations put together and put in other words: blocks of outputs as one, outputs renamed, axes folded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from explain_core.explanation.arrays import Arrays, by_name, mapped
from explain_core.explanation.labels import unique_labels
from explain_core.words import counted

if TYPE_CHECKING:
    from explain_core.explanation.result import Explanation


def joined(parts: Sequence[Explanation]) -> Explanation:
    """Explanations of different outputs on the same inputs as one, in the order given.

    All have the dimension ``output``, as with a list of targets.

    Raises:
        InputError: an output is there twice.
    """
    first = parts[0]
    if len(parts) == 1:
        return first

    def along(arrays: Sequence[xr.DataArray]) -> xr.DataArray:
        return xr.concat(arrays, "output", coords="minimal", compat="override", join="override")

    labels = [label for part in parts for label in part.outputs]
    unique_labels(labels, len(labels), "output")
    names = by_name(first.attributions)
    attributions = {name: along([by_name(part.attributions)[name] for part in parts]) for name in names}
    embeddings = {
        name: along([part.embedding_attributions[name] for part in parts]) for name in first.embedding_attributions
    }
    gates = {
        name: xr.concat([part.gates[name] for part in parts], "output", data_vars="minimal", coords="minimal")
        for name in first.gates
    }
    attrs = {**first.attrs, "seconds": sum(part.attrs.get("seconds", 0.0) for part in parts)}
    if any("rounding" in part.attrs for part in parts):
        attrs["rounding"] = max(part.attrs.get("rounding", 0.0) for part in parts)
    if any("targets" in part.attrs for part in parts):
        attrs["targets"] = {label: own for part in parts for label, own in part.attrs.get("targets", {}).items()}
    return replace(
        first,
        attributions=attributions if isinstance(first.attributions, dict) else next(iter(attributions.values())),
        prediction=along([part.prediction for part in parts]).transpose("sample", "output"),
        baseline_prediction=along([part.baseline_prediction for part in parts]).transpose("sample", "output"),
        gates=gates,
        embedding_attributions=embeddings,
        notes=list(dict.fromkeys(note for part in parts for note in part.notes)),
        attrs=attrs,
    )


def with_outputs(explanation: Explanation, labels: Sequence[str]) -> Explanation:
    """The same with other names of the outputs, one for each.

    Raises:
        InputError: another number of names, or one twice.
    """
    names = unique_labels(list(labels), len(explanation.outputs), "output")

    def named(array: xr.DataArray) -> xr.DataArray:
        return array.assign_coords(output=names) if "output" in array.dims else array

    attrs = explanation.attrs
    if "targets" in attrs:
        new = dict(zip(explanation.outputs, names.tolist(), strict=True))
        attrs = {**attrs, "targets": {new[label]: own for label, own in attrs["targets"].items()}}
    return replace(
        explanation,
        attributions=mapped(named, explanation.attributions),
        prediction=named(explanation.prediction),
        baseline_prediction=named(explanation.baseline_prediction),
        gates={
            name: gates.assign_coords(output=names) if "output" in gates.dims else gates
            for name, gates in explanation.gates.items()
        },
        embedding_attributions={name: named(array) for name, array in explanation.embedding_attributions.items()},
        attrs=attrs,
    )


def with_input_first(explanation: Explanation, name: str) -> Explanation:
    """The same with one input before the others, where several are explained and it is among them."""
    if not isinstance(explanation.attributions, dict) or name not in explanation.attributions:
        return explanation

    def moved(arrays: Arrays) -> Arrays:
        assert isinstance(arrays, dict)
        return {name: arrays[name], **arrays}

    return replace(
        explanation,
        attributions=moved(explanation.attributions),
        inputs=moved(explanation.inputs),
        baselines=moved(explanation.baselines),
    )


def folded(explanation: Explanation) -> Explanation:
    """Inputs of more than two axes, such as images in time, as (time, feature): sums over the places of each image.

    The axis after the time becomes ``feature``, such as the channels; the axes behind it are summed in the
    attributions, and averaged in the inputs and baselines. The attributions of each output add up to the same. What
    rounding may leave is judged by the sum of what was folded, so ``rounding`` is widened by how much of it cancelled.
    """
    notes = list(explanation.notes)
    before = float(explanation.attribution_size.max())

    def summed(array: xr.DataArray, *, mean: bool) -> xr.DataArray:
        axes = _places(array)
        if not _folds(array):
            return array
        axes.sort(key=lambda axis: axis != "channel")  # which Keras has last
        found = array.astype(np.float64)
        found = (found.mean(axes[1:]) if mean else found.sum(axes[1:])).astype(array.dtype)
        texts = [str(text) for text in array[axes[0]].values]
        bare = array[axes[0]].dtype.kind in "iu"
        word = "channel" if len(axes) > 2 else "row"
        labels = [f"{word} {i + 1}" if bare else text for i, text in enumerate(texts)]
        return found.rename({axes[0]: "feature"} if axes[0] != "feature" else {}).assign_coords(feature=labels)

    for name, array in by_name(explanation.inputs).items():
        if _folds(array):
            axes = sorted(_places(array), key=lambda axis: axis != "channel")
            places = prod(array.sizes[axis] for axis in axes[1:])
            sizes = " × ".join(str(array.sizes[axis]) for axis in axes[1:])
            of = f" of {name!r}" if len(explanation.input_names) > 1 else ""
            notes.append(
                f"Each cell{of} is the sum over {counted(places, 'place')} ({sizes}); its value is their mean."
            )
    found = replace(
        explanation,
        attributions=mapped(lambda array: summed(array, mean=False), explanation.attributions),
        inputs=mapped(lambda array: summed(array, mean=True), explanation.inputs),
        baselines=mapped(lambda array: summed(array, mean=True), explanation.baselines),
        notes=notes,
    )
    after = float(found.attribution_size.max())
    if after and before > after:
        attrs = {**found.attrs, "rounding": explanation.tolerance * before / after}
        found = replace(found, attrs=attrs)
    return found


def _places(array: xr.DataArray) -> list[str]:
    return [str(dim) for dim in array.dims if dim not in ("sample", "output", "time")]


def _folds(array: xr.DataArray) -> bool:
    """Whether there are places to sum over: of images in time, or of images with channels."""
    return len(_places(array)) >= (2 if "time" in array.dims else 3)
