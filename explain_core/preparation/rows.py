"""Many pairs of rows (sample, baseline) explained in batches of one size, and put together again."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from explain_core.backends.ids import OutsideTableError
from explain_core.backends.protocol import (
    Divisor,
    GateTrace,
    LayerDefects,
    LedgerTrace,
    PairAttribution,
    Runner,
    Target,
)
from explain_core.errors import InputError
from explain_core.rules.relevance import Relevance

STEPS_AT_ONCE = 64_000
"""Rows times timesteps in one batch: keeps the memory of a batch in the order of a gigabyte at 256 units."""

MOST_ROWS = 256


class Plan:
    """Which rows go together.

    Args:
        leaves: the model's inputs as the model takes them.
        axes: the sample axis of each, or None.
    """

    def __init__(self, leaves: Sequence[np.ndarray], axes: Sequence[int | None]) -> None:
        self._axes = axes
        self._leaves = [
            leaf[None] if axis is None else np.moveaxis(leaf, axis, 0) for leaf, axis in zip(leaves, axes, strict=True)
        ]
        self.count = len(self._leaves[0])
        self._leaves = [  # an input that all samples share
            np.broadcast_to(rows, (self.count, *rows.shape[1:])) if axis is None else rows
            for rows, axis in zip(self._leaves, axes, strict=True)
        ]
        self.steps = max((leaf.shape[1] for leaf in self._leaves if leaf.ndim > 1), default=1)
        limit = 1 if axes[0] is None else max(1, min(MOST_ROWS, STEPS_AT_ONCE // self.steps))
        self.rows_at_once = min(self.count, limit)
        self._limit = limit
        self._baselines: list[np.ndarray] = []
        self._explained: tuple[bool, ...] = ()
        self.baseline_count = 1
        self._background = False
        self.notes: list[str] = []
        self.names: tuple[str, ...] = ()
        self._is_sample_by_sample = False
        self._is_fixed = False

    def sample_by_sample(self) -> None:
        """Every batch has rows of one sample only."""
        self._is_sample_by_sample, self.rows_at_once = True, 1

    def exactly(self, rows: int) -> None:
        """For models that take just so many rows, whatever the number of samples."""
        self.rows_at_once = self._limit = rows
        self._is_fixed = True

    def halve(self) -> bool:
        """Take half as many rows at once from now on; False where that is none, or no other number is taken."""
        if self._is_fixed or self.rows_at_once < 2:
            return False
        self.rows_at_once = self._limit = self.rows_at_once // 2
        return True

    def of_sample(self, number: int) -> Plan:
        """The same for one sample alone; a model that takes a fixed number of rows gets it as often as that."""
        one = copy.copy(self)
        one._leaves, one.count, one.notes = [leaf[number : number + 1] for leaf in self._leaves], 1, []
        if not self._background:
            one._baselines = [base if len(base) == 1 else base[number : number + 1] for base in self._baselines]
        if not self._is_fixed:
            one.rows_at_once = 1
        return one

    def one_by_one(self, *, filled: bool) -> Plan:
        """The same with a batch for each sample, which is its own baseline, for what knows none.

        Args:
            filled: whether batches keep their size, with the sample in every row.
        """
        alone = copy.copy(self)
        alone.notes, alone.baseline_count = [], 1
        alone.set_baselines(self._leaves, self._explained, False)
        alone.sample_by_sample()
        if filled:
            alone.exactly(self.rows_at_once)
        return alone

    def with_input(self, i: int, values: np.ndarray) -> Plan:
        """The same with other values (N, ...) of one input."""
        other = copy.copy(self)
        other._leaves = [*self._leaves[:i], values, *self._leaves[i + 1 :]]
        return other

    @property
    def axes(self) -> tuple[int | None, ...]:
        """The sample axis of each input, or None."""
        return tuple(self._axes)

    @property
    def has_sample_axis(self) -> bool:
        """Whether several rows can be given at once."""
        return self._axes[0] is not None

    @property
    def most_rows(self) -> int:
        """How many rows are run at once at most."""
        return self._limit

    @property
    def is_as_passed(self) -> bool:
        """Whether the model is run on the samples just as they were given: all in one batch, and each once."""
        return self.rows_at_once == self.count and self.baseline_count == 1

    def rows_of(self, samples: np.ndarray) -> list[np.ndarray]:
        """The inputs of these samples, as the model takes them."""
        return [self._in_layout(leaf[samples], axis) for leaf, axis in zip(self._leaves, self._axes, strict=True)]

    def first_rows(self) -> list[np.ndarray]:
        """Inputs of the size of a batch; the last sample repeated where there are fewer."""
        rows = np.minimum(np.arange(self.rows_at_once), self.count - 1)
        return self.rows_of(rows)

    def set_baselines(self, baselines: list[np.ndarray], explained: tuple[bool, ...], background: bool) -> None:
        """The baseline of each explained input, (B, ...)."""
        self._baselines, self._explained, self._background = baselines, explained, background
        if background:
            self.baseline_count = max(len(b) for b, e in zip(baselines, explained, strict=True) if e)

    def samples(self, i: int) -> np.ndarray:
        """Input ``i``, (N, ...)."""
        return self._leaves[i]

    def mean_baseline(self, i: int) -> np.ndarray:
        """The baseline of input ``i`` for each sample, (N, ...): the mean over a background."""
        base = self._baselines[i]
        if self._background and len(base) > 1:
            kind = np.result_type(base, np.float32) if base.dtype.kind == "f" else float
            base = base.mean(0, keepdims=True, dtype=float).astype(kind)
        return np.broadcast_to(base, self._leaves[i].shape)

    def in_all_rows(self, error: InputError) -> InputError:
        """What a batch was refused for, with the place among all samples."""
        if not isinstance(error.__cause__, OutsideTableError) or not self.names:
            return error
        in_layout = [self._in_layout(leaf, axis) for leaf, axis in zip(self._leaves, self._axes, strict=True)]
        base = [self._in_layout(b, axis) if len(b) else b for b, axis in zip(self._baselines, self._axes, strict=True)]
        return error.__cause__.of({"input": in_layout, "baseline": base}, self.names, self._explained)

    def batches(self) -> list[np.ndarray]:
        """Rows as (sample, baseline) numbers, (R, 2) a batch, all baselines of one background in turn.

        Batches hold whole rounds through the samples where they can, so that inputs that are not explained (lengths,
        masks) are the same in each. Where there are none, a batch has some of the samples with some of the baselines.
        """
        if self._is_sample_by_sample:
            return self._batches_of_samples()
        if self.baseline_count > 1 and all(self._explained) and not self._is_fixed:
            return self._batches_of_few_rows()
        if self._background:
            rows = [(n, b) for b in range(self.baseline_count) for n in range(self.count)]
        else:
            rows = [(n, n) for n in range(self.count)]
        if self.count == self.rows_at_once and self._background:
            rounds = max(1, self._limit // self.count)
            self.rows_at_once = self.count * min(rounds, self.baseline_count)
        size = self.rows_at_once
        return [np.array(rows[i : i + size]) for i in range(0, len(rows), size)]

    def _batches_of_few_rows(self) -> list[np.ndarray]:
        """Blocks of samples and baselines, so that as few rows as can be, each run once in a batch, make many pairs."""

        def work(samples: int) -> int:
            """All rows and pairs that are run, those that fill a block up included."""
            baselines = self._baselines_beside(samples)
            blocks = -(-self.count // samples) * -(-self.baseline_count // baselines)
            return blocks * (samples * baselines + samples + baselines)

        samples = min(range(1, min(self.count, self._limit) + 1), key=work)
        baselines = self._baselines_beside(samples)
        self.rows_at_once = samples * baselines
        some_samples, some_baselines = (
            [range(first, min(first + size, count)) for first in range(0, count, size)]
            for count, size in ((self.count, samples), (self.baseline_count, baselines))
        )
        return [np.array([(n, b) for b in base for n in test]) for test in some_samples for base in some_baselines]

    def _baselines_beside(self, samples: int) -> int:
        """How many baselines there are in each block, as evenly as can be."""
        blocks = -(-self.baseline_count // max(1, self._limit // samples))
        return -(-self.baseline_count // blocks)

    def _batches_of_samples(self) -> list[np.ndarray]:
        """The baselines of one sample in batches of one size, so that none is filled up; one by one in a fixed size."""
        size = 1
        if not self._is_fixed:
            size = max(k for k in range(1, min(self._limit, self.baseline_count) + 1) if self.baseline_count % k == 0)
            self.rows_at_once = size
        return [
            np.array([(n, b if self._background else n) for b in range(first, first + size)])
            for n in range(self.count)
            for first in range(0, self.baseline_count, size)
        ]

    def filled(self, rows: np.ndarray) -> np.ndarray:
        """Rows of a batch up to its size, by repeating the last one."""
        short = self.rows_at_once - len(rows)
        return np.concatenate([rows, np.repeat(rows[-1:], short, 0)]) if short else rows

    def inputs(self, rows: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """The test and the baseline members of a batch, filled up."""
        rows = self.filled(rows)
        test, base = [], []
        for i, (leaf, axis) in enumerate(zip(self._leaves, self._axes, strict=True)):
            members = leaf[rows[:, 0]]
            test.append(self._in_layout(members, axis))
            if self._explained[i]:
                at = rows[:, 1] if len(self._baselines[i]) > 1 else np.zeros(len(rows), int)
                members = self._baselines[i][at]
            base.append(self._in_layout(members, axis))
        return test, base

    @staticmethod
    def _in_layout(rows: np.ndarray, axis: int | None) -> np.ndarray:
        return rows[0] if axis is None else np.ascontiguousarray(np.moveaxis(rows, 0, axis))


class _Mean:
    """The mean over the rows of each sample, in float64 where there are several, (K, N, ...)."""

    def __init__(self, samples: int, rows_of_each: int) -> None:
        self._samples, self._rows_of_each = samples, rows_of_each
        self._total: np.ndarray | None = None
        self._dtype: np.dtype | None = None

    def add(self, part: np.ndarray, samples: np.ndarray) -> None:
        """``part`` (K, R, ...), of which the first rows are of the given samples; the rest is filling."""
        if self._total is None:
            self._dtype = part.dtype
            if self._rows_of_each == 1 and part.shape[1] == self._samples == len(samples):
                self._total = part  # all samples, in their order
                return
            exact = part.dtype if self._rows_of_each == 1 else np.float64
            self._total = np.zeros((part.shape[0], self._samples, *part.shape[2:]), exact)
        if part.shape[2:] != self._total.shape[2:]:  # packed samples run for as long as they are
            longest = tuple(map(max, part.shape[2:], self._total.shape[2:]))
            part, self._total = (_filled_up(array, longest) for array in (part, self._total))
        rounds = np.flatnonzero(np.diff(samples) <= 0) + 1  # within a round no sample comes twice
        for first, end in zip([0, *rounds], [*rounds, len(samples)], strict=True):
            at = samples[first:end]
            if at[-1] - at[0] == len(at) - 1:  # one after the other: a slice reads and writes in place
                at = slice(at[0], at[-1] + 1)
            if self._rows_of_each == 1:
                self._total[:, at] = part[:, first:end]
            else:
                self._total[:, at] += part[:, first:end]

    def value(self) -> np.ndarray:
        total = self._total
        assert total is not None  # a part was added
        return (total / self._rows_of_each).astype(self._dtype) if self._rows_of_each > 1 else total


def _filled_up(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(K, R, ...) with zeros at the end of the further axes, up to ``shape``."""
    missing = [(0, wanted - size) for wanted, size in zip(shape, array.shape[2:], strict=True)]
    return np.pad(array, [(0, 0), (0, 0), *missing])


