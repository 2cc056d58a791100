"""The paired step of each recurrent cell: how it runs, its multipliers, and what each gate contributes.

Shapes: T timesteps, N pairs, M = 2N rows (the N test members, then the N baselines), H units, G gates. A
bar is the mean over the pair, Δ the difference, ``s`` the secant of an activation between its
pre-activations. A tilde marks what the cell gives before a mask decides whether the step counts. In the
gate order of Keras' weights:

LSTM  ``c̃ = f·c + i·g``, ``h̃ = o·σ(c̃)``                      i, f, g, o
GRU   ``h̃ = z·h + (1 - z)·n``                                 z, r, n
      with ``n = σ(x_n + r·(h U_n + b))`` (``reset_after``) or ``n = σ(x_n + (r·h) U_n)``
RNN   ``h̃ = σ(x + h U)``                                      n

Everything but ``step`` and ``back`` works on all timesteps at once. Cells without a cell state carry one of
width 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import tensorflow as tf

from . import keras2
from .formulas import secants
from .kinds import Secant

Tensors = dict[str, tf.Tensor]
Function = Callable[[tf.Tensor], tf.Tensor]

ACTIVATIONS: dict[str, tuple[Function, Secant]] = {
    "elu": (tf.nn.elu, secants.elu),
    "exponential": (tf.exp, secants.exp),
    "hard_sigmoid": (lambda a: tf.nn.relu6(a + 3) / 6, lambda a, b: secants.relu6(a + 3, b + 3) / 6),
    "keras2_hard_sigmoid": (keras2.keras2_hard_sigmoid, lambda a, b: secants.clamp(a, b, -2.5, 2.5) / 5),
    "linear": (tf.identity, secants.identity),
    "relu": (tf.nn.relu, secants.relu),
    "relu6": (tf.nn.relu6, secants.relu6),
    "selu": (tf.nn.selu, secants.selu),
    "sigmoid": (tf.sigmoid, secants.sigmoid),
    "softplus": (tf.math.softplus, secants.softplus),
    "softsign": (tf.nn.softsign, secants.softsign),
    "tanh": (tf.tanh, secants.tanh),
}


def halves(t: tf.Tensor) -> list[tf.Tensor]:
    """The test and the baseline rows."""
    return tf.split(t, 2, axis=-2)


def mean(t: tf.Tensor) -> tf.Tensor:
    a, b = halves(t)
    return (a + b) / 2


def difference(t: tf.Tensor) -> tf.Tensor:
    a, b = halves(t)
    return a - b


def defect(m_out: tf.Tensor, out: tf.Tensor, *inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
    """``m_out·Δout - Σ m_in·Δin`` of one node, summed over units, (..., N); values have both members."""
    left = m_out * difference(out)
    for m, value in inputs:
        left -= m * difference(value)
    return tf.reduce_sum(left, -1)


def gates_of(t: tf.Tensor, count: int) -> list[tf.Tensor]:
    return tf.split(t, count, axis=-1)


class Cell(Protocol):
    """One kind of cell, with its options.

    ``x`` is the input's part of the pre-activations, bias included: (..., M, G·H). ``h`` and ``c`` are the
    states before the step, (..., M, H). ``m_h`` and ``m_c`` are the multipliers of ``h̃`` and
    ``c̃``, (..., N, H).
    """

    names: ClassVar[tuple[str, ...]]  # in the order that a GateTrace gives them
    order: ClassVar[tuple[int, ...]]  # where each of them is in Keras' order

    def step(self, x, h, c, weights: Tensors) -> tuple[tf.Tensor, tf.Tensor]:
        """``h̃`` and ``c̃`` of both members."""

    def prepare(self, x, h, c, weights: Tensors, method: Any) -> tuple[Tensors, Tensors]:
        """Factors (..., N, ·) that the backward recurrence multiplies by, and facts for the gate trace.

        ``method`` is a `methods.Method`.

        Facts: "gates" (..., M, G·H) activations, "h" ``h̃``, "c" ``c̃``, and "change" (..., N, G·H), the Δ
            of each gate's pre-activation without what another gate's contribution already counts.
        """

    def gates(self, factors: Tensors, m_h, m_c, weights: Tensors) -> tf.Tensor:
        """Multipliers of the gates' pre-activations, (..., N, G·H)."""

    def back(self, factors: Tensors, m_gates, m_h, m_c, weights: Tensors) -> tuple[tf.Tensor, tf.Tensor]:
        """Multipliers of ``h`` and ``c`` before the step."""

    def carry(self, factors: Tensors, m_h, m_c, h, c) -> tf.Tensor:
        """Contribution that goes on to the state before, past the gates, (..., N, H)."""

    def parts(self, x, h, c, weights: Tensors, method: Any, m_h, m_c, m_gates) -> Tensors:
        """The defect of each nonlinearity and product, summed over units, (..., N)."""


