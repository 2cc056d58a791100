"""Layer-wise relevance propagation of a prepared model; `explain_core.rules.relevance` has the rules."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from numbers import Real

import numpy as np
import pandas as pd

from explain_core.backends.protocol import PairAttribution
from explain_core.errors import CompletenessError, InputError, MethodError
from explain_core.explanation import Explanation
from explain_core.explanation.in_words import CANCELS
from explain_core.explanation.sums import by_sample, summed
from explain_core.preparation import Prepared
from explain_core.preparation.rows import attribute_rows
from explain_core.rules.relevance import Relevance
from explain_core.words import short

TABLE = "absorbed"
"""The table in ``Explanation.diagnostics`` of what was absorbed."""

NOTE = (
    "Relevance propagation shares out the prediction itself, and not its difference from the baseline. What biases and "
    "ε absorb of it is in the table of what was absorbed: with that, the sum is the prediction."
)

_LARGER = "A larger epsilon holds the sums near zero that relevance is divided by."

_UNBOOKED = 1e-3
"""Of all relevance, how much may be neither at the inputs nor in the book: it is rounding, or something is wrong."""


def propagate(ready: Prepared, epsilon: float, say: Callable[[float, str], None]) -> PairAttribution:
    """Relevances of the inputs, ``m·x``, with what was absorbed as the ledger.

    Args:
        epsilon: the ε of the rules; 0 for none.
    """
    if not (isinstance(epsilon, Real) and 0 <= epsilon <= sys.float_info.max):
        raise InputError(f"epsilon is {epsilon!r}, and it is a small number from 0 on", hint="The usual one is 0.001.")
    alone = ready.one_by_one()
    rules = Relevance(epsilon=float(epsilon))
    try:
        found = attribute_rows(alone.runner, alone.plan, alone.targets, False, False, say, ledger=rules)
    except CompletenessError as error:
        raise CompletenessError(error.what, where=error.where, hint=_LARGER) from error
    return replace(found, baseline_prediction=np.zeros_like(found.prediction))


def booked(explanation: Explanation, result: PairAttribution) -> Explanation:
    """The explanation with the table of what was absorbed.

    The table has the columns sample, output, layer (outside modules, the operation), absorbed_by (a name of
    `rules.relevance`) and value: with the attributions they add up to the prediction. Mere rounding has no row.

    Raises:
        MethodError: they do not.
    """
    assert result.ledger is not None  # it was asked for
    nodes = result.ledger.nodes.items()
    rounding = 16 * np.finfo(explanation.attrs["dtype"]).eps
    heard = {key: rounding * np.abs(result.prediction) < np.abs(values) for key, values in nodes}
    rows = [
        {"sample": sample, "output": output, "layer": layer, "absorbed_by": by, "value": float(values[k, n])}
        for n, sample in enumerate(explanation.samples)
        for k, output in enumerate(explanation.outputs)
        for (layer, by), values in nodes
        if heard[layer, by][k, n]
    ]
    absorbed = sum((values for _, values in nodes), np.zeros_like(result.prediction, float)).T
    every = sum((abs(values) for _, values in nodes), np.zeros_like(result.prediction, float)).T
    prediction = by_sample(explanation.prediction)
    left = np.abs(prediction - summed(explanation.attributions) - absorbed)
    if (left > _UNBOOKED * (summed(explanation.attributions, np.abs) + every + np.abs(prediction))).any():
        raise MethodError(
            f"{left.max():.6g} of the relevance is neither at the inputs nor absorbed by a layer",
            hint="Some operation of this model has no rule for relevance propagation; explain it with PairLift.",
        )
    columns = ["sample", "output", "layer", "absorbed_by", "value"]
    explanation.diagnostics[TABLE] = pd.DataFrame(rows, columns=columns).astype({"value": float})
    explanation.notes.append(NOTE)
    ratio = explanation.cancellation.values
    n, k = (int(v) for v in np.unravel_index(np.nan_to_num(ratio, posinf=0).argmax(), ratio.shape))
    if ratio[n, k] >= CANCELS:
        explanation.notes.append(
            f"The relevances of sample {explanation.samples[n]}, output {explanation.outputs[k]!r} cancel: together "
            f"they are {short(ratio[n, k])} times the prediction. {_LARGER}"
        )
    return explanation
