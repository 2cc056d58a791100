"""The baseline of one input: made from a word or a number, or matched with the input by names and by shape."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from explain_core.errors import InputError
from explain_core.explanation.labels import exact_texts, is_count, listed, sample_order
from explain_core.preparation.axis_words import SAMPLE, role_of
from explain_core.preparation.given import Given, are_frames, read_given, stacked
from explain_core.preparation.inputs import check_finite
from explain_core.preparation.no_arrays import is_no_array
from explain_core.preparation.valid_steps import Form, Valid

WORDS = ("zeros", "mean", "median", "first", "padded-mean")
"""Baselines by name; see `from_word`."""

_OF_EACH_SAMPLE = ("first", "padded-mean")


def is_number(value: Any) -> bool:
    """Whether one number was given, plain or in an array without axes."""
    if isinstance(value, bool | np.bool_) or is_no_array(value):
        return False
    return isinstance(value, Real) or (getattr(value, "shape", None) == () and hasattr(value, "dtype"))


def from_word(word: str, form: Form, valid: Valid, background: bool) -> tuple[np.ndarray, list[str]]:
    """A baseline by its name, (1, ...) or (N, ...), and notes.

    "zeros"; "mean" and "median" of each feature over the samples and their real timesteps; "first", where every
    sample's first real step is held; "padded-mean", where real steps have the mean and padding stays as it is.

    Raises:
        InputError: there is none of that name, or not of such an input.
    """
    if word not in WORDS:
        raise InputError(f"there is no baseline called {word!r}", hint=f"Choose one of {WORDS}, or give an array.")
    values, time = form.values, form.axis_of("time")
    if word == "zeros":
        return np.zeros_like(values[:1]), []
    if background and word in _OF_EACH_SAMPLE:
        raise InputError(
            f'the baseline "{word}" is of each sample by itself, and no background to average over',
            where=form.name,
            hint="Leave out background=True, or give the background as an array.",
        )
    notes = [valid.note] if valid.note else []
    if form.is_assumed:
        notes.append(f"Nothing says which axis of {form.name!r} is time: it was read as (sample, time, feature).")
    if word == "first":
        if time is None:
            raise InputError("it has no axis of time, so there is no first step", where=form.name, hint=_NAME_AXES)
        place = np.zeros(len(values), int) if valid.mask is None else valid.mask.argmax(1)
        first = np.moveaxis(values, time, 1)[np.arange(len(values)), place]
        return np.repeat(np.expand_dims(first, time), values.shape[time], time), notes
    if form.is_ids:
        raise _no_mean_of_ids(form)
    if time is None and len(values) == 1:
        notes.append(f"The {word} of the one sample of {form.name!r} is that sample: nothing differs to be explained.")
    middle = _middle(form, valid.mask, np.median if word == "median" else np.mean)
    if word != "padded-mean" or time is None:
        return middle, notes
    if valid.mask is None:
        if valid.source is None and form.lengths is None and (form.own_mask is None or form.own_mask.padding is None):
            raise InputError(
                "nothing says which steps are padding",
                where=form.name,
                hint="Give the lengths as the coordinate 'length' (sample,), or as the input that the model takes; "
                'without padding use "mean".',
            )
        return middle, notes
    real = valid.mask.reshape(*valid.mask.shape, *(1,) * (values.ndim - 2))
    return np.where(np.moveaxis(real, 1, time), middle, values), notes


def _no_mean_of_ids(form: Form) -> InputError:
    """The error for an average of ids; names the features that may be ids where others are none."""
    place = form.axis_of("feature")
    if form.values.dtype.kind != "f" or place is None:
        return InputError("token ids have no mean", where=form.name, hint='Use "zeros", "first" or an array of ids.')
    others = tuple(axis for axis in range(form.values.ndim) if axis != place)
    whole = np.flatnonzero((form.values == np.round(form.values)).all(others))
    names = exact_texts(form.labels.get(place, np.arange(form.values.shape[place])))
    which = "" if len(whole) in (0, len(names)) else f"; those of whole numbers are {listed([names[i] for i in whole])}"
    return InputError(
        f"the model takes floats of it as ids and looks them up, and token ids have no mean{which}",
        where=form.name,
        hint='Use "zeros" or "first", or give one number for each feature, with an id where it takes ids.',
    )


_NAME_AXES = 'Name the axes: an xarray DataArray with dims such as ("sample", "time", "feature").'


def _middle(form: Form, mask: np.ndarray | None, of: Any) -> np.ndarray:
    """Mean or median (1, ...) of everything but samples and time over the real steps."""
    values, time = form.values, form.axis_of("time")
    if time is None:
        if values.ndim > 2 and None in form.roles:
            raise InputError(
                f"it cannot be told which of its axes {form.dims} is time, and so what to average over",
                where=form.name,
                hint=_NAME_AXES,
            )
        pool = values
    else:
        pool = np.moveaxis(values, time, 1)
        pool = pool.reshape(-1, *pool.shape[2:]) if mask is None else pool[mask]
    pool = pool.astype(float)
    if np.isnan(pool).any():  # missing values, which the model replaces
        of = {np.mean: np.nanmean, np.median: np.nanmedian}[of]
    middle = of(pool, axis=0)
    if time is not None:
        middle = np.expand_dims(middle, time - 1)
    return np.broadcast_to(middle, values.shape[1:])[None].astype(values.dtype)


def _read(given: Any, form: Form) -> Given:
    """What was given, with names for its axes where they can be told."""
    if are_frames(given):
        return stacked(given, form.name)
    read = read_given(given, form.name)
    if read.form == "table" and len(form.dims) == 2 and read.sample_axis is None:
        return replace(read, dims=_where_known(read.as_whole().dims, read.dims, form))
    if read.form == "table" and len(form.dims) == 1:
        samples_last = read.dims[0] == "feature"
        return replace(read, dims=("feature", form.sample_name) if samples_last else (form.sample_name, "feature"))
    if read.form == "series":
        index = np.asarray(given.index)
        usual = role_of(given.index.name) or ("feature" if index.dtype.kind not in "iuf" else None)
        return replace(read, dims=_where_known((usual,), read.dims, form), labels={0: index})
    return read


def _where_known(usual: Sequence[str | None], own: Sequence[str | None], form: Form) -> tuple[str | None, ...]:
    """Names of axes: those that they have, else the usual ones as far as the input has such axes."""
    known = {*form.dims, *form.roles, form.sample_name}
    return tuple(name or (other if other in known else None) for name, other in zip(own, usual, strict=True))


def lengths_of(given: Any, form: Form, background: bool) -> np.ndarray | None:
    """Lengths that came with an array as its coordinate, in the order of the input's samples."""
    if "length" not in getattr(given, "coords", ()):
        return None
    lengths = given["length"]
    if lengths.ndim != 1 or lengths.dims[0] not in lengths.coords:
        return lengths.values
    return in_order_of(lengths.values, lengths[lengths.dims[0]].values, form, background)


