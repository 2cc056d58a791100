"""The scaling that a model was trained with: it gets scaled values, and people see their own units.

``model's value = (own value - offset) / scale`` for each feature. Attributions belong to the model's inputs and are the
same for either: the difference to the baseline is only measured in another unit, ``multiplier * difference`` is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from explain_core.errors import InputError, SequenceFileError
from explain_core.explanation.own_units import OFFSET, SCALE
from explain_core.sequences.contents import Contents, read_bytes
from explain_core.sequences.json_file import parse_json
from explain_core.sequences.labelled import valid_steps
from explain_core.sequences.numbers import check_finite, numbers_of
from explain_core.sequences.options import Options
from explain_core.sequences.text import decode, read_text
from explain_core.untrusted.last_boundary import ending_typed

_OFFSETS = ("mean", "offset", "center", "average", "mu", "mean_", "center_")
_SCALES = ("scale", "std", "sd", "stddev", "sigma", "standard deviation", "scale_")
_LOWS, _HIGHS = ("min", "minimum", "low", "data_min_"), ("max", "maximum", "high", "data_max_")
_MAX_BYTES = 16 * 2**20
_MOST_VALUES = 1_000_000
_HINT = "Give feature, mean and scale (or min and max) as CSV columns, or a scaler's mean_ and scale_ as JSON."


@dataclass(frozen=True, eq=False)
class Scaling:
    """Offset and scale of every feature, (F,); ``features`` are their names, None where only the order counts."""

    offset: np.ndarray
    scale: np.ndarray
    features: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, sequences: xr.DataArray, kind: str = "standard") -> Scaling:
        """From the sequences themselves: "standard" (mean 0, deviation 1) or "minmax" (from 0 to 1).

        A model was trained with the numbers of its training data, so this is right for that data only.
        """
        steps = valid_steps(sequences).astype(float)
        names = tuple(str(name) for name in sequences["feature"].values)
        if kind == "standard":
            return _checked(steps.mean(axis=0), steps.std(axis=0), names, "the sequences")
        if kind == "minmax":
            return _checked(steps.min(axis=0), np.ptp(steps, axis=0), names, "the sequences")
        raise InputError(f"There is no scaling {kind!r}.", hint='Choose "standard" or "minmax".')

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Scaling:
        """From a file: CSV or JSON of feature, mean and scale, or min and max; or a scikit-learn scaler's attributes.

        Raises:
            SequenceFileError: says what is missing, or the row and the column.
        """
        path = Path(path)
        with ending_typed(SequenceFileError, "a scaling", path.name):
            return _read(path)

    def matched(self, features: Sequence[str], where: str = "the scaling") -> Scaling:
        """For these features in their order: by name where both have names, else by position.

        Raises:
            InputError: a feature has no scaling, or their numbers differ.
        """
        names = [str(name) for name in features]
        if self.features is not None and set(names) & set(self.features):
            missing = [name for name in names if name not in self.features]
            if missing:
                raise InputError(
                    f"The scaling has nothing for {', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''}.",
                    where=where,
                    hint=f"It has {', '.join(self.features[:8])}. Names must be the same in both files.",
                )
            order = [self.features.index(name) for name in names]
            return Scaling(self.offset[order], self.scale[order], tuple(names), self.notes)
        if len(names) != len(self.offset):
            raise InputError(
                f"The scaling has {len(self.offset)} features; the sequences have {len(names)}.",
                where=where,
                hint=_HINT,
            )
        return Scaling(self.offset, self.scale, tuple(names), self.notes)

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Own units to the model's, along the last axis; in float64."""
        return (np.asarray(values, dtype=float) - self.offset) / self.scale


def scaled(sequences: xr.DataArray, scaling: Scaling) -> xr.DataArray:
    """Sequences in the model's values, which remember their own units in two coordinates; padding stays 0.

    Raises:
        InputError: the scaling is of other features.
    """
    matched = scaling.matched(list(sequences["feature"].values))
    values = matched.apply(sequences.values)
    if "length" in sequences.coords:
        real = np.arange(sequences.sizes["time"]) < sequences["length"].values[:, None]
        values = np.where(real[..., None], values, 0.0)
    if sequences.dtype.kind == "f":
        values = values.astype(sequences.dtype)
    found = sequences.copy(data=values)
    return found.assign_coords({OFFSET: ("feature", matched.offset), SCALE: ("feature", matched.scale)})


def _read(path: Path) -> Scaling:
    data = read_bytes(path, _MAX_BYTES)
    if data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b"[")):
        return _from_json(parse_json(decode(data, path.name, []), path.name, _MOST_VALUES), path.name)
    table = read_text(Contents(data, path.name, path.stem), Options()).table
    by_lower = {str(name).strip().lower(): name for name in table.frame.columns}
    known = {*_OFFSETS, *_SCALES, *_LOWS, *_HIGHS}
    columns = [name for lower, name in by_lower.items() if lower in known]
    values, _ = numbers_of(table, columns, Options())
    check_finite(values, table, columns)
    found: dict[str, Any] = {name.strip().lower(): values[:, i] for i, name in enumerate(columns)}
    others = [name for name in table.frame.columns if name not in columns]
    return _from_columns(found, list(table.frame[others[0]]) if others else None, path.name)


