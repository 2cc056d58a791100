"""Following the axes of a model's inputs through what it computes, to where it says what they are.

An axis of a tensor is a tuple of `Atom`: factors of its size, outermost first, each with the axes of inputs that its
positions come from. Reshaping regroups the atoms; what mixes the positions of an axis (a linear layer, a convolution)
keeps where they come from. A recurrent layer then says which axis of the input is time, and so on: `Votes`. The two
frameworks share this and nothing of their tables of operations.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod

Source = tuple[int, int]
"""An axis of an input: the number of the input, and of its axis."""


@dataclass(frozen=True)
class Atom:
    """One factor of the size of an axis, and the axes of inputs that it comes from."""

    size: int
    sources: frozenset[Source] = frozenset()


Axis = tuple[Atom, ...]
Axes = tuple[Axis, ...]


@dataclass(frozen=True)
class Flow:
    """Where a tensor comes from.

    Attributes:
        axes: of each axis.
        picked: of axes of inputs that are no longer there, for one position was taken: those positions, as bits.
    """

    axes: Axes
    picked: Mapping[Source, int] = field(default_factory=dict)

    @property
    def rank(self) -> int:
        return len(self.axes)


def start(leaf: int, shape: Sequence[int]) -> Flow:
    """An input."""
    return Flow(tuple((Atom(steps, frozenset({(leaf, axis)})),) for axis, steps in enumerate(shape)))


def sources(axis: Axis) -> frozenset[Source]:
    """The axes of inputs that an axis comes from."""
    return frozenset().union(*(atom.sources for atom in axis))


def size(axis: Axis) -> int:
    """How many positions an axis has."""
    return prod(atom.size for atom in axis)


def sized(axes: Iterable[Axis], shape: Sequence[int]) -> Axes:
    """The axes with these sizes: one atom where they have changed."""
    return tuple(a if size(a) == new else (Atom(new, sources(a)),) for a, new in zip(axes, shape, strict=True))


def merged(*picked: Mapping[Source, int]) -> dict[Source, int]:
    """Every position that any of them has."""
    found: dict[Source, int] = {}
    for one in picked:
        for source, bits in one.items():
            found[source] = found.get(source, 0) | bits
    return found


def aligned(flows: Sequence[Flow], shape: Sequence[int]) -> Flow:
    """The result of an elementwise operation: axes go together from the last one on, as in broadcasting."""
    axes = []
    for back in range(len(shape), 0, -1):
        new = shape[-back]
        there = [flow.axes[-back] for flow in flows if flow.rank >= back]
        whole = [axis for axis in there if len(axis) > 1 and sized([axis], [new])[0] == axis]
        all_sources = frozenset().union(*(sources(axis) for axis in there))
        if whole and all_sources == sources(whole[0]):
            axes.append(whole[0])
        else:
            axes.append((Atom(new, all_sources),))
    return Flow(tuple(axes), merged(*(flow.picked for flow in flows)))


def kept(flow: Flow, shape: Sequence[int]) -> Flow:
    """The same axes with other sizes."""
    return Flow(sized(flow.axes, shape), flow.picked)


def turned(flow: Flow) -> Flow:
    """The last two axes in the other order."""
    return Flow((*flow.axes[:-2], flow.axes[-1], flow.axes[-2]), flow.picked)


def regrouped(flow: Flow, shape: Sequence[int]) -> Flow:
    """The tensor in another shape with the same order of elements."""
    waiting = [atom for axis in flow.axes for atom in axis if atom.size > 1 or atom.sources]
    axes: list[Axis] = []
    for new in shape:
        taken: list[Atom] = []
        missing = new
        if new == 1 and waiting and waiting[0].size == 1:
            taken.append(waiting.pop(0))
        while missing > 1 and waiting:
            atom = waiting.pop(0)
            if missing % atom.size == 0:
                if atom.size > 1:
                    taken.append(atom)
                missing //= atom.size
            elif atom.size % missing == 0:
                taken.append(replace(atom, size=missing))
                waiting.insert(0, replace(atom, size=atom.size // missing))
                missing = 1
            else:
                return _mixed(flow, shape)
        if missing != 1:
            return _mixed(flow, shape)
        axes.append(tuple(taken) or (Atom(1),))
    return Flow(tuple(axes), flow.picked)


def _mixed(flow: Flow, shape: Sequence[int]) -> Flow:
    everything = frozenset().union(*(sources(axis) for axis in flow.axes))
    return Flow(tuple((Atom(new, everything),) for new in shape), flow.picked)


def without(flow: Flow, axis: int) -> Flow:
    """The tensor with one axis gone."""
    axis %= flow.rank
    return Flow((*flow.axes[:axis], *flow.axes[axis + 1 :]), flow.picked)


def with_new(flow: Flow, axis: int, atom: Atom | None = None) -> Flow:
    """The tensor with one axis more."""
    axis %= flow.rank + 1
    return Flow((*flow.axes[:axis], (atom or Atom(1),), *flow.axes[axis:]), flow.picked)


def picked(flow: Flow, axis: int, position: int, keep: bool = False) -> Flow:
    """One position of an axis, which stays with the size 1 or goes."""
    axis %= flow.rank
    found = sources(flow.axes[axis])
    of_axis = {next(iter(found)): 1 << position} if len(found) == 1 else {}
    rest = replace(flow, axes=(*flow.axes[:axis], (Atom(1),), *flow.axes[axis + 1 :])) if keep else without(flow, axis)
    return replace(rest, picked={**flow.picked, **of_axis})


def product(a: Flow, b: Flow, shape: Sequence[int]) -> Flow:
    """A matrix product (..., i, k) by (..., k, j)."""
    rank = len(shape)
    batch = aligned([Flow(a.axes[:-2]), Flow(b.axes[:-2])], shape[: rank - 2]).axes if rank > 2 else ()
    return Flow((*batch, a.axes[-2], b.axes[-1]), merged(a.picked, b.picked))


def contracted(terms: Sequence[str], result: str, flows: Sequence[Flow | None], shape: Sequence[int | None]) -> Flow:
    """The result of an einsum, from the letters of each factor; a weight's own axis stands for what it sums over."""
    where: dict[str, list[Flow]] = {}
    for term, flow in zip(terms, flows, strict=True):
        for letter, axis in zip(term, flow.axes if flow else (), strict=False):
            where.setdefault(letter, []).append(Flow((axis,)))
    followed = [flow for flow in flows if flow]
    gone = frozenset().union(*(sources(f.axes[0]) for c, found in where.items() if c not in result for f in found))
    axes = []
    for letter, known in zip(result, shape, strict=True):
        found = where.get(letter)
        if found:
            axes.append(aligned(found, [known or size(found[0].axes[0])]).axes[0])
        else:
            axes.append((Atom(known or 1, gone if len(followed) == 1 else frozenset()),))
    return Flow(tuple(axes), merged(*(flow.picked for flow in followed)))


