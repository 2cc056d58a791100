"""Calls that capture by itself would not see, or not see as what they are.

Packed sequences, whose layout is data, are an index into padded rows: packing picks the rows of real timesteps,
unpacking puts them back, and both are linear. The lengths are constants of the captured graph.

Values that leave PyTorch (``.tolist()``, ``.numpy()``) would come back as constants of the captured sample, for the
baseline too, so they are errors; ``.data`` is a detached view, through which attributions go on.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import (
    disable_proxy_modes_tracing,
    get_innermost_proxy_mode,
    get_proxy_slot,
)
from torch.overrides import TorchFunctionMode

from explain_core.errors import CaptureError


class CallsMode(TorchFunctionMode):
    """While active, packing and unpacking are recorded as index operations, and no explained value leaves unseen.

    Attributes:
        orders: by the batch sizes of a packed sequence, which sample each of its rows is, longest first.
    """

    def __init__(self) -> None:
        super().__init__()
        self.orders: dict[tuple[int, ...], tuple[int, ...]] = {}
        self._batch_sizes: list[Tensor] = []
        self._sorted: list[tuple[Tensor, Tensor]] = []

    def __torch_function__(self, func, types, args=(), kwargs=None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in _LEAVING and _depends_on_input(args[0]):
            raise CaptureError(
                f"the model takes the values of its input out of PyTorch with .{name.strip('_')}(), and what it then "
                "does with them cannot be followed",
                hint="Stay with operations on tensors, such as torch.where in place of an if.",
            )
        if func == torch.Tensor.data.__get__:
            return args[0].detach()
        if name == "_pack_padded_sequence":
            data, sizes = _pack(*args, **kwargs)
            self._batch_sizes.append(sizes)
            with disable_proxy_modes_tracing():
                lengths = args[1]
                order = next((o.tolist() for by_length, o in self._sorted if by_length is lengths), None)
                self.orders[tuple(sizes.tolist())] = tuple(order or range(len(lengths)))
            return data, sizes
        if name == "sort":
            result = func(*args, **kwargs)
            self._sorted.append(tuple(result))
            return result
        if name == "_pad_packed_sequence":
            return _unpack(*args, **kwargs)
        if name == "__getitem__" and any(args[0] is sizes for sizes in self._batch_sizes):
            with disable_proxy_modes_tracing():
                return int(func(*args))  # how many samples there are; recurrent modules read it
        return func(*args, **kwargs)


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


_LEAVING = ("tolist", "numpy", "item", "__array__", "__dlpack__")


def _constant_list(values: Tensor) -> list[int]:
    """The numbers in a tensor that must not depend on the traced inputs.

    Raises:
        CaptureError: it does.
    """
    if _depends_on_input(values):
        raise CaptureError(
            "the lengths of packed sequences are computed from the explained input",
            hint="Give the lengths to the model as an input of their own.",
        )
    with disable_proxy_modes_tracing():
        return values.tolist()


def _depends_on_input(values: Tensor) -> bool:
    """Whether a tensor was computed from the traced inputs."""
    mode = get_innermost_proxy_mode()
    traced = None if mode is None else get_proxy_slot(values, mode.tracer, None, lambda slot: slot.proxy.node)
    return traced is not None and any(node.op == "placeholder" for node in _ancestors(traced))


def _ancestors(node: fx.Node) -> set[fx.Node]:
    found, todo = {node}, [node]
    while todo:
        for source in todo.pop().all_input_nodes:
            if source not in found:
                found.add(source)
                todo.append(source)
    return found


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
