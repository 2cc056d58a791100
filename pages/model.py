"""What the opened model is, and for a demo how well it does and where its data is from."""

import pandas as pd
import streamlit as st

from explain_core.demos import Demo
from explain_core.models import ModelSummary
from ui import frame
from ui.errors import plain, show
from ui.preview import draw_data

METRICS = {"RMSE": "Typical error (RMSE)", "accuracy": "Share of right answers (accuracy)"}


def draw() -> None:
    st.title("Model and data")
    choice = frame.choice()
    if choice.demo is not None:
        draw_demo(choice.demo)
    if choice.data is not None:
        if choice.error is not None:
            show(choice.error)
        draw_data(choice.data)
    nothing = choice.error is None and choice.waiting is None
    if choice.opening is None and (choice.data is not None or nothing):
        st.info("Give a model in the sidebar to see what is in it.", icon=":material/upload_file:")
    elif choice.opening is None:
        frame.explanation()
    elif choice.opening.value is None:
        frame.wait_or_say(choice.opening)
    else:
        draw_summary(choice.opening.value.summary)


def draw_demo(demo: Demo) -> None:
    st.markdown(f"**{plain(demo.title)}**  \n{plain(demo.description)}")
    metrics = demo.metrics
    st.subheader("How well it does")
    better = "lower" if metrics.lower_is_better else "higher"
    unit = f" in {metrics.unit}" if metrics.unit else ""
    st.markdown(
        f"{METRICS.get(metrics.name, metrics.name)}{unit}, {better} is better, on {metrics.n} sequences "
        f"that the model never saw ({plain(metrics.split)})."
    )
    rows = [("This model", f"{metrics.model:.3g}", "what is explained here")]
    rows += [(each.name.capitalize(), f"{each.value:.3g}", each.description) for each in metrics.references]
    table = pd.DataFrame(rows, columns=["Method", metrics.name, "What it is"])
    st.table(table.set_index("Method"), border="horizontal")
    st.caption(
        f"Data: {plain(demo.source)}. Licence: {plain(demo.licence)}. [Where it is from]({demo.url}). "
        f"{plain(demo.citation)}"
    )


def draw_summary(summary: ModelSummary) -> None:
    st.subheader("What is in the model")
    with st.container(horizontal=True):
        st.metric("Format", summary.format, border=True)
        st.metric("Parameters", f"{summary.parameters:,}", border=True)
        st.metric("Recurrent layers", len(summary.recurrent_layers), border=True)
    st.dataframe(
        pd.DataFrame(
            [(layer.name, layer.kind, layer.detail, layer.parameters) for layer in summary.layers],
            columns=["Layer", "Kind", "Sizes", "Parameters"],
        ),
        hide_index=True,
        key="layers",
        width="stretch",
    )
    takes = [f"`{spec.name}`: {spec.dtype}, {shape_in_words(spec.shape)}" for spec in summary.inputs]
    st.markdown("**It takes**\n\n" + "\n".join(f"- {line}" for line in takes))
    for note in (*summary.notes, *summary.assumptions):
        st.caption(f":material/info: {plain(note)}")


def shape_in_words(shape: tuple[int | None, ...] | None) -> str:
    if shape is None:
        return "of a shape that the file does not tell"
    names = ["samples", "timesteps", "features"] if len(shape) <= 3 else [f"axis {i + 1}" for i in range(len(shape))]
    return " × ".join(
        f"{'any number of' if size is None else size} {name}" for size, name in zip(shape, names, strict=False)
    )


draw()
