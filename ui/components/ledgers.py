"""The ledgers of methods: overview, headline, charts, and how far they are those of the packages."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from explain_core.diagnostics.growth import compounding
from explain_core.diagnostics.in_words import headline, part_in_words, seed_of
from explain_core.diagnostics.ledgers import LEDGER_METHODS, MEANINGS, TITLES
from explain_core.figures.growth import compounding_figure, conservation_figure
from explain_core.figures.in_words import bars_said
from explain_core.figures.ledger import ledger_figure, ledger_totals_figure, ledger_waterfall_figure
from explain_core.jobs.tasks.explaining import Request
from explain_core.jobs.tasks.ledgers import Audit, compare_with_shap
from explain_core.words import percent, signed, size
from ui import frame
from ui.errors import plain
from ui.in_words import Shown
from ui.parts import chart, readable, switch

VIEWS = {"time": "Over time", "total": "In total", "way": "On the way to the prediction"}


def draw_overview(audits: list[Audit], shown: Shown) -> None:
    """A row for every method; one that failed says what happened."""
    rows = []
    for audit in audits:
        row = {"Method": TITLES[audit.method], "Off by": "–", "Of the difference": "–", "Mostly made in": "–"}
        if audit.explanation is None:
            row["Mostly made in"] = "no ledger for this model: see below"
        else:
            tables = audit.explanation.diagnostics
            totals = tables["totals"].iloc[0]
            seed = seed_of(tables["ledger"], totals["error"])
            row["Off by"] = signed(totals["error"], shown.unit)
            row["Of the difference"] = percent(totals["error"] / totals["difference"]) if totals["difference"] else ""
            if audit.explanation.adds_up(0, 0):
                row["Mostly made in"] = "nowhere: rounding"
            elif seed is not None:
                row["Mostly made in"] = f"{part_in_words(seed.part)} of {seed.layer or 'the model'}" + (
                    f", {seed.when(shown.subject.time_label.lower())}" if seed.times else ""
                )
        rows.append(row)
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        key="ledger overview",
        column_config={
            "Off by": st.column_config.TextColumn(
                help="The prediction difference minus the sum of the shares: + is missing, − is too much."
            )
        },
    )
    for audit in audits:
        if audit.explanation is None:
            st.caption(f":material/block: **{TITLES[audit.method]}.** {plain(audit.message)}")


def choose_method(audits: dict[str, Audit], key: str) -> str:
    """The method whose ledger is looked at."""
    usual = "shap" if audits["shap"].explanation is not None else "gradient"
    titles = {method: TITLES[method] for method in LEDGER_METHODS}
    method = switch("Method", titles, f"ledger method {key}", default=usual, named=True)
    st.caption(MEANINGS[method])
    return method


def draw_headline(audit: Audit, shown: Shown) -> None:
    """What is missing, and where most of it is made, in one sentence."""
    if audit.explanation is None:
        st.warning(f"{TITLES[audit.method]} has no ledger here. {plain(audit.message)}", icon=":material/block:")
        return
    tables = audit.explanation.diagnostics
    words = headline(
        TITLES[audit.method], tables["ledger"], tables["totals"].iloc[0], shown.unit, shown.subject.time_label.lower()
    )
    st.markdown(f"##### {words}")


def draw_agreement(audit: Audit, request: Request, key: str) -> None:
    """Whether this is what the installed shap returns, found out by running it."""
    if audit.explanation is None:
        return
    outcome = frame.session().outcome(
        ("shap agreement", key), request.model, compare_with_shap, request, audit.explanation
    )
    if outcome.value is None:
        frame.wait_or_say(outcome)
    elif "message" in outcome.value:
        st.caption(
            ":material/info: The installed shap itself does not run on this model, so nothing can be compared with it. "
            f"{plain(outcome.value['message'])}"
        )
    else:
        found = outcome.value
        words = (
            f"the largest difference of any attribution is {size(found['difference'])}, {size(found['relative'])} of "
            "the largest attribution"
        )
        if found["relative"] <= 1e-5:
            st.caption(f":material/check_circle: The same as {found['library']} returns on this model: {words}.")
        else:
            st.caption(f":material/warning: Not the same as {found['library']} returns on this model: {words}.")


@st.fragment
def draw_ledger(audit: Audit, key: str, unit: str) -> None:
    """The ledger over time, in total, or as the way to the prediction."""
    tables = audit.explanation.diagnostics
    ledger = tables["ledger"]
    layers = list(dict.fromkeys(ledger.loc[ledger["time"].notna(), "layer"]))
    views = {view: words for view, words in VIEWS.items() if view != "time" or layers}
    view = switch("Show", views, f"ledger view {key}")
    if view == "time":
        for layer in layers:
            if len(layers) > 1:
                st.markdown(f"**{plain(layer)}**")
            figure = ledger_figure(ledger, layer, theme=frame.theme(), titled=False, unit=unit)
            words = readable(figure)
            chart(
                figure,
                key=f"ledger {audit.method} {layer} {key}",
                alt=f"Where {layer} makes the error: every part at every timestep",
                says=bars_said(ledger_totals_figure(ledger, theme=frame.theme())),
            )
            if words:
                st.caption(words)
    elif view == "total":
        figure = ledger_totals_figure(ledger, theme=frame.theme(), titled=False, unit=unit)
        chart(
            figure,
            key=f"ledger totals {audit.method} {key}",
            alt="The error that each part makes, over all timesteps",
            says=bars_said(figure),
        )
    else:
        figure = ledger_waterfall_figure(ledger, tables["totals"].iloc[0], theme=frame.theme(), titled=False, unit=unit)
        chart(
            figure,
            key=f"ledger way {audit.method} {key}",
            alt="From the sum of the shares to the prediction difference, by what the parts leave out or add",
            says=bars_said(figure),
        )


def choose_layer(audit: Audit, key: str) -> str | None:
    """The layer whose error is followed; None where no layer has timesteps."""
    layers = list(dict.fromkeys(audit.explanation.diagnostics["steps"]["layer"]))
    if len(layers) < 2:
        return layers[0] if layers else None
    return st.selectbox("Layer", layers, key=f"ledger layer {key}", width=320)


def draw_layer(audit: Audit, layer: str, key: str) -> None:
    """How the error of one layer builds up, and what each of its steps conserves."""
    tables = audit.explanation.diagnostics
    st.subheader("How it builds up")
    st.markdown(
        "The error that one timestep makes is small in the state itself. What it does to the output depends on how "
        "strongly the output still hangs on that state."
    )
    table, error = compounding(audit.explanation), float(tables["totals"].iloc[0]["error"])
    chart(
        compounding_figure(table, layer, error, theme=frame.theme(), titled=False),
        key=f"compounding {audit.method} {layer} {key}",
        alt=f"The error that each timestep of {layer} makes, how it is amplified, and the sum so far",
    )
    table = tables["conservation"]
    if layer not in set(table["layer"]):  # a loop that the model writes out itself has no gates
        return
    st.subheader("What every timestep conserves")
    st.markdown(
        "Between two timesteps the states carry a part of the prediction difference. Each step has to hand all of it "
        "on, to its gates or to the states before."
    )
    chart(
        conservation_figure(table, layer, theme=frame.theme(), titled=False),
        key=f"conservation {audit.method} {layer} {key}",
        alt=f"What the states of {layer} carry at every cut, and what each step leaves over",
    )


def draw_own(audit: Audit, shown: Shown) -> None:
    """PairLift's own ledger in one line, beside whatever method is looked at."""
    if audit.explanation is None:
        return
    tables = audit.explanation.diagnostics
    largest = tables["ledger"]["defect"].abs().max()
    left = tables["conservation"]["residual"].abs().max() if len(tables["conservation"]) else 0.0
    st.badge(
        f"PairLift on the same sequence: off by {size(tables['totals'].iloc[0]['error'], shown.unit)}",
        icon=":material/check_circle:" if audit.explanation.adds_up(0, 0) else ":material/error:",
        color="green" if audit.explanation.adds_up(0, 0) else "red",
    )
    st.caption(
        f"No entry of its ledger is larger than {size(largest, shown.unit)}, and no step leaves more than "
        f"{size(left, shown.unit)}."
    )
