"""The array functions of `explain_core.rules.arrays` on PyTorch's tensors. Nothing here records autograd history."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

where, maximum, minimum, clip = torch.where, torch.maximum, torch.minimum, torch.clamp
signbit, isfinite, isinf, is_still = torch.signbit, torch.isfinite, torch.isinf, torch.eq
floor, round, remainder, fmod = torch.floor, torch.round, torch.remainder, torch.fmod
exp, exp2, expm1, log, log1p, sqrt = torch.exp, torch.exp2, torch.expm1, torch.log, torch.log1p, torch.sqrt
sigmoid, softplus, tanh = torch.sigmoid, torch.nn.functional.softplus, torch.tanh
sin, cos, tan, asin = torch.sin, torch.cos, torch.tan, torch.asin
atan, atan2, asinh, hypot = torch.atan, torch.atan2, torch.asinh, torch.hypot
erfc, erfinv, ndtri = torch.erfc, torch.erfinv, torch.special.ndtri
lgamma, digamma = torch.lgamma, torch.digamma


def array(value: float | Tensor, like: Tensor) -> Tensor:
    return torch.as_tensor(value, dtype=like.dtype, device=like.device)


def cast(x: Tensor, like: Tensor) -> Tensor:
    return x.to(like.dtype)


def double(x: Tensor) -> Tensor:
    return x.double()


def tiny(x: Tensor) -> float:
    return torch.finfo(x.dtype).tiny


def eps(x: Tensor) -> float:
    return torch.finfo(x.dtype).eps


def weighed(m: Tensor, slope: Tensor) -> Tensor:
    """``m·slope``; what nothing depends on has no part, even where its function has no value (``log(-1)``)."""
    return torch.where(m == 0, 0.0, m * slope)


def zeta(s: float, x: Tensor) -> Tensor:
    return torch.special.zeta(s, x)


def sum(x: Tensor) -> Tensor:
    return x.sum(-1, keepdim=True)


def max(x: Tensor) -> Tensor:
    return x.amax(-1, keepdim=True)


def logsumexp(x: Tensor) -> Tensor:
    return torch.logsumexp(x, -1, keepdim=True)


def log_softmax(x: Tensor) -> Tensor:
    return torch.log_softmax(x, -1)


def cumsum(x: Tensor) -> Tensor:
    return x.cumsum(-1)


def cumulative_logsumexp(x: Tensor) -> Tensor:
    return torch.logcumsumexp(x, -1)


def flip(x: Tensor) -> Tensor:
    return x.flip(-1)


def sort(x: Tensor) -> Tensor:
    return torch.sort(x, -1).values


def argsort(x: Tensor) -> Tensor:
    return torch.argsort(x, -1)


def take_along(x: Tensor, order: Tensor) -> Tensor:
    return x.gather(-1, order)


def unsort(x: Tensor, order: Tensor) -> Tensor:
    return torch.empty_like(x).scatter_(-1, order, x)


def count_below(ordered: Tensor, x: Tensor, equal: bool) -> Tensor:
    return torch.searchsorted(ordered.contiguous(), x.contiguous(), right=equal).to(x.dtype)


def concat(parts: list[Tensor]) -> Tensor:
    return torch.cat(parts, -1)


def stack(parts: list[Tensor]) -> Tensor:
    return torch.stack(parts, -1)


def unstack(x: Tensor) -> list[Tensor]:
    return list(x.unbind(-1))


# --- of recurrences ----------------------------------------------------------------------------------------------

matmul, zeros_like = torch.matmul, torch.zeros_like


def transpose(x: Tensor) -> Tensor:
    return x.t()


def take_rows(x: Tensor, at: Tensor) -> Tensor:
    return x.index_select(-2, at)


def concat_first(parts: list[Tensor]) -> Tensor:
    return torch.cat(parts)


def scan(step, start, inputs: dict[str, Tensor], reverse: bool = False):
    steps = len(next(iter(inputs.values())))
    state, found = start, [None] * steps
    for t in reversed(range(steps)) if reverse else range(steps):
        state, found[t] = step(state, {name: values[t] for name, values in inputs.items()})
    return state, _stacked(found)


def _stacked(found: list):
    """Of equal trees, one of tensors along a new first axis."""
    if found[0] is None:
        return None
    if isinstance(found[0], Tensor):
        return torch.stack(found)
    return tuple(_stacked(list(parts)) for parts in zip(*found, strict=True))


def any(x: Tensor) -> bool:
    return bool(x.any())


# --- of compiled kernels -----------------------------------------------------------------------------------------

threads, from_numpy = torch.get_num_threads, torch.from_numpy


def on_cpu(x: Tensor) -> bool:
    return x.device.type == "cpu"


def dtype_name(x: Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")


def numpy(x: Tensor) -> np.ndarray:
    return x.detach().contiguous().numpy()


def product(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    torch.mm(torch.from_numpy(a), torch.from_numpy(b), out=torch.from_numpy(out))
