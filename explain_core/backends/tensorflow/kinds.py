"""The kinds of rule that the table in `rules` is made of.

A rule takes a node and its input values, at least one of them paired, and returns the output values. What
it does to the test member goes on the gradient tape with the multipliers of DeepLIFT in place of
derivatives; see `pairs.attach`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from ...errors import UnsupportedOperation
from .arrays import weighed
from .graph import Node
from .pairs import (
    CREDIT,
    Discrete,
    Leaf,
    Pair,
    Value,
    attach,
    base,
    detach,
    is_paired,
    settle,
    test,
    unbroadcast,
)

Rule = Callable[[Node, Sequence[Value]], list[Value]]
Secant = Callable[..., tf.Tensor]  # of a, a', and further arguments of the operation
BinarySecant = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]  # of a, a', b, b'


def carries(rule: Rule) -> bool:
    """Whether what a rule gives is a statistic if what it is given is: it moves values, or goes element by element."""
    return getattr(rule, "is_linear", False) or getattr(rule, "by_element", False)


def marked(rule: Rule, **marks: Any) -> Rule:
    """The rule with marks on it: ``is_linear``, ``by_element``, or its ``secant``."""
    rule.__dict__.update(marks)
    return rule


def refuse(node: Node, why: str) -> UnsupportedOperation:
    """The error to raise where there is no rule: it names the operation, the layer, and what to do."""
    return UnsupportedOperation(
        f"TensorFlow operation {node.type!r}: {why}",
        where=node.place or node.operation.name,
        hint=f"Register a rule with explain_core.backends.tensorflow.register_rule({node.type!r}, rule); "
        "docs/tensorflow.md shows how.",
    )


def check(node: Node, values: Sequence[Value], covered: Sequence[int]) -> None:
    """Refuse paired inputs outside the positions that a rule covers."""
    for number, value in enumerate(values):
        if is_paired(value) and number not in covered:
            raise refuse(node, f"no rule for its input number {number} depending on the explained inputs")


def members(node: Node, values: Sequence[Value]) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """What an operation makes of both members; the same tensors of integers and masks of a single run."""
    tests = node.run([test(v) for v in values])
    if all(isinstance(v, Discrete) and v.is_single for v in values if is_paired(v)):
        return tests, tests
    return tests, node.run([base(v) for v in values])


def _covered(values: Sequence[Value], positions: tuple[int, ...], among: slice | None) -> Sequence[int]:
    numbers = range(len(values))
    return numbers[among] if among else positions or numbers


def linear(*positions: int, among: slice | None = None) -> Rule:
    """Linear in its paired inputs: TensorFlow's own gradient is right.

    Args:
        positions: the inputs that may be paired; all of them if there are none and no ``among``.
        among: the same as a slice, for operations on lists.
    """

    def rule(node: Node, values: Sequence[Value]) -> list[Value]:
        covered = _covered(values, positions, among)
        check(node, values, covered)
        if any(isinstance(value, Discrete) for value in values):
            return linear_discrete(node, values, covered)
        tests, bases = node.run([test(v) for v in values]), node.run([base(v) for v in values])
        return [Pair(t, b) for t, b in zip(tests, bases, strict=True)]

    return marked(rule, is_linear=True)


def movement(*positions: int, among: slice | None = None) -> Rule:
    """Moves elements and leaves them as they are, so that it holds for ids and masks as well."""
    floating = linear(*positions, among=among)

    def rule(node: Node, values: Sequence[Value]) -> list[Value]:
        discrete = [value for value in values if isinstance(value, Discrete)]
        if not discrete:
            return floating(node, values)
        moved = _covered(values, positions, among)
        check(node, values, moved)
        tests, bases = members(node, values)
        credits = node.run(
            [
                v.credit if isinstance(v, Discrete) else tf.zeros(v.shape, CREDIT) if number in moved else v
                for number, v in enumerate(values)
            ]
        )
        return [settle(t, b, c, leaf=_unchanged(discrete, t, b)) for t, b, c in zip(tests, bases, credits, strict=True)]

    return marked(rule, is_linear=True)


def _unchanged(discrete: list[Discrete], t: tf.Tensor, b: tf.Tensor) -> Leaf | None:
    """The input that these are still the ids of, if nothing has moved after all."""
    for value in discrete:
        if not value.leaf or value.test.shape != t.shape:
            continue
        if bool(tf.reduce_all((value.test == t) & (value.base == b))):
            return value.leaf
    return None


def elementwise_discrete(node: Node, values: Sequence[Value]) -> list[Value]:
    """Any function of the elements of one `Discrete`: an output's change is due to the element it came from."""
    only, *others = [value for value in values if is_paired(value)]
    if others or not isinstance(only, Discrete) or len(node.outputs) != 1:
        raise refuse(node, "there is no rule for it on integers or masks in which test and baseline differ")
    (t,), (b,) = members(node, values)
    given = [1] * (t.shape.rank - only.test.shape.rank) + list(only.test.shape)
    if len(given) > t.shape.rank or any(a not in (1, b) for a, b in zip(given, t.shape, strict=True)):
        raise refuse(node, "it does not act element by element on the integers given to it")
    return [settle(t, b, tf.broadcast_to(only.credit, t.shape))]


