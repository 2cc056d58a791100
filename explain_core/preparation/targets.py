"""Which outputs of a model are explained."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from explain_core.backends.protocol import ModelOutput, Target
from explain_core.errors import InputError, TargetError
from explain_core.explanation.labels import sample_order
from explain_core.preparation.axis_words import SAMPLE
from explain_core.preparation.given import row_labels, with_coordinates
from explain_core.preparation.no_arrays import require_array

MOST_OUTPUTS = 512
"""With ``target=None`` every output is explained, up to this many."""

OWN = "own target of each sample"
"""The label of an output that is chosen for each sample by itself."""

_MINUS = " − "


@dataclass(frozen=True)
class Contrast:
    """A difference of two outputs as a target: see `contrast`."""

    target: Any
    against: Any


def contrast(target: Any, against: Any) -> Contrast:
    """Explain why ``target`` rather than ``against``: the difference of the two outputs.

    Args:
        target, against: one output each, in any form that ``explain(target=)`` takes: a unit, (time, unit), a label,
            or an array with one for each sample.

    Returns:
        A target for `explain_core.explain`, alone or in a list of targets. The prediction is the difference of both
        outputs, and the attributions add up to how far it moved; its label is "target − against".
    """
    return Contrast(target, against)


def select_targets(
    target: Any,
    outputs: Sequence[ModelOutput],
    names: Sequence[str | int | float] | None = None,
    samples: int | None = None,
    sample_labels: np.ndarray | None = None,
    sample_name: str = "sample",
) -> tuple[list[Target], bool]:
    """Turn ``target`` into explained scalars.

    Args:
        target: None for every output; an int for a unit (negative counts from the end); a tuple for sequence
            outputs (time, unit), the unit by number or name; a label as results print it, or the name of an
            output of one unit; a tuple that starts with an output tensor's name, or where the model returns
            several with its place; `contrast`; an array of ints or labels (sample,), or of indices (sample,
            axis), with one for each sample; a list of any of these.
        outputs: the tensors that the model returns, shapes without the sample axis.
        names: labels of the units of the last axis, such as class names. Where all are whole numbers, a number chooses
            the unit of that name, and never the one in that place.
        samples: how many there are; None where a target for each cannot be asked for.
        sample_labels: one for each sample; an array of targets with labels of its own is matched with them.
        sample_name: what the axis of the samples is called, besides "sample".

    Returns:
        The targets, and whether results keep an output dimension (several outputs, or a list).

    Raises:
        TargetError: there is no such output, or more than one, or it has no axis of the samples.
        InputError: there are more or fewer names than units.
    """
    if names:
        _require_count(names, outputs)
    numbers = [_whole(name) for name in names or ()]
    own = None if names is None else [str(name) for name in names]
    chooser = _Chooser(outputs, own, samples, sample_labels, sample_name, numbers)
    if target is None:
        total = sum(int(np.prod(o.shape)) for o in outputs)
        if total > MOST_OUTPUTS:
            raise TargetError(
                f"the model gives {total} numbers per sample ({_describe(outputs)})",
                hint="Choose one with target=(time, unit), or several with a list of those.",
            )
        chosen = list(chooser.all())
        several = len(chosen) > 1
    elif isinstance(target, list):
        if not target:
            raise TargetError("the list of targets is empty")
        chosen, several = [chooser.one(item) for item in target], True
    else:
        chosen, several = [chooser.one(target)], False
    _require_explained(chosen, outputs)
    return chosen, several


def _require_explained(chosen: Sequence[Target], outputs: Sequence[ModelOutput]) -> None:
    for part in (part for one in chosen for part in one.parts):
        output = outputs[part.output]
        if output.unexplained:
            others = [repr(o.name) for o in outputs if not o.unexplained]
            raise TargetError(
                f"the output {output.name!r} cannot be explained: {output.unexplained}",
                hint=f"Or choose another one with target=: the outputs that can be explained are {', '.join(others)}.",
            )


def output_labels(names: Any) -> list[str | int | float] | None:
    """Names of units as a list, in which numbers stay numbers.

    Raises:
        InputError: they are no sequence.
    """
    if names is None:
        return None
    if isinstance(names, str | bytes | Mapping) or not isinstance(names, Iterable) or getattr(names, "ndim", 1) != 1:
        raise InputError(
            f"output_names is {type(names).__name__!r}, and it is a list of names",
            hint='Give one name for each unit of the last axis of the output, in their order: ["no", "yes"].',
        )
    plain = [name.item() if isinstance(name, np.generic) else name for name in names]
    return [name if _whole(name) is not None else str(name) for name in plain]


def _whole(name: Any) -> int | None:
    """A name that is a whole number as one; None for any other."""
    is_number = isinstance(name, int | float) and not isinstance(name, bool)
    return int(name) if is_number and name == name // 1 else None


def _require_count(names: Sequence, outputs: Sequence[ModelOutput]) -> None:
    sizes = [output.shape[-1] if output.shape else 1 for output in outputs]
    if len(names) not in sizes:
        raise InputError(
            f"output_names has {len(names)} names, and the model gives {_describe(outputs)}",
            hint="Give one for each unit of the last axis.",
        )


@dataclass(frozen=True)
class _Chooser:
    outputs: Sequence[ModelOutput]
    names: Sequence[str] | None
    samples: int | None
    sample_labels: np.ndarray | None = None
    sample_name: str = "sample"
    numbers: Sequence[int | None] = ()  # the names that are whole numbers, each in its place

    def all(self) -> Iterator[Target]:
        """Every number that the model gives for a sample."""
        for i, output in enumerate(self.outputs):
            for index in np.ndindex(*map(int, output.shape)):
                yield self._target(i, index)

    def one(self, target: Any) -> Target:
        require_array(target, "target", TargetError)
        if isinstance(target, Contrast):
            return self._contrast(target)
        if not isinstance(target, str) and hasattr(target, "shape"):
            array = self._in_sample_order(target)
            return self.one(array.item()) if array.ndim == 0 else self._of_each(array)
        if isinstance(target, str):
            return self._labelled(target)
        if isinstance(target, tuple) and len(target) > 1 and isinstance(target[-1], str):
            return replace(self, numbers=()).one(self._numbered(target))
        if isinstance(target, tuple) and target and isinstance(target[0], str):
            return self._named(target)
        index = target if isinstance(target, tuple) else (target,)
        if not all(isinstance(i, (int, np.integer)) and not isinstance(i, bool) for i in index):
            raise TargetError(
                f"{target!r} is not a target",
                hint="Use an int, a tuple of ints, a label, contrast(a, b), or an array with one for each sample.",
            )
        return self._indexed(target, tuple(map(int, index)))

    def _contrast(self, target: Contrast) -> Target:
        first, second = self.one(target.target), self.one(target.against)
        if first.against or second.against:
            raise TargetError("a contrast is of two outputs, and one of these is a contrast itself")
        if (first.output, first.index) == (second.output, second.index):
            raise TargetError(f"both outputs of the contrast are {first.label!r}, so there is no difference to explain")
        labels = [f"{_label(first, n)}{_MINUS}{_label(second, n)}" for n in range(len(first.labels or second.labels))]
        label = f"{first.label}{_MINUS}{second.label}"
        return replace(first, label=label, against=second, labels=tuple(labels))

    def _in_sample_order(self, target: Any) -> np.ndarray:
        """The numbers of an array, its samples first and in the order of the inputs' as far as both have labels."""
        own, target = None, with_coordinates(target)
        if hasattr(target, "dims") and hasattr(target, "coords") and target.ndim:
            named = [dim for dim in target.dims if dim in (*SAMPLE, self.sample_name)]
            if len(named) != 1 and not str(target.dims[0]).startswith("dim_"):
                raise TargetError(
                    f"the array of targets has the axes {target.dims}, and none is that of the samples",
                    hint=f"Call it {self.sample_name!r}, or give numbers without names (.to_numpy()).",
                )
            dim = named[0] if named else target.dims[0]
            target = target.transpose(dim, ...)
            own = target[dim].values if dim in target.coords else None
        elif hasattr(target, "index") and hasattr(target, "to_numpy"):
            own = row_labels(target.index)
        array = np.asarray(target.detach().cpu() if hasattr(target, "detach") else target)
        if own is None or len(array) != self.samples:
            return array
        order = sample_order(own, self.sample_labels, "the targets", "the inputs", error=TargetError)
        return array if order is None else array[order]

    def _of_each(self, array: np.ndarray) -> Target:
        """One target for each sample, all of the same tensor."""
        if array.dtype.kind not in "iuUO" or array.ndim > 2 or not array.size:
            raise TargetError(
                f"an array of {array.dtype} with shape {array.shape} is not a target",
                hint="Use whole numbers or labels (sample,), or indices (sample, axis of the output).",
            )
        if self.samples is None or len(array) != self.samples:
            raise TargetError(
                f"the array has {len(array)} targets, and there are {self.samples or 1} samples",
                hint="An array is one target for each sample; several outputs for all samples are a list.",
            )
        items = [tuple(row) if isinstance(row, list) else row for row in array.tolist()]
        found = [self.one(item) for item in items]
        if len({t.output for t in found}) > 1:
            raise TargetError(f"the samples' own targets are of different outputs ({_describe(self.outputs)})")
        index = tuple(zip(*(t.index for t in found), strict=True))
        return Target(found[0].output, index, OWN, labels=tuple(t.label for t in found))

    def _labelled(self, label: str) -> Target:
        """By what results print; else by the name of an output of one unit, or of a unit. No name is taken for two."""
        alone = [i for i, o in enumerate(self.outputs) if o.name == label and np.prod(o.shape) == 1]
        units = [
            i for i, o in enumerate(self.outputs) if label in self._units(o.shape) and len(o.shape) == 1 and self.names
        ]
        for found in (
            [t for t in self.all() if t.label == label],
            [self._target(i, (0,) * len(self.outputs[i].shape)) for i in alone],
            [self._target(i, (self._units(self.outputs[i].shape).index(label),)) for i in units],
        ):
            if len(found) > 1:
                raise TargetError(
                    f"{label!r} is the name of {len(found)} outputs",
                    hint="Choose by position: "
                    + " or ".join(f"target=({self.outputs[t.output].name!r}, *{t.index})" for t in found[:4])
                    + ".",
                )
            if found:
                return found[0]
        left, minus, right = label.partition(_MINUS)
        if minus:
            return self._contrast(Contrast(left, right))
        twice = re.fullmatch(r"(.+) \(\d+\)", label)  # of an output that was chosen twice
        if twice:
            return self._labelled(twice[1])
        several = [o for o in self.outputs if o.name == label]
        if several:
            first = self._target(self.outputs.index(several[0]), (0,) * len(several[0].shape))
            raise TargetError(
                f"the output {label!r} has more than one number: {_describe(several)}",
                hint=f"Choose one of them, such as target={first.label!r}.",
            )
        raise TargetError(f"there is no output {label!r}", hint=f"The outputs are {self._some()}.")

    def _numbered(self, target: tuple) -> tuple:
        """A tuple that ends in the name of a unit, with the unit's number in its place."""
        names = [] if self.names is None else list(self.names)
        if names.count(target[-1]) != 1:
            there = f"{names.count(target[-1])} units have" if target[-1] in names else "no unit has"
            raise TargetError(
                f"{target!r} is not a target: {there} the name {target[-1]!r}",
                hint=f"The names of the units are {names}." if names else "Name the units with output_names=.",
            )
        return (*target[:-1], names.index(target[-1]))

    def _named(self, target: tuple) -> Target:
        """A tensor's name and the index in it."""
        tensors = [o.name for o in self.outputs]
        found = [i for i, name in enumerate(tensors) if name == target[0]]
        if not found and len(target) == 1:
            return self._labelled(target[0])
        if len(found) != 1:
            is_there = "there is no output" if not found else f"there are {len(found)} outputs"
            raise TargetError(f"{is_there} {target[0]!r}", hint=f"The outputs are {tensors}.")
        index = target[1:]
        if not all(isinstance(i, (int, np.integer)) and not isinstance(i, bool) for i in index):
            raise TargetError(f"{target!r} is not a target", hint="After an output's name come whole numbers.")
        return self._at(found[0], tuple(map(int, index)), target)

    def _indexed(self, target: Any, index: tuple[int, ...]) -> Target:
        """Whole numbers: an index in the first tensor, or the place of a tensor and then an index in it."""
        readings = [(0, index)]
        for i, output in enumerate(self.outputs):
            path = _path(i, output.name, len(self.outputs))
            if path and index[: len(path)] == path:
                readings.append((i, index[len(path) :]))
        found = list(dict.fromkeys(self._at(i, rest, target) for i, rest in readings if self._fits(i, rest)))
        if len(found) > 1:
            raise TargetError(
                f"the target {target!r} can be read in two ways, as {found[0].label!r} and as {found[1].label!r}",
                hint=f"Use one of these labels, or an output's name: ({self.outputs[found[1].output].name!r}, ...).",
            )
        if found:
            return found[0]
        likely = [(i, rest) for i, rest in readings if len(rest) == len(self.outputs[i].shape)]
        return self._at(*(likely or readings)[0], target)

    def _fits(self, tensor: int, index: tuple[int, ...]) -> bool:
        shape, index = self.outputs[tensor].shape, self._plain(tensor, index)
        if len(index) != len(shape) or not all(-n <= i < n for i, n in zip(index[:-1], shape[:-1], strict=True)):
            return False
        return not index or bool(self._places(tensor, index[-1]))

    def _places(self, tensor: int, unit: int) -> list[int]:
        """The places on the last axis that a number stands for: as a name where numbers are names, else as a place."""
        size = self.outputs[tensor].shape[-1]
        as_place = [unit % size] if -size <= unit < size else []
        if len(self.numbers) != size:
            return as_place
        named = [place for place, number in enumerate(self.numbers) if number == unit]
        return list(dict.fromkeys(named + as_place)) if None in self.numbers else named

    def _at(self, tensor: int, index: tuple[int, ...], target: Any) -> Target:
        shape, index = self.outputs[tensor].shape, self._plain(tensor, index)
        if not index and np.prod(shape) == 1:  # a head of one unit by its name
            return self._target(tensor, (0,) * len(shape))
        if len(index) != len(shape):
            raise TargetError(
                f"the target {target!r} has {len(index)} numbers, and the output {_describe([self.outputs[tensor]])}",
                hint="For a sequence output choose (time, unit).",
            )
        if not self._fits(tensor, index):
            raise TargetError(
                f"there is no output {target!r}: the model gives {_describe([self.outputs[tensor]])}",
                hint=self._what_numbers_are(tensor),
            )
        places = self._places(tensor, index[-1])
        before = tuple(i % n for i, n in zip(index[:-1], shape[:-1], strict=True))
        found = [self._target(tensor, (*before, place)) for place in places]
        if len(found) > 1 and None not in self.numbers:
            raise TargetError(
                f"{index[-1]} is the name of {len(found)} units", hint="Give every unit a name of its own."
            )
        if len(found) > 1:
            raise TargetError(
                f"the target {target!r} can be read in two ways: {index[-1]} is the name of {found[0].label!r}, and "
                f"the place of {found[1].label!r}",
                hint="Use one of these labels.",
            )
        return found[0]

    def _what_numbers_are(self, tensor: int) -> str:
        if self.numbers and None not in self.numbers and len(self.numbers) == self.outputs[tensor].shape[-1]:
            return f"Where all names are whole numbers, a unit is chosen by its name: one of {list(self.numbers)}."
        return "Units and timesteps count from 0; negative numbers count from the end."

    def _plain(self, tensor: int, index: tuple[int, ...]) -> tuple[int, ...]:
        """A tensor of one number for a sample has no axis, and its number may be called 0 all the same."""
        only = len(self.outputs) == 1 and index == (-1,)
        return () if self.outputs[tensor].shape == () and (index == (0,) or only) else index

    def _units(self, shape: tuple[int, ...]) -> list[str]:
        """Names of the units of the last axis."""
        if self.names and shape and len(self.names) == shape[-1]:
            return list(self.names)
        return [str(i) for i in range(shape[-1])] if shape else []

    def _only(self, output: ModelOutput) -> str:
        """The name of a tensor of one number for a sample."""
        return self.names[0] if self.names and len(self.names) == len(self.outputs) == 1 else output.name

    def _target(self, tensor: int, index: tuple[int, ...]) -> Target:
        """With a label such as "2", "t3, unit 1", or "1.0: 2" where there are several tensors."""
        output = self.outputs[tensor]
        last = self._units(output.shape)[index[-1]] if index else self._only(output)
        if len(index) == 2:
            row = output.rows[index[0]] if output.rows else f"t{index[0]}"
            label = f"{row}, {last}" if self.names else f"{row}, unit {last}"
        elif len(index) > 2:
            label = ", ".join(map(str, index))
        else:
            label = last
        if len(self.outputs) > 1 and index:
            label = f"{output.name}: {label}"
        return Target(tensor, tuple(map(int, index)), label)

    def _some(self) -> list[str]:
        """What can be chosen by name."""
        heads = [o.name for o in self.outputs if np.prod(o.shape) == 1]
        printed = [t.label for t, _ in zip(self.all(), range(8), strict=False)]
        return list(dict.fromkeys([*(self.names or ()), *heads, *printed]))


def _label(target: Target, sample: int) -> str:
    return target.labels[sample] if target.labels else target.label


def _path(place: int, name: str, count: int) -> tuple[int, ...]:
    """The way to a tensor in what the model returns: "1.0" is the first of the second; else its place among several."""
    if re.fullmatch(r"\d+(\.\d+)*", name):
        return tuple(map(int, name.split(".")))
    return (place,) if count > 1 else ()


def _describe(outputs: Sequence[ModelOutput]) -> str:
    return "; ".join(
        f"{o.name} of shape {tuple(map(int, o.shape))} {'for all samples' if o.unexplained else 'per sample'}"
        for o in outputs
    )
