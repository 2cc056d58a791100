"""Arrays of more axes than a sequence has, such as images in time, from NPY and NPZ files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from explain_core.errors import Fix, SequenceFileError
from explain_core.sequences.arrays import read_array, read_entries
from explain_core.sequences.contents import Contents, read_bytes
from explain_core.sequences.labelled import numbered
from explain_core.sequences.reading import Reading
from explain_core.untrusted.last_boundary import ending_typed

_PLACES = ("height", "width", "depth")


def grid_dims(axes: int, *, in_time: bool, channels_last: bool) -> tuple[str, ...]:
    """Names for the axes of an input: samples, time where there is, channels where there is room for them, places."""
    before = ("sample", "time") if in_time else ("sample",)
    rest = axes - len(before)
    if rest <= 2:
        return (*before, *_PLACES[:rest])
    places = tuple(_PLACES[i] if i < len(_PLACES) else f"place {i + 1}" for i in range(rest - 1))
    return (*before, *places, "channel") if channels_last else (*before, "channel", *places)


def read_grid(path: Path, dims: tuple[str, ...], array: str | None = None) -> Reading:
    """The samples of an array with these axes; one without that of the samples is one sample.

    Args:
        array: of an NPZ file with several; None is the only one that fits.

    Raises:
        SequenceFileError: it is damaged, of another kind, has no such array, or values are missing.
    """
    with ending_typed(SequenceFileError, "arrays", path.name):
        return _read(Contents(read_bytes(path), path.name, path.stem), dims, array)


def _read(file: Contents, dims: tuple[str, ...], array: str | None) -> Reading:
    wanted = f"({', '.join(dims)})"
    if file.data.startswith(b"\x93NUMPY"):
        arrays, title = {"": read_array(file.data, file.where)}, "NumPy array (NPY)"
    elif file.data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        arrays, title = read_entries(file.data, file.where), "NumPy arrays (NPZ)"
    else:
        raise SequenceFileError(
            f"The model takes arrays of {len(dims)} axes, such as images, and the file is no array of NumPy.",
            where=file.where,
            hint=f"Give an .npy or .npz file with an array {wanted}.",
        )
    fits = {
        name: each
        for name, each in arrays.items()
        if each.dtype.kind in "fiub" and each.ndim in (len(dims), len(dims) - 1) and each.size
    }
    whole = {name: each for name, each in fits.items() if each.ndim == len(dims)}
    found = {array: fits[array]} if array in fits else whole or fits
    if not found:
        shapes = ", ".join(f"{name} {each.shape}".strip() for name, each in list(arrays.items())[:6])
        raise SequenceFileError(
            f"The model takes arrays of {len(dims)} axes, and the file has {shapes}.",
            where=file.where,
            hint=f"Give an array {wanted}, or one sample without the first axis.",
        )
    if len(found) > 1:
        raise SequenceFileError(
            f"The file has several arrays: {', '.join(f'{name} {each.shape}' for name, each in found.items())}.",
            where=file.where,
            hint="Choose one of them.",
            fixes=tuple(Fix(f"Take {name!r}", {"array": name}) for name in list(found)[:6]),
        )
    ((_, values),) = found.items()
    values = values if values.ndim == len(dims) else values[None]
    if values.dtype.kind != "f" or values.dtype.itemsize not in (4, 8):
        values = values.astype(np.float32)
    if not np.isfinite(values).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
        raise SequenceFileError(
            f"The array holds {values[place]} at index {place}.",
            where=file.where,
            hint="Fill or drop missing values as for the model's training.",
        )
    coords: dict = {"sample": numbered(file.stem, len(values))}
    if "time" in dims:
        coords["time"] = np.arange(1, values.shape[dims.index("time")] + 1)
    sequences = xr.DataArray(values, coords, dims, "x")
    return Reading(sequences, title, choices=tuple(name for name in fits if name))
