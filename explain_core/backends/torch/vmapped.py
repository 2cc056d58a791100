"""``torch.vmap`` inside a model: recorded as the operations on whole batches that it stands for.

Above autograd, where models are recorded, a tensor inside ``vmap`` is a wrapper that has no values of its own. So the
mapped function is first recorded by itself, below ``vmap``, and then run in its place. Tensors that it closes over keep
their identity on the way, and so their part in the outer recording.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch._functorch.apis as functorch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import disable_proxy_modes_tracing, get_innermost_proxy_mode, make_fx
from torch.utils import _pytree as pytree

_depth = 0


def is_inside() -> bool:
    """Whether a mapped function is being recorded, in which nothing may be read from tensors."""
    return _depth > 0


@contextmanager
def vmap_unfolded() -> Generator[None]:
    """While active, a call of what ``torch.vmap`` returned is recorded as operations on whole batches."""
    patched: Any = functorch
    own = patched.vmap_impl
    patched.vmap_impl = lambda func, *settings_and_args, **kwargs: _unfold(own, func, settings_and_args, kwargs)
    try:
        yield
    finally:
        patched.vmap_impl = own


def _unfold(own: Callable, func: Callable, args: tuple, kwargs: dict[str, Any]) -> Any:
    global _depth
    if is_inside() or get_innermost_proxy_mode() is None:
        return own(func, *args, **kwargs)
    leaves, form = pytree.tree_flatten((args, kwargs))
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    made: list[pytree.TreeSpec] = []

    def flat(*given: Tensor) -> list[Any]:
        rest = iter(given)
        args, kwargs = pytree.tree_unflatten([next(rest) if isinstance(v, Tensor) else v for v in leaves], form)
        results, spec = pytree.tree_flatten(own(func, *args, **kwargs))
        made.append(spec)
        return results

    _depth += 1
    try:
        with disable_proxy_modes_tracing():
            graph = make_fx(flat)(*tensors)
    finally:
        _depth -= 1
    return pytree.tree_unflatten(graph(*tensors), made[-1])
