"""Which axis of an input is what: the samples, and the names of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from explain_core.errors import InputError
from explain_core.explanation.labels import of_samples, sample_order
from explain_core.preparation.inputs import Arguments

Axis = int | str | None


class OtherNumberError(InputError):
    """Two inputs differ in their number of samples."""


class OtherSamplesError(InputError):
    """Two inputs have labels of different samples."""


ROLES = ("time", "feature", "layer", "unit")
"""Names that say what an axis is for; a person's own names need not."""

TAKEN = (
    *("output", "sample", "embedding", "input", "value", "baseline", "attribution", "embedding_attribution", "share"),
    *("token", "length", "time_label", "times", "add_offset", "scale_factor", "prediction", "baseline_prediction"),
)
"""Names that a result uses itself, so that no axis of an input can have them."""


def sample_axes(arguments: Arguments, sample_axis: Axis | Mapping[str, Axis]) -> tuple[int | None, ...]:
    """The sample axis of each array.

    Args:
        sample_axis: of the first array, by number or by name. An axis that is called "sample" or "batch" is one
            wherever it stands. Other arrays have it where their size fits: at the same axis, at 0, or at 1 (initial
            states of PyTorch are (layer, sample, unit)). A dict gives it by input name, or for all parts of an
            argument by its name; None is for input without one, which all samples share.

    Raises:
        OtherNumberError: an input has another number of samples.
        InputError: it cannot be told which axis it is, or its name says that it is another.
    """
    given = dict(sample_axis) if isinstance(sample_axis, Mapping) else {arguments.names[0]: sample_axis}
    for argument in [name for name in given if name not in arguments.names]:  # an argument of several arrays
        parts = [name for name in arguments.names if name.startswith(f"{argument}.")]
        if parts:
            axis = given.pop(argument)
            given |= {name: axis for name in parts if name not in given}
    unknown = [name for name in given if name not in arguments.names]
    if unknown:
        raise InputError(f"sample_axis names {unknown[0]!r}, which is no input", hint=f"They are {arguments.names}.")
    if sample_axis is None:
        for name, one in zip(arguments.names, arguments.given, strict=True):
            if one.sample_axis is not None:
                raise InputError(
                    f"sample_axis is None, and axis {one.sample_axis} is called {one.dims[one.sample_axis]!r}",
                    where=name,
                    hint="Leave sample_axis out, or give one sample without that axis.",
                )
        return (None,) * len(arguments.leaves)
    shared = [name for name, own in given.items() if own is None]
    if arguments.names[0] in shared:
        raise InputError(
            "all samples share it, and the first input is to have samples",
            where=arguments.names[0],
            hint="Wrap the model in a module whose first input has them, and that passes them on in its order.",
        )
    first_name = next((name for name in arguments.names if name in given and name not in shared), arguments.names[0])
    place = arguments.names.index(first_name)
    axis = _axis_of(arguments, place, given.get(first_name, 0))
    first = arguments.leaves[place]
    samples = first.shape[axis]
    axes = []
    for i, (name, leaf) in enumerate(zip(arguments.names, arguments.leaves, strict=True)):
        if name in shared:
            axes.append(None)
            continue
        if name in given:
            own: int | None = _axis_of(arguments, i, given[name])
        else:
            own = _called(arguments, i, given.get(first_name, 0))
        if own is not None:
            if leaf.shape[own] != samples:
                raise _other_number(name, leaf, first_name, samples)
            axes.append(own)
            continue
        usual = dict.fromkeys((axis if leaf.ndim == first.ndim else 0, 0, 1))
        fits = [a for a in usual if leaf.shape[a : a + 1] == (samples,)]
        is_alike = leaf.ndim == first.ndim == 2 and leaf.shape[1 - axis] == first.shape[1 - axis]
        if not fits or (is_alike and axis not in fits):  # the same columns, and so the same layout
            raise _other_number(name, leaf, first_name, samples)
        if len(fits) > 1 and leaf.ndim == 3 and leaf.shape != first.shape:
            raise InputError(
                f"it has shape {leaf.shape}: two axes have the {samples} samples",
                where=name,
                hint=f"Say which one it is: sample_axis={{{first_name!r}: {axis}, {name!r}: 1}}.",
            )
        axes.append(fits[0])
    return tuple(axes)


def _other_number(name: str, leaf: np.ndarray, first: str, samples: int) -> InputError:
    return OtherNumberError(
        f"it has shape {leaf.shape}, and {first!r} has {samples} samples",
        where=name,
        hint="All inputs need the same number of samples; sample_axis={name: axis} says where they are, and "
        f"sample_axis={{{name!r}: None}} that all samples share this one.",
    )


