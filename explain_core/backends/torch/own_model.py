"""The copy of a model that a runner calls, always from the same start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from explain_core.backends.torch.capture import (
    model_device,
    model_dtype,
    private_copy,
    run,
    tensors_of,
    token_inputs,
    trains,
)
from explain_core.backends.torch.checks import check_layers
from explain_core.backends.torch.completed import Completed
from explain_core.backends.torch.interpreter import HALF
from explain_core.backends.torch.one_piece import recurrent_in_one_piece
from explain_core.backends.torch.repeating import Start
from explain_core.backends.torch.trace import Trace
from explain_core.backends.torch.watching import ChangesWeightError, WeightsAreKept


class OwnModel:
    """A private copy of what was given to be explained.

    Args:
        model: an ``nn.Module``, a TorchScript module or an exported program; it is not changed.
        arguments: names, arrays and how to call the model with them (`explain_core.preparation.inputs.Arguments`).
    """

    def __init__(self, model: Any, arguments: Any) -> None:
        module = model.module() if isinstance(model, torch.export.ExportedProgram) else model
        module = getattr(module, "_orig_mod", module)  # what torch.compile was given
        self._completed = module if isinstance(module, Completed) else None
        module = module.inner if isinstance(module, Completed) else module
        self.was_training = was_training(module)
        self.module = private_copy(module)
        check_layers(self.module)
        #: The half-precision dtype of a model that is half as a whole; it then runs in single precision.
        self.halves = {model_dtype(self.module)} if _is_half(self.module) else set()
        if self.halves:
            self.module.float()
        self._arguments = arguments
        self.start = Start(self.module)
        floats = [leaf.dtype for leaf in arguments.leaves if leaf.dtype.kind == "f"]
        double_input = bool(floats) and all(dtype == np.float64 for dtype in floats)
        self.dtype = model_dtype(self.module, otherwise=torch.float64 if double_input else torch.float32)

    def first_run(self, leaves: Sequence[Tensor]) -> tuple[list[Tensor], int | None]:
        """The model's answers, and the digest of what it did; also shows what it keeps or changes between calls."""
        trace = Trace(self.module, leaves)

        def call(*tensors: Tensor) -> Any:
            returned = self.call(*tensors)
            trace.given("returned", *tensors_of(returned))
            return returned

        answers = self.run(leaves, call, trace)
        trace.end()
        self.start.restore()
        return answers, None if self.start.weights else trace.digest

    def tokens(self, leaves: Sequence[Tensor]) -> set[int]:
        """Which inputs are token ids."""
        return self.owning(lambda: token_inputs(self.module, self.call, leaves, self._arguments.names))

    def run(
        self, leaves: Sequence[Tensor], call: Callable[..., Any] | None = None, trace: Trace | None = None
    ) -> list[Tensor]:
        """The model's own answers; ``call`` is `call` with something around it."""

        def action() -> list[Tensor]:
            with recurrent_in_one_piece(self.module, trace):
                return run(call or self.call, leaves, self.module, self._arguments.names)

        return self.owning(action, trace)

    def owning(self, action: Callable[[], Any], trace: Trace | None = None) -> Any:
        """What runs the model; before the first write to one of its weights, that becomes a copy and it runs again.

        Raises:
            ChangesWeightError: what it writes is not what was there.
        """
        while True:
            try:
                with WeightsAreKept(self.module, self.start.weights, trace):
                    result = action()
                changed = self.start.changed_weight
                if changed is not None:
                    raise ChangesWeightError(changed)
                return result
            except ChangesWeightError as found:
                if found.name in self.start.weights or found.name == self.start.changed_weight:
                    raise
                self.start.own(found.name)

    def call(self, *leaves: Tensor) -> Any:
        """One call of the model, from its start."""
        args, kwargs = self._arguments.rebuild(list(leaves))
        if self._completed is not None:
            args, kwargs = self._completed.complete(args, kwargs)
        self.start.restore()
        return self.module(*args, **kwargs)

    def leaves(self, arrays: Sequence[np.ndarray]) -> list[Tensor]:
        """Arrays as the model takes them, where the model is."""
        dtype, device = self.dtype, model_device(self.module)
        tensors = [torch.from_numpy(np.array(array)) for array in arrays]
        return [t.to(device=device, dtype=dtype if t.is_floating_point() else None) for t in tensors]


def was_training(module: nn.Module) -> bool:
    """Whether a module, or a part of it, was in training mode, as far as its flags mean anything.

    An exported program is what its mode made of it: it has no modes, and refuses ``train()`` by one of its own. What
    runs a model on several devices leaves the mode to the model.
    """
    if isinstance(module, fx.GraphModule) and "train" in vars(module):
        return False
    if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        return was_training(module.module)
    return trains(module) or any(map(was_training, module.children()))


def _is_half(model: nn.Module) -> bool:
    """Whether all of a model is in half precision, and not a part of it."""
    weights = [*model.parameters()] or [*model.buffers()]
    floats = [weight.dtype for weight in weights if weight.is_floating_point()]
    return bool(floats) and all(dtype in HALF for dtype in floats)