def from_array(given: Any, form: Form, background: bool) -> tuple[np.ndarray, list[str]]:
    """An array as the baseline (B, ...) of an input, and notes.

    Axes go by their names where both have names, else by their order in the layout of the input; the axis of the
    samples may be missing, and an axis of one element is the same along all. A vector has one number for each feature.
    Labels of features are matched by name, in whatever order they come.

    Raises:
        InputError: it does not fit; says what was given and what the input has.
    """
    read = _read(given, form)
    check_finite(read.array, form.name, "baseline")
    notes: list[str] = []
    found = _by_names(read, form) if any(read.dims) else None
    array, places = found or _by_order(read, form, background, notes)
    words = {places[k]: own for k, own in read.labels.items() if k in places and own.dtype.kind not in "iufmM"}
    _require_own_axes(words, form)
    if words.keys() - {0} - form.labels.keys():
        notes.append(f"Names in the baseline of {form.name!r} were not used: the input has none to match them with.")
    array = _by_labels(array, {places[k]: v for k, v in read.labels.items() if k in places}, form, background)
    sizes = form.values.shape[1:]
    fits = array.ndim == form.values.ndim and all(n in (1, m) for n, m in zip(array.shape[1:], sizes, strict=True))
    if not fits or not (background or len(array) in (1, len(form.values))):
        raise _misfit(read, form, background)
    array = np.broadcast_to(array, (len(array), *sizes))
    return as_input(array, form), notes