def _called(arguments: Arguments, place: int, sample_axis: Axis) -> int | None:
    """The axis that goes by the name of the samples."""
    one = arguments.given[place] if arguments.given else None
    if one is None:
        return None
    if isinstance(sample_axis, str) and sample_axis in one.dims:
        return one.dims.index(sample_axis)
    return one.sample_axis


def _axis_of(arguments: Arguments, place: int, sample_axis: Axis) -> int:
    """What the person said of one array, which its names must bear out."""
    name, leaf = arguments.names[place], arguments.leaves[place]
    one = arguments.given[place] if arguments.given else None
    dims = one.dims if one is not None else (None,) * leaf.ndim
    if isinstance(sample_axis, str):
        if sample_axis not in dims:
            raise InputError(f"sample_axis is {sample_axis!r}, and the axes are called {dims}", where=name)
        return dims.index(sample_axis)
    if isinstance(sample_axis, bool) or not isinstance(sample_axis, int | np.integer):
        raise InputError(f"sample_axis is {sample_axis!r}", where=name, hint="Give the number or the name of an axis.")
    if not -leaf.ndim <= sample_axis < leaf.ndim:
        raise InputError(f"sample_axis is {sample_axis}, and the input has {leaf.ndim} axes", where=name)
    axis, called = int(sample_axis) % leaf.ndim, None if one is None else one.sample_axis
    if called is not None:
        if sample_axis not in (0, called, called - leaf.ndim):  # 0 is what it is without being said
            raise InputError(
                f"sample_axis is {sample_axis}, and axis {called} is called {dims[called]!r}",
                where=name,
                hint="Leave sample_axis out.",
            )
        return called
    if dims[axis] in ("time", "feature"):
        raise InputError(
            f"axis {axis} is to be that of the samples, and it is called {dims[axis]!r}: the axes are {dims}",
            where=name,
            hint='Say which axis has the samples with sample_axis="...", or call it "sample".',
        )
    return axis


def in_sample_order(arguments: Arguments, axes: Sequence[int | None]) -> Arguments:
    """The arguments with their samples in the order of the first that has labels for them, see `labels.of_samples`.

    Raises:
        OtherSamplesError: two have other labels, so that it cannot be told which samples belong together.
    """
    labels = {
        i: one.labels[axis]
        for i, one in enumerate(arguments.given)
        if (axis := axes[i]) is not None and axis in one.labels
    }
    wanted = of_samples(labels.values())
    if wanted is None:
        return arguments
    first, found = next(arguments.names[i] for i, own in labels.items() if own is wanted), []
    for i, (name, one) in enumerate(zip(arguments.names, arguments.given, strict=True)):
        order = sample_order(labels.get(i), wanted, repr(name), repr(first), where=name, error=OtherSamplesError)
        axis = axes[i]
        found.append(one if order is None or axis is None else one.in_order(axis, order))
    return arguments.with_given(found)


def axis_names(
    given: Sequence[str | None],
    told: Sequence[str | None],
    sample_axis: int | None,
    *,
    is_float: bool,
    where: str = "",
) -> tuple[str, ...]:
    """Names for the axes of one array after that of the samples, in their order.

    Args:
        given: what the person called each axis, in the layout of the model; these stay.
        told: what the model says that each axis is.
        is_float: a second axis of floats is "feature" unless the model says otherwise; one of whole numbers is not.
        where: the name of the input, for errors.

    Returns:
        A name each: the given one, else the model's, else ``axis_<number>``, counted in the layout of the model.

    Raises:
        InputError: the person's name is one that results use themselves.
    """
    others = [axis for axis in range(len(given)) if axis != sample_axis]
    names = {axis: name for axis in others if (name := given[axis]) is not None}
    for axis, name in names.items():
        if name in TAKEN:
            raise InputError(
                f"axis {axis} is called {name!r}, a name that results use themselves",
                where=where,
                hint=f"Rename it: array.rename({{{name!r}: {name + '_axis'!r}}}).",
            )
    twice = [name for name in names.values() if list(names.values()).count(name) > 1]
    if twice:
        raise InputError(f"two axes are called {twice[0]!r}", where=where)
    for axis in others:
        name = told[axis]
        if axis not in names and name is not None and name not in names.values():
            names[axis] = name
    missing = [axis for axis in others if axis not in names]
    rest = {"time", "feature"} - set(names.values())
    if missing and len(others) == 2 and len(missing) == 1 and len(rest) == 1:
        names[missing[0]] = next(iter(rest))  # of a sequence of one axis more that is all it can be
    elif missing and len(others) == 1 and is_float:
        names[missing[0]] = "feature"
    return tuple(names.get(axis, f"axis_{axis}") for axis in others)
