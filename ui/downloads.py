"""The result as files."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import streamlit as st

from explain_core.explanation import Explanation
from ui.csv_file import csv_bytes
from ui.in_words import Shown


def offer_downloads(shown: Shown) -> None:
    """Buttons for the whole result and for a table; files are made on the click."""
    name = re.sub(r"\W+", "-", f"{shown.subject.title} {shown.subject.sequence}").strip("-").lower()[:80]
    with st.popover("Download", icon=":material/download:"):
        st.download_button(
            "Table (CSV)",
            data=lambda: csv_bytes(shown.explanation.to_dataframe()),
            file_name=f"{name}.csv",
            mime="text/csv",
            key="download csv",
            icon=":material/table:",
            on_click="ignore",
            width="stretch",
        )
        st.download_button(
            "Everything (NetCDF)",
            data=lambda: _as_netcdf(shown.explanation),
            file_name=f"{name}.nc",
            mime="application/x-netcdf",
            key="download netcdf",
            icon=":material/deployed_code:",
            on_click="ignore",
            width="stretch",
        )
        st.caption("NetCDF opens again with `Explanation.load`, and in any NetCDF reader.")


def _as_netcdf(explanation: Explanation) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "explanation.nc"
        explanation.save(file)
        return file.read_bytes()
