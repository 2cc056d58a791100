"""One sample, output and input as everything that the stage draws and says: plain numbers and texts."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from explain_core.explanation import Explanation
from explain_core.explanation.labels import is_count
from explain_core.figures.panel import Panel, panel_of
from explain_core.figures.time_axis import as_numbers, time_axis
from explain_core.stage.contrast import Contrast, chosen, contrasts_of
from explain_core.stage.grouping import fold_after, groups_of, order_of
from explain_core.stage.ranges import Range, strongest_ranges, where_it_matters
from explain_core.stage.sentences import range_sentence
from explain_core.stage.when import is_date, step_texts
from explain_core.words import number, signed


@dataclass(frozen=True)
class Words:
    """What only the page knows of a result. All plain text, but for ``**bold**`` in the headline."""

    title: str = ""
    sequence: str = ""
    noun: str = "prediction"
    unit: str = ""
    headline: str = ""
    baseline: str = ""  # words for it in a sentence
    baseline_note: str = ""  # one line on what the choice means
    observed: str = ""
    time_label: str = "Timestep"


@dataclass(frozen=True)
class Scene:
    """What the stage draws. T timesteps, 1 for an input without a time axis; F features, 1 for tokens.

    Values and baselines are in the person's own units, attributions in the output's.
    """

    words: Words
    residual: str
    adds_up: bool
    prediction: float
    baseline_prediction: float
    input: str
    inputs: list[str]
    output: str
    outputs: list[str]
    time: np.ndarray | None  # (T,) labels
    features: list[str]  # F names
    units: list[str]  # F
    groups: list[str | None]  # F
    attribution: np.ndarray  # (T, F) float64
    value: np.ndarray  # (T, F) float64
    baseline: np.ndarray  # (T, F) float64; NaN where not known
    size: float  # sum|attribution| over all inputs
    order: list[int]
    fold_after: int
    contrasts: list[Contrast]
    contrast: Contrast
    matters: tuple[int, int] | None
    ranges: list[tuple[Range, str]]
    tokens: list[str] | None

    @property
    def change(self) -> float:
        """What all attributions of all inputs add up to, but for the residual."""
        return self.prediction - self.baseline_prediction

    @property
    def elsewhere(self) -> float:
        """What the attributions of the other inputs add up to, but for the residual; 0 where there are none."""
        return self.change - float(self.attribution.sum()) if len(self.inputs) > 1 else 0.0

    @property
    def step_texts(self) -> list[str]:
        """A text for each timestep; one empty text without a time axis."""
        return [""] if self.time is None else step_texts(self.time)

    @property
    def alt(self) -> str:
        """The picture in words, for those who do not see it."""
        T, F = self.attribution.shape
        unit = self.words.unit
        what = (
            f"{T:,} words" if self.tokens else _count(F, "feature") + (f" at {_count(T, 'timestep')}" if T > 1 else "")
        )
        said = [
            f"What moved {self.output} from {number(self.baseline_prediction, unit)} by "
            f"{signed(self.change, unit)} to {number(self.prediction, unit)}: {what}.",
        ]
        if self.ranges:
            said.append(f"Strongest: {'; '.join(text for _, text in self.ranges)}.")
        if self.matters:
            texts = self.step_texts
            said.append(f"Nine tenths of all movement is from {texts[self.matters[0]]} to {texts[self.matters[1]]}.")
        return " ".join([*said, f"{self.residual}."])

    def as_data(self) -> dict[str, Any]:
        """Everything for JSON, arrays as base64 of little-endian float64 in (time, feature) order."""
        words, positions = self.words, None
        if self.time is not None:
            placed = as_numbers(time_axis(self.time).positions)
            positions = None if np.array_equal(placed, np.arange(len(placed))) else placed.tolist()
        return {
            "title": words.title,
            "sequence": words.sequence,
            "headline": words.headline,
            "note": words.baseline_note,
            "residual": {"words": self.residual, "fine": self.adds_up},
            "noun": words.noun,
            "unit": words.unit,
            "prediction": self.prediction,
            "baseline_prediction": self.baseline_prediction,
            "baseline_words": words.baseline,
            "observed": words.observed,
            "input": self.input,
            "inputs": self.inputs,
            "elsewhere": self.elsewhere,
            "output": self.output,
            "outputs": self.outputs,
            "time": {
                "label": "" if self.time is None else words.time_label,
                "texts": self.step_texts,
                "positions": positions,
                "is_date": self.time is not None and is_date(self.time),
            },
            "features": [
                {"name": name, "unit": unit, "group": group}
                for name, unit, group in zip(self.features, self.units, self.groups, strict=True)
            ],
            "steps": len(self.attribution),
            "attribution": _base64(self.attribution),
            "value": _base64(self.value),
            "baseline": _base64(self.baseline),
            "size": self.size,
            "contrast": self.contrast.as_data(),
            "contrasts": [each.as_data() for each in self.contrasts],
            "matters": None if self.matters is None else list(self.matters),
            "order": self.order,
            "fold_after": self.fold_after,
            "ranges": [
                {"first": run.first, "last": run.last, "feature": run.feature, "amount": run.amount, "text": text}
                for run, text in self.ranges
            ],
            "alt": self.alt,
            "legend": {"raises": f"raises the {words.noun}", "lowers": "lowers it"},
            "tokens": self.tokens,
        }


def scene_of(
    explanation: Explanation,
    sample: Any = None,
    output: Any = 0,
    input: str | None = None,
    *,
    units: Mapping[str, str] | None = None,
    words: Words | None = None,
    groups: Mapping[str, str] | None = None,
) -> Scene:
    """The scene of one sample, output and input. Padding after a sample's length is left out.

    Args:
        sample, output, input: labels, or positions where labels are text; None is the first sample or input.
        units: by name of feature.
        words: what is said around the picture.
        groups: group by name of feature; None looks for them in the names.

    Raises:
        InputError, TargetError: no such sample, input or output.
    """
    words = words or Words()
    panel = panel_of(explanation, sample, output, input)
    if panel.time is not None and is_count(panel.time) and words.time_label == "Date":
        words = replace(words, time_label=Words.time_label)  # another input of the model has the dates
    at = {"sample": explanation.sample_position(sample), "output": explanation.output_position(output)}
    prediction, baseline = (float(each[at]) for each in (explanation.prediction, explanation.baseline_prediction))
    residual = explanation.residual_in_words(sample, output)
    names = _names(panel)
    grouped = groups_of(names, groups)
    order = order_of(panel.attribution, grouped)
    contrasts = contrasts_of(panel.attribution, words.unit)

    def sentence(run: Range) -> str:
        return range_sentence(
            run,
            prediction - baseline,
            panel.size,
            labels=panel.time,
            features=names,
            tokens=panel.tokens,
            time_label=words.time_label,
            unit=words.unit,
        )

    return Scene(
        words=words,
        residual=residual[:1].upper() + residual[1:],
        adds_up=explanation.adds_up(sample, output),
        prediction=prediction,
        baseline_prediction=baseline,
        input=panel.name,
        inputs=explanation.input_names,
        output=panel.output,
        outputs=explanation.outputs,
        time=panel.time,
        features=names,
        units=[(units or {}).get(name, "") for name in names],
        groups=grouped,
        attribution=panel.attribution,
        value=panel.value,
        baseline=panel.baseline,
        size=panel.size,
        order=order,
        fold_after=fold_after(panel.attribution, order, grouped),
        contrasts=contrasts,
        contrast=chosen(contrasts, panel.attribution),
        matters=where_it_matters(panel.attribution),
        ranges=[(run, sentence(run)) for run in strongest_ranges(panel.attribution)],
        tokens=panel.tokens,
    )


def _names(panel: Panel) -> list[str]:
    """Names of the features; those that are only numbered from 0 are counted from 1."""
    if panel.tokens is None and is_count(panel.feature_labels):
        return [f"feature {i + 1}" for i in range(len(panel.features))]
    return panel.features


def _count(size: int, noun: str) -> str:
    return f"{size:,} {noun}" + ("" if size == 1 else "s")


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array, dtype="<f8").tobytes()).decode("ascii")
