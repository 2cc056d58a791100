"""The arguments of a model as a flat list of named arrays, and back."""

from __future__ import annotations

import inspect
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from explain_core.errors import CaptureError, InputError, NonFiniteError
from explain_core.preparation.given import Given, are_frames, read_given, stacked
from explain_core.preparation.no_arrays import is_no_array


@dataclass(frozen=True)
class Arguments:
    """What a model is called with.

    Attributes:
        names: of each array, unique: the parameter's name, with positions for nested ones ("hx.0").
        leaves: the arrays.
        rebuild: turns as many arrays (or tensors) back into ``(args, kwargs)``. What is no array (None, a flag, a plain
            number, a text) is not among the leaves: it is part of every call as it was given.
        given: of each array, the names and labels that it came with.
    """

    names: tuple[str, ...]
    leaves: list[np.ndarray]
    rebuild: Callable[[list[Any]], tuple[tuple, dict]]
    given: list[Given] = field(default_factory=list)

    def with_leaves(self, leaves: list[np.ndarray]) -> Arguments:
        """The same call with other arrays."""
        return replace(self, leaves=leaves)

    def with_given(self, given: list[Given]) -> Arguments:
        """The same call with the arrays taken in another meaning, such as with an axis of samples."""
        return replace(self, leaves=[one.array for one in given], given=given)


class _Place(int):
    """In a structure: the number of the array that belongs here."""


def read_arguments(model: Any, inputs: Any) -> Arguments:
    """Flatten inputs.

    Args:
        model: a model whose ``forward`` or ``call`` names the parameters.
        inputs: one array (numpy, tensor, DataFrame, xarray, list of numbers); a tuple or list of arrays for
            positional arguments, nested where the model takes nested ones; a dict by parameter name, or the dict that
            the model takes as its one argument; for a model of one argument also a list of frames, one a sample.
            Further arguments may be None, flags, plain numbers or texts.

    Raises:
        InputError: something in it is not numbers, or the model has no such parameter.
    """
    names: list[str] = []
    given: list[Given] = []

    def leaf(one: Given, name: str) -> _Place:
        names.append(name)
        given.append(one)
        return _Place(len(given) - 1)

    def visit(value: Any, name: str) -> Any:
        """The structure of ``value`` with numbers of leaves in place of arrays."""
        if isinstance(value, Mapping) and not hasattr(value, "data_vars"):
            return {key: visit(item, f"{name}.{key}" if name else str(key)) for key, item in value.items()}
        if is_nested(value):
            items = [visit(item, f"{name}.{i}") for i, item in enumerate(value)]
            return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
        if is_constant(value):
            return value.item() if isinstance(value, np.generic | np.ndarray) else value
        return leaf(read_given(value, name), name)

    positional: tuple = ()
    by_name: dict[str, Any] = {}
    if hasattr(inputs, "data_vars"):
        read_given(inputs, _parameter_names(model, 1)[0])
    if isinstance(inputs, Mapping) and _is_one_argument(model, inputs):
        positional = (visit(inputs, ""),)
    elif isinstance(inputs, Mapping):
        by_name = {name: visit(inputs[name], name) for name in _in_parameter_order(model, list(inputs))}
    elif _are_samples(model, inputs):
        (name,) = _parameter_names(model, 1)
        positional = (leaf(stacked(inputs, name), name),)
    else:
        several = inputs if is_nested(inputs) else (inputs,)
        _require_places(model, len(several))
        parameters = _parameter_names(model, len(several))
        positional = tuple(visit(value, name) for value, name in zip(several, parameters, strict=True))
    if not given:
        raise InputError("there is no array among the inputs", hint="None, flags, numbers and texts are not explained.")

    def fill(structure: Any, values: list[Any]) -> Any:
        if isinstance(structure, _Place):
            return values[structure]
        if isinstance(structure, dict):
            return {key: fill(item, values) for key, item in structure.items()}
        if isinstance(structure, tuple | list) and not is_constant(structure):
            items = [fill(item, values) for item in structure]
            return type(structure)(*items) if hasattr(structure, "_fields") else type(structure)(items)
        return structure

    def rebuild(values: list[Any]) -> tuple[tuple, dict]:
        return fill(positional, values), fill(by_name, values)

    return Arguments(tuple(names), [one.array for one in given], rebuild, given)


def is_nested(value: Any) -> bool:
    """Whether a tuple or list holds several arguments rather than the numbers of one array."""
    if is_no_array(value) or is_constant(value):
        return False
    if isinstance(value, tuple):
        return not all(np.isscalar(item) for item in value)
    return isinstance(value, list) and any(
        is_no_array(item) or hasattr(item, "shape") or isinstance(item, tuple) for item in value
    )


def is_constant(value: Any) -> bool:
    """Whether an argument is no array to explain, but one value for all samples: a flag, a number, a text, a dtype."""
    if is_no_array(value):
        return False
    if value is None or isinstance(value, str | bytes | numbers.Number | np.generic | np.dtype | slice):
        return True
    if isinstance(value, tuple | list) and not len(value):
        return True
    kind = type(value)
    if kind.__module__.partition(".")[0] in ("torch", "tensorflow") and kind.__name__ in _NO_TENSORS:
        return True
    return getattr(value, "shape", None) == () and not hasattr(value, "coords")


