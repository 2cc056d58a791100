"""Where the samples are in what a model returns, and where the layers of a recurrent one."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from explain_core.backends.torch.axis_carrying import RECURRENT
from explain_core.errors import CaptureError, SampleAxisError


@dataclass
class OutputAxes:
    """The sample axis of each output, None where it has none; by position, why some cannot be explained."""

    axes: list[int | None]
    unexplained: dict[int, CaptureError] = field(default_factory=dict)


def find_output_axes(
    run: Callable[[Sequence[Tensor]], Sequence[Tensor]],
    values: Sequence[Tensor],
    leaves: Sequence[Tensor],
    sample_axes: Sequence[int | None],
) -> OutputAxes:
    """The sample axis of each output: the one whose size is the number of samples.

    Where two axes have that size, the model is run on one sample more to see which one grows.

    Args:
        run: the model's own answers.
        values: its answers to ``leaves``.
        sample_axes: of each input; None for a model without one.

    Raises:
        CaptureError: no output has such an axis without time in it too; the error of the first.
    """
    if sample_axes[0] is None:
        return OutputAxes([None] * len(values))
    n = leaves[0].shape[sample_axes[0]]
    choices = [[axis for axis, size in enumerate(v.shape) if size == n] for v in values]
    if all(len(axes) == 1 for axes in choices):
        return OutputAxes([axes[0] for axes in choices])
    more = [
        leaf if axis is None else torch.cat([leaf, leaf.narrow(axis, 0, 1)], axis)
        for leaf, axis in zip(leaves, sample_axes, strict=True)
    ]
    try:
        grown = run(more)
    except CaptureError:  # the model takes one batch size only
        grown = None
    found = OutputAxes([])
    for i, (value, axes) in enumerate(zip(values, choices, strict=True)):
        if grown is not None and grown[i].ndim == value.ndim:
            axes = [a for a in range(value.ndim) if grown[i].shape[a] != value.shape[a]]
        try:
            found.axes.append(_axis(value, axes, n))
        except CaptureError as error:
            found.axes.append(None)
            found.unexplained[i] = error
    if len(found.unexplained) == len(values):
        raise found.unexplained[0]
    return found


def _axis(value: Tensor, axes: Sequence[int], n: int) -> int | None:
    """The axis of the ``n`` samples among those that may be it.

    Raises:
        CaptureError: there is none, or it has time in it too.
    """
    sizes = [value.shape[axis] for axis in axes] or [size for size in value.shape if n > 1 and size % n == 0]
    if sizes and n not in sizes:
        raise CaptureError(
            f"the output has shape {tuple(value.shape)}: it has samples and timesteps in one axis",
            hint="Leave out the view or reshape at the end of forward; it is to return (sample, time, unit).",
        )
    if axes:
        return axes[0]
    if n == 1:
        return None  # the sample axis of a single sample was squeezed away
    raise SampleAxisError(
        f"the output has shape {tuple(value.shape)}, in which no axis has the {n} samples of the input",
        hint="Does a layer read the first axis as time (batch_first=False)? Then give it time first, with "
        "sample_axis=1. A model that takes one sequence without samples needs sample_axis=None, and one that "
        "gives one number for all samples can be explained one sample at a time.",
    )


def layers_of_states(graph: fx.Graph) -> list[tuple[str, ...]]:
    """For each output the names of its rows, where those are the last states of a recurrent layer's layers.

    They are PyTorch's suffixes for weights, ``l0``, ``l0_reverse``, ``l1``. Of any other output there are none.
    """
    outputs = pytree.tree_leaves(graph.output_node().args[0])
    return [_layers(node) if isinstance(node, fx.Node) else () for node in outputs]


def _layers(node: fx.Node) -> tuple[str, ...]:
    while _name(node) in _SAME or _name(node) == "transpose":
        if _name(node) == "transpose" and {axis % 3 for axis in node.args[1:]} != {0, 1}:  # of layers and samples
            return ()
        node = node.args[0]
    if node.target is not operator.getitem or node.args[1] == 0 or _name(node.args[0]) not in RECURRENT:
        return ()
    layer = node.args[0]
    names = [argument.name for argument in layer.target._schema.arguments]
    given = dict(zip(names, layer.args, strict=False)) | layer.kwargs
    ways = ("", "_reverse") if given["bidirectional"] else ("",)
    return tuple(f"l{i}{way}" for i in range(given["num_layers"]) for way in ways)


_SAME = ("alias", "clone", "contiguous", "detach", "dropout", "linear", "relu", "sigmoid", "tanh")


def _name(node: fx.Node) -> str:
    is_operation = node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload)
    return node.target._schema.name.removeprefix("aten::") if is_operation else ""
