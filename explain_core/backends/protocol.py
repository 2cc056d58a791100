"""What a framework backend gives and takes: plain numpy, no framework, no labels.

A backend package has one function, ``open_runner``; everything framework-specific is behind the `Runner`
that it returns. The shapes below use N for samples (rows of the batch), K for explained outputs, T for
timesteps, G for gates and H for units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from explain_core.rules.relevance import Relevance

METHODS = ("paired", "gradient", "shap", "rescale-only")
"""Methods that a runner can keep the ledger of; see docs/diagnostics.md."""


@dataclass(frozen=True)
class ModelOutput:
    """One tensor that the model returns: its name and its shape without the sample axis.

    ``rows`` are names of the positions of the first of two axes, where that is known not to be time.
    ``unexplained`` says why it cannot be explained, where another one of the outputs can: it has no axis of the
    samples, and the shape is that of all of it.
    """

    name: str
    shape: tuple[int, ...]
    rows: tuple[str, ...] = ()
    unexplained: str = ""


@dataclass(frozen=True)
class OwnMask:
    """That the model leaves out steps of an input by a mask that it makes of the input itself.

    ``padding`` is the value that a step is left out for where all its numbers have it; None where the mask is made of
    something that was computed from the input.
    """

    padding: float | None


@dataclass(frozen=True)
class Target:
    """One explained scalar per sample: ``output[sample, *index]`` of the ``output``-th tensor.

    With ``against`` it is the difference to that other scalar. An entry of ``index`` that is a tuple has a number for
    each sample, or in `Runner.attribute` for each row; ``labels`` then says of each sample what it stands for.
    """

    output: int
    index: tuple[int | tuple[int, ...], ...]
    label: str
    against: Target | None = None
    labels: tuple[str, ...] = ()

    @property
    def parts(self) -> tuple[Target, ...]:
        """What is explained, and then what is taken from it, if anything is."""
        return (self,) if self.against is None else (self, self.against)

    def of_rows(self, samples: Sequence[int] | np.ndarray) -> Target:
        """The same for rows that are of these samples."""
        index = tuple(tuple(i[n] for n in samples) if isinstance(i, tuple) else i for i in self.index)
        return replace(self, index=index, against=self.against and self.against.of_rows(samples))

    def of_sample(self, number: int) -> Target:
        """The same for rows that are all of one sample."""
        index = tuple(i[number] if isinstance(i, tuple) else i for i in self.index)
        return replace(self, index=index, against=self.against and self.against.of_sample(number))

    def place(self, axis: int | None) -> tuple:
        """Where it stands in a tensor with that sample axis, ``against`` left out: numpy's index that gives (N,)."""
        if axis is None:  # a single row without its axis
            return tuple(i[0] if isinstance(i, tuple) else i for i in self.index)
        rows = [len(i) for i in self.index if isinstance(i, tuple)]
        index = [np.array(i) if isinstance(i, tuple) else i for i in self.index]
        return (*index[:axis], np.arange(rows[0]) if rows else slice(None), *index[axis:])


@dataclass
class GateTrace:
    """What one recurrent layer (one direction) did, step by step.

    ``mass`` is the multiplier-weighted difference that the layer's states carry at each step,
    ``Σ m_h·Δh_t + Σ m_c·Δc_t``; for exact rules it equals ``contribution`` summed over gates and units plus
    ``carry`` summed over units, at every step.
    """

    kind: str  # "LSTM", "GRU" or "RNN"
    gates: tuple[str, ...]  # LSTM: input, forget, candidate, output; GRU: reset, update, new; RNN: new
    contribution: np.ndarray  # (K, N, T, G, H): m_pre·Δpre of each gate's pre-activation
    carry: np.ndarray  # (K, N, T, H): what goes straight on to the state before
    mass: np.ndarray  # (K, N, T)
    activation: np.ndarray  # (2, N, T, G, H): gate values, test member first, then baseline
    state: np.ndarray  # (2, N, T, H): hidden state h_t of both members; (2, N, T, P) where it is projected
    cell: np.ndarray | None = None  # (2, N, T, H): cell state c_t, for LSTM
    input: np.ndarray | None = None  # (2, N, T, I): what the layer was given
    initial_state: np.ndarray | None = None  # (2, N, H): hidden state before the first step that the layer reads
    initial_cell: np.ndarray | None = None  # (2, N, H): the same of the cell state, for LSTM
    lengths: np.ndarray | None = None  # (2, N): timesteps before each member's padding, where the layer is told
    backwards: bool = False  # whether the layer reads the last timestep first


