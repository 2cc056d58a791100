"""What flows along the edges of a graph that is interpreted on pairs.

Every edge carries one of

- a plain ``tf.Tensor``: the same for both members (weights, constants, shapes, loop counters);
- a `Pair`: floats of the test member, which are on the gradient tape, and of the baseline, which are not;
- a `Discrete`: integers or booleans in which the members differ (token ids, padding masks);
- `Elements`: what TensorFlow calls a TensorList, the storage of its loops.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeGuard

import tensorflow as tf

from ..provenance import NEUTRAL, OTHER


@dataclass
class Leaf:
    """An input of ids, and where they turned into vectors: the test member's, and the difference they make."""

    embedded: list[tuple[tf.Tensor, tf.Tensor]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Pair:
    """A floating tensor of both members; both have the same shape."""

    test: tf.Tensor
    base: tf.Tensor
    leaf: Leaf | None = None  # the input this is, as long as nothing but its type has changed
    scale: str = OTHER  # whether it is a statistic that may be divided by, or the inverse of one; see `provenance`

    @property
    def kind(self) -> str:
        """`scale`, by one name with that of a `Discrete`."""
        return self.scale


CREDIT = tf.float64  # one type for all, whatever the model's: credits of ids and of masks meet


@dataclass(frozen=True, slots=True)
class Discrete:
    """Integers or booleans of both members.

    There is no multiplier for them, for a half-changed id has no meaning. ``credit`` is a tensor of zeros
    of the same shape on the tape, and what reaches it on the way back is the whole *contribution* of each
    element's change. So a contribution finds its way through slices and reshapes as multipliers do.
    """

    test: tf.Tensor
    base: tf.Tensor
    credit: tf.Tensor
    leaf: Leaf | None = None
    scale: str = OTHER  # as of a `Pair`

    @property
    def is_single(self) -> bool:
        """Whether it is of a single run, which has no difference to go by: both members are one tensor."""
        return self.test is self.base

    @property
    def kind(self) -> str:
        """`scale`, where it is a count; other integers and truths are no scale."""
        return NEUTRAL if self.test.dtype == tf.bool or self.scale == OTHER else self.scale


@dataclass(frozen=True, slots=True)
class Elements:
    """The elements of a TensorList; ``None`` where nothing has been written."""

    items: tuple[Value | None, ...]
    dtype: tf.DType


Value = tf.Tensor | Pair | Discrete | Elements
VJP = Callable[..., tf.Tensor | list[tf.Tensor]]


def is_paired(value: Any) -> TypeGuard[Pair | Discrete]:
    return isinstance(value, (Pair, Discrete))


def of_kind(kind: str, values: list[Value]) -> list[Value]:
    """Values of which it is known whether they are a statistic."""
    return [replace(value, scale=kind) if is_paired(value) else value for value in values]


def test(value: Value) -> tf.Tensor:
    return value.test if is_paired(value) else value


def base(value: Value) -> tf.Tensor:
    return value.base if is_paired(value) else value


def difference(test_member: tf.Tensor, base_member: tf.Tensor) -> tf.Tensor:
    """The test member less the baseline, of floats.

    A value that is missing (NaN) in one member only is one step away from any number: all that a model may do with it
    is to see that it is missing, and replace it.
    """
    kind = test_member.dtype
    here, there = tf.math.is_nan(test_member), tf.math.is_nan(base_member)
    return tf.where(here | there, tf.cast(here, kind) - tf.cast(there, kind), test_member - base_member)


def detach(tensor: tf.Tensor) -> tf.Tensor:
    """The same numbers off the tape."""
    return tf.stop_gradient(tensor)


def attach(inputs: list[tf.Tensor], output: Any, backward: VJP) -> Any:
    """Put a tensor (or a list) on the tape, as a function of ``inputs`` with the gradient ``backward``."""

    def gradient(*d_output: tf.Tensor) -> list[tf.Tensor]:
        parts = tf.nest.flatten(backward(*d_output))
        return [tf.cast(part, tensor.dtype) for part, tensor in zip(parts, inputs, strict=True)]

    @tf.custom_gradient
    def recorded(*_):
        return output, gradient

    return recorded(*inputs)


def settle(test_member: tf.Tensor, base_member: tf.Tensor, credit: tf.Tensor, leaf: Leaf | None = None) -> Value:
    """A `Discrete`, or the plain tensor if both members are the same: then it moves nothing, but in a single run."""
    if test_member is not base_member and bool(tf.reduce_all(test_member == base_member)):
        return test_member
    return Discrete(test_member, base_member, credit, leaf)


def unbroadcast(gradient: tf.Tensor, shape: tf.TensorShape) -> tf.Tensor:
    """Sum ``gradient`` over the axes along which an operand of ``shape`` was repeated."""
    extra = gradient.shape.rank - shape.rank
    repeated = [a for a in range(gradient.shape.rank) if a < extra or shape[a - extra] != gradient.shape[a]]
    return tf.reshape(tf.reduce_sum(gradient, axis=repeated), shape) if repeated else gradient


def each(value: Value, linear: Callable[[tf.Tensor], tf.Tensor]) -> Value:
    """A linear function of a floating value, member by member."""
    return Pair(linear(value.test), linear(value.base)) if is_paired(value) else linear(value)