@dataclass(frozen=True)
class LSTM:
    activation: str
    recurrent_activation: str
    names: ClassVar = ("input", "forget", "candidate", "output")
    order: ClassVar = (0, 1, 2, 3)

    def _run(self, pre, c):
        sigma, gate = ACTIVATIONS[self.activation][0], ACTIVATIONS[self.recurrent_activation][0]
        a_i, a_f, a_g, a_o = gates_of(pre, 4)
        i, f, g, o = gate(a_i), gate(a_f), sigma(a_g), gate(a_o)
        cell = f * c + i * g
        return i, f, g, o, cell, sigma(cell)

    def step(self, x, h, c, weights):
        *_, o, cell, shown = self._run(x + tf.matmul(h, weights["recurrent"]), c)
        return o * shown, cell

    def prepare(self, x, h, c, weights, method):
        s_sigma, s_gate = ACTIVATIONS[self.activation][1], ACTIVATIONS[self.recurrent_activation][1]
        pre = x + tf.matmul(h, weights["recurrent"])
        i, f, g, o, cell, shown = self._run(pre, c)
        a_i, a_f, a_g, a_o = gates_of(pre, 4)
        factors = {
            "shown": method.middle(o) * method.slope(s_sigma, cell),
            "input": method.middle(g) * method.slope(s_gate, a_i),
            "forget": method.middle(c) * method.slope(s_gate, a_f),
            "candidate": method.middle(i) * method.slope(s_sigma, a_g),
            "output": method.middle(shown) * method.slope(s_gate, a_o),
            "kept": method.middle(f),
        }
        facts = {"gates": tf.concat([i, f, g, o], -1), "h": o * shown, "c": cell, "change": difference(pre)}
        return factors, facts

    def gates(self, factors, m_h, m_c, weights):
        inside = m_c + m_h * factors["shown"]
        parts = [inside * factors[name] for name in ("input", "forget", "candidate")]
        return tf.concat([*parts, m_h * factors["output"]], -1)

    def back(self, factors, m_gates, m_h, m_c, weights):
        inside = m_c + m_h * factors["shown"]
        return tf.matmul(m_gates, weights["recurrent"], transpose_b=True), inside * factors["kept"]

    def carry(self, factors, m_h, m_c, h, c):
        return (m_c + m_h * factors["shown"]) * factors["kept"] * difference(c)

    def parts(self, x, h, c, weights, method, m_h, m_c, m_gates):
        pre = x + tf.matmul(h, weights["recurrent"])
        i, f, g, o, cell, shown = self._run(pre, c)
        m_shown, m_o = m_h * method.middle(o), m_h * method.middle(shown)
        m_through = m_shown * method.slope(ACTIVATIONS[self.activation][1], cell)
        m_cell = m_c + m_through
        m_i, m_f, m_g = m_cell * method.middle(g), m_cell * method.middle(c), m_cell * method.middle(i)
        of_pre = list(zip(gates_of(m_gates, 4), gates_of(pre, 4), strict=True))
        return {
            "input": defect(m_i, i, of_pre[0]),
            "forget": defect(m_f, f, of_pre[1]),
            "candidate": defect(m_g, g, of_pre[2]),
            "output": defect(m_o, o, of_pre[3]),
            "input product": defect(m_cell, i * g, (m_i, i), (m_g, g)),
            "forget product": defect(m_cell, f * c, (m_f, f), (m_cell * method.middle(f), c)),
            "cell tanh": defect(m_shown, shown, (m_through, cell)),
            "output product": defect(m_h, o * shown, (m_o, o), (m_shown, shown)),
        }


