"""Walks a traced graph with pairs: plain nodes run as they are, paired ones by their rule.

The walk is eager. Loops, branches and variables therefore meet actual values, so a loop over time needs no
more than a Python ``while``, and TensorFlow's gradient tape records the test member as it goes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import tensorflow as tf

from ...errors import CaptureError
from . import lists, scales
from .graph import Node, Program
from .ids import require_in_table, require_kept, require_not_negative
from .kinds import Rule, refuse
from .layers import mark_of
from .ledger import Ledger
from .loops import TimeLoop
from .methods import METHODS, Method
from .pairs import CREDIT, Pair, Value, is_paired, settle
from .recurrent import Fused
from .rules import OF_SHAPE, RULES

# Ops that hand on what they get. A custom gradient is an IdentityN; the functions under it have rules of
# their own, and stop_gradient says how to train a model, not what its output depends on.
ALIASES = frozenset(
    (
        "CheckNumerics",
        "EnsureShape",
        "Identity",
        "IdentityN",
        "PlaceholderWithDefault",
        "PreventGradient",
        "Snapshot",
        "StopGradient",
    )
)
WITHOUT_EFFECT = frozenset(("Assert", "NoOp", "PrintV2", "Print"))


class Interpreter:
    """Runs a program once.

    Args:
        program: the traced model.
        fused: recurrent layers by the mark that their loop was traced under. Each takes the arguments of the
            marked function and returns its results, or None if the loop is to be interpreted after all.
        method: the rules that it goes by.
        ledger: where the defect of every operation is written down, or None.
        cuts: where numbers of an input become ids that are looked up, with the input's name.
        from_the_end: where negative ids are counted from the end of a table.
    """

    def __init__(
        self,
        program: Program,
        fused: Mapping[str, Fused],
        method: Method = METHODS["paired"],
        ledger: Ledger | None = None,
        cuts: Mapping[tf.Operation, str] | None = None,
        from_the_end: Collection[tf.Operation] = (),
    ) -> None:
        self._program = program
        self._cuts, self._from_the_end = cuts or {}, from_the_end
        self._method, self._ledger = method, ledger
        self._fused = fused
        self.divisors = scales.Divisors()  # where the baseline is divided by next to nothing
        self._assigned: dict[object, Value] = {}  # what the graph writes; the model's variables stay as they are

    def run(self, arguments: Sequence[Value]) -> list[Value]:
        return self._walk(self._program, arguments)

    def carry_on(self, before: Interpreter) -> None:
        """Start with the counters that an earlier run left: the whole numbers in what it wrote."""
        self._assigned = {
            key: value
            for key, value in before._assigned.items()
            if isinstance(value, tf.Tensor) and value.dtype.is_integer
        }

    def _walk(self, program: Program, arguments: Sequence[Value]) -> list[Value]:
        slots: list[Value | None] = [None] * program.size
        for slot, value in zip(program.arguments, arguments, strict=True):
            slots[slot] = value
        for node in program.nodes:
            outputs = self._step(program, node, [slots[i] for i in node.inputs])
            for slot, value in zip(node.outputs, outputs, strict=True):
                slots[slot] = value
        return [slots[slot] for slot in program.results]

    def _step(self, program: Program, node: Node, values: list[Value]) -> list[Value]:
        kind = node.type
        if kind in ("Gather", "GatherV2"):
            require_in_table(node, values)
        elif node.operation in self._cuts:
            require_kept(node, values[0], self._cuts[node.operation])
        elif node.operation in self._from_the_end:
            require_not_negative(values)
        if kind in ALIASES:
            return values[: len(node.outputs)]
        if kind in WITHOUT_EFFECT:
            return []
        if kind in _FLOW:
            return _FLOW[kind](self, program, node, values)
        if kind in lists.OPERATIONS:
            return self._by(lists.OPERATIONS[kind], node, values)
        if not any(is_paired(value) for value in values):
            return self._plain(node, values)
        if kind in OF_SHAPE:
            return node.run([value.base if is_paired(value) else value for value in values])
        return self._paired(program, node, values)

    def _paired(self, program: Program, node: Node, values: Sequence[Value]) -> list[Value]:
        rules = self._method.rules(program, node, values)
        if not rules:
            raise refuse(node, "there is no rule for it, so going on would give wrong attributions")
        self.divisors.look(node, values)
        results = list(values)
        try:
            for rule in rules:
                results = self._by(rule, node, results)
        except (AttributeError, LookupError, TypeError, ValueError) as error:  # what Python raises of odd arguments
            raise refuse(node, f"its rule fails on these inputs with {type(error).__name__}: {error}") from error
        return self._method.mark(node, scales.mark(node, RULES[node.type], values, results))

    def _by(self, rule: Rule, node: Node, values: Sequence[Value]) -> list[Value]:
        if self._ledger is None or not self._ledger.books(node.type):
            return rule(node, values)
        return self._ledger.measure(node, rule, values)

    def _plain(self, node: Node, values: list[tf.Tensor]) -> list[tf.Tensor]:
        if not hasattr(tf.raw_ops, node.type):
            raise refuse(node, "it cannot be run outside the graph that it was made for")
        return node.run(values)

    # Functions, branches and loops

    def _call(self, program: Program, node: Node, values: list[Value]) -> list[Value]:
        name = node.attribute("f").name
        mark = mark_of(name)
        fused = None if mark is None else self._fused.get(mark)
        results = fused(values) if fused else None
        return self._walk(program.function(name), values) if results is None else results

    def _branch(self, program: Program, node: Node, values: list[Value]) -> list[Value]:
        choice, *arguments = values
        decided = self._one(node, choice)
        if node.type in ("If", "StatelessIf"):
            taken = node.attribute("then_branch" if bool(decided) else "else_branch")
        else:
            branches, number = node.attribute("branches"), int(decided)
            taken = branches[number if 0 <= number < len(branches) else -1]
        return self._walk(program.function(taken.name), arguments)

    def _loop(self, program: Program, node: Node, values: list[Value]) -> list[Value]:
        condition = program.function(node.attribute("cond").name)
        body = program.function(node.attribute("body").name)
        ledger = self._ledger if program is self._program else None
        over_time = None if ledger is None else TimeLoop.of(program, node, body, values)
        step = 0
        while bool(self._one(node, self._walk(condition, values)[0])):
            if ledger is not None and over_time is not None:
                values = over_time.step(ledger, step, values, lambda given: self._walk(body, given))
            else:
                values = self._walk(body, values)
            step += 1
        return values

    def _one(self, node: Node, value: Value) -> tf.Tensor:
        """What decides, which must be the same for both members; a floating number decides by whether it is 0."""
        if isinstance(value, Pair):
            value = settle(value.test != 0, value.base != 0, tf.zeros(value.test.shape, CREDIT))
        if is_paired(value):
            raise CaptureError(
                "the input and its baseline take different ways through the model, so what happens on one "
                "cannot be compared with the other",
                where=node.place or node.operation.name,
                hint="Choose a baseline that takes the same branch and the same number of loop steps.",
            )
        return value

    # Variables

    def _read(self, program: Program, node: Node, values: list[Value]) -> list[Value]:
        variable = values[0]
        if variable.ref() not in self._assigned:
            stored = tf.raw_ops.ReadVariableOp(resource=variable, dtype=node.attribute("dtype"))
            return [program.precision.cast(stored)]
        return [self._assigned[variable.ref()]]

    def _assign(self, program: Program, node: Node, values: list[Value]) -> list[Value]:
        variable, value = values
        if node.type != "AssignVariableOp":
            (before,) = self._read(program, node, [variable])
            if is_paired(before) or is_paired(value):
                raise refuse(node, "it adds what depends on the explained inputs to a variable")
            value = before + value if node.type == "AssignAddVariableOp" else before - value
        self._assigned[variable.ref()] = value
        return []

    def _gather(self, program: Program, node: Node, values: list[Value]) -> list[Value]:
        (table,) = self._read(program, node, values[:1])
        rows = node.attribute("batch_dims")
        looking_up = replace(node, type="Gather", run=lambda tensors: [tf.gather(*tensors, batch_dims=rows)])
        given = [table, values[1]]
        require_in_table(node, given)
        return self._paired(program, looking_up, given) if any(map(is_paired, given)) else looking_up.run(given)


_FLOW = {
    "AssignAddVariableOp": Interpreter._assign,
    "AssignSubVariableOp": Interpreter._assign,
    "AssignVariableOp": Interpreter._assign,
    "Case": Interpreter._branch,
    "If": Interpreter._branch,
    "PartitionedCall": Interpreter._call,
    "ReadVariableOp": Interpreter._read,
    "ResourceGather": Interpreter._gather,
    "StatefulPartitionedCall": Interpreter._call,
    "StatelessCase": Interpreter._branch,
    "StatelessIf": Interpreter._branch,
    "StatelessWhile": Interpreter._loop,
    "While": Interpreter._loop,
}


def operations() -> frozenset[str]:
    """The types of all operations that the engine knows what to do with. None of them does more than compute."""
    return frozenset((*ALIASES, *WITHOUT_EFFECT, *_FLOW, *lists.OPERATIONS, *OF_SHAPE, *RULES))
