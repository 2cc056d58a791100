"""Loops over time that are no layer this engine knows, such as ``keras.layers.RNN`` around a cell of a model's own.

TensorFlow runs them step by step, and step n is timestep n where every step takes the n-th of all elements of one list
that depends on the input, which nothing on the way to the loop has put in another order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import tensorflow as tf

from ..loop_book import Place
from .graph import Node, Program
from .ledger import Ledger
from .pairs import Elements, Pair, Value, is_paired

_OTHER_ORDER = frozenset(
    ("Gather", "GatherNd", "GatherV2", "Reverse", "ReverseSequence", "ReverseV2", "Roll", "While", "StatelessWhile")
)
"""Operations after which the first of a list need not be the first timestep; of loops that is not known."""


@dataclass(frozen=True)
class TimeLoop:
    """A loop over the elements of a list, the timesteps.

    Attributes:
        name: the name scope that the loop stands in, which for Keras is the path of the layer.
        parts: what each operation of a step is called.
    """

    name: str
    parts: dict[Node, str]

    @classmethod
    def of(cls, program: Program, node: Node, body: Program, values: Sequence[Value]) -> TimeLoop | None:
        """The loop, or None where it is not certain that its steps are the timesteps."""
        given = [value for value in values if isinstance(value, Elements) and any(map(is_paired, value.items))]
        reads = [inner for inner in body.nodes if inner.type == "TensorListGetItem"]
        if len(given) != 1 or len(reads) != 1 or not _in_order(program, node):
            return None
        return cls(node.place, _names(node.operation.name, body))

    def step(
        self, ledger: Ledger, number: int, values: Sequence[Value], run: Callable[[Sequence[Value]], list[Value]]
    ) -> list[Value]:
        """Run one step, with its entries in their places; what it changes and hands on are the states."""
        ledger.around = {node: Place(self.name, number, part) for node, part in self.parts.items()}
        after = run(values)
        ledger.around = {}
        states = {
            id(new): ledger.hand_on(new, self.name, number)
            for old, new in zip(values, after, strict=True)
            if isinstance(new, Pair) and new is not old
        }
        return [_with(value, states) for value in after]


def _with(value: Value, states: dict[int, Pair]) -> Value:
    """A state, or a list that a state was written into."""
    if isinstance(value, Elements):
        return replace(value, items=tuple(states.get(id(item), item) for item in value.items))
    return states.get(id(value), value)


def _in_order(program: Program, node: Node) -> bool:
    """Whether nothing that leads to a node changes an order, but for a table that rows are looked up in."""
    makers = {slot: other for other in program.nodes for slot in other.outputs}
    waiting, seen = [makers[slot] for slot in node.inputs if slot in makers], set()
    while waiting:
        maker = waiting.pop()
        if maker in seen:
            continue
        seen.add(maker)
        sources = [makers[slot] for slot in maker.inputs if slot in makers]
        is_lookup = maker.type == "GatherV2" and sources and sources[0].type == "ReadVariableOp"
        if (maker.type in _OTHER_ORDER and not is_lookup) or (maker.type == "StridedSlice" and _turns(maker, makers)):
            return False
        waiting += sources
    return True


def _turns(node: Node, makers: Mapping[int, Node]) -> bool:
    """Whether a slice may go from the end to the beginning."""
    strides = makers.get(node.inputs[3])
    if strides is None or strides.type != "Const":
        return True
    return bool((tf.make_ndarray(strides.attribute("value")) < 0).any())


def _names(loop: str, body: Program) -> dict[Node, str]:
    """A name for each operation: its type, the layer below the loop that it is in, and a number where it repeats."""
    below = [node.place.removeprefix(loop).strip("/") for node in body.nodes]
    names = [f"{node.type} in {where}" if where else node.type for node, where in zip(body.nodes, below, strict=True)]
    times, seen = Counter(names), Counter()
    found = {}
    for node, name in zip(body.nodes, names, strict=True):
        seen[name] += 1
        found[node] = f"{name} ({seen[name]})" if times[name] > 1 else name
    return found
