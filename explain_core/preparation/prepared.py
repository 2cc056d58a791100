"""What every method of explaining begins and ends with: the arguments made ready, and the labels put on the result."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from explain_core.backends import get_backend
from explain_core.backends.protocol import PairAttribution, Runner, Target
from explain_core.errors import CaptureError, InputError, NoRoomError
from explain_core.explanation import Explanation
from explain_core.explanation.build import LabelledInput, build_explanation
from explain_core.explanation.labels import of_samples
from explain_core.preparation.axes import ROLES, Axis, axis_names
from explain_core.preparation.baseline_values import is_number
from explain_core.preparation.baselines import resolve_baselines
from explain_core.preparation.inputs import Arguments
from explain_core.preparation.opening import framework_model, open_on
from explain_core.preparation.rows import Plan, attribute_rows
from explain_core.preparation.steps_read import reads_only
from explain_core.preparation.targets import output_labels, select_targets
from explain_core.preparation.valid_steps import Form, float_masks, require_lengths


@dataclass(frozen=True)
class Prepared:
    """A model with its inputs, baselines and targets, checked and ready to explain.

    Attributes:
        model: the framework's own model, as it was given.
        framework: "torch" or "tensorflow".
        axes: the sample axis of each argument, or None.
        baselines: of each explained argument (B, ...), see `resolve_baselines`; ``described`` says where from.
        keep_output: whether results have an output dimension.
        precision: what was asked for; None for the model's own.
    """

    model: Any
    framework: str
    arguments: Arguments
    axes: tuple[int | None, ...]
    runner: Runner
    plan: Plan
    baselines: list[np.ndarray]
    described: str
    targets: list[Target]
    keep_output: bool
    precision: str | None

    def label(self, result: PairAttribution, attrs: Mapping[str, Any], started: float) -> Explanation:
        """The result of N samples with labels; ``started`` is when the work began (`time.perf_counter`)."""
        labels = _unique([t.label for t in self.targets])
        own = {label: t.labels for label, t in zip(labels, self.targets, strict=True) if t.labels}
        return build_explanation(
            [self._label(i, values) for i, values in enumerate(result.attributions) if values is not None],
            result.prediction.T,
            result.baseline_prediction.T,
            output_labels=labels,
            keep_output=self.keep_output,
            sample_labels=_sample_labels(self.arguments, self.axes),
            gates=result.gates,
            embedding_attributions={self.arguments.names[i]: values for i, values in result.embeddings.items()},
            notes=[*self.runner.notes, *self.plan.notes, *self._axis_notes()],
            attrs={
                **attrs,
                **({"targets": own} if own else {}),
                "framework": self.framework,
                "device": self.runner.device,
                "dtype": self.runner.dtype,
                "baselines": self.described,
                "baseline_count": self.plan.baseline_count,
                "seconds": time.perf_counter() - started,
            },
        )

    def attributed(
        self, gates: bool, embeddings: bool, say: Callable[[float, str], None]
    ) -> tuple[Prepared, PairAttribution]:
        """All rows explained, in smaller batches where they do not fit into memory; and what they were explained with.

        See `rows.attribute_rows`.
        """
        ready = self
        while True:
            try:
                return ready, attribute_rows(ready.runner, ready.plan, ready.targets, gates, embeddings, say)
            except NoRoomError:
                if not ready.plan.halve():
                    raise
            ready = ready.again(self.precision)

    def one_by_one(self) -> Prepared:
        """The same sample by sample and without baselines; see `Plan.one_by_one`.

        A model that returns something else for one row alone is run on as many rows as it was opened for.
        """
        if self.plan.rows_at_once == 1:
            return replace(self, plan=self.plan.one_by_one(filled=False))
        try:
            alone = replace(self, plan=self.plan.one_by_one(filled=False)).again(self.precision)
            if (alone.runner.outputs, alone.runner.output_axes) == (self.runner.outputs, self.runner.output_axes):
                return alone
        except CaptureError:  # it takes no row alone
            pass
        return replace(self, plan=self.plan.one_by_one(filled=True))

    def again(self, precision: str | None, sample: int | None = None) -> Prepared:
        """The same in another precision, or of one sample alone; the model is opened anew, in the same batches."""
        plan = self.plan if sample is None else self.plan.of_sample(sample)
        arguments = self.arguments.with_leaves(plan.first_rows())
        runner = get_backend(self.framework, self.model).open_runner(
            self.model, arguments, sample_axes=self.axes, device=self.runner.device, precision=precision
        )
        if sample is None:
            return replace(self, runner=runner)
        targets = [target.of_sample(sample) for target in self.targets]
        unlabelled = [replace(one, labels={}, along={}) for one in arguments.given]
        return replace(self, runner=runner, plan=plan, targets=targets, arguments=replace(arguments, given=unlabelled))

    def dims(self, i: int) -> tuple[str, ...]:
        """Names of the axes of an argument after the sample axis, such as ("time", "feature")."""
        return _names(self.arguments, self.axes, self.runner, i)

    def _axis_notes(self) -> list[str]:
        """Where the model reads a sequence along an axis that the person called otherwise."""
        found = []
        for name, given, told in zip(self.arguments.names, self.arguments.given, self.runner.axis_names, strict=True):
            called = given.dims[told.index("time")] if "time" in told else None
            if called in ROLES and called != "time":
                found.append(f"The model reads a sequence along the axis of {name!r} that is called {called!r}.")
        return found

    def time_axis(self, i: int) -> int | None:
        """The axis of time of an argument whose samples come first; None where it has none.

        Where neither names nor the model say which it is, (sample, time, feature) is what inputs are taken for.
        """
        roles, _ = _roles(self.arguments, self.axes, self.runner, i)
        return 1 + roles.index("time") if "time" in roles else None

    def _label(self, i: int, attributions: np.ndarray) -> LabelledInput:
        """Names and labels for the axes of one explained input."""
        given, axis, dims = self.arguments.given[i], self.axes[i], self.dims(i)
        kept = [a for a in range(given.array.ndim) if a != axis]
        called = {axis: "sample"} | dict(zip(kept, dims, strict=True))
        coords = {called[a]: given.labels[a] for a in kept if a in given.labels}
        along = {}
        for name, (axes, values) in given.along.items():
            order = sorted(range(len(axes)), key=lambda k: (axes[k] != axis, axes[k]))
            along[name] = tuple(called[axes[k]] for k in order), values.transpose(order)
        if "times" in along and along["times"][0] == ("sample", "time"):
            coords["time"] = along.pop("times")[1]
        return LabelledInput(
            self.arguments.names[i],
            self.plan.samples(i),
            self.plan.mean_baseline(i),
            attributions,
            dims,
            coords,
            along=along,
        )


def prepare(
    model: Any,
    inputs: Any,
    baselines: Any,
    target: Any,
    *,
    backend: str = "auto",
    device: str = "auto",
    background: bool = False,
    precision: str | None = None,
    sample_axis: Axis | Mapping[str, Axis] = 0,
    output_names: list[str] | None = None,
    sample_by_sample: bool = False,
    missing: bool = False,
) -> Prepared:
    """Read and check the arguments of `explain_core.explain`, and open the model; see there for their meaning.

    With ``sample_by_sample`` no batch mixes samples; with ``missing`` inputs may have NaN for a model to replace.

    Raises:
        ExplainError: something in them does not fit.
    """
    if not isinstance(background, bool | np.bool_):
        raise InputError(
            f"background is {_shown(background)}, and it is True or False",
            hint="Give the background itself as baselines=..., with background=True to average over it.",
        )
    names = output_labels(output_names)
    arguments, axes, runner, plan = open_on(
        model,
        inputs,
        backend=backend,
        device=device,
        precision=precision,
        sample_axis=sample_axis,
        sample_by_sample=sample_by_sample,
        missing=missing,
    )
    forms = [_form(arguments, axes, runner, plan, i) for i in range(len(axes))]
    require_lengths(forms)
    plan.notes.extend(float_masks(forms))
    base = resolve_baselines(baselines, forms, background)
    plan.notes.extend(base.notes)
    plan.names = arguments.names
    targets, keep_output = select_targets(
        target, runner.outputs, names, plan.count, _sample_labels(arguments, axes), forms[0].sample_name
    )
    plan.set_baselines(base.arrays, runner.explained, background)
    described = str(baselines) if isinstance(baselines, str) or is_number(baselines) else "given"
    model = framework_model(model)
    framework = get_backend(backend, model).__name__.rpartition(".")[2]
    return Prepared(
        model, framework, arguments, axes, runner, plan, base.arrays, described, targets, keep_output, precision
    )


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, str | int | float) else f"a {type(value).__name__}"


def _names(arguments: Arguments, axes: tuple[int | None, ...], runner: Runner, i: int) -> tuple[str, ...]:
    """Names of the axes of an argument after that of the samples."""
    given, name = arguments.given[i], arguments.names[i]
    is_float = given.array.dtype.kind == "f"
    return axis_names(given.dims, runner.axis_names[i], axes[i], is_float=is_float, where=name)


def _roles(
    arguments: Arguments, axes: tuple[int | None, ...], runner: Runner, i: int
) -> tuple[tuple[str | None, ...], bool]:
    """What each axis after that of the samples is for, and whether that is the order of `explain` and said by nothing.

    Names of the result are neutral in that case; what needs an axis of time goes by (sample, time, feature).
    """
    given, axis, told = arguments.given[i], axes[i], runner.axis_names[i]
    kept = [a for a in range(given.array.ndim) if a != axis]
    roles = tuple(
        dim if dim in ROLES else told[a] for a, dim in zip(kept, _names(arguments, axes, runner, i), strict=True)
    )
    is_unsaid = given.array.dtype.kind == "f" and not any((*roles, *(given.dims[a] for a in kept)))
    return (("time", "feature"), True) if is_unsaid and len(kept) == 2 else (roles, False)


def _form(arguments: Arguments, axes: tuple[int | None, ...], runner: Runner, plan: Plan, i: int) -> Form:
    """An input as its baseline has to fit it."""
    given, axis = arguments.given[i], axes[i]
    kept = [a for a in range(given.array.ndim) if a != axis]
    roles, is_assumed = _roles(arguments, axes, runner, i)
    along = given.along.get("length")
    samples = _sample_labels(arguments, axes)
    form = Form(
        name=arguments.names[i],
        values=plan.samples(i),
        axis=axis,
        is_explained=runner.explained[i],
        dims=_names(arguments, axes, runner, i),
        roles=roles,
        is_assumed=is_assumed,
        labels={k: given.labels[a] for k, a in enumerate([axis, *kept]) if a in given.labels}
        | ({} if samples is None else {0: samples}),
        lengths=along[1] if along is not None and along[0] == (axis,) else None,
        sample_name=(axis is not None and given.dims[axis]) or "sample",
        is_ids=given.array.dtype.kind != "f" or runner.float_ids[i],
        own_mask=runner.own_masks[i],
    )
    time = form.axis_of("time")
    return form if time is None else replace(form, reads_only=partial(reads_only, runner, plan, i, time))


def _sample_labels(arguments: Arguments, axes: tuple[int | None, ...]) -> np.ndarray | None:
    """The labels that the samples of the arguments go by."""
    return of_samples(one.labels[axis] for one, axis in zip(arguments.given, axes, strict=True) if axis in one.labels)


def _unique(labels: list[str]) -> list[str]:
    """The same output chosen twice is told apart by a number."""
    seen: dict[str, int] = {}
    for label in labels:
        seen[label] = seen.get(label, 0) + 1
    counts: dict[str, int] = {}
    unique = []
    for label in labels:
        counts[label] = counts.get(label, 0) + 1
        unique.append(label if seen[label] == 1 else f"{label} ({counts[label]})")
    return unique
