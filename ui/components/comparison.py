"""Methods side by side: their table, what relevance propagation absorbs, heatmaps, curves, files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from explain_core.diagnostics import comparison
from explain_core.diagnostics.comparison import Comparison
from explain_core.figures.comparison import comparison_figure, curves_figure
from explain_core.figures.in_words import curves_said, sums_said
from explain_core.jobs.tasks.explaining import Request
from explain_core.methods.registry import METHODS, Cost
from explain_core.rules.relevance import BIASES, SLOPES, STABILIZER
from explain_core.words import percent, signed
from ui import frame
from ui.errors import plain
from ui.in_words import Shown
from ui.parts import chart, csv_button, readable
from ui.progressive import gather
from ui.session import Outcome
from ui.subjects import request_key

ABSORBED_BY = {
    BIASES: "are kept by biases and other constants",
    STABILIZER: "by the ε that holds sums near zero",
    SLOPES: "by functions that are taken by their slope",
}


def choose_methods(request: Request) -> list[str]:
    """Ask which methods; PairLift is always the first."""
    framework = request.model.framework
    others = [name for name, method in METHODS.items() if name != "pairlift" and framework in method.frameworks]
    usual = [name for name in comparison.DEFAULT if name in others]

    def words(name: str) -> str:
        return METHODS[name].name + (" (slow)" if METHODS[name].cost is Cost.HIGH else "")

    chosen = st.multiselect("Methods", others, default=usual, format_func=words, key=f"methods {framework}")
    with st.expander("What the methods do", icon=":material/menu_book:"):
        lines = [f"- **{METHODS[name].name}.** {METHODS[name].words}" for name in ("pairlift", *others)]
        st.markdown("\n".join(lines))
    return ["pairlift", *(name for name in others if name in chosen)]


def run_each(
    kind: str, request: Request, methods: Sequence[str], task: Callable[..., Any]
) -> tuple[dict[str, Outcome], Outcome | None]:
    """Run ``task`` with each method; see `ui.progressive.gather`."""
    key = request_key(request)
    return gather(
        kind,
        key,
        methods,
        lambda method: frame.session().outcome((kind, key, method), request.model, task, request, method),
    )


def draw_table(compared: Comparison) -> None:
    """A row for each method, and what there is to know of it."""
    if not compared.results:
        return
    table = compared.table
    in_words = pd.DataFrame(
        {
            "Method": table["name"],
            "Adds up": table["adds_up"].map({True: "yes", False: "no"}).fillna("no result"),
            "Off by": table["relative_error"].map(percent, na_action="ignore").fillna(""),
            "Agrees": table["agreement"].map(two_digits),
            "Deletion": table["deletion"].map(two_digits),
            "Insertion": table["insertion"].map(two_digits),
            "Seconds": table["seconds"].map(two_digits),
        }
    )
    st.dataframe(
        in_words,
        hide_index=True,
        key="methods table",
        width="stretch",
        column_config={
            "Agrees": st.column_config.TextColumn(
                help="With PairLift's order of all values: 1 is the same, 0 no relation."
            ),
            "Off by": st.column_config.TextColumn(
                width=100, help="What is missing or too much, of the difference to be shared out."
            ),
            "Method": st.column_config.TextColumn(width="medium"),
        },
    )
    st.caption(
        "Low deletion and high insertion areas mean that the timesteps a method calls important are those that move "
        "the prediction. Agreement of 1 means the same order of all values as PairLift's."
    )
    by_note: dict[str, list[str]] = {}
    for result in compared.results:
        notes = result.explanation.notes if result.explanation is not None else [result.message]
        for note in dict.fromkeys(notes):
            by_note.setdefault(note, []).append(result.name)
    for note, names in by_note.items():
        of = "" if len(names) == len(compared.results) else f"{', '.join(names)}: "  # what holds for all needs no name
        st.caption(f":material/info: {plain(of + note)}")


def draw_absorbed(compared: Comparison, shown: Shown) -> None:
    """Beside the sum of relevance propagation, what it lost on the way."""
    found = compared.explanations.get("lrp")
    if found is None:
        return
    prediction = float(found.prediction[0, 0])
    absorbed = compared.absorbed
    parts = absorbed.groupby("absorbed_by")["value"].sum()
    lost = [f"**{signed(value, shown.unit)}** {ABSORBED_BY[by]}" for by, value in parts.items()]
    left = prediction - absorbed["value"].sum()
    st.markdown(
        f"Relevance propagation shares out the prediction of **{signed(prediction, shown.unit)}** itself: "
        f"**{signed(left, shown.unit)}** reach the inputs" + "".join(f", {words}" for words in lost) + "."
    )
    with st.expander("Where it is absorbed", icon=":material/filter_alt:"):
        table = absorbed.pivot_table(index="layer", columns="absorbed_by", values="value", sort=False)
        st.dataframe(table.rename_axis("Layer"), key="methods absorbed")


def two_digits(value: float) -> str:
    """With two digits behind the point; empty where there is none."""
    return "" if np.isnan(value) else f"{value:,.2f}"


def draw_heatmaps(compared: Comparison, shown: Shown) -> None:
    """Attributions of all methods on one scale."""
    st.subheader("The same sequence, explained by each method")
    st.markdown(
        "One colour scale for all: orange raises, blue lowers. Look for places where a picture differs from "
        "PairLift's, and for methods that do not add up."
    )
    names = "-".join(compared.explanations)
    figure = comparison_figure(compared.explanations, theme=frame.theme())
    words = readable(figure)
    chart(
        figure,
        key=f"methods heatmaps {shown.key} {names}",
        alt="Attributions of each method on the same sequence",
        says=sums_said(compared.explanations),
    )
    if words:
        st.caption(words)


def draw_curves(compared: Comparison, shown: Shown) -> None:
    """Deletion and insertion curves."""
    st.subheader("Does the model agree with the order?")
    st.markdown(
        "Timesteps are taken out of the sequence (left) or put into the baseline (right), those that matter most to a "
        "method first. The better the order, the earlier the left curve falls and the right one rises. This judges the "
        "order only, not whether the shares add up."
    )
    chart(
        curves_figure(compared.curves, theme=frame.theme()),
        key=f"methods curves {shown.key} {len(compared.results)}",
        alt="Deletion and insertion curves of each method",
        says=curves_said(compared.table),
    )


def offer_tables(tables: dict[str, pd.DataFrame]) -> None:
    """Everything on the page as files."""
    if not tables:
        return
    titles = {
        "methods": "Methods",
        "methods_attributions": "Attributions side by side",
        "methods_agreement": "Agreement of every two methods",
        "methods_absorbed": "What relevance propagation loses",
        "methods_curves": "Deletion and insertion curves",
        "horizon": "Horizon curve",
    }
    with st.popover("Download", icon=":material/download:"):
        for name, table in tables.items():
            csv_button(table, name.replace("_", "-"), f"{titles[name]} (CSV)", width="stretch")
        st.caption("They are also part of the explanation's own file (NetCDF).")
