"""One sequence in the form that a model takes; where it does not fit, what would make it fit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from explain_core.errors import Fix, InputError
from explain_core.explanation.labels import label_texts
from explain_core.explanation.own_units import OFFSET, SCALE
from explain_core.models.loaded import ExpectedInput
from explain_core.sequences.cutting import padded
from explain_core.sequences.scaling import Scaling, scaled

_NOT_FEATURES = re.compile(r"(.*[_ ])?(id|index|no|nr|number|unit|cycle|row|rul|target|label|class|y)$", re.IGNORECASE)
_MOST_WINDOWS = 2000


def fit(
    one: xr.DataArray,
    inputs: Sequence[ExpectedInput],
    where: str,
    scaling: Scaling | None = None,
    pad_tokens: tuple[int, str] = (0, "end"),
) -> xr.DataArray | dict[str, Any]:
    """What `explain_core.explain` takes for one sequence (sample, time, feature), or (sample, time) of token ids.

    Args:
        inputs: what the model takes: a sequence, and at most a length or a mask beside it.
        scaling: how values become the model's; token ids have none.
        pad_tokens: the id that fills token ids up to the model's length, and where: "end" or "start".

    Raises:
        InputError: it does not fit; says what was expected and found, with the likely fixes.
    """
    first, *others = inputs
    if len(others) > 1 or (others and _beside(others[0]) is None):
        names = ", ".join(spec.name for spec in inputs)
        raise InputError(
            f"The model takes {len(inputs)} inputs ({names}); the app explains models of one "
            "sequence, or of a sequence and its length.",
            where=where,
            hint="In Python, explain_core.explain takes a dict with any number of inputs.",
        )
    if first.takes_token_ids:
        one = _tokens(one, first, where, pad_tokens)
        length = int(one["length"][0]) if "length" in one.coords else one.sizes["time"]
    elif first.shape is not None and len(first.shape) == 2:
        return _flat(one, first, first.shape[1], where, scaling)
    else:
        length = one.sizes["time"]
        one = _series(one, first, where, scaling, may_pad=bool(others))
    if not others:
        return one
    beside = _beside(others[0])
    own = np.array([length]) if beside == "length" else np.arange(one.sizes["time"])[None] < length
    one = one.assign_coords(length=("sample", [length]))
    return {first.name: one, others[0].name: own.astype(_dtype(others[0]))}


def scaled_values(values: np.ndarray, fitted: xr.DataArray) -> np.ndarray:
    """Values in the own units of a fitted sequence as the model's, (..., feature)."""
    if OFFSET not in fitted.coords:
        return values
    return (values - fitted[OFFSET].values) / fitted[SCALE].values


def _beside(spec: ExpectedInput) -> str | None:
    """What a second input is: "length" (sample,), "mask" (sample, time), or None for something else."""
    axes = len(spec.shape) if spec.shape is not None else 1
    if axes == 1 and spec.dtype in ("int64", "int32"):
        return "length"
    return "mask" if axes == 2 and (spec.dtype == "bool" or "mask" in spec.name.lower()) else None


def _dtype(spec: ExpectedInput) -> str:
    return spec.dtype if spec.dtype in ("int64", "int32", "float32", "float64", "bool") else "float32"


def _float(spec: ExpectedInput) -> str:
    return spec.dtype if spec.dtype in ("float32", "float64") else "float32"


