"""What a result says, in sentences for people who did not train the model."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from explain_core.explanation import Explanation, by_name
from explain_core.figures.panel import panel_of
from explain_core.report import Asked
from explain_core.stage import Words
from explain_core.words import number, percent, signed
from ui.baselines import Baseline
from ui.subjects import Subject, digest


@dataclass(frozen=True)
class Shown:
    """A finished explanation with what was asked.

    Attributes:
        key: stands for both in the names of widgets.
        run: the id that it is kept by; empty where it is not kept.
        asked: what to ask of the model to get it again; None where nobody knows.
    """

    subject: Subject
    baseline: Baseline
    explanation: Explanation
    key: str
    run: str = ""
    asked: Asked | None = None

    @property
    def has_several(self) -> bool:
        """Whether several outputs were explained."""
        return len(self.explanation.outputs) > 1

    @property
    def probabilities(self) -> dict[str, float] | None:
        """Of each class, where the outputs are the scores (logits) of a classification."""
        if self.subject.output_unit != "logit" or not self.has_several:
            return None
        scores = self.explanation.prediction[0].values.astype(float)
        odds = np.exp(scores - scores.max())
        return dict(zip(self.explanation.outputs, (odds / odds.sum()).tolist(), strict=True))

    @property
    def unit(self) -> str:
        """Unit of the outputs; scores have none that would say anything to people."""
        return "" if self.probabilities is not None else self.subject.output_unit

    @property
    def noun(self) -> str:
        """What an output is called."""
        return "score" if self.probabilities is not None else "prediction"

    @property
    def likeliest(self) -> str:
        """The output with the largest prediction."""
        return self.explanation.outputs[int(self.explanation.prediction[0].values.argmax())]

    def axis(self, input: str | None = None) -> tuple[int, str]:
        """How many timesteps of an input are drawn, without padding, and what tells their labels from others."""
        panel = panel_of(self.explanation, 0, 0, input)
        return len(panel.attribution), "" if panel.time is None else digest([str(label) for label in panel.time])

    def values(self, output: str) -> tuple[float, float]:
        """Prediction and baseline prediction of one output."""
        column = self.explanation.output_position(output)
        return float(self.explanation.prediction[0, column]), float(self.explanation.baseline_prediction[0, column])


def headline(shown: Shown, output: str) -> str:
    """Prediction against baseline prediction in one sentence, its numbers between two asterisks."""
    prediction, baseline = shown.values(output)
    unit = shown.unit
    than = f"**{signed(prediction - baseline, unit)}** against {number(baseline, unit)} for "
    than += _plain(shown.baseline.words) + _by_input(shown, output)
    if shown.probabilities is None:
        return f"The model predicts **{number(prediction, unit)}**{_which(shown, output)}: {than}."
    probable = percent(shown.probabilities[shown.likeliest])
    answer = f"The model's answer is **{_plain(shown.likeliest)}** ({probable} probable)"
    if output == shown.likeliest:
        return f"{answer} with a score of **{number(prediction)}**: {than}."
    return f"{answer}. **{_plain(output)}** has a score of **{number(prediction)}**: {than}."


def _which(shown: Shown, output: str) -> str:
    """Which of the model's outputs it is, where that is no matter of course."""
    numbered = shown.subject.output_steps or re.fullmatch(r"Output \d+", output)
    named = shown.has_several or shown.subject.output_label == "Output" != output  # a head's name, or the person's own
    return f" for {_plain(output[0].lower() + output[1:] if numbered else output)}" if named else ""


def _plain(name: str) -> str:
    """A name in a headline, in which two asterisks would begin or end what is bold."""
    return name.replace("**", "*\N{WORD JOINER}*")


def _by_input(shown: Shown, output: str) -> str:
    """What each of several inputs adds, the largest first: the stage shows one of them."""
    explanation = shown.explanation
    if len(explanation.input_names) < 2:
        return ""
    column = explanation.output_position(output)
    parts = {}
    for name, array in by_name(explanation.attributions).items():
        one = array.isel(sample=0)
        one = one.isel(output=column) if "output" in one.dims else one
        parts[name] = float(one.astype(float).sum())
    largest = sorted(parts.items(), key=lambda part: -abs(part[1]))
    return "; " + ", ".join(f"{signed(part, shown.unit)} from {_plain(name)}" for name, part in largest)


def words_of(shown: Shown, output: str, input: str | None = None) -> Words:
    """What is said around the stage about one output, on a page, in pictures and in reports.

    Args:
        input: the one that is looked at; None is all of them.
    """
    subject, observed = shown.subject, shown.subject.observed
    return Words(
        title=subject.title,
        sequence=subject.sequence,
        noun=shown.noun,
        unit=shown.unit,
        headline=headline(shown, output),
        baseline=shown.baseline.words,
        baseline_note=shown.baseline.notes.get(input or "", shown.baseline.note),
        observed="" if observed is None else observed if isinstance(observed, str) else number(observed, shown.unit),
        time_label=subject.time_label,
    )


LAYER_WORDS = {
    "LSTM": "An LSTM layer keeps a memory. At every timestep its **input gate** lets something new in, its "
    "**candidate** says what, its **forget gate** keeps or drops what was there, and its **output gate** "
    "decides what the next layer sees.",
    "GRU": "A GRU layer keeps a memory. At every timestep its **update gate** decides how much of the memory "
    "is replaced, its **new** values say by what, and its **reset gate** how much of the past they are made "
    "from.",
    "RNN": "A plain recurrent layer mixes its memory with the new input at every timestep.",
}
