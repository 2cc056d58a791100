"""Choosing what a sequence is compared with: one menu, what each choice needs besides, and what it means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import streamlit as st
import xarray as xr

from explain_core.errors import ExplainError, InputError
from explain_core.jobs.tasks.opening import OpenedModel
from explain_core.jobs.tasks.sequences import WordOptions, read_sequences, read_text
from explain_core.sequences import Options
from explain_core.sequences.fitting import fit
from explain_core.sequences.roles import samples_first
from ui.baseline_checks import findings, suggested
from ui.baselines import TRAINING, Baseline, Material
from ui.baselines_given import (
    FILE,
    HAND,
    OTHER,
    OTHERS,
    OWN_TEXT,
    TEXT,
    USUAL_BACKGROUND,
    background,
    evenly,
    matched_by,
    of_file,
    of_ids,
    offers,
    other,
    same_length,
    training_background,
    usual,
    without_choice,
)
from ui.components.baseline_editor import by_hand_or, draw_edit_button, hands
from ui.data import Data, Upload
from ui.errors import plain
from ui.session import Outcome, Session
from ui.subjects import Subject

MOST_BACKGROUND = 100  # sequences; each costs an explanation
_MOST_TO_PICK = 500  # names that a list is drawn for
_FILE_WORDS = "One sequence like the one to explain, one timestep, or several sequences, in the units of your file"


def upload_material(opened: OpenedModel, data: Data, subject: Subject) -> Material:
    """What the baselines of an uploaded sequence are made from."""
    inputs = samples_first(opened.summary.inputs, subject.time_first)

    def fitted(one: xr.DataArray) -> np.ndarray:
        found = fit(one, inputs, "the baseline", data.scaling, data.pad_tokens, subject.beside)
        return (next(iter(found.values())) if isinstance(found, dict) else found).values

    names = [str(name) for name in data.sequences["sample"].values]
    kinds = tuple(layer.kind for layer in opened.summary.layers)
    place = names.index(subject.sequence)
    return Material(subject.series, data.sequences, place, fitted, data.pad_tokens, layers=kinds)


def choose_each(
    session: Session, upload: Upload, materials: Mapping[str, Material], words: WordOptions | None = None
) -> dict[str, Baseline] | Outcome:
    """Ask for the baseline of each input of a model, the sequence's first.

    Args:
        materials: by the names of the inputs, the sequence first.
        words: see `choose_baseline`; of the sequence.

    Returns:
        The baselines by the names of the inputs; or a job, see `choose_baseline`.

    Raises:
        InputError: what was given does not fit.
    """
    found: dict[str, Baseline] = {}
    for name, material in materials.items():
        label = f"Compare {plain(name)} with" if len(materials) > 1 else "Compare with"
        if found:
            main = next(iter(materials.values()))
            beside = replace(material, beside=next(iter(found.values())), layers=main.layers)
            one = choose_baseline(session, upload, beside, f"beside {name}", label)
        else:
            one = choose_baseline(session, upload, material, "files", label, words)
        if isinstance(one, Outcome):
            return one
        found[name] = one
    return found


def choose_baseline(
    session: Session,
    upload: Upload,
    material: Material,
    key: str,
    label: str = "Compare with",
    words: WordOptions | None = None,
) -> Baseline | Outcome:
    """Ask for the baseline of one input, and say what it means; the job that reads one while that is under way.

    Args:
        key: stands for the input in the names of widgets and of the slot for a file.
        words: how texts become ids, where the model reads words.

    Raises:
        InputError: what was given does not fit.
    """
    default, reason = suggested(usual(material), material)
    labels = [*without_choice(material), *offers(material)]
    labels = [default.label, *(each for each in labels if each != default.label)]
    chosen = _menu(label, labels, key)
    found = _draw(session, upload, material, key, words, chosen, default)
    if isinstance(found, Outcome):
        return found
    st.caption(plain(found.note) + (f" {plain(reason)}" if chosen == default.label else ""))
    for finding in findings(found, material):
        icon = ":material/warning:" if finding.is_degenerate else ":material/info:"
        (st.warning if finding.is_degenerate else st.caption)(
            plain(finding.words) if finding.is_degenerate else f"{icon} {plain(finding.words)}"
        )
    if material.is_numbers:
        draw_edit_button(material, found, key)
    return found


def _slot(key: str) -> str:
    """Where the session keeps the file of an input's baselines."""
    return "baseline" if key == "files" else f"baseline {key}"


def _menu(label: str, labels: Sequence[str], key: str) -> str:
    """The menu. It follows what is suggested until the person chooses something else."""
    widget, before = f"baseline {key}", f"suggested {key}"
    if key in hands().taken:
        hands().taken.remove(key)
        st.session_state[widget] = HAND
    elif st.session_state.get(widget) in (None, st.session_state.get(before)) or st.session_state[widget] not in labels:
        st.session_state[widget] = labels[0]
    st.session_state[before] = labels[0]
    return st.selectbox(
        label,
        labels,
        key=widget,
        help="An explanation says why the model answers this and not that: what it is compared with decides.",
    )


