"""A sequence that does not fit a model: what was expected and found, and what would make it fit."""

from __future__ import annotations

import re

import numpy as np
import xarray as xr

from explain_core.errors import Fix, InputError
from explain_core.models.hints import any_steps
from explain_core.models.loaded import ExpectedInput
from explain_core.words import counted

_NOT_FEATURES = re.compile(r"(.*[_ ])?(id|index|no|nr|number|unit|cycle|row|rul|target|label|class|y)$", re.IGNORECASE)
_MOST_WINDOWS = 2000


def wrong_features(one: xr.DataArray, spec: ExpectedInput, wanted: int, where: str) -> InputError:
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
            each = f"{counted(per_row, 'timestep')} of {counted(wanted, 'feature')}"
            fixes.append(Fix(f"Each row is a whole sequence: {each}", {"unfold": per_row}))
            if steps == 1 or spec.timesteps == per_row:
                fixes.insert(0, fixes.pop())
    listed = ", ".join(names[:8]) + (", ..." if found > 8 else "")
    hint = "Rows must be timesteps and columns features, one for each feature in the order of the training data."
    if found < wanted:
        hint = (
            f"Add {counted(wanted - found, 'column')}: the model needs one for each feature, in the order of the "
            "training data."
        )
    if fixes and fixes[0].changes.get("transpose"):
        hint = "It looks transposed: rows must be timesteps and columns features."
    return InputError(
        f"The model takes {counted(wanted, 'feature')}; the sequence has {found}: {listed}.",
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


def wrong_steps(one: xr.DataArray, wanted: int, where: str) -> InputError:
    steps, features = one.sizes["time"], one.sizes["feature"]
    fixes: tuple[Fix, ...]
    if steps > wanted:
        fixes = (Fix(f"Take the last {counted(wanted, 'timestep')}", {"last": wanted}), cut_windows(steps, wanted))
        if steps % wanted == 0:
            whole = {"window": wanted, "stride": wanted}
            fixes += (
                Fix(f"The rows are {counted(steps // wanted, 'sequence')} of {counted(wanted, 'timestep')}", whole),
            )
        hint = "Cut the sequence to that length, or write the model again for any number of timesteps."
    else:
        fixes = (
            Fix("Pad with zeros at the start", {"pad": wanted, "pad_where": "start"}),
            Fix("Pad with zeros at the end", {"pad": wanted, "pad_where": "end"}),
        )
        hint = (
            "Give a longer sequence, pad it as the model's training did, or write the model again for any number of "
            "timesteps."
        )
    return InputError(
        f"The model takes exactly {counted(wanted, 'timestep')}; the sequence has {steps:,}.",
        where=where,
        hint=f"{hint} In Python:\n{any_steps(wanted, features)}",
        fixes=fixes,
    )


def cut_windows(steps: int, wanted: int) -> Fix:
    """Windows at every step, or fewer where they would be too many to choose from."""
    stride = 1 if steps - wanted < _MOST_WINDOWS else wanted
    every = "" if stride == 1 else f", one every {stride}"
    return Fix(f"Cut windows of {counted(wanted, 'timestep')}{every}", {"window": wanted, "stride": stride})
