"""The result as files, each made when it is asked for."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import streamlit as st

from explain_core.errors import RunError
from explain_core.explanation import Explanation
from explain_core.pictures import FORMATS, picture
from explain_core.report import Facts, data_fingerprint, report_html, versions
from ui import frame
from ui.csv_file import csv_bytes
from ui.errors import plain
from ui.in_words import Shown, words_of
from ui.looked_at import Looked
from ui.parts import file_name, say_boxes, switch
from ui.reopened import put_away
from ui.subjects import file_digest

_MOST_OUTPUTS = 12  # of a report, each with its numbers


@st.dialog("Take away", icon=":material/download:")
def take_away(shown: Shown, output: str, looked: Looked) -> None:
    """Everything that can be taken away of a result; pictures are of what is looked at, of the ``output``."""
    name = file_name(shown.subject.title, shown.subject.sequence)
    of = f"{name}-{file_name(output)}" if shown.has_several else name
    in_picture = f"{of}-{file_name(looked.scene.input)}" if len(looked.scene.inputs) > 1 else of
    model = _model_sha256(shown)
    _button(
        "Report (HTML)",
        lambda: report_bytes(shown, output, model, looked.scene.input),
        f"{of}-report.html",
        "text/html",
        "article",
    )
    with st.container(horizontal=True):
        page = st.session_state.get("picture page", "light")  # of the switch below
        for format, mime in FORMATS.items():
            _button(
                f"Picture ({format.upper()})",
                lambda format=format: picture_bytes(looked, format, page),
                f"{in_picture}.{format}",
                mime,
                "image",
            )
    switch("Page of the pictures", {"light": "On a light page", "dark": "On a dark page"}, "picture page")
    say_boxes(looked.figure(page))
    with st.container(horizontal=True):
        table, parquet = shown.explanation.to_dataframe, "application/vnd.apache.parquet"
        _button("Table (CSV)", lambda: csv_bytes(table()), f"{name}.csv", "text/csv", "table")
        _button("Table (Parquet)", lambda: parquet_bytes(table()), f"{name}.parquet", parquet, "table")
    _button(
        "Everything (NetCDF)",
        lambda: netcdf_bytes(put_away(shown)),
        f"{name}.nc",
        "application/x-netcdf",
        "deployed_code",
    )
    st.caption(
        f"Pictures are of {_in_view(looked)}. The report, tables and NetCDF are of all. "
        "The report works without a network, and says how to get the same numbers again. NetCDF opens again here, "
        "under **Kept runs**, and with `Explanation.load`."
    )


def report_bytes(shown: Shown, output: str, model_sha256: str = "", input: str | None = None) -> bytes:
    """The report: the output and input that are looked at, and after them others as far as there is room."""
    explanation, subject = shown.explanation, shown.subject
    outputs = list(dict.fromkeys([output, *explanation.outputs]))[:_MOST_OUTPUTS]
    facts = Facts(
        words={each: words_of(shown, each) for each in outputs},
        units=subject.units,
        model=subject.model.path.name,
        architecture=subject.model.architecture,
        code="" if subject.model.code is None else subject.model.code.name,
        model_sha256=model_sha256,
        data_sha256=data_fingerprint(explanation),
        made=f"{datetime.now(UTC):%d %B %Y, %H:%M} UTC".lstrip("0"),
        versions=versions(explanation),
        asked=shown.asked,
    )
    return report_html(explanation, facts, input=input).encode("utf-8", "replace")


def _model_sha256(shown: Shown) -> str:
    """The fingerprint of the model's file, which for a kept run was written down; empty where nobody knows it."""
    path = shown.subject.model.path
    if path.is_absolute() and (found := file_digest(path)):  # of a kept run it is a name, and no file of this server
        return found
    try:
        return frame.session().runs.run(shown.run).about.model_digest if shown.run else ""
    except RunError:
        return ""


def picture_bytes(looked: Looked, format: str, theme: str = "light") -> bytes:
    """The stage as it is looked at, on a page of the theme."""
    return picture(looked.figure(theme), format, theme=theme)


def _in_view(looked: Looked) -> str:
    """What a picture shows of all there is."""
    scene, T = looked.scene, len(looked.scene.attribution)
    what = plain(scene.input) if len(scene.inputs) > 1 else ""
    if looked.view is None:
        return f"{what} as you look at it" if what else "what you look at"
    first, last = looked.view
    return f"{f'{what}, ' if what else ''}timesteps {first + 1:,} to {last + 1:,} of {T:,}"


def parquet_bytes(table: pd.DataFrame) -> bytes:
    """A table as Parquet; labels of several inputs, which may be of different kinds, are text there."""
    data, table = io.BytesIO(), table.copy(deep=False)
    for name in [name for name, kind in table.dtypes.items() if kind == "object"]:
        table[name] = table[name].map(str, na_action="ignore")
    table.to_parquet(data, engine="pyarrow", index=False)
    return data.getvalue()


def netcdf_bytes(explanation: Explanation) -> bytes:
    """Everything, bit for bit."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "explanation.nc"
        explanation.save(file)
        return file.read_bytes()


def _button(label: str, data: Callable[[], bytes], name: str, mime: str, icon: str) -> None:
    st.download_button(
        label,
        data=data,
        file_name=name,
        mime=mime,
        key=f"download {label}",
        icon=f":material/{icon}:",
        on_click="ignore",
        width="stretch",
    )
