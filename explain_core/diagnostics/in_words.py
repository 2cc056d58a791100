"""What a ledger says, in sentences for people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from explain_core.explanation.labels import spoken_labels
from explain_core.words import percent, signed

PARTS = {
    "input": "the input gate",
    "forget": "the forget gate",
    "candidate": "the candidate",
    "output": "the output gate",
    "input product": "input × candidate",
    "forget product": "forget × memory",
    "cell tanh": "tanh of the memory",
    "output product": "output × tanh of the memory",
    "reset": "the reset gate",
    "update": "the update gate",
    "new": "the new values",
    "reset product": "reset × past",
    "update product": "update × past and new",
    "linear": "matrix products and sums",
    "mask": "the mask",
}
"""Names of the parts of a step."""

_EXACT = 1e-5
_MOST = 0.5


def part_in_words(part: str) -> str:
    """A part of a recurrent step, or an operation, for people."""
    return PARTS.get(part, part)


@dataclass(frozen=True)
class Seed:
    """Where most of an error is made: a part of a layer, and the run of timesteps with at least half of its share.

    ``share`` is the part's, of the whole error; ``first`` and ``last`` are positions, None outside recurrent layers.
    """

    layer: str
    part: str
    share: float
    first: int | None
    last: int | None
    times: str

    def when(self, step: str = "timestep", mark: str = "") -> str:
        """The timesteps in words, ``timesteps 15 to 18``; dates need no word. A ``mark`` of Markdown stands around."""
        several = "" if self.first == self.last else "s"
        named = f"{step}{several} " if self.times.replace(" to ", "").replace(",", "").isdigit() else ""
        return f"{named}{mark}{self.times}{mark}"


def seed_of(ledger: pd.DataFrame, error: float) -> Seed | None:
    """The part that pushes most in the direction of the error, of one sample and output."""
    if ledger.empty or error == 0:
        return None
    sums = ledger.groupby(["layer", "part"], sort=False)["defect"].sum() * np.sign(error)
    layer, part = sums.idxmax()
    rows = ledger[(ledger["layer"] == layer) & (ledger["part"] == part) & ledger["time"].notna()]
    share = float(sums.max() / abs(error))
    if rows.empty:
        return Seed(layer, part, share, None, None, "")
    first, last = _window(np.clip(rows["defect"].to_numpy() * np.sign(error), 0, None))
    texts = spoken_labels(rows["time"].to_numpy())
    return Seed(layer, part, share, first, last, texts[first] if first == last else f"{texts[first]} to {texts[last]}")


def _window(weights: np.ndarray) -> tuple[int, int]:
    """The shortest run with at least half of the sum."""
    sums = np.concatenate([[0.0], np.cumsum(weights)])
    ends = np.searchsorted(sums, sums[:-1] + _MOST * sums[-1] * (1 - 1e-12))
    lengths = np.where(ends < len(sums), ends - np.arange(len(weights)), len(sums))
    first = int(lengths.argmin())
    return first, max(first, int(min(ends[first], len(weights)) - 1))


def headline(title: str, ledger: pd.DataFrame, totals: pd.Series, unit: str = "", steps: str = "timestep") -> str:
    """By how much a method is off, and where that is made, as Markdown.

    Args:
        title: the method's name.
        ledger: of one sample and output.
        totals: the row of "totals" of that sample and output.
        steps: what a timestep is called.
    """
    error, difference = float(totals["error"]), float(totals["difference"])
    by = signed(error, unit)
    if abs(error) <= _EXACT * max(abs(difference), float(ledger["defect"].abs().max()) if len(ledger) else 0.0):
        return f"**{title}** adds up: off by {by}, which is rounding."
    off = f"**{title}** is off by **{percent(error / difference) if difference else by}**"
    if difference:
        off += f" of the prediction difference ({by})"
    seed = seed_of(ledger, error)
    if seed is None:
        return f"{off}."
    size = "Most of it is" if seed.share > _MOST else "The largest part of it is"
    where = f"in **{part_in_words(seed.part)}** of {f'`{seed.layer}`' if seed.layer else 'the model'}"
    if seed.first is None:
        return f"{off}. {size} made {where}."
    when = f"{'' if seed.first == seed.last else 'mainly '}at {seed.when(steps, '**')}"
    against = float(ledger["defect"].abs().sum()) / abs(error)
    cancels = f" Errors of both signs, {against:.1f} times as large, cancel." if against > 3 else ""
    return f"{off}. {size} made {where}, {when}.{cancels}"
