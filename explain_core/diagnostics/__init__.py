"""Where the error of a method is made, and how it grows: measurements beside an explanation.

Importing this imports no framework and none of the packages that are compared.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_WHERE = {
    "audit": "explain_core.diagnostics.ledgers",
    "compare": "explain_core.diagnostics.comparison",
    "compounding": "explain_core.diagnostics.growth",
    "conservation": "explain_core.diagnostics.cuts",
    "faithfulness_curves": "explain_core.diagnostics.faithfulness",
    "horizon": "explain_core.diagnostics.horizons",
    "ledger": "explain_core.diagnostics.ledgers",
    "shap_agreement": "explain_core.diagnostics.agreement",
    "parity": "explain_core.diagnostics.two_frameworks",
    "steps": "explain_core.diagnostics.one_step",
}

__all__ = [
    "audit",
    "compare",
    "compounding",
    "conservation",
    "faithfulness_curves",
    "horizon",
    "ledger",
    "parity",
    "shap_agreement",
    "steps",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
