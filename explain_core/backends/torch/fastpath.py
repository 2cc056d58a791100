"""PyTorch's fast path of ``nn.TransformerEncoder``, which puts zeros in place of padded timesteps.

In evaluation, without gradients and with a padding mask, an encoder packs its input into a nested tensor of the real
timesteps, and fills the rest of its result with zeros. On its ordinary path it computes something for the padded ones
too. The recording goes the ordinary way, and so puts those zeros where the model's own call does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Set
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from explain_core.backends.torch.watching import Watching

Calls = Set[tuple[str, int]]
"""Encoders by their path, with the number of the call of each."""


class _Nesting(Watching):
    def __init__(self) -> None:
        super().__init__()
        self.inside: list[tuple[str, int]] = []
        self.found: set[tuple[str, int]] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._nested_tensor_from_mask.default and self.inside:
            self.found.add(self.inside[-1])
        return self.run(func, args, kwargs)


def encoders(model: nn.Module) -> dict[str, nn.TransformerEncoder]:
    """Those in a model that may take the fast path, by their path."""
    return {path: part for path, part in model.named_modules() if isinstance(part, nn.TransformerEncoder)}


def zeroed_calls(model: nn.Module, run: Callable[[], Any]) -> set[tuple[str, int]]:
    """Which calls of encoders take the fast path while ``run`` runs the model."""
    nesting, called = _Nesting(), Counter()
    handles = []
    for path, part in encoders(model).items():

        def enter(module: nn.Module, args: Any, path: str = path) -> None:
            nesting.inside.append((path, called[path]))
            called[path] += 1

        handles.append(part.register_forward_pre_hook(enter))
        handles.append(part.register_forward_hook(lambda module, args, output: nesting.inside.pop() and None))
    try:
        with nesting:
            run()
    finally:
        for handle in handles:
            handle.remove()
    return nesting.found


@contextmanager
def padding_zeroed(model: nn.Module, calls: Calls) -> Generator[None]:
    """While active, the last layer of an encoder gives zeros at padded timesteps, in the ``calls`` that say so."""
    handles, called = [], Counter()
    for path, part in encoders(model).items() if calls else ():
        masks: list[Tensor | None] = []

        def enter(module: nn.Module, args: tuple, kwargs: dict, path: str = path, masks: list = masks) -> None:
            mask = args[2] if len(args) > 2 else kwargs.get("src_key_padding_mask")
            masks.append(mask if (path, called[path]) in calls else None)
            called[path] += 1

        def zero(module: nn.Module, args: Any, output: Tensor, masks: list = masks) -> Tensor | None:
            mask = masks.pop()
            return None if mask is None else output.masked_fill(mask.bool().unsqueeze(-1), 0.0)

        handles.append(part.register_forward_pre_hook(enter, with_kwargs=True))
        handles.append(part.layers[-1].register_forward_hook(zero))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
