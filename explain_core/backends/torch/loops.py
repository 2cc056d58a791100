"""Loops over time that a model writes out itself: one module called for every timestep, on the last call's states.

That is certain where the n-th call of a module takes something of the call before it, and from outside one position of
an axis, which is the n-th, counted from either end, of all that the axis has. A module that is merely used several
times, such as one activation in several places, is no loop, and neither is one that does not do the same every time.
"""

from __future__ import annotations

import operator
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import fx

from explain_core.backends.loop_book import Place

aten = torch.ops.aten


@dataclass
class Loops:
    """The loops of a captured graph.

    Attributes:
        steps: by module path, the timestep of each call, in the order of the calls.
        places: of the operations inside.
        leaving: by the node that comes after a call, what the call hands on to the next one.
    """

    steps: dict[str, tuple[int, ...]] = field(default_factory=dict)
    places: dict[fx.Node, Place] = field(default_factory=dict)
    leaving: dict[fx.Node, list[tuple[fx.Node, Place]]] = field(default_factory=lambda: defaultdict(list))

    @property
    def backwards(self) -> set[str]:
        """Those that read the last timestep first."""
        return {path for path, steps in self.steps.items() if steps[0] > steps[-1]}


def find_loops(graph: fx.Graph) -> Loops:
    """The loops in a graph whose nodes say in which calls of modules they were recorded."""
    found = Loops()
    for path, bodies in _repeated(graph).items():
        steps, parts = _steps(bodies), _parts(path, bodies[0])
        if steps is None or any(_parts(path, body) != parts for body in bodies):
            continue
        found.steps[path] = steps
        handed_on = {
            at
            for body, following in pairwise(bodies)
            for at, node in enumerate(body)
            if node in _taken(following, set(body))[0]
        }
        for step, body in zip(steps, bodies, strict=True):
            places = {node: Place(path, step, part) for node, part in zip(body, parts, strict=True)}
            found.places |= places
            found.leaving[body[-1].next] += [(body[at], places[body[at]]) for at in sorted(handed_on)]
    return found


def calls_of(node: fx.Node) -> tuple[tuple[str, int], ...]:
    """The calls of modules that a node is in, outermost first: module path, and how many calls of it came before."""
    return (node.meta.get("custom") or {}).get("calls", ())


def _repeated(graph: fx.Graph) -> dict[str, list[list[fx.Node]]]:
    """By path of every module that is called several times and inside no other such module: the nodes of each call."""
    nodes = [node for node in graph.nodes if node.op == "call_function"]
    times = Counter(path for path, _ in {call for node in nodes for call in calls_of(node)})
    bodies: dict[str, dict[int, list[fx.Node]]] = defaultdict(lambda: defaultdict(list))
    for node in nodes:
        outermost = next(((path, number) for path, number in calls_of(node) if times[path] > 1), None)
        if outermost is not None:
            bodies[outermost[0]][outermost[1]].append(node)
    return {path: [calls[number] for number in sorted(calls)] for path, calls in bodies.items()}


def _steps(bodies: Sequence[list[fx.Node]]) -> tuple[int, ...] | None:
    """The timestep that each call takes; None where that is not certain."""
    before: set[fx.Node] = set()
    read: list[dict[tuple, set[int]]] = []
    for number, body in enumerate(bodies):
        states, outside = _taken(body, before)
        if number and not states & set(bodies[number - 1]):
            return None
        positions: dict[tuple, set[int]] = defaultdict(set)
        for node in outside:
            if (position := _position(node)) is not None:
                positions[position[:2]].add(position[2])
        read.append(positions)
        before |= set(body)
    for axis, size in read[0]:
        if size != len(bodies) or any(len(positions.get((axis, size), ())) != 1 for positions in read):
            continue
        steps = tuple(next(iter(positions[axis, size])) for positions in read)
        if steps in (tuple(range(size)), tuple(reversed(range(size)))):
            return steps
    return None


def _taken(body: list[fx.Node], before: set[fx.Node]) -> tuple[set[fx.Node], set[fx.Node]]:
    """What a call takes: the nodes of ``before``, and everything else outside that it depends on without them."""
    inside, states, outside = set(body), set(), set()
    waiting = [source for node in body for source in node.all_input_nodes if source not in inside]
    while waiting:
        node = waiting.pop()
        if node in before:
            states.add(node)
        elif node not in outside:
            outside.add(node)
            waiting += node.all_input_nodes
    return states, outside


def _position(node: fx.Node) -> tuple[int, int, int] | None:
    """For a node that takes one position of an axis: the axis, its size, and the position."""
    if node.op != "call_function":
        return None
    if node.target is aten.select.int:
        source, axis, position = node.args
    elif node.target is aten.slice.Tensor and len(node.args) == 4 and node.args[3] == node.args[2] + 1:
        source, axis, position, _ = node.args
    elif node.target is operator.getitem and node.args[0].target is aten.unbind.int:
        (source, *rest), position = node.args[0].args, node.args[1]
        axis = rest[0] if rest else 0
    else:
        return None
    shape = source.meta["val"].shape
    axis %= len(shape)
    return axis, shape[axis], position % shape[axis]


def _parts(path: str, body: list[fx.Node]) -> list[str]:
    """A name for each operation of a call: what it is, in which module below ``path``, a number if it repeats."""
    names = []
    for node in body:
        where = (node.meta.get("custom") or {}).get("module", "").removeprefix(path).removeprefix(".")
        target = getattr(node.target, "_schema", None)
        name = target.name.removeprefix("aten::") if target is not None else node.target.__name__
        names.append(f"{name} in {where}" if where else name)
    times, seen, numbered = Counter(names), Counter(), []
    for name in names:
        seen[name] += 1
        numbered.append(f"{name} ({seen[name]})" if times[name] > 1 else name)
    return numbered
