"""PairLift: exact DeepLIFT and DeepSHAP attributions for recurrent and other sequence models.

Importing this imports no framework; explaining a torch model never imports TensorFlow, nor the other way round.
"""

from __future__ import annotations

from typing import Any

from explain_core import diagnostics, errors, methods
from explain_core.explain import explain
from explain_core.explanation import Explanation
from explain_core.models import LoadedModel, load_model
from explain_core.preparation.targets import contrast
from explain_core.sequences import load_sequences

__version__ = "0.1.0"

__all__ = [
    "Explanation",
    "LoadedModel",
    "contrast",
    "diagnostics",
    "errors",
    "explain",
    "load_model",
    "load_sequences",
    "methods",
    "register_rule",
]


def register_rule(name: str, rule: Any, *, backend: str = "torch") -> None:
    """Give an operation a rule, or replace one; see ``explain_core.backends.<backend>`` for the kinds.

    Args:
        name: the operation as an `UnsupportedOperation` error names it.
        rule: for example ``Rescale(secant)`` or ``Linear()``.
        backend: "torch" or "tensorflow".
    """
    import importlib

    importlib.import_module(f"explain_core.backends.{backend}").register_rule(name, rule)
