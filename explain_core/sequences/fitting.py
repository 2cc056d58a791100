"""One sequence in the form that a model takes; where it does not fit, what would make it fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from explain_core.errors import Fix, InputError
from explain_core.explanation.labels import label_texts
from explain_core.explanation.own_units import OFFSET, SCALE
from explain_core.models.loaded import ExpectedInput
from explain_core.sequences.cutting import padded
from explain_core.sequences.labelled import label
from explain_core.sequences.misfits import cut_windows, wrong_features, wrong_steps
from explain_core.sequences.roles import Role, main_input, roles_of, state_axis
from explain_core.sequences.scaling import Scaling, scaled
from explain_core.words import counted


def fit(
    one: xr.DataArray,
    inputs: Sequence[ExpectedInput],
    where: str,
    scaling: Scaling | None = None,
    pad_tokens: tuple[int, str] = (0, "end"),
    beside: Mapping[str, xr.DataArray | np.ndarray] | None = None,
) -> xr.DataArray | dict[str, Any]:
    """What `explain_core.explain` takes for one sequence (sample, time, feature), or (sample, time) of token ids.

    Args:
        inputs: what the model takes, samples first (see `roles.samples_first`).
        scaling: how values become the model's; token ids have none.
        pad_tokens: the id that fills token ids up to the model's length, and where: "end" or "start".
        beside: the other inputs by name, as `fit_beside` makes them; lengths and masks are made of the sequence.

    Returns:
        One array where the model takes one input; else a dict whose first is the sequence.

    Raises:
        InputError: it does not fit, or another input is missing; says what was expected and found, with likely fixes.
    """
    place, roles, beside = main_input(inputs), roles_of(inputs), beside or {}
    first = inputs[place]
    others = [(spec, role) for i, (spec, role) in enumerate(zip(inputs, roles, strict=True)) if i != place]
    missing = [spec for spec, role in others if spec.name not in beside and not is_made(role)]
    if missing:
        names = ", ".join(repr(spec.name) for spec in missing)
        raise InputError(
            f"The model takes {counted(len(inputs), 'input')}; still to be given: {names}.",
            where=where,
            hint="Give each under its name in the sidebar.",
        )
    if first.takes_token_ids and roles[place] is Role.TOKENS:
        one = _tokens(one, first, where, pad_tokens)
        length = int(one["length"][0]) if "length" in one.coords else one.sizes["time"]
    elif first.shape is not None and len(first.shape) == 2:
        one = _flat(one, first, first.shape[1], where, scaling)
        length = 1
    elif roles[place] is Role.GRID:
        one, length = _grid(one, first, where), one.sizes.get("time", 1)
    else:
        length = one.sizes["time"]
        takes_length = any(role in (Role.LENGTH, Role.MASK) for _, role in others)
        one = _series(one, first, where, scaling, may_pad=takes_length)
    if not others:
        return one
    if any(is_made(role) and role is not Role.STATE for _, role in others) and "time" in one.dims:
        one = one.assign_coords(length=("sample", [length]))
    found: dict[str, Any] = {first.name: one}
    for spec, role in others:
        found[spec.name] = beside[spec.name] if spec.name in beside else _made(spec, role, length, one)
    return found


def fit_beside(
    one: xr.DataArray, spec: ExpectedInput, role: Role, where: str, scaling: Scaling | None = None
) -> xr.DataArray:
    """Another input than the sequence, of one sample.

    Args:
        one: what its file has for the sample, (sample, time, feature).
        spec, role: of this input, samples first.

    Raises:
        InputError: it does not fit.
    """
    if role is Role.TOKENS:
        return _tokens(one, spec, where, (0, "end"))
    if role is Role.STATIC:
        return _static(one, spec, where, scaling)
    if role is Role.GRID:
        return _grid(one, spec, where)
    if role in (Role.LENGTH, Role.MASK):
        return _numbers(one, spec, where)
    return _series(one, spec, where, scaling, may_pad=False)


def ids_in_a_row(sequences: xr.DataArray) -> xr.DataArray:
    """The one row of a file of token ids, (1, 1, T), as a sequence of T ids, (1, T, 1); all else stays as it is."""
    if sequences.shape[:2] != (1, 1) or sequences.ndim != 3 or sequences.shape[2] < 2:
        return sequences
    names, values = list(sequences["sample"].values), sequences.values.transpose(0, 2, 1)
    return label(values, names, np.arange(1, values.shape[1] + 1), ["token id"])


def is_made(role: Role) -> bool:
    """Whether an input can be left to `fit`: what it is follows from the sequence, or is usually zeros."""
    return role in (Role.LENGTH, Role.MASK, Role.STATE)


def scaled_values(values: np.ndarray, fitted: xr.DataArray) -> np.ndarray:
    """Values in the own units of a fitted sequence as the model's, (..., feature)."""
    if OFFSET not in fitted.coords:
        return values
    return (values - fitted[OFFSET].values) / fitted[SCALE].values