def attribute_rows(
    runner: Runner,
    plan: Plan,
    targets: Sequence[Target],
    gates: bool,
    embeddings: bool,
    say: Callable[[float, str], None],
    ledger: str | Relevance | None = None,
) -> PairAttribution:
    """Explain all rows; the result has N samples, averaged over a background.

    ``ledger`` is for a plan that goes sample by sample, see `Runner.attribute`. The ledger's arrays then have the N
    samples.
    """
    batches = plan.batches()
    means: dict[tuple, _Mean] = {}

    def add(key: tuple, part: np.ndarray, samples: np.ndarray) -> None:
        means.setdefault(key, _Mean(plan.count, plan.baseline_count)).add(part, samples)

    kinds: dict[str, GateTrace] = {}
    layers: dict[str, LayerDefects] = {}
    divisors: dict[tuple[str, str], Divisor] = {}
    for number, rows in enumerate(batches):
        say(
            number / len(batches),
            f"Explaining batch {number + 1} of {len(batches)}" if len(batches) > 1 else "Explaining",
        )
        test, base = plan.inputs(rows)
        chosen = [target.of_rows(plan.filled(rows)[:, 0]) for target in targets]
        try:
            result = runner.attribute(test, base, chosen, gates=gates, embeddings=embeddings, ledger=ledger)
        except InputError as error:
            raise plan.in_all_rows(error) from error.__cause__
        for divisor in result.divisors:
            key, before = (divisor.where, divisor.operation), divisors.get((divisor.where, divisor.operation), divisor)
            divisors[key] = min(before, divisor, key=lambda d: d.baseline / d.test)
        samples = rows[:, 0]
        add(("prediction",), result.prediction, samples)
        add(("baseline",), result.baseline_prediction, samples)
        for i, part in enumerate(result.attributions):
            if part is not None:
                add(("attributions", i), part, samples)
        for i, part in result.embeddings.items():
            add(("embeddings", i), part, samples)
        for name, trace in result.gates.items():
            if trace.mass.shape[1] != plan.rows_at_once:
                note = f"Layer {name} does not run on one row for each sample, so its gates are not shown."
                plan.notes.extend([note] if note not in plan.notes else [])
                continue
            kinds[name] = trace
            for part in GATE_PARTS:
                array = getattr(trace, part)
                if array is not None:
                    add(("gates", name, part), array, samples)
        if result.ledger is not None:
            for key, array in _per_row(result.ledger, plan.rows_at_once).items():
                add(key, array * len(rows), samples[:1])
            layers |= result.ledger.layers

    def gather(kind: str) -> dict[int, np.ndarray]:
        return {key[1]: mean.value() for key, mean in means.items() if key[0] == kind}

    def gates_of(name: str) -> dict[str, Any]:
        return {part: means[key].value() if (key := ("gates", name, part)) in means else None for part in GATE_PARTS}

    attributions = gather("attributions")
    return PairAttribution(
        prediction=means[("prediction",)].value(),
        baseline_prediction=means[("baseline",)].value(),
        attributions=[attributions.get(i) for i in range(len(runner.explained))],
        gates={
            name: GateTrace(
                trace.kind,
                trace.gates,
                backwards=trace.backwards,
                **gates_of(name),
            )
            for name, trace in kinds.items()
        },
        embeddings=gather("embeddings"),
        ledger=None if ledger is None else _ledger(layers, {key: mean.value() for key, mean in means.items()}),
        divisors=list(divisors.values()),
    )