def _from_json(value: Any, where: str) -> Scaling:
    if isinstance(value, list):  # records
        if not all(isinstance(item, dict) for item in value) or not value:
            raise _unknown(where)
        keys = dict.fromkeys(str(key) for item in value for key in item)
        value = {key: [item.get(key) for item in value] for key in keys}
    if not isinstance(value, dict):
        raise _unknown(where)
    lowered = {str(key).strip().lower(): item for key, item in value.items()}
    if value and all(isinstance(item, dict) for item in value.values()):  # by feature, or by quantity
        if not set(lowered) & {*_OFFSETS, *_SCALES, *_LOWS, *_HIGHS}:
            quantities = {str(key).strip().lower() for item in value.values() for key in item}
            if len({frozenset(str(key).strip().lower() for key in item) for item in value.values()}) > 1:
                raise SequenceFileError("The features have different quantities.", where=where, hint=_HINT)
            rows = [{str(key).strip().lower(): number for key, number in item.items()} for item in value.values()]
            return _from_columns({name: [row[name] for row in rows] for name in quantities}, list(value), where)
        names = list(next(iter(value.values())))
        return _from_columns({name: [item.get(f) for f in names] for name, item in lowered.items()}, names, where)
    if "min_" in lowered and "scale_" in lowered:  # MinMaxScaler multiplies: own * scale_ + min_
        low, by = (_vector(lowered[name], where) for name in ("min_", "scale_"))
        with np.errstate(divide="ignore", invalid="ignore"):
            return _checked(-low / by, 1.0 / by, _names_in(lowered), where)
    if "max_abs_" in lowered:
        largest = _vector(lowered["max_abs_"], where)
        return _checked(np.zeros_like(largest), largest, _names_in(lowered), where)
    if "var_" in lowered and "scale_" not in lowered:
        lowered["scale_"] = np.sqrt(_vector(lowered["var_"], where))
    return _from_columns(lowered, _names_in(lowered), where)


def _names_in(value: Mapping[str, Any]) -> list | None:
    found = (
        value.get(name) for name in ("feature_names_in_", "features", "feature", "feature_names", "names", "columns")
    )
    return next((list(names) for names in found if isinstance(names, list)), None)


def _from_columns(columns: Mapping[str, Any], names: list | None, where: str) -> Scaling:
    def one(keys: tuple[str, ...]) -> np.ndarray | None:
        key = next((key for key in keys if columns.get(key) is not None), None)
        return None if key is None else _vector(columns[key], where)

    offset, scale, low, high = (one(keys) for keys in (_OFFSETS, _SCALES, _LOWS, _HIGHS))
    if offset is None or scale is None:
        if low is None or high is None:
            raise _unknown(where)
        offset, scale = low, high - low
    return _checked(offset, scale, names, where)


def _vector(values: Any, where: str) -> np.ndarray:
    try:
        vector = np.atleast_1d(np.asarray(values, dtype=float))
    except (TypeError, ValueError, OverflowError):
        raise SequenceFileError("A mean or a scale is not a number.", where=where, hint=_HINT) from None
    if vector.ndim != 1 or not vector.size or not np.isfinite(vector).all():
        raise SequenceFileError("A mean or a scale is missing or not finite.", where=where, hint=_HINT)
    return vector


def _checked(offset: np.ndarray, scale: np.ndarray, names: Sequence | None, where: str) -> Scaling:
    sizes = {len(offset), len(scale), *([len(names)] if names is not None else [])}
    if len(sizes) > 1 or not (np.isfinite(offset).all() and np.isfinite(scale).all()):
        raise SequenceFileError("There is not one finite mean and scale for each feature.", where=where, hint=_HINT)
    if (scale < 0).any():
        raise SequenceFileError(f"A scale is negative: {scale.min():g}.", where=where, hint=_HINT)
    notes = []
    if (scale == 0).any():
        labels = names if names is not None else [f"feature {i + 1}" for i in range(len(scale))]
        constant = [str(label) for label, size in zip(labels, scale, strict=True) if size == 0]
        notes.append(f"Constant, so only moved to 0 and not scaled: {', '.join(constant[:8])}.")
        scale = np.where(scale == 0, 1.0, scale)
    own = tuple(str(name) for name in names) if names is not None else None
    if own is not None and len(set(own)) < len(own):
        raise SequenceFileError("A feature is there twice.", where=where, hint=_HINT)
    return Scaling(offset.astype(float), scale.astype(float), own, tuple(notes))


def _unknown(where: str) -> SequenceFileError:
    return SequenceFileError("No mean and scale were found.", where=where, hint=_HINT)
