"""The error ledger of one run: what every operation's multipliers leave of the difference that it makes.

The defect of a node is ``d = m_out·Δout - Σ m_in·Δin``. Added over all nodes it is what a method's attributions miss of
the prediction difference. Linear operations have none beyond rounding and are not written down.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import tensorflow as tf

from ..loop_book import LoopBook, Place
from .graph import Node
from .kinds import Rule
from .pairs import Discrete, Pair, Value, attach


class Ledger:
    """Defects of the operations outside fused layers, in float64, summed over all rows.

    Attributes:
        target: the output that is being explained.
        loops: the same of loops over time that are no known layer.
        around: of the step of such a loop that runs, where each of its operations is.
    """

    def __init__(self) -> None:
        self.target = 0
        self.loops = LoopBook()
        self.around: Mapping[Node, Place] = {}
        self._nodes: dict[tuple[str, str], dict[int, float]] = {}

    def nodes(self, targets: int) -> dict[tuple[str, str], np.ndarray]:
        """By (place, operation): the defect by output, (K,). What no multiplier came to has none.

        Keras traces a cell of a loop once more outside, and nothing depends on that.
        """
        return {key: np.array([found[k] for k in range(targets)]) for key, found in self._nodes.items() if found}

    def measure(self, node: Node, rule: Rule, values: Sequence[Value]) -> list[Value]:
        """Apply a rule, and write down its defect when multipliers come back."""
        place = self.around.get(node)
        if place is None:
            found = self._nodes.setdefault((node.place, node.type), defaultdict(float))
        else:
            found = self.loops.entry(place)
        results = rule(node, [self._watch(value, found, -1) for value in values])
        return [self._watch(value, found, +1) for value in results]

    def hand_on(self, state: Pair, loop: str, step: int) -> Pair:
        """The same state, which writes down the multipliers that come back to it."""
        change = tf.cast(state.test, tf.float64) - tf.cast(state.base, tf.float64)
        book = self.loops.handed_on(loop, step)
        book.change += float(tf.reduce_sum(change**2))

        def back(m: tf.Tensor) -> tf.Tensor:
            book.multiplier[self.target] += float(tf.reduce_sum(tf.cast(m, tf.float64) ** 2))
            return m

        return Pair(attach([state.test], tf.identity(state.test), back), state.base, state.leaf)

    def _watch(self, value: Value, found: dict[int, float], sign: int) -> Value:
        """The same value, which adds ``sign · m·Δ`` on the way back; to a `Discrete` comes that already."""
        if isinstance(value, Pair):
            change = tf.cast(value.test, tf.float64) - tf.cast(value.base, tf.float64)
            return replace(value, test=self._passing(value.test, change, found, sign))
        if isinstance(value, Discrete):
            credit = self._passing(value.credit, tf.ones((), tf.float64), found, sign)
            return Discrete(value.test, value.base, credit, value.leaf)
        return value

    def _passing(self, tensor: tf.Tensor, change: tf.Tensor, found: dict[int, float], sign: int) -> tf.Tensor:
        def back(m: tf.Tensor) -> tf.Tensor:
            found[self.target] += sign * float(tf.reduce_sum(tf.cast(m, tf.float64) * change))
            return m

        return attach([tensor], tf.identity(tensor), back)
