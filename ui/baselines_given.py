"""Baselines that a person gives: other sequences, a file, values by hand, a text. Plain Python, no Streamlit."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import xarray as xr

from explain_core.errors import InputError
from explain_core.explanation.own_units import OFFSET, SCALE
from explain_core.sequences.labelled import lengths_of, single
from explain_core.words import counted
from ui.baselines import TRAINING, Baseline, Material, everywhere, in_own_units, ready, values_of

OTHER, OTHERS = "Another sequence", "Other sequences, averaged"
FILE, HAND = "My baseline file", "Edited by hand"
TEXT, OWN_TEXT = "Another text", "A text of my own"
SAME, OWN = "The same as the sequence", "Its own values"  # of an input beside the sequence

USUAL_BACKGROUND = 30  # sequences; each costs an explanation
_LONGEST_NAME = 60  # letters of a sequence's name in a sentence


def without_choice(material: Material) -> dict[str, Callable[[], Baseline]]:
    """What makes each baseline that needs no further choice, by label; of an input beside the sequence two more."""
    return {**_same(material), **ready(material), **_own(material)}


def _same(material: Material) -> dict[str, Callable[[], Baseline]]:
    """What an input beside the sequence has for the sequences that the sequence itself is compared with."""
    of = () if material.beside is None else material.beside.sequences
    places = [material.names.index(name) for name in of if name in material.names]
    if not places or len(places) < len(of) or material.index in places or not (material.is_numbers or material.is_ids):
        return {}

    def make() -> Baseline:
        found = other(material, places[0]) if len(places) == 1 else background(material, places)
        return replace(found, label=SAME)

    return {SAME: make}


def _own(material: Material) -> dict[str, Callable[[], Baseline]]:
    if material.beside is None:
        return {}
    note = "The same in both, and so no part of the difference."
    return {OWN: lambda: Baseline(OWN, "its own values", material.fitted.values, note=note)}


def offers(material: Material) -> list[str]:
    """The baselines that need a further choice, by label."""
    if material.is_ids:
        return [*([TEXT] if material.others else []), FILE, OWN_TEXT]
    if not material.is_numbers:
        return []
    others = [OTHER, OTHERS][: min(len(material.others), 2)]
    return [*others, *([TRAINING] if material.training is not None else []), FILE, HAND]


def usual(material: Material) -> dict[str, Callable[[], Baseline]]:
    """What makes each baseline that may be suggested, by label: the one that a demo was made for comes first."""
    makers = {**_same(material), **ready(material)}
    if material.training is not None:
        makers[TRAINING] = lambda: training_background(material, len(material.training[0]))
        return {material.preferred: makers[material.preferred], **makers}
    if material.is_numbers and len(material.others) > 1:
        makers[OTHERS] = lambda: background(material, evenly(same_length(material), USUAL_BACKGROUND))
    if material.others and (material.is_numbers or material.is_ids):
        makers[TEXT if material.is_ids else OTHER] = lambda: other(material, material.others[0])
    return {**makers, **_own(material)}


def own_table(baseline: Baseline, material: Material) -> np.ndarray:
    """A baseline as the person knows it: (steps, feature) in their own units; the average of a background."""
    fitted = material.fitted
    table = in_own_units(values_of(baseline, fitted).mean(axis=0, dtype=np.float64), fitted)
    if OFFSET in fitted.coords:  # without the digits that only the model's float32 has made
        unit = 10.0 ** np.floor(np.log10(np.maximum(np.abs(fitted[OFFSET].values), np.abs(fitted[SCALE].values))) - 6)
        table = np.round(table / unit) * unit
    return table.reshape(-1, len(material.features))[: material.steps]


def by_hand(table: np.ndarray, material: Material) -> Baseline:
    """Values that the person set, (steps or 1, feature) in their own units; one row is held for all steps."""
    note = "Against values that you set: what if it had been so."
    return Baseline(HAND, "the values that you set", everywhere(table, material.fitted), note=note)


def other(material: Material, place: int) -> Baseline:
    """Another sequence of the file; steps are matched by their order."""
    name = _short(material.names[place])
    kind, label = ("text", TEXT) if material.is_ids else ("sequence", OTHER)
    note = f"Against the {kind} “{name}”: why the model answers differently for the two."
    values, of = _aligned(material, place), (material.names[place],)
    return Baseline(label, f"“{name}”", values, note=note, sequences=of)


def matched_by(material: Material, place: int) -> str:
    """How another sequence was brought to the length of the explained one, in a sentence; empty where it has it."""
    found, wanted = int(lengths_of(material.sequences)[place]), material.steps
    if found == wanted:
        return ""
    if found > wanted:
        return f"Its first {wanted:,} of {found:,} steps are used, matched by their order."
    if material.is_ids:
        return f"It has {found:,} words, and padding for the other {wanted - found:,}."
    return f"It has {found:,} steps; the last is held for the other {wanted - found:,}."


def same_length(material: Material) -> list[int]:
    """Places of the others that can stand in a background as they are; all of the others where these are not two."""
    lengths = lengths_of(material.sequences)
    same = [i for i in material.others if lengths[i] == material.steps]
    return same if len(same) > 1 else material.others


def evenly(places: Sequence[int], count: int) -> list[int]:
    """So many of them, evenly chosen."""
    return [places[i] for i in np.unique(np.linspace(0, len(places) - 1, min(len(places), count)).astype(int))]


def background(material: Material, places: Sequence[int]) -> Baseline:
    """Other sequences of the file, whose explanations are averaged (DeepSHAP)."""
    values = np.concatenate([_aligned(material, i) for i in places])
    n = len(places)
    note = f"Against {n:,} other sequences, one by one, then averaged: what is special about this one among them."
    of = tuple(material.names[i] for i in places)
    return Baseline(OTHERS, f"{n:,} of your other sequences on average", values, True, note, sequences=of)


def training_background(material: Material, count: int) -> Baseline:
    """Sequences of a demo's training data, whose explanations are averaged."""
    assert material.training is not None
    pool = material.training[0]
    values = pool[evenly(range(len(pool)), count)]
    n = len(values)
    note = f"Against {n:,} training sequences, one by one, then averaged: what is special about this one among them."
    return Baseline(TRAINING, f"{n:,} training sequences on average", values, True, note)


