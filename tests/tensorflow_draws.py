"""Random calls of every row of the TensorFlow rule table, over every argument that can be explained.

Shapes, axes, flags and values are drawn anew for each seed; see `test_tensorflow_rows`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from reference.choices import Choices

raw = tf.raw_ops

DOMAINS = {
    "real": lambda x: x,
    "positive": lambda x: np.abs(x) + 0.2,
    "unit": lambda x: 0.95 * np.tanh(x),
    "share": lambda x: 1 / (1 + np.exp(-x)),
    "above one": lambda x: np.abs(x) + 1.1,
    "single": lambda x: x.astype(np.float32),
    "int": lambda x: np.round(2 * x).astype(np.int32),
    "truth": lambda x: x > 0,
}
ANY = ("real", "real", "int", "truth")
NUMBER = ("real", "real", "int")


@dataclass
class Explained:
    """An array that may be explained, at its test and its baseline value; ``refused`` where it must not differ."""

    test: np.ndarray
    base: np.ndarray
    refused: bool = False


@dataclass
class Sample:
    """A function of tensors, and their values; ``singles`` for an operation that is traced in single precision only."""

    function: Callable[..., object]
    explained: list[Explained]
    singles: bool = False


Make = Callable[["Draw"], Sample]


class Draw(Choices):
    """What generators draw from."""

    def order(self, count: int) -> list[int]:
        return self._random.permutation(count).tolist()

    def below(self, stop: int, start: int = 0) -> int:
        return int(self._random.integers(start, stop))

    def constant(self, *shape: int, domain: str = "real") -> np.ndarray:
        return DOMAINS[domain](np.asarray(self._random.normal(scale=self.one(0.3, 1.0, 2.0), size=shape)))

    def x(self, *shape: int, domain: str = "real", refused: bool = False) -> Explained:
        """An explained array; some elements do not differ, and some are equal to their neighbours."""
        test, base = self.constant(*shape, domain=domain), self.constant(*shape, domain=domain)
        if refused:  # and surely different
            return Explained(test, ~test if domain == "truth" else test + 1, refused)
        if domain == "real" and self.flag():
            test = np.where(self._random.random(shape) < 0.2, 0.5, test)
        return Explained(test, np.where(self._random.random(shape) < 0.15, test, base))

    def index(self, below: int, *shape: int, twice: bool = True) -> np.ndarray:
        """Positions below a size; each at most once unless ``twice``."""
        if twice:
            return self._random.integers(0, below, shape).astype(np.int32)
        return self._random.permutation(below)[: int(np.prod(shape))].reshape(shape).astype(np.int32)

    def ids(self, below: int, *shape: int) -> Explained:
        return Explained(self.index(below, *shape), self.index(below, *shape))

    def repeated(self, shape: tuple[int, ...]) -> list[int]:
        """A shape that broadcasts to this one."""
        return [1 if self.flag() else n for n in shape][self.below(len(shape)) :]


def each(names: str, make: Callable[[Callable], Make]) -> dict[str, Make]:
    return {name: make(getattr(raw, name)) for name in names.split()}


def unary(*domains: str):
    """One explained array of any shape."""

    def of(op: Callable) -> Make:
        name = next(iter(inspect.signature(op).parameters))

        def sample(d: Draw) -> Sample:
            return Sample(lambda v: op(**{name: v}), [d.x(*d.shape(), domain=d.one(*domains))])

        return sample

    return of


def binary(*domains: str, second: str | None = None):
    """Two explained arrays, one of which may be repeated along axes; two of whole numbers have no rule."""

    def of(op: Callable) -> Make:
        def sample(d: Draw) -> Sample:
            shape, domain = d.shape(), d.one(*domains)
            a, b = d.x(*shape, domain=domain), d.x(*d.repeated(shape), domain=second or domain)
            if d.flag():
                return Sample(lambda v, w: op(x=v, y=w), [a, b])
            swapped = (d.x(*a.test.shape, domain=second or domain), d.x(*b.test.shape, domain=domain))
            return Sample(lambda v, w: op(x=w, y=v), list(swapped))

        return sample

    return of


def over_axes(*domains: str):
    """A reduction over some axes, from either end, kept or not."""

    def of(op: Callable) -> Make:
        def sample(d: Draw) -> Sample:
            shape, keep = d.shape(), d.flag()
            axes = d.axes(len(shape))
            axes = d.one(axes, axes[0])
            return Sample(lambda v: op(input=v, axis=axes, keep_dims=keep), [d.x(*shape, domain=d.one(*domains))])

        return sample

    return of


def segments(*domains: str):
    """Groups by sorted ids, some of which have nobody."""

    def of(op: Callable) -> Make:
        def sample(d: Draw) -> Sample:
            x = d.x(*d.shape(), domain=d.one(*domains))
            ids = np.sort(d.index(4, len(x.test)))
            return Sample(lambda v: op(data=v, segment_ids=ids), [x])

        return sample

    return of


def sparse_segments(op: Callable) -> Make:
    def sample(d: Draw) -> Sample:
        x, count = d.x(*d.shape()), d.size()
        rows, ids = d.index(len(x.test), count), np.sort(d.index(3, count))
        return Sample(lambda v: op(data=v, indices=rows, segment_ids=ids), [x])

    return sample


def unsorted_segments(*domains: str):
    """Groups by ids of one axis or more, some of them nobody's."""

    def of(op: Callable) -> Make:
        def sample(d: Draw) -> Sample:
            x = d.x(*d.shape(), domain=d.one(*domains))
            ids = d.index(4, *x.test.shape[: d.below(x.test.ndim + 1, 1)]) - 1
            return Sample(lambda v: op(data=v, segment_ids=ids, num_segments=3), [x])

        return sample

    return of


def scattered(*domains: str):
    """Updates of whole rows or of elements, several of which may meet in one place."""

    def of(op: Callable) -> Make:
        def sample(d: Draw) -> Sample:
            shape, domain = d.shape(low=2), d.one(*domains)
            depth, count = d.below(len(shape) + 1, 1), d.size()
            places = np.stack([d.index(n, count) for n in shape[:depth]], -1)
            x, updates = d.x(*shape, domain=domain), d.x(count, *shape[depth:], domain=domain)
            return Sample(lambda v, w: op(tensor=v, indices=places, updates=w), [x, updates])

        return sample

    return of
