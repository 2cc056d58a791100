"""Prediction against baseline prediction, and which values of the sequence made the difference."""

import streamlit as st

from explain_core.figures import attribution_figure, cell_detail, click_detail, prediction_figure
from explain_core.models.hints import ASSUMED, EXPORT_HINT
from explain_core.words import number, signed
from ui import frame
from ui.downloads import offer_downloads
from ui.errors import code_in, plain
from ui.in_words import Shown, headline, share, strongest
from ui.parts import chart

EXPORT_CODE = "import torch\n\n" + code_in(EXPORT_HINT)
TOTALS = {"feature": "By feature", "time": "By timestep"}


def draw() -> None:
    choice = frame.choice()
    if choice.subject is not None:
        st.title(plain(choice.subject.title))
        st.caption(plain(choice.subject.sequence))
    else:
        st.title("Explain your own model")
        if choice == frame.Choice():
            draw_welcome()
    if shown := frame.explanation():
        output = frame.choose_output(shown)
        draw_numbers(shown, output)
        draw_chart(shown, output)
        draw_totals(shown, output)


def draw_welcome() -> None:
    st.markdown(
        "Give a model and a sequence in the sidebar. PairLift says how much each value of the sequence moved "
        "the model's prediction, and the parts add up to the whole.\n\n"
        "**Model.** PyTorch: `.pt2` from `torch.export`, TorchScript, or the weights of a plain stack (embedding, "
        "LSTM, GRU or RNN layers, Linear layers) from `torch.save` or as `.safetensors`. Keras: `.keras`, `.h5` or a "
        "SavedModel, of Keras's own layers.\n\n"
        "**Sequence.** CSV, TSV, Parquet or JSON with one row per timestep; several sequences have a column "
        "`sequence` with their names. Or NumPy's `.npy` and `.npz`. For a model of words plain text, with the "
        "model's vocabulary."
    )
    with st.expander("How do I make a .pt2 file?", icon=":material/code:"):
        st.code(EXPORT_CODE, language="python")


def draw_numbers(shown: Shown, output: str) -> None:
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


frame.page(draw)
