"""Values written to positions, where one position may be written more than once.

Which of several values stays is up to the kernel, and PyTorch's own derivative gives the multiplier to all of them.
So the operation is run once more on the numbers of the elements in place of the elements; what it leaves says which
element each result is, and taking those is linear and exact, whichever they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from explain_core.backends.torch.kinds import Linear
from explain_core.backends.torch.pairs import Pair, apply_linear


@dataclass(frozen=True)
class Overwrite(Linear):
    """Elements of the first argument replaced by those of argument ``values``, at ``constant`` positions."""

    values: int = 3

    def __call__(self, ops: Any, op: Any, args: tuple, kwargs: dict) -> Any:
        self.check(args)
        if len(args) <= self.values or not isinstance(args[self.values], Pair):
            return super().__call__(ops, op, args, kwargs)
        target, values = (v.test.detach() if isinstance(v, Pair) else v for v in (args[0], args[self.values]))
        count = target.numel()
        numbers = torch.arange(count + values.numel(), device=target.device)
        left = list(args)
        left[0] = numbers[:count].reshape(target.shape)
        left[self.values] = numbers[count:].reshape(values.shape)
        with torch.no_grad():
            winners = op(*left, **kwargs)
        take = lambda a, b: torch.cat([a.reshape(-1), b.reshape(-1)])[winners]  # noqa: E731
        return apply_linear(take, args[0], args[self.values])


def place(ops: Any, op: Any, args: tuple, kwargs: dict) -> Any:
    """``index_put`` and ``put``: adding is linear, writing is `Overwrite`."""
    accumulate = args[3] if len(args) > 3 else kwargs.get("accumulate", False)
    rule = Linear(constant=(1,)) if accumulate else Overwrite(constant=(1,), values=2)
    return rule(ops, op, args, kwargs)
