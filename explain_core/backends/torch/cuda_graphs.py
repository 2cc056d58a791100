"""Loops over time as one launch: recorded into a CUDA graph, and replayed for arrays of the same shapes.

A step of a small layer takes a few microseconds on a GPU and several times that to launch from Python.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

_MOST_BYTES = 2**27
"""A graph has its own copies of what it reads and gives. With more than this, launching is not what takes the time."""

_KEPT = 8

Loop = Callable[..., tuple[Tensor | None, ...]]


@dataclass
class _Recorded:
    graph: torch.cuda.CUDAGraph
    given: tuple[Tensor | None, ...]
    results: tuple[Tensor | None, ...]


_graphs: OrderedDict[Hashable, _Recorded | None] = OrderedDict()
"""By what a loop is given; None where it was run once so far, which may have been the only time."""


def replayed(loop: Loop, options: tuple, *given: Tensor | None) -> tuple[Tensor | None, ...]:
    """``loop(*options, *given)``, from the second time on as a graph, where there is a GPU and arrays are small.

    Args:
        loop: launches only, no look at a value; what it returns is new.
        options: hashable; they and the shapes tell recordings apart.

    Not for several threads at once: it belongs inside the engine's lock.
    """
    arrays = [array for array in given if array is not None]
    if arrays[0].device.type != "cuda" or sum(array.nbytes for array in arrays) > _MOST_BYTES:
        return loop(*options, *given)
    about = (None if array is None else (array.shape, array.dtype, array.device) for array in given)
    key = loop.__name__, options, tuple(about)
    if key not in _graphs:
        _graphs[key] = None
        if len(_graphs) > _KEPT:
            _graphs.popitem(last=False)
        return loop(*options, *given)
    _graphs.move_to_end(key)
    recorded = _graphs[key]
    if recorded is None:
        recorded = _graphs[key] = _record(loop, options, given)
    for own, array in zip(recorded.given, given, strict=True):
        if own is not None and array is not None:
            own.copy_(array)
    recorded.graph.replay()
    return tuple(None if result is None else result.clone() for result in recorded.results)


def _record(loop: Loop, options: tuple, given: tuple[Tensor | None, ...]) -> _Recorded:
    own = tuple(None if array is None else array.clone(memory_format=torch.contiguous_format) for array in given)
    device = next(array.device for array in own if array is not None)
    with torch.cuda.device(device):
        aside, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            loop(*options, *own)  # compiles kernels and makes room for cuBLAS, which is not to happen in a recording
        torch.cuda.current_stream().wait_stream(aside)
        # Backward passes run in PyTorch's own threads, and other threads of the process may use the GPU meanwhile.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            results = loop(*options, *own)
    return _Recorded(graph, own, results)


def forget() -> None:
    """Let go of all recordings and their memory."""
    _graphs.clear()
