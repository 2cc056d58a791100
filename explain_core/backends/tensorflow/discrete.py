"""Rules for integers and booleans in which test and baseline differ, and for where they meet floats.

A step function has no useful derivative, but its Rescale multiplier ``Δy/Δa`` is a plain finite number
wherever its value differs between the members. So a padding mask that comes from the input, or an id looked
up in a table, gets its exact share of the prediction difference. Contributions, not multipliers, travel
along a `Discrete`; see `pairs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import tensorflow as tf

from .arrays import weighed
from .graph import Node
from .kinds import check, elementwise_discrete, linear, members, movement, refuse
from .pairs import (
    CREDIT,
    Discrete,
    Pair,
    Value,
    attach,
    base,
    detach,
    difference,
    is_paired,
    settle,
    test,
    unbroadcast,
)


def game(node: Node, values: Sequence[Value]) -> list[Value]:
    """Truth of one input or two: the Shapley shares of its change."""
    tests, bases = [detach(test(v)) for v in values], [base(v) for v in values]
    (y,), (y_base,) = node.run(tests), node.run(bases)
    paired = [value for value in values if is_paired(value)]
    shares = [tf.ones(y.shape, CREDIT)]
    if len(paired) == 2:
        mixed = *node.run([bases[0], tests[1]]), *node.run([tests[0], bases[1]])
        both, second, first, none = (tf.cast(truth, CREDIT) for truth in (y, *mixed, y_base))
        share = tf.math.divide_no_nan((both - second + first - none) / 2, both - none)
        shares = [share, 1 - share]
    return [settle(y, y_base, _credit(paired, shares, tf.zeros(y.shape, CREDIT)))]


def _credit(paired: Sequence[Value], shares: Sequence[tf.Tensor], zeros: tf.Tensor) -> tf.Tensor:
    """A credit that goes on to the inputs by their shares; divided by Δ for a floating one, as a multiplier."""

    def backward(contribution: tf.Tensor) -> list[tf.Tensor]:
        gradients = []
        for value, share in zip(paired, shares, strict=True):
            part = contribution * share
            if isinstance(value, Pair):
                part = tf.math.divide_no_nan(part, tf.cast(difference(value.test, value.base), CREDIT))
            gradients.append(unbroadcast(part, value.test.shape))
        return gradients

    return attach([v.test if isinstance(v, Pair) else v.credit for v in paired], zeros, backward)


def quantifier(node: Node, values: Sequence[Value]) -> list[Value]:
    """Any and All over axes. Where they change, one member is uniform, so elements that differ share equally."""
    check(node, values, (0,))
    mask, axes = values
    (y,), (y_base,) = node.run([mask.test, axes]), node.run([mask.base, axes])
    changed = tf.cast(mask.test != mask.base, CREDIT)
    count = tf.reduce_sum(changed, axis=axes, keepdims=True)
    share = tf.math.divide_no_nan(changed, count)

    def backward(contribution: tf.Tensor) -> tf.Tensor:
        return tf.reshape(contribution, count.shape) * share

    return [settle(y, y_base, attach([mask.credit], tf.zeros(y.shape, CREDIT), backward))]


def _due(ids: Discrete, y: tf.Tensor, y_base: tf.Tensor) -> tf.Tensor:
    """What ids contribute to what is made of them alone, by a multiplier of 1: its change, or all in a single run."""
    return y if ids.is_single else y - y_base


def cast(node: Node, values: Sequence[Value]) -> list[Value]:
    """Linear between floating types; between floats and the rest, multipliers and contributions meet."""
    (value,) = values
    (y,), (y_base,) = members(node, values)
    if isinstance(value, Pair):
        if y.dtype.is_floating and y.dtype.size == 1:
            raise refuse(node, f"no rule for rounding to the 8 bits of {y.dtype.name}")
        if y.dtype.is_floating:
            return [replace(pair, leaf=value.leaf) for pair in linear(0)(node, values)]
        credit = _credit([value], [tf.ones(y.shape, CREDIT)], tf.zeros(y.shape, CREDIT))
        return [settle(y, y_base, credit, value.leaf)]
    if not y.dtype.is_floating or value.is_single:  # ids stay ids, of whatever type
        return [settle(y, y_base, value.credit, value.leaf)]
    change = y - y_base
    return [Pair(attach([value.credit], y, lambda dy: dy * change), y_base, value.leaf)]


def select(node: Node, values: Sequence[Value]) -> list[Value]:
    """``c ? a : b`` is ``c·a + (1 - c)·b``: products of two paired tensors, each with its midpoints."""
    condition, *branches = values
    if not isinstance(condition, Discrete):
        return movement(1, 2)(node, values)
    shape = test(branches[0]).shape
    if node.type == "Select" and condition.test.shape.rank < shape.rank:  # one choice for each row, or for everything
        condition = _of_rows(condition, shape)
        values = [condition, *branches]
    if not test(branches[0]).dtype.is_floating:
        return elementwise_discrete(node, values)
    tests = [condition.test, *(detach(test(v)) for v in branches)]
    (y,), (y_base,) = node.run(tests), node.run([base(v) for v in values])
    y, y_base = _hidden(y, y_base), _hidden(y_base, y)
    c, c_base = (tf.cast(t, y.dtype) for t in (condition.test, condition.base))
    middle, change = (c + c_base) / 2, c - c_base
    advantage = (tests[1] - tests[2] + base(branches[0]) - base(branches[1])) / 2
    # A branch that is not taken by either member may hold anything, infinities included.
    slope = tf.where(tf.equal(change, 0), tf.zeros_like(advantage), advantage * change)
    # Where the choice is what keeps the value finite, it is what the whole change is due to.
    kept = tf.math.is_finite(slope)
    slope = tf.where(kept, slope, y - y_base)
    middles = [tf.where(kept, weight, tf.zeros_like(slope)) for weight in (middle, 1 - middle)]

    inputs = [(condition.credit, slope)]
    inputs += [(v.test, w) for v, w in zip(branches, middles, strict=True) if is_paired(v)]

    def backward(dy: tf.Tensor) -> list[tf.Tensor]:
        return [unbroadcast(weighed(dy, weight), tensor.shape) for tensor, weight in inputs]

    return [Pair(attach([tensor for tensor, _ in inputs], y, backward), y_base)]


def _of_rows(condition: Discrete, shape: tf.TensorShape) -> Discrete:
    """A truth for every element from those of the first axis, which is not how tensors broadcast."""
    rows = [*condition.test.shape, *[1] * (shape.rank - condition.test.shape.rank)]
    parts = (condition.test, condition.base, condition.credit)
    return Discrete(*(tf.broadcast_to(tf.reshape(part, rows), shape) for part in parts))


_BEYOND = 1e20  # e to the minus this is 0, and its quotients with small numbers are still numbers


def _hidden(tensor: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """With a number beyond all for an infinity in one member only (attention's masks), so that there is a difference.

    Where the prediction could tell the two, it is not the model's own any more, and that is refused.
    """
    alone = tf.math.is_inf(tensor) & tf.math.is_finite(other)
    return tf.where(alone, tf.sign(tensor) * tf.cast(_BEYOND, tensor.dtype), tensor)


def gather(node: Node, values: Sequence[Value]) -> list[Value]:
    """A table and ids: an id's contribution is the sum over what it looked up, floats or integers."""
    table, ids, *axis = values
    if not isinstance(ids, Discrete):
        return movement(0)(node, values)
    check(node, values, (0, 1))
    if "batch_dims" in node.operation.node_def.attr and node.attribute("batch_dims"):
        raise refuse(node, "no rule for ids that differ within the pair and have a table for each of them")
    if isinstance(table, Discrete):
        raise refuse(node, "no rule for ids and a table of integers that both differ within the pair")
    if isinstance(table, Pair) and ids.is_single:
        raise refuse(node, "the table and the ids that are looked up in it are both explained")

    def look_up(entries: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        return node.run([entries, rows, *axis])[0]

    entries, entries_base = detach(test(table)), base(table)
    y = look_up(entries, ids.test)
    y_base = y if ids.is_single else look_up(entries_base, ids.base)
    first = int(axis[0]) % entries.shape.rank if axis else 0
    own = [a for a in range(y.shape.rank) if not first <= a < first + ids.test.shape.rank]
    if not y.dtype.is_floating:
        credit = attach([ids.credit], tf.zeros(y.shape, CREDIT), lambda dy: tf.reduce_sum(dy, axis=own))
        if ids.leaf and first == 0 and own:  # of integers, what arrives at their credit is their contribution
            ids.leaf.embedded.append((credit, tf.ones_like(credit)))
        return [settle(y, y_base, credit, None if own else ids.leaf)]
    inputs = [ids.credit]
    change = _due(ids, y, y_base)
    if isinstance(table, Pair):
        change = (y - look_up(entries, ids.base) + look_up(entries_base, ids.test) - y_base) / 2
        inputs.append(table.test)

    def backward(dy: tf.Tensor) -> list[tf.Tensor]:
        gradients = [tf.reduce_sum(dy * change, axis=own)]
        if isinstance(table, Pair):
            with tf.GradientTape() as tape:
                tape.watch(entries)
                halves = (look_up(entries, ids.test) + look_up(entries, ids.base)) / 2
            gradients.append(tf.convert_to_tensor(tape.gradient(halves, entries, output_gradients=dy)))
        return gradients

    out = attach(inputs, y, backward)
    if ids.leaf and first == 0:
        ids.leaf.embedded.append((out, change))
    return [Pair(out, y_base)]


def find(node: Node, values: Sequence[Value]) -> list[Value]:
    """A table with keys: what is found, integers or floats, changes by its own key alone."""
    (found,) = elementwise_discrete(node, values)
    if not isinstance(found, Discrete) or not found.test.dtype.is_floating:
        return [found]
    change = _due(found, found.test, found.base)
    return [Pair(attach([found.credit], found.test, lambda dy: dy * change), found.base)]


def one_hot(node: Node, values: Sequence[Value]) -> list[Value]:
    """Ids written as unit vectors."""
    check(node, values, (0,))
    ids = values[0]
    (y,), (y_base,) = members(node, values)
    axis = node.attribute("axis")
    if not y.dtype.is_floating:
        zeros = tf.zeros(y.shape, CREDIT)
        return [settle(y, y_base, attach([ids.credit], zeros, lambda credit: tf.reduce_sum(credit, axis=axis)))]
    change = _due(ids, y, y_base)
    out = attach([ids.credit], y, lambda dy: tf.reduce_sum(dy * change, axis=axis))
    if ids.leaf and axis == -1:
        ids.leaf.embedded.append((out, change))
    return [Pair(out, y_base)]
