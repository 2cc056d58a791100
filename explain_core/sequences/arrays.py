"""NPY and NPZ files: plain arrays of numbers, whose size is known before anything is allocated."""

from __future__ import annotations

import io
import re
import tokenize
import warnings
from math import prod

import numpy as np
import pandas as pd
import xarray as xr

from explain_core.errors import Fix, SequenceFileError
from explain_core.sequences.contents import Contents, Found
from explain_core.sequences.labelled import label, label_ragged, numbered
from explain_core.sequences.numbers import fill_fixes, filled, further
from explain_core.sequences.options import MAX_BYTES, MAX_CELLS, Options
from explain_core.sequences.table import Table, row_numbers
from explain_core.sequences.times import OUT_OF_CALENDAR, in_calendar
from explain_core.untrusted.zip_reader import ZipError, open_zip
from explain_core.words import counted

_USUAL = ("x", "sequences", "sequence", "data", "inputs", "input", "values", "features", "series", "arr_0")
_MASKS = ("mask", "masks", "attention_mask", "valid")
_LENGTHS = ("lengths", "length", "lens", "seq_len", "seq_lens", "sequence_lengths")
_FEATURE_NAMES = ("feature_names", "features", "columns", "names_of_features")
_SAMPLE_NAMES = ("names", "ids", "id", "sample_names")
_TIMES = ("time", "times", "dates", "timestamps", "t")
_MAX_ENTRIES = 1000
_FINE = ("ns", "ps", "fs", "as")
_MOST_AXES = 32
_LONGEST_HEADER = 2**20  # bytes; NumPy itself takes 10,000


def read_npy(file: Contents, options: Options) -> Found:
    """The array of an NPY file as sequences (sample, time, feature); one of records with names as a table.

    Raises:
        SequenceFileError: it is damaged, holds objects, or is of a shape that no sequences have.
    """
    values = read_array(file.data, file.where)
    is_table = values.dtype.names and values.ndim == 1 and values.size
    return Found(_as_table(values, file.where) if is_table else as_sequences(values, file.where, file.stem, options))


def read_npz(file: Contents, options: Options) -> Found:
    """The sequences of an NPZ file, the names of the arrays to choose among, and what was noteworthy.

    A mask (sample, time), lengths (sample,), and names of features, samples and timesteps are taken by their names.

    Raises:
        SequenceFileError: it is damaged, too large, holds objects, or it cannot be told which array is meant.
    """
    where = file.where
    arrays = read_entries(file.data, where)
    chosen = _choose(arrays, where, options)
    values = arrays[chosen]
    used = {chosen}

    def take(names: tuple[str, ...], *shapes: tuple[int, ...], kind: str = "biufSUM") -> np.ndarray | None:
        for name, array in arrays.items():
            if name not in used and name.lower() in names and array.shape in shapes and array.dtype.kind in kind:
                used.add(name)
                return array
        return None

    samples, steps, features = {1: (1, *values.shape, 1), 2: (1, *values.shape)}.get(values.ndim, values.shape[-3:])
    mask = take(_MASKS, (samples, steps), (samples, steps, 1), kind="biuf")
    lengths = take(_LENGTHS, (samples,), kind="iu")
    if mask is not None:
        lengths = lengths_of_mask(mask.reshape(samples, steps), where)
    if lengths is not None and not ((lengths >= 1) & (lengths <= steps)).all():
        raise SequenceFileError(
            f"A length is {int(lengths[(lengths < 1) | (lengths > steps)][0])}, and the array has "
            f"{counted(steps, 'timestep')}.",
            where=where,
        )
    found = as_sequences(values, where, file.stem, options, lengths)
    names = take(_FEATURE_NAMES, (features,), kind="SU")
    if names is not None and len(set(texts := _texts(names, where))) == features:
        found = found.assign_coords(feature=texts)
    names = take(_SAMPLE_NAMES, (samples,), kind="SUiu")
    if names is not None and len(set(texts := _texts(names, where))) == samples:
        found = found.assign_coords(sample=texts)
    times = take(_TIMES, (steps,))
    if times is not None and times.dtype.kind in "SU":
        times = np.array(_texts(times, where))
    if times is not None and len(set(times.tolist())) == steps:
        times = times[: found.sizes["time"]]
        found = found.assign_coords(time=_dates(times, where) if times.dtype.kind == "M" else times)
    unused = [name for name in arrays if name not in used]
    notes = [f"Not used of the file: {', '.join(unused[:8])}{', ...' if len(unused) > 8 else ''}."] if unused else []
    return Found(found, tuple(name for name, array in arrays.items() if _may_be_sequences(array)), tuple(notes))


