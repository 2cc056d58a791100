"""Whether a prediction that was followed step by step is the model's own, in its batch and without it.

Both frameworks' engines compare here, in every batch (`OwnAnswers`). What is random, kept between calls or computed
behind the capture's back shows as another answer; what mixes the rows of a batch shows as another answer of one row.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from explain_core.backends.distinct import distinct_rows
from explain_core.backends.protocol import PairAttribution, Target
from explain_core.errors import CaptureError, CompletenessError

AGREEMENT = {"float64": 1e-12, "float32": 1e-5, "float16": 5e-2, "bfloat16": 5e-2}
"""How far two ways to compute one prediction may be apart without another look, by the coarsest type on the way,
relative to the prediction and to all attribution together."""

ROUNDINGS = 30
"""Two ways to compute one number differ by a few times what rounding moves either. Measured: up to 4 of the largest in
a batch, over recurrent nets, convolutions and transformers."""

WORTH_SAYING = 1e-3
"""Rounding that moves a prediction by more, of itself and all attribution, is said."""


def attribution_size(result: PairAttribution) -> np.ndarray:
    """All attribution of each explained output and row, ``Σ|φ|``, (K, N)."""
    parts = [part for part in result.attributions if part is not None]
    return np.sum([np.abs(part).sum(tuple(range(2, part.ndim)), dtype=float) for part in parts], axis=0)


Arrays = Sequence[np.ndarray]

Outputs = Sequence[Any]
"""The tensors that a model returned."""

Member = tuple[Arrays, np.ndarray, str]
"""The rows of a batch that are the input, or those that are the baseline; what was followed of them, (K, N); which."""

Noise = Callable[[], np.ndarray]
"""How far rounding moved each prediction of a batch, (N,): the difference that more digits make."""


def rows_apart(
    own: np.ndarray, other: np.ndarray, size: np.ndarray, dtype: str, noise: Noise | None = None
) -> np.ndarray:
    """Which rows have another answer, beyond rounding: positions in (N,).

    Args:
        own, other: two answers for each row, (N,).
        size: all attribution of each row, ``Σ|φ|``, (N,).
        dtype: the coarsest type that either was computed in.
        noise: asked only where the answers are further apart than usual; None where nobody knows.
    """
    own, other = np.asarray(own, float), np.asarray(other, float)
    usual = AGREEMENT[dtype] * (np.maximum(np.abs(own), np.abs(other)) + size)
    if dtype in ("float16", "bfloat16"):
        usual = usual + AGREEMENT[dtype] * np.abs(own).max(initial=0.0)
    apart = ~(np.abs(own - other) <= usual)
    if apart.any() and noise is not None:
        apart &= ~(np.abs(own - other) <= usual + ROUNDINGS * np.max(noise(), initial=0.0))
    return np.flatnonzero(apart)


def moved_by_rounding(one: np.ndarray, other: np.ndarray, dtype: str) -> np.ndarray:
    """How far rounding in ``dtype`` moves numbers, of which one array was computed in single and one in double."""
    return np.abs(one.astype(float) - other) * (np.finfo(dtype).eps / np.finfo(np.float32).eps)


class OtherAnswerError(CaptureError):
    """What was followed is not what the model itself says."""


def require_own_answer(
    own: np.ndarray, followed: np.ndarray, size: np.ndarray, dtype: str, member: str, noise: Noise | None = None
) -> list[str]:
    """Refuse predictions that are not what the model itself says; what to say where rounding sets them apart.

    Args:
        own: the model's answers (N,), of which ``followed`` was explained; for the rest see `rows_apart`.
        member: "the input" or "the baseline".

    Raises:
        OtherAnswerError: names the row and both answers.
    """
    rows = rows_apart(own, followed, size, dtype, noise)
    if rows.size:
        worst = int(rows[np.abs(np.asarray(own, float) - followed)[rows].argmax()])
        raise OtherAnswerError(
            f"for {member} of row {worst} of its batch the model gives {own[worst]:.6g}, and followed step by step "
            f"{followed[worst]:.6g}",
            hint="Something in its forward is random, kept between calls, decided by the number of rows, or computed "
            "outside the framework; only a model that answers the same each time can be explained.",
        )
    gap = np.abs(np.asarray(own, float) - followed)
    if not (gap > WORTH_SAYING * (np.abs(own) + size)).any() or dtype not in ("float32", "float64"):
        return []
    worst = int(gap.argmax())
    return [
        f"Rounding in {dtype} moves the model's own prediction for {member}: it gives {own[worst]:.6g} where "
        f"{followed[worst]:.6g} is explained."
    ]


FEW_ROWS = 16
"""Among so many, every two rows are set apart; among more, two at random with a chance of three in four."""


def _patterns(rows: int) -> list[np.ndarray]:
    """Which rows change, (N,), for each batch to try: by a binary digit of their number, so that any two differ."""
    digits = max(1, (rows - 1).bit_length())
    number = np.random.default_rng(rows).permutation(rows)
    return [(number >> digit) % 2 == 1 for digit in range(digits if rows <= FEW_ROWS else 2)]


def other_mates(
    test: Arrays, baseline: Arrays, axes: Sequence[int | None], rows: int
) -> Iterator[tuple[list[np.ndarray], np.ndarray]]:
    """Batches with about half of their rows from the baseline: rows that stay where they were, among others.

    A model that treats rows one by one, run on the same number of rows, gives each the same answer to the last bit.

    Two rows that read each other alike leave every sum right; what shows them is a batch in which one of the two stays.

    Yields:
        The arrays, and which rows are the baseline's, (N,).
    """
    for of_baseline in _patterns(rows):
        mixed = []
        for a, b, axis in zip(test, baseline, axes, strict=True):
            if axis is None:
                mixed.append(a)
                continue
            chosen = of_baseline.reshape([-1 if i == axis else 1 for i in range(a.ndim)])
            mixed.append(np.where(chosen, b, a).astype(a.dtype))
        yield mixed, of_baseline


def require_same_among_others(
    outputs: tuple[Outputs, Outputs, Outputs],
    of_baseline: np.ndarray,
    number: Callable[[Outputs, Target], np.ndarray],
    follow: Callable[[], tuple[Outputs, ...] | None],
    targets: Sequence[Target],
    size: np.ndarray,
) -> None:
    """With other rows beside it, each row's answer is the same to the last bit; else more digits decide.

    Args:
        outputs: what the model returned for a batch of `other_mates`, for the input and for the baseline.
        of_baseline: which rows of the first are the baseline's, (N,).
        number: the explained number of each row, (N,), in what it returned.
        follow: the same three in double precision; None where they are not to be had.
        size: all attribution of each output and row, (K, N).

    Raises:
        CompletenessError: a row has another answer.
    """
    mixed, of_test, _ = outputs
    if [found.shape for found in mixed] != [found.shape for found in of_test]:
        return

    def answers(target: Target, three: tuple[Outputs, ...]) -> tuple[np.ndarray, np.ndarray]:
        among, test, base = (number(found, target) for found in three)
        return np.where(of_baseline, base, test), among

    if all(np.array_equal(*answers(target, outputs)) for target in targets):
        return
    followed = follow()
    if followed is None:
        return
    for k, target in enumerate(targets):
        require_own_rows(*answers(target, followed), size[k], "among others")


def require_own_rows(together: np.ndarray, apart: np.ndarray, size: np.ndarray, which: str) -> None:
    """Refuse a model whose answer to one row depends on the other rows.

    Args:
        together, apart: two answers to each row, (N,), followed in double precision or to be as good as that.
        size: all attribution of each row, (N,).
        which: how the second came about, such as "alone".

    Raises:
        CompletenessError: names the row and both answers.
    """
    rows = rows_apart(together, apart, size, "float64")
    if rows.size:
        row = int(rows[np.abs(np.asarray(together, float) - apart)[rows].argmax()])
        raise mixes(row, len(together), together[row], apart[row], which)


def mixes(row: int, rows: int, together: float, apart: float, which: str) -> CompletenessError:
    """The error for a model that mixes samples."""
    digits = ".6g" if f"{together:.6g}" != f"{apart:.6g}" else ".16g"
    return CompletenessError(
        f"what the model gives for one sample depends on the others in its batch: for row {row} of {rows} it is "
        f"{together:{digits}} among them and {apart:{digits}} {which}; so its attributions are not its own",
        hint="If it is meant to mix samples, explain one sample at a time. If not: a recurrent layer or attention "
        "that reads its first axis as time (batch_first=False) needs inputs of that layout and sample_axis=1; "
        "statistics, softmax and sums over the axis of the samples mix them too.",
    )


def require_rows(shapes: Sequence[Sequence[int]], axes: Sequence[int | None], rows: int) -> None:
    """Refuse outputs that do not have so many rows on their sample axes.

    Raises:
        CaptureError: they have others, or are others.
    """
    if len(shapes) != len(axes) or any(
        axis is not None and (axis >= len(shape) or shape[axis] != rows)
        for shape, axis in zip(shapes, axes, strict=True)
    ):
        raise CaptureError(f"for {rows} rows the model returned tensors of shapes {[tuple(s) for s in shapes]}")


class OwnAnswers(ABC):
    """What a model says of the rows that are explained; a framework adds how it is called and how it is followed.

    Args:
        sample_axes: of each array; None for a model without one.

    Attributes:
        notes: what the person should know of rounding; grows with each batch.
    """

    def __init__(self, sample_axes: Sequence[int | None]) -> None:
        self._sample_axes = sample_axes
        self._known: dict[str, tuple[list[np.ndarray], Outputs]] = {}
        self._compared_rows = self._compared_settings = False
        self._takes_any_rows = sample_axes[0] is not None
        self.notes: list[str] = []

    @abstractmethod
    def _call(self, arrays: Arrays) -> Outputs:
        """What the model returns, called as it is.

        Raises:
            CaptureError: it does not take these rows.
        """

    @abstractmethod
    def _number(self, outputs: Outputs, target: Target) -> np.ndarray:
        """The explained number of each row, (N,), in float64.

        Raises:
            CaptureError, IndexError: the output is too short for the target.
        """

    @abstractmethod
    def _spread(self, outputs: Outputs, rows: int, places: np.ndarray) -> Outputs:
        """What a call on so many rows gives for a batch of which each row is one of these, by their places (N,).

        Raises:
            CaptureError: the model returned another number of rows.
        """

    @abstractmethod
    def _follow(self, arrays: Arrays, dtype: str) -> Outputs | None:
        """What is followed step by step gives in "float32" or "float64", without a baseline; None where it cannot."""

    def _as_set(self, arrays: Arrays) -> tuple[Outputs, str] | None:
        """What the model returns under settings of the process that make answers coarser, and what these are called.

        None where there are none.
        """
        return None

    @abstractmethod
    def _weights(self) -> int:
        """A digest of the values that the model's answers come from, beside its inputs."""

    @property
    @abstractmethod
    def _compared(self) -> set[int]:
        """Digests of rows, targets and weights that were compared before, kept with what was recorded; grows."""

    def answer(self, arrays: Arrays, targets: Sequence[Target]) -> np.ndarray | None:
        """The model's predictions (K, N) for any number of rows; None where it does not take that many."""
        rows = next(a.shape[axis] for a, axis in self._with_axes(arrays) if axis is not None)
        try:
            outputs = self._call(arrays)
            found = [self._number(outputs, target) for target in targets]
        except (CaptureError, IndexError):
            return None
        return np.stack(found) if all(len(own) == rows for own in found) else None

    def require(
        self, test: Arrays, baseline: Arrays, result: PairAttribution, targets: Sequence[Target], dtype: str
    ) -> None:
        """Compare both members of a batch and, once, each row among other rows.

        Args:
            dtype: the coarsest type on the way from input to prediction, in the model's call or as it was followed.

        Raises:
            OtherAnswerError: the model says something else than what was followed.
            CompletenessError: what it says of one row depends on the others.
        """
        size = attribution_size(result)
        these = None
        if not self._compared_rows and self._sample_axes[0] is not None and size.shape[1] > 1:
            self._compared_rows = True
            these = hash((repr(targets), self._weights(), *(array.tobytes() for array in (*test, *baseline))))
        members = [(baseline, result.baseline_prediction, "the baseline"), (test, result.prediction, "the input")]
        as_they_are = these is not None and these not in self._compared
        if as_they_are or not self._agree_row_by_row(members, targets, size, dtype):
            for member in members:
                self._require_own(*member, targets, size, dtype)
        if not self._compared_settings:
            self.notes += self._of_settings(test, targets, size, dtype)
            self._compared_settings = True
        if these is not None and as_they_are:
            self._require_own_rows(test, baseline, targets, size, dtype)
            self._compared.add(these)

    def _agree_row_by_row(
        self, members: Sequence[Member], targets: Sequence[Target], size: np.ndarray, dtype: str
    ) -> bool:
        """Whether the model says what was followed when it is called once, on each row of both members that differs.

        Where it does not, the batch as it is decides: what goes by the number or the order of its rows is the model's.
        """
        asked = {member: arrays for arrays, _, member in members if not self._is_known(arrays, member)}
        try:
            if asked:
                if not self._takes_any_rows:
                    return False
                self._known |= self._of_distinct_rows(asked)
            for member in members:
                self._require_own(*member, targets, size, dtype, measure=False)
        except (CaptureError, IndexError):
            for member in asked:
                self._known.pop(member, None)
            self._takes_any_rows = False
            return False
        return True

    def _require_own(
        self,
        arrays: Arrays,
        followed: np.ndarray,
        member: str,
        targets: Sequence[Target],
        size: np.ndarray,
        dtype: str,
        measure: bool = True,
    ) -> None:
        """Compare one member of a batch; with ``measure`` what rounding moves is allowed for where it is needed."""
        outputs = self._of(arrays, member)
        for k, target in enumerate(targets):
            own, noise = self._number(outputs, target), self._noise(arrays, target, dtype) if measure else None
            said = require_own_answer(own, followed[k], size[k], dtype, member, noise)
            self.notes += [note for note in said if note not in self.notes]

    def _of_settings(self, test: Arrays, targets: Sequence[Target], size: np.ndarray, dtype: str) -> list[str]:
        """Where the person's own call answers differently from what is explained, in which settings are left out."""
        found = self._as_set(test)
        if found is None:
            return []
        (outputs, settings), exact = found, self._of(test, "the input")
        worst = None
        for k, target in enumerate(targets):
            own, given = self._number(exact, target), self._number(outputs, target)
            for row in rows_apart(own, given, size[k], dtype, self._noise(test, target, dtype)):
                if worst is None or abs(own[row] - given[row]) > abs(worst[0] - worst[1]):
                    worst = own[row], given[row]
        if worst is None:
            return []
        return [
            f"The settings of this process ({settings}) make the model's own predictions coarser: where "
            f"{worst[0]:.6g} is explained, a call under them gives {worst[1]:.6g}. It is explained without them."
        ]

    def _require_own_rows(
        self, test: Arrays, baseline: Arrays, targets: Sequence[Target], size: np.ndarray, dtype: str
    ) -> None:
        """Refuse a model whose answer to one row depends on the other rows; a framework may look further."""
        for mixed, of_baseline in other_mates(test, baseline, self._sample_axes, size.shape[1]):
            try:
                among = self._call(mixed)
            except CaptureError:  # it takes rows of the input, or of the baseline, but not both in one batch
                continue
            of_test, of_base = (self._known[member][1] for member in ("the input", "the baseline"))
            follow = partial(self._followed, (mixed, "float64"), (test, "float64"), (baseline, "float64"))
            three = among, of_test, of_base
            require_same_among_others(three, of_baseline, self._number, follow, targets, size)

    def _with_axes(self, arrays: Arrays) -> Iterable[tuple[np.ndarray, int | None]]:
        return zip(arrays, self._sample_axes, strict=True)

    def _of(self, arrays: Arrays, member: str) -> Outputs:
        """The model's outputs; those of the last batch where it was the same, as with one baseline for all."""
        if not self._is_known(arrays, member):
            self._known[member] = list(arrays), self._call(arrays)
        return self._known[member][1]

    def _is_known(self, arrays: Arrays, member: str) -> bool:
        return member in self._known and all(map(np.array_equal, arrays, self._known[member][0]))

    def _of_distinct_rows(self, members: Mapping[str, Arrays]) -> dict[str, tuple[list[np.ndarray], Outputs]]:
        """The model's outputs for batches of as many rows, from one call on all their rows that differ."""
        batches = [list(self._with_axes(arrays)) for arrays in members.values()]
        joined = [
            of_each[0][0] if of_each[0][1] is None else np.concatenate([np.moveaxis(a, axis, 0) for a, axis in of_each])
            for of_each in zip(*batches, strict=True)
        ]
        by_sample = [axis is not None for axis in self._sample_axes]
        kept, places = distinct_rows(*itertools.compress(joined, by_sample))
        rows = [
            np.moveaxis(array if kept is None else array[kept], 0, axis) if axis is not None else array
            for array, axis in zip(joined, self._sample_axes, strict=True)
        ]
        outputs = self._call(rows)
        count = len(places) if kept is None else len(kept)
        return {
            member: (list(arrays), self._spread(outputs, count, these))
            for (member, arrays), these in zip(members.items(), np.split(places, len(members)), strict=True)
        }

    def _followed(self, *runs: tuple[Arrays, str]) -> tuple[Outputs, ...] | None:
        """What is followed gives for all of these arrays and types; None where it cannot for one."""
        outputs = [self._follow(arrays, dtype) for arrays, dtype in runs]
        known = tuple(found for found in outputs if found is not None)
        return known if len(known) == len(runs) else None

    def _noise(self, arrays: Arrays, target: Target, dtype: str) -> Noise | None:
        """How far rounding in ``dtype`` moves each prediction, measured by following it in single and in double."""
        if dtype not in ("float32", "float64"):
            return None

        def measure() -> np.ndarray:
            outputs = self._followed((arrays, "float32"), (arrays, "float64"))
            if outputs is None:  # nobody knows, and nothing is allowed for it
                return np.zeros(1)
            single, double = (self._number(found, target) for found in outputs)
            return moved_by_rounding(single, double, dtype)

        return measure
