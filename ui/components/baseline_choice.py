"""Choosing what a sequence is compared with."""

from __future__ import annotations

import streamlit as st
import xarray as xr

from explain_core.jobs.tasks.opening import OpenedModel
from explain_core.jobs.tasks.sequences import read_sequences
from explain_core.sequences import Options
from explain_core.sequences.fitting import fit
from explain_core.sequences.labelled import single
from explain_core.sequences.roles import samples_first
from ui.baselines import Baseline, upload_baselines
from ui.data import Data
from ui.grids import grid_baselines
from ui.session import Outcome, Session
from ui.subjects import Subject


def choose_baseline(baselines: list[Baseline], key: str) -> Baseline:
    """Ask for one of them."""
    by_label = {baseline.label: baseline for baseline in baselines}
    label = st.selectbox(
        "Compare with",
        list(by_label),
        key=f"baseline {key}",
        help="An explanation says why the model answers this and not that: what it is compared with decides.",
    )
    return by_label[label]


def file_baselines(session: Session, opened: OpenedModel, data: Data, subject: Subject) -> list[Baseline] | Outcome:
    """The baselines of an uploaded sequence; the job that reads the person's own while that is under way."""
    path = session.held("baseline")
    own = None
    if path is not None:
        reading = session.outcome(("read", path, Options()), None, read_sequences, path, Options())
        if reading.value is None:
            return reading
        own = reading.value.sequences

    def another(index: int) -> xr.DataArray:
        inputs, one = samples_first(opened.summary.inputs, subject.time_first), single(data.sequences, index)
        fitted = fit(one, inputs, "the background", data.scaling, data.pad_tokens, subject.beside)
        return next(iter(fitted.values())) if isinstance(fitted, dict) else fitted

    if data.is_grid:
        return grid_baselines(data.sequences, subject.series)
    return upload_baselines(data.sequences, own, subject.series, another, data.pad_tokens[0])
