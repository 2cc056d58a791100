"""An explanation in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from explain_core.words import short

if TYPE_CHECKING:
    import xarray as xr

    from explain_core.explanation.result import Explanation

#: From here on it is said that shares cancel: all of them together over the change that they add up to. For untrained
#: recurrent nets and transformers over 20 to 100 timesteps it is 4 to 20 in the middle, and this for one in ten.
CANCELS = 50.0


def described(explanation: Explanation, parts: dict[str, xr.DataArray], worst: Explanation | None) -> str:
    """An explanation in a few lines: its axes, whether it adds up, its gates and notes.

    Args:
        parts: its attributions by input name.
        worst: the sample and output that is furthest off, if there is any.
    """
    lines = [f"<Explanation of {_count(len(explanation.samples), 'sample')}, {_outputs_in_words(explanation.outputs)}>"]
    for name, part in parts.items():
        axes = [dim for dim in part.dims if dim not in ("sample", "output")]
        sizes = [_axis_in_words(str(dim), part.sizes[dim]) for dim in axes]
        lines.append(f"  {name}: {' x '.join(sizes) or 'one number'} ({part.dtype})")
    if worst is not None:
        at_worst = "" if explanation.prediction.size == 1 else ", at worst"
        lines.append(f"  {residual_in_words(worst)}{at_worst}")
    if explanation.gates:
        layers = (f"{n} ({g.attrs['kind']}, {g.sizes['unit']} units)" for n, g in explanation.gates.items())
        lines.append(f"  gates: {', '.join(layers)}")
    return "\n".join([*lines, *(f"  note: {note}" for note in explanation.notes)])


def residual_in_words(one: Explanation) -> str:
    """Whether an explanation of one sample and output adds up, e.g. ``"adds up: off by 3e-8"``."""
    ratio = float(one.cancellation[0, 0])
    cancels = f"; shares cancel: together {short(ratio)} times the change" if CANCELS <= ratio < np.inf else ""
    return _sum_in_words(one) + cancels


def _sum_in_words(one: Explanation) -> str:
    off, relative = abs(float(one.residual[0, 0])), float(one.relative_residual[0, 0])
    if off == 0:
        return "adds up exactly"
    if relative <= one.tolerance:
        return f"adds up: off by {short(off)} ({short(relative)} of all attribution)"
    if one.adds_up(one.samples[0], one.outputs[0]):
        return (
            f"adds up as far as {one.prediction.dtype} can tell: off by {short(off)}, within the "
            f"rounding of the prediction {float(one.prediction[0, 0]):.6g} itself"
        )
    if not np.isfinite(off):
        return "does not add up: the residual is not a finite number"
    if not np.isfinite(relative):
        return f"does not add up: off by {short(off)}, with no attribution at all"
    return (
        f"does not add up: off by {short(off)}, {_percent(relative)} of all attribution "
        f"(rounding explains at most {_percent(one.tolerance)})"
    )


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2g} %".replace("e-0", "e-")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _axis_in_words(dim: str, size: int) -> str:
    """Such as "6 timesteps"; "axis_2 of 4" for one without a name of its own."""
    return f"{dim} of {size}" if dim.startswith("axis_") else _count(size, {"time": "timestep"}.get(dim, dim))


def _outputs_in_words(outputs: list[str]) -> str:
    names = ", ".join(repr(name) for name in outputs[:3])
    return f"{_count(len(outputs), 'output')}: {names}" + (", ..." if len(outputs) > 3 else "")
