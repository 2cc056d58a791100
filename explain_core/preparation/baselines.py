"""What an explanation compares with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from explain_core.errors import ExplainError, InputError
from explain_core.preparation.baseline_values import (
    WORDS,
    as_input,
    from_array,
    from_word,
    in_order_of,
    is_number,
    lengths_of,
)
from explain_core.preparation.given import are_frames, read_given
from explain_core.preparation.inputs import as_array, is_nested
from explain_core.preparation.no_arrays import is_no_array
from explain_core.preparation.valid_steps import Form, valid_steps


@dataclass
class Baselines:
    """The baselines of a call.

    Attributes:
        arrays: for each input (B, ...), with B = 1, the number of samples, or that of the background; for inputs that
            are not explained an empty array.
        notes: what was decided that the person did not say.
    """

    arrays: list[np.ndarray]
    notes: list[str] = field(default_factory=list)


def resolve_baselines(baselines: Any, forms: Sequence[Form], background: bool) -> Baselines:
    """The baseline of every explained input, sample axis first.

    Args:
        baselines: for all inputs one of the words of `from_word` or a number; for a single explained input also an
            array, see `from_array`; a tuple in the order of the inputs, all of them or those that are explained, or a
            dict by input name, of any of these. A name may be that of an argument with several arrays, with a tuple. A
            function gets the array of the input, or with several explained inputs a dict of them by name, and returns
            any of these. What is given for an input that is not explained has to be what the samples have.
        background: whether the samples of the baseline are a background set to be averaged over.

    Raises:
        InputError: it does not fit.
    """
    given = _by_input(baselines, forms)
    found = Baselines([])
    for i, form in enumerate(forms):
        if not form.is_explained:
            found.arrays.append(np.empty(0))
            if given.get(i) is not None:
                _require_same(given[i], form, background)
            continue
        if given.get(i) is None:
            found.notes.append(f"Input {form.name!r} was given no baseline: zeros were taken.")
        array, notes = _of_one(given.get(i, "zeros"), i, forms, background)
        found.arrays.append(array)
        found.notes += notes
    counts = {len(array) for form, array in zip(forms, found.arrays, strict=True) if form.is_explained} - {1}
    if len(counts) > 1:
        raise InputError(f"the baselines have different numbers of samples: {sorted(counts)}")
    found.notes = list(dict.fromkeys(found.notes))
    return found


def _of_one(given: Any, i: int, forms: Sequence[Form], background: bool) -> tuple[np.ndarray, list[str]]:
    """The baseline of one explained input, and notes."""
    form = forms[i]
    if isinstance(given, bool | np.bool_):
        raise InputError(
            f"the baseline is {bool(given)}, and it is numbers", where=form.name, hint=f"Choose one of {WORDS}."
        )
    if callable(given):
        given = _called(given, _in_layout(form), form.name)
    if given is None:
        given = "zeros"
    if isinstance(given, str):
        return from_word(given, form, valid_steps(form, forms), background)
    if is_number(given):
        number = as_array(given, form.name)
        if not np.isfinite(number):
            raise InputError(
                f"the baseline is {number}",
                where=form.name,
                hint="Choose a finite number: no difference to infinity or NaN can be shared out.",
            )
        return as_input(np.full(form.values[:1].shape, number), form), []
    _require_same_lengths(given, form, forms, background)
    return from_array(given, form, background)


def _called(function: Any, inputs: Any, where: str) -> Any:
    try:
        found = function(inputs)
    except ExplainError:
        raise
    except Exception as error:  # the person's own code
        raise InputError(
            f"the function for the baseline failed: {type(error).__name__}: {error}",
            where=where,
            hint="It is called with the input as a numpy array; of several explained inputs, with a dict of them.",
        ) from error
    if found is None or callable(found):
        raise InputError("the function for the baseline returned no baseline", where=where)
    return found


def _in_layout(form: Form) -> np.ndarray:
    """A copy of the input as it was given."""
    return (form.values[0] if form.axis is None else np.moveaxis(form.values, 0, form.axis)).copy()


def _by_input(baselines: Any, forms: Sequence[Form]) -> dict[int, Any]:
    """What was given for each input, by position; None where nothing was."""
    if baselines is None:
        raise InputError("there is no baseline", hint=f"Choose one of {WORDS}, or give an array.")
    names = [form.name for form in forms]
    wanted = [i for i, form in enumerate(forms) if form.is_explained]
    if isinstance(baselines, str | bool | np.bool_) or is_number(baselines):
        return dict.fromkeys(wanted, baselines)
    if callable(baselines):
        if len(wanted) == 1:
            return {wanted[0]: baselines}
        inputs = {names[i]: _in_layout(forms[i]) for i in wanted}
        return _by_input(_called(baselines, inputs, ", ".join(inputs)), forms)
    if isinstance(baselines, tuple | list) and len(baselines) == 1 and isinstance(baselines[0], Mapping):
        baselines = baselines[0]  # the one argument of the model, by position
    if isinstance(baselines, Mapping):
        found: dict[int, Any] = {}
        for key, value in _by_own_names(baselines, names).items():
            under = _under(key, value, names)
            if isinstance(value, str) or is_number(value) or callable(value):  # of an argument, for what is explained
                under = {i: v for i, v in under.items() if forms[i].is_explained} or under
            found |= under
        return found
    if are_frames(baselines) and len(wanted) == 1 and forms[wanted[0]].values.ndim == 3:
        return {wanted[0]: baselines}  # samples of the one input, as inputs may be given
    if _are_several(baselines, len(wanted)):
        flat = list(_flatten(baselines))
        places = range(len(names)) if len(flat) == len(names) else wanted
        if len(flat) != len(places):
            raise InputError(
                f"there are {len(flat)} baselines for the explained inputs {[names[i] for i in wanted]}",
                hint="Give one for each, in their order, or a dict by name.",
            )
        return dict(zip(places, flat, strict=True))
    if len(wanted) > 1:
        raise InputError(
            f"one baseline was given for {len(wanted)} explained inputs",
            hint=f"Give a dict with {[names[i] for i in wanted]}.",
        )
    return {wanted[0]: baselines}


def _by_own_names(given: Mapping, names: Sequence[str]) -> dict[str, Any]:
    """A dict with the name of the argument that holds all arrays left out or put in front, as in those of the inputs.

    An argument that is a dict can be given to a model by its name or without one.
    """
    given = {str(key): value for key, value in given.items()}

    def are_known(keys: Any, before: str = "") -> bool:
        return all(any(f"{name}.".startswith(f"{before}{key}.") for name in names) for key in keys)

    root = names[0].partition(".")[0]
    if are_known(given):
        return given
    only = next(iter(given.values()))
    if len(given) == 1 and isinstance(only, Mapping) and are_known(only):
        return {str(key): value for key, value in only.items()}
    if are_known(given, f"{root}.") and all(name.startswith(f"{root}.") for name in names):
        return {f"{root}.{key}": value for key, value in given.items()}
    return given


def _under(key: str, value: Any, names: Sequence[str]) -> dict[int, Any]:
    """What a dict gives the input of that name, or the arrays of the argument of that name."""
    if key in names:
        return {names.index(key): value}
    inside = [i for i, name in enumerate(names) if name.startswith(f"{key}.")]
    if not inside:
        raise InputError(f"there is no input {key!r}", hint=f"The inputs are {list(names)}.")
    if isinstance(value, Mapping):
        return {i: v for inner, item in value.items() for i, v in _under(f"{key}.{inner}", item, names).items()}
    if isinstance(value, str) or is_number(value) or callable(value):
        return dict.fromkeys(inside, value)
    flat = list(_flatten(value))
    if len(flat) != len(inside):
        raise InputError(
            f"the argument {key!r} has {len(inside)} arrays, and {len(flat)} baselines were given for it",
            where=key,
            hint=f"They are {[names[i] for i in inside]}.",
        )
    return dict(zip(inside, flat, strict=True))


def _are_several(value: Any, explained: int) -> bool:
    """Whether a tuple or list has one baseline for each input, and is not the numbers of one."""
    if is_no_array(value) or not isinstance(value, tuple | list):
        return False
    if any(item is None or isinstance(item, str) or callable(item) for item in value):
        return True
    return is_nested(value) or (isinstance(value, tuple) and explained > 1)


def _flatten(value: Any):
    if _are_several(value, 1):
        for item in value:
            yield from _flatten(item)
    elif isinstance(value, tuple):
        yield from value
    else:
        yield value


_SAME = (
    "It decides how the model reads the sequence, and no part of a difference that it makes can be given to a value: "
    "both runs need the same. Give baselines that go with those of the samples, or explain the samples one by one."
)


def _require_same(given: Any, form: Form, background: bool) -> None:
    """What is not explained is the sample's own in both runs.

    Raises:
        InputError: something else was given.
    """
    if isinstance(given, str) or callable(given):
        raise InputError(
            "it is not explained, so it has no baseline of its own",
            where=form.name,
            hint="Leave it out: both runs get the sample's own.",
        )
    read, own = read_given(given, form.name), form.values
    array = read.array
    if array.ndim == own.ndim and form.axis is not None:
        axis = form.axis if read.sample_axis is None else read.sample_axis
        array = in_order_of(np.moveaxis(array, axis, 0), read.labels.get(axis), form, background)
    elif array.ndim == own.ndim - 1:
        array = array[None]
    each = own[:, None] if background else own
    try:
        differs = np.broadcast_to(array, np.broadcast_shapes(array.shape, each.shape)) != each
    except ValueError:
        raise InputError(
            f"the baseline has shape {array.shape} (sample axis first), and each sample {own.shape[1:]}",
            where=form.name,
        ) from None
    if differs.any():
        place = tuple(map(int, np.argwhere(differs)[0]))
        theirs = np.broadcast_to(array, differs.shape)[place]
        mine = np.broadcast_to(each, differs.shape)[place]
        raise InputError(
            f"the baseline has {theirs} here, and sample {place[0]} has {mine}", where=form.name, hint=_SAME
        )


def _require_same_lengths(given: Any, form: Form, forms: Sequence[Form], background: bool) -> None:
    """Lengths that came with the array of a baseline, for a model that takes lengths or a mask."""
    lengths = lengths_of(given, form, background)
    if lengths is None or lengths.shape == () or all(other.is_explained for other in forms):
        return
    told = valid_steps(replace(form, lengths=None), forms)
    if told.source is None:
        return
    own = np.full(len(form.values), form.steps) if told.mask is None else told.mask.sum(1)
    each = own[:, None] if background or len(lengths) not in (1, len(own)) else own
    differs = np.broadcast_to(lengths, np.broadcast_shapes(lengths.shape, each.shape)) != each
    if differs.any():
        n = int(np.argwhere(differs)[0][0])
        raise InputError(
            f"the baseline says that its lengths are {lengths.tolist()[:8]}, and by {forms[told.source].name!r} sample "
            f"{n} has {int(own[n])} steps",
            where=form.name,
            hint=_SAME,
        )
