"""An `Explanation` as a NetCDF 4 file, and back without trusting the file.

Groups: the root has the predictions, ``inputs/<i>``, ``gates/<i>`` and ``diagnostics/<i>`` one input, recurrent layer
or table each.
Names are attributes, since a name may hold a slash. Notes and attrs are JSON text. Dates are whole numbers
with CF units, which other programs read as dates and which lose nothing. An axis or coordinate whose name
NetCDF does not carry is called ``name_<i>`` there, and the root's attribute ``names`` has its own name; labels
that it does not carry are JSON text each.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import h5py
import numpy as np
import xarray as xr

from explain_core.errors import ExplanationFileError
from explain_core.explanation.arrays import by_name
from explain_core.explanation.table_file import from_table, to_table

if TYPE_CHECKING:
    from explain_core.explanation.result import Explanation

_FORMAT = "pairlift explanation"
_VERSION, _VERSION_WITH_NAMES = 1, 2
_CF_UNITS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
_DTYPE = "original_dtype"
_MOST_PADDING = 2**16  # bytes of one label; a selection keeps the width of the longest label it came from
_ESCAPED = "escaped"
_CARRIED = re.compile(r"\w[\w.+@-]*")  # names that NetCDF and its programs carry as they are
_NOT_TEXT = re.compile(r"[\0\ud800-\udfff]")  # what text in HDF5 cannot hold
_REMAKE = "Make a new file with Explanation.save."


def write(explanation: Explanation, path: str | os.PathLike) -> None:
    """Write ``explanation`` to ``path``; an existing file is replaced only once the new one is complete.

    Raises:
        ExplanationFileError: there is no such folder, nothing can be written there, or something is kept in ``attrs``
            or a table that JSON does not have.
    """
    path = _path(path, "save to")
    if not os.path.isdir(path.parent):
        raise ExplanationFileError(
            f"there is no folder {str(path.parent)!r} to save in", where=str(path), hint="Make it first."
        )
    root = xr.Dataset(
        {
            "prediction": explanation.prediction,
            "baseline_prediction": explanation.baseline_prediction,
            "notes": ((), _json(explanation.notes, "the notes")),
            "attrs": ((), _json(explanation.attrs, "attrs")),
        },
        attrs={
            "format": _FORMAT,
            "version": _VERSION,
            "several_inputs": int(isinstance(explanation.attributions, dict)),
        },
    )
    groups = {"/": root}
    values, baselines = by_name(explanation.inputs), by_name(explanation.baselines)
    for i, (name, attribution) in enumerate(by_name(explanation.attributions).items()):
        arrays = {"attribution": attribution, "value": values[name], "baseline": baselines[name]}
        if name in explanation.embedding_attributions:
            arrays["embedding_attribution"] = explanation.embedding_attributions[name]
        groups[f"/inputs/{i}"] = xr.Dataset(arrays, attrs={"name": name})
    for i, (name, gates) in enumerate(explanation.gates.items()):
        groups[f"/gates/{i}"] = gates.assign_attrs(name=name)
    for i, (name, table) in enumerate(explanation.diagnostics.items()):
        try:
            groups[f"/diagnostics/{i}"] = from_table(table).assign_attrs(name=name)
        except TypeError as error:
            raise _not_kept(f"the table {name!r}", error) from error

    written = _written_names(groups.values())
    groups = {place: _encode(group, written) for place, group in groups.items()}
    if written:
        own = json.dumps({short: name for name, short in written.items()})
        groups["/"] = groups["/"].assign_attrs(version=_VERSION_WITH_NAMES, names=own)
    unfinished = path.with_name(f".{uuid4().hex}.part")
    try:
        xr.DataTree.from_dict(groups).to_netcdf(unfinished, engine="h5netcdf")
        unfinished.replace(path)
    except OSError as error:
        raise ExplanationFileError(
            f"nothing can be written there: {error.strerror or error}",
            where=str(path),
            hint="Save to a folder in which you may write, under a name that the file system takes.",
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)


def _path(path: Any, what: str) -> Path:
    """A path of a file.

    Raises:
        ExplanationFileError: it is none, or that of a folder.
    """
    hint = 'Give the path of a file, such as "run.nc".'
    try:
        found = Path(os.fsdecode(path))
    except TypeError:
        raise ExplanationFileError(f"the path to {what} is {path!r}, and it is text", hint=hint) from None
    if not found.name:
        raise ExplanationFileError(f"the path to {what} is {str(path)!r}, which names no file", hint=hint)
    if os.path.isdir(found):
        raise ExplanationFileError(f"{str(found)!r} is a folder", where=str(found), hint=hint)
    return found


def _json(value: Any, what: str) -> str:
    try:
        return json.dumps(value)
    except TypeError as error:
        raise _not_kept(what, error) from error


def _not_kept(what: str, error: TypeError) -> ExplanationFileError:
    return ExplanationFileError(
        f"a file cannot keep {what}: {error}",
        where=what,
        hint="Keep numbers, text, truth values, None, and lists and dicts of them there.",
    )


def _written_names(groups: Iterable[xr.Dataset]) -> dict[str, str]:
    """What names that NetCDF does not carry are called in the file."""
    of_axes, of_groups = {}, {}
    for group in groups:
        of_axes |= dict.fromkeys([*map(str, group.dims), *map(str, group.variables)])
        of_groups |= dict.fromkeys([str(group.attrs.get("name", ""))])
    odd = [name for name in of_axes if not _CARRIED.fullmatch(name)]
    odd += [name for name in of_groups if _NOT_TEXT.search(name) and name not in odd]
    free = (f"name_{i}" for i in range(len(odd) + len(of_axes) + len(of_groups)))
    return dict(zip(odd, (short for short in free if short not in of_axes and short not in of_groups), strict=False))


def read(path: str | os.PathLike) -> dict[str, Any]:
    """The fields of the `Explanation` in a file that `write` wrote.

    Raises:
        ExplanationFileError: the file is missing, damaged, or not one of ours.
    """
    path = _path(path, "load")
    _refuse_foreign(path)
    try:
        return _read(path)
    except (OSError, LookupError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise _error(path, f"The file is damaged: {error}") from error


def _read(path: str | os.PathLike) -> dict[str, Any]:
    with xr.open_datatree(
        path, engine="h5netcdf", decode_times=False, decode_timedelta=False, mask_and_scale=False
    ) as tree:
        names = json.loads(tree.attrs.get("names", "{}"))
        root = _decode(tree.to_dataset(), names)
        inputs = [_decode(tree[f"inputs/{i}"].to_dataset(), names) for i in range(len(tree["inputs"].children))]
        gates, tables = (
            [_decode(tree[f"{group}/{i}"].to_dataset(), names) for i in range(len(tree[group].children))]
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
    return {
        "attributions": one_or_dict("attribution"),
        "inputs": one_or_dict("value"),
        "baselines": one_or_dict("baseline"),
        "prediction": root["prediction"],
        "baseline_prediction": root["baseline_prediction"],
        "gates": {str(layer.attrs.pop("name")): layer for layer in gates},
        "embedding_attributions": of_each("embedding_attribution", embedded),
        "notes": json.loads(root["notes"].item()),
        "attrs": json.loads(root["attrs"].item()),
        "diagnostics": {str(table.attrs["name"]): to_table(table) for table in tables},
    }


def _needed_coords(array: xr.DataArray) -> xr.DataArray:
    """Without coordinates of axes that the array has not."""
    return array.drop_vars([name for name, coord in array.coords.items() if not set(coord.dims) <= set(array.dims)])


def _encode(dataset: xr.Dataset, names: Mapping[Any, str]) -> xr.Dataset:
    """In types that NetCDF has, each with its original type as an attribute, and under names that it carries."""
    encoded = {names.get(name, name): _encode_variable(v, names) for name, v in dataset.variables.items()}
    coords = {short: encoded.pop(short) for short in (names.get(name, name) for name in dataset.coords)}
    return xr.Dataset(encoded, coords, _renamed(dataset.attrs, names))


def _renamed(attrs: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The attributes of a group with its name as ``names`` has it."""
    return {key: names.get(str(value), value) if key == "name" else value for key, value in attrs.items()}


