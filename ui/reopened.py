"""A result as a file that shows itself again: what the page knows of it is put into the explanation's ``attrs``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from explain_core.explanation import Explanation, by_name
from explain_core.jobs.tasks.opening import ModelSource
from ui.baselines import Baseline
from ui.in_words import Shown
from ui.subjects import Subject, digest

_PAGE = "page"
_TEXTS = ("title", "sequence", "output_label", "output_unit", "note", "time_label")
_NOWHERE = Path("/of-another-server")  # a model is only named by a file, and none of this machine is meant
_MOST = 300  # letters of a text, and names of units


def put_away(shown: Shown) -> Explanation:
    """The explanation with the words around it, to be saved."""
    subject = shown.subject
    page: dict[str, Any] = {name: getattr(subject, name) for name in _TEXTS}
    page |= {
        "units": dict(subject.units),
        "observed": subject.observed,
        "baseline": shown.baseline.label,
        "baseline_words": shown.baseline.words,
        "model": subject.model.path.name,
    }
    return replace(shown.explanation, attrs=shown.explanation.attrs | {_PAGE: page})


def shown_again(explanation: Explanation, file_name: str) -> Shown:
    """What pages show of a file that was opened. There is no model, so nothing can be computed for it.

    Args:
        explanation: from a file that nobody vouches for; its words are taken where they are words, and are plain text.
    """
    page = explanation.attrs.get(_PAGE)
    told = page if isinstance(page, dict) else {}
    words = {name: told[name][:_MOST] for name in _TEXTS if isinstance(told.get(name), str)}
    units = told["units"] if isinstance(told.get("units"), dict) else {}
    observed = told.get("observed")
    inputs = by_name(explanation.inputs)
    subject = Subject(
        **({"title": file_name, "sequence": str(explanation.samples[0])} | words),
        model=ModelSource(_NOWHERE / (Path(_text(told.get("model"))).name or "model")),
        inputs=dict(inputs) if len(inputs) > 1 else next(iter(inputs.values())),
        units={str(name): unit for name, unit in list(units.items())[:_MOST] if _text(unit)},
        output_names=tuple(explanation.outputs),
        observed=observed if type(observed) in (int, float) else _text(observed) or None,
    )
    name = _text(told.get("baseline_words")) or "the baseline"
    baseline = Baseline(_text(told.get("baseline")) or "Of the file", name, "zeros")
    arrays = [explanation.attributions, explanation.inputs, explanation.baselines, explanation.prediction, told]
    return Shown(subject, baseline, explanation, digest(arrays))


def _text(value: Any) -> str:
    return value[:_MOST] if isinstance(value, str) else ""
