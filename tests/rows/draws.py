"""Random calls of every row of the PyTorch rule table, over every argument that can be explained.

A sample is a function of tensors and those tensors' two members; there is a generator of samples for each row, and
shapes, axes, flags and values are drawn anew for each seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from reference.choices import Choices

aten = torch.ops.aten

DOMAINS = {
    "real": lambda x: x,
    "positive": lambda x: x.abs() + 0.2,
    "unit": lambda x: 0.95 * torch.tanh(x),
    "share": lambda x: torch.sigmoid(x),
    "above one": lambda x: x.abs() + 1.1,
    "whole": torch.round,
    "truth": lambda x: x > 0,
    "complex": lambda x: torch.complex(x, x.roll(1, -1) * 0.7 - 0.2),
}


@dataclass
class Explained:
    """A tensor that may be explained, at its test and its baseline value."""

    test: torch.Tensor
    base: torch.Tensor


Sample = tuple[Callable[..., object], list[Explained]]


class Draw(Choices):
    """What generators draw from."""

    def constant(self, *shape: int, domain: str = "real") -> torch.Tensor:
        scale = self.one(0.3, 1.0, 2.0)
        return DOMAINS[domain](torch.as_tensor(self._random.normal(scale=scale, size=shape)))

    def x(self, *shape: int, domain: str = "real") -> Explained:
        """An explained tensor; some elements do not differ, and some are equal to their neighbours."""
        test, base = self.constant(*shape, domain=domain), self.constant(*shape, domain=domain)
        same = torch.as_tensor(self._random.random(shape) < 0.15)
        if domain == "real" and self.flag():
            test = torch.where(torch.as_tensor(self._random.random(shape) < 0.2), 0.5, test)
        return Explained(test, torch.where(same, test, base))

    def index(self, below: int, *shape: int, twice: bool = True) -> torch.Tensor:
        """Positions below a size; each at most once unless ``twice``."""
        if twice:
            return torch.as_tensor(self._random.integers(0, below, shape))
        return torch.as_tensor(self._random.permutation(below)[: int(np.prod(shape))].reshape(shape))


def op(name: str) -> Callable:
    return getattr(aten, name)


def each(names: str, make: Callable[[str], Callable[[Draw], Sample]]) -> dict[str, Callable[[Draw], Sample]]:
    return {name: make(name) for name in names.split()}


def unary(*args, domain: str = "real", axes: int | None = None, low: int = 1, **kwargs):
    """One explained tensor of any shape; further arguments as they are, or drawn where they are functions."""

    def of(name: str):
        def sample(d: Draw) -> Sample:
            x = d.x(*d.shape(axes, low), domain=domain)
            given = [a(d, x.test) if callable(a) and not isinstance(a, torch.Tensor) else a for a in args]
            return lambda v: op(name)(v, *given, **kwargs), [x]

        return sample

    return of


def binary(domain: str = "real", second: str | None = None, broadcast: bool = True):
    """Two explained tensors, one of which may be repeated along axes."""

    def of(name: str):
        def sample(d: Draw) -> Sample:
            shape = d.shape()
            other = [1 if broadcast and d.flag() else n for n in shape][d.one(0, len(shape) - 1) if broadcast else 0 :]
            a, b = d.x(*shape, domain=domain), d.x(*other, domain=second or domain)
            return op(name), [a, b]

        return sample

    return of


def some_axes(d: Draw, x: torch.Tensor) -> list[int]:
    return d.axes(x.ndim)


def some_axis(d: Draw, x: torch.Tensor) -> int:
    return d.axis(x.ndim)


def flag(d: Draw, x: torch.Tensor) -> bool:
    return d.flag()
