"""What can go wrong, said for people: what is wrong, where, and what to do next.

Every error that PairLift raises on purpose is an `ExplainError`; anything else that escapes is a bug.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Fix:
    """A change of settings that would help: the words of a button, and what it sets.

    ``changes`` are fields of `explain_core.sequences.Options`, by name.
    """

    label: str
    changes: dict[str, Any] = field(default_factory=dict)


class ExplainError(Exception):
    """Base of all errors raised on purpose.

    Args:
        what: what is wrong, with the value that was given.
        where: file, row, column, layer or operation; empty where there is none.
        hint: what to do next.
        fixes: settings that would help, the likeliest first; people choose, nothing is changed by itself.
    """

    def __init__(self, what: str, *, where: str = "", hint: str = "", fixes: tuple[Fix, ...] = ()) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint
        self.fixes = tuple(fixes)

    def __str__(self) -> str:
        where = f" (in {self.where})" if self.where else ""
        hint = f"\n{self.hint}" if self.hint else ""
        return f"{self.what}{where}{hint}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.what, self.where, self.hint, self.fixes)


def _rebuild(kind: type[ExplainError], what: str, where: str, hint: str, fixes: tuple[Fix, ...] = ()) -> ExplainError:
    return kind(what, where=where, hint=hint, fixes=fixes)


class InputError(ExplainError):
    """An input, baseline or sequence has the wrong shape, type or names."""


class NonFiniteError(ExplainError):
    """A NaN or an infinity in an input, a baseline, a weight or a prediction."""


class TargetError(ExplainError):
    """The target does not select an output of the model."""


class UnsupportedOperation(ExplainError):  # noqa: N818 - the public name
    """The model uses an operation that has no rule; going on would give wrong attributions."""


class CaptureError(ExplainError):
    """The model could not be run or recorded on these inputs."""


class SampleAxisError(CaptureError):
    """The model ran, and what it returned has no axis of the samples."""


class CompletenessError(ExplainError):
    """The attributions do not add up to the prediction difference, so they are not returned."""


class BackendError(ExplainError):
    """The framework or the device that was asked for is not there."""


class NoRoomError(BackendError):
    """A batch does not fit into the memory of its device; a smaller one may."""


class ModelFileError(ExplainError):
    """A model file cannot be opened, or must not be."""


class SequenceFileError(ExplainError):
    """A sequence file cannot be read; says the row and the column."""


class ExplanationFileError(ExplainError):
    """A saved explanation cannot be read, or is not one."""


class RunError(ExplainError):
    """A kept run is not there, cannot be read, or could not be kept."""


class JobError(ExplainError):
    """A job's process was stopped, killed or ran over a limit."""


class MethodError(ExplainError):
    """An alternative method failed in the package that it comes from, or cannot do what was asked of it."""
