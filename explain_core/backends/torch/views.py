"""Views of memory: elements by their place in it, and its bits as numbers of another kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from explain_core.backends.torch.kinds import Linear
from explain_core.backends.torch.pairs import Pair, dtype_of, is_pair
from explain_core.errors import UnsupportedOperation


@dataclass(frozen=True)
class Strided(Linear):
    """Elements by their place in memory: linear, once both members lie in it alike."""

    def __call__(self, ops: Any, op: Any, args: tuple, kwargs: dict) -> Any:
        whole = args[0]
        if whole.test.is_contiguous() and not whole.base.is_contiguous():
            whole = Pair(whole.test, whole.base.contiguous(), whole.flow, whole.scale)
        layouts = {(v.stride(), v.storage_offset(), v.untyped_storage().nbytes()) for v in (whole.test, whole.base)}
        if len(layouts) > 1:
            raise UnsupportedOperation(
                "elements are taken by their place in memory, in which the input and the baseline lie differently",
                hint="Call .contiguous() first, or use unfold, narrow or an index.",
            )
        return super().__call__(ops, op, (whole, *args[1:]), kwargs)


def view_dtype(ops, x: Any, dtype: torch.dtype) -> Any:
    """The same memory as numbers of another kind: only where it is the same kind."""
    if not is_pair(x):
        return x.view(dtype)
    if dtype is not dtype_of(x):
        names = [str(v).removeprefix("torch.") for v in (dtype_of(x), dtype)]
        raise UnsupportedOperation(
            f"view.dtype reads the bits of {names[0]} numbers as {names[1]}, which is no function of their values",
            hint="Convert the values with .to(dtype) if that is what is meant.",
        )
    return x
