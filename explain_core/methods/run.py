"""`explain_with`: one method by its id, with the result in the form of `explain`."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from explain_core.backends.protocol import PairAttribution
from explain_core.errors import InputError, MethodError
from explain_core.explaining import explain
from explain_core.explanation import Explanation
from explain_core.methods.faults import library_at_work, library_version
from explain_core.methods.registry import METHODS, Method, method_of
from explain_core.methods.relevance import booked, propagate
from explain_core.methods.sample import PlainModel, samples_of
from explain_core.preparation import Prepared, prepare
from explain_core.preparation.axes import Axis

Progress = Callable[[float, str], None]


def explain_with(
    method: str,
    model: Any,
    inputs: Any,
    baselines: Any = "zeros",
    target: Any = None,
    backend: str = "auto",
    device: str = "auto",
    background: bool = False,
    precision: str | None = None,
    *,
    sample_axis: Axis | Mapping[str, Axis] = 0,
    output_names: list[str] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> Explanation:
    """Explain by another method, for comparison.

    Args:
        method: an id of `METHODS`; "pairlift" is `explain_core.explain` itself.
        model, inputs, baselines, target, backend, device, background, precision, sample_axis, output_names: as in
            `explain_core.explain`. Over a background every method's result is the mean over its baselines.
        seed: of methods that draw random numbers.
        progress: called with the fraction done and what is being done.
        options: the method's own, such as ``steps=100``; see ``METHODS[method].options``.

    Returns:
        The same labels, predictions and residual as `explain_core.explain` gives, without gates. The residual may be
        large: nothing is refused, scaled or spread. ``attrs`` has the method, its package and version, and the time.

    Raises:
        MethodError: the method's package failed, or has no such method for this framework.
        ExplainError: as `explain_core.explain` raises.
    """
    started = time.perf_counter()
    chosen = method_of(method)
    options = _options(chosen, options)
    shared = {
        "backend": backend,
        "device": device,
        "background": background,
        "precision": precision,
        "sample_axis": sample_axis,
        "output_names": output_names,
    }
    if method == "pairlift":
        found = explain(model, inputs, baselines, target, keep_gates=False, progress=progress, **shared)
        found.attrs |= {"method": chosen.name, "library": library_version("")}
        return found
    ready = prepare(model, inputs, baselines, target, **shared)
    if ready.framework not in chosen.runs:
        raise MethodError(
            f"{chosen.name} is for {' and '.join(_TITLES[name] for name in chosen.frameworks)} models.",
            hint=f"For {_TITLES[ready.framework]} there are: "
            f"{', '.join(name for name, other in METHODS.items() if ready.framework in other.runs)}.",
        )
    library = chosen.libraries[ready.framework]
    own = propagate if method == "lrp" else None  # the one that needs no package, and keeps books
    with library_at_work(chosen.name, library):
        say = progress or (lambda fraction, message: None)
        result = own(ready, **options, say=say) if own else _run(ready, chosen, options, seed, say)
    attrs = {"method": chosen.name, "library": library_version(library), "options": options, "seed": seed}
    explanation = ready.label(result, attrs, started)
    return booked(explanation, result) if own else explanation


_TITLES = {"torch": "PyTorch", "tensorflow": "TensorFlow"}
_PLAIN = {
    "torch": ("explain_core.methods.torch_model", "TorchModel"),
    "tensorflow": ("explain_core.methods.tensorflow_model", "TensorFlowModel"),
}


def plain_model(ready: Prepared) -> PlainModel:
    """The prepared model as a plain function of what is explained."""
    module, name = _PLAIN[ready.framework]
    return getattr(importlib.import_module(module), name)(ready)


def _run(ready: Prepared, method: Method, options: dict[str, Any], seed: int, say: Progress) -> PairAttribution:
    module, _, function = method.runs[ready.framework].partition(":")
    attribute = getattr(importlib.import_module(module), function)
    model = plain_model(ready)
    count, dtype = ready.plan.count, np.dtype(ready.runner.dtype)
    predictions, baseline_predictions, parts = [], [], []
    for n, sample in enumerate(samples_of(ready, seed)):
        say(n / count, f"{method.name}: sample {n + 1} of {count}" if count > 1 else method.name)
        with model.at_work():
            model.use(sample)
            parts.append(attribute(model, sample, **options))
        predictions.append(model.predict(sample.test)[0])
        baseline_predictions.append(model.predict(sample.base).mean(0, dtype=np.float64).astype(dtype))
    ready.plan.notes.extend(model.notes)
    stacked = iter([np.stack(of_each, axis=1).astype(dtype) for of_each in zip(*parts, strict=True)])
    return PairAttribution(
        prediction=np.stack(predictions, axis=1),
        baseline_prediction=np.stack(baseline_predictions, axis=1),
        attributions=[next(stacked) if explained else None for explained in ready.runner.explained],
    )


def _options(method: Method, given: dict[str, Any]) -> dict[str, Any]:
    unknown = set(given) - set(method.options)
    if unknown:
        raise InputError(
            f"{method.name} has no option {sorted(unknown)[0]!r}.",
            hint=f"It has: {', '.join(method.options)}." if method.options else "It has none.",
        )
    return {**method.options, **given}
