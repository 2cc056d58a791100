"""Baselines edited by hand: a table of timesteps and features, or one step that is held."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import streamlit as st

from explain_core.explanation.labels import spoken_labels
from ui.baselines import Baseline, Material
from ui.baselines_given import by_hand, own_table
from ui.components.baseline_preview import draw_preview
from ui.errors import plain
from ui.parts import csv_button

MOST_CELLS = 20_000  # that a browser edits at ease
_MOST_STEP = 2_000  # features of one step


@dataclass
class Hands:
    """What a person edits. The values themselves stand in the session's state, for the way back to them.

    Attributes:
        editing: the input whose table is open, with the values it was opened with and where they came from.
        version: another one after each start, so that a table shows what it starts from.
        taken: inputs whose menus are to say so, which are drawn already when it happens.
    """

    editing: tuple[str, np.ndarray, str] | None = None
    version: int = 0
    taken: set[str] = field(default_factory=set)

    def open(self, key: str, start: np.ndarray, label: str) -> None:
        """Open a table."""
        self.editing, self.version = (key, start, label), self.version + 1

    def close(self) -> None:
        """Leave the table without taking what was edited."""
        self.editing = None


def hands() -> Hands:
    """Those of this session."""
    return st.session_state.setdefault("editing by hand", Hands())


def take(key: str, features: list[str], table: np.ndarray) -> None:
    """Compare an input with these values (steps or 1, feature), in the person's own units, from now on."""
    st.session_state[_values_key(key)] = (tuple(features), tuple(map(tuple, table.tolist())))
    hands().taken.add(key)
    hands().close()


def taken(key: str, material: Material) -> np.ndarray | None:
    """The values of an input, where they fit its sequence."""
    features, rows = st.session_state.get(_values_key(key), ((), ()))
    return np.array(rows) if list(features) == material.features and len(rows) in (1, material.steps) else None


def _values_key(key: str) -> str:
    return f"baseline {key} values"


def edited(frame: pd.DataFrame, start: np.ndarray) -> tuple[np.ndarray, int]:
    """The numbers of an edited table of the shape of ``start``, and how many cells have none and keep theirs."""
    values = frame.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    empty = ~np.isfinite(values)
    return np.where(empty, start, values), int(empty.sum())


def by_hand_or(default: Baseline, material: Material, key: str) -> Baseline:
    """What was edited for this input, or its default where nothing was."""
    table = taken(key, material)
    if table is not None:
        return by_hand(table, material)
    kept = (
        "What you edited has other features or steps. "
        if _values_key(key) in st.session_state
        else "Nothing is edited yet. "
    )
    st.caption(f"{kept}Until then it is compared with {plain(default.words)}.")
    return default


def draw_edit_button(material: Material, baseline: Baseline, key: str) -> None:
    """The button that opens the table on the current choice, and the table while it is open."""
    if st.button("Edit its values", key=f"edit {key}", icon=":material/edit:", type="tertiary"):
        hands().open(key, own_table(baseline, material), baseline.words)
    if hands().editing is not None and hands().editing[0] == key:
        _edit(material, key)


@st.dialog("Compare with values of your own", width="large", icon=":material/edit:", on_dismiss=lambda: hands().close())
def _edit(material: Material, key: str) -> None:
    if hands().editing is None:
        st.rerun()
    _, start, origin = hands().editing
    st.caption(f"It starts from {plain(origin)}, in your own units. What you do not change stays as it is.")
    is_held = _ask_form(material, start)
    left, right = st.columns([3, 1], gap="medium")
    with left:
        table, empty = _draw_step(material, start) if is_held else _draw_steps(material, start)
    if empty:
        words = "1 cell has no number, and keeps its own" if empty == 1 else f"{empty:,} cells have no number"
        left.caption(f":material/info: {words}" + ("." if empty == 1 else ", and keep their own."))
    with right:
        draw_preview(material, by_hand(table, material))
    with st.container(horizontal=True):
        if st.button("Compare with these", key="edit take", type="primary", icon=":material/check:"):
            take(key, material.features, table)
            st.rerun()
        st.space("stretch")
        csv_button(pd.DataFrame(np.broadcast_to(table, start.shape), columns=material.features), "baseline")


def _ask_form(material: Material, start: np.ndarray) -> bool:
    """Whether one step is edited that is held for all."""
    if len(start) == 1:
        return True
    if start.size > MOST_CELLS:
        st.caption(
            f":material/info: {len(start):,} timesteps of {start.shape[1]:,} features are too many to edit here: edit "
            "one step that is held for all, or download the table below, change it, and choose “My baseline file”."
        )
        return True
    is_held = bool((start == start[0]).all())
    forms = {"held": "One step, held for all", "every": "Every step"}
    chosen = st.segmented_control(
        "What to edit",
        list(forms),
        format_func=forms.get,
        default="held" if is_held else "every",
        required=True,
        key=f"edit form {hands().version}",
        label_visibility="collapsed",
    )
    return chosen == "held"


def _draw_step(material: Material, start: np.ndarray) -> tuple[np.ndarray, int]:
    """One step, a row for each feature, beside what the sequence has."""
    own = own_table(Baseline("", "", material.fitted.values), material)
    step = start.mean(axis=0)[:_MOST_STEP]
    table = pd.DataFrame(
        {
            "feature": material.features[:_MOST_STEP],
            "value": step,
            "low": own.min(axis=0)[:_MOST_STEP],
            "high": own.max(axis=0)[:_MOST_STEP],
        }
    )
    number = st.column_config.NumberColumn
    found = st.data_editor(
        table,
        hide_index=True,
        disabled=["feature", "low", "high"],
        column_config={
            "feature": "Feature",
            "value": number("Compare with", format="%.6g", required=True),
            "low": number("Lowest here", format="%.6g", help="Of the sequence that is explained"),
            "high": number("Highest here", format="%.6g", help="Of the sequence that is explained"),
        },
        key=f"edit step {hands().version}",
        height=min(38 + 35 * len(table), 330),
    )
    values, empty = edited(found[["value"]], step[:, None])
    if start.shape[1] > _MOST_STEP:
        st.caption(f"The first {_MOST_STEP:,} of {start.shape[1]:,} features; the others stay.")
    return np.concatenate([values[:, 0], start.mean(axis=0)[_MOST_STEP:]])[None], empty


def _draw_steps(material: Material, start: np.ndarray) -> tuple[np.ndarray, int]:
    """All steps, a column for each feature; columns are called by their place, since names may be anything."""
    places = [f"c{i}" for i in range(start.shape[1])]
    times = spoken_labels(_times(material))[: len(start)]
    config = {
        place: st.column_config.NumberColumn(name, format="%.6g", required=True)
        for place, name in zip(places, material.features, strict=True)
    }
    found = st.data_editor(
        pd.DataFrame(start, columns=places).assign(time=times)[["time", *places]],
        hide_index=True,
        disabled=["time"],
        column_config={**config, "time": st.column_config.TextColumn("Timestep", pinned=True)},
        key=f"edit steps {hands().version}",
        height=min(38 + 35 * len(start), 330),
    )
    return edited(found[places], start)


def _times(material: Material) -> np.ndarray:
    """Labels of the steps of the explained sequence."""
    if "time" in material.fitted.dims:
        return material.fitted["time"].values
    return material.sequences["time"].values
