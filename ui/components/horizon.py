"""How far methods are from adding up as the sequence gets longer."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from explain_core.diagnostics import horizons
from explain_core.figures.horizon import horizon_figure
from explain_core.figures.in_words import horizon_said
from explain_core.jobs.tasks.explaining import Request
from explain_core.jobs.tasks.methods import one_horizon
from explain_core.methods.registry import METHODS
from ui import frame
from ui.components.comparison import run_each
from ui.errors import plain
from ui.in_words import Shown
from ui.parts import chart
from ui.progressive import wait_for, words_of
from ui.subjects import request_key

SPLICED = "Here the model always gets its full length: the first timesteps are the sequence's, the rest the baseline's."

CUT = "Here the sequence ends after so many timesteps."


def draw_horizon(request: Request, shown: Shown, *, busy: bool) -> dict[str, pd.DataFrame]:
    """The horizon curve once it is asked for, and the methods above are done; returns its table when it is complete."""
    st.subheader("Does it still add up when the sequence gets longer?")
    asked = ("horizon", request_key(request))
    if asked not in frame.session().asked:
        st.markdown("Every method is run again on shorter versions of the sequence, one method after the other.")
        st.button(
            "Draw the horizon curve",
            key="horizon",
            icon=":material/show_chart:",
            on_click=frame.session().asked.add,
            args=(asked,),
        )
        return {}
    if busy:
        st.caption("The horizon curve comes when the methods above are done.")
        return {}
    framework = request.model.framework
    methods = [name for name in horizons.DEFAULT if framework in METHODS[name].frameworks]
    found, pending = run_each("horizon", request, methods, one_horizon)
    wait_for("horizon", pending, len(found), len(methods))
    parts = [outcome.value for outcome in found.values() if outcome.value is not None]
    for method, outcome in found.items():
        if outcome.value is None:
            st.caption(f":material/error: {METHODS[method].name}: {plain(words_of(outcome))}")
    if not parts:
        return {}
    table = pd.concat(parts, ignore_index=True)
    how = SPLICED if table["how"][0] == "spliced" else CUT
    st.markdown(
        "Each line says how far a method's shares are from adding up on a sequence of so many timesteps. In the grey "
        f"area only the rounding of the model's own predictions is left. {how}"
    )
    chart(
        horizon_figure(table, theme=frame.theme()),
        key=f"horizon {shown.key} {len(parts)}",
        alt="Error of each method against the number of timesteps, and the time it took",
        says=horizon_said(table),
    )
    for row in table[table["message"] != ""].itertuples():
        st.caption(f":material/info: {row.name}: {plain(row.message)}")
    return {"horizon": table} if pending is None else {}
