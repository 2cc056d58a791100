"""Which outputs of a model are explained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from explain_core.backends.protocol import ModelOutput, Target
from explain_core.errors import TargetError

MOST_OUTPUTS = 512
"""With ``target=None`` every output is explained, up to this many."""


def select_targets(
    target: Any, outputs: Sequence[ModelOutput], names: Sequence[str] | None = None
) -> tuple[list[Target], bool]:
    """Turn ``target`` into explained scalars.

    Args:
        target: None for every output; an int for a unit (negative counts from the end); a tuple for sequence outputs
            (time, unit); a label; a tuple that starts with an output tensor's name; a list of any of these.
        outputs: the tensors that the model returns, shapes without the sample axis.
        names: labels of the units of the last axis, such as class names.

    Returns:
        The targets, and whether results keep an output dimension (several outputs, or a list).

    Raises:
        TargetError: there is no such output.
    """
    if target is None:
        total = sum(int(np.prod(o.shape)) for o in outputs)
        if total > MOST_OUTPUTS:
            raise TargetError(
                f"the model gives {total} numbers per sample ({_describe(outputs)})",
                hint="Choose one with target=(time, unit), or several with a list of those.",
            )
        chosen = [_target(i, index, outputs, names) for i, o in enumerate(outputs) for index in np.ndindex(o.shape)]
        return chosen, len(chosen) > 1
    if isinstance(target, list):
        if not target:
            raise TargetError("the list of targets is empty")
        return [_one(item, outputs, names) for item in target], True
    return [_one(target, outputs, names)], False


def _one(target: Any, outputs: Sequence[ModelOutput], names: Sequence[str] | None) -> Target:
    tensor = 0
    if isinstance(target, str):
        labels = list(names or ())
        if target in labels and len(outputs[0].shape) == 1:
            return _target(0, (labels.index(target),), outputs, names)
        target = (target,)
    if isinstance(target, tuple) and target and isinstance(target[0], str):
        tensors = [o.name for o in outputs]
        if target[0] not in tensors:
            raise TargetError(
                f"there is no output {target[0]!r}", hint=f"The outputs are {[*tensors, *(names or ())]}."
            )
        tensor, target = tensors.index(target[0]), target[1:]
    index = target if isinstance(target, tuple) else (target,)
    if not all(isinstance(i, (int, np.integer)) and not isinstance(i, bool) for i in index):
        raise TargetError(f"{target!r} is not a target", hint="Use an int, a tuple of ints, or a label.")
    shape = outputs[tensor].shape
    if shape == () and index in ((0,), (-1,)):
        index = ()
    if len(index) != len(shape):
        raise TargetError(
            f"the target {target!r} has {len(index)} numbers, and the output {_describe([outputs[tensor]])}",
            hint="For a sequence output choose (time, unit).",
        )
    if any(not -size <= i < size for i, size in zip(index, shape, strict=True)):
        raise TargetError(
            f"there is no output {target!r}: the model gives {_describe([outputs[tensor]])}",
            hint="Units and timesteps count from 0; negative numbers count from the end.",
        )
    index = tuple(int(i) % size for i, size in zip(index, shape, strict=True))
    return _target(tensor, index, outputs, names)


def _target(tensor: int, index: tuple[int, ...], outputs: Sequence[ModelOutput], names: Sequence[str] | None) -> Target:
    """With a label such as "2", "t3 unit 1", or "1.0: 2" where there are several tensors."""
    shape = outputs[tensor].shape
    if names and shape and len(names) == shape[-1]:
        last = names[index[-1]]
    else:
        last = str(index[-1]) if index else outputs[tensor].name
    if len(index) == 2:
        label = f"t{index[0]}, {last}" if names else f"t{index[0]}, unit {last}"
    elif len(index) > 2:
        label = ", ".join(map(str, index))
    else:
        label = last
    if len(outputs) > 1 and index:
        label = f"{outputs[tensor].name}: {label}"
    return Target(tensor, tuple(int(i) for i in index), label)


def _describe(outputs: Sequence[ModelOutput]) -> str:
    return "; ".join(f"{o.name} of shape {tuple(map(int, o.shape))} per sample" for o in outputs)
