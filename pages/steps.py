"""One step of a recurrent layer by itself, beside the whole sequence; and the experiments that started it."""

import pandas as pd
import streamlit as st

from explain_core.backends import is_installed
from explain_core.diagnostics import published
from explain_core.diagnostics.measured import STEP_METHODS
from explain_core.diagnostics.one_step import STATES, summary
from explain_core.figures.steps import steps_figure
from explain_core.jobs.tasks.explaining import explain
from explain_core.jobs.tasks.methods import add_tables
from explain_core.jobs.tasks.steps import Process, against_mean, published_half, step_errors
from explain_core.methods import METHODS
from explain_core.words import short
from ui import frame
from ui.errors import plain
from ui.in_words import Shown
from ui.parts import chart, csv_button
from ui.progressive import gather, wait_for, words_of
from ui.subjects import request_key

STATE_WORDS = {"cell": "Cell state", "hidden": "Hidden state"}
MODEL_WORDS = {"built-in": "the framework's own", "written out": "written out by hand"}


def draw() -> None:
    st.title("Step by step")
    st.markdown(
        "Does a method go wrong on a single step of the recurrent layer, or does the error build up from step to "
        "step? On the left every step is a little model of its own, explained with its input and the states before "
        "it. On the right is the whole sequence up to that step. What is explained is the state that comes out. "
        "Below the line of 10⁻⁵ only rounding is left."
    )
    shown = frame.explanation()
    if shown is not None and shown.explanation.gates:
        draw_steps(shown)
    elif shown is not None:
        st.info("This model has no recurrent layer whose steps could be looked at.", icon=":material/info:")
    elif frame.choice() == frame.Choice():
        st.info("Give a model and a sequence in the sidebar to see its own steps.", icon=":material/upload_file:")
    draw_published()


def draw_steps(shown: Shown) -> None:
    gates = shown.explanation.gates
    with st.container(horizontal=True):
        layer = st.selectbox(
            "Layer",
            list(gates),
            format_func=lambda name: f"{name} ({gates[name].attrs['kind']}, {gates[name].sizes['unit']} units)",
            key=f"steps layer {shown.key}",
            width=320,
        )
        states = [state for state in reversed(STATES) if state == "hidden" or "cell" in gates[layer]]
        state = st.selectbox(
            "What is explained", states, format_func=STATE_WORDS.get, key=f"steps state {shown.key} {layer}", width=320
        )
    request = frame.choice().request
    key = (request_key(request), layer, state)
    explanation = shown.explanation
    if request.background:
        mean = against_mean(request)
        outcome = frame.session().outcome(("explained against the mean", request_key(mean)), mean.model, explain, mean)
        if outcome.value is None:
            frame.wait_or_say(outcome)
            return
        explanation = outcome.value
    methods = [name for name in STEP_METHODS if request.model.framework in METHODS[name].frameworks]
    found, pending = gather(
        "steps",
        key,
        methods,
        lambda method: frame.session().outcome(
            ("steps", *key, method), request.model, step_errors, request, explanation, layer, state, method
        ),
    )
    wait_for("steps", pending, len(found), len(methods))
    for method, outcome in found.items():
        if outcome.value is None:
            st.caption(f":material/error: {METHODS[method].name}: {plain(words_of(outcome))}")
    parts = [outcome.value for outcome in found.values() if outcome.value is not None]
    if not parts:
        return
    table = pd.concat(parts, ignore_index=True)
    table.attrs["notes"] = list(dict.fromkeys(note for part in parts for note in part.attrs["notes"]))
    if pending is None:
        add_tables(shown.explanation, {"steps": table})
    chart(
        steps_figure(table, theme=frame.theme(), titled=False),
        key=f"steps {shown.key} {layer} {state} {len(parts)}",
        alt=f"Relative error of each method on every step of {layer}, by itself and as a sequence",
    )
    if request.background:
        st.caption(
            ":material/info: Compared with the average of the baselines, since a state has to be that of one run."
        )
    for note in table.attrs["notes"]:
        st.caption(f":material/info: {plain(note)}")
    draw_summary(summary(table))
    if pending is None:
        csv_button(table, "steps")


def draw_summary(found: pd.DataFrame) -> None:
    in_words = pd.DataFrame(
        {
            "Method": found["method"],
            "Layer": found["model"].map(MODEL_WORDS),
            "One step, at worst": found["one_step"].map(error_in_words),
            "Whole sequence, at worst": found["whole_sequence"].map(error_in_words),
            "At the last step": found["at_the_end"].map(error_in_words),
            "Time": found["seconds"].map("{:.1f} s".format),
        }
    )
    if found["model"].nunique() == 1:
        in_words = in_words.drop(columns="Layer")
    st.dataframe(in_words, hide_index=True, key="steps summary", width="stretch")
    for row in found[found["says"] != ""].itertuples():
        of = "" if row.model == "built-in" else f", {MODEL_WORDS[row.model]}"
        st.caption(plain(f"{row.method}{of}: {row.says}"))


def error_in_words(relative: float) -> str:
    """A relative error: in percent, or as a power of ten where that would be nothing but zeros."""
    if pd.isna(relative):
        return "no result"
    return f"{100 * relative:.3g} %" if relative >= 1e-4 else short(relative)


def draw_published() -> None:
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
            frame.wait_or_say(outcome)
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


frame.page(draw)
