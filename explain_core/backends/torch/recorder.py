"""What the gates of recurrent layers did: written down on the way, put together afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from explain_core.backends.protocol import GateTrace, LayerDefects, LedgerTrace
from explain_core.backends.torch import arrays
from explain_core.backends.torch.ledger import Ledger
from explain_core.backends.torch.loops import Loops
from explain_core.backends.torch.pairs import Pair
from explain_core.rules.recurrence import Pass, Recurrence


def _numpy(x: Tensor) -> np.ndarray:
    return x.detach().cpu().numpy()


def _norm(tensors: Iterable[Tensor]) -> Tensor:
    """The Euclidean norm over units, of several kinds of state together: (T, N, ·) to (T, N)."""
    return torch.cat([t.double() for t in tensors], -1).norm(dim=-1)


@dataclass(frozen=True)
class StepDefects:
    """The ledger of one call of one layer for one output, each (N, T) in the order of the input; see `LayerDefects`."""

    parts: dict[str, np.ndarray]
    multiplier: np.ndarray
    change: np.ndarray


@dataclass
class LayerRecord:
    """One call of one layer in one direction.

    Everything is (T, N, ...) in the order in which the layer runs; ``order`` (T, N) says which timestep of the input
    that was, where it differs, ``valid`` (T, N) which steps are not padding, and ``samples`` which sample each row is.
    """

    kind: str
    gates: tuple[str, ...]
    recorder: Recorder
    order: Tensor | None = None
    valid: Tensor | None = None
    samples: tuple[int, ...] | None = None
    activation: np.ndarray = field(init=False)
    state: np.ndarray = field(init=False)
    cell: np.ndarray | None = None
    input: np.ndarray = field(init=False)
    initial: tuple[np.ndarray, ...] = ()
    by_target: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=dict)
    settled: dict[int, StepDefects] = field(default_factory=dict)

    def given(self, x: Pair, states: Iterable[Pair]) -> None:
        """The input (T, N, I) and the initial states (N, H) of both members."""
        self.input = np.stack([self._in_input_order(member) for member in (x.test, x.base)])
        place = slice(None) if self.samples is None else np.argsort(self.samples)
        self.initial = tuple(np.stack([_numpy(s.test)[place], _numpy(s.base)[place]]) for s in states)

    def forward(self, run: Recurrence) -> None:
        """What a run did before any multiplier came back."""
        units = len(self.gates), -1
        self.activation = self._both(run, run.gates()).reshape(*self.input.shape[:3], *units)
        self.state = self._both(run, run.h)
        self.cell = None if run.c is None else self._both(run, run.c)

    def _both(self, run: Recurrence, rows: Tensor) -> np.ndarray:
        """Distinct rows (T, U, ·) as both members, (2, N, T, ·)."""
        test, base = run.layer.members.of(arrays, rows)
        return np.stack([self._in_input_order(member) for member in (test, base.expand_as(test))])

    def backward(self, run: Recurrence, found: Pass) -> None:
        """What came back through a run for the output that is explained."""
        shape = *found.returned.pre.shape[:2], len(self.gates), -1
        settled = run.contribution(found).view(shape), run.carry(found), run.mass(found)
        contribution, carry, mass = map(self._in_input_order, settled)
        self.by_target[self.recorder.target] = contribution, carry, mass
        if self.recorder.ledger is None:
            return
        parts = run.defects(found)
        m_states = [m for m in (found.returned.h, found.returned.c) if m is not None]
        changes = [run.layer.members.difference(arrays, rows) for rows in (run.h, run.c) if rows is not None]
        self.settled[self.recorder.target] = StepDefects(
            parts={name: self._in_input_order(part) for name, part in parts.items()},
            multiplier=self._in_input_order(_norm(m_states)),
            change=self._in_input_order(_norm(changes)),
        )

    def lengths(self) -> np.ndarray | None:
        """Timesteps before the padding, (2, N); None where there is none."""
        if self.valid is None:
            return None
        lengths = _numpy(self.valid.sum(0))
        return np.stack([lengths if self.samples is None else lengths[np.argsort(self.samples)]] * 2)

    def _in_input_order(self, x: Tensor) -> np.ndarray:
        """(T, N, ...) as run, to (N, T, ...) in the order of the input, zero on padding."""
        if self.order is not None:
            index = self.order.reshape(*self.order.shape, *[1] * (x.ndim - 2)).expand(x.shape)
            x = x.gather(0, index)
        if self.valid is not None:
            x = torch.where(self.valid.reshape(*self.valid.shape, *[1] * (x.ndim - 2)), x, 0.0)
        rows = _numpy(x.movedim(1, 0))
        return rows if self.samples is None else rows[np.argsort(self.samples)]


class Recorder:
    """Collects the records of one run, and knows which output is being explained.

    Attributes:
        loops: those of the captured graph.
    """

    def __init__(self, *, gates: bool, embeddings: bool, ledger: Ledger | None = None) -> None:
        self.target = 0
        self.ledger = ledger
        self._gates = gates
        self._embeddings = embeddings
        self._layers: dict[str, list[LayerRecord]] = {}
        self.lookups: list[dict[int, np.ndarray]] = []
        self.loops = Loops()

    def layer(
        self, name: str, kind: str, gates: tuple[str, ...], order=None, valid=None, samples=None
    ) -> LayerRecord | None:
        """A record for one call of a layer, or None if gates are not wanted."""
        if not self._gates and self.ledger is None:
            return None
        if self.ledger is not None and (own := self.ledger.layer_record()) is not None:
            return own
        record = LayerRecord(kind, gates, self, order, valid, samples)
        self._layers.setdefault(name, []).append(record)
        return record

    def lookup(self) -> Callable[[Tensor], None]:
        """For one lookup in a table: what takes its unsummed contributions (N, ..., E) to the current output."""
        if not self._embeddings:
            return lambda contribution: None
        found: dict[int, np.ndarray] = {}
        self.lookups.append(found)
        return lambda contribution: found.update({self.target: _numpy(contribution)})

    def traces(self, targets: int) -> dict[str, GateTrace]:
        """By layer name. Calls of one cell, as in a loop over time, follow one another along the time axis."""
        return {name: _join(*self._in_time(name), targets) for name in self._layers} if self._gates else {}

    def explain(self, target: int) -> None:
        """From now on multipliers are those of this output."""
        self.target = target
        if self.ledger is not None:
            self.ledger.target = target

    def defects(self, targets: int) -> LedgerTrace | None:
        """What was left of the difference at every node, if that was wanted."""
        if self.ledger is None:
            return None
        nodes = {key: np.array([of[k] for k in range(targets)]) for key, of in self.ledger.nodes.items()}
        layers = {name: _join_defects(*self._in_time(name), targets) for name in self._layers}
        backwards = {loop: loop in self.loops.backwards for loop in self.loops.steps}
        loops = self.ledger.loops.layers(backwards, targets)
        named = {f"{name} (other operations)" if name in layers else name: layer for name, layer in loops.items()}
        return LedgerTrace(nodes, layers | named)

    def _in_time(self, name: str) -> tuple[list[LayerRecord], bool]:
        """The records of a layer's calls in the order of the input's time, and whether it reads backwards."""
        records = self._layers[name]
        for loop in self.loops.backwards:
            if f"{name}.".startswith(f"{loop}.") and len(records) == len(self.loops.steps[loop]):
                return records[::-1], True
        return records, records[0].order is not None


def _join(records: list[LayerRecord], backwards: bool, targets: int) -> GateTrace:
    """Records that no multiplier reached contribute nothing.

    Of a layer that was also called on more rows than there are samples (each window of a sequence by itself), those
    calls are kept, which says that its gates have no sample.
    """
    most = max(r.state.shape[1] for r in records)
    records = [r for r in records if r.state.shape[1] == most]
    first = records[-1 if backwards else 0]  # of the calls

    def by_target(part: int) -> np.ndarray:
        of_each = [_joined([_part(r, k, part) for r in records], 1) for k in range(targets)]
        return np.stack(of_each) if targets > 1 else of_each[0][None]

    def along_time(name: str) -> np.ndarray:
        return _joined([getattr(r, name) for r in records], 2)

    return GateTrace(
        kind=first.kind,
        gates=first.gates,
        contribution=by_target(0),
        carry=by_target(1),
        mass=by_target(2),
        activation=along_time("activation"),
        state=along_time("state"),
        cell=None if first.cell is None else along_time("cell"),
        input=along_time("input"),
        initial_state=first.initial[0],
        initial_cell=None if first.cell is None else first.initial[1],
        lengths=first.lengths() if len(records) == 1 else None,
        backwards=backwards,
    )


def _joined(arrays: list[np.ndarray], axis: int) -> np.ndarray:
    """One after the other along an axis; a single one is not copied."""
    return np.concatenate(arrays, axis) if len(arrays) > 1 else arrays[0]


def _join_defects(records: list[LayerRecord], backwards: bool, targets: int) -> LayerDefects:
    """The steps of all calls one after the other; zero where no multiplier came through, or a call has fewer rows."""
    rows = max(record.state.shape[1] for record in records)

    def along_time(of: Callable[[StepDefects], np.ndarray]) -> np.ndarray:
        found = np.zeros((targets, rows, sum(record.state.shape[2] for record in records)))
        start = 0
        for record in records:
            n, steps = record.state.shape[1:3]
            for k in record.settled:
                found[k, :n, start : start + steps] = of(record.settled[k])
            start += steps
        return found

    first = next((step for record in records for step in record.settled.values()), None)
    names = tuple(first.parts) if first else ("linear",)
    return LayerDefects(
        kind=records[0].kind,
        parts=names,
        defect=np.stack([along_time(lambda s, name=name: s.parts[name]) for name in names], -1),
        multiplier=along_time(lambda s: s.multiplier),
        change=along_time(lambda s: s.change),
        backwards=backwards,
    )


def _part(record: LayerRecord, target: int, part: int) -> np.ndarray:
    if target in record.by_target:
        return record.by_target[target][part]
    contribution = np.zeros_like(record.activation[0])
    return (contribution, contribution[..., 0, :], contribution[..., 0, 0])[part]
