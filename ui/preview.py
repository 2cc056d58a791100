"""What was read from a file, at a glance: how much of it, each feature's course, and the first rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st
import xarray as xr

from explain_core.explanation.labels import spoken_labels
from explain_core.sequences import Scaling, single
from ui.data import Data
from ui.data_options import offer
from ui.errors import plain
from ui.grids import in_words as grid_words

_MOST_POINTS = 120  # of a small line
_MOST_ROWS = 200
_MOST_FEATURES = 200


def draw_data(data: Data) -> None:
    """The section of an uploaded file."""
    st.subheader("What is in the sequence file")
    sequences = data.reading.sequences if data.sequences is None else data.sequences
    count = sequences.sizes["sample"]
    index = _choose_sequence(sequences)
    one = single(sequences, index)
    times = spoken_labels(one["time"].values) if "time" in one.dims else []
    with st.container(horizontal=True):
        st.metric("Format", data.reading.format, border=True)
        st.metric("Sequences", f"{count:,}", border=True)
        st.metric("Tokens" if data.is_text else "Timesteps", f"{len(times):,}", border=True)
        if "feature" in sequences.dims:
            st.metric("Features", f"{sequences.sizes['feature']:,}", border=True)
    if len(times) > 1 and times != [f"{i + 1:,}" for i in range(len(times))]:
        st.caption(f"From {plain(times[0])} to {plain(times[-1])}.")
    if data.is_grid:
        st.caption(grid_words(sequences))
    elif data.is_text:
        _draw_words(one)
    else:
        _draw_features(one, data.scaling)
        with st.expander("Rows", icon=":material/table:"):
            rows = one.values[0][:_MOST_ROWS, :_MOST_FEATURES]
            names = [str(name) for name in one["feature"].values[:_MOST_FEATURES]]
            st.dataframe(pd.DataFrame(rows, pd.Index(times[:_MOST_ROWS], name="time"), names), key="data rows")
    for note in (*data.reading.notes, *(data.scaling.notes if data.scaling else ())):
        st.caption(f":material/info: {plain(note)}")
    offer(data.fixes)


def _choose_sequence(sequences: xr.DataArray) -> int:
    """The sequence that is chosen in the sidebar."""
    names = [str(name) for name in sequences["sample"].values]
    chosen = st.session_state.get("sequence files")
    return names.index(chosen) if chosen in names else 0


def _draw_words(one: xr.DataArray) -> None:
    words = {"Word": one["token"].values[0][:_MOST_ROWS], "Id": one.values[0][:_MOST_ROWS].astype(str)}
    table = pd.DataFrame(words, index=one["time"].values[:_MOST_ROWS])
    st.dataframe(table.T, key="data words")


def _draw_features(one: xr.DataArray, scaling: Scaling | None) -> None:
    """A line for each feature: its course, its range, and what the model makes of it."""
    values = one.values[0][:, :_MOST_FEATURES].astype(float)
    names = [str(name) for name in one["feature"].values[:_MOST_FEATURES]]
    at = np.unique(np.linspace(0, len(values) - 1, min(len(values), _MOST_POINTS)).astype(int))
    table = pd.DataFrame(
        {
            "Input": range(1, len(names) + 1),
            "Feature": names,
            "Course": [column[at].tolist() for column in values.T],
            "Lowest": values.min(axis=0),
            "Mean": values.mean(axis=0),
            "Highest": values.max(axis=0),
        }
    )
    if scaling is not None:
        matched = scaling.matched(one["feature"].values)
        table["Offset"], table["Scale"] = matched.offset[: len(names)], matched.scale[: len(names)]
    number = {
        name: st.column_config.NumberColumn(format="%.4g") for name in ("Lowest", "Mean", "Highest", "Offset", "Scale")
    }
    line = {"Course": st.column_config.LineChartColumn(width="medium")}
    line["Input"] = st.column_config.NumberColumn(help="Models know their inputs by position", width="small")
    st.dataframe(table, hide_index=True, column_config=number | line, key="data features", width="stretch")
    if scaling is not None:
        st.caption(
            "The model gets (value − offset) / scale. Values here and in charts are your own; attributions belong to "
            "the model's inputs and are the same in either unit."
        )
    if one.sizes["feature"] > _MOST_FEATURES:
        st.caption(f"The first {_MOST_FEATURES} of {one.sizes['feature']:,} features.")