def _encode_variable(variable: xr.Variable, names: Mapping[Any, str]) -> xr.Variable:
    data, attrs = variable.values, {_DTYPE: variable.dtype.str}
    if data.dtype.kind in "mM":
        unit = _CF_UNITS[np.datetime_data(data.dtype)[0]]
        attrs["units"] = f"{unit} since 1970-01-01" if data.dtype.kind == "M" else unit
        data = data.astype(np.int64)
    elif data.dtype == np.float16:  # every value survives the way to float32 and back
        data = data.astype(np.float32)
    elif data.dtype.kind == "U" and any(map(_NOT_TEXT.search, data.ravel().tolist())):
        attrs[_ESCAPED] = 1
        data = np.array([json.dumps(text) for text in data.ravel().tolist()]).reshape(data.shape)
    return xr.Variable([names.get(dim, dim) for dim in variable.dims], data, attrs)


def _decode(dataset: xr.Dataset, names: Mapping[Any, str]) -> xr.Dataset:
    """Undo `_encode`; also takes everything into memory."""
    decoded = {}
    for name, variable in dataset.variables.items():
        dtype = np.dtype(variable.attrs[_DTYPE])
        data = variable.values.astype(np.str_) if dtype.kind == "U" else variable.values
        if variable.attrs.get(_ESCAPED):
            data = np.array([json.loads(text) for text in data.ravel().tolist()], np.str_).reshape(data.shape)
        if dtype.kind not in "iufMmU" or dtype.itemsize > max(data.itemsize, _MOST_PADDING):
            raise ValueError(f"{name} has the type {dtype}")
        data = data.astype(dtype)
        decoded[names.get(name, name)] = (tuple(names.get(dim, dim) for dim in variable.dims), data)
    coords = {name: decoded.pop(name) for name in (names.get(short, short) for short in dataset.coords)}
    used = {dim for dims, _ in decoded.values() for dim in dims}
    # A group has the root's coordinates too, also of an axis that it lacks.
    coords = {name: coord for name, coord in coords.items() if used.issuperset(coord[0])}
    return xr.Dataset(decoded, coords, _renamed(dataset.attrs, names))


def _refuse_foreign(path: str | os.PathLike) -> None:
    """Only a file of ours goes on to be read, and only one that does not point at other files.

    HDF5 can link to other files, map their bytes into an array, and declare arrays far larger than the file.
    `write` does none of that.
    """
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") != _FORMAT:
                raise _error(path, "This is an HDF5 file, but not an explanation.")
            version = int(np.ravel(file.attrs["version"])[0])
            if version not in (_VERSION, _VERSION_WITH_NAMES):
                known = f"{_VERSION} and {_VERSION_WITH_NAMES}"
                raise _error(path, f"The file has version {version} of the format; this program reads {known}.")
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
