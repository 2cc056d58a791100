"""What weights, predictions and attributions must be, and the errors where they are not."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from explain_core.errors import CompletenessError, InputError, NonFiniteError, UnsupportedOperation


def check_layers(model: nn.Module) -> None:
    """Refuse quantized layers.

    Raises:
        UnsupportedOperation: names the layer.
    """
    for name, module in model.named_modules():
        if "quantized" in type(module).__module__.split("."):
            raise UnsupportedOperation(
                f"the layer {type(module).__name__} is quantized: its weights are whole numbers in a form of its own",
                where=name,
                hint="Explain the model as it was before it was quantized.",
            )


def check_weights(model: nn.Module, used: Container[str]) -> None:
    """Refuse weights that are not finite; those that no call uses may be anything.

    Raises:
        NonFiniteError: names the weight.
    """
    for name, weight in model.named_parameters():
        if name in used and weight.is_floating_point() and not torch.isfinite(weight).all():
            kind = "NaN" if torch.isnan(weight).any() else "infinity"
            raise NonFiniteError(f"the weight {name!r} contains {kind}", where=name, hint="Was training diverging?")


def require_fit(arrays: Sequence[np.ndarray], names: Sequence[str], member: str, dtype: torch.dtype) -> None:
    """Refuse numbers that would become infinite in the floating type that a model computes in.

    Args:
        arrays, names: of each argument, in any floating type.
        member: "input" or "baseline".

    Raises:
        InputError: names the number and its place.
    """
    most = torch.finfo(dtype).max
    for array, name in zip(arrays, names, strict=True):
        if array.dtype.kind != "f" or float(np.finfo(array.dtype).max) <= most:
            continue
        large = np.isfinite(array) & (np.abs(array) > most)
        if large.any():
            place = tuple(map(int, np.argwhere(large)[0]))
            kind = str(dtype).removeprefix("torch.")
            raise InputError(
                f"the {member} has {array[place]:.6g} at position {place}, which does not fit {kind}, the type that "
                "the model computes in",
                where=name,
                hint=f"The largest number there is {most:.4g}. Give numbers of another scale, or the model in more "
                "digits: model.double().",
            )


def check_finite(
    values: np.ndarray, what: str, model: nn.Module, why: Callable[[str], tuple[str, str]] = lambda kind: ("", "")
) -> None:
    """Refuse predictions (output, sample) that are not finite.

    Args:
        why: of "NaN" or "infinity", says what makes it and what to do.

    Raises:
        NonFiniteError: names the first sample, and a buffer of ``model`` that is the cause.
    """
    bad = ~np.isfinite(values)
    if bad.any():
        k, n = (int(v) for v in np.argwhere(bad)[0])
        floats = {name: buffer for name, buffer in model.named_buffers() if buffer.is_floating_point()}
        odd = [name for name, buffer in floats.items() if not torch.isfinite(buffer).all()]
        cause, hint = why("NaN" if np.isnan(values[k, n]) else "infinity")
        raise NonFiniteError(
            f"{what} of sample {n}, output {k} is {values[k, n]}{cause}",
            where=f"sample {n}",
            hint=f"The buffer {odd[0]!r} contains NaN or infinity." if odd and not cause else hint,
        )


def check_attributions(attributions: Tensor) -> None:
    """Refuse attributions that are not finite.

    Raises:
        CompletenessError: a multiplier overflowed.
    """
    if not torch.isfinite(attributions).all():
        raise CompletenessError(
            "an attribution is not finite: a multiplier overflowed, as for a function with an infinite slope",
            hint='Try precision="float64".',
        )
