"""Whether the emulated gradient fallback is what the installed shap package really returns."""

from __future__ import annotations

from typing import Any

import numpy as np

from explain_core.diagnostics.ledgers import audit
from explain_core.errors import InputError
from explain_core.explanation import Explanation, by_name
from explain_core.methods import explain_with


def shap_agreement(source: Any, model: Any, *args: Any, **options: Any) -> dict[str, Any]:
    """Compare the emulation, element by element, with shap's own DeepExplainer run on the same model.

    Args:
        source: an `Explanation` of `audit` with ``method="shap"``, or None to make it.
        model, args, options: as in `explain_core.explain`, the same that ``source`` was made with.

    Returns:
        "difference" (the largest of any attribution), "scale" (the largest attribution), "relative" (the one over the
        other) and "library" (name and version).

    Raises:
        MethodError: shap fails on the model; says how.
    """
    emulated = source if source is not None else audit(model, *args, method="shap", **options)
    if not isinstance(emulated, Explanation) or emulated.attrs.get("ledger_method") != "shap":
        raise InputError("The explanation to compare is not that of shap's fallback.", hint='Use method="shap".')
    own = explain_with("deep_explainer", model, *args, **options)
    difference = scale = 0.0
    theirs = by_name(own.attributions)
    for name, ours in by_name(emulated.attributions).items():
        given = theirs[name].values.astype(np.float64)
        difference = max(difference, float(np.abs(ours.values - given).max(initial=0.0)))
        scale = max(scale, float(np.abs(given).max(initial=0.0)))
    relative = difference / scale if scale else difference
    return {"difference": difference, "scale": scale, "relative": relative, "library": own.attrs["library"]}