def _require_own_axes(words: Mapping[int, np.ndarray], form: Form) -> None:
    """Refuse an axis whose positions are called as those of another axis of the input are.

    Raises:
        InputError: names both axes.
    """
    called = {axis: sorted(exact_texts(own)) for axis, own in form.labels.items() if own.ndim == 1}
    dims = (form.sample_name, *form.dims)
    for axis, own in words.items():
        texts = sorted(exact_texts(own))
        others = [other for other, names in called.items() if other != axis and names == texts]
        if others and called.get(axis) != texts:
            raise InputError(
                f"along the axis {dims[axis]!r} the baseline has the names {listed(exact_texts(own))}, and those are "
                f"along {dims[others[0]]!r} in the input",
                where=form.name,
                hint=f"Give it in the order of the input, {dims}: transpose it (.T).",
            )


def as_input(array: np.ndarray, form: Form) -> np.ndarray:
    """In the type of the input.

    Raises:
        InputError: a number with a fraction for an input of whole numbers.
    """
    values = form.values
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):
            found = array.astype(values.dtype)
        lost = np.isinf(found) & np.isfinite(array)
        if lost.any():
            raise InputError(
                f"the baseline has {_first(array, lost)}, which does not fit {values.dtype}, the type of the input",
                where=form.name,
                hint=f"The largest number there is {np.finfo(values.dtype).max:.4g}. Give numbers of another scale, or "
                "the input in more digits: .astype(np.float64).",
            )
        check_finite(found, form.name, "baseline")
        return found
    with np.errstate(invalid="ignore"):
        cut = array.astype(values.dtype)
    if (cut != array).any():
        least, most = (0, 1) if values.dtype.kind == "b" else (np.iinfo(values.dtype).min, np.iinfo(values.dtype).max)
        lost = (array < least) | (array > most)
        if lost.any():
            raise InputError(
                f"the baseline has {_first(array, lost)}, which does not fit {values.dtype}, the type of the input",
                where=form.name,
                hint=f"Numbers there are from {least} to {most}.",
            )
        raise InputError(
            f"the baseline has {_first(array, cut != array)}, and the input is of whole numbers",
            where=form.name,
            hint="Ids have nothing in between: give whole numbers.",
        )
    return cut


def _first(array: np.ndarray, which: np.ndarray) -> str:
    """The first of some numbers, and its place."""
    place = tuple(map(int, np.argwhere(which)[0]))
    return f"{array[place]:.6g} at position {place}"


def _misfit(read: Given, form: Form, background: bool) -> InputError:
    sizes, samples = form.values.shape[1:], "any number" if background else f"1 or {len(form.values)}"
    hint = f"It needs {samples} of samples, each of shape {sizes} {form.dims}"
    feature = form.axis_of("feature")
    if feature is not None and len(sizes) > 1:
        hint += f", or one number for each of the {form.values.shape[feature]} features"
    if read.array.shape == (form.steps,) and len(sizes) > 1:
        by_step = tuple(form.steps if role == "time" else 1 for role in form.roles)
        hint += f"; one number for each step has the shape {by_step}"
    if not background:
        hint += ". For a background set, say background=True"
    return InputError(
        f"the baseline has shape {read.array.shape}, and the input {np.shape(_in_layout(form))}",
        where=form.name,
        hint=f"{hint}.",
    )


def _in_layout(form: Form) -> np.ndarray:
    return form.values[0] if form.axis is None else np.moveaxis(form.values, 0, form.axis)


def _by_names(read: Given, form: Form) -> tuple[np.ndarray, dict[int, int]] | None:
    """The array with its axes in the order of the input's, and where each went; None where the input has no names.

    Raises:
        InputError: a name is none of the input's; but the samples of a background may be called anything.
    """
    places: dict[int, int] = {}
    unknown = []
    for k, dim in enumerate(read.dims):
        if dim in form.dims:
            places[k] = 1 + form.dims.index(dim)
        elif dim in (*SAMPLE, form.sample_name):
            places[k] = 0
        elif dim in form.roles:
            places[k] = 1 + form.roles.index(dim)
        else:
            unknown.append(k)
    if not places and all(re.fullmatch(r"axis_\d+", dim) for dim in form.dims):
        return None
    if places and len(unknown) == 1 and 0 not in places.values() and role_of(read.dims[unknown[0]]) is None:
        places[unknown.pop()] = 0  # the samples of a background, whatever they are called
    if unknown or len(set(places.values())) < len(places):
        raise InputError(
            f"the baseline has the axes {read.dims}, and the input {(form.sample_name, *form.dims)}",
            where=form.name,
            hint="Rename or drop axes, so that each is one of the input's.",
        )
    order = sorted(places, key=places.__getitem__)
    array = read.array.transpose(order)
    missing = tuple(axis for axis in range(form.values.ndim) if axis not in places.values())
    return np.expand_dims(array, missing), places


