"""What an explanation compares with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from explain_core.errors import InputError
from explain_core.inputs import Arguments, as_array, check_finite, is_nested

NAMED = ("zeros", "mean")


def resolve_baselines(
    baselines: Any,
    arguments: Arguments,
    axes: tuple[int | None, ...],
    explained: tuple[bool, ...],
    background: bool,
) -> list[np.ndarray]:
    """The baseline of every explained input, sample axis first.

    Args:
        baselines: "zeros"; "mean" (of each feature over samples and timesteps); one array for a single explained
            input; a tuple in the order of the inputs, or a dict by input name, of arrays or of these words.
            Arrays have the layout of the input, with 1 sample, as many as the input, or none of that axis.
        background: whether the samples of the baseline are a background set to be averaged over.

    Returns:
        For each input (B, ...), with B = 1, the number of samples, or that of the background; for inputs that are
        not explained an empty array.

    Raises:
        InputError: it does not fit.
    """
    wanted = [i for i, is_explained in enumerate(explained) if is_explained]
    given = _by_leaf(baselines, arguments, wanted)
    resolved = []
    for i, (name, leaf, axis) in enumerate(zip(arguments.names, arguments.leaves, axes, strict=True)):
        if i not in wanted:
            resolved.append(np.empty(0))
            continue
        values = leaf[None] if axis is None else np.moveaxis(leaf, axis, 0)
        resolved.append(_resolve(given[i], name, values, axis, background))
    counts = {len(resolved[i]) for i in wanted} - {1}
    if len(counts) > 1:
        raise InputError(f"the baselines have different numbers of samples: {sorted(counts)}")
    return resolved


def _by_leaf(baselines: Any, arguments: Arguments, wanted: list[int]) -> dict[int, Any]:
    """The baseline that was given for each explained input."""
    names = arguments.names
    if isinstance(baselines, str):
        if baselines not in NAMED:
            raise InputError(
                f"there is no baseline called {baselines!r}", hint=f"Choose one of {NAMED}, or give an array."
            )
        return dict.fromkeys(wanted, baselines)
    if isinstance(baselines, Mapping):
        unknown = set(baselines) - set(names)
        if unknown:
            raise InputError(f"there is no input {sorted(unknown)}", hint=f"The inputs are {list(names)}.")
        return {i: baselines.get(names[i], "zeros") for i in wanted}
    if is_nested(baselines):
        flat = list(_flatten(baselines))
        if len(flat) == len(names):
            return {i: flat[i] for i in wanted}
        if len(flat) == len(wanted):
            return dict(zip(wanted, flat, strict=True))
        raise InputError(f"there are {len(flat)} baselines for {len(wanted)} explained inputs {names}")
    if len(wanted) > 1:
        raise InputError(
            f"one baseline was given for {len(wanted)} explained inputs",
            hint=f"Give a dict with {[names[i] for i in wanted]}.",
        )
    return {wanted[0]: baselines}


def _flatten(value: Any):
    if is_nested(value):
        for item in value:
            yield from _flatten(item)
    else:
        yield value


def _resolve(given: Any, name: str, values: np.ndarray, axis: int | None, background: bool) -> np.ndarray:
    """One baseline (B, ...) for values (N, ...)."""
    if isinstance(given, str):
        if given == "zeros":
            return np.zeros_like(values[:1])
        if given != "mean":
            raise InputError(f"there is no baseline called {given!r}", where=name)
        if values.dtype.kind != "f":
            raise InputError("token ids have no mean", where=name, hint='Use "zeros" or an array of ids.')
        over = (0, 1) if values.ndim >= 3 else (0,)
        return np.broadcast_to(values.mean(over, keepdims=True, dtype=float), values[:1].shape).astype(values.dtype)
    array, _ = as_array(given, name)
    check_finite(array, name, "baseline")
    if array.ndim == values.ndim - 1:
        array = array[None]
    elif axis is not None and array.ndim == values.ndim:
        array = np.moveaxis(array, axis, 0)
    many = background or len(array) in (1, len(values))
    if array.shape[1:] != values.shape[1:] or not many:
        shape = "any number" if background else f"1 or {len(values)}"
        raise InputError(
            f"the baseline has shape {array.shape} (sample axis first), and each sample {values.shape[1:]}",
            where=name,
            hint=f"It needs {shape} of samples, each of shape {values.shape[1:]}."
            + ("" if background else " For a background set, say background=True."),
        )
    return array.astype(values.dtype if values.dtype.kind != "f" else np.result_type(array, values.dtype))
