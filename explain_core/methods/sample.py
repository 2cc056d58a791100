"""One sample as the methods get it, and the model as a plain function of what is explained."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from explain_core.preparation import Prepared
from explain_core.preparation.rows import STEPS_AT_ONCE


@dataclass(frozen=True)
class Sample:
    """One sample of the explained inputs, and of the others; sample axis first everywhere.

    Attributes:
        number: which one it is.
        test: of each explained input (1, ...).
        base: of each explained input (B, ...), the baselines that results are averaged over.
        constants: of each input that is not explained (1, ...).
        seed: of everything random.
    """

    number: int
    test: list[np.ndarray]
    base: list[np.ndarray]
    constants: list[np.ndarray]
    seed: int

    @property
    def takes_gradients(self) -> bool:
        """Whether all explained inputs are floats; token ids have no slope."""
        return all(values.dtype.kind == "f" for values in self.test)

    @property
    def rows_at_once(self) -> int:
        """How many rows fit into memory in one run of the model."""
        steps = max((values.shape[1] for values in self.test if values.ndim > 1), default=1)
        return max(1, STEPS_AT_ONCE // steps)


class PlainModel(Protocol):
    """A model as a function of explained inputs, for one sample at a time."""

    notes: list[str]  # what a method has to say about its result

    def at_work(self) -> AbstractContextManager:
        """The settings that methods run under."""

    def use(self, sample: Sample) -> None:
        """Take the inputs that are not explained from this sample."""

    def predict(self, rows: Sequence[np.ndarray]) -> np.ndarray:
        """Explained outputs (R, K) of R rows."""


def samples_of(ready: Prepared, seed: int) -> Iterator[Sample]:
    """The samples one by one."""
    explained = ready.runner.explained
    where = [i for i, is_explained in enumerate(explained) if is_explained]
    others = [i for i, is_explained in enumerate(explained) if not is_explained]
    for n in range(ready.plan.count):

        def own(i: int, n: int = n) -> np.ndarray:
            base = ready.baselines[i]
            paired = ready.plan.baseline_count == 1 and len(base) > 1
            return base[n : n + 1] if paired else base

        count = max(len(own(i)) for i in where)
        yield Sample(
            number=n,
            test=[ready.plan.samples(i)[n : n + 1] for i in where],
            base=[np.broadcast_to(own(i), (count, *own(i).shape[1:])) for i in where],
            constants=[ready.plan.samples(i)[n : n + 1] for i in others],
            seed=seed,
        )


def in_batches(run: Callable[[list[np.ndarray]], np.ndarray], rows: Sequence[np.ndarray], size: int) -> np.ndarray:
    """``run`` on at most ``size`` rows at a time."""
    count = len(rows[0])
    return np.concatenate([run([leaf[i : i + size] for leaf in rows]) for i in range(0, count, size)])


@contextmanager
def seeded(seed: int) -> Generator[None]:
    """Numpy's global random numbers from a seed, as shap takes them; put back afterwards."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
