"""What to say of a result that is complete and may be absurd: shares that cancel, and baselines that are divided by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from explain_core.backends.protocol import Divisor
from explain_core.explanation import Explanation
from explain_core.explanation.in_words import CANCELS
from explain_core.words import short

_ADVICE = (
    "Choose a baseline that varies as real inputs do: one of them (baselines=x[:1]), or several with background=True."
)


def notes(explanation: Explanation, divisors: Sequence[Divisor]) -> list[str]:
    """Sentences for the person, one for each operation.

    A normalisation is named wherever the baseline's statistic is next to nothing: its shares are bounded, but what it
    gives for such a baseline is made of rounding and its epsilon. Any other division is named where shares cancel.
    """
    if not divisors:
        return []
    ratio = explanation.cancellation.values
    n, k = (int(v) for v in np.unravel_index(np.nan_to_num(ratio, posinf=0).argmax(), ratio.shape))
    given = explanation.attrs.get("baselines", "given")
    baseline = "the given baseline" if given == "given" else f"the baseline {given!r}"
    said = []
    for divisor in divisors:
        where = f" in {divisor.where!r}" if divisor.where else ""
        divides = (
            f"{divisor.operation}{where} divides by {short(divisor.baseline)} for {baseline} and by "
            f"{short(divisor.test)} for the input"
        )
        if divisor.is_statistic:
            said.append(
                f"{divides}: what this normalisation gives for a baseline that hardly varies is made of rounding and "
                f"its epsilon, and the shares start from that. {_ADVICE}"
            )
        elif ratio[n, k] >= CANCELS:
            said.append(
                f"The shares of sample {n}, output {explanation.outputs[k]!r} cancel: together they are "
                f"{short(ratio[n, k])} times the change, since {divides}. {_ADVICE}"
            )
    return said
