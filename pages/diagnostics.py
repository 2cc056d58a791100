"""Where the error of a method is made, and how it grows."""

from dataclasses import replace

import streamlit as st

from explain_core.jobs.tasks.ledgers import audit_all, together
from explain_core.jobs.tasks.methods import add_tables, of_output
from ui import frame
from ui.components.ledgers import (
    choose_layer,
    choose_method,
    draw_agreement,
    draw_headline,
    draw_layer,
    draw_ledger,
    draw_overview,
    draw_own,
)
from ui.parts import csv_button
from ui.subjects import request_key


def draw() -> None:
    st.title("Where the error is made")
    st.markdown(
        "Attributions should add up to the prediction difference. Where a method's do not, what is missing was lost "
        "somewhere inside the model: at one gate, at one timestep. The ledger says where, and its entries add up to "
        "the whole error."
    )
    shown = frame.explanation()
    if shown is None:
        if frame.choice() == frame.Choice():
            st.info("Give a model and a sequence in the sidebar first.", icon=":material/upload_file:")
        return
    output = frame.choose_output(shown)
    request = frame.request()
    if request is None:
        return
    request = replace(request.of_output(shown.explanation.output_position(output)), output_names=None)
    key = request_key(request)
    outcome = frame.session().outcome(("ledgers", key), request.model, audit_all, request)
    if outcome.value is None:
        frame.wait_or_say(outcome)
        return
    audits = {audit.method: audit for audit in outcome.value}
    tables = of_output(together(outcome.value), output)
    add_tables(shown.explanation, tables)
    draw_overview(outcome.value, shown)
    method = choose_method(audits, key)
    draw_headline(audits[method], shown)
    if method == "shap":
        draw_agreement(audits[method], request, key)
    if audits[method].explanation is not None:
        draw_ledger(audits[method], key, shown.unit)
        layer = choose_layer(audits[method], key)
        if layer:
            draw_layer(audits[method], layer, key)
    draw_own(audits["paired"], shown)
    if "ledger" in tables:
        csv_button(tables["ledger"], "ledger", "Ledgers of all methods (CSV)")


frame.page(draw)