_NO_TENSORS = ("Size", "dtype", "device", "layout", "memory_format", "DType", "TensorShape")


def as_array(value: Any, name: str) -> np.ndarray:
    """Numbers as a numpy array, without what they say of their axes.

    Raises:
        InputError: it is not numbers.
    """
    return read_given(value, name).array


def check_finite(array: np.ndarray, name: str, what: str, *, missing: bool = False) -> None:
    """Refuse infinity, and NaN unless values may be ``missing``, saying where the first one is.

    Raises:
        NonFiniteError
    """
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return
    bad = np.isinf(array) if missing else ~np.isfinite(array)
    if not bad.any():
        return
    at = tuple(int(i) for i in np.argwhere(bad)[0])
    more = f", and {int(bad.sum()) - 1} more" if bad.sum() > 1 else ""
    raise NonFiniteError(
        f"the {what} {name!r} has {array[at]} at position {at}{more}",
        where=name,
        hint="Fill or drop missing values before explaining.",
    )


def _are_samples(model: Any, inputs: Any) -> bool:
    """Whether a list is the samples of the model's one input: frames, which no model takes as arguments by position."""
    return are_frames(inputs) and len(getattr(model, "inputs", None) or ()) < 2 and len(_required(model)) < 2


def _is_one_argument(model: Any, inputs: Mapping) -> bool:
    """Whether the model takes a dict as its one argument, rather than arguments by these names.

    Raises:
        InputError: neither; some names are no parameters.
    """
    exported = getattr(getattr(model, "call_spec", None), "in_spec", None)
    if exported is not None:
        positional = exported.child(0)
        return positional.num_children == 1 and positional.child(0).type is dict
    parameters = _parameters(model)
    named = [p for p in parameters if p.kind is not inspect.Parameter.VAR_POSITIONAL]
    unknown = [key for key in inputs if key not in [p.name for p in named]]
    if not unknown or not parameters or _takes_any_name(model):
        return False
    first = next((p for p in parameters if p.kind is not inspect.Parameter.KEYWORD_ONLY), None)
    if first is not None and len(unknown) == len(inputs) and len(_required(model)) < 2:
        return True
    raise InputError(
        f"the model has no parameter {unknown[0]!r}",
        hint=f"Its parameters are {[p.name for p in named]}.",
    )


def _function(model: Any) -> Any:
    return getattr(model, "forward", None) or getattr(model, "call", None)


def _parameters(model: Any) -> list[inspect.Parameter]:
    try:
        parameters = list(inspect.signature(_function(model)).parameters.values())
    except (TypeError, ValueError):
        return []
    return [p for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD and p.name != "self"]


def _takes_any_name(model: Any) -> bool:
    kinds = [p.kind for p in inspect.signature(_function(model)).parameters.values()]
    return inspect.Parameter.VAR_KEYWORD in kinds


def _required(model: Any) -> list[inspect.Parameter]:
    """Parameters that a call cannot leave out."""
    is_several = inspect.Parameter.VAR_POSITIONAL
    return [p for p in _parameters(model) if p.default is inspect.Parameter.empty and p.kind is not is_several]


def _parameter_names(model: Any, count: int) -> list[str]:
    """Names for ``count`` positional arguments: a functional Keras model's own, or those of the parameters."""
    own: list[Any] = [getattr(tensor, "name", None) for tensor in getattr(model, "inputs", None) or ()]
    if count > 1 and len(own) == count and all(own):
        return own
    plain = [p.name for p in _parameters(model) if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    if len(plain) >= count:
        return plain[:count]
    return ["input" if i == 0 else f"input_{i}" for i in range(count)]


def _require_places(model: Any, count: int) -> None:
    """Refuse more inputs by position than the ``forward`` of a module names."""
    parameters = _parameters(model) if hasattr(model, "forward") else []
    if not parameters or any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters):
        return
    places = [p.name for p in parameters if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    if count > max(1, len(places)):
        raise InputError(
            f"{count} inputs were given, and the model takes {len(places)}: {places}",
            hint="A list or tuple of arrays is several inputs. Several samples of one input are one array: "
            "torch.stack(list), np.stack(list).",
        )


def not_a_dict(model: Any, inputs: Any, error: CaptureError) -> InputError | None:
    """The cause, where a dict by other names than the model's was taken as its one argument, which is no dict."""
    is_about_dicts = "'dict'" in error.what or "not dict" in error.what
    if not isinstance(inputs, Mapping) or not is_about_dicts:
        return None
    names = [p.name for p in _parameters(model)]
    if any(name in names for name in inputs):
        return None
    return InputError(
        f"the inputs are called {[str(name) for name in inputs]}, and the model has the parameters {names}",
        hint=f"As a dict that is itself the argument {names[0]!r} they do not fit either: {error.what}",
    )


def _in_parameter_order(model: Any, names: Sequence[str]) -> list[str]:
    known = [p.name for p in _parameters(model)]
    return sorted(names, key=lambda name: known.index(name) if name in known else len(known))
