"""One prediction and what moved it: numbers, heatmap, totals."""

from __future__ import annotations

import streamlit as st

from explain_core.figures import attribution_figure, cell_detail, click_detail, prediction_figure
from explain_core.models.hints import ASSUMED
from explain_core.words import number, signed
from ui import frame
from ui.downloads import offer_downloads
from ui.errors import plain
from ui.in_words import Shown, headline, share, strongest
from ui.parts import chart

TOTALS = {"feature": "By feature", "time": "By timestep"}


def draw_numbers(shown: Shown, output: str) -> None:
    """Prediction and baseline prediction, whether it adds up, files, and what is to be known."""
    subject, (prediction, baseline) = shown.subject, shown.values(output)
    st.markdown(headline(shown, output))
    numbers = [
        (shown.noun.capitalize(), number(prediction, shown.unit)),
        (f"Baseline {shown.noun}", number(baseline, shown.unit)),
        ("Difference", signed(prediction - baseline, shown.unit)),
    ]
    if subject.observed is not None:
        is_text = isinstance(subject.observed, str)
        observed = subject.observed if is_text else number(subject.observed, subject.output_unit)
        numbers.append(("What really happened", observed))
    with st.container(horizontal=True):
        for label, value in numbers:
            st.metric(label, value, border=True)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        frame.draw_residual(shown, output)
        offer_downloads(shown)
    draw_notes(shown.explanation.notes)


def draw_notes(notes: list[str]) -> None:
    """What is to be known of the result; what was assumed of the model stands together."""
    assumed = [note.removeprefix(ASSUMED) for note in notes if note.startswith(ASSUMED)]
    for note in notes:
        if not note.startswith(ASSUMED):
            st.caption(f":material/info: {plain(note)}")
    if assumed:
        st.caption(f":material/help: **{plain(ASSUMED.strip())}** {plain(' '.join(assumed))}")


@st.fragment
def draw_chart(shown: Shown, output: str) -> None:
    """The heatmap, and what was clicked in it."""
    ex = shown.explanation
    detail = st.container()
    clicked = chart(
        attribution_figure(ex, 0, output, theme=frame.theme(), titled=False),
        key=f"chart {shown.key} {output}",
        on_select="rerun",
        selection_mode="points",
        alt=f"Input, totals per timestep and attribution of each value to {output}",
    )
    points = [point for point in clicked.selection.points if point.get("customdata")]
    with detail:
        if points:
            draw_cell("Chosen", click_detail(ex, 0, output, points[0]["customdata"]), shown)
        else:
            draw_cell("Largest share", cell_detail(ex, 0, output, **strongest(shown, output)), shown)


def draw_cell(word: str, cell: dict, shown: Shown) -> None:
    """One value and what it moved."""
    unit = shown.subject.units.get(cell["feature"], "")
    is_count = cell["time"].replace(" to ", "").isdigit()
    time = f"{shown.subject.time_label.lower()} {cell['time']}" if is_count else cell["time"]
    is_token = cell["token"] is not None
    what = f"“{cell['token']}”" if is_token else cell["feature"] or "all features"
    where = [plain(part) for part in (what, time) if part]
    values = f"Value {number(cell['input'], unit)}, baseline {number(cell['baseline'], unit)}. "
    with st.container(border=True):
        st.markdown(
            f"**{word}: {', '.join(where)}.** {'' if is_token else values}Moved the {shown.noun} by "
            f"**{signed(cell['attribution'], shown.unit)}**, {share(cell['share'])} of all "
            "movement.  \n:gray[Click a cell or a bar of the chart to see it here.]"
        )


def draw_totals(shown: Shown, output: str) -> None:
    """The way from the baseline prediction to the prediction."""
    st.subheader(f"From the baseline's {shown.noun} to this one")
    by = "time"
    if "feature" in shown.subject.series.dims:  # token ids have none to add up
        by = st.segmented_control(
            "Totals",
            list(TOTALS),
            format_func=TOTALS.get,
            default="feature",
            required=True,
            key="totals by",
            label_visibility="collapsed",
        )
    chart(
        prediction_figure(
            shown.explanation,
            0,
            output,
            by=by,
            units=shown.subject.units,
            theme=frame.theme(),
            titled=False,
        ),
        key=f"totals {shown.key} {output} {by}",
        alt=f"Steps from the baseline's prediction to the prediction of {output}",
    )
