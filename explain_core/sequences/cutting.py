"""Sequences cut, unfolded, padded and trimmed. Nothing here happens unless it is asked for."""

from __future__ import annotations

import numpy as np
import xarray as xr

from explain_core.errors import InputError
from explain_core.explanation.labels import label_texts
from explain_core.sequences.labelled import label, label_ragged, lengths_of, single
from explain_core.sequences.options import MAX_CELLS, Options


def cut(sequences: xr.DataArray, options: Options) -> xr.DataArray:
    """Apply the options that change the form of the sequences, in their order below.

    Raises:
        InputError: a sequence is too short, or of a form that the option does not fit.
    """
    if options.transpose:
        sequences = transpose(sequences)
    if options.unfold is not None:
        sequences = unfold(sequences, options.unfold, options.unfold_order)
    if options.padding is not None:
        sequences = without_padding(sequences, options.padding)
    if options.last is not None:
        sequences = last_steps(sequences, options.last)
    if options.window is not None:
        sequences = windows(sequences, options.window, options.stride)
    if options.pad is not None:
        sequences = padded(sequences, options.pad, options.pad_where)
    return sequences


def transpose(sequences: xr.DataArray) -> xr.DataArray:
    """Rows become features and columns timesteps."""
    if "length" in sequences.coords:
        raise InputError("Sequences of different lengths cannot be transposed.", where="the sequences")
    values = sequences.values.transpose(0, 2, 1)
    rows = label_texts(sequences["time"].values)
    names = [f"feature {row}" if row.isdigit() else row for row in rows]
    return label(values, list(sequences["sample"].values), np.arange(1, values.shape[1] + 1), names)


def unfold(sequences: xr.DataArray, steps: int, order: str = "time") -> xr.DataArray:
    """Rows that are whole sequences, flattened, as sequences of ``steps`` timesteps.

    Args:
        sequences: (sample, row, steps * features).
        order: "time" where the features of one timestep are side by side, "feature" where the timesteps of one
            feature are.

    Raises:
        InputError: the columns cannot be shared out evenly over the steps.
    """
    columns = sequences.sizes["feature"]
    if columns % steps:
        raise InputError(
            f"{columns:,} columns cannot be {steps:,} timesteps of the same number of features.", where="the sequences"
        )
    rows = np.concatenate([single(sequences, i).values[0] for i in range(sequences.sizes["sample"])])
    features = columns // steps
    shape = (len(rows), steps, features) if order == "time" else (len(rows), features, steps)
    values = rows.reshape(shape)
    values = values if order == "time" else values.transpose(0, 2, 1)
    texts: list[str] = []
    for i in range(sequences.sizes["sample"]):
        one, own = sequences["sample"].values[i], label_texts(single(sequences, i)["time"].values)
        texts += [f"{one}, row {text}" if text.isdigit() else f"{one}, {text}" for text in own]
    return label(values, texts, np.arange(1, steps + 1), [f"feature {i + 1}" for i in range(features)])


def without_padding(sequences: xr.DataArray, kind: str) -> xr.DataArray:
    """Trailing steps that are zero or missing in all features, taken as padding: each sequence gets its length.

    Args:
        kind: "zero" or "nan".

    Raises:
        InputError: a sequence is nothing but padding, or has missing values before its end.
    """
    empty = np.all(np.isnan(sequences.values) if kind == "nan" else sequences.values == 0, axis=2)
    lengths = np.where(empty.all(axis=1), 0, empty.shape[1] - np.argmin(empty[:, ::-1], axis=1))
    lengths = np.minimum(lengths, lengths_of(sequences))
    names = sequences["sample"].values
    if not lengths.all():
        raise InputError("The sequence has no real timestep.", where=str(names[int(lengths.argmin())]))
    parts = [row[:length] for row, length in zip(sequences.values, lengths, strict=True)]
    for name, part in zip(names, parts, strict=True):
        if np.isnan(part).any():
            step = int(np.argwhere(np.isnan(part))[0][0])
            raise InputError(
                "A value is missing before the end of the sequence.",
                where=f"{name}, timestep {step + 1}",
                hint="Fill or drop gaps as for the model's training.",
            )
    found = label_ragged(parts, list(names), list(sequences["feature"].values))
    keep = found.sizes["time"]
    found = found.assign_coords(time=sequences["time"].values[:keep])
    if "times" in sequences.coords:
        found = found.assign_coords(times=(("sample", "time"), sequences["times"].values[:, :keep]))
    return found


def last_steps(sequences: xr.DataArray, steps: int) -> xr.DataArray:
    """The last timesteps of each sequence; shorter ones stay whole."""
    lengths = lengths_of(sequences)
    if (lengths == sequences.sizes["time"]).all():
        return sequences.isel(time=slice(-steps, None))
    return _joined([single(sequences, i).isel(time=slice(-steps, None)) for i in range(len(lengths))])