def _draw(
    session: Session,
    upload: Upload,
    material: Material,
    key: str,
    words: WordOptions | None,
    chosen: str,
    default: Baseline,
) -> Baseline | Outcome:
    """Ask for what a choice needs besides, and make the baseline."""
    makers = without_choice(material)
    if chosen in makers:
        return default if chosen == default.label else makers[chosen]()
    if chosen in (OTHER, TEXT):
        return _draw_other(material, key)
    if chosen == OTHERS:
        return _draw_background(material, key)
    if chosen == TRAINING:
        most = len(material.training[0])
        return training_background(material, _count(key, most, most))
    if chosen == FILE:
        return _draw_file(session, upload, material, key, default)
    if chosen == OWN_TEXT:
        return _draw_text(session, material, key, words)
    return by_hand_or(default, material, key)


def _one_of(label: str, options: Sequence[Any], key: str, words: Callable[[Any], str]) -> Any:
    if st.session_state.get(key) not in options:  # of another file
        st.session_state.pop(key, None)
    return st.selectbox(label, options, format_func=words, key=key)


def _draw_other(material: Material, key: str) -> Baseline:
    names = material.names
    place = _one_of("Which", material.others, f"baseline {key} other", names.__getitem__)
    if told := matched_by(material, place):
        st.caption(told)
    return other(material, place)


def _draw_background(material: Material, key: str) -> Baseline:
    pool = same_length(material)
    count = _count(key, min(len(pool), MOST_BACKGROUND), USUAL_BACKGROUND)
    places = evenly(pool, count)
    if len(pool) <= _MOST_TO_PICK:
        names, widget = material.names, f"baseline {key} picked"
        if not set(st.session_state.get(widget, ())) <= set(pool):
            st.session_state.pop(widget)
        picked = st.multiselect(
            "Which",
            pool,
            format_func=names.__getitem__,
            key=widget,
            placeholder="evenly chosen",
            max_selections=MOST_BACKGROUND,
        )
        places = picked or places
    others = [place for place in places if matched_by(material, place)]
    if others:
        st.caption("They are matched by order: longer ones are cut, the last step of shorter ones is held.")
    return background(material, places)


def _count(key: str, most: int, usual: int) -> int:
    widget = f"baseline {key} count"
    if st.session_state.get(widget, 0) > most:
        st.session_state.pop(widget)
    words = "Each costs an explanation, and all are averaged"
    return int(st.number_input("How many", 1, most, min(usual, most), key=widget, help=words))


def _draw_file(session: Session, upload: Upload, material: Material, key: str, default: Baseline) -> Baseline | Outcome:
    name = "Baseline" if material.beside is None else f"Baseline of {plain(str(key).removeprefix('beside '))}"
    path = upload(session, name, _slot(key), _FILE_WORDS)
    if path is None:
        st.caption(f"Until there is a file, it is compared with {plain(default.words)}.")
        return default
    reading = session.outcome(("read", path, Options()), None, read_sequences, path, Options())
    if reading.running or reading.may_go_better:
        return reading
    try:
        if reading.error is not None:
            raise reading.error
        return of_file(reading.value.sequences, material)
    except ExplainError as error:  # the picture stays, and says what it is compared with
        st.error(f"**{plain(error.what)}** {plain(error.hint)}", icon=":material/upload_file:")
        st.caption(f"Until a file fits, it is compared with {plain(default.words)}.")
        return default


def _draw_text(session: Session, material: Material, key: str, words: WordOptions | None) -> Baseline | Outcome:
    fitted = material.fitted
    real = slice(0, material.steps) if material.padding[1] == "end" else slice(-material.steps, None)
    own = fitted["token"].values[0] if "token" in fitted.coords and words is not None else fitted.values[0]
    text = st.text_area(
        "Words, in order" if words is not None else "Token ids, in order",
        " ".join(map(str, own[real])),
        key=f"baseline {key} text {material.index}",
        max_chars=20_000,
        help="They are compared with those of your text one by one, by their order",
    )
    text = " ".join(text.split())
    if words is None:
        given = text.replace(",", " ").split()
        if not given or not all(each.isascii() and each.isdigit() and len(each) < 10 for each in given):
            raise InputError(
                "The baseline's ids are not all whole numbers.",
                where="your baseline",
                hint="Give token ids from 0 up, with spaces between them.",
            )
        return of_ids(np.array(given, dtype=np.int64), material, "your own ids")
    path = session.keep_upload("baseline.txt", text.encode(), f"text {key}")
    reading = session.outcome(("read", path, words), None, read_text, path, words)
    if reading.value is None:
        return reading
    return of_ids(reading.value.sequences.values[0], material, f"“{text if len(text) < 80 else text[:79] + '…'}”")
