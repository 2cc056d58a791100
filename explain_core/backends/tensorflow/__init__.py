"""The TensorFlow backend. Nothing here imports TensorFlow before a model of it is explained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .runner import TensorFlowRunner

TAKES_SHARED = False  # every input has samples, or none has
REPLACES_MISSING = True  # a value that is missing (NaN) may be explained, where the model itself replaces it

__all__ = ["REPLACES_MISSING", "TAKES_SHARED", "accepts", "open_runner", "register_rule"]

_FRAMEWORKS = frozenset(("keras", "tensorflow", "tf_keras"))


def accepts(model: Any) -> bool:
    """Whether this is a model of TensorFlow or Keras, told by where its classes come from."""
    return any(cls.__module__.partition(".")[0] in _FRAMEWORKS for cls in type(model).__mro__)


def open_runner(model: Any, arguments: Any, **options: Any) -> TensorFlowRunner:
    """See `runner.open_runner`."""
    from .runner import open_runner

    return open_runner(model, arguments, **options)


def register_rule(operation: str, rule: Any) -> None:
    """See `rules.register_rule`."""
    from .rules import register_rule

    register_rule(operation, rule)