def read_array(data: bytes | memoryview, where: str) -> np.ndarray:
    """A plain array from the content of an NPY file, without a copy. Its header is checked before its values are read.

    Raises:
        SequenceFileError: it is damaged, holds objects, or is larger than it may be.
    """
    file = io.BytesIO(data[:_LONGEST_HEADER])
    try:
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python 2, whose headers are read all the same
            shape, by_column, dtype = read_header(file)
        _check_names(dtype)
    except (ValueError, EOFError, SyntaxError, TypeError, RecursionError, MemoryError, tokenize.TokenError) as error:
        raise SequenceFileError(f"The NPY file is damaged or cut off: {_line(error)}", where=where) from None
    if dtype.subdtype is not None:
        raise SequenceFileError(f"The NPY file is damaged: its type is {str(dtype)[:80]}.", where=where)
    if dtype.hasobject:
        raise SequenceFileError(
            "The array holds Python objects, which can run code when read.",
            where=where,
            hint="Save plain numbers: np.save(path, np.asarray(values, dtype=float)).",
        )
    if len(shape) > _MOST_AXES or any(type(axis) is not int or axis < 0 for axis in shape):
        raise SequenceFileError(
            f"The NPY file is damaged: its shape is {str(shape)[:80]}, which no array has.", where=where
        )
    cells = prod(shape)
    if max(shape, default=0) > MAX_CELLS or cells > MAX_CELLS or cells * dtype.itemsize > MAX_BYTES:
        raise SequenceFileError(
            f"The array has shape {str(shape)[:80]}; the limit is {MAX_CELLS:,} numbers.",
            where=where,
            hint="Give the sequences that you want to explain, not the whole data set.",
        )
    wanted, start = cells * dtype.itemsize, file.tell()
    if wanted > len(data) - start:
        raise _cut_off(where, wanted, len(data) - start)
    values = np.frombuffer(data, dtype, cells, start) if wanted else np.empty(cells, dtype)
    array = values.reshape(shape, order="F" if by_column else "C")
    return array.astype(dtype.newbyteorder("="), copy=False)


def _check_names(dtype: np.dtype) -> None:
    for name in dtype.names or ():
        name.encode()  # half of a character is no text: a ValueError
        _check_names(dtype[name])


def as_sequences(
    values: np.ndarray, where: str, stem: str, options: Options, lengths: np.ndarray | None = None
) -> xr.DataArray:
    """An array (time,), (time, feature) or (sample, time, feature) with labels.

    Args:
        lengths: real timesteps of each sample; what follows them is not looked at and becomes zero.

    Raises:
        SequenceFileError: another shape, no numbers, or values that are missing and not to be filled.
    """
    fields = values.dtype.names
    if fields:
        values = _from_fields(values, where)
    if values.dtype.kind not in "fiub":
        raise SequenceFileError(
            f"The array holds {values.dtype}, not numbers.", where=where, hint="Save floats or whole numbers."
        )
    kept = [size for i, size in enumerate(values.shape) if size != 1 or i >= values.ndim - 3]
    if values.ndim > 3 >= len(kept):  # axes of size 1 too many, before those of sequences
        values = values.reshape(kept)
    if not 1 <= values.ndim <= 3 or not values.size:
        raise SequenceFileError(
            f"The array has shape {values.shape}.",
            where=where,
            hint="It must be (time,), (time, feature) or (sample, time, feature), and not empty.",
        )
    axes = values.ndim
    if values.dtype.kind == "f" and values.dtype.itemsize not in (4, 8):
        values = values.astype(np.float32 if values.dtype.itemsize == 2 else np.float64)
    if values.ndim < 3:
        values = values.reshape(1, len(values), -1)
    if lengths is not None:
        values = np.where((np.arange(values.shape[1]) < lengths[:, None])[..., None], values, 0)
    values = _without_gaps(values, axes, where, options)
    names = numbered(stem, len(values))
    features = list(fields) if fields else [f"feature {i + 1}" for i in range(values.shape[2])]
    if lengths is not None and (lengths != values.shape[1]).any():
        return label_ragged([row[:n] for row, n in zip(values, lengths, strict=True)], names, features)
    return label(values, names, np.arange(1, values.shape[1] + 1), features)


