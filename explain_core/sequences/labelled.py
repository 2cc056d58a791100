"""Labelled arrays of sequences: made from plain arrays, and one of them taken out again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr


def label(values: np.ndarray, names: Sequence[str], times: np.ndarray, features: Sequence[str]) -> xr.DataArray:
    """Values (sample, time, feature) with their labels."""
    return xr.DataArray(
        values,
        dims=("sample", "time", "feature"),
        coords={"sample": list(names), "time": times, "feature": list(features)},
        name="x",
    )


def numbered(stem: str, count: int) -> list[str]:
    """Names of the sequences of a file that has none."""
    return [stem] if count == 1 else [f"{stem} {i + 1}" for i in range(count)]


def label_ragged(
    parts: Sequence[np.ndarray],
    names: Sequence[str],
    features: Sequence[str],
    times: Sequence[np.ndarray] | None = None,
) -> xr.DataArray:
    """Sequences (time, feature) of unequal lengths, with zeros after each one's end and their lengths.

    Args:
        times: the time labels of each; counted from 1 when left out.
    """
    lengths = np.array([len(part) for part in parts])
    steps = int(lengths.max())
    values = np.zeros((len(parts), steps, len(features)), dtype=np.result_type(*parts))
    for sample, part in enumerate(parts):
        values[sample, : len(part)] = part
    result = label(values, names, np.arange(1, steps + 1), features)
    if (lengths != steps).any():
        result = result.assign_coords(length=("sample", lengths))
    return result if times is None else with_times(result, times, lengths)


def with_times(result: xr.DataArray, labels: Sequence[np.ndarray], lengths: np.ndarray) -> xr.DataArray:
    """Time labels for each sequence: on the axis where all agree, else in the coordinate ``times``."""
    longest = labels[int(lengths.argmax())]
    if all(np.array_equal(own, longest[: len(own)]) for own in labels):
        return result.assign_coords(time=longest)
    kinds = {own.dtype.kind for own in labels}
    own_times = np.full(result.shape[:2], np.datetime64("NaT") if kinds == {"M"} else "", dtype=object)
    for sample, own in enumerate(labels):
        own_times[sample, : len(own)] = own if kinds == {"M"} else own.astype(str)
    own_times = own_times.astype("datetime64[us]" if kinds == {"M"} else str)
    return result.assign_coords(times=(("sample", "time"), own_times))


def time_first_turned(sequences: xr.DataArray) -> xr.DataArray:
    """An array that was read as (sample, time, feature) and is (time, sample, feature)."""
    values = sequences.values.swapaxes(0, 1)
    stem = str(sequences["sample"].values[0]).rpartition(" ")[0] or "sequence"
    features = [str(name) for name in sequences["feature"].values]
    return label(values, numbered(stem, len(values)), np.arange(1, values.shape[1] + 1), features)


def single(sequences: xr.DataArray, sample: int) -> xr.DataArray:
    """One sequence, cut to its own length and with its own time labels; dims (sample, time, feature)."""
    one = sequences.isel(sample=[sample])
    if "length" in one.coords:
        one = one.isel(time=slice(0, int(one["length"][0]))).drop_vars("length")
    if "times" in one.coords:
        one = one.assign_coords(time=one["times"].values[0]).drop_vars("times")
    return one


def lengths_of(sequences: xr.DataArray) -> np.ndarray:
    """Timesteps of each sequence, (sample,)."""
    if "length" in sequences.coords:
        return sequences["length"].values
    return np.full(sequences.sizes["sample"], sequences.sizes["time"])


def valid_steps(sequences: xr.DataArray) -> np.ndarray:
    """Every real timestep of every sequence, (steps, feature)."""
    if "length" not in sequences.coords:
        return sequences.values.reshape(-1, sequences.sizes["feature"])
    lengths = lengths_of(sequences)
    return np.concatenate([row[:length] for row, length in zip(sequences.values, lengths, strict=True)])
