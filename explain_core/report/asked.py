"""What was asked, inside of a report: sequence, baselines and target, to explain them again from the file."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from explain_core.errors import InputError
from explain_core.preparation.targets import Contrast

ELEMENT = "asked"
MOST_BYTES = 12_000_000  # of a request in a report; a larger one is left out
_IN_FILE = re.compile(rf'<script type="application/json" id="{ELEMENT}">(.*?)</script>', re.DOTALL)


@dataclass(frozen=True)
class Asked:
    """The arguments of `explain_core.explain` besides the model. See there."""

    inputs: Any
    baselines: Any = "zeros"
    target: Any = None
    background: bool = False
    output_names: tuple[str, ...] | None = None

    @property
    def options(self) -> dict[str, Any]:
        """All but the inputs, as keywords."""
        names = None if self.output_names is None else list(self.output_names)
        return {
            "baselines": self.baselines,
            "target": self.target,
            "background": self.background,
            "output_names": names,
        }

    def to_json(self) -> str | None:
        """As text; None where it holds something that a file cannot, or more than 12 MB."""
        try:
            parts = {"inputs": _told(self.inputs), **{name: _told(each) for name, each in self.options.items()}}
        except TypeError:
            return None
        text = json.dumps(parts)
        return text if len(text) <= MOST_BYTES else None

    @classmethod
    def of_json(cls, text: str) -> Asked:
        """What `to_json` wrote. Nothing in it is run.

        Raises:
            InputError: it is something else.
        """
        try:
            told = {name: _untold(each) for name, each in json.loads(text).items()}
            names = told.pop("output_names")
            return cls(**told, output_names=None if names is None else tuple(names))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise InputError(f"What was asked cannot be read: {error}", hint="Use the report as it was made.") from None


def asked_in(path: str | os.PathLike) -> Asked:
    """What was asked, out of a report.

    Raises:
        InputError: there is no such file, or it is no report that holds it.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The report cannot be read: {error}", where=str(path)) from None
    found = _IN_FILE.search(text)
    if found is None:
        raise InputError("This file does not hold what was asked.", where=str(path), hint="Give a report of PairLift.")
    return Asked.of_json(found[1])


def _told(value: Any) -> Any:
    """A value for JSON.

    Raises:
        TypeError: there is no form for it.
    """
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, np.integer | np.floating):
        return value.item()
    if isinstance(value, np.ndarray):
        return {"kind": "array", **_told_array(value)}
    if isinstance(value, xr.DataArray):
        coords = {str(name): [list(each.dims), _told_array(each.values)] for name, each in value.coords.items()}
        name = None if value.name is None else str(value.name)
        dims = [str(dim) for dim in value.dims]
        return {"kind": "labelled", "name": name, "dims": dims, "coords": coords, **_told_array(value.values)}
    if isinstance(value, Contrast):
        return {"kind": "contrast", "of": [_told(value.target), _told(value.against)]}
    if isinstance(value, Mapping):
        return {"kind": "dict", "of": [[_told(key), _told(each)] for key, each in value.items()]}
    if isinstance(value, tuple | list):
        return {"kind": type(value).__name__, "of": [_told(each) for each in value]}
    raise TypeError(f"there is no form for {type(value).__name__}")


def _told_array(array: np.ndarray) -> dict[str, Any]:
    if array.dtype.kind == "O":
        array = array.astype(np.str_)
    if array.dtype.kind not in "biufMmU":
        raise TypeError(f"there is no form for an array of {array.dtype}")
    if array.dtype.kind == "U":
        return {"dtype": "text", "shape": array.shape, "texts": array.ravel().tolist()}
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return {"dtype": little.dtype.str, "shape": array.shape, "data": base64.b64encode(little.tobytes()).decode("ascii")}


def _untold(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    kind = value["kind"]
    if kind == "array":
        return _untold_array(value)
    if kind == "labelled":
        coords = {name: (dims, _untold_array(each)) for name, (dims, each) in value["coords"].items()}
        return xr.DataArray(_untold_array(value), coords, value["dims"], value["name"])
    if kind == "contrast":
        return Contrast(*(_untold(each) for each in value["of"]))
    if kind == "dict":
        return {_untold(key): _untold(each) for key, each in value["of"]}
    return {"tuple": tuple, "list": list}[kind](_untold(each) for each in value["of"])


def _untold_array(told: dict[str, Any]) -> np.ndarray:
    if told["dtype"] == "text":
        return np.array(told["texts"], dtype=np.str_).reshape(told["shape"])
    dtype = np.dtype(told["dtype"])
    if dtype.kind not in "biufMm":
        raise TypeError(f"an array of {dtype}")
    return np.frombuffer(base64.b64decode(told["data"]), dtype).reshape(told["shape"]).astype(dtype.newbyteorder("="))
