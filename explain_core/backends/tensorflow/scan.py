"""The recurrences of a recurrent layer as TensorFlow graphs: the reference of `explain_core.rules.scan`, compiled.

A graph is made once for each kind of cell, its width and set of arguments, and holds for any length and batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ...rules import scan
from ...rules.cells import Cell, Values, Weights
from ...rules.recurrence import Layer, factors_of
from ...rules.rule_set import RuleSet
from ...rules.scan import Returned, States
from . import arrays

_graphs: dict[tuple, Callable] = {}


def _graph(function: Callable, cell: Cell, given: dict[str, tf.Tensor]) -> Callable:
    """``function(cell, given)`` as a graph for tensors of these types and widths, and any other sizes."""
    specs = {name: tf.TensorSpec(_open(name, t.shape), t.dtype) for name, t in given.items()}
    key = function, cell, repr(specs)
    if key not in _graphs:
        traced = tf.function(lambda given: function(cell, given), autograph=False)
        _graphs[key] = traced.get_concrete_function(specs)
    return _graphs[key]


def _open(name: str, shape: tf.TensorShape) -> list[int | None]:
    """All sizes left open but the width, and those of weights."""
    return list(shape) if name in Weights._fields else [*[None] * (shape.rank - 1), shape[-1]]


def _run(function: Callable, cell: Cell, weights: Weights, **given: Any) -> dict[str, tf.Tensor]:
    """Call the graph of a function; what is None is left out on both sides."""
    present = {name: value for name, value in (given | weights._asdict()).items() if value is not None}
    return _graph(function, cell, present)(present)


def _weights(given: dict[str, tf.Tensor]) -> Weights:
    return Weights(*(given.get(name) for name in Weights._fields))


def _forward(cell: Cell, given: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    got = given.get
    states = scan.forward(arrays, cell, got("x"), got("h"), got("c"), got("flags"), _weights(given))
    found = {"h": states.h, "c": states.c, **states.values._asdict()}
    return {name: value for name, value in found.items() if value is not None}


def _backward(cell: Cell, given: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    got = given.get
    arrived = got("factors"), got("m_h"), got("m_c"), got("d_fresh"), got("counts")
    returned = scan.backward(arrays, cell, *arrived, _weights(given))
    return {name: value for name, value in returned._asdict().items() if value is not None}


class Compiled:
    """See `explain_core.rules.recurrence.Kernel`."""

    def forward(self, xp: Any, layer: Layer, rules: RuleSet, keep: bool) -> tuple[States, Any]:
        """See `Kernel`."""
        found = _run(_forward, layer.cell, layer.weights, x=layer.x, h=layer.h, c=layer.c, flags=layer.flags)
        states = States(found["h"], found.get("c"), Values(*(found.get(name) for name in Values._fields)))
        return states, factors_of(xp, layer, states, rules)

    def backward(
        self, xp: Any, layer: Layer, factors: Any, m_h: Any, m_c: Any, d_fresh: Any, counts: Any, keep: bool
    ) -> Returned:
        """See `Kernel`."""
        given = {"factors": factors, "m_h": m_h, "m_c": m_c, "d_fresh": d_fresh, "counts": counts}
        found = _run(_backward, layer.cell, layer.weights, **given)
        return Returned(*(found.get(name) for name in Returned._fields))