def _by_order(read: Given, form: Form, background: bool, notes: list[str]) -> tuple[np.ndarray, dict[int, int]]:
    """The array with the axis of the samples first, and where each axis went."""
    array, rank = read.array, form.values.ndim - 1
    if array.ndim == rank + 1:
        axis = form.axis or 0
        rest = [k for k in range(array.ndim) if k != axis]
        return np.moveaxis(array, axis, 0), {axis: 0} | {k: place for place, k in enumerate(rest, 1)}
    if array.ndim == rank:
        if background and rank > 1:
            sizes = ", ".join(map(str, form.values.shape[1:]))
            raise InputError(
                f"the background has shape {array.shape}: it has no axis of samples",
                where=form.name,
                hint=f"It needs (n, {sizes}); for a single baseline leave out background=True.",
            )
        if rank == 2 and len(array) == len(form.values) > 1 and form.steps == len(array):
            notes.append(
                f"The baseline of {form.name!r} was read as one sequence for all samples, not as one row for each, "
                f"though there are {len(array)} of both."
            )
        return array[None], {k: 1 + k for k in range(rank)}
    if array.ndim == 1 and rank > 1:
        place = _feature_axis(array, form, notes)
        others = tuple(axis for axis in range(rank + 1) if axis != place)
        return np.expand_dims(array, others), {0: place}
    return array, {}


def _feature_axis(vector: np.ndarray, form: Form, notes: list[str]) -> int:
    """The axis along which a vector has its numbers: that of the features, which is never guessed by size alone."""
    size, sizes = len(vector), form.values.shape
    place = form.axis_of("feature") or form.axis_of("unit")
    if place is None:
        raise InputError(
            f"a vector of {size} numbers was given, and it cannot be told which of the axes {form.dims} has the "
            "features",
            where=form.name,
            hint=_NAME_AXES,
        )
    if sizes[place] == size and form.steps == size and size > 1:
        notes.append(
            f"The {size} numbers of the baseline of {form.name!r} are one for each feature, not for each timestep, "
            f"though there are {size} of both."
        )
    return place


def in_order_of(array: np.ndarray, own: np.ndarray | None, form: Form, background: bool) -> np.ndarray:
    """A baseline (B, ...) with its samples in the order of the input's, by labels where both have them.

    Raises:
        InputError: the samples are called otherwise; those of a background, and one for all, may have any label.
    """
    if background or len(array) == 1:
        return array
    order = sample_order(own, form.labels.get(0), "the baseline", where=form.name)
    return array if order is None else np.take(array, order, 0)


def _by_labels(array: np.ndarray, labels: dict[int, np.ndarray], form: Form, background: bool) -> np.ndarray:
    """The array with labelled positions in the order of the input's.

    Raises:
        InputError: features or samples are called otherwise. Other times are what a baseline may have.
    """
    for axis, own in labels.items():
        wanted = form.labels.get(axis)
        if wanted is None or wanted.ndim != 1:
            continue
        if axis == 0:
            array = in_order_of(array, own, form, background)
            continue
        if isinstance(own, pd.RangeIndex) or isinstance(wanted, pd.RangeIndex):
            continue
        mine, theirs = exact_texts(own), exact_texts(wanted)
        if mine == theirs:
            continue
        if sorted(mine) == sorted(theirs) and len(set(mine)) == len(mine):
            array = np.take(array, [mine.index(label) for label in theirs], axis)
        elif form.roles[axis - 1] != "time" and not (is_count(own) or is_count(wanted)):
            raise InputError(
                f"the {form.dims[axis - 1]}s of the baseline are {listed(mine)}, and those of the input "
                f"{listed(theirs)}",
                where=form.name,
                hint="Give the baseline the same names, in any order, or none at all (.to_numpy()).",
            )
    return array
