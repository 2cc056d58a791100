"""The experiments that started the project, as published and as they come out here."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from explain_core.backends import is_installed
from explain_core.diagnostics import published
from explain_core.jobs.tasks.steps import Process, published_half
from ui import frame
from ui.errors import plain
from ui.parts import csv_button


def draw_published() -> None:
    """The experiments, once they are asked for."""
    st.subheader("The experiments that started this")
    st.markdown(
        "A report on the package shap found a single PyTorch LSTM step off by 0.0186, three steps off by 30 %, and the "
        "same cell written out by hand in TensorFlow right to 10⁻⁷. Here are its figures, those of the packages that "
        "are installed here, and PairLift's."
    )
    asked = frame.session().asked
    st.button("Run them here", key="run published", icon=":material/science:", on_click=asked.add, args=("published",))
    if "published" not in asked:
        return
    outcomes = {
        name: frame.session().outcome(("published", name), Process(name), published_half, name)
        for name in published.FRAMEWORKS
        if is_installed(name)
    }
    for outcome in outcomes.values():
        if outcome.value is None:
            frame.wait_or_say(outcome, beside="published")
            return
    halves = {name: outcomes[name].value if name in outcomes else published.half(name) for name in published.FRAMEWORKS}
    table = published.assemble(halves)
    for experiment, rows in published.in_words(table).groupby("Experiment", sort=False):
        draw_experiment(str(experiment), rows)
    for note in published.NOTES:
        st.caption(f":material/info: {plain(note)}")
    st.caption("The same from a terminal: `python -m explain_core.diagnostics.published`.")
    csv_button(table, "published")


def draw_experiment(experiment: str, rows: pd.DataFrame) -> None:
    """Errors first; the sums are in the CSV file and in the terminal's table."""
    if experiment:
        st.markdown(f"**{plain(experiment)}**")
        shown = rows[["Framework", "Model", "Method", "Their error", "Their %", "Error today", "% today"]]
        failed = (shown["Error today"] == "") & (shown["% today"] == "")
        shown = shown.assign(**{"Error today": shown["Error today"].mask(failed, "no result")})
        shown = shown.loc[:, (shown != "").any()]
        st.dataframe(shown, hide_index=True, key=f"published {experiment}", width="stretch")
    for row in rows[rows["What it says"] != ""].to_dict("records"):
        of = ", ".join(row[name] for name in ("Framework", "Model", "Method") if row[name])
        st.caption(plain(f"{of}: {row['What it says']}"))
