"""What every explanation of the torch engine must satisfy, in one helper: `assert_exact`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MethodType

import numpy as np
import torch
from reference.paired import Multipliers, PairedArray
from reference.recurrent import GATES, Layer, trace
from torch import nn

import explain_core as xc

# |residual| over the sum of |attributions|; the promise of the engine.
RESIDUAL = {torch.float32: 1e-5, torch.float64: 1e-12}
# At every step, in roundings of states and gates. Measured: 1.4 with saturated gates and over 5,000 steps; 11
# where relu's pre-activation is a small sum of large terms.
CONSERVED = 50
# Difference to the reference, per element, over the largest attribution of that sample and output.
AGREEMENT = {torch.float32: 1e-5, torch.float64: 1e-10}
DTYPES = (torch.float32, torch.float64)

Mirrored = PairedArray | tuple[PairedArray, dict[str, Layer]]


class Net(nn.Module):
    """A model in one expression: named modules and a function of (the model, inputs ...)."""

    def __init__(self, forward: Callable, **modules: nn.Module) -> None:
        super().__init__()
        self._run = forward
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, *inputs):
        return self._run(self, *inputs)


class Named(Net):
    """The same, whose inputs have the names that the function gives them."""

    def __init__(self, forward: Callable, **modules: nn.Module) -> None:
        super().__init__(forward, **modules)
        self.forward = MethodType(forward, self)


def weights_of(module: nn.Module) -> dict[str, np.ndarray]:
    """State dict in float64, which holds float32 weights exactly."""
    return {name: tensor.detach().double().numpy() for name, tensor in module.state_dict().items()}


def draw(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


@dataclass
class Expected:
    """Reference attributions of N samples and K outputs."""

    prediction: np.ndarray  # (N, K)
    baseline_prediction: np.ndarray  # (N, K)
    attributions: list[np.ndarray]  # per explained leaf: (K, N, ...)
    gates: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)  # name -> part -> (K, N, T, ...)


def reference(
    mirror: Callable[..., Mirrored],
    test: Sequence[np.ndarray],
    base: Sequence[np.ndarray],
    targets: Sequence[int] | None = None,
) -> Expected:
    """Run `mirror` on every sample by itself.

    Args:
        mirror: of one sample's leaves (a `PairedArray` where floats, the test array otherwise) to the flat or
            shaped output, and with it, where there are any, the recurrent layers by the engine's names.
        test, base: leaves, sample axis first.
        targets: positions in the flattened output; all if None.
    """
    predictions, baselines, attributions, gates = [], [], [], []
    for rows in zip(*test, *base, strict=True):
        leaves = [
            PairedArray(a, b) if np.issubdtype(a.dtype, np.floating) else a
            for a, b in zip(rows[: len(test)], rows[len(test) :], strict=True)
        ]
        result = mirror(*leaves)
        output, layers = result if isinstance(result, tuple) else (result, {})
        flat = output.reshape(-1)
        chosen = range(flat.shape[0]) if targets is None else targets
        ms = [Multipliers(flat[k]) for k in chosen]
        predictions.append(flat.test[list(chosen)])
        baselines.append(flat.base[list(chosen)])
        explained = [leaf for leaf in leaves if isinstance(leaf, PairedArray)]
        attributions.append([np.stack([m.contributions(leaf) for m in ms]) for leaf in explained])
        traces = {name: [trace(layer, m) for m in ms] for name, layer in layers.items()}
        gates.append(
            {
                name: {part: np.stack([getattr(t, part) for t in found]) for part in ("contribution", "carry", "mass")}
                for name, found in traces.items()
            }
        )
    return Expected(
        np.stack(predictions),
        np.stack(baselines),
        [np.stack(leaf, axis=1) for leaf in zip(*attributions, strict=True)],
        {
            name: {part: np.stack([g[name][part] for g in gates], axis=1) for part in gates[0][name]}
            for name in gates[0]
        },
    )


def arrays(labelled) -> list[np.ndarray]:
    """Attributions as plain arrays (K, N, ...), one per explained input."""
    parts = labelled.values() if isinstance(labelled, dict) else [labelled]
    return [part.values if "output" in part.dims else part.values[None] for part in parts]


def snapshot(model: nn.Module) -> list:
    """Everything about a model that explaining it might disturb."""
    state = [
        (name, tensor.detach().clone(), tensor.requires_grad, tensor.device, tensor.grad, id(tensor))
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]
    ]
    modules = [
        (
            name,
            module.training,
            sorted(vars(module)),
            {key: list(hooks) for key, hooks in vars(module).items() if key.endswith("_hooks")},
        )
        for name, module in model.named_modules()
    ]
    return [state, modules, torch.is_grad_enabled(), torch.get_default_dtype()]


@contextmanager
def unchanged(model: nn.Module):
    """Asserts that the model leaves the block as it came, by an error too."""
    before = snapshot(model)
    try:
        yield
    finally:
        after = snapshot(model)
        assert before[1:] == after[1:]
        assert len(before[0]) == len(after[0])
        for old, new in zip(before[0], after[0], strict=True):
            assert old[0] == new[0]
            assert old[1].numpy().tobytes() == new[1].numpy().tobytes(), old[0]  # a NaN equals itself here
            assert old[2:] == new[2:], old[0]


def close(found: np.ndarray, expected: np.ndarray, tolerance: float, per: int, what: str, scale=None) -> None:
    """Per element, over `scale` or the largest of `expected` along all but its first `per` axes."""
    assert found.shape == expected.shape, f"{what}: {found.shape} instead of {expected.shape}"
    if scale is None:
        scale = np.abs(expected).max(axis=tuple(range(per, expected.ndim)), keepdims=True)
    worst = np.abs(found - expected) / np.where(scale == 0, 1, scale)
    assert worst.max(initial=0) <= tolerance, f"{what}: off by {worst.max():.2e} of the largest"


def assert_exact(
    model: nn.Module,
    inputs: Sequence[np.ndarray],
    mirror: Callable[..., Mirrored],
    *,
    dtype: torch.dtype = torch.float64,
    baselines: Sequence[np.ndarray] | None = None,
    pack: Callable | None = None,
    targets: Sequence[int] | None = None,
    agreement: float | None = None,
    residual: float | None = None,
    rounding: float = 0,
    **options,
) -> xc.Explanation:
    """Explain `model` and hold the result against the reference.

    Args:
        inputs: leaves, sample axis first; floating ones are explained.
        mirror: the model on one sample, see `reference`.
        baselines: leaves like `inputs`; drawn at random if None, with other leaves as in `inputs`.
        pack: from leaves to the structure the model takes; the leaf itself or a tuple if None.
        targets: positions in the flattened outputs, when `options` has a target.
        agreement, residual: instead of the usual bounds.
        rounding: units in the last place of 1 that prediction and residual may be off besides; for nets whose
            inner values are of order 1 and whose output may hardly depend on the input.
        options: passed to `explain`.
    """
    numpy_type = np.float32 if dtype == torch.float32 else np.float64
    model = model.to(dtype)
    test = [a.astype(numpy_type) if np.issubdtype(a.dtype, np.floating) else a for a in inputs]
    if baselines is None:
        drawn = [draw(1000 + i, *a.shape) for i, a in enumerate(test)]
        baselines = [d if np.issubdtype(a.dtype, np.floating) else a for d, a in zip(drawn, test, strict=True)]
    base = [b.astype(a.dtype) for a, b in zip(test, baselines, strict=True)]
    if pack is None:
        pack = (lambda leaf: leaf) if len(test) == 1 else (lambda *leaves: leaves)
    with unchanged(model):
        ex = xc.explain(model, pack(*test), baselines=pack(*base), backend="torch", device="cpu", **options)
    expected = reference(mirror, test, base, targets)
    check(ex, expected, dtype, agreement or AGREEMENT[dtype], residual or RESIDUAL[dtype], rounding)
    return ex


def check(
    ex: xc.Explanation,
    expected: Expected,
    dtype: torch.dtype,
    agreement: float,
    residual: float,
    rounding: float = 0,
) -> None:
    unit = rounding * torch.finfo(dtype).eps
    for name in ("prediction", "baseline_prediction"):
        found, wanted = getattr(ex, name).values, getattr(expected, name)
        assert found.shape == wanted.shape
        allowed = agreement * np.abs(wanted).max(axis=0) + unit
        assert (np.abs(found - wanted) <= allowed).all(), f"{name}: {found} instead of {wanted}"
    found = arrays(ex.attributions)
    assert len(found) == len(expected.attributions)
    assert all(np.isfinite(part).all() for part in found)
    allowed = residual * ex.attribution_size.values + unit
    relative = ex.relative_residual.values.max()
    assert (np.abs(ex.residual.values) <= allowed).all(), f"does not add up: {relative:.2e} of all attribution"
    assert set(expected.gates) <= set(ex.gates), f"gates of {list(ex.gates)} only"
    for name, dataset in ex.gates.items():
        assert_conserved(dataset, name, dtype)
    for i, (part, wanted) in enumerate(zip(found, expected.attributions, strict=True)):
        close(part, wanted, agreement, 2, f"attributions of input {i}")
    for name, wanted in expected.gates.items():
        dataset = ex.gates[name]
        assert tuple(dataset["gate"].values) == GATES[dataset.attrs["kind"]]
        # The mass is a sum over units and gates that may cancel: what counts is the size of its terms.
        terms = np.abs(wanted["contribution"]).sum((3, 4)) + np.abs(wanted["carry"]).sum(3)
        terms = terms.max(axis=2, keepdims=True)
        for part, values in wanted.items():
            array = dataset[part].values
            array = array if "output" in dataset.dims else array[None]
            close(array, values, agreement, 2, f"{name} {part}", terms if part == "mass" else None)


def assert_conserved(dataset, name: str, dtype: torch.dtype) -> None:
    """At every step, the states' mass is what the gates and the carry account for, but for rounding.

    What a gate or a state is off by is its unit of rounding over its difference within the pair.
    """
    data = dataset.astype(np.float64)
    gates, carry = data["contribution"], data["carry"]
    off = np.abs(data["mass"] - gates.sum(("gate", "unit")) - carry.sum("unit"))
    eps, tiny = torch.finfo(dtype).eps, torch.finfo(dtype).tiny
    own = np.abs(gates) * rounding_of(data["activation"], eps)
    through = np.abs(gates).sum("gate") + np.abs(carry)
    states = [rounding_of(data[part], eps) for part in ("state", "cell") if part in data]
    passed = sum(through * (state if "unit" in state.dims else state.max(state.dims[-1])) for state in states)
    worst = float((off / (own.sum(("gate", "unit")) + passed.sum("unit") + tiny)).max())
    assert worst <= CONSERVED, f"{name} does not conserve: {worst:.2e} roundings off at some step"


def rounding_of(pairs, eps: float):
    """Relative error of ``a - a'`` when both are rounded; at most 1."""
    test, base = pairs.sel(member="test", drop=True), pairs.sel(member="baseline", drop=True)
    difference = np.abs(test - base)
    size = eps * (np.abs(test) + np.abs(base))
    return (size / difference.where(difference > size, size)).where(size > 0, 1.0)