@dataclass
class LayerDefects:
    """The ledger of one recurrent layer (one direction); all in float64.

    ``defect`` is what each part of each step leaves of the output's difference, ``m_out·Δout - Σ m_in·Δin``;
    ``multiplier`` and ``change`` are Euclidean norms over all states of a step (hidden and, for LSTM, cell).
    """

    kind: str
    parts: tuple[str, ...]
    defect: np.ndarray  # (K, N, T, P)
    multiplier: np.ndarray  # (K, N, T): of the states after each step
    change: np.ndarray  # (K, N, T): their difference between the two runs
    backwards: bool = False  # whether the layer reads from the last timestep to the first


@dataclass
class LedgerTrace:
    """Defects of everything nonlinear. Added over all nodes and layers they are prediction difference minus ``Σφ``."""

    nodes: dict[tuple[str, str], np.ndarray]  # by (module path, operation): (K,) over all rows; put together (K, N)
    layers: dict[str, LayerDefects] = field(default_factory=dict)


@dataclass(frozen=True)
class Divisor:
    """What an operation divides by, in the element where the baseline's is least beside the input's.

    ``is_statistic`` says that it is a statistic, as in a normalisation, for which the rule is bounded.
    """

    where: str
    operation: str
    test: float
    baseline: float
    is_statistic: bool


@dataclass
class PairAttribution:
    """Attributions of N pairs of rows (test, baseline)."""

    prediction: np.ndarray  # (K, N)
    baseline_prediction: np.ndarray  # (K, N)
    attributions: list[np.ndarray | None]  # per input leaf: (K, N, ...) sample axis first; None if not explained
    gates: dict[str, GateTrace] = field(default_factory=dict)
    embeddings: dict[int, np.ndarray] = field(default_factory=dict)  # leaf -> (K, N, ..., E), on request
    ledger: LedgerTrace | None = None  # with Runner.ledger
    divisors: list[Divisor] = field(default_factory=list)  # where the baseline is divided by next to nothing


class Runner(Protocol):
    """A model made ready to explain rows of the shape it was opened with."""

    explained: tuple[bool, ...]  # per input leaf: floats and token ids are; lengths and masks are not
    float_ids: tuple[bool, ...]  # per input leaf: floats that the model itself, in part, cuts to ids and looks up
    own_masks: tuple[OwnMask | None, ...]  # per input leaf
    outputs: tuple[ModelOutput, ...]
    output_axes: tuple[int | None, ...]  # the sample axis of each output
    axis_names: tuple[tuple[str | None, ...], ...]  # per input leaf: of each axis in the layout of the model "time",
    # "feature", "layer" or "unit" where the model says so, else None; "time" at a sample axis: it reads along samples
    notes: tuple[str, ...]  # things the person should know, in plain words
    device: str  # where it runs: "cpu", "cuda", "cuda:1"
    dtype: str  # "float32" or "float64"

    @property
    def coarsest(self) -> str:
        """The floating type of the fewest digits on the way from input to prediction."""

    def answer(self, arrays: Sequence[np.ndarray], targets: Sequence[Target]) -> np.ndarray | None:
        """The model's own predictions (K, N), for any number of rows; None where it does not take that many."""

    def attribute(
        self,
        test: Sequence[np.ndarray],
        baseline: Sequence[np.ndarray],
        targets: Sequence[Target],
        *,
        gates: bool,
        embeddings: bool,
        ledger: str | Relevance | None = None,
    ) -> PairAttribution:
        """Explain N rows.

        Args:
            test, baseline: every input leaf of both members, in the layout that the model takes.
            gates, embeddings: whether these are wanted too.
            ledger: a method of `METHODS` to go by instead of the engine's own, and to keep the ledger of. With
                `Relevance`, for which both members are the same, the ledger has what was absorbed: its nodes are by
                module path and what took it.

        Raises:
            NoRoomError: so many rows do not fit into memory.
        """


def constant_input_notes(
    names: Sequence[str], explained: Sequence[bool], shared: Sequence[bool] | None = None
) -> list[str]:
    """What to say of inputs that are not explained; ``shared`` are those that all samples share."""
    why = {True: "is shared by all samples", False: "holds whole numbers or flags that index no table"}
    return [
        f"Input {name!r} {why[is_shared]}: it is the same for the sample and its baseline, and is not explained."
        for name, flag, is_shared in zip(names, explained, shared or [False] * len(names), strict=True)
        if not flag
    ]
