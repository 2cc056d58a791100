"""Random numbers that are no chance: those of a generator that the model seeds in every call are constants.

Whether it does is seen in two runs. Where a draw starts from the same state of its generator in both, it gives the
same numbers in every call, for the input and for the baseline. Where it does not, it stays a random operation, which
is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes

from explain_core.backends.torch.decisions import DRAWN, keep

_FROM_NOTHING = ("rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like")
_BY_CHANCES = ("normal", "bernoulli", "multinomial", "poisson", "binomial")
_IN_PLACE = (
    "uniform_", "normal_", "exponential_", "bernoulli_", "random_", "cauchy_", "log_normal_", "geometric_"
)  # fmt: skip
NAMES = frozenset((*_FROM_NOTHING, *_BY_CHANCES, *_IN_PLACE))


class Draws(TorchFunctionMode):
    """While active, notes the state of the generator that each draw starts from, what draws and in which shape; keeps
    transformers off fast paths.
    """

    def __init__(self) -> None:
        super().__init__()
        self.states: list[bytes] = []
        self.drawn: list[tuple[str, tuple[int, ...]]] = []

    def __torch_function__(self, func, types, args=(), kwargs=None) -> Any:
        name = getattr(func, "__name__", "")
        if name not in NAMES:
            return func(*args, **(kwargs or {}))
        self.states.append(_state(kwargs or {}))
        values = func(*args, **(kwargs or {}))
        self.drawn.append((name, tuple(values.shape)))
        return values


class Repeated:
    """Draws while a model is recorded, beside those of a run before.

    Args:
        states: of the generators in that run, as `Draws` noted them.
    """

    def __init__(self, states: Sequence[bytes]) -> None:
        self._states = iter(states)

    def draw(self, func: Callable, args: tuple, kwargs: Mapping[str, Any]) -> Any:
        """A draw that starts as before is made outside the recording, as a constant of it."""
        name = func.__name__
        if next(self._states, None) != _state(kwargs):
            return func(*args, **{key: value for key, value in kwargs.items() if key != "generator"})
        chances = args if name in _BY_CHANCES else args[1:] if name in _IN_PLACE else ()
        for value in (*chances, *(kwargs.values() if name not in _FROM_NOTHING else ())):
            if isinstance(value, Tensor):
                keep(value, DRAWN)
        with _disable_current_modes():
            own = (args[0].detach().clone(), *args[1:]) if name in _IN_PLACE else args
            drawn = func(*own, **kwargs)
        return args[0].copy_(drawn) if name in _IN_PLACE else drawn.clone()


def _state(kwargs: Mapping[str, Any]) -> bytes:
    generator = kwargs.get("generator") or torch.default_generator
    return generator.get_state().numpy().tobytes()