def lengths_of_mask(mask: np.ndarray, where: str) -> np.ndarray:
    """Timesteps of each sequence from a mask (sample, time) that is true on real ones.

    Raises:
        SequenceFileError: real steps follow padding, which lengths cannot say.
    """
    real = mask.astype(bool)
    lengths = real.sum(axis=1)
    whole = real == (np.arange(real.shape[1]) < lengths[:, None])
    if not whole.all() or not lengths.all():
        sample, step = (int(i) for i in np.argwhere(~whole)[0]) if not whole.all() else (int(lengths.argmin()), 0)
        raise SequenceFileError(
            "The mask has padding before real timesteps.",
            where=f"{where}, mask, sample {sample + 1}, timestep {step + 1}",
            hint="Padding must stand at the end of each sequence.",
        )
    return lengths


def _without_gaps(values: np.ndarray, axes: int, where: str, options: Options) -> np.ndarray:
    if options.missing is not None and (values == options.missing).any():
        values = np.where(values == options.missing, np.nan, values)
    bad = ~np.isfinite(values)
    if not bad.any() or (options.padding == "nan" and np.isnan(values[bad]).all()):
        return values
    if options.fill is not None and np.isnan(values[bad]).all():
        return np.stack([filled(one, options.fill) for one in values])
    place = tuple(int(i) for i in np.argwhere(bad)[0])
    fixes = fill_fixes() if np.isnan(values[bad]).all() else ()
    if fixes and axes == 3 and bad.all(axis=2).any():
        fixes = (Fix("Missing steps at the end are padding", {"padding": "nan"}), *fixes)
    shown = {1: place[1:2], 2: place[1:]}.get(axes, place)
    raise SequenceFileError(
        f"The array holds {values[place]} at index {shown}{further(int(bad.sum()) - 1, 'missing or infinite')}.",
        where=where,
        hint="Fill or drop missing values as for the model's training.",
        fixes=fixes,
    )


def _from_fields(values: np.ndarray, where: str) -> np.ndarray:
    names = values.dtype.names or ()
    kinds = {values.dtype[name] for name in names}
    if values.ndim != 1 or any(kind.kind not in "fiub" or kind.shape for kind in kinds):
        raise SequenceFileError(
            f"The array is a record of {values.dtype}.", where=where, hint="Save a plain array of numbers."
        )
    return np.stack([values[name] for name in names], axis=1)


def _as_table(values: np.ndarray, where: str) -> Table:
    """Records as a table, whose fields may be times and names as well as numbers."""
    columns = {}
    for name in values.dtype.names or ():
        cells = values[name]
        if cells.ndim > 1 or cells.dtype.kind not in "fiubMUS":
            raise SequenceFileError(
                f"The field is of {cells.dtype}, and must be single numbers.",
                where=f"{where}, field {name!r}",
                hint="Save a plain array of numbers.",
            )
        if cells.dtype.kind == "M":
            cells = _dates(cells, f"{where}, field {name!r}")
        elif cells.dtype.kind in "US":
            cells = np.array(_texts(cells, f"{where}, field {name!r}"), object)
        elif cells.dtype.kind == "f" and cells.dtype.itemsize not in (4, 8):
            cells = cells.astype(np.float64)
        columns[name] = cells
    return Table(pd.DataFrame(columns, index=row_numbers(len(values))), where)


