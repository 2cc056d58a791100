"""A demo: how well its model does, and where its data is from."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from explain_core.demos import Demo
from ui.errors import plain

METRICS = {"RMSE": "Typical error (RMSE)", "accuracy": "Share of right answers (accuracy)"}


def draw_demo(demo: Demo) -> None:
    """What a demo is about, how well its model does beside simple ones, and its source."""
    st.markdown(f"**{plain(demo.title)}**  \n{plain(demo.description)}")
    metrics = demo.metrics
    st.subheader("How well it does")
    better = "lower" if metrics.lower_is_better else "higher"
    unit = f" in {metrics.unit}" if metrics.unit else ""
    st.markdown(
        f"{METRICS.get(metrics.name, metrics.name)}{unit}, {better} is better, on {metrics.n:,} sequences "
        f"that the model never saw ({plain(metrics.split)})."
    )
    measure = metrics.name[0].upper() + metrics.name[1:]
    rows = [("This model", metrics.model, "what is explained here")]
    rows += [(each.name.capitalize(), each.value, each.description) for each in metrics.references]
    table = pd.DataFrame(rows, columns=["Method", measure, "What it is"]).set_index("Method")
    st.table(table.style.format({measure: "{:.3g}"}), border="horizontal")
    st.markdown(  # no caption, which would fade the link
        f":small[Data: {plain(demo.source)}. Licence: {plain(demo.licence)}. {plain(demo.citation)} "
        f"[Where it is from]({demo.url})]"
    )
