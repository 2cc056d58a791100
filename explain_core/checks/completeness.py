"""Whether what attributions leave of the change is rounding, decided by what other digits make of it.

Rounding follows the number of digits: from float32 to float64 it shrinks by 2^29 = 5e8. What a rule leaves out or what
other samples put in does not shrink. So where a residual is larger than the roundings of the numbers that it is summed
from, the same is computed in the other precision, and how far *these* attributions moved is the measure of what
rounding does in this graph, on these inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from explain_core.errors import CompletenessError, ExplainError
from explain_core.explanation import TOLERANCE, Explanation, by_name
from explain_core.explanation.sums import by_sample, summed

ROUNDINGS = 8
"""A residual of so many roundings of the attributions and predictions themselves needs no explaining. Measured in
float32: at most 3 for recurrent layers over 3 to 2,000 timesteps, at most 30 for transformers of 4 layers."""

LUCK = 1e4
"""How many times its share of a measured rounding a residual may be: both are random sums."""

PREDICTION = 0.05
"""Where rounding moves the model's own prediction further, of itself and all attribution, there is none to explain."""

WITHOUT_SINGLE = 1e-9
"""A relative residual in float64 above which a model that cannot be run in float32 is not explained."""

Again = Callable[[str, int | None], Explanation]
"""Computes the explanation again in a precision: of all samples, or of one by its number."""


@dataclass(frozen=True)
class Sums:
    """What adding up is judged by, each (N, K) in float64."""

    residual: np.ndarray  # absolute
    size: np.ndarray  # sum of |attributions|
    predictions: np.ndarray  # the larger of the two
    change: np.ndarray  # absolute
    dtype: str

    @classmethod
    def of(cls, explanation: Explanation) -> Sums:
        prediction, baseline = by_sample(explanation.prediction), by_sample(explanation.baseline_prediction)
        return cls(
            np.abs(summed(explanation.attributions) - (prediction - baseline)),
            summed(explanation.attributions, np.abs),
            np.maximum(np.abs(prediction), np.abs(baseline)),
            np.abs(prediction - baseline),
            explanation.attrs["dtype"],
        )

    @property
    def roundings(self) -> np.ndarray:
        """Roundings of the attributions and of the predictions, as they are."""
        return np.finfo(self.dtype).eps * (self.size + self.predictions)

    @property
    def free(self) -> np.ndarray:
        """Where the residual is no more than a sum of such numbers leaves anyway."""
        return self.residual <= ROUNDINGS * self.roundings

    @property
    def within(self) -> np.ndarray:
        """Where it is within what the precision promises."""
        return self.free | (self.residual <= TOLERANCE[self.dtype] * self.size)

    @property
    def clear(self) -> np.ndarray:
        """Where it is also small beside the change that is explained, or beside a rounding of the predictions."""
        eps = np.finfo(self.dtype).eps
        return self.within & (self.residual <= np.maximum(1e-3 * self.change, ROUNDINGS * eps * self.predictions))

    @property
    def drowned(self) -> np.ndarray:
        """Where nothing of the change can be told from rounding."""
        eps = np.finfo(self.dtype).eps
        return (self.residual > 0.1 * self.change) & (self.residual > 1e4 * eps * self.predictions)


def require_completeness(explanation: Explanation, again: Again) -> Explanation:
    """The explanation if it adds up, or the one in float64 that does where float32 has too few digits.

    Raises:
        CompletenessError: it does not add up, and rounding is not why; or rounding drowns it.
    """
    sums = Sums.of(explanation)
    if not (np.isfinite(sums.residual) & np.isfinite(sums.size)).all():
        raise CompletenessError("an attribution is not a finite number", hint='Try precision="float64".')
    if sums.dtype == "float64":
        return _require_rounding_in_double(explanation, sums, again)
    if not sums.clear.all():
        return _in_double(explanation, sums, again)
    if not sums.free.all():
        _require_one_in_double(explanation, sums, again)
    return explanation


def _require_one_in_double(explanation: Explanation, sums: Sums, again: Again) -> None:
    """The sample that is off most, alone and in float64, must be off by less in proportion."""
    row, column = _worst(sums)
    one, double = explanation.sel(slice(row, row + 1)), _or_nothing(again, "float64", row)
    if double is not None:
        left = Sums.of(double)
        bad = ~(left.free | (left.residual <= _rounding_in_double(one, double)))
        if bad.any():
            column = int(np.argwhere(bad)[0, 1])
            raise _incomplete(explanation, sums, (row, column), left.residual[0, column])


