"""`load_sequences`: from a file to what `explain_core.explain` takes, in one call."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
import xarray as xr

from explain_core.errors import InputError, SequenceFileError
from explain_core.sequences.cutting import cut
from explain_core.sequences.formats import read_file
from explain_core.sequences.options import Options
from explain_core.sequences.reading import Reading
from explain_core.sequences.scaling import Scaling, scaled
from explain_core.sequences.texts import read_texts
from explain_core.sequences.vocabulary import Vocabulary, encode_texts
from explain_core.untrusted.last_boundary import ending_typed


def load_sequences(
    path: str | PathLike[str],
    *,
    id_column: str | None = None,
    time_column: str | None = None,
    columns: Sequence[str] | None = None,
    array: str | None = None,
    header: bool | None = None,
    decimal: str | None = None,
    day_first: bool | None = None,
    missing: float | None = None,
    fill: str | None = None,
    sort: bool = False,
    padding: str | None = None,
    transpose: bool = False,
    unfold: int | None = None,
    unfold_order: str = "time",
    last: int | None = None,
    window: int | None = None,
    stride: int = 1,
    pad: int | None = None,
    pad_where: str = "end",
    scaling: Scaling | str | PathLike[str] | None = None,
    vocabulary: Vocabulary | str | PathLike[str] | None = None,
    text_column: str | None = None,
) -> xr.DataArray:
    """Read the sequences of a CSV, TSV, Parquet, NPY, NPZ or JSON file; its kind is told by its content.

    Args:
        path: a table (rows are timesteps; a column of names tells several sequences apart), an array (time,),
            (time, feature) or (sample, time, feature), or nested lists. With ``vocabulary`` a file of texts.
        id_column: the column of sequence names; found by its name (``sequence``, ``id``, ...) if left out, "" for none.
        time_column: the column of time labels; found by its name (``time``, ``date``, ...) when left out, "" for none.
        columns: the columns of values in the model's order. All others are left out.
        array: the array of an NPZ file, or the list of a JSON file.
        header: whether the first row of a text file has the names; seen when left out.
        decimal: "." or ","; seen when left out.
        day_first: whether 03/04/2024 is 3 April; seen when left out, where the dates allow.
        missing: a number that stands for a missing value, such as -999.
        fill: missing values become the "previous" value, a "linear" step between neighbours, or "zero".
        sort: put each sequence in the order of its times.
        padding: trailing steps that are all "zero" or all "nan" are padding.
        transpose: rows are features and columns are timesteps.
        unfold: each row is a whole sequence of so many timesteps; ``unfold_order`` is "time" (the features of a step
            side by side) or "feature".
        last: only the last so many timesteps of each sequence.
        window, stride: windows of so many timesteps, one every ``stride``, and the last one.
        pad: zeros up to so many timesteps, at the "end" or the "start" (``pad_where``).
        scaling: to the model's values; a file of means and scales, or a `Scaling`. The result remembers the own units.
        vocabulary: words and ids, for a file of texts; a file, or a `Vocabulary`.
        text_column: the column of texts, where it is not called ``text``, ``review``, ...

    Returns:
        DataArray (sample, time, feature), in float64 from tables and in the file's own precision from arrays; token ids
        are int64 (sample, time). Time has one label per step; where sequences have times of their own, those are in
        a coordinate ``times`` (sample, time). Unequal lengths have a coordinate ``length`` (sample). ``attrs["notes"]``
        lists what was noticed or assumed.

    Raises:
        SequenceFileError: the file cannot be read; says the row and the column.
        InputError: the sequences do not allow what was asked for.
    """
    options = Options(
        id_column=id_column,
        time_column=time_column,
        columns=None if columns is None else tuple(columns),
        array=array,
        header=header,
        decimal=decimal,
        day_first=day_first,
        missing=missing,
        fill=fill,
        sort=sort,
        padding=padding,
        transpose=transpose,
        unfold=unfold,
        unfold_order=unfold_order,
        last=last,
        pad=pad,
        pad_where=pad_where,
        window=window,
        stride=stride,
    )
    if vocabulary is not None:
        if not isinstance(vocabulary, Vocabulary):
            vocabulary = Vocabulary.load(vocabulary)
        reading = read_words(path, vocabulary, text_column)
        sequences = reading.sequences if last is None else last_tokens(reading.sequences, last)
    else:
        reading = read_file(path, options)
        sequences = cut(chosen_columns(reading, options), options)
        if scaling is not None:
            scaling = scaling if isinstance(scaling, Scaling) else Scaling.load(scaling)
            sequences = scaled(sequences, scaling)
    return sequences.assign_attrs(notes=list(reading.notes)) if reading.notes else sequences


def chosen_columns(reading: Reading, options: Options) -> xr.DataArray:
    """The features that were asked for, in that order.

    Raises:
        InputError: there is no such feature.
    """
    if options.columns is None:
        return reading.sequences
    there = [str(name) for name in reading.sequences["feature"].values]
    missing = [name for name in options.columns if name not in there]
    if missing:
        raise InputError(f"There is no column {missing[0]!r}.", where="columns", hint=f"There are: {', '.join(there)}.")
    return reading.sequences.isel(feature=[there.index(name) for name in options.columns])


def read_words(path: str | PathLike[str], vocabulary: Vocabulary, text_column: str | None = None) -> Reading:
    """Texts as token ids (sample, time); the notes list the words that the vocabulary has not.

    Raises:
        SequenceFileError, InputError: there is no text, or nothing of it is in the vocabulary.
    """
    names, texts, notes = read_texts(path, text_column)
    with ending_typed(SequenceFileError, "texts", Path(path).name):
        sequences = encode_texts(texts, vocabulary, names)
    unknown = sequences.attrs["unknown"]
    if unknown:
        listed = ", ".join(f"“{word}”" for word in unknown[:20]) + (
            f" and {len(unknown) - 20} more" if len(unknown) > 20 else ""
        )
        fate = "left out" if vocabulary.unknown is None else f"given the id {vocabulary.unknown}"
        notes.append(f"Not in the vocabulary, so {fate}: {listed}.")
    return Reading(sequences, "Text", notes=(*vocabulary.notes, *notes))


def last_tokens(sequences: xr.DataArray, steps: int) -> xr.DataArray:
    """The last ids of each text (sample, time)."""
    lengths = sequences["length"].values if "length" in sequences.coords else [sequences.sizes["time"]] * len(sequences)
    kept = [slice(max(0, int(length) - steps), int(length)) for length in lengths]
    width = max(each.stop - each.start for each in kept)
    found = sequences.isel(time=slice(0, width)).copy()
    values, tokens = found.values.copy(), found["token"].values.astype(object)
    for i, each in enumerate(kept):
        size = each.stop - each.start
        values[i, :size], tokens[i, :size] = sequences.values[i, each], sequences["token"].values[i, each]
        values[i, size:], tokens[i, size:] = sequences.attrs["padding"], ""
    found = found.copy(data=values).assign_coords(token=(("sample", "time"), tokens.astype(str)))
    sizes = np.array([each.stop - each.start for each in kept])
    found = found.drop_vars("length", errors="ignore")
    return found if (sizes == width).all() else found.assign_coords(length=("sample", sizes))
