"""The recurrences of paired LSTM, GRU and RNN on a GPU.

Forward, the gates of all timesteps are one matrix product where the hidden states are known, as from cuDNN; else a
product and an elementwise kernel for each step. Backward there is nothing but steps: an elementwise kernel each, which
the recurrent weights then take to the step before; of a small layer all steps are one kernel that keeps the weights on
the chip (`cuda_persistent`). Loops are replayed as CUDA graphs (`cuda_graphs`), the elementwise
kernels are Triton's (`cuda_cells`), and products are cuBLAS's, in the precision of their type where the engine has
turned TF32 off.

Shapes: T timesteps first; U distinct rows, of which ``test`` and ``base`` (N,) are the members of each pair; H units.
``x`` is the input's part of the pre-activations with the biases, (T, U, G·H), and ``w`` the recurrent kernel
(H, G·H). Nothing here keeps a tape.
"""

from __future__ import annotations

import importlib.util
from typing import Any, NamedTuple

import torch
from torch import Tensor

from explain_core.backends.torch.cuda_graphs import replayed

LSTM_FACTORS, GRU_FACTORS = 6, 5

MOST_UNITS_ON_CHIP, BYTES_ON_CHIP = 64, 2**17
"""So many units have recurrent weights, with their working copies, of so many bytes on the chip."""


class States(NamedTuple):
    """What a forward run leaves.

    Attributes:
        h, c: after each step, (T, U, H); ``c`` is None where the cell has none.
        factors: what the way back multiplies by, (T, N, F, H); see the cells in `cuda_cells`.
        pre, gates: pre-activations and activations, (T, U, G·H); ``gates`` is None unless asked for.
        inner: of a GRU what r multiplies, ``h·W_n + b_n``, (T, U, H).
    """

    h: Tensor
    c: Tensor | None
    factors: Tensor
    pre: Tensor
    gates: Tensor | None
    inner: Tensor | None = None


class Multipliers(NamedTuple):
    """What a way back leaves.

    Attributes:
        pre: of the pre-activations, (T, N, G·H); of a GRU's n, before the reset.
        first_h, first_c: of the states before the first step, (N, H); None where the cell has none.
        h, c: of the states after each step, (T, N, H), of c without the path through h; None unless asked for.
    """

    pre: Tensor
    first_h: Tensor
    first_c: Tensor | None
    h: Tensor | None
    c: Tensor | None


def usable(device: torch.device) -> bool:
    """Whether these kernels run there: a GPU of NVIDIA's, and Triton beside PyTorch."""
    return device.type == "cuda" and torch.version.cuda is not None and importlib.util.find_spec("triton") is not None


# --- forward ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
def lstm_forward(
    x: Tensor,
    w: Tensor,
    h0: Tensor,
    c0: Tensor,
    test: Tensor,
    base: Tensor,
    keep: bool = False,
    h: Tensor | None = None,
) -> States:
    """Run the rows, and prepare the factors of the pairs; gates in the order i, f, g, o.

    Args:
        h0, c0: (U, H), before the first step.
        keep: whether activations are wanted.
        h: (T, U, H), the hidden states where they are known.
    """
    pre, h, c, gates = _lstm_known(keep, x, w, h0, c0, h) if h is not None else _replay(_lstm_steps, keep, x, w, h0, c0)
    factors = _factors("lstm_factors", LSTM_FACTORS, (pre, c0.contiguous(), c), test, base)
    return States(h, c, factors, pre, gates)


@torch.no_grad()
def gru_forward(
    x: Tensor,
    w: Tensor,
    bias: Tensor | None,
    h0: Tensor,
    test: Tensor,
    base: Tensor,
    keep: bool = False,
    h: Tensor | None = None,
) -> States:
    """The same of a GRU whose reset comes after the product; gates in the order r, z, n.

    Args:
        bias: (H,), what is added to the product inside the reset.
    """
    inside = None if bias is None else torch.cat([bias.new_zeros(2 * len(bias)), bias])
    if h is None:
        pre, inner, before, h, gates = _replay(_gru_steps, keep, x, w, inside, h0)
    else:
        pre, inner, before, h, gates = _gru_known(keep, x, w, inside, h0, h)
    factors = _factors("gru_factors", GRU_FACTORS, (pre, inner, before), test, base)
    return States(h, None, factors, pre, gates, inner)