def _per_row(ledger: LedgerTrace, rows: int) -> dict[tuple, np.ndarray]:
    """The ledger of a batch of one sample, as the mean over its rows: each (K, 1, ...)."""
    found: dict[tuple, np.ndarray] = {("node", *key): value[:, None] / rows for key, value in ledger.nodes.items()}
    for name, layer in ledger.layers.items():
        found["layer", name, "defect"] = layer.defect.sum(1, keepdims=True) / rows
        for part in ("multiplier", "change"):
            found["layer", name, part] = np.sqrt((getattr(layer, part) ** 2).sum(1, keepdims=True) / rows)
    return found


def _ledger(layers: dict[str, LayerDefects], values: dict[tuple, np.ndarray]) -> LedgerTrace:
    """Put together what `_per_row` took apart, with N samples on axis 1."""
    return LedgerTrace(
        nodes={key[1:]: value for key, value in values.items() if key[0] == "node"},
        layers={
            name: replace(
                layer,
                defect=values["layer", name, "defect"],
                multiplier=values["layer", name, "multiplier"],
                change=values["layer", name, "change"],
            )
            for name, layer in layers.items()
        },
    )


GATE_PARTS = (
    *("contribution", "carry", "mass", "activation", "state", "cell"),
    *("input", "initial_state", "initial_cell", "lengths"),
)
"""The arrays of a `GateTrace`; all have the rows on axis 1."""
