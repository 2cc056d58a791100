"""Whether a baseline can answer anything: what is said of it before anything is explained, and which to start with.

Plain Python, no Streamlit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from explain_core.words import number
from ui.baselines import SCALED_ZEROS, ZEROS, Baseline, Material, in_own_units, values_of
from ui.baselines_given import OWN, SAME

_OVER_TIME = re.compile(r"instance_?norm|rev_?in|reversible", re.IGNORECASE)
_OVER_FEATURES = re.compile(r"(layer|rms|group|unit)_?norm|^normalisation$", re.IGNORECASE)
_ITSELF = "It is this sequence itself"
_NAMED = 2  # features that a sentence names


@dataclass(frozen=True)
class Finding:
    """A sentence on a baseline, no Markdown; ``is_degenerate`` where the answer would mean little or nothing."""

    words: str
    is_degenerate: bool = False


def findings(baseline: Baseline, material: Material) -> list[Finding]:
    """What is to be known of a baseline for this sequence; nothing for a good one."""
    if baseline.label == OWN:  # as it was chosen to be
        return []
    test, base = _real(material.fitted.values, material), _real(values_of(baseline, material.fitted), material)
    same = np.isclose(base, test, rtol=1e-6, atol=1e-12)
    if same.all():
        return [Finding(f"{_ITSELF}: nothing differs, so every share is exactly 0.", True)]
    if not material.is_numbers:
        return []
    found = [*_divided_by(baseline, base, material)]
    features = np.array(material.features)
    equal = same.reshape(len(base), -1, len(features)).all(axis=(0, 1))
    if equal.any():
        is_one = equal.sum() == 1
        verb = "is the same in both and gets a share" if is_one else "are the same in both and get shares"
        found.append(Finding(f"{_listed(features[equal])} {verb} of exactly 0."))
    return [*found, *_outside(baseline, material)]


def suggested(makers: Mapping[str, Callable[[], Baseline]], material: Material) -> tuple[Baseline, str]:
    """The baseline to start with, and why: the first that is not degenerate, made only as far as that takes."""
    passed: list[tuple[Baseline, Finding]] = []
    for make in makers.values():
        made = make()
        fault = next((one for one in findings(made, material) if one.is_degenerate), None)
        if fault is None:
            return made, _instead_of(passed) if passed else _usual(made, material)
        passed.append((made, fault))
    return passed[0][0], "Nothing that can be made from what is given is a sound baseline; give one of your own."


def _instead_of(passed: list[tuple[Baseline, Finding]]) -> str:
    names = " and ".join(f"“{each.label}”" for each, _ in passed[:_NAMED])
    is_itself = passed[0][1].words.startswith(_ITSELF)
    verb = "is" if len(passed) == 1 else "are"
    return f"Suggested, since {names} {verb} {'this sequence itself' if is_itself else 'no use to this model'}."


def _usual(first: Baseline, material: Material) -> str:
    if first.label == SAME:
        return "Suggested, since it belongs to what the sequence is compared with."
    if material.is_ids:
        return "Suggested, since ids of words have no average."
    if material.training is not None:
        return "Suggested, since the model learned from such data: it is a usual input."
    if first.label in (ZEROS, SCALED_ZEROS):
        return "Suggested, since nothing else can be made from what is given."
    if first.background:
        return "Suggested, since real sequences are usual inputs."
    if not material.others:
        return "Suggested: with one sequence there are no others to average, so it is this one's average, held."
    return "Suggested, since an average is a usual value in every feature."


def _real(values: np.ndarray, material: Material) -> np.ndarray:
    """Values without padding, (n, ...)."""
    fitted = material.fitted
    if "time" not in fitted.dims or "length" not in fitted.coords:
        return values
    return values[:, : int(fitted["length"].values[0])]


def _divided_by(baseline: Baseline, base: np.ndarray, material: Material) -> list[Finding]:
    """Of a model that divides by how much its input varies, and a baseline that does not."""
    is_constant = "time" in material.fitted.dims and base.shape[1] > 1 and np.ptp(base, axis=1).max() == 0
    if is_constant and any(_OVER_TIME.search(kind) for kind in material.layers):
        words = "The model divides by how much a sequence varies over time, and this baseline does not vary"
    elif not base.any() and any(_OVER_FEATURES.search(kind) for kind in material.layers):
        words = "The model divides by how much its values vary, and zeros do not vary"
    else:
        return []
    return [Finding(f"{words}: the shares would start from rounding. Take a real sequence, or several averaged.", True)]


def _outside(baseline: Baseline, material: Material) -> list[Finding]:
    """Features of which the baseline has values that none of the known sequences has."""
    fitted, features = material.fitted, material.features
    base = _real(in_own_units(values_of(baseline, fitted), fitted), material).reshape(-1, len(features))
    known = material.real_steps
    if material.training is not None:
        known = np.concatenate([known, material.training[0].reshape(-1, len(features))])
    low, high = known.min(axis=0), known.max(axis=0)
    room = 1e-5 * np.maximum(np.maximum(np.abs(low), np.abs(high)), high - low)
    outside = (base < low - room).any(axis=0) | (base > high + room).any(axis=0)
    if not outside.any():
        return []
    at = int(outside.argmax())
    column = base[:, at]
    value = column[int(np.argmax(np.maximum(low[at] - column, column - high[at])))]
    more = int(outside.sum()) - 1
    also = f", and so it is for {_count(more)}" if more else ""
    return [
        Finding(
            f"{number(value)} is outside of what the sequences have for {features[at]} ({number(low[at])} to "
            f"{number(high[at])}){also}: the model may never have seen such a value."
        )
    ]


def _listed(names: np.ndarray) -> str:
    shown = [str(name) for name in names[:_NAMED]]
    more = len(names) - len(shown)
    if more:
        return f"{', '.join(shown)} and {_count(more)}"
    return " and ".join(shown)


def _count(more: int) -> str:
    return f"{more:,} more {'features' if more > 1 else 'feature'}"
