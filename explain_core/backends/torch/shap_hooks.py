"""The rules by which shap's DeepExplainer for PyTorch goes, as a `Method`.

shap 0.51 runs the model on samples and baselines as one doubled batch, takes PyTorch's gradient, keeps its baseline
half, and multiplies by the difference. Operations therefore go by their derivative *in the baseline run*, with no word
about those that have no rule. Only inside modules of a few classes of ``torch.nn`` a hook puts something else in the
gradient's place. Hooks tell the two runs apart by halving the first axis of what the module got, whatever axis that is;
a module that is called several times has kept its *last* call for all of them.

A model without such modules never mixes the two runs, so pairs of rows do. For a model with them the pairs are those
of the doubled batch: as test members ``[x; x]`` and as baselines ``[x; b]``, which is shap's batch. The derivative at
the baseline members is then shap's gradient, row by row, whatever its hooks mix; and since the rows of the first half
differ by nothing, contributions and defects are those of the second half alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from explain_core.backends.protocol import GateTrace, LayerDefects, PairAttribution
from explain_core.backends.torch.kinds import Rule
from explain_core.backends.torch.methods import BASE, EXACT, Derivative, Method, vector_jacobian
from explain_core.backends.torch.pairs import Pair, attach
from explain_core.backends.torch.rules import find_rule
from explain_core.errors import UnsupportedOperation

RESCALED = ("LeakyReLU", "ReLU", "ELU", "Sigmoid", "Tanh", "Softplus", "Softmax", "SELU", "GELU")
"""Class names whose hook puts ``Δout/Δin`` in the derivative's place, unless ``|Δin| < 1e-6``."""

POOLED = {
    "MaxPool1d": (F.max_pool1d, F.max_unpool1d),
    "MaxPool2d": (F.max_pool2d, F.max_unpool2d),
    "MaxPool3d": (F.max_pool3d, F.max_unpool3d),
}
"""Class names whose hook shares out the largest values of both runs, each by its own multiplier."""

_NEAR, _NEAR_POOLED = 1e-6, 1e-7
OTHER_LEDGERS = 'The methods "gradient" and "rescale-only" have ledgers for this model.'
"""What to do where there is no emulation."""


@dataclass(frozen=True)
class ShapFallback(Method):
    """The emulation; made for one run.

    Attributes:
        hooked: by module path, the modules that shap hooks.
        calls: by module path, the input and output of the module's last call, in both runs as one batch.
    """

    name: str = "shap"
    point: int | None = BASE
    secants: bool = False
    hooked: dict[str, nn.Module] = field(default_factory=dict)
    calls: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def rule(self, op: torch._ops.OpOverload, where: str) -> Rule | None:
        own = find_rule(op)
        if isinstance(own, EXACT):
            return own
        return Hooked(where, self.hooked[where]) if where in self.hooked else Derivative(BASE)


def shap_fallback(model: nn.Module) -> ShapFallback:
    """The method for a model: which of its modules shap hooks."""
    leaves = {path: module for path, module in model.named_modules() if not list(module.children())}
    names = (*RESCALED, *POOLED)
    return ShapFallback(hooked={path: module for path, module in leaves.items() if type(module).__name__ in names})


@dataclass(frozen=True)
class Hooked:
    """The operation of a module that shap hooks, on pairs whose baselines are shap's doubled batch."""

    where: str
    module: nn.Module

    def __call__(self, ops: Any, op: Any, args: tuple, kwargs: dict) -> Any:
        pair, calls = args[0], ops.method.calls
        with torch.no_grad():
            y, y_batch = (op(x, *args[1:], **kwargs) for x in (pair.test.detach(), pair.base))
        several = isinstance(y, (tuple, list))  # a pooling that also says where
        value, in_batch = (y[0], y_batch[0]) if several else (y, y_batch)
        calls[self.where] = pair.base, in_batch
        derivative, _ = vector_jacobian(op, args, kwargs, BASE)

        def back(m: Tensor) -> Tensor:
            x, out = calls[self.where]
            if x.shape != pair.base.shape:
                raise UnsupportedOperation(
                    "shap keeps only the last call of a module that is called several times, and there its input has "
                    f"another shape: {tuple(x.shape)} after {tuple(pair.base.shape)}",
                    where=self.where,
                    hint=OTHER_LEDGERS,
                )
            try:
                if type(self.module).__name__ in POOLED:
                    return _shared_out(self.module, x, out, m)
                return _rescaled(x, out, m, lambda: derivative(0, m)[0])
            except RuntimeError as error:
                raise UnsupportedOperation(
                    f"shap's rule for {type(self.module).__name__} fails on what it gets here, of shape "
                    f"{tuple(x.shape)}: {str(error).splitlines()[0]}",
                    where=self.where,
                    hint=OTHER_LEDGERS,
                ) from error

        result = Pair(attach([value], back, pair.tape), in_batch)
        return (result, *y[1:]) if several else result


