"""How the defect of one timestep grows or fades on its way to the output.

With ``M_t`` the multipliers of a layer's states after step t (hidden and cell state together), ``Δs_t`` the states'
difference between the two runs, ``d_t`` the defect of everything in step t, and ``T`` the last step that the layer
reads,

    d_t = ℓ_t · a_t · |M_T|,    a_t = |M_t| / |M_T|,    ℓ_t = d_t / |M_t|

The *local defect* ``ℓ_t`` is in units of the state: the smallest shift of the state at t that would change the output
by the defect. The *amplification* ``a_t`` says how much stronger a shift of the state at t acts on the output than
one of the last state: above 1 it grows on its way, below 1 it fades. ``Σ_t d_t`` over all layers, plus the defects
outside of them, is the method's error.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from explain_core.diagnostics.ledgers import audit
from explain_core.errors import InputError
from explain_core.explanation import Explanation


def compounding(source: Any, *args: Any, **options: Any) -> pd.DataFrame:
    """How the defect of one timestep grows or fades on its way to the output.

    Args:
        source: an `Explanation` of `audit`; or a model, followed by the arguments of `ledger`.

    Returns:
        A row for every sample, (output,) recurrent layer and timestep. Columns:

        - defect: of all parts of that step, in the unit of the output;
        - local: the same in units of the state, ``defect / |M_t|``;
        - relative: ``|local| / |Δs_t|``, the local defect beside the difference that the state carries;
        - amplification: ``|M_t| / |M_T|``;
        - running: the sum of the layer's defects up to this timestep.

        Where no multiplier arrives, nothing is local and relative is 0.
    """
    explanation = source if isinstance(source, Explanation) else audit(source, *args, **options)
    tables = explanation.diagnostics
    if "ledger" not in tables or "steps" not in tables:
        raise InputError("This explanation has no ledger.", hint="Make one with explain_core.diagnostics.audit.")
    return compounded(tables["ledger"], tables["steps"])


def compounded(ledger: pd.DataFrame, steps: pd.DataFrame) -> pd.DataFrame:
    """`compounding` from the tables "ledger" and "steps" of `audit`."""
    of_layer = [name for name in ("sample", "output", "layer") if name in steps.columns]
    recurrent = ledger[ledger["time"].notna()]
    found = []
    for key, rows in steps.groupby(of_layer, sort=False):
        chosen = np.logical_and.reduce([recurrent[n] == v for n, v in zip(of_layer, key, strict=True)])
        # Every part has the same timesteps in order, so positions tell them apart even where labels come twice.
        defect = recurrent.loc[chosen, "defect"].to_numpy().reshape(-1, len(rows)).sum(0)
        multiplier, change = rows["multiplier"].to_numpy(), rows["change"].to_numpy()
        reached = np.flatnonzero(multiplier)
        last = 1.0 if not len(reached) else multiplier[reached[0] if rows["backwards"].iloc[0] else reached[-1]]
        local = np.divide(defect, multiplier, out=np.zeros_like(defect), where=multiplier > 0)
        found.append(
            pd.DataFrame(
                {
                    **{name: rows[name].to_numpy() for name in of_layer},
                    "time": rows["time"].to_numpy(),
                    "defect": defect,
                    "local": local,
                    "relative": np.divide(np.abs(local), change, out=np.zeros_like(local), where=change > 0),
                    "amplification": multiplier / last,
                    "running": np.cumsum(defect),
                }
            )
        )
    columns = [*of_layer, "time", "defect", "local", "relative", "amplification", "running"]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=columns)