@torch.no_grad()
def rnn_forward(
    x: Tensor,
    w: Tensor,
    h0: Tensor,
    test: Tensor,
    base: Tensor,
    activation: str = "tanh",
    keep: bool = False,
    h: Tensor | None = None,
) -> States:
    """The same of a vanilla RNN; ``activation`` is "tanh" or "relu"."""
    is_relu = activation == "relu"
    if h is None:
        pre, h = _replay(_rnn_steps, is_relu, x, w, h0)
    else:
        pre = _all_pre(x, w, _before(h0, h))
    factors = _factors("rnn_factors", 1, (pre,), test, base, RELU=is_relu)
    return States(h, None, factors, pre, h if keep else None)


def _replay(loop, option: bool, *given: Tensor | None) -> tuple[Any, ...]:
    return replayed(loop, (option,), *(None if array is None else array.contiguous() for array in given))


def _launch(name: str, rows: int, units: int, *arguments, **options) -> None:
    """Launch a kernel of `cuda_cells` for so many rows (or pairs, or steps of pairs)."""
    from explain_core.kernels import cuda_cells

    grid = rows, -(-units // cuda_cells.BLOCK)
    getattr(cuda_cells, name)[grid](*arguments, **options, BLOCK=cuda_cells.BLOCK)


def _factors(name: str, count: int, arrays: tuple[Tensor, ...], test: Tensor, base: Tensor, **options) -> Tensor:
    """Factors (T, N, F, H) of all pairs; ``arrays`` is what the kernel reads, pre-activations (T, U, G·H) first."""
    steps, rows = arrays[0].shape[:2]
    units = arrays[-1].shape[-1]
    test, base = (place.to(arrays[0].device, torch.int64).contiguous() for place in (test, base))
    factors = arrays[0].new_empty(steps, len(test), count, units)
    _launch(name, steps * len(test), units, *arrays, test, base, factors, rows, len(test), units, **options)
    return factors


def _before(first: Tensor, states: Tensor) -> Tensor:
    """The states before each step."""
    return torch.cat([first.unsqueeze(0), states[:-1]])


def _all_pre(x: Tensor, w: Tensor, before: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x + before·w``, all timesteps in one product."""
    flat = x.contiguous().flatten(0, 1)
    return torch.addmm(flat, before.flatten(0, 1), w).view(x.shape)


def _lstm_known(keep: bool, x: Tensor, w: Tensor, h0: Tensor, c0: Tensor, h: Tensor) -> tuple[Any, ...]:
    steps, rows, units = h.shape
    pre = _all_pre(x, w, _before(h0, h))
    c, unread = torch.empty_like(h, memory_format=torch.contiguous_format), torch.empty_like(h)
    gates = torch.empty_like(pre) if keep else None
    _launch("lstm_states", rows, units, pre, c0.contiguous(), c, unread, gates, steps, rows, units, KEEP=keep)
    return pre, h, c, gates


def _lstm_steps(keep: bool, x: Tensor, w: Tensor, h0: Tensor, c0: Tensor) -> tuple[Tensor | None, ...]:
    (steps, rows), units = x.shape[:2], h0.shape[1]
    pre, h, c = torch.empty_like(x), x.new_empty(steps, rows, units), x.new_empty(steps, rows, units)
    gates = torch.empty_like(x) if keep else None
    for t in range(steps):
        before_h, before_c = (h[t - 1], c[t - 1]) if t else (h0, c0)
        torch.addmm(x[t], before_h, w, out=pre[t])
        now = None if gates is None else gates[t]
        _launch("lstm_states", rows, units, pre[t], before_c, c[t], h[t], now, 1, rows, units, KEEP=keep)
    return pre, h, c, gates


def _gru_known(keep: bool, x: Tensor, w: Tensor, bias: Tensor | None, h0: Tensor, h: Tensor) -> tuple[Any, ...]:
    steps, rows, units = h.shape
    before = _before(h0, h)
    from_h = before.flatten(0, 1) @ w if bias is None else torch.addmm(bias, before.flatten(0, 1), w)
    pre, inner, unread = torch.empty_like(from_h), torch.empty_like(before), torch.empty_like(before)
    gates = torch.empty_like(pre) if keep else None
    arrays = x.contiguous(), from_h, before, pre, inner, unread, gates
    _launch("gru_states", steps * rows, units, *arrays, steps * rows, units, KEEP=keep)
    return pre.view(x.shape), inner, before, h, None if gates is None else gates.view(x.shape)


def _gru_steps(keep: bool, x: Tensor, w: Tensor, bias: Tensor | None, h0: Tensor) -> tuple[Tensor | None, ...]:
    (steps, rows), units = x.shape[:2], h0.shape[1]
    pre, from_h = torch.empty_like(x), torch.empty_like(x[0])
    states, inner = x.new_empty(steps + 1, rows, units), x.new_empty(steps, rows, units)
    states[0] = h0
    gates = torch.empty_like(x) if keep else None
    for t in range(steps):
        if bias is None:
            torch.mm(states[t], w, out=from_h)
        else:
            torch.addmm(bias, states[t], w, out=from_h)
        now = None if gates is None else gates[t]
        arrays = x[t], from_h, states[t], pre[t], inner[t], states[t + 1], now
        _launch("gru_states", rows, units, *arrays, rows, units, KEEP=keep)
    return pre, inner, states[:-1], states[1:], gates


def _rnn_steps(is_relu: bool, x: Tensor, w: Tensor, h0: Tensor) -> tuple[Tensor, ...]:
    (steps, rows), units = x.shape[:2], h0.shape[1]
    pre, h = torch.empty_like(x), torch.empty_like(x)
    for t in range(steps):
        torch.addmm(x[t], h[t - 1] if t else h0, w, out=pre[t])
        _launch("rnn_states", rows, units, pre[t], h[t], units, RELU=is_relu)
    return pre, h


# --- backward --------------------------------------------------------------------------------------------------------


@torch.no_grad()
def lstm_back(
    factors: Tensor,
    w: Tensor,
    m_h: Tensor,
    m_c: Tensor | None = None,
    keep: bool = False,
    at_once: bool | None = None,
) -> Multipliers:
    """The multipliers of every step, from those that arrive at the states after each step, (T, N, H).

    ``m = m_c + m_h·factor 5``; of the pre-activations ``m·factors 0..2`` and ``m_h·factor 3``; of the states before
    the step ``m·factor 4`` and ``m_pre·wᵀ``.

    Args:
        keep: whether the multipliers of the states are wanted.
        at_once: whether all steps are one kernel, in single precision; None where the layer is small enough.
    """
    if _fits_chip(factors) if at_once is None else at_once:
        return Multipliers(*_lstm_back_at_once(keep, factors, w, m_h, m_c))
    return Multipliers(*_replay(_lstm_back_steps, keep, factors, w.t(), m_h, m_c))


@torch.no_grad()
def gru_back(factors: Tensor, w: Tensor, m_h: Tensor, keep: bool = False, at_once: bool | None = None) -> Multipliers:
    """The same of a GRU: of the pre-activations of n and z ``m_h·factors 2 and 1``, of r ``m_h·factor 0``."""
    if _fits_chip(factors) if at_once is None else at_once:
        m_pre, first_h, all_h = _gru_back_at_once(keep, factors, w, m_h)
    else:
        m_pre, first_h, all_h = _replay(_gru_back_steps, keep, factors, w.t(), m_h)
    return Multipliers(m_pre, first_h, None, all_h, None)


@torch.no_grad()
def rnn_back(factors: Tensor, w: Tensor, m_h: Tensor, keep: bool = False) -> Multipliers:
    """The same of a vanilla RNN: ``m_pre = m_h·factor``."""
    m_pre, first_h, all_h = _replay(_rnn_back_steps, keep, factors, w.t(), m_h)
    return Multipliers(m_pre, first_h, None, all_h, None)


def _fits_chip(factors: Tensor) -> bool:
    """Whether a layer's recurrent weights can stay on the chip for its whole way back."""
    if factors.dtype is not torch.float32 or factors.shape[-1] > MOST_UNITS_ON_CHIP or factors.device.type != "cuda":
        return False
    card: Any = torch.cuda.get_device_properties(factors.device)
    return card.shared_memory_per_block_optin >= BYTES_ON_CHIP


def _lstm_back_at_once(keep: bool, factors: Tensor, w: Tensor, out_h: Tensor, out_c: Tensor | None) -> tuple[Any, ...]:
    steps, pairs, _, units = factors.shape
    m_pre, first = factors.new_empty(steps, pairs, 4 * units), factors.new_empty(2, pairs, units)
    kept = [factors.new_empty(steps, pairs, units) if keep else None for _ in range(2)]
    given = factors.contiguous(), out_h.contiguous(), None if out_c is None else out_c.contiguous(), w.contiguous()
    options = {"HAS_C": out_c is not None, "KEEP": keep}
    _launch_at_once("lstm_back_all", *given, m_pre, *first, *kept, steps, pairs, units, **options)
    return m_pre, *first, *kept


def _gru_back_at_once(keep: bool, factors: Tensor, w: Tensor, out_h: Tensor) -> tuple[Any, ...]:
    steps, pairs, _, units = factors.shape
    m_pre, first = factors.new_empty(steps, pairs, 3 * units), factors.new_empty(pairs, units)
    kept = factors.new_empty(steps, pairs, units) if keep else None
    given = factors.contiguous(), out_h.contiguous(), w.contiguous()
    _launch_at_once("gru_back_all", *given, m_pre, first, kept, steps, pairs, units, KEEP=keep)
    return m_pre, first, kept


def _launch_at_once(name: str, *arguments, **options) -> None:
    """Launch a kernel of `cuda_persistent`; the last arguments are timesteps, pairs and units."""
    from explain_core.kernels import cuda_persistent

    *_, pairs, units = arguments
    sizes = {"ROWS": cuda_persistent.ROWS, "WIDTH": max(16, 1 << (units - 1).bit_length())}
    grid = (-(-pairs // cuda_persistent.ROWS),)
    getattr(cuda_persistent, name)[grid](*arguments, **options, **sizes, num_warps=8)


def _lstm_back_steps(
    keep: bool, factors: Tensor, to_h: Tensor, out_h: Tensor, out_c: Tensor | None
) -> tuple[Tensor | None, ...]:
    steps, pairs, _, units = factors.shape
    m_pre = factors.new_empty(steps, pairs, 4 * units)
    m_h, m_c = factors.new_zeros(pairs, units), factors.new_zeros(pairs, units)
    all_h, all_c = (torch.empty_like(out_h) if keep else None for _ in range(2))
    for t in range(steps - 1, -1, -1):
        arriving = factors[t], out_h[t], None if out_c is None else out_c[t]
        kept = [None if states is None else states[t] for states in (all_h, all_c)]
        options = {"HAS_C": out_c is not None, "KEEP": keep}
        _launch("lstm_back", pairs, units, *arriving, m_h, m_c, m_pre[t], *kept, units, **options)
        torch.mm(m_pre[t], to_h, out=m_h)
    return m_pre, m_h, m_c, all_h, all_c


def _gru_back_steps(keep: bool, factors: Tensor, to_h: Tensor, out_h: Tensor) -> tuple[Tensor | None, ...]:
    steps, pairs, _, units = factors.shape
    m_pre, into = factors.new_empty(steps, pairs, 3 * units), factors.new_empty(pairs, 3 * units)
    m_h, all_h = factors.new_zeros(pairs, units), torch.empty_like(out_h) if keep else None
    for t in range(steps - 1, -1, -1):
        now = None if all_h is None else all_h[t]
        _launch("gru_back", pairs, units, factors[t], out_h[t], m_h, m_pre[t], into, now, units, KEEP=keep)
        m_h.addmm_(into, to_h)
    return m_pre, m_h, all_h


def _rnn_back_steps(keep: bool, factors: Tensor, to_h: Tensor, out_h: Tensor) -> tuple[Tensor | None, ...]:
    steps, pairs, _, units = factors.shape
    m_pre, m_h = factors.new_empty(steps, pairs, units), factors.new_zeros(pairs, units)
    all_h = torch.empty_like(out_h) if keep else None
    for t in range(steps - 1, -1, -1):
        now = None if all_h is None else all_h[t]
        _launch("rnn_back", pairs, units, factors[t], out_h[t], m_h, m_pre[t], now, units, KEEP=keep)
        torch.mm(m_pre[t], to_h, out=m_h)
    return m_pre, m_h, all_h
