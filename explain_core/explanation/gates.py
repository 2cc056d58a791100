"""One recurrent layer of an explanation: what its steps do not account for, and how many are the sample's own."""

from __future__ import annotations

import numpy as np
import xarray as xr


def conservation(gates: xr.Dataset) -> xr.DataArray:
    """What a recurrent layer's steps do not account for, (output,) sample, time; rounding for exact rules.

    ``mass - sum(contribution) - sum(carry)``, summed in float64.
    """
    gates = gates.astype(np.float64)
    given = gates["contribution"].sum(("gate", "unit"), skipna=False)
    return (gates["mass"] - given - gates["carry"].sum("unit", skipna=False)).rename("conservation")


def own_steps(gates: xr.Dataset) -> int:
    """How many of a recurrent layer's timesteps are a sample's own rather than padding after its end.

    Args:
        gates: of one sample, of one or several outputs.

    Returns:
        The length of the sample, where it is known; or up to the last step that any gate had a contribution at, where
        that is later, as in a model that reads its padding too.
    """
    if "length" not in gates.coords:
        return gates.sizes["time"]
    given = gates["contribution"] != 0
    moved = np.flatnonzero(given.any([dim for dim in given.dims if dim != "time"]).values)
    return max(int(gates["length"]), int(moved[-1]) + 1 if moved.size else 0, 1)
