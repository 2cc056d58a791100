"""Parts that pages are made of."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from ui.csv_file import csv_bytes


def chart(figure: go.Figure, key: str, alt: str, **options: Any) -> Any:
    """A chart in its own colours and without a toolbar; returns what was selected in it, where ``options`` ask."""
    return st.plotly_chart(figure, key=key, alt=alt, theme=None, config={"displayModeBar": False}, **options)


def csv_button(table: pd.DataFrame, name: str, label: str = "Table (CSV)", width: str = "content") -> None:
    """A button for a table as a file, made on the click. The page has one of a name."""
    st.download_button(
        label,
        data=lambda: csv_bytes(table),
        file_name=f"{name}.csv",
        mime="text/csv",
        key=f"download {name}",
        icon=":material/table:",
        on_click="ignore",
        width=width,
    )
