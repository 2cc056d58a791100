"""What each input of a model is for: the sequence, another one, numbers beside it, its length."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from enum import Enum

from explain_core.models.loaded import ExpectedInput

_WHOLE = ("int64", "int32", "int16", "uint8")
_NUMBERS = (*_WHOLE, "int8", "bool", "float16", "bfloat16", "float32", "float64")
_STATE = re.compile(r"(.*_)?([hc]_?[0n]|[hc]x|(initial_|hidden_|cell_)*states?)(_\d+)?", re.IGNORECASE)


class Role(Enum):
    """What an input is for.

    SEQUENCE is (sample, time, feature), TOKENS ids (sample, time), GRID (sample, time, ...) of more axes such as
    images in time, STATIC numbers without time (sample, feature), LENGTH how many steps are real (sample,), MASK which
    are (sample, time), STATE what a recurrent layer starts from, (layer, sample, unit) or (sample, unit). NOTHING is
    what no file can give.
    """

    SEQUENCE = "sequence"
    TOKENS = "tokens"
    GRID = "grid"
    STATIC = "static"
    LENGTH = "length"
    MASK = "mask"
    STATE = "state"
    NOTHING = "nothing"


def roles_of(inputs: Sequence[ExpectedInput]) -> tuple[Role, ...]:
    """The role of each input, from its type, its axes and its name, and from what stands beside it."""
    has_sequence = any(_alone(spec) in (Role.SEQUENCE, Role.TOKENS, Role.GRID) for spec in inputs)
    return tuple(_role(spec, place, len(inputs), has_sequence) for place, spec in enumerate(inputs))


def main_input(inputs: Sequence[ExpectedInput]) -> int:
    """The place of the input whose file names the sequences: the first that has time, else the first."""
    roles = roles_of(inputs)
    in_time = (Role.SEQUENCE, Role.TOKENS, Role.GRID)
    return next((i for i, role in enumerate(roles) if role in in_time), 0)


def samples_first(inputs: Sequence[ExpectedInput], time_first: Collection[str]) -> tuple[ExpectedInput, ...]:
    """The inputs as (sample, time, ...), also those that the model takes as (time, sample, ...)."""

    def turned(spec: ExpectedInput) -> ExpectedInput:
        shape = spec.shape
        if spec.name not in time_first or shape is None or len(shape) < 2:
            return spec
        return replace(spec, shape=(shape[1], shape[0], *shape[2:]))

    return tuple(turned(spec) for spec in inputs)


def state_axis(spec: ExpectedInput) -> int:
    """The axis of the samples in a state: PyTorch's are (layer, sample, unit), Keras's (sample, unit)."""
    return 1 if spec.shape is not None and len(spec.shape) == 3 else 0


def sample_axis(spec: ExpectedInput, role: Role, time_first: Collection[str]) -> int:
    """The axis of the samples of an input in the layout of the model."""
    in_time = role in (Role.SEQUENCE, Role.TOKENS, Role.GRID)
    return state_axis(spec) if role is Role.STATE else int(in_time and spec.name in time_first)


def _alone(spec: ExpectedInput) -> Role:
    """What an input would be if it were the only one."""
    axes = None if spec.shape is None else len(spec.shape)
    if spec.dtype not in _NUMBERS or axes == 0 or (axes is not None and axes > 6):
        return Role.NOTHING
    if axes is None:
        return Role.SEQUENCE
    if spec.dtype in _WHOLE:
        return Role.TOKENS if axes == 2 else Role.LENGTH if axes == 1 else Role.SEQUENCE
    if axes <= 2:
        return Role.STATIC
    return Role.SEQUENCE if axes == 3 else Role.GRID


def _role(spec: ExpectedInput, place: int, count: int, has_sequence: bool) -> Role:
    alone = _alone(spec)
    axes = None if spec.shape is None else len(spec.shape)
    if count == 1 or alone is Role.NOTHING:
        return alone
    if place and _STATE.fullmatch(spec.name) and axes in (None, 2, 3) and spec.dtype not in _WHOLE:
        return Role.STATE
    called_mask = "mask" in spec.name.lower() or spec.name.lower() in ("valid", "padding")
    if place and axes in (None, 2) and (spec.dtype == "bool" or called_mask):
        return Role.MASK
    if place and (axes in (None, 1)) and (spec.dtype in _WHOLE or re.search(r"len", spec.name, re.IGNORECASE)):
        return Role.LENGTH
    if alone is Role.STATIC and not has_sequence and place == 0:
        return Role.SEQUENCE  # all timesteps side by side
    return alone
