"""The activations that the gates of fused layers have, by name: each a function and its secant."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from explain_core.rules import activations, secants
from explain_core.rules.relevance import Relevance

SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


class Activation(NamedTuple):
    """``of(xp, a)`` and ``secant(xp, a, b)``, element by element."""

    of: Callable[[Any, Any], Any]
    secant: Callable[[Any, Any, Any], Any]

    def passed(self, xp: Any, rules: Relevance, a: Any) -> Any:
        """The factor by which relevance passes it; see `Relevance.through`."""
        return rules.through(xp, self.secant, self.of(xp, xp.zeros_like(a)), a)


def _elu(xp: Any, a: Any) -> Any:
    return xp.where(a > 0, a, xp.expm1(xp.clip(a, -math.inf, 0.0)))


def _selu(xp: Any, a: Any) -> Any:
    return SELU_SCALE * xp.where(a > 0, a, SELU_ALPHA * _elu(xp, a))


ACTIVATIONS: dict[str, Activation] = {
    "elu": Activation(_elu, activations.elu),
    "exponential": Activation(lambda xp, a: xp.exp(a), secants.exp),
    "hard_sigmoid": Activation(lambda xp, a: xp.clip(a + 3, 0.0, 6.0) / 6, activations.hardsigmoid),
    "keras2_hard_sigmoid": Activation(  # 5 is the same number in every precision, and 0.2 is not
        lambda xp, a: xp.clip(a / 5 + 0.5, 0.0, 1.0), lambda xp, a, b: secants.clamp(xp, a, b, -2.5, 2.5) / 5
    ),
    "linear": Activation(lambda xp, a: a, secants.identity),
    "relu": Activation(lambda xp, a: xp.clip(a, 0.0, math.inf), secants.relu),
    "relu6": Activation(lambda xp, a: xp.clip(a, 0.0, 6.0), secants.relu6),
    "selu": Activation(_selu, activations.selu),
    "sigmoid": Activation(lambda xp, a: xp.sigmoid(a), secants.sigmoid),
    "softplus": Activation(lambda xp, a: xp.softplus(a), secants.softplus),
    "softsign": Activation(lambda xp, a: a / (1 + abs(a)), activations.softsign),
    "tanh": Activation(lambda xp, a: xp.tanh(a), secants.tanh),
}
