"""What the tests of the TensorFlow engine share: the arguments object, and what every explanation must
satisfy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from explain_core.backends.protocol import PairAttribution, Target
from explain_core.backends.tensorflow import open_runner

# |residual| over the sum of |attributions|. Measured over all recurrent layers: at most 3e-7 and 5e-16.
RESIDUAL = {"float32": 1e-5, "float64": 1e-12}
# Conservation at a step, over the largest mass of the layer. Measured: at most 3e-6 and 8e-15.
CONSERVATION = {"float32": 1e-5, "float64": 1e-12}


@dataclass
class Arguments:
    """A model's positional arguments; ``keys`` makes the one argument a dict."""

    leaves: list[np.ndarray]
    keys: tuple[str, ...] | None = None
    as_list: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        return self.keys or tuple(f"input{number}" for number in range(len(self.leaves)))

    def rebuild(self, leaves: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if self.keys:
            return (dict(zip(self.keys, leaves, strict=True)),), {}
        return ((list(leaves),) if self.as_list else tuple(leaves)), {}


@contextmanager
def double_precision() -> Iterator[None]:
    """Keras models made inside are of doubles. Keras remembers the policy that it first makes, so both are put back."""
    import keras

    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        yield
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")


def runner_of(model, inputs: Sequence[np.ndarray], **options):
    """A runner on the CPU; ``keys`` and ``as_list`` say how the model takes its inputs."""
    shaped = {name: options.pop(name) for name in ("keys", "as_list") if name in options}
    arguments = Arguments([np.asarray(leaf) for leaf in inputs], **shaped)
    axes = options.pop("sample_axes", (0,) * len(inputs))
    return open_runner(model, arguments, sample_axes=axes, device="cpu", **options)


def first_targets(runner, count: int = 1) -> list[Target]:
    """The first ``count`` elements of the last axis of every output, at the end of any axis before it."""
    targets = []
    for number, output in enumerate(runner.outputs):
        before = tuple(-1 if size is None else size - 1 for size in output.shape[:-1])
        for place in range(min(count, output.shape[-1]) if output.shape else 1):
            index = (*before, place) if output.shape else ()
            targets.append(Target(number, index, f"{output.name}{index}"))
    return targets


def explain(model, test, base, targets=None, count=1, **options) -> PairAttribution:
    runner = runner_of(model, test, **options)
    return runner.attribute(test, base, targets or first_targets(runner, count), gates=True, embeddings=True)


def residual(found: PairAttribution) -> float:
    """The largest |Σφ - Δf| over Σ|φ|, beyond the rounding of the predictions themselves (4 units in the
    last place).
    """
    parts = [a.reshape(*a.shape[:2], -1).astype(np.float64) for a in found.attributions if a is not None]
    total = sum(part.sum(-1) for part in parts)
    size = sum(np.abs(part).sum(-1) for part in parts)
    gap = np.abs(total - (found.prediction.astype(np.float64) - found.baseline_prediction))
    gap = np.maximum(gap - 4 * np.spacing(np.abs(found.prediction)), 0)
    return float(np.max(np.where(gap == 0, 0, gap / np.where(size == 0, np.finfo(float).tiny, size))))


def leak(found: PairAttribution) -> float:
    """The largest failure of conservation at a step, over the largest mass of its layer."""
    worst = 0.0
    for trace in found.gates.values():
        kept = trace.contribution.sum((-1, -2), dtype=np.float64) + trace.carry.sum(-1, dtype=np.float64)
        worst = max(worst, float(np.abs(kept - trace.mass).max() / np.abs(trace.mass).max()))
    return worst


def distance(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference of an element over the largest element."""
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def assert_exact(model, test, base, *, layers: Sequence[str] | None = None, predict=True, **options):
    """Sums and steps are conserved in both precisions; the fused layers say what their traced loops say.

    Args:
        layers: names of the layers that must have run fused; None for no recurrent layer at all.
        predict: whether the model can be called on the inputs as they are, to compare predictions.

    Returns:
        The explanation in double precision.
    """
    for precision in ("float32", "float64"):
        found = explain(model, test, base, precision=precision, **options)
        assert list(found.gates) == list(layers or [])
        assert residual(found) <= RESIDUAL[precision], (precision, residual(found))
        if layers:
            assert leak(found) <= CONSERVATION[precision], (precision, leak(found))
    assert any(np.abs(a).max() > 0 for a in found.attributions if a is not None)
    loop = explain(model, test, base, precision="float64", fuse=False, **options)
    assert not loop.gates
    for a, b in zip(found.attributions, loop.attributions, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            # Measured: at most 1e-14; they are the same multipliers summed in another order.
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * np.abs(b).max())
    return found