def _in_double(explanation: Explanation, sums: Sums, again: Again) -> Explanation:
    """All of it again in float64, which is what is returned."""
    worst = _worst(sums)
    try:
        double = again("float64", None)
    except ExplainError as error:
        raise _incomplete(
            explanation, sums, worst, None, f"in float64 it could not be computed: {error.what}"
        ) from error
    moved = np.abs(double.prediction.values - explanation.prediction.values)
    left, rounding = Sums.of(double), _rounding_in_double(explanation, double)
    bad = ~(left.free | (left.residual <= rounding))
    if bad.any():
        place = tuple(int(v) for v in np.argwhere(bad)[0])
        raise _incomplete(explanation, sums, place, left.residual[place])
    lost = moved > PREDICTION * (left.predictions + left.size)
    if lost.any():
        n, k = (int(v) for v in np.argwhere(lost)[0])
        single, more = (float(e.prediction[n, k]) for e in (explanation, double))
        raise CompletenessError(
            f"the prediction for {_named(explanation, n, k)} is itself rounding: {single:.6g} in float32 and "
            f"{more:.6g} in float64, so it is not explained",
            hint='Give the model in double precision, or explain it as it is in float64 with precision="float64".',
        )
    double.notes.append(
        f"In float32, rounding left {sums.residual[worst]:.2g} of the attributions of {_named(explanation, *worst)} "
        "unaccounted for, so all were computed in float64."
    )
    return _within_rounding(double, left)


def _require_rounding_in_double(explanation: Explanation, sums: Sums, again: Again) -> Explanation:
    if not sums.within.all():
        single = _or_nothing(again, "float32", None)
        allowed = WITHOUT_SINGLE * sums.size if single is None else _rounding_in_double(single, explanation)
        bad = ~(sums.within | (sums.residual <= allowed))
    else:
        bad, single = np.zeros(sums.residual.shape, bool), None
    if bad.any():
        place = tuple(int(v) for v in np.argwhere(bad)[0])
        raise _incomplete(explanation, sums, place, None if single is None else Sums.of(single).residual[place])
    return _within_rounding(explanation, sums)


def _within_rounding(explanation: Explanation, sums: Sums) -> Explanation:
    """An explanation in float64 that is as good as its digits allow: says how good, or stops where that is nothing."""
    if sums.drowned.any():
        n, k = (int(v) for v in np.argwhere(sums.drowned)[0])
        raise CompletenessError(
            f"the attributions of {_named(explanation, n, k)} cancel so far that even in float64 rounding "
            f"({sums.residual[n, k]:.2g}) drowns the difference they explain ({sums.change[n, k]:.2g}), so they are "
            "not returned",
            hint="Choose a baseline that is nearer to real inputs, and with the same padding or mask.",
        )
    relative = np.where(sums.free, 0.0, sums.residual / np.where(sums.size == 0, 1.0, sums.size)).max(initial=0.0)
    if relative > TOLERANCE["float64"]:
        explanation.attrs["rounding"] = float(relative)
    return explanation


def _rounding_in_double(single: Explanation, double: Explanation) -> np.ndarray:
    """What rounding may have left of the sums in float64, (N, K), by how far it moved everything in float32."""
    moved = np.sum([np.abs(getattr(single, p).values - getattr(double, p).values) for p in _PREDICTIONS], axis=0)
    others = by_name(double.attributions)
    for name, part in by_name(single.attributions).items():
        gap = abs(part.astype(np.float64) - others[name].values)
        gap = gap if "output" in gap.dims else gap.expand_dims(output=single.prediction["output"])
        moved = (
            moved + gap.sum([d for d in gap.dims if d not in ("sample", "output")]).transpose("sample", "output").values
        )
    return LUCK * np.finfo(np.float64).eps / np.finfo(np.float32).eps * moved


_PREDICTIONS = ("prediction", "baseline_prediction")


def _or_nothing(again: Again, precision: str, sample: int | None) -> Explanation | None:
    """The explanation in another precision, or None where the model cannot be run in it."""
    try:
        return again(precision, sample)
    except ExplainError:
        return None


def _worst(sums: Sums) -> tuple[int, ...]:
    """Where the residual is furthest beyond what it is summed from; first where it is not clear of the change."""
    beyond = sums.residual / np.where(sums.roundings == 0, 1.0, sums.roundings)
    return tuple(int(v) for v in np.unravel_index(np.where(sums.clear, beyond, np.inf).argmax(), beyond.shape))


def _named(explanation: Explanation, n: int, k: int) -> str:
    return f"sample {n}, output {explanation.outputs[k]!r}"


def _incomplete(
    explanation: Explanation, sums: Sums, place: tuple[int, ...], other: np.ndarray | None, why: str = ""
) -> CompletenessError:
    """The error for a residual that is no rounding; ``other`` are the residuals in the other precision."""
    off, size = sums.residual[place], sums.size[place]
    seen = ""
    if other is not None:
        seen = f", and in {'float64' if sums.dtype == 'float32' else 'float32'} by {float(other):.2g}"
    return CompletenessError(
        f"the attributions of {_named(explanation, *place)} are off by {off:.2g}, which is {off / (size or 1):.2g} of "
        f"their size{seen}: more than rounding explains, so they are not returned" + (f"; {why}" if why else ""),
        hint="Did you give an operation a rule of your own with register_rule? Then it leaves something out: "
        'xc.diagnostics.ledger(..., method="paired") says which operation how much. Does forward take away nearly all '
        "of a huge number, as in (1e20 + x) - 1e20? Then no digits are left of the rest. Or the model mixes the "
        "samples of a batch, by a statistic, a sum or an order over them: then explain one at a time. If none of "
        "these, this is a bug worth reporting.",
    )