def _halves(x: Tensor) -> tuple[Tensor, Tensor]:
    middle = len(x) // 2
    return x[:middle], x[middle:]


def _twice(x: Tensor) -> Tensor:
    return x.repeat(2, *[1] * (x.ndim - 1))


def _rescaled(x: Tensor, out: Tensor, m: Tensor, derivative: Callable[[], Tensor]) -> Tensor:
    """shap's ``nonlinear_1d``: the quotient of the differences between the halves, for both of them."""
    (a, b), (y, y_base) = _halves(x), _halves(out)
    change = a - b
    return torch.where(_twice(change).abs() < _NEAR, derivative(), m * _twice((y - y_base) / change))


def _shared_out(module: Any, x: Tensor, out: Tensor, m: Tensor) -> Tensor:
    """shap's ``maxpool``: the part of each window's change that either run's largest value made goes to its place.

    shap hands windows back without their dilation, and the last of overlapping ones decides; so does this.
    """
    pool, unpool = POOLED[type(module).__name__]
    window = module.kernel_size, module.stride, module.padding
    y, y_base = torch.chunk(out, 2)
    top = torch.max(y, y_base)
    _, places = pool(x, *window, module.dilation, module.ceil_mode, True)
    shares = unpool(m * torch.cat([top - y_base, y - top]), places, *window, list(x.shape))
    a, b = _halves(x)
    change = a - b
    first, second = torch.chunk(shares, 2)
    return _twice(torch.where(change.abs() < _NEAR_POOLED, 0.0, (first + second) / change))


Arrays = Sequence[np.ndarray]


def doubled(test: Arrays, baseline: Arrays, axes: Sequence[int | None]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Test and baseline rows such that the latter are shap's batch.

    Raises:
        UnsupportedOperation: the samples are not on the first axis, along which shap puts both runs together.
    """
    if any(axis != 0 for axis in axes):
        raise UnsupportedOperation(
            "shap runs sample and baseline as one batch along the first axis, which here is not that of the samples",
            hint=OTHER_LEDGERS,
        )
    return (
        [np.concatenate([t, t]) for t in test],
        [np.concatenate([t, b]) for t, b in zip(test, baseline, strict=True)],
    )


def second_half(result: PairAttribution, rows: int) -> PairAttribution:
    """What came of `doubled`, of the rows whose members differ; ``rows`` is how many these are."""

    def half(array: np.ndarray) -> np.ndarray:
        return array[:, rows:] if array.shape[1] == 2 * rows else array

    def of_gates(trace: GateTrace) -> GateTrace:
        arrays: dict[str, Any] = {name: half(v) for name, v in vars(trace).items() if isinstance(v, np.ndarray)}
        return replace(trace, **arrays)

    def of_layer(layer: LayerDefects) -> LayerDefects:
        differs = (layer.change != 0).any(-1, keepdims=True)  # also where a layer has not one row for each sample
        layer = replace(layer, multiplier=layer.multiplier * differs)
        defect, multiplier, change = (half(part) for part in (layer.defect, layer.multiplier, layer.change))
        return replace(layer, defect=defect, multiplier=multiplier, change=change)

    ledger = result.ledger
    assert ledger is not None  # the method is one of ledgers only
    return replace(
        result,
        prediction=half(result.prediction),
        baseline_prediction=half(result.baseline_prediction),
        attributions=[values if values is None else half(values) for values in result.attributions],
        gates={name: of_gates(trace) for name, trace in result.gates.items()},
        ledger=replace(ledger, layers={name: of_layer(layer) for name, layer in ledger.layers.items()}),
    )
