"""The explained number of each sample in what a model returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from explain_core.backends.protocol import Target
from explain_core.backends.torch.pairs import Pair, dtype_of, is_pair
from explain_core.errors import CaptureError


def column_of(outputs: Sequence[Any], target: Target, axes: Sequence[int | None]) -> Any:
    """One explained scalar per sample, (N,): an output, or the difference of two.

    Args:
        outputs: tensors or pairs.
        axes: the sample axis of each; None where it has none.

    Raises:
        CaptureError: the output is complex, a whole number or truth value, or too short for the target.
    """
    parts = [_pick(outputs[part.output], part, axes[part.output]) for part in target.parts]
    if len(parts) == 1:
        return parts[0]
    tests, bases = ([getattr(p, member) if is_pair(p) else p for p in parts] for member in ("test", "base"))
    difference = tests[0] - tests[1]
    return Pair(difference, bases[0] - bases[1]) if any(map(is_pair, parts)) else difference


def _pick(output: Any, target: Target, axis: int | None) -> Any:
    if dtype_of(output).is_complex:
        raise CaptureError(
            "the chosen output is complex, and has no single size that attributions could add up to",
            hint="Return its real part, its size or its angle: .real, .abs(), .angle().",
        )

    def pick(value: Tensor) -> Tensor:
        place = target.place(None if axis is None else 0)
        try:
            return value[place].unsqueeze(0) if axis is None else value.movedim(axis, 0)[place]
        except IndexError:
            raise CaptureError(
                f"there is no output {target.label!r} for some of the samples: with them the model's output has shape "
                f"{tuple(value.shape)}",
                hint="Its size goes by what is in the batch, such as the longest sequence. Choose an output that all "
                "have, or explain samples of one length at a time.",
            ) from None

    if is_pair(output):
        if not output.is_float:
            raise CaptureError("the chosen output is a whole number or truth value, which has no attribution")
        return Pair(pick(output.test), pick(output.base))
    return pick(output)