def _series(
    one: xr.DataArray, spec: ExpectedInput, where: str, scaling: Scaling | None, *, may_pad: bool
) -> xr.DataArray:
    if one.ndim == 2:
        raise InputError("The model takes numbers, and these are words.", where=where, hint="Give a file of numbers.")
    if spec.shape is not None and len(spec.shape) > 3:
        raise InputError(
            f"The model takes arrays of {len(spec.shape)} axes, such as images; a sequence has timesteps and features.",
            where=where,
            hint="Explain it from Python: explain_core.explain takes arrays of any shape.",
        )
    steps, features = one.sizes["time"], one.sizes["feature"]
    if spec.features is not None and spec.features != features:
        raise _wrong_features(one, spec, spec.features, where)
    if spec.timesteps is not None and spec.timesteps != steps and not (may_pad and steps < spec.timesteps):
        raise _wrong_steps(one, spec.timesteps, where)
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
            fixes += [Fix(f"Take the last {own} timesteps", {"last": own}), _windows(steps, own)]
        raise InputError(
            f"The model takes {width} numbers at once; the sequence has {steps} timesteps of {features} features, "
            f"{steps * features} numbers.",
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
        features = one.sizes["feature"]
        if (one.values != one.values.round()).any() or (one.values < 0).any():
            raise InputError(
                "The model takes token ids: one whole number per timestep.",
                where=where,
                hint="Give a file with one column of whole numbers, or a text and the model's vocabulary.",
            )
        if features != 1:
            raise InputError(
                f"The model takes token ids, one for each timestep; the file has {features} columns.",
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
            f"The model takes exactly {wanted} tokens; the sequence has {steps}.",
            where=where,
            hint="Training code cuts long texts at one end; Keras keeps the last tokens.",
            fixes=(Fix(f"Keep the last {wanted} tokens", {"last": wanted}),),
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


def _wrong_features(one: xr.DataArray, spec: ExpectedInput, wanted: int, where: str) -> InputError:
    steps, names = one.sizes["time"], [str(name) for name in one["feature"].values]
    found = len(names)
    fixes: list[Fix] = []
    if steps == wanted and (spec.timesteps is None or found >= spec.timesteps):
        fixes.append(Fix("Rows are features: transpose", {"transpose": True}))
    if found > wanted:
        names_of_rows = [name for name, column in zip(names, one.values[0].T, strict=True) if _tells_apart(column)]
        if found - wanted == 1 and names_of_rows and not names_of_rows[0].startswith("feature "):
            words = f"{names_of_rows[0]!r} says which sequence a row belongs to"
            fixes.append(Fix(words, {"id_column": names_of_rows[0]}))
        fixes += [
            Fix(f"Leave out {_listed([n for n in names if n not in kept])}", {"columns": tuple(kept)})
            for kept in _likely_columns(one, names, wanted)
        ]
        per_row = found // wanted
        if found % wanted == 0 and spec.timesteps in (None, per_row):
            each = f"{per_row} timesteps of {wanted} features"
            fixes.append(Fix(f"Each row is a whole sequence: {each}", {"unfold": per_row}))
            if steps == 1 or spec.timesteps == per_row:
                fixes.insert(0, fixes.pop())
    listed = ", ".join(names[:8]) + (", ..." if found > 8 else "")
    hint = "Rows must be timesteps and columns features, one for each feature in the order of the training data."
    if found < wanted:
        hint = f"Add {wanted - found} columns: one for each feature, in the order of the training data."
    if fixes and fixes[0].changes.get("transpose"):
        hint = "It looks transposed: rows must be timesteps and columns features."
    return InputError(
        f"The model takes {wanted} features; the sequence has {found}: {listed}.",
        where=where,
        hint=hint,
        fixes=tuple(fixes[:4]),
    )


def _likely_columns(one: xr.DataArray, names: list[str], wanted: int) -> list[list[str]]:
    """Choices of ``wanted`` columns, the likeliest first: without those that are called or look like no feature."""
    extra = len(names) - wanted
    values = one.values[0]
    counters = [n for n, column in zip(names, values.T, strict=True) if len(column) > 2 and _is_counter(column)]
    called = [name for name in names if _NOT_FEATURES.fullmatch(name)]
    constant = [n for n, column in zip(names, values.T, strict=True) if len(column) > 2 and (column == column[0]).all()]
    apart = [name for name, column in zip(names, values.T, strict=True) if _tells_apart(column)]
    choices = []
    for drop in (
        apart,
        [*dict.fromkeys([*counters, *called])],
        counters,
        called,
        [*dict.fromkeys([*counters, *constant])],
    ):
        if len(drop) == extra:
            choices.append([name for name in names if name not in drop])
    if extra <= 3:
        choices += [names[:wanted], names[extra:]]
    return [choice for i, choice in enumerate(choices) if choice not in choices[:i]][:3]


def _tells_apart(column: np.ndarray) -> bool:
    """Whether a column looks like numbers of sequences: whole, in runs, one after the other."""
    jumps = np.diff(column)
    runs = int((jumps != 0).sum()) + 1
    whole = (column == column.round()).all() and (jumps >= 0).all()
    return bool(whole and 2 <= runs <= len(column) / 3)


def _is_counter(column: np.ndarray) -> bool:
    steps = np.diff(column)
    return bool((steps == steps[0]).all() and steps[0] != 0)


def _listed(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _wrong_steps(one: xr.DataArray, wanted: int, where: str) -> InputError:
    steps = one.sizes["time"]
    fixes: tuple[Fix, ...]
    if steps > wanted:
        fixes = (Fix(f"Take the last {wanted} timesteps", {"last": wanted}), _windows(steps, wanted))
        if steps % wanted == 0:
            whole = {"window": wanted, "stride": wanted}
            fixes += (Fix(f"The rows are {steps // wanted} sequences of {wanted} timesteps", whole),)
        hint = "Cut the sequence to that length, or export the model for this one."
    else:
        fixes = (
            Fix("Pad with zeros at the start", {"pad": wanted, "pad_where": "start"}),
            Fix("Pad with zeros at the end", {"pad": wanted, "pad_where": "end"}),
        )
        hint = "Give a longer sequence, or pad it as the model's training did."
    return InputError(
        f"The model takes exactly {wanted} timesteps; the sequence has {steps}.", where=where, hint=hint, fixes=fixes
    )


def _windows(steps: int, wanted: int) -> Fix:
    """Windows at every step, or fewer where they would be too many to choose from."""
    stride = 1 if steps - wanted < _MOST_WINDOWS else wanted
    every = "" if stride == 1 else f", one every {stride}"
    return Fix(f"Cut windows of {wanted} timesteps{every}", {"window": wanted, "stride": stride})