def _made(spec: ExpectedInput, role: Role, length: int, one: xr.DataArray) -> xr.DataArray | np.ndarray:
    """A length, a mask of the real steps, or a state of zeros."""
    if role is Role.LENGTH:
        return np.array([length]).astype(_dtype(spec))
    if role is Role.MASK:
        return (np.arange(one.sizes["time"])[None] < length).astype(_dtype(spec))
    shape = spec.shape or ()
    samples = state_axis(spec)
    sizes = tuple(1 if k == samples else size or 0 for k, size in enumerate(shape))
    if not shape or 0 in sizes:
        raise InputError(
            "It is a state that a recurrent layer starts from, and the file does not tell its size.",
            where=spec.name,
            hint="Explain the model from Python: explain_core.explain takes a dict with an array for each input.",
        )
    dims = ("layer", "sample", "unit") if samples else ("sample", "unit")
    return xr.DataArray(np.zeros(sizes, _float(spec)), dims=dims, coords={"sample": one["sample"].values})


def _static(one: xr.DataArray, spec: ExpectedInput, where: str, scaling: Scaling | None) -> xr.DataArray:
    """Numbers that hold for the whole sequence: one row, or the same in all rows."""
    values, wanted = one.values[0], spec.shape[-1] if spec.shape else None
    if "feature" not in one.dims or not (values == values[0]).all():
        changes = "" if "feature" not in one.dims else str(one["feature"].values[(values != values[0]).any(axis=0)][0])
        raise InputError(
            f"The input {spec.name!r} has no timesteps, and {changes or 'its file'!r} changes from row to row.",
            where=where,
            hint="Give one row for each sequence, with a column that has the sequences' names.",
        )
    one = one.isel(time=[0])
    if wanted is not None and one.sizes["feature"] != wanted:
        raise wrong_features(one, spec, wanted, where)
    one = one if scaling is None else scaled(one, scaling)
    return one.isel(time=0, drop=True).astype(_float(spec))


def _numbers(one: xr.DataArray, spec: ExpectedInput, where: str) -> xr.DataArray:
    """A length or a mask from a file: one column, a number in all or one for each step."""
    if one.sizes.get("feature", 1) != 1:
        raise wrong_features(one, spec, 1, where)
    flat = one.isel(feature=0, drop=True) if "feature" in one.dims else one
    axes = 1 if spec.shape is None else len(spec.shape)
    return (flat.isel(time=0, drop=True) if axes == 1 else flat).astype(_dtype(spec))


def _grid(one: xr.DataArray, spec: ExpectedInput, where: str) -> xr.DataArray:
    """An array of more axes than a sequence has, such as images in time; its sizes must be those of the model."""
    wanted = spec.shape
    if (
        wanted is None
        or one.ndim != len(wanted)
        or any(size not in (None, found) for size, found in zip(wanted[1:], one.shape[1:], strict=True))
    ):
        sizes = " × ".join("any" if size is None else str(size) for size in (wanted or ())[1:])
        raise InputError(
            f"The model takes arrays of {len(wanted or ())} axes for {spec.name!r}, such as images: {sizes} for each "
            f"sample. The file has {' × '.join(map(str, one.shape[1:]))}.",
            where=where,
            hint="Give an .npy or .npz file with the samples along the first axis, and the others as the model has "
            "them.",
        )
    return one.astype(_float(spec))


def _dtype(spec: ExpectedInput) -> str:
    return spec.dtype if spec.dtype in ("int64", "int32", "float32", "float64", "bool") else "float32"


def _float(spec: ExpectedInput) -> str:
    return spec.dtype if spec.dtype in ("float32", "float64") else "float32"


