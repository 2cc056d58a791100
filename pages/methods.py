"""The same prediction explained by several methods, side by side; and their error as the sequence gets longer."""

import streamlit as st

from explain_core.diagnostics.comparison import Comparison, MethodResult
from explain_core.jobs.tasks.explaining import Request
from explain_core.jobs.tasks.methods import add_tables, of_output, one_method
from explain_core.words import signed
from ui import frame
from ui.components.comparison import (
    choose_methods,
    draw_absorbed,
    draw_curves,
    draw_heatmaps,
    draw_table,
    offer_tables,
    run_each,
)
from ui.components.horizon import draw_horizon
from ui.in_words import Shown
from ui.progressive import wait_for, words_of


def draw() -> None:
    st.title("Compare methods")
    shown = frame.explanation()
    if shown is None:
        if frame.choice() == frame.Choice():
            st.info(
                "Give a model and a sequence in the sidebar, and see to what the Explanation page asks about them.",
                icon=":material/upload_file:",
            )
        return
    asked = frame.request()
    if asked is None:
        return
    output = frame.choose_output(shown)
    prediction, baseline = shown.values(output)
    st.markdown(
        f"Each method shares out the same difference of **{signed(prediction - baseline, shown.unit)}** among the "
        "values of the sequence. Shares that do not add up to it leave something out, or make something up."
    )
    request = one_output(asked, shown, output)
    methods = choose_methods(request)
    found, pending = run_each("method", request, methods, one_method)
    results = [
        outcome.value or MethodResult(method, seconds=outcome.job.seconds, message=words_of(outcome))
        for method, outcome in found.items()
    ]
    compared = Comparison(results)
    wait_for("method", pending, len(found), len(methods))
    draw_table(compared)
    draw_absorbed(compared, shown)
    if compared.explanations:
        draw_heatmaps(compared, shown)
        draw_curves(compared, shown)
    tables = compared.tables() if pending is None else {}
    tables |= draw_horizon(request, shown, busy=pending is not None)
    tables = of_output(tables, output)
    add_tables(shown.explanation, tables)
    offer_tables(tables)


def one_output(request: Request, shown: Shown, output: str) -> Request:
    """The request for one output; one that asks for all of them has them in order."""
    return request.of_output(shown.explanation.output_position(output))


frame.page(draw)
