"""What captum, shap and tangermeme expect of DeepLIFT in their own test suites, and what PairLift says.

Models are restated from their description, inputs drawn with the same seeds; the numbers are theirs. A row that does
not agree, or cannot be put to PairLift, has its reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import explain_core as xc


@dataclass
class Outcome:
    """What PairLift gave, in words, and whether that is what was expected."""

    ours: str
    agrees: bool


@dataclass(frozen=True)
class Row:
    """One test of another package.

    Args:
        source: "captum", "shap" or "tangermeme".
        test: file and name of the test there.
        model: in words.
        expected: in words.
        run: explains and compares; None where the expectation cannot be put to PairLift.
        reason: why it does not agree or cannot be put; empty where it agrees.
    """

    source: str
    test: str
    model: str
    expected: str
    run: Callable[[], Outcome] | None = None
    reason: str = ""


@dataclass
class Verdict:
    """ "agrees", "differs", "refused" or "not expressed", and what PairLift gave or said."""

    word: str
    ours: str


def judge(row: Row) -> Verdict:
    """Run one row."""
    if row.run is None:
        return Verdict("not expressed", "-")
    try:
        outcome = row.run()
    except xc.errors.ExplainError as error:
        return Verdict("refused", f"{type(error).__name__}: {error}".splitlines()[0])
    return Verdict("agrees" if outcome.agrees else "differs", outcome.ours)


def numbers(found: np.ndarray, wanted: object, within: float) -> Outcome:
    """Element by element."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    off = float(np.abs(found - wanted).max())
    shown = (
        ", ".join(f"{value:.4g}" for value in found.ravel() + 0.0) if found.size <= 8 else f"at most {off:.0e} apart"
    )
    return Outcome(shown, found.shape == wanted.shape and off <= within)


def complete(explained: xc.Explanation, within: float) -> Outcome:
    """The attributions add up to the difference of the predictions."""
    off = float(abs(explained.residual.values).max())
    return Outcome(f"off by {off:.0e}", off <= within)


def both(*outcomes: Outcome) -> Outcome:
    return Outcome("; ".join(outcome.ours for outcome in outcomes), all(outcome.agrees for outcome in outcomes))


def attributed(explained: xc.Explanation) -> list[np.ndarray]:
    """By input, as plain arrays."""
    found = explained.attributions
    return [part.values for part in (found.values() if isinstance(found, dict) else [found])]