def linear_discrete(node: Node, values: Sequence[Value], covered: Sequence[int]) -> list[Value]:
    """A linear function of integers (a running count, the length of a mask): an output's contribution is shared by the
    inputs as they share in its change.

    With ``y = Σ w_i·a_i``, not yet rounded as a mean of integers is, element i gets ``w_i·Δa_i / Δy``. An output that
    does not change has nothing to share. Weights are taken in the middle, so that it holds for products of two as well.
    In a single run there are no changes, and ids stay ids.
    """
    places = [number for number, value in enumerate(values) if is_paired(value)]
    paired = [values[number] for number in places]
    if all(isinstance(value, Discrete) and value.is_single for value in paired):
        return elementwise_discrete(node, values)
    if len(node.outputs) != 1 or any(isinstance(value, Pair) for value in paired):
        raise refuse(node, "there is no rule for it on integers or masks in which test and baseline differ")
    (t,), (b,) = node.run([test(v) for v in values]), node.run([base(v) for v in values])
    like = _of_one_type(node, covered, len(values))
    exactly = [
        [tf.cast(of(v), CREDIT) if number in like else v for number, v in enumerate(values)] for of in (test, base)
    ]
    exact, exact_base = (node.run(member)[0] for member in exactly)
    if exact.dtype != CREDIT:
        raise refuse(node, "it turns integers in which test and baseline differ into floats of single precision")
    change = exact - exact_base
    middle = [(a + b) / 2 if number in places else a for number, (a, b) in enumerate(zip(*exactly, strict=True))]
    sources = [middle[number] for number in places]

    def backward(contribution: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(sources)
            (y,) = node.run(middle)
        ratio = tf.math.divide_no_nan(contribution, change)
        weights = tape.gradient(y, sources, output_gradients=ratio)
        moves = [exactly[0][number] - exactly[1][number] for number in places]
        return [tf.convert_to_tensor(weight) * moved for weight, moved in zip(weights, moves, strict=True)]

    return [settle(t, b, attach([v.credit for v in paired], tf.zeros(t.shape, CREDIT), backward))]


def _of_one_type(node: Node, covered: Sequence[int], count: int) -> set[int]:
    """The inputs that are of the type of the covered ones, such as what is filled in between them."""
    arguments = node.operation.op_def.input_arg
    if len(arguments) != count:  # a list, and then of one type
        return set(covered)
    types = {arguments[number].type_attr for number in covered}
    return {number for number in range(count) if number in covered or arguments[number].type_attr in types - {""}}


def elementwise(secant: Secant) -> Rule:
    """One floating input, ``y = σ(a)``: the Rescale rule, ``m_a = m_y · Δy/Δa``."""

    def rule(node: Node, values: Sequence[Value]) -> list[Value]:
        if not isinstance(values[0], Pair):
            return elementwise_discrete(node, values)
        check(node, values, (0,))
        a, b = detach(values[0].test), values[0].base
        (y,), (y_base,) = node.run([a, *values[1:]]), node.run([b, *values[1:]])
        slope = secant(a, b)
        return [Pair(attach([values[0].test], y, lambda dy: weighed(dy, slope)), y_base)]

    return marked(rule, secant=secant, by_element=True)


def parametrised(secant: Secant, *attributes: str) -> Rule:
    """`elementwise` for a secant with further arguments: attributes of the node or, without names, its other inputs."""

    def rule(node: Node, values: Sequence[Value]) -> list[Value]:
        check(node, values, (0,))
        given = [node.attribute(name) for name in attributes] if attributes else list(values[1:])
        return elementwise(lambda a, b: secant(a, b, *given))(node, values)

    return marked(rule, by_element=True)


def binary(first: BinarySecant, second: BinarySecant) -> Rule:
    """Two floating inputs that broadcast: the Shapley value of the two-player game (Lundberg & Lee 2017).

    ``m_a · Δa = ½ [f(a, b) - f(a', b) + f(a, b') - f(a', b')]`` and the same for b. ``first`` and
    ``second`` give the multipliers; with only one paired input they come down to the Rescale rule.
    """

    def rule(node: Node, values: Sequence[Value]) -> list[Value]:
        if any(isinstance(value, Discrete) for value in values):
            return elementwise_discrete(node, values)
        a, b = (detach(test(value)) for value in values)
        a_base, b_base = base(values[0]), base(values[1])
        (y,), (y_base,) = node.run([a, b]), node.run([a_base, b_base])
        slopes = [
            slope(a, a_base, b, b_base) if is_paired(v) else None
            for slope, v in zip((first, second), values, strict=True)
        ]
        inputs = [(v.test, s) for v, s in zip(values, slopes, strict=True) if s is not None]

        def backward(dy: tf.Tensor) -> list[tf.Tensor]:
            return [unbroadcast(weighed(dy, slope), tensor.shape) for tensor, slope in inputs]

        return [Pair(attach([tensor for tensor, _ in inputs], y, backward), y_base)]

    return marked(rule, by_element=True)


def averaged(secant: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor], *, second: bool) -> BinarySecant:
    """The Shapley multiplier of one argument: its secant, the other argument held at each member in turn.

    Args:
        secant: of (other argument, value, value of the other member).
        second: whether the argument in question is the second.
    """
    if second:
        return lambda a, a_base, b, b_base: (secant(a, b, b_base) + secant(a_base, b, b_base)) / 2
    return lambda a, a_base, b, b_base: (secant(b, a, a_base) + secant(b_base, a, a_base)) / 2


