"""The arguments of a model as a flat list of named arrays, and back."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from explain_core.errors import InputError, NonFiniteError

Labels = dict[int | str, np.ndarray]
BESIDE = ("times", "length", "token", "add_offset", "scale_factor")
"""Coordinates of an input that go with its values into the result."""


@dataclass(frozen=True)
class Arguments:
    """What a model is called with.

    Attributes:
        names: of each array, unique: the parameter's name, with positions for nested ones ("hx.0").
        leaves: the arrays.
        rebuild: turns as many arrays (or tensors) back into ``(args, kwargs)``.
        labels: for each array, as far as the input had them: labels of its axes by axis number, and by name what is
            in `BESIDE`: time labels (sample, time) and lengths (sample,) that differ between samples, words of token
            ids (sample, time), and the offset and scale (feature,) that lead back to the person's own units.
    """

    names: tuple[str, ...]
    leaves: list[np.ndarray]
    rebuild: Callable[[list[Any]], tuple[tuple, dict]]
    labels: list[Labels] = field(default_factory=list)

    def with_leaves(self, leaves: list[np.ndarray]) -> Arguments:
        """The same call with other arrays."""
        return Arguments(self.names, leaves, self.rebuild, self.labels)


def read_arguments(model: Any, inputs: Any) -> Arguments:
    """Flatten inputs.

    Args:
        model: a model whose ``forward`` or ``call`` names the parameters.
        inputs: one array (numpy, tensor, DataFrame, xarray, list of numbers); a tuple or list of arrays for
            positional arguments, nested where the model takes nested ones; a dict by parameter name.

    Raises:
        InputError: something in it is not numbers.
    """
    names: list[str] = []
    leaves: list[np.ndarray] = []
    labels: list[Labels] = []

    def visit(value: Any, name: str) -> Any:
        """The structure of ``value`` with numbers of leaves in place of arrays."""
        if isinstance(value, Mapping):
            return {key: visit(item, f"{name}.{key}") for key, item in value.items()}
        if is_nested(value):
            return tuple(visit(item, f"{name}.{i}") for i, item in enumerate(value))
        array, found = as_array(value, name)
        names.append(name)
        leaves.append(array)
        labels.append(found)
        return len(leaves) - 1

    if isinstance(inputs, Mapping):
        order = _in_parameter_order(model, list(inputs))
        positional: tuple = ()
        by_name = {name: visit(inputs[name], name) for name in order}
    else:
        given = inputs if is_nested(inputs) else (inputs,)
        parameters = _parameter_names(model, len(given))
        positional = tuple(visit(value, name) for value, name in zip(given, parameters, strict=True))
        by_name = {}
    if not leaves:
        raise InputError("there is no input")

    def fill(structure: Any, values: list[Any]) -> Any:
        if isinstance(structure, dict):
            return {key: fill(item, values) for key, item in structure.items()}
        if isinstance(structure, tuple):
            return tuple(fill(item, values) for item in structure)
        return values[structure]

    def rebuild(values: list[Any]) -> tuple[tuple, dict]:
        return fill(positional, values), fill(by_name, values)

    return Arguments(tuple(names), leaves, rebuild, labels)


def is_nested(value: Any) -> bool:
    """Whether a tuple or list holds several arrays rather than the numbers of one."""
    if isinstance(value, tuple):
        return not all(np.isscalar(item) for item in value)
    return isinstance(value, list) and any(hasattr(item, "shape") or isinstance(item, tuple) for item in value)


def as_array(value: Any, name: str) -> tuple[np.ndarray, Labels]:
    """Numbers as a numpy array, and the labels of its axes where it has any.

    Raises:
        InputError: it is not numbers.
    """
    labels: Labels = {}
    if hasattr(value, "detach"):  # a torch tensor
        value = value.detach().cpu()
    if hasattr(value, "dims") and hasattr(value, "coords"):  # xarray
        labels = {i: value[dim].values for i, dim in enumerate(value.dims) if dim in value.coords}
        labels |= {name: value[name].values for name in BESIDE if name in value.coords}
        value = value.values
    elif hasattr(value, "columns"):  # pandas: one sequence
        labels = {1: np.asarray(value.columns)}
        if value.index.name or value.index.dtype.kind not in "iu":
            labels[0] = np.asarray(value.index)
        value = value.to_numpy()
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"this is not an array of numbers: {error}", where=name) from None
    if array.dtype.kind not in "fiub":
        raise InputError(
            f"this is not an array of numbers, but of {array.dtype}",
            where=name,
            hint="Give numpy arrays, tensors, DataFrames or xarray DataArrays of numbers.",
        )
    if array.size == 0:
        raise InputError(f"it is empty: its shape is {array.shape}", where=name)
    if array.dtype.kind == "u":
        array = array.astype(np.int64)
    return array, labels


def check_finite(array: np.ndarray, name: str, what: str) -> None:
    """Refuse NaN and infinity, saying where the first one is.

    Raises:
        NonFiniteError
    """
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return
    bad = ~np.isfinite(array)
    at = tuple(int(i) for i in np.argwhere(bad)[0])
    more = f", and {int(bad.sum()) - 1} more" if bad.sum() > 1 else ""
    raise NonFiniteError(
        f"the {what} {name!r} has {array[at]} at position {at}{more}",
        where=name,
        hint="Fill or drop missing values before explaining.",
    )


def sample_axes(arguments: Arguments, sample_axis: int | Mapping[str, int] | None) -> tuple[int | None, ...]:
    """The sample axis of each array.

    Args:
        sample_axis: of the first array. Others have it where their size fits: at the same axis, at 0, or at 1 (initial
            states of PyTorch are (layer, sample, unit)). A dict gives it by name; None is for input without one.

    Raises:
        InputError: no axis fits, or it cannot be told which.
    """
    if sample_axis is None:
        return (None,) * len(arguments.leaves)
    given = dict(sample_axis) if isinstance(sample_axis, Mapping) else {arguments.names[0]: sample_axis}
    first_name = next((name for name in arguments.names if name in given), arguments.names[0])
    first = arguments.leaves[arguments.names.index(first_name)]
    axis = given.get(first_name, 0)
    if not -first.ndim <= axis < first.ndim:
        raise InputError(f"sample_axis is {axis}, and the input has {first.ndim} axes", where=first_name)
    axis %= first.ndim
    samples = first.shape[axis]
    axes = []
    for name, leaf in zip(arguments.names, arguments.leaves, strict=True):
        if name in given:
            axes.append(given[name] % leaf.ndim)
            continue
        usual = dict.fromkeys((axis if leaf.ndim == first.ndim else 0, 0, 1))
        fits = [a for a in usual if leaf.shape[a : a + 1] == (samples,)]
        if not fits:
            raise InputError(
                f"it has shape {leaf.shape}, and {first_name!r} has {samples} samples",
                where=name,
                hint="All inputs need the same number of samples; sample_axis={name: axis} says where they are.",
            )
        if len(fits) > 1 and leaf.ndim == 3 and leaf.shape != first.shape:
            raise InputError(
                f"it has shape {leaf.shape}: two axes have the {samples} samples",
                where=name,
                hint=f"Say which one it is: sample_axis={{{first_name!r}: {axis}, {name!r}: 1}}.",
            )
        axes.append(fits[0])
    return tuple(axes)


def _parameters(model: Any) -> list[inspect.Parameter]:
    function = getattr(model, "forward", None) or getattr(model, "call", None)
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return []
    return [p for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD and p.name != "self"]


def _parameter_names(model: Any, count: int) -> list[str]:
    """Names for ``count`` positional arguments: a functional Keras model's own, or those of the parameters."""
    own = [getattr(tensor, "name", None) for tensor in getattr(model, "inputs", None) or ()]
    if count > 1 and len(own) == count and all(own):
        return own
    plain = [p.name for p in _parameters(model) if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    if len(plain) >= count:
        return plain[:count]
    return ["input" if i == 0 else f"input_{i}" for i in range(count)]


def _in_parameter_order(model: Any, names: Sequence[str]) -> list[str]:
    known = [p.name for p in _parameters(model)]
    return sorted(names, key=lambda name: known.index(name) if name in known else len(known))
