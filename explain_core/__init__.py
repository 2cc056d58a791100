"""PairLift: exact DeepLIFT and DeepSHAP attributions for recurrent and other sequence models.

Importing this imports no framework; explaining a torch model never imports TensorFlow, nor the other way round.
Where the packages of labels are not installed, as on a bare machine with a GPU, only the engines are there:
`explain_core.backends`, which need their framework and NumPy.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

_MISSING = [name for name in ("pandas", "xarray") if importlib.util.find_spec(name) is None]

if not _MISSING:
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
    importlib.import_module(f"explain_core.backends.{backend}").register_rule(name, rule)


def __getattr__(name: str) -> Any:
    """Why a public name is not there.

    Raises:
        ImportError: the packages of labels are not installed.
        AttributeError: there is no such name.
    """
    if name in __all__:
        raise ImportError(f"explain_core.{name} needs {' and '.join(_MISSING)}; explain_core.backends needs neither")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
