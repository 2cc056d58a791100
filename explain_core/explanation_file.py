"""An `Explanation` as a NetCDF 4 file, and back without trusting the file.

Groups: the root has the predictions, ``inputs/<i>``, ``gates/<i>`` and ``diagnostics/<i>`` one input, recurrent layer
or table each.
Names are attributes, since a name may hold a slash. Notes and attrs are JSON text. Dates are whole numbers
with CF units, which other programs read as dates and which lose nothing.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from explain_core.errors import ExplanationFileError
from explain_core.explanation import Explanation, by_name
from explain_core.table_file import from_table, to_table

_FORMAT = "pairlift explanation"
_VERSION = 1
_CF_UNITS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
_DTYPE = "original_dtype"
_MOST_PADDING = 2**16  # bytes of one label; a selection keeps the width of the longest label it came from
_REMAKE = "Make a new file with Explanation.save."


def save(explanation: Explanation, path: str | os.PathLike) -> None:
    """Write ``explanation`` to ``path``; an existing file is replaced only once the new one is complete.

    Raises:
        ExplanationFileError: there is no such folder.
    """
    if not Path(path).parent.is_dir():
        raise ExplanationFileError(
            f"there is no folder {str(Path(path).parent)!r} to save in", where=str(path), hint="Make it first."
        )
    root = xr.Dataset(
        {
            "prediction": explanation.prediction,
            "baseline_prediction": explanation.baseline_prediction,
            "notes": ((), json.dumps(explanation.notes)),
            "attrs": ((), json.dumps(explanation.attrs)),
        },
        attrs={
            "format": _FORMAT,
            "version": _VERSION,
            "several_inputs": int(isinstance(explanation.attributions, dict)),
        },
    )
    groups = {"/": _encode(root)}
    values, baselines = by_name(explanation.inputs), by_name(explanation.baselines)
    for i, (name, attribution) in enumerate(by_name(explanation.attributions).items()):
        arrays = {"attribution": attribution, "value": values[name], "baseline": baselines[name]}
        if name in explanation.embedding_attributions:
            arrays["embedding_attribution"] = explanation.embedding_attributions[name]
        groups[f"/inputs/{i}"] = _encode(xr.Dataset(arrays, attrs={"name": name}))
    for i, (name, gates) in enumerate(explanation.gates.items()):
        groups[f"/gates/{i}"] = _encode(gates.assign_attrs(name=name))
    for i, (name, table) in enumerate(explanation.diagnostics.items()):
        groups[f"/diagnostics/{i}"] = _encode(from_table(table).assign_attrs(name=name))

    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        xr.DataTree.from_dict(groups).to_netcdf(unfinished, engine="h5netcdf")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def load(path: str | os.PathLike) -> Explanation:
    """Read a file that `save` wrote.

    Raises:
        ExplanationFileError: the file is missing, damaged, or not one of ours.
    """
    _refuse_foreign(path)
    try:
        return _read(path)
    except (OSError, LookupError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise _error(path, f"The file is damaged: {error}") from error


def _read(path: str | os.PathLike) -> Explanation:
    with xr.open_datatree(
        path, engine="h5netcdf", decode_times=False, decode_timedelta=False, mask_and_scale=False
    ) as tree:
        root = _decode(tree.to_dataset())
        inputs = [_decode(tree[f"inputs/{i}"].to_dataset()) for i in range(len(tree["inputs"].children))]
        gates, tables = (
            [_decode(tree[f"{group}/{i}"].to_dataset()) for i in range(len(tree[group].children))]
            if group in tree
            else []
            for group in ("gates", "diagnostics")
        )

    def of_each(variable: str, groups: list[xr.Dataset]) -> dict[str, xr.DataArray]:
        named = ((str(group.attrs["name"]), group[variable]) for group in groups)
        return {name: _needed_coords(array).rename(name) for name, array in named}

    def one_or_dict(variable: str) -> Any:
        arrays = of_each(variable, inputs)
        return arrays if root.attrs["several_inputs"] else next(iter(arrays.values()))

    embedded = [group for group in inputs if "embedding_attribution" in group]
    return Explanation(
        attributions=one_or_dict("attribution"),
        inputs=one_or_dict("value"),
        baselines=one_or_dict("baseline"),
        prediction=root["prediction"],
        baseline_prediction=root["baseline_prediction"],
        gates={str(layer.attrs.pop("name")): layer for layer in gates},
        embedding_attributions=of_each("embedding_attribution", embedded),
        notes=json.loads(root["notes"].item()),
        attrs=json.loads(root["attrs"].item()),
        diagnostics={str(table.attrs["name"]): to_table(table) for table in tables},
    )


def _needed_coords(array: xr.DataArray) -> xr.DataArray:
    """Without coordinates of axes that the array has not."""
    return array.drop_vars([name for name, coord in array.coords.items() if not set(coord.dims) <= set(array.dims)])


def _encode(dataset: xr.Dataset) -> xr.Dataset:
    """In types that NetCDF has, each with its original type as an attribute."""
    encoded = {name: _encode_variable(variable) for name, variable in dataset.variables.items()}
    coords = {name: encoded.pop(name) for name in dataset.coords}
    return xr.Dataset(encoded, coords, dataset.attrs)


def _encode_variable(variable: xr.Variable) -> xr.Variable:
    data, attrs = variable.values, {_DTYPE: variable.dtype.str}
    if data.dtype.kind in "mM":
        unit = _CF_UNITS[np.datetime_data(data.dtype)[0]]
        attrs["units"] = f"{unit} since 1970-01-01" if data.dtype.kind == "M" else unit
        data = data.astype(np.int64)
    elif data.dtype == np.float16:  # every value survives the way to float32 and back
        data = data.astype(np.float32)
    return xr.Variable(variable.dims, data, attrs)


def _decode(dataset: xr.Dataset) -> xr.Dataset:
    """Undo `_encode`; also takes everything into memory."""
    decoded = {}
    for name, variable in dataset.variables.items():
        dtype = np.dtype(variable.attrs[_DTYPE])
        data = variable.values.astype(np.str_) if dtype.kind == "U" else variable.values
        if dtype.kind not in "iufMmU" or dtype.itemsize > max(data.itemsize, _MOST_PADDING):
            raise ValueError(f"{name} has the type {dtype}")
        data = data.astype(dtype)
        decoded[name] = (variable.dims, data)
    coords = {name: decoded.pop(name) for name in dataset.coords}
    used = {dim for dims, _ in decoded.values() for dim in dims}
    # A group has the root's coordinates too, also of an axis that it lacks.
    coords = {name: coord for name, coord in coords.items() if used.issuperset(coord[0])}
    return xr.Dataset(decoded, coords, dataset.attrs)


def _refuse_foreign(path: str | os.PathLike) -> None:
    """Only a file of ours goes on to be read, and only one that does not point at other files.

    HDF5 can link to other files, map their bytes into an array, and declare arrays far larger than the file.
    `save` does none of that.
    """
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") != _FORMAT:
                raise _error(path, "This is an HDF5 file, but not an explanation.")
            version = int(np.ravel(file.attrs["version"])[0])
            if version != _VERSION:
                raise _error(path, f"The file has version {version} of the format; this program reads {_VERSION}.")
            declared = _declared_bytes(file, path)
    except FileNotFoundError:
        raise _error(path, "There is no such file.") from None
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise _error(path, f"This is not an explanation: {error}") from None
    if declared > 2 * os.path.getsize(path) + 2**20:
        raise _error(path, f"The file declares {declared:,} bytes of arrays, more than it can hold.")


def _declared_bytes(group: h5py.Group, path: str | os.PathLike) -> int:
    total = 0
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise _error(path, f"{name} is a link, which no explanation has.")
        item = group[name]
        if isinstance(item, h5py.Group):
            total += _declared_bytes(item, path)
        elif item.external or item.is_virtual or item.compression:
            raise _error(path, f"{name} is stored in a way that no explanation is.")
        else:
            total += item.nbytes
    return total


def _error(path: str | os.PathLike, what: str) -> ExplanationFileError:
    return ExplanationFileError(what, where=Path(path).name, hint=_REMAKE)