def _texts(values: np.ndarray, where: str) -> list[str]:
    """Text, or whole numbers as text. NumPy keeps any four bytes as a letter, and some are none."""
    try:
        texts = [text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text) for text in values.tolist()]
        "".join(texts).encode()
    except ValueError:
        raise SequenceFileError("The array holds text with letters that do not exist.", where=where) from None
    return texts


def _dates(values: np.ndarray, where: str) -> np.ndarray:
    """Dates to the microsecond, or to the nanosecond where they are that fine."""
    if not in_calendar(values):
        raise SequenceFileError(OUT_OF_CALENDAR, where=where, hint="Give other labels of the timesteps, or none.")
    return values.astype("datetime64[ns]" if np.datetime_data(values.dtype)[0] in _FINE else "datetime64[us]")


def read_entries(data: bytes, where: str) -> dict[str, np.ndarray]:
    """All arrays of the archive; nothing is written anywhere, and no name is used as a path."""
    arrays: dict[str, np.ndarray] = {}
    place = where
    try:
        with open_zip(data) as archive:
            if len(archive.entries) > _MAX_ENTRIES:
                raise SequenceFileError(
                    f"The archive has {len(archive.entries):,} entries; the limit is {_MAX_ENTRIES:,}.", where=where
                )
            archive.require(archive.entries, MAX_BYTES)
            for entry in archive.entries:
                place, name = f"{where}, entry {entry.name[:80]!r}", entry.name.removesuffix(".npy")
                if name == entry.name or re.search(r"\.\.|^[/\\]|\\|:|[\x00-\x1f]", name):
                    raise SequenceFileError(
                        "An NPZ file has no such entry.", where=place, hint="Save it with np.savez."
                    )
                if name in arrays:
                    raise SequenceFileError("The archive has two entries of this name.", where=place)
                arrays[name] = read_array(archive.read(entry), place)
    except ZipError as error:
        raise SequenceFileError(error.what, where=place, hint=error.hint) from None
    if not arrays:
        raise SequenceFileError("The archive is empty.", where=where)
    return arrays


def _may_be_sequences(array: np.ndarray) -> bool:
    return array.dtype.kind in "fiub" and 1 <= array.ndim <= 3 and array.size > 0


def _choose(arrays: dict[str, np.ndarray], where: str, options: Options) -> str:
    if options.array is not None:
        if options.array not in arrays:
            raise SequenceFileError(
                f"There is no array {options.array!r}.", where=where, hint=f"There are: {', '.join(arrays)}."
            )
        return options.array
    beside = {*_MASKS, *_LENGTHS, *_FEATURE_NAMES[:1], *_TIMES}
    possible = {name: array for name, array in arrays.items() if _may_be_sequences(array)}
    if len(possible) > 1:
        possible = {name: array for name, array in possible.items() if name.lower() not in beside} or possible
    most = max((array.ndim for array in possible.values()), default=0)
    likely = [name for name, array in possible.items() if array.ndim == most]
    if len(likely) == 1:
        return likely[0]
    usual = [name for name in likely if name.lower() in _USUAL]
    if len(usual) == 1:
        return usual[0]
    if not likely:
        held = ", ".join(f"{name} {array.dtype}{array.shape}" for name, array in list(arrays.items())[:8])
        raise SequenceFileError("No array of the file can be sequences.", where=where, hint=f"It has {held}.")
    raise SequenceFileError(
        f"The file has several arrays: {', '.join(f'{name} {arrays[name].shape}' for name in likely)}.",
        where=where,
        hint="Choose one by its name: array=...",
        fixes=tuple(Fix(f"Take {name!r}, {_shape(arrays[name])}", {"array": name}) for name in likely[:6]),
    )


def _shape(array: np.ndarray) -> str:
    return " × ".join(str(size) for size in array.shape)


def _cut_off(where: str, wanted: int, found: int) -> SequenceFileError:
    return SequenceFileError(
        f"The NPY file is damaged or cut off: it declares {wanted:,} bytes of values and has {found:,}.",
        where=where,
        hint="Save or copy it again.",
    )


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