def _series(
    one: xr.DataArray, spec: ExpectedInput, where: str, scaling: Scaling | None, *, may_pad: bool
) -> xr.DataArray:
    if one.ndim == 2:
        raise InputError("The model takes numbers, and these are words.", where=where, hint="Give a file of numbers.")
    steps, features = one.sizes["time"], one.sizes["feature"]
    if spec.features is not None and spec.features != features:
        raise wrong_features(one, spec, spec.features, where)
    if spec.timesteps is not None and spec.timesteps != steps and not (may_pad and steps < spec.timesteps):
        raise wrong_steps(one, spec.timesteps, where)
    one = one if scaling is None else scaled(one, scaling)
    if may_pad and spec.timesteps is not None:
        coords = {name: one[name] for name in (OFFSET, SCALE) if name in one.coords}
        one = padded(one, spec.timesteps).assign_coords(coords)
        if "times" in one.coords:
            one = one.assign_coords(time=one["times"].values[0]).drop_vars("times")
    return one.astype(_float(spec))


def _flat(
    one: xr.DataArray, spec: ExpectedInput, width: int | None, where: str, scaling: Scaling | None
) -> xr.DataArray:
    """For models that take (sample, numbers) and reshape inside: all timesteps side by side."""
    steps, features = one.sizes["time"], one.sizes["feature"]
    if one.ndim == 2 or (width is not None and steps * features != width):
        fixes = []
        if width is not None and features == width:
            fixes.append(Fix("Each row is a sequence of its own", {"unfold": 1}))
        if width is not None and width % features == 0 and steps > width // features:
            own = width // features
            fixes += [Fix(f"Take the last {counted(own, 'timestep')}", {"last": own}), cut_windows(steps, own)]
        raise InputError(
            f"The model takes {width:,} numbers at once; the sequence has {counted(steps, 'timestep')} of "
            f"{counted(features, 'feature')}, {steps * features:,} numbers.",
            where=where,
            hint="Timesteps times features must be that many.",
            fixes=tuple(fixes),
        )
    one = one if scaling is None else scaled(one, scaling)
    times, names = label_texts(one["time"].values), [str(name) for name in one["feature"].values]
    labels = names if steps == 1 else [f"{name} @ {time}" for time in times for name in names]
    found = xr.DataArray(
        one.values.reshape(1, -1).astype(_float(spec)),
        {"sample": one["sample"].values, "feature": labels},
        ("sample", "feature"),
        one.name,
    )
    extra = {name: ("feature", np.tile(one[name].values, steps)) for name in (OFFSET, SCALE) if name in one.coords}
    return found.assign_coords(extra)


def _tokens(one: xr.DataArray, spec: ExpectedInput, where: str, pad: tuple[int, str]) -> xr.DataArray:
    if one.ndim == 3:
        one = ids_in_a_row(one)
        features = one.sizes["feature"]
        if (one.values != one.values.round()).any() or (one.values < 0).any():
            raise InputError(
                "The model takes token ids: one whole number per timestep.",
                where=where,
                hint="Give a file with one column of whole numbers, or a text and the model's vocabulary.",
            )
        if features != 1:
            raise InputError(
                f"The model takes token ids, one for each timestep; the file has {counted(features, 'column')}.",
                where=where,
                hint="Give a file with one column of whole numbers, or with a sequence in each row.",
                fixes=(Fix("Each row is a sequence of token ids", {"unfold": features}),),
            )
        one = one.isel(feature=0, drop=True).astype(np.int64)
    steps, wanted = one.sizes["time"], spec.timesteps
    if wanted is None or steps == wanted:
        return one
    if steps > wanted:
        raise InputError(
            f"The model takes exactly {counted(wanted, 'token')}; the sequence has {steps:,}.",
            where=where,
            hint="Training code cuts long texts at one end; Keras keeps the last tokens.",
            fixes=(Fix(f"Keep the last {counted(wanted, 'token')}", {"last": wanted}),),
        )
    return _padded_tokens(one, wanted, *pad)


def _padded_tokens(one: xr.DataArray, wanted: int, padding: int, where: str) -> xr.DataArray:
    steps = one.sizes["time"]
    at = (0, wanted - steps) if where == "end" else (wanted - steps, 0)
    values = np.pad(one.values, ((0, 0), at), constant_values=padding)
    words = one["token"].values if "token" in one.coords else one.values.astype(str)
    tokens = np.pad(words.astype(object), ((0, 0), at), constant_values="·").astype(str)
    coords: dict[str, Any] = {
        "sample": one["sample"].values,
        "time": np.arange(1, wanted + 1),
        "token": (("sample", "time"), tokens),
    }
    if where == "end":
        coords["length"] = ("sample", [steps])
    return xr.DataArray(values, coords, ("sample", "time"), one.name)
