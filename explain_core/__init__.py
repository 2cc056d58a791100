"""PairLift: exact DeepLIFT and DeepSHAP attributions for recurrent and other sequence models.

Importing this imports no framework; explaining a torch model never imports TensorFlow, nor the other way round.
Each public name is imported when it is first used: who starts a process with a module from here waits for that one.
Where the packages of labels are not installed, as on a bare machine with a GPU, only the engines are there:
`explain_core.backends`, which need their framework and NumPy.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from explain_core import diagnostics, errors, methods
    from explain_core.explaining import explain
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

_MODULES = {
    "Explanation": "explain_core.explanation",
    "LoadedModel": "explain_core.models",
    "contrast": "explain_core.preparation.targets",
    "explain": "explain_core.explaining",
    "load_model": "explain_core.models",
    "load_sequences": "explain_core.sequences",
}  # where the public names stand that are no modules themselves


def register_rule(name: str, rule: Any, *, backend: str = "torch") -> None:
    """Give an operation a rule, or replace one; see ``explain_core.backends.<backend>`` for the kinds.

    Args:
        name: the operation as an `UnsupportedOperation` error names it.
        rule: for example ``Rescale(secant)`` or ``Linear()``.
        backend: "torch" or "tensorflow".
    """
    importlib.import_module(f"explain_core.backends.{backend}").register_rule(name, rule)


def __getattr__(name: str) -> Any:
    """A public name, at its first use.

    Raises:
        ImportError: the packages of labels are not installed.
        AttributeError: there is no such name.
    """
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if missing := [package for package in ("pandas", "xarray") if importlib.util.find_spec(package) is None]:
        raise ImportError(f"explain_core.{name} needs {' and '.join(missing)}; explain_core.backends needs neither")
    module = importlib.import_module(_MODULES.get(name, f"{__name__}.{name}"))
    globals()[name] = getattr(module, name) if name in _MODULES else module
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
