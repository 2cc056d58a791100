"""Conservation: what a recurrent layer's states carry at every timestep, and where it goes.

A cut through a layer after step t meets its states. Their *mass* ``M_t = Σ m_h·Δh_t + Σ m_c·Δc_t`` is what they carry
of the output's difference; ``m_h`` and ``m_c`` come from the layer's outputs and from step t+1. Step t has to account
for it: as contributions of its gates, ``Σ m_pre·Δpre``, and as the carry that goes on to the states before. What is
left is the defect of the step. Exact rules leave rounding at every cut; for other methods the leaks add up over time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from explain_core.diagnostics.ledgers import audit
from explain_core.explanation import Explanation, own_steps
from explain_core.explanation import conservation as left_over

_ROUNDING = 1e-6  # of what is carried past a step; more is never left out as padding


def conservation(source: Any, *args: Any, **options: Any) -> pd.DataFrame:
    """The mass that each recurrent layer carries at every timestep, and what its steps do not account for.

    Args:
        source: an `Explanation` with gates, from `explain_core.explain` or from `audit`; or a model, followed by the
            arguments of `ledger`, of which ``method`` is this program's own where it is not given.

    Returns:
        A row for every sample, output, layer and timestep, without padding (see `ledger`). Columns: sample, output,
        layer, time, mass, accounted (contributions of the gates and carry), residual (mass minus accounted: the defect
        of the step), leaked (the sum of residuals up to this timestep). All in the unit of the output.
    """
    if isinstance(source, Explanation):
        explanation = source
    else:
        options = options if len(args) > 3 else {"method": "paired", **options}
        explanation = audit(source, *args, **options)
    tables = [
        _table(explanation, name, gates, row, column)
        for name, gates in explanation.gates.items()
        for row in range(len(explanation.samples))
        for column in range(len(explanation.outputs))
    ]
    columns = ["sample", "output", "layer", "time", "mass", "accounted", "residual", "leaked"]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


def _table(explanation: Explanation, layer: str, gates: xr.Dataset, row: int, column: int) -> pd.DataFrame:
    one = gates[["contribution", "carry", "mass"]].isel(sample=row)
    shown = own_steps(one)
    one = one.isel(output=column) if "output" in one.dims else one
    mass = one["mass"].values.astype(np.float64)
    residual = left_over(one).values
    lost = np.flatnonzero(np.abs(residual) > _ROUNDING * abs(one["carry"]).sum("unit").values)
    own = slice(0, max(shown, int(lost[-1]) + 1 if lost.size else 0))
    mass, residual = mass[own], residual[own]
    return pd.DataFrame(
        {
            "sample": explanation.samples[row],
            "output": explanation.outputs[column],
            "layer": layer,
            "time": one["time"].values[own],
            "mass": mass,
            "accounted": mass - residual,
            "residual": residual,
            "leaked": np.cumsum(residual),
        }
    )
