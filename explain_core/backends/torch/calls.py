"""Calls that capture by itself would not see, or not see as what they are.

Packed sequences, whose layout is data, are an index into padded rows: packing picks the rows of real timesteps,
unpacking puts them back, and both are linear. The lengths are constants of the captured graph.

Values that leave PyTorch (``.tolist()``, ``.numpy()``) come back as constants of the captured sample, for the baseline
too, so they are guarded (see `decisions`); ``.data`` is a detached view, through which attributions go on, and
``copy.deepcopy`` a detached clone, since the memory that it copies is not recorded.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import disable_proxy_modes_tracing
from torch.overrides import TorchFunctionMode

from explain_core.backends.torch.decisions import PACKED, keep
from explain_core.backends.torch.draws import NAMES, Repeated
from explain_core.errors import CaptureError

_TENSOR: Any = Tensor  # whose stubs do not have the descriptor `data`


class CallsMode(TorchFunctionMode):
    """While active, packing and unpacking are recorded as index operations, and no explained value leaves unseen.

    Attributes:
        orders: by the batch sizes of a packed sequence, which sample each of its rows is, longest first.
    """

    def __init__(self, draws: Repeated) -> None:
        super().__init__()
        self._draws = draws
        self.orders: dict[tuple[int, ...], tuple[int, ...]] = {}
        self._batch_sizes: list[Tensor] = []
        self._sorted: list[tuple[Tensor, Tensor, Tensor]] = []

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in _LEAVING:
            keep(args[0], _LEAVING[name])
            with disable_proxy_modes_tracing():  # a copy, for memory that numpy shares would be written to unseen
                return func(args[0].detach().clone(), *args[1:], **kwargs)
        if name == "__deepcopy__":
            return _deep_copy(*args, **kwargs)
        if name in NAMES:
            return self._draws.draw(func, args, kwargs)
        if name in _SHOWING:
            with disable_proxy_modes_tracing():
                return func(*args, **kwargs)
        if func == _TENSOR.data.__get__:
            return args[0].detach()
        if func == _TENSOR.data.__set__ and _alike(*args):
            return args[0].detach().copy_(args[1])
        if name == "_pack_padded_sequence":
            lengths = args[1]
            given, order = next(((g, o) for g, by_length, o in self._sorted if by_length is lengths), (lengths, None))
            keep(given, PACKED, before=None if order is None else lengths)
            data, sizes = _pack(*args, **kwargs)
            self._batch_sizes.append(sizes)
            with disable_proxy_modes_tracing():
                rows = range(len(lengths)) if order is None else order.tolist()
                self.orders[tuple(sizes.tolist())] = tuple(rows)
            return data, sizes
        if name == "sort":
            result = func(*args, **kwargs)
            self._sorted.append((args[0], *result))
            return result
        if name == "_pad_packed_sequence":
            return _unpack(*args, **kwargs)
        if name == "__getitem__" and any(args[0] is sizes for sizes in self._batch_sizes):
            with disable_proxy_modes_tracing():
                return int(func(*args))  # how many samples there are; recurrent modules read it
        return func(*args, **kwargs)


def _alike(tensor: Tensor, other: Tensor) -> bool:
    return tensor.shape == other.shape and (tensor.dtype == other.dtype or isinstance(tensor, nn.Parameter))


def _deep_copy(tensor: Tensor, memo: dict[int, Any]) -> Tensor:
    """A copy of a tensor, noted in ``memo`` as `copy.deepcopy` does, for whatever else holds the same tensor."""
    memo[id(tensor)] = copied = tensor.detach().clone()
    return copied


def _pack(padded: Tensor, lengths: Tensor, batch_first: bool) -> tuple[Tensor, Tensor]:
    """Rows in packed order (all samples at step 0, then at step 1, ...) and how many samples each step has."""
    counts = _constant_list(lengths)
    if batch_first:
        padded = padded.transpose(0, 1)
    steps, samples = padded.shape[:2]
    if sorted(counts, reverse=True) != counts or min(counts) < 1 or max(counts) > steps:
        raise CaptureError(
            f"sequences can't be packed with the lengths {counts}",
            hint=f"Each must be from 1 to {steps}, and they must descend unless enforce_sorted=False.",
        )
    sizes = [sum(count > step for count in counts) for step in range(max(counts))]
    rows = [step * samples + sample for step, size in enumerate(sizes) for sample in range(size)]
    index = torch.tensor(rows, device=padded.device)
    with disable_proxy_modes_tracing():
        batch_sizes = torch.tensor(sizes)
    return padded.flatten(0, 1).index_select(0, index), batch_sizes


_LEAVING = {"tolist": ".tolist()", "numpy": ".numpy()", "__array__": "numpy.asarray()", "__dlpack__": "DLPack"}
# What nothing is computed from: text for people, and where memory is.
_SHOWING = ("__repr__", "__format__", "__dlpack_device__")


def _constant_list(values: Tensor) -> list[int]:
    """The numbers in a tensor, which must be the same in both runs."""
    keep(values, PACKED)
    with disable_proxy_modes_tracing():
        return values.tolist()


def _unpack(
    data: Tensor, batch_sizes: Tensor, batch_first: bool, padding_value: float, total_length: int = -1
) -> tuple[Tensor, Tensor]:
    """Padded sequences (T, N, ...), or (N, T, ...), and their lengths."""
    sizes = _constant_list(batch_sizes)
    steps, samples = max(len(sizes), total_length), sizes[0]
    rows = [step * samples + sample for step, size in enumerate(sizes) for sample in range(size)]
    index = torch.tensor(rows, device=data.device)
    padded = data.new_full((steps * samples, *data.shape[1:]), padding_value).index_copy(0, index, data)
    padded = padded.unflatten(0, (steps, samples))
    lengths = [sum(size > sample for size in sizes) for sample in range(samples)]
    return padded.transpose(0, 1) if batch_first else padded, torch.tensor(lengths)