def windows(sequences: xr.DataArray, steps: int, stride: int = 1) -> xr.DataArray:
    """Every window of ``steps`` timesteps that starts at a multiple of ``stride``, and the last one there is.

    Returns:
        (window, time, feature), named by the range of their times. The coordinate ``times`` has each one's own
        labels.

    Raises:
        InputError: no sequence is that long, or the windows together are too large.
    """
    lengths = lengths_of(sequences)
    long_enough = [i for i, length in enumerate(lengths) if length >= steps]
    if not long_enough:
        raise InputError(
            f"No sequence has {steps:,} timesteps; the longest has {int(lengths.max()):,}.",
            where="the window length",
            hint="Choose shorter windows.",
        )
    starts = {}
    for i in long_enough:
        last = int(lengths[i]) - steps
        starts[i] = np.unique(np.append(np.arange(0, last + 1, stride), last))
    cells = sum(len(each) for each in starts.values()) * steps * sequences.sizes["feature"]
    if cells > MAX_CELLS:
        raise InputError(
            f"The windows have {cells:,} values together; the limit is {MAX_CELLS:,}.",
            where="the windows",
            hint=f"Start a window every {-(-cells // MAX_CELLS) * stride} timesteps or fewer often.",
        )
    several = sequences.sizes["sample"] > 1
    values, times, names = [], [], []
    for i in long_enough:
        one = single(sequences, i)
        view = np.lib.stride_tricks.sliding_window_view(one.values[0], steps, axis=0)[starts[i]]
        values.append(view.transpose(0, 2, 1))
        labels = one["time"].values
        times.append(labels[starts[i][:, None] + np.arange(steps)])
        texts = label_texts(labels)
        prefix = f"{one['sample'].values[0]}, " if several else ""
        names += [f"{prefix}{texts[start]} to {texts[start + steps - 1]}" for start in starts[i]]
    same_kind = len({each.dtype.kind for each in times}) == 1
    own = np.concatenate(times if same_kind else [each.astype(str) for each in times])
    features = list(sequences["feature"].values)
    found = label(np.concatenate(values), names, np.arange(1, steps + 1), features)
    return found.assign_coords(times=(("sample", "time"), own))


def padded(sequences: xr.DataArray, steps: int, where: str = "end") -> xr.DataArray:
    """Steps of zeros up to ``steps``, after each sequence with its length kept, or before it.

    Raises:
        InputError: a sequence is longer.
    """
    lengths = lengths_of(sequences)
    if lengths.max() > steps:
        raise InputError(
            f"A sequence has {int(lengths.max()):,} timesteps, more than {steps:,}.",
            where=str(sequences["sample"].values[int(lengths.argmax())]),
        )
    if (lengths == steps).all():
        return sequences
    features = list(sequences["feature"].values)
    names = list(sequences["sample"].values)
    values = np.zeros((len(names), steps, len(features)), dtype=sequences.dtype)
    labels = []
    for i, length in enumerate(lengths):
        one = single(sequences, i)
        values[i, slice(0, length) if where == "end" else slice(steps - length, steps)] = one.values[0]
        labels.append(_padded_labels(one["time"].values, steps, where))
    same_kind = len({own.dtype.kind for own in labels}) == 1
    own_times = np.stack(labels if same_kind else [own.astype(str) for own in labels])
    found = label(values, names, np.arange(1, steps + 1), features)
    found = found.assign_coords(times=(("sample", "time"), own_times))
    return found.assign_coords(length=("sample", lengths)) if where == "end" else found


def _padded_labels(own: np.ndarray, steps: int, where: str) -> np.ndarray:
    """Labels of a padded sequence: counts and even dates go on past its end, others are said to be padding."""
    missing = steps - len(own)
    if not missing:
        return own
    gaps = np.diff(own) if own.dtype.kind in "iM" else np.array([])
    if where == "end" and own.dtype.kind in "iM" and (gaps[:1] > np.zeros(1, gaps.dtype)).all():
        step = gaps[-1] if len(gaps) else np.ones(1, "timedelta64[D]" if own.dtype.kind == "M" else own.dtype)[0]
        if step > step * 0:
            return np.append(own, own[-1] + step * np.arange(1, missing + 1))
    blank = [f"padding {k + 1}" for k in range(missing)]
    return np.array([*label_texts(own), *blank] if where == "end" else [*blank, *label_texts(own)])


def _joined(parts: list[xr.DataArray]) -> xr.DataArray:
    names = [part["sample"].values[0] for part in parts]
    features = list(parts[0]["feature"].values)
    return label_ragged([part.values[0] for part in parts], names, features, [part["time"].values for part in parts])
