"""PyTorch's own recurrent layers, run in one piece while modes watch the rest of a model operation by operation.

They write to no weight. Without a kernel for a whole sequence they are a dozen operations a timestep, each of which
would wait for Python.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import fx, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes

from explain_core.backends.torch.trace import Trace

_LAYERS = (nn.LSTM, nn.GRU, nn.RNN)
_OPERATIONS = frozenset(
    getattr(getattr(torch.ops.aten, name), overload)
    for name in ("gru", "rnn_tanh", "rnn_relu")
    for overload in ("input", "data")
)
"""Without those of an LSTM, whose kernel reads beyond the end where it is not watched, see `watching.Watching`."""


@contextmanager
def recurrent_in_one_piece(model: nn.Module, trace: Trace | None) -> Generator[None]:
    """While active, no mode looks into ``nn.LSTM``, ``nn.GRU`` and ``nn.RNN``, nor their operations in a program.

    Args:
        model: a private copy.
        trace: what the layers did is noted there, each as one operation.
    """
    handles = []
    inside: list[ExitStack] = []

    def enter(module: Any, args: tuple, kwargs: dict) -> None:
        if trace is not None:
            trace.given((type(module), *_options(module)), args, kwargs, list(module._flat_weights))
        inside.append(ExitStack())
        inside[-1].enter_context(_disable_current_modes())

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        if not inside:  # another hook before the layer failed
            return
        inside.pop().close()
        if trace is not None:
            trace.made(output)

    for module in model.modules():
        if type(module) in _LAYERS and "forward" not in vars(module) and _is_stock(type(module).forward):
            handles.append(module.register_forward_pre_hook(enter, with_kwargs=True))
            handles.append(module.register_forward_hook(leave, prepend=True, always_call=True))
    try:
        with _Operations(trace) if isinstance(model, fx.GraphModule) else nullcontext():
            yield
    finally:
        for handle in handles:
            handle.remove()


class _Operations(TorchFunctionMode):
    """The same for the operations of an exported program, which no mode of this kind can turn from a fast path."""

    def __init__(self, trace: Trace | None) -> None:
        super().__init__()
        self._trace = trace

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func not in _OPERATIONS:
            return func(*args, **(kwargs or {}))
        if self._trace is not None:
            self._trace.given(func, args, kwargs)
        with _disable_current_modes():
            result = func(*args, **(kwargs or {}))
        if self._trace is not None:
            self._trace.made(result)
        return result


def _is_stock(forward: Any) -> bool:
    return getattr(forward, "__module__", "") == nn.LSTM.__module__


def _options(layer: nn.Module) -> tuple:
    return tuple(repr(item) for item in vars(layer).items() if isinstance(item[1], (bool, int, float, str)))
