"""What a model's own errors mean: the cause, the module and the next step."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

from explain_core.backends.ids import OutsideTableError
from explain_core.backends.torch.watching import failure_seen
from explain_core.errors import CaptureError


def failure(
    error: Exception, model: nn.Module, where: str = "", given: Mapping[str, Tensor] | None = None
) -> CaptureError:
    """The error for what a model raised.

    Args:
        where: the module that was running; else the innermost of ``model`` that the traceback shows.
        given: the inputs by name.
    """
    where = where or _innermost(error, model)
    seen = failure_seen()
    if isinstance(seen, OutsideTableError):  # inside a script
        raise seen
    text = str(error).strip().splitlines()
    first = text[0] if text else type(error).__name__
    if isinstance(error, torch.jit.Error) or "TorchScript interpreter" in first:  # its trace, the cause last
        if "pack_padded_sequence" in str(error):
            return CaptureError(
                "packed sequences inside TorchScript cannot be followed",
                where=where,
                hint="Explain the Python module itself, or export it with torch.export.export.",
            )
        marked = [line.strip() for line, following in pairwise(text) if "<--- HERE" in following]
        # Its own last line has no words where a mode was watching; the mode has them.
        cause = failure_seen()
        if isinstance(cause, CaptureError):
            return cause
        first = (
            text[-1].removeprefix("Error: ").removeprefix("builtins.")
            if cause is None
            else f"{type(cause).__name__}: {cause}"
        )
        at = f", at {marked[-1]}" if marked else ""
        return CaptureError(f"the model failed on these inputs: {first.splitlines()[0]}{at}", where=where)
    if fixed := re.match(r"Expected input at (.*) to be (equal to|[<>]=) ([^,]*), but got (\d+)", first):
        return CaptureError(
            f"the model was exported for inputs of one size: {fixed[1]} must be {fixed[2]} {fixed[3]}, and it is "
            f"{fixed[4]}",
            where=where,
            hint="Give it that size, or export it again with dynamic_shapes for that axis.",
        )
    if guard := re.match(r"Guard failed: (.*)", first):
        return CaptureError(
            f"the model was exported for inputs of which {guard[1]}, and these are not",
            hint=f"{_shown(given)}Give it inputs of that size, or export it again with dynamic_shapes for that axis.",
        )
    for pattern, what, hint in _CAUSES:
        if found := re.search(pattern, f"{type(error).__name__}: {error}"):
            return CaptureError(found.expand(what), where=where, hint=hint)
    return CaptureError(
        f"the model failed on these inputs: {type(error).__name__}: {first}",
        where=where,
        hint=f"{_shown(given)}{_next_step(first, given)}",
    )


_CAUSES = (
    (
        r"torch\.storage\.UntypedStorage",
        "the model copies the memory of a tensor, as pickle and torch.save do, which cannot be followed",
        "Use .clone() for a copy of a tensor.",
    ),
    (
        r"HigherOrderOperator (\w+)",
        r"the operation torch.\1, which runs functions of the model's own, cannot be followed",
        "Write it as plain Python (if, for), or with torch.where.",
    ),
    (
        r"NestedTensor|nested tensor|cast NotImplemented to Tensor",
        "nested tensors (torch.nested) cannot be followed",
        "Use padded sequences with a mask, or torch.nn.utils.rnn.pack_padded_sequence.",
    ),
)
"""By what an error says: what the model does that leads to it, and what to do instead."""


def _innermost(error: Exception, model: nn.Module) -> str:
    """The path of the module whose code was running, as the traceback has it."""
    names, found, at = {id(module): name for name, module in model.named_modules()}, "", error.__traceback__
    while at is not None:
        found = names.get(id(at.tb_frame.f_locals.get("self")), found)
        at = at.tb_next
    return found


def _shown(given: Mapping[str, Tensor] | None) -> str:
    """The names, shapes and types of what a model was given, as a sentence."""
    listed = [
        f"{name} of shape {tuple(x.shape)} ({str(x.dtype).removeprefix('torch.')})" for name, x in (given or {}).items()
    ]
    return f"It was given {', '.join(listed)}. " if listed else ""


def _next_step(said: str, given: Mapping[str, Tensor] | None) -> str:
    whole = [name for name, x in (given or {}).items() if not x.is_floating_point()]
    if whole and re.search(r"dtype|\b(Long|Int|Short|Byte|Char|Bool)\b", said):
        return f"Whole numbers are taken as they are: give {whole[0]!r} as floats if the model computes with it."
    return "Check that these are the shapes and types that the model was made for, and that it runs on them by itself."
