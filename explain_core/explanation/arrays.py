"""Arrays of one or of several inputs, treated alike."""

from __future__ import annotations

from collections.abc import Callable

import xarray as xr

Arrays = xr.DataArray | dict[str, xr.DataArray]


def by_name(arrays: Arrays) -> dict[str, xr.DataArray]:
    """The arrays of one or several inputs as a dict by input name."""
    return arrays if isinstance(arrays, dict) else {str(arrays.name): arrays}


def mapped(function: Callable[[xr.DataArray], xr.DataArray], arrays: Arrays) -> Arrays:
    """What ``function`` makes of each array, in the same form."""
    if isinstance(arrays, dict):
        return {name: function(array) for name, array in arrays.items()}
    return function(arrays)