def bilinear(first: int, second: int) -> Rule:
    """Linear in each of two inputs (matrix products, convolutions): the gradient at the other's midpoint.

    ``f(a, b) - f(a', b') = f(Δa, b̄) + f(ā, Δb)``, the two-player Shapley value again.
    """
    alone = linear(first, second)

    def rule(node: Node, values: Sequence[Value]) -> list[Value]:
        if len(values) <= second or not (is_paired(values[first]) and is_paired(values[second])):
            return alone(node, values)
        check(node, values, (first, second))
        if any(isinstance(value, Discrete) for value in values):
            return linear_discrete(node, values, (first, second))
        tests, bases = [detach(test(v)) for v in values], [base(v) for v in values]
        (y,), (y_base,) = node.run(tests), node.run(bases)
        middle = list(tests)
        for i in (first, second):
            middle[i] = (tests[i] + bases[i]) / 2

        def backward(dy: tf.Tensor) -> list[tf.Tensor]:
            sources = [middle[first], middle[second]]
            with tf.GradientTape() as tape:
                tape.watch(sources)
                (product,) = node.run(middle)
            return tape.gradient(product, sources, output_gradients=dy)

        inputs = [values[first].test, values[second].test]
        return [Pair(attach(inputs, y, backward), y_base)]

    return rule
