"""Why a prediction is not finite: which operation of the model makes the first NaN or infinity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from explain_core.backends.torch.interpreter import PairOps

_DIVISIONS = ("div", "divide", "true_divide")
_SOFTMAX = ("softmax", "_softmax", "log_softmax", "_log_softmax")
_ATTENTION = "scaled_dot_product_attention"


class Watching(PairOps):
    """Follows one run, and notes what first gives NaN where it got none, and infinity where all was finite."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._first: dict[str, tuple[str, str]] = {}
        self._is_empty = False

    def __call__(self, op: Callable, *args: Any, **kwargs: Any) -> Any:
        result = super().__call__(op, *args, **kwargs)
        if "NaN" not in self._first and _any(torch.isnan, result) and not _any(torch.isnan, (args, kwargs)):
            self._note("NaN")
            self._is_empty = _is_of_nothing(self.operation.partition(".")[0], args)
        if "infinity" not in self._first and _any(torch.isinf, result) and not _any(_is_odd, (args, kwargs)):
            self._note("infinity")
        return result

    def _note(self, kind: str) -> None:
        self._first[kind] = self.operation.partition(".")[0], self.where

    def why(self, kind: str, of_baseline: bool) -> tuple[str, str]:
        """What makes a NaN or an infinity that is predicted, and what to do; nothing where that was not seen.

        Args:
            kind: "NaN" or "infinity".
        """
        if kind not in self._first:
            return "", ""
        said = f": it comes up in {_placed(self._first[kind])}"
        infinite = self._first.get("infinity")
        if kind == "NaN" and infinite is not None and infinite != self._first[kind] and not self._is_empty:
            said += f", of the infinity that {_placed(infinite)} gives"
        if kind == "NaN" and self._is_empty:
            hint = "Does a sample consist of padding only? Leave it out."
            if of_baseline:
                hint = (
                    'Choose a baseline that is not all padding: other ids, or "padded-mean", or with the same padding.'
                )
            return f"{said}, as where all steps are padding or masked", hint
        what = "the baseline" if of_baseline else "the input"
        return said, f"It is not defined for what it gets for {what}, or that is too large for it. " + (
            'Choose another baseline, such as "mean" or "first".' if of_baseline else "Does the model itself run on it?"
        )


def _is_of_nothing(name: str, args: tuple) -> bool:
    """Whether an operation takes a mean of nothing: zero by zero, or a softmax of masks."""
    if name in _DIVISIONS:
        return bool(((torch.as_tensor(args[0]) == 0) & (torch.as_tensor(args[1]) == 0)).any())
    return name == _ATTENTION or (name in _SOFTMAX and bool(torch.isneginf(args[0]).any()))


def _placed(found: tuple[str, str]) -> str:
    operation, where = found
    return f"{operation!r} (in {where})" if where else repr(operation)


def _any(found: Callable[[Tensor], Tensor], values: Any) -> bool:
    """Whether a number among nested arguments is such."""
    for value in pytree.tree_leaves(values):
        if isinstance(value, float) and found(torch.tensor(value)):
            return True
        if isinstance(value, Tensor) and value.is_floating_point() and bool(found(value).any()):
            return True
    return False


def _is_odd(x: Tensor) -> Tensor:
    return ~torch.isfinite(x)
