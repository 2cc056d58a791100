"""What a sequence is compared with: the baselines of a demo and of uploaded files.

Plain Python, no Streamlit: the sidebar chooses, this module prepares.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr

from explain_core.demos import Demo
from explain_core.errors import InputError
from explain_core.explanation.own_units import OFFSET
from explain_core.sequences.fitting import scaled_values
from explain_core.sequences.labelled import lengths_of, valid_steps

_MOST_BACKGROUND = 30  # sequences that a background takes from the file; each costs an explanation


@dataclass(frozen=True)
class Baseline:
    """What the sequence is compared with: name in the menu, words for it in a sentence, values.

    ``values`` is "zeros" or (1 or n, time, feature); with ``background`` results are averaged over the n.
    """

    label: str
    words: str
    values: str | np.ndarray
    background: bool = False


_HELD = Baseline("First step, held", "its own first step, held to the end", "first")


def demo_baselines(demo: Demo) -> list[Baseline]:
    """The demo's baselines, its own choice first."""
    n = len(demo.background)
    mean = Baseline("Average of the training data", "an average sequence", demo.mean_baseline)
    background = Baseline(
        f"{n} training sequences, averaged", f"{n} training sequences on average", demo.background, True
    )
    first, second = (background, mean) if demo.default_baseline == "background" else (mean, background)
    return [first, second, Baseline("Zeros", "a sequence of zeros", "zeros"), _HELD]


def upload_baselines(
    sequences: xr.DataArray,
    own: xr.DataArray | None,
    fitted: xr.DataArray,
    others: Callable[[int], xr.DataArray] | None = None,
    padding: int = 0,
) -> list[Baseline]:
    """Zeros, the middle of what was uploaded, the first step, and the person's own file, which comes first when given.

    Args:
        sequences: all of the file, in its own units.
        own: the file of baselines, in the same units.
        fitted: the sequence that is explained, as the model takes it.
        others: the sequence at a position, as the model takes it.
        padding: the id that fills up token ids.
    """
    if "feature" not in fitted.dims:
        blank = "zeros" if padding == 0 else np.full(fitted.shape, padding, dtype=fitted.dtype)
        found = [Baseline("Padding only", "an empty text", blank)]
    else:
        steps = valid_steps(sequences)
        mean, median = (_everywhere(middle(steps, axis=0), fitted) for middle in (np.mean, np.median))
        zeros = "a sequence of zeros" if OFFSET not in fitted.coords else "zeros after scaling"
        found = [
            Baseline("Zeros" if OFFSET not in fitted.coords else "Zeros after scaling", zeros, "zeros"),
            Baseline("Average of my sequences", "an average step of your sequences", mean),
            Baseline("Median of my sequences", "a median step of your sequences", median),
            *([_HELD] if "time" in fitted.dims else []),
        ]
    background = _background(sequences, fitted, others) if others is not None else None
    if background is not None:
        found.append(background)
    if own is not None:
        found.insert(0, _own_baseline(_in_order(own, sequences), fitted))
    return found


def _everywhere(step: np.ndarray, fitted: xr.DataArray) -> np.ndarray:
    """One step in the person's own units at all steps, once for each where steps lie side by side."""
    step = np.tile(step, fitted.sizes["feature"] // len(step))
    return np.broadcast_to(scaled_values(step, fitted), fitted.shape).astype(fitted.dtype)


def _in_order(own: xr.DataArray, sequences: xr.DataArray) -> xr.DataArray:
    """The file of baselines with its columns in the order of the sequences', by their names where both have names.

    Raises:
        InputError: they have other names, or the baselines differ in length.
    """
    if (lengths_of(own) != own.sizes["time"]).any():
        raise InputError(
            f"The baselines have {', '.join(map(str, sorted(set(lengths_of(own).tolist()))))} timesteps.",
            where="your baseline",
            hint="Give baselines of one length: that of the sequence, or one timestep that is used for all.",
        )
    if "feature" not in own.dims or "feature" not in sequences.dims:
        return own
    mine, theirs = ([str(name) for name in each["feature"].values] for each in (own, sequences))
    if sorted(mine) == sorted(theirs):
        return own.isel(feature=[mine.index(name) for name in theirs])
    if any(all(_NUMBERED.fullmatch(name) for name in names) for names in (mine, theirs)):
        return own
    raise InputError(
        f"The baseline has the columns {', '.join(mine)}; the sequence has {', '.join(theirs)}.",
        where="your baseline",
        hint="Give the columns of the sequence, in any order, or none of their names.",
    )


_NUMBERED = re.compile(r"feature \d+")  # what columns are called that have no names


def _background(
    sequences: xr.DataArray, fitted: xr.DataArray, others: Callable[[int], xr.DataArray]
) -> Baseline | None:
    """Other sequences of the same length, evenly chosen, whose explanations are averaged (DeepSHAP)."""
    lengths = lengths_of(sequences)
    name = str(fitted["sample"].values[0])
    names = [str(each) for each in sequences["sample"].values]
    own = lengths[names.index(name)] if name in names else None
    same = [i for i, length in enumerate(lengths) if length == own and names[i] != name]
    if len(same) < 2:
        return None
    chosen = [same[i] for i in np.unique(np.linspace(0, len(same) - 1, min(len(same), _MOST_BACKGROUND)).astype(int))]
    values = np.concatenate([others(i).values for i in chosen])
    if values.shape[1:] != fitted.shape[1:]:
        return None
    n = len(chosen)
    return Baseline(f"{n} other sequences, averaged", f"{n} of your other sequences on average", values, True)


def _own_baseline(own: xr.DataArray, fitted: xr.DataArray) -> Baseline:
    values = own.values
    if "feature" not in fitted.dims:
        values = values if own.ndim == 2 else values[..., 0]
    elif "time" not in fitted.dims:
        values = values.reshape(len(values), -1)
    steps = fitted.sizes.get("time", 1)
    if values.ndim > 1 and values.shape[1] == 1 and "time" in fitted.dims:
        values = np.repeat(values, steps, axis=1)
    if values.shape[1:] != fitted.shape[1:]:
        raise InputError(
            f"The baseline has {own.sizes['time']} timesteps and {own.sizes.get('feature', 1)} features; the "
            f"sequence has {steps} and {fitted.sizes.get('feature', 1)}.",
            where="your baseline",
            hint="Give as many of each, or one timestep that is used for all.",
        )
    several = len(values) > 1
    words = f"your {len(values)} baselines on average" if several else "your baseline"
    return Baseline("My baseline file", words, scaled_values(values, fitted).astype(fitted.dtype), background=several)
