"""The rules by which shap's DeepExplainer for PyTorch goes, as a `Method`.

shap 0.51 runs the model on samples and baselines as one doubled batch, takes PyTorch's gradient, keeps its baseline
half, and multiplies by the difference. Operations therefore go by their derivative *in the baseline run*, with no word
about those that have no rule. Only inside modules of a few classes of ``torch.nn`` a hook replaces the gradient by
``Δout/Δin``, or leaves the derivative where ``|Δin| < 1e-6``. A module that is called several times gets the
quotient of its *last* call for all of them. The two runs are told apart by halving the first axis of what the module
got, whatever axis that is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from explain_core.backends.torch.kinds import Rule
from explain_core.backends.torch.methods import BASE, EXACT, Derivative, Method, vector_jacobian
from explain_core.backends.torch.pairs import Pair, attach
from explain_core.backends.torch.rules import find_rule
from explain_core.errors import UnsupportedOperation

RESCALED = ("LeakyReLU", "ReLU", "ELU", "Sigmoid", "Tanh", "Softplus", "Softmax", "SELU", "GELU")
"""Class names that shap's hook rescales."""

POOLED = ("MaxPool1d", "MaxPool2d", "MaxPool3d")
"""Class names whose hook mixes the gradients of both runs."""

_NEAR = 1e-6


@dataclass(frozen=True)
class ShapFallback(Method):
    """The emulation; made for one run.

    Attributes:
        hooked: class names by module path, of the modules that shap hooks.
        calls: by module path, the input and output of the module's last call, each (2, ...).
    """

    name: str = "shap"
    point: int | None = BASE
    secants: bool = False
    hooked: dict[str, str] = field(default_factory=dict)
    calls: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def rule(self, op: torch._ops.OpOverload, where: str) -> Rule | None:
        own = find_rule(op)
        if isinstance(own, EXACT):
            return own
        if self.hooked.get(where) in POOLED:
            raise UnsupportedOperation(
                f"shap's rule for {self.hooked[where]} mixes the multipliers of the sample and of the baseline, which "
                "one sweep does not follow",
                where=where,
                hint='The methods "gradient" and "rescale-only" have ledgers for this model.',
            )
        return Hooked(where) if where in self.hooked else Derivative(BASE)

    def check(self, model: nn.Module, call: Callable[..., Any], doubled: Callable[[], list[Tensor]]) -> None:
        """Refuse where shap takes something else for the two runs.

        Raises:
            UnsupportedOperation: a module whose first axis is not that of the samples.
        """
        if not self.calls:
            return
        seen: dict[str, Tensor] = {}
        modules = dict(model.named_modules())

        def keep(path: str) -> Callable:
            return lambda module, args, output: seen.update({path: args[0].detach()})

        handles = [modules[path].register_forward_hook(keep(path)) for path in self.calls]
        try:
            with torch.no_grad():
                call(*doubled())
        finally:
            for handle in handles:
                handle.remove()
        for path, (given, _) in self.calls.items():
            halves = seen[path].to(given).chunk(2)
            fits = len(halves) == 2 and all(half.shape == given.shape[1:] for half in halves)
            if not fits or not torch.allclose(
                torch.stack(halves), given, rtol=1e-3, atol=1e-4 * float(given.abs().max())
            ):
                raise UnsupportedOperation(
                    f"shap halves what {self.hooked[path]} gets along its first axis, which here is not that of the "
                    "samples, so its rule compares timesteps with each other",
                    where=path,
                    hint='The methods "gradient" and "rescale-only" have ledgers for this model.',
                )


def shap_fallback(model: nn.Module) -> ShapFallback:
    """The method for a model: which of its modules shap hooks."""
    leaves = {path: module for path, module in model.named_modules() if not list(module.children())}
    names = {path: type(module).__name__ for path, module in leaves.items()}
    return ShapFallback(hooked={path: name for path, name in names.items() if name in (*RESCALED, *POOLED)})


@dataclass(frozen=True)
class Hooked:
    """The operation of a module that shap hooks."""

    where: str

    def __call__(self, ops: Any, op: Any, args: tuple, kwargs: dict) -> Any:
        pair, calls, where = args[0], ops.method.calls, self.where
        with torch.no_grad():
            given = torch.stack([pair.test.detach(), pair.base])
            y, y_base = (op(x, *args[1:], **kwargs) for x in given)
        calls[where] = given, torch.stack([y, y_base])
        derivative, _ = vector_jacobian(op, args, kwargs, BASE)

        def back(m: Tensor) -> Tensor:
            (x, x_base), (out, out_base) = calls[where]
            if x.shape != m.shape:
                raise UnsupportedOperation(
                    "shap keeps only the last call of a module that is called several times, and there its input has "
                    f"another shape: {tuple(x.shape)} after {tuple(m.shape)}",
                    where=where,
                )
            change = x - x_base
            return torch.where(change.abs() < _NEAR, derivative(0, m)[0], m * ((out - out_base) / change))

        return Pair(attach([y], back, pair.tape), y_base)
