"""One package per framework behind one small protocol; none is imported before it is needed."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType
from typing import Any

from explain_core.errors import BackendError

_PACKAGES = {"torch": ("torch",), "tensorflow": ("tensorflow", "keras")}
"""Backend by name, and the top-level packages whose classes its models are made of."""


#: The names of the backends.
NAMES = tuple(_PACKAGES)

_TITLES = {"torch": "PyTorch", "tensorflow": "TensorFlow"}


def get_backend(name: str, model: Any) -> ModuleType:
    """The backend package for a model.

    Args:
        name: "torch", "tensorflow", or "auto" to go by the model's type.

    Raises:
        BackendError: there is no such backend, it does not fit, or its framework is not installed.
    """
    if name != "auto" and name not in _PACKAGES:
        raise BackendError(f"there is no backend {name!r}", hint=f"Choose one of {['auto', *_PACKAGES]}.")
    fitting = [
        backend
        for backend, packages in _PACKAGES.items()
        if any(kind.__module__.partition(".")[0] in packages for kind in type(model).__mro__)
    ]
    if not fitting:
        raise BackendError(
            f"{type(model).__module__}.{type(model).__qualname__} is not a model of {' or '.join(_PACKAGES)}",
            hint="Give an nn.Module, an exported program, a Keras model, or what load_model() returned.",
        )
    if name not in ("auto", fitting[0]):
        raise BackendError(
            f"This is a {_TITLES[fitting[0]]} model, and {_TITLES[name]} was asked to explain it.",
            hint=f'Choose "auto", which goes by the model, or {fitting[0]!r}.',
        )
    return importlib.import_module(f"explain_core.backends.{fitting[0]}")


def is_installed(name: str) -> bool:
    """Whether a backend's framework is there, without importing it."""
    return importlib.util.find_spec(_PACKAGES[name][0]) is not None
