"""The recorded model for the rows at hand, recorded anew where it may be another one for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from explain_core.backends.torch.capture import Captured, capture
from explain_core.backends.torch.draws import Draws
from explain_core.backends.torch.fastpath import encoders, padding_zeroed, zeroed_calls
from explain_core.backends.torch.kept import Opened, places
from explain_core.backends.torch.output_axes import OutputAxes
from explain_core.backends.torch.own_model import OwnModel
from explain_core.backends.torch.repeating import draws_numbers


class Recordings:
    """Recordings of one model.

    Args:
        model: what is recorded.
        explained: per input, whether it is explained; the others are constants of the recording.
    """

    def __init__(self, model: OwnModel, explained: Sequence[bool]) -> None:
        self._model, self._explained = model, explained
        self._constants: list[np.ndarray] | None = None
        self.shapes: list[tuple[int, ...]] = []
        self._drew = False
        self.zeroed: list[str] = []  # encoders that put zeros in place of padding
        self.last: Captured

    def start_from(self, captured: Captured, arrays: Sequence[np.ndarray], zeroed: list[str]) -> None:
        """Take a recording that was made of the same model for arrays like these."""
        self.last, self.zeroed = captured, zeroed
        self._constants, self.shapes = self._not_explained(arrays), [array.shape for array in arrays]

    def opened(self, digest: int | None, axes: OutputAxes) -> Opened | None:
        """The last recording as one that may be kept; None where it is of these rows, or this call, only.

        Args:
            digest: of what the model's own call did.
            axes: where the samples are in what it returned.
        """
        constants = self._constants
        if digest is None or constants is None or self._drew:
            return None
        weights = places(self._model.module)
        return Opened(digest, weights, constants, self.last, tuple(self._explained), self.zeroed, axes)

    def _not_explained(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [array for array, explained in zip(arrays, self._explained, strict=True) if not explained]

    def forget(self) -> None:
        """Record anew, whatever comes next."""
        self._constants = None

    def of(self, arrays: Sequence[np.ndarray]) -> Captured:
        """The recorded model; recorded anew when an input that is not explained has changed, or a shape."""
        constants = self._not_explained(arrays)
        shapes = [array.shape for array in arrays]
        same = self._constants is not None and all(map(np.array_equal, constants, self._constants))
        if not same or shapes != self.shapes:
            self.last = self._record(arrays)
            self._constants, self.shapes = constants, shapes
        return self.last

    def _record(self, arrays: Sequence[np.ndarray]) -> Captured:
        model, explained = self._model, self._explained
        leaves = model.leaves(arrays)
        traced = [leaf for leaf, is_explained in zip(leaves, explained, strict=True) if is_explained]

        def call(*tensors: Tensor) -> Any:
            given = iter(tensors)
            return model.call(*(next(given) if e else leaf for leaf, e in zip(leaves, explained, strict=True)))

        zeroed = zeroed_calls(model.module, lambda: model.run(leaves)) if encoders(model.module) else frozenset()
        if zeroed:
            self.zeroed = sorted({path for path, _ in zeroed})

        def record(draws: Sequence[bytes] = ()) -> Captured:
            with padding_zeroed(model.module, zeroed):
                return capture(model.module, call, traced, model.start.weights, draws)

        captured = model.owning(record)
        self._drew = draws_numbers(captured.graph)
        if self._drew:
            with Draws() as draws:
                model.run(leaves)
            captured = model.owning(lambda: record(draws.states))
        model.start.restore()  # weights in the graph that the recording changed
        return captured
