"""The model's own call beside what was followed step by step, in every batch and for one row alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from explain_core.backends.answers import Arrays, OwnAnswers, mixes, require_rows, rows_apart
from explain_core.backends.protocol import Target
from explain_core.backends.torch.draws import Draws
from explain_core.backends.torch.pairs import is_whole
from explain_core.backends.torch.precision import as_given, given_settings
from explain_core.errors import CaptureError, CompletenessError

Column = Callable[[Sequence[Tensor], Target], Tensor]


class TorchAnswers(OwnAnswers):
    """What a model says of the rows that are explained.

    Args:
        call: from arrays to the tensors that the model returns.
        column: the explained number of each row, (N,), in what it returned.
        follow: runs the recorded model on arrays in another type.
        sample_axes: of each array; None for a model without one.
        output_axes: the same of each tensor that the model returns.
        device: the type of device that the model itself is on.
        arrays, outputs: a call that was made already.
        alone: whether a row is to have the same answer by itself. Where there are inputs that are not explained, such
            as lengths, it may not: a model that takes the longest of a batch does what it was told with others.
        weights: a digest of the values of the model's weights.
        compared: digests of rows and weights that were compared before, by the same recording; grows.
    """

    def __init__(
        self,
        call: Callable[[Arrays], Sequence[Tensor]],
        column: Column,
        follow: Callable[[Arrays, torch.dtype], Sequence[Tensor]],
        sample_axes: Sequence[int | None],
        output_axes: Sequence[int | None],
        device: str,
        arrays: Arrays,
        outputs: Sequence[Tensor],
        alone: bool,
        weights: Callable[[], int],
        compared: set[int],
    ) -> None:
        super().__init__(sample_axes)
        self._alone, self._device, self._output_axes = alone, device, output_axes
        self._digest, self._seen = weights, compared
        self._run, self._column, self._run_recorded = call, column, follow
        self._known["the input"] = list(arrays), outputs

    def _weights(self) -> int:
        return self._digest()

    @property
    def _compared(self) -> set[int]:
        return self._seen

    def _call(self, arrays: Arrays) -> Sequence[Tensor]:
        return self._run(arrays)

    def _number(self, outputs: Sequence[Tensor], target: Target) -> np.ndarray:
        return self._column(outputs, target).detach().cpu().double().numpy()  # NumPy has no bfloat16

    def _spread(self, outputs: Sequence[Tensor], rows: int, places: np.ndarray) -> Sequence[Tensor]:
        axes, at = self._output_axes, torch.from_numpy(places).to(outputs[0].device)
        require_rows([value.shape for value in outputs], axes, rows)
        return [v if axis is None else v.index_select(axis, at) for v, axis in zip(outputs, axes, strict=True)]

    def _follow(self, arrays: Arrays, dtype: str) -> Sequence[Tensor]:
        return self._run_recorded(arrays, getattr(torch, dtype))

    def _as_set(self, arrays: Arrays) -> tuple[Sequence[Tensor], str] | None:
        settings = given_settings().in_words(self._device)
        if not settings:
            return None
        with as_given():
            return self._run(arrays), settings

    def _require_own_rows(self, test, baseline, targets, size, dtype) -> None:
        try:
            super()._require_own_rows(test, baseline, targets, size, dtype)
            if self._alone:
                self._require_same_alone(test, targets, size, dtype)
        except CompletenessError as error:
            if len(self._sample_axes) > 1:
                error.hint += (
                    " An input that all samples share, such as positions, is one with sample_axis={name: None}."
                )
            raise

    def _require_same_alone(self, test, targets, size, dtype) -> None:
        """The first row as a batch of one, where it keeps its place: for what goes by the number of rows."""
        together = self._known["the input"][1]
        try:
            found = self._call([a if axis is None else np.take(a, [0], axis) for a, axis in self._with_axes(test)])
        except CaptureError:  # it takes one number of rows only
            return
        for k, target in enumerate(targets):
            try:
                outputs = [_like(a, b) for a, b in zip(found, together, strict=True)]
                alone = self._number(outputs, target.of_sample(0))[:1]
            except (CaptureError, ValueError):  # padded to the longest sequence, a row alone has fewer timesteps
                continue
            own, noise = self._number(together, target)[:1], self._noise(test, target, dtype)
            if rows_apart(own, alone, size[k, :1], dtype, noise).size:
                raise self._drawn_for_all(test, size.shape[1]) or mixes(0, size.shape[1], own[0], alone[0], "alone")

    def _drawn_for_all(self, arrays: Arrays, rows: int) -> CompletenessError | None:
        """The error for random numbers that are drawn for all rows of a batch at once, if there are such."""
        with Draws() as draws:
            self._call(arrays)
        for name, shape in draws.drawn:
            if rows in shape:
                return CompletenessError(
                    f"the model draws random numbers in the shape of its batch ({name} of {shape}), so a sample has "
                    "others alone than among others, and its attributions are not its own",
                    hint="Draw them in the shape of one sample, or explain one sample at a time.",
                )
        return None


def coarsest(dtypes: Iterable[torch.dtype]) -> str:
    """The floating type of the fewest digits among types; of complex numbers, by that of their parts."""
    kinds = {dtype.to_real() for dtype in dtypes if not is_whole(dtype)}
    return str(max(kinds, key=lambda kind: torch.finfo(kind).eps)).removeprefix("torch.")


def _like(alone: Tensor, together: Tensor) -> Tensor:
    """What a model returned for one row, with the axis that it may have squeezed away."""
    return alone if alone.ndim == together.ndim else alone.reshape(*[1] * (together.ndim - alone.ndim), *alone.shape)