@dataclass(frozen=True)
class GRU:
    activation: str
    recurrent_activation: str
    reset_after: bool
    names: ClassVar = ("reset", "update", "new")
    order: ClassVar = (1, 0, 2)

    def _run(self, x, h, weights):
        sigma, gate = ACTIVATIONS[self.activation][0], ACTIVATIONS[self.recurrent_activation][0]
        kernel = weights["recurrent"]
        x_z, x_r, x_n = gates_of(x, 3)
        if self.reset_after:
            h_z, h_r, h_n = gates_of(tf.matmul(h, kernel) + weights["bias"], 3)
            a_z, a_r = x_z + h_z, x_r + h_r
            z, r = gate(a_z), gate(a_r)
            a_n, reset = x_n + r * h_n, h_n
        else:
            k_z, k_r, k_n = gates_of(kernel, 3)
            h_z, h_r = tf.matmul(h, k_z), tf.matmul(h, k_r)
            a_z, a_r = x_z + h_z, x_r + h_r
            z, r = gate(a_z), gate(a_r)
            a_n, reset = x_n + tf.matmul(r * h, k_n), h
        return (a_z, a_r, a_n), (z, r, sigma(a_n)), reset

    def step(self, x, h, c, weights):
        _, (z, _, n), _ = self._run(x, h, weights)
        return z * h + (1 - z) * n, c

    def prepare(self, x, h, c, weights, method):
        s_sigma, s_gate = ACTIVATIONS[self.activation][1], ACTIVATIONS[self.recurrent_activation][1]
        (a_z, a_r, a_n), (z, r, n), reset = self._run(x, h, weights)
        factors = {
            "update": method.middle(h - n) * method.slope(s_gate, a_z),
            "reset": method.middle(reset) * method.slope(s_gate, a_r),
            "new": (1 - method.middle(z)) * method.slope(s_sigma, a_n),
            "open": method.middle(r),
            "kept": method.middle(z),
        }
        # The new gate's pre-activation holds the reset gate; its part counts as the reset gate's
        # contribution.
        opened = method.middle(r) * difference(reset)
        if not self.reset_after:
            opened = tf.matmul(opened, gates_of(weights["recurrent"], 3)[2])
        changes = [difference(a_z), difference(a_r), difference(gates_of(x, 3)[2]) + opened]
        facts = {
            "gates": tf.concat([z, r, n], -1),
            "h": z * h + (1 - z) * n,
            "c": c,
            "change": tf.concat(changes, -1),
        }
        return factors, facts

    def gates(self, factors, m_h, m_c, weights):
        m_n = m_h * factors["new"]
        into_reset = m_n if self.reset_after else self._through_kernel(m_n, weights)
        return tf.concat([m_h * factors["update"], into_reset * factors["reset"], m_n], -1)

    def back(self, factors, m_gates, m_h, m_c, weights):
        m_z, m_r, m_n = gates_of(m_gates, 3)
        kernel, direct = weights["recurrent"], m_h * factors["kept"]
        if self.reset_after:
            m_pre = tf.concat([m_z, m_r, m_n * factors["open"]], -1)
            return tf.matmul(m_pre, kernel, transpose_b=True) + direct, m_c
        k_z, k_r, _ = gates_of(kernel, 3)
        direct += self._through_kernel(m_n, weights) * factors["open"]
        return tf.matmul(m_z, k_z, transpose_b=True) + tf.matmul(m_r, k_r, transpose_b=True) + direct, m_c

    def _through_kernel(self, m_n, weights):
        return tf.matmul(m_n, gates_of(weights["recurrent"], 3)[2], transpose_b=True)

    def carry(self, factors, m_h, m_c, h, c):
        return m_h * factors["kept"] * difference(h)

    def parts(self, x, h, c, weights, method, m_h, m_c, m_gates):
        (a_z, a_r, a_n), (z, r, n), reset = self._run(x, h, weights)
        m_z, m_n, kept = m_h * method.middle(h - n), m_h * (1 - method.middle(z)), m_h * method.middle(z)
        m_zpre, m_rpre, m_npre = gates_of(m_gates, 3)
        m_opened = m_npre if self.reset_after else self._through_kernel(m_npre, weights)
        m_r = m_opened * method.middle(reset)
        return {
            "reset": defect(m_r, r, (m_rpre, a_r)),
            "update": defect(m_z, z, (m_zpre, a_z)),
            "new": defect(m_n, n, (m_npre, a_n)),
            "reset product": defect(m_opened, r * reset, (m_r, r), (m_opened * method.middle(r), reset)),
            "update product": defect(m_h, z * (h - n) + n, (m_z, z), (m_n, n), (kept, h)),
        }


@dataclass(frozen=True)
class RNN:
    activation: str
    names: ClassVar = ("new",)
    order: ClassVar = (0,)

    def step(self, x, h, c, weights):
        return ACTIVATIONS[self.activation][0](x + tf.matmul(h, weights["recurrent"])), c

    def prepare(self, x, h, c, weights, method):
        sigma, secant = ACTIVATIONS[self.activation]
        pre = x + tf.matmul(h, weights["recurrent"])
        out = sigma(pre)
        return {"new": method.slope(secant, pre)}, {"gates": out, "h": out, "c": c, "change": difference(pre)}

    def gates(self, factors, m_h, m_c, weights):
        return m_h * factors["new"]

    def back(self, factors, m_gates, m_h, m_c, weights):
        return tf.matmul(m_gates, weights["recurrent"], transpose_b=True), m_c

    def carry(self, factors, m_h, m_c, h, c):
        return tf.zeros_like(m_h)

    def parts(self, x, h, c, weights, method, m_h, m_c, m_gates):
        pre = x + tf.matmul(h, weights["recurrent"])
        return {"new": defect(m_h, ACTIVATIONS[self.activation][0](pre), (m_gates, pre))}
