"""The error ledger of one run: what every operation's multipliers leave of the difference that it makes.

The defect of a node is ``d = m_out·Δout - Σ m_in·Δin``. Added over all nodes it is what a method's attributions miss of
the prediction difference. Linear operations have none beyond rounding and are not written down.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import tensorflow as tf

from ..loop_book import LoopBook, Place
from ..protocol import LedgerTrace
from .arrays import weighed
from .graph import Node
from .kinds import Rule
from .methods import is_exact
from .pairs import Discrete, Pair, Value, attach
from .recurrent import Fused, FusedLayer
from .rules import RULES


class Ledger:
    """Defects of the operations outside fused layers, in float64, summed over all rows.

    Args:
        path: of a layer, from the name scope of its operations.

    Attributes:
        target: the output that is being explained.
        loops: the same of loops over time that are no known layer.
        around: of the step of such a loop that runs, where each of its operations is.
    """

    def __init__(self, path: Callable[[str], str]) -> None:
        self.target = 0
        self._path = path
        self.loops = LoopBook()
        self.around: Mapping[Node, Place] = {}
        self._nodes: dict[tuple[str, str], dict[int, float]] = {}

    def trace(self, layers: Mapping[str, FusedLayer], targets: int) -> LedgerTrace:
        """What was written down, and what fused layers have of themselves.

        Args:
            layers: those that have run, by name.
            targets: the number of outputs.
        """
        known = {name: layer.defects() for name, layer in layers.items()}
        loops = self.loops.layers(dict.fromkeys(self.loops.names, False), targets)
        known |= {self._path(name): layer for name, layer in loops.items()}
        return LedgerTrace(self._by_output(targets), known)

    def _by_output(self, targets: int) -> dict[tuple[str, str], np.ndarray]:
        """By (path, operation): the defect by output, (K,). What no multiplier came to has none.

        Keras traces a cell of a loop once more outside, and nothing depends on that.
        """
        return {key: np.array([found[k] for k in range(targets)]) for key, found in self._nodes.items() if found}

    def layer(self, layer: FusedLayer) -> Fused:
        """A fused layer as it is to be called; it keeps a book of its own."""
        return layer

    @staticmethod
    def books(kind: str) -> bool:
        """Whether operations of a type have entries."""
        return kind in RULES and not is_exact(kind)

    def measure(self, node: Node, rule: Rule, values: Sequence[Value]) -> list[Value]:
        """Apply a rule, and write down its defect when multipliers come back."""
        return self._watched(self._entry(node, rule), partial(rule, node), values)

    def _watched(
        self, found: dict[int, float], apply: Callable[[list[Value]], list[Value]], values: Sequence[Value]
    ) -> list[Value]:
        results = apply([self._watch(value, found, -1) for value in values])
        return [self._watch(value, found, +1) for value in results]

    def _entry(self, node: Node, rule: Rule) -> dict[int, float]:
        place = self.around.get(node)
        return self._of((self._path(node.place), node.type)) if place is None else self.loops.entry(place)

    def _of(self, key: tuple[str, str]) -> dict[int, float]:
        return self._nodes.setdefault(key, defaultdict(float))

    def hand_on(self, state: Pair, loop: str, step: int) -> Pair:
        """The same state, which writes down the multipliers that come back to it."""
        change = self._counted(state)
        book = self.loops.handed_on(loop, step)
        book.change += float(tf.reduce_sum(change**2))

        def back(m: tf.Tensor) -> tf.Tensor:
            book.multiplier[self.target] += float(tf.reduce_sum(tf.cast(m, tf.float64) ** 2))
            return m

        return Pair(attach([state.test], tf.identity(state.test), back), state.base, state.leaf)

    def _watch(self, value: Value, found: dict[int, float], sign: int) -> Value:
        """The same value, which adds ``sign · m·Δ`` on the way back; to a `Discrete` comes that already."""
        if isinstance(value, Pair):
            return replace(value, test=self._passing(value.test, self._counted(value), found, sign))
        if isinstance(value, Discrete):
            credit = self._passing(value.credit, tf.ones((), tf.float64), found, sign)
            return Discrete(value.test, value.base, credit, value.leaf)
        return value

    @staticmethod
    def _counted(pair: Pair) -> tf.Tensor:
        """What the multiplier of a pair is multiplied by, in float64."""
        return tf.cast(pair.test, tf.float64) - tf.cast(pair.base, tf.float64)

    def _passing(self, tensor: tf.Tensor, change: tf.Tensor, found: dict[int, float], sign: int) -> tf.Tensor:
        def back(m: tf.Tensor) -> tf.Tensor:
            found[self.target] += sign * float(tf.reduce_sum(weighed(tf.cast(m, tf.float64), change)))
            return m

        return attach([tensor], tf.identity(tensor), back)