def stacked(flows: Sequence[Flow | None], axis: int, shape: Sequence[int]) -> Flow:
    """Tensors side by side along a new axis: that axis where each has its own positions of one."""
    known = [flow for flow in flows if flow is not None]
    rest = aligned(known, [new for a, new in enumerate(shape) if a != axis])
    common = set.intersection(*(set(flow.picked) for flow in known)) if len(known) == len(flows) else set()
    own = frozenset(source for source in common if len({flow.picked[source] for flow in known}) == len(known) > 1)
    joined = with_new(rest, axis, Atom(shape[axis], own))
    return replace(joined, picked={s: bits for s, bits in rest.picked.items() if s not in own})


class Votes:
    """What the places that a model uses its inputs in say of their axes.

    Args:
        shapes: of the inputs.
        sample_axes: of the inputs.
    """

    def __init__(self, shapes: Sequence[Sequence[int]], sample_axes: Sequence[int | None]) -> None:
        self._shapes = shapes
        self._samples = {(leaf, axis) for leaf, axis in enumerate(sample_axes)}
        self._said: dict[bool, dict[Source, set[str]]] = {True: defaultdict(set), False: defaultdict(set)}
        self._steps: dict[Source, set[int]] = defaultdict(set)
        self._mixed: dict[Source, set[int]] = defaultdict(set)
        self._step_axes: dict[Source, Axes] = {}

    def say(self, axis: Axis, name: str, *, sure: bool = True) -> None:
        """An axis of a tensor is ``name``: so is the axis of each input that it alone comes from.

        What is sure (a recurrent layer, a convolution) stands before what is not (attention, a table of ids).
        """
        for source in self._single(axis):
            if source not in self._samples or (sure and name == "time"):
                self._said[sure][source].add(name)

    def say_pairwise(self, steps: Axis, channels: Axis) -> None:
        """Every position of ``steps`` is compared with every other by its ``channels``, as attention does.

        That does not tell a series of features from features over time, so it counts in the usual order only.
        """
        numbers = dict(self._single(channels))
        for leaf, axis in self._single(steps):
            if (leaf, axis) in self._samples or numbers.get(leaf, axis + 1) <= axis:
                continue
            self._said[False][leaf, axis].add("time")
            if leaf in numbers:
                self._said[False][leaf, numbers[leaf]].add("feature")

    def say_scores(self, a: Flow, b: Flow) -> None:
        """A product (..., i, k) by (..., k, j), which is scores where i and j are of one axis: attention."""
        rows = sources(a.axes[-2])
        if rows and rows == sources(b.axes[-1]):
            self.say_pairwise(a.axes[-2], a.axes[-1])

    def say_contracted(self, terms: Sequence[str], result: str, flows: Sequence[Flow]) -> None:
        """The same for an einsum of two."""
        one, other = ({c: flow.axes[at] for at, c in enumerate(term)} for term, flow in zip(terms, flows, strict=True))
        summed = [c for c in one if c in other and c not in result]
        for row in (c for c in one if c not in other):
            for column in (c for c in other if c not in one):
                same = sources(one[row])
                if summed and same and same == sources(other[column]):
                    self.say_pairwise(one[row], one[summed[-1]])

    def say_ids(self, ids: Flow) -> None:
        """Ids in a row, which one table turns into vectors, are steps."""
        others = [axis for axis in ids.axes if sources(axis) and not self.is_sample(axis)]
        if len(others) == 1 and not ids.picked:
            self.say(others[0], "time", sure=False)

    def step(self, flow: Flow) -> None:
        """A recurrent cell runs on a tensor; on several positions of an axis, that axis is time."""
        for source, bits in flow.picked.items():
            if source in self._samples:
                continue
            self._steps[source].add(bits)
            self._step_axes.setdefault(source, flow.axes[-1:])

    def combined(self, flow: Flow) -> None:
        """A nonlinear function of a tensor that may have come from several positions of an axis."""
        for source, bits in flow.picked.items():
            if bits.bit_count() > 1 and source not in self._samples:
                self._mixed[source].add(bits)

    def is_sample(self, axis: Axis) -> bool:
        """Whether an axis is that of the samples alone."""
        return bool(sources(axis)) and sources(axis) <= self._samples

    def names(self) -> tuple[tuple[str | None, ...], ...]:
        """For each axis of each input its name; None where nothing or not all say the same.

        "time" at a sample axis means that the model takes the samples for the steps of a sequence.
        """
        for source, bits in self._steps.items():
            leaf, axis = source
            if len(bits) > 1 or self._shapes[leaf][axis] == 1:
                self._said[True][source].add("time")
                for channels in self._step_axes[source]:
                    self.say(channels, "feature")
        for (leaf, axis), bits in self._mixed.items():
            steps = self._shapes[leaf][axis]
            if steps > 2 and len(bits) >= steps - 1:  # each step a function of all before it, so no mere sum
                self._said[True][leaf, axis].add("time")
        return tuple(self._names_of(leaf, len(shape)) for leaf, shape in enumerate(self._shapes))

    def _names_of(self, leaf: int, rank: int) -> tuple[str | None, ...]:
        nothing = (None,) * rank
        for sure in (True, False):
            said = {axis: self._said[sure][leaf, axis] for axis in range(rank) if self._said[sure].get((leaf, axis))}
            if not said:
                continue
            names = [next(iter(found)) for found in said.values()]
            if any(len(found) > 1 for found in said.values()) or len(set(names)) < len(names):
                return nothing
            by_axis = dict(zip(said, names, strict=True))
            return tuple(by_axis.get(axis) for axis in range(rank))
        return nothing

    def _single(self, axis: Axis) -> list[Source]:
        """By input, the one axis that an axis comes from; none where there are several. Samples count alone only."""
        of_leaf: dict[int, set[int]] = defaultdict(set)
        found = sources(axis)
        others = found - self._samples
        for leaf, number in others or found:
            of_leaf[leaf].add(number)
        return [(leaf, next(iter(numbers))) for leaf, numbers in of_leaf.items() if len(numbers) == 1]
