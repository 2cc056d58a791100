"""A PyTorch model as captum and shap want it: floats in, one column for each explained output."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from explain_core.backends.protocol import Target
from explain_core.backends.torch.capture import private_copy
from explain_core.backends.torch.one_at_a_time import one_at_a_time
from explain_core.errors import MethodError
from explain_core.methods.sample import Sample
from explain_core.preparation import Prepared


class TorchModel(nn.Module):
    """``forward`` takes R rows of each explained input, sample axis first, and returns (R, K).

    It holds a private copy of the model, so that hooks of other packages never touch the person's own.
    """

    def __init__(self, ready: Prepared) -> None:
        super().__init__()
        given = ready.model.module() if isinstance(ready.model, torch.export.ExportedProgram) else ready.model
        self.model = private_copy(getattr(given, "_orig_mod", given))
        self.dtype, self.device = getattr(torch, ready.runner.dtype), torch.device(ready.runner.device)
        self.model.to(device=self.device, dtype=self.dtype)
        self._ready = ready
        self._constants: list[Tensor] = []
        self._targets: list[Target] = []
        self.takes_many = True  # whether the model itself takes several rows at once
        self.notes: list[str] = []  # what a method found out about itself

    @property
    def is_batched(self) -> bool:
        """Whether rows go through the model together and on axis 0, as packages that double the batch rely on."""
        return self.takes_many and all(axis == 0 for axis in self._ready.axes)

    @staticmethod
    @contextmanager
    def at_work() -> Generator[None]:
        """Slopes wherever this is called, and without cuDNN, whose recurrent layers have none in evaluation mode."""
        with one_at_a_time(), torch.enable_grad():
            before = torch.backends.cudnn.enabled
            torch.backends.cudnn.enabled = False
            try:
                yield
            finally:
                torch.backends.cudnn.enabled = before

    def use(self, sample: Sample) -> None:
        """See `PlainModel`."""
        self._targets = [target.of_sample(sample.number) for target in self._ready.targets]
        self._constants = [self.tensor(values) for values in sample.constants]
        self.takes_many = self._ready.axes[0] is not None and all(self._takes(sample, rows) for rows in (1, 2))

    def _takes(self, sample: Sample, rows: int) -> bool:
        """Whether the model itself takes so many rows and has as many answers."""
        self.takes_many = True
        try:
            with torch.no_grad():
                return len(self(*(self.tensor(np.repeat(values, rows, 0)) for values in sample.test))) == rows
        except Exception:  # whatever a model made for another number of rows raises
            return False

    def tensor(self, values: np.ndarray) -> Tensor:
        """An array where the model is, floats in its precision."""
        tensor = torch.from_numpy(np.array(values)).to(self.device)
        return tensor.to(self.dtype) if tensor.is_floating_point() else tensor

    def predict(self, rows: Sequence[np.ndarray]) -> np.ndarray:
        """See `PlainModel`."""
        with one_at_a_time(), torch.no_grad():
            return self(*map(self.tensor, rows)).cpu().numpy()

    def forward(self, *given: Tensor) -> Tensor:
        # shap draws its points in float32, whatever the model's precision.
        explained = [leaf.to(self.dtype) if leaf.is_floating_point() else leaf for leaf in given]
        if self.takes_many:
            return self._columns(explained)
        rows, found = self._ready.plan.rows_at_once, []
        for some in zip(*(leaf.split(rows) for leaf in explained), strict=True):
            short = rows - len(some[0])
            full = [torch.cat([leaf, leaf[-1:].expand(short, *leaf.shape[1:])]) for leaf in some]
            found.append(self._columns(full)[: rows - short])
        return torch.cat(found)

    def _columns(self, explained: Sequence[Tensor]) -> Tensor:
        ready, count = self._ready, len(explained[0])
        given, constants = iter(explained), iter(self._constants)
        leaves = []
        for is_explained, axis in zip(ready.runner.explained, ready.axes, strict=True):
            leaf = next(given) if is_explained else next(constants)
            leaf = leaf if is_explained else leaf.expand(count, *leaf.shape[1:])
            leaves.append(leaf[0] if axis is None else leaf.movedim(0, axis))
        args, kwargs = ready.arguments.rebuild(leaves)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous chunk")
            outputs = [v for v in pytree.tree_leaves(self.model(*args, **kwargs)) if isinstance(v, Tensor)]
        columns = []
        for target in self._targets:
            first, *second = (self._column(outputs, part) for part in target.parts)
            columns.append(first - second[0] if second else first)
        return torch.stack(columns, dim=1)

    def _column(self, outputs: Sequence[Tensor], target: Target) -> Tensor:
        axis, output = self._ready.runner.output_axes[target.output], outputs[target.output]
        return (output.unsqueeze(0) if axis is None else output.movedim(axis, 0))[target.place(0)]

    def require_batches(self, package: str) -> None:
        """Refuse models that a package which puts input and baseline into one batch would get wrong.

        Raises:
            MethodError: the model takes one row at a time, or its samples are not on axis 0.
        """
        if not self.is_batched:
            raise MethodError(
                f"{package} runs the input and the baseline as one batch, and this model takes one row at a time or "
                "has its samples on another axis.",
                hint="Use a model with samples on axis 0 that takes any number of them.",
            )
