"""Why a number is not finite: where in the model a NaN or an infinity comes up."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from ...errors import NonFiniteError
from .graph import Node, Program
from .interpreter import Interpreter
from .pairs import Pair, Value, base, is_paired, test

DIVISIONS = ("RealDiv", "Div")
WEIGHTS = ("ReadVariableOp", "ResourceGather")


class _Watching(Interpreter):
    """Notes where the first NaN comes up, the first infinity, and the last value that is finite in one member only.

    Args:
        member: `test` or `base`, of which NaNs and infinities are looked for.
    """

    def __init__(self, program: Program, member: Callable[[Value], tf.Tensor]) -> None:
        super().__init__(program, {})
        self._member = member
        self.first: dict[str, tuple[Node, list[Value]]] = {}
        self.apart: Node | None = None

    def _step(self, program: Program, node: Node, values: list[Value]) -> list[Value]:
        outputs = super()._step(program, node, values)
        for kind, found in (("NaN", tf.math.is_nan), ("infinity", tf.math.is_inf)):
            if kind not in self.first and any(_has(found, self._member, value) for value in outputs):
                self.first[kind] = node, values
        for value in outputs:
            if isinstance(value, Pair) and _any(tf.math.is_finite(value.test) != tf.math.is_finite(value.base)):
                self.apart = node
        return outputs


def _any(truth: tf.Tensor) -> bool:
    return bool(tf.reduce_any(truth))


def _has(found: Callable, member: Callable, value: Value) -> bool:
    if not (is_paired(value) or isinstance(value, tf.Tensor)) or not member(value).dtype.is_floating:
        return False
    return _any(found(member(value)))


def why_not_finite(
    program: Program, arguments: Sequence[Value], what: str, path: Callable[[str], str]
) -> NonFiniteError:
    """The error for a prediction or an attribution that is no number.

    Args:
        arguments: both members of the inputs, and what the graph takes from outside.
        what: "prediction", "prediction for the baseline" or "attribution".
        path: the name of a layer for a name scope.
    """
    watching = _Watching(program, base if "baseline" in what else test)
    results = watching.run(arguments)
    if what == "attribution":
        return _of_attribution(watching.apart, path)
    kind = "NaN" if any(_has(tf.math.is_nan, watching._member, value) for value in results) else "infinity"
    if kind not in watching.first:
        return NonFiniteError(f"the {what} is not finite", hint="Look at the model's own prediction.")
    node, values = watching.first[kind]
    before = watching.first.get("infinity", (node, values))
    if before[0].type in WEIGHTS:  # of which the NaN was made
        node, values = before
    where = path(node.place) or node.operation.name
    said = f"the {what} has {'a NaN' if kind == 'NaN' else 'an infinity'}, as the model's own has"
    if node.type in WEIGHTS:
        names = [variable.name for variable in program.graph.variables if variable.handle is values[0]]
        return NonFiniteError(
            f"{said}: the weight {names[0] if names else node.operation.name!r} is not finite",
            where=where,
            hint="A model that was trained to that cannot be explained: load weights from before.",
        )
    if node.type == "Const":
        return NonFiniteError(
            f"{said}: a constant of the model has one", where=where, hint="Correct the constant; it is no weight."
        )
    if node.type in DIVISIONS and _any((watching._member(values[0]) == 0) & (watching._member(values[1]) == 0)):
        is_baseline = "baseline" in what
        return NonFiniteError(
            f"{said}: zero is divided by zero in TensorFlow operation {node.type!r}"
            f"{', as in a mean over valid steps where all are padding' if is_baseline else ''}",
            where=where,
            hint='Choose a baseline that is not all padding: another id, or "padded-mean", or one with the padding '
            "of each sample."
            if is_baseline
            else "Does a sample consist of padding only? Leave it out.",
        )
    return NonFiniteError(
        f"{said}: it comes up in TensorFlow operation {node.type!r}",
        where=where,
        hint="The operation is not defined for what it gets there, or that is too large for it.",
    )


def _of_attribution(apart: Node | None, path: Callable[[str], str]) -> NonFiniteError:
    """Both predictions are finite."""
    if apart is None:
        return NonFiniteError(
            "an attribution is too large for its floating type, while both predictions are finite",
            hint='Use precision="float64", or inputs and baselines of another scale.',
        )
    return NonFiniteError(
        f"TensorFlow operation {apart.type!r} gives a finite number for one of input and baseline and none for the "
        "other, and the prediction depends on it: no number can be shared out of that difference",
        where=path(apart.place) or apart.operation.name,
        hint="Choose a baseline for which it is finite where it is for the input.",
    )