def of_file(own: xr.DataArray, material: Material) -> Baseline:
    """The person's own file: one step that is held, one sequence, or several that are averaged over.

    Raises:
        InputError: its columns or its length do not fit.
    """
    own, fitted = _in_order(own, material), material.fitted
    values, steps = own.values, material.steps
    if values.shape[1] not in (1, steps) or (own.ndim == 3 and values.shape[2] != len(_columns(material))):
        raise InputError(
            f"The baseline has {counted(own.sizes['time'], 'timestep')} and "
            f"{counted(own.sizes.get('feature', 1), 'feature')}; the sequence has {steps:,} and "
            f"{len(_columns(material)):,}.",
            where="your baseline",
            hint="Give as many of each, or one timestep that is used for all.",
        )
    if material.is_ids:
        if (values != np.round(values)).any() or (values < 0).any():
            raise InputError(
                "The baseline has values that are no token ids.",
                where="your baseline",
                hint="Token ids are whole numbers from 0 up.",
            )
        ids = [np.broadcast_to(one.reshape(-1), steps) for one in values]
        values = np.concatenate([_placed_ids(one, material) for one in ids])
    else:
        values = np.concatenate([everywhere(one, fitted) for one in values])
    n = len(values)
    if n > 1:
        note = f"Against the {n:,} sequences of your file, one by one, then averaged."
        return Baseline(FILE, f"your {n:,} baselines on average", values, True, note)
    note = "Against the values of your file: why the answer is not the one for those."
    return Baseline(FILE, "your baseline", values, note=note)


def of_ids(ids: np.ndarray, material: Material, words: str = "your own text") -> Baseline:
    """Ids (n,) that the person gave; too many are cut, the rest is padding."""
    note = "Against a text of your own, word by word in order: which words make the difference."
    return Baseline(OWN_TEXT, words, _placed_ids(ids[: material.steps], material), note=note)


def _short(name: str) -> str:
    name = " ".join(name.split())
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _aligned(material: Material, place: int) -> np.ndarray:
    """Another sequence as the model takes it, with the steps of the explained one."""
    one = single(material.sequences, place)
    if material.is_ids:
        return _placed_ids(one.values.reshape(-1)[: material.steps], material)
    at = np.minimum(np.arange(material.steps), one.sizes["time"] - 1)
    return material.fit(one.isel(time=at))


def _placed_ids(ids: np.ndarray, material: Material) -> np.ndarray:
    """Ids as (1, T), filled up with padding as the explained ones are."""
    fitted, (padding, where) = material.fitted, material.padding
    found = np.full(fitted.sizes["time"], padding, dtype=fitted.dtype)
    start = len(found) - len(ids) if where == "start" else 0
    found[start : start + len(ids)] = ids
    return found[None]


def _columns(material: Material) -> list[str]:
    return material.features if "feature" in material.sequences.dims else ["id"]


def _in_order(own: xr.DataArray, material: Material) -> xr.DataArray:
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
    if "feature" not in own.dims or "feature" not in material.sequences.dims:
        return own
    mine, theirs = [str(name) for name in own["feature"].values], material.features
    for known in (theirs, list(material.aliases)):
        if sorted(mine) == sorted(known):
            return own.isel(feature=[mine.index(name) for name in known])
    if any(all(_NUMBERED.fullmatch(name) for name in names) for names in (mine, theirs)):
        return own
    raise InputError(
        f"The baseline has the columns {', '.join(mine)}; the sequence has {', '.join(theirs)}.",
        where="your baseline",
        hint="Give the columns of the sequence, in any order, or none of their names.",
    )


_NUMBERED = re.compile(r"(feature|column) \d+")  # what columns are called that have no names
