"""The model's own call beside what was followed step by step, in every batch and for one row alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from explain_core.backends.answers import (
    Noise,
    attribution_size,
    mixes,
    other_mates,
    require_own_answer,
    require_same_among_others,
    rows_apart,
)
from explain_core.backends.protocol import PairAttribution, Target
from explain_core.backends.torch.draws import Draws
from explain_core.backends.torch.pairs import is_whole
from explain_core.errors import CaptureError, CompletenessError

Column = Callable[[Sequence[Tensor], Target], Tensor]


class OwnAnswers:
    """What a model says of the rows that are explained.

    Args:
        call: from arrays to the tensors that the model returns.
        column: the explained number of each row, (N,), in what it returned.
        sample_axes: of each array; None for a model without one.
        arrays, outputs: a call that was made already.
        alone: whether a row is to have the same answer by itself. Where there are inputs that are not explained, such
            as lengths, it may not: a model that takes the longest of a batch does what it was told with others.
    """

    def __init__(
        self,
        call: Callable[[Sequence[np.ndarray]], Sequence[Tensor]],
        column: Column,
        sample_axes: Sequence[int | None],
        arrays: Sequence[np.ndarray],
        outputs: Sequence[Tensor],
        alone: bool = True,
    ) -> None:
        self._alone = alone
        self._call, self._column, self._sample_axes = call, column, sample_axes
        self._known = {"the input": (list(arrays), outputs)}
        self._tried_others = False
        self.notes: list[str] = []  # what the person should know of rounding

    def require(
        self,
        test: Sequence[np.ndarray],
        baseline: Sequence[np.ndarray],
        result: PairAttribution,
        targets: Sequence[Target],
        dtype: str,
        follow: Callable[[Sequence[np.ndarray], torch.dtype], Sequence[Tensor]],
    ) -> None:
        """Compare both members of a batch, and once each row among other rows, and one alone.

        Args:
            dtype: the coarsest type on the way from input to prediction, in either run.
            follow: runs the recorded model on arrays in another type, for how far rounding moves it.

        Raises:
            CaptureError, CompletenessError: see `answers`.
        """
        size = attribution_size(result)
        members = [(baseline, result.baseline_prediction, "the baseline"), (test, result.prediction, "the input")]
        for arrays, followed, member in members:
            outputs = self._of(arrays, member)
            for k, target in enumerate(targets):
                own, noise = self._number(outputs, target), self._noise(arrays, target, dtype, follow)
                said = require_own_answer(own, followed[k], size[k], dtype, member, noise)
                self.notes += [note for note in said if note not in self.notes]
        if not self._tried_others and self._sample_axes[0] is not None and size.shape[1] > 1:
            for mixed, of_baseline in other_mates(test, baseline, self._sample_axes):
                self._require_same_among_others(mixed, of_baseline, test, baseline, targets, size, follow)
            if self._alone:
                self._require_same_alone(test, targets, size, dtype, follow)
            self._tried_others = True

    def answer(self, arrays: Sequence[np.ndarray], targets: Sequence[Target]) -> np.ndarray | None:
        """The model's predictions (K, N) for any number of rows; None where it does not take that many."""
        rows = next(a.shape[axis] for a, axis in self._with_axes(arrays) if axis is not None)
        try:
            outputs = self._call(arrays)
            found = [self._number(outputs, target) for target in targets]
        except CaptureError:
            return None
        return np.stack(found) if all(len(own) == rows for own in found) else None

    def _require_same_among_others(self, arrays, of_baseline, test, baseline, targets, size, follow) -> None:
        of_test, of_base = (self._known[member][1] for member in ("the input", "the baseline"))
        try:
            outputs = self._call(arrays)
        except CaptureError:  # it takes rows of the input, or of the baseline, but not both in one batch
            return

        def followed() -> tuple[Sequence[Tensor], ...]:
            return tuple(follow(given, torch.float64) for given in (arrays, test, baseline))

        three = outputs, of_test, of_base
        require_same_among_others(three, of_baseline, self._number, followed, targets, size)

    def _require_same_alone(self, test, targets, size, dtype, follow) -> None:
        """The first row as a batch of one, where it keeps its place: for what goes by the number of rows."""
        together = self._known["the input"][1]
        try:
            found = self._call([a if axis is None else np.take(a, [0], axis) for a, axis in self._with_axes(test)])
        except CaptureError:  # it takes one number of rows only
            return
        for k, target in enumerate(targets):
            try:
                outputs = [_like(a, b) for a, b in zip(found, together, strict=True)]
                alone = self._number(outputs, target.of_sample(0))[:1]
            except (IndexError, ValueError):  # padded to the longest sequence, a row alone has fewer timesteps
                continue
            own, noise = self._number(together, target)[:1], self._noise(test, target, dtype, follow)
            if rows_apart(own, alone, size[k, :1], dtype, noise).size:
                raise self._drawn_for_all(test, size.shape[1]) or mixes(0, size.shape[1], own[0], alone[0], "alone")

    def _drawn_for_all(self, arrays: Sequence[np.ndarray], rows: int) -> CompletenessError | None:
        """The error for random numbers that are drawn for all rows of a batch at once, if there are such."""
        with Draws() as draws:
            self._call(arrays)
        for name, shape in draws.drawn:
            if rows in shape:
                return CompletenessError(
                    f"the model draws random numbers in the shape of its batch ({name} of {shape}), so a sample has "
                    "others alone than among others, and its attributions are not its own",
                    hint="Draw them in the shape of one sample, or explain one sample at a time.",
                )
        return None

    def _with_axes(self, arrays: Sequence[np.ndarray]) -> Iterable[tuple[np.ndarray, int | None]]:
        return zip(arrays, self._sample_axes, strict=True)

    def _number(self, outputs: Sequence[Tensor], target: Target) -> np.ndarray:
        """The explained number of each row, (N,), in float64."""
        return self._column(outputs, target).detach().cpu().double().numpy()  # NumPy has no bfloat16

    def _of(self, arrays: Sequence[np.ndarray], member: str) -> Sequence[Tensor]:
        """The model's outputs; those of the last batch where it was the same, as with one baseline for all."""
        before = self._known.get(member)
        if before is None or not all(map(np.array_equal, arrays, before[0])):
            self._known[member] = before = list(arrays), self._call(arrays)
        return before[1]

    def _noise(self, arrays, target, dtype, follow) -> Noise | None:
        """How far rounding in ``dtype`` moves each prediction, measured by following it in single and in double."""
        if dtype not in ("float32", "float64"):
            return None

        def measure() -> np.ndarray:
            single, double = (self._number(follow(arrays, kind), target) for kind in (torch.float32, torch.float64))
            return np.abs(single - double) * (np.finfo(dtype).eps / np.finfo(np.float32).eps)

        return measure


def coarsest(dtypes: Iterable[torch.dtype]) -> str:
    """The floating type of the fewest digits among types; of complex numbers, by that of their parts."""
    kinds = {dtype.to_real() for dtype in dtypes if not is_whole(dtype)}
    return str(max(kinds, key=lambda kind: torch.finfo(kind).eps)).removeprefix("torch.")


def _like(alone: Tensor, together: Tensor) -> Tensor:
    """What a model returned for one row, with the axis that it may have squeezed away."""
    return alone if alone.ndim == together.ndim else alone.reshape(*[1] * (together.ndim - alone.ndim), *alone.shape)
