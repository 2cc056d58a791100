"""What can be taken away of a result: every file opens again, and says what it is."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from PIL import Image
from test_figures import DAYS, explanation, small

from explain_core.errors import ExplanationFileError
from explain_core.explanation import Explanation
from explain_core.explanation.build import LabelledInput, build_explanation
from explain_core.jobs.tasks.explaining import Request
from explain_core.jobs.tasks.opening import ModelSource
from explain_core.jobs.tasks.reopening import explanation_of_upload
from explain_core.pictures import boxed_letters, picture
from explain_core.report import asked_in
from explain_core.stage import scene_of
from ui.baselines import Baseline
from ui.downloads import netcdf_bytes, parquet_bytes, picture_bytes, report_bytes
from ui.in_words import Shown, words_of
from ui.looked_at import Looked
from ui.parts import file_name, titled
from ui.reopened import put_away, shown_again
from ui.subjects import Subject, asked_of

HOSTILE = "</script><img src=x onerror=alert(1)>"


def shown_of(ex: Explanation | None = None, **changes) -> Shown:
    ex = small().sel(sample=[0]) if ex is None else ex
    told = {"units": {"Wind": "m/s"}, "output_unit": "kW", "observed": 12.5, "time_label": "Date"} | changes
    inputs = ex.inputs if not isinstance(ex.inputs, dict) else dict(ex.inputs)
    subject = Subject("Load of a town", "one day", ModelSource(Path("load.pt2")), inputs, **told)
    return Shown(subject, Baseline("Average", "an average day", "mean"), ex, "key")


def test_a_report_has_the_output_that_is_looked_at_first(tmp_path):
    ex = explanation(np.ones((1, 3, 2)), K=3, coords={"time": DAYS, "feature": ["a", HOSTILE]})
    shown = shown_of(ex)
    request = Request(shown.subject.model, shown.subject.inputs, "mean", None, output_names=("a", "b"))
    html = report_bytes(replace(shown, asked=asked_of(request)), "class 1").decode()
    assert html.index('"output": "class 1"') < html.index('"output": "class 0"')
    assert HOSTILE not in html
    (tmp_path / "report.html").write_text(html, encoding="utf-8")
    asked = asked_in(tmp_path / "report.html")
    assert asked.baselines == "mean"
    np.testing.assert_array_equal(asked.inputs.values, ex.inputs.values)


def test_a_report_of_a_result_without_a_model_has_no_lines():
    html = report_bytes(shown_of(), "load").decode()
    assert "Get the same numbers again" not in html
    assert "12.5" in html


def looked_of(said, shown=None):
    shown = shown or shown_of(explanation(np.arange(1.0, 7).reshape(1, 3, 2), coords={"time": DAYS}))
    words = words_of(shown, shown.explanation.outputs[0])
    return Looked.told(scene_of(shown.explanation, words=words), said)


def test_pictures_are_of_what_is_looked_at():
    zoomed = looked_of({"first": 1, "last": 2, "contrast": "robust", "groups": [], "unfolded": True})
    assert zoomed.scene.contrast.kind == "robust"
    text = "".join(ElementTree.fromstring(picture_bytes(zoomed, "svg", "dark")).itertext())
    assert "Load of a town" in text
    assert "Shown here: +18 kW of +21 kW" in text.replace("\N{NO-BREAK SPACE}", " ")  # 3 + 4 + 5 + 6
    light, dark = (
        Image.open(io.BytesIO(picture_bytes(zoomed, "png", theme))).getpixel((0, 0)) for theme in ("light", "dark")
    )
    assert light[:3] == (255, 255, 255)
    assert max(dark[:3]) < 50


@pytest.mark.parametrize(
    "said",
    [
        True,
        None,
        {"first": 0, "last": 2},
        {"first": "0", "last": [1]},
        {"first": -1, "last": 1, "contrast": {}},
        {"groups": [{}], "unfolded": 1, "contrast": "none"},
        {"groups": HOSTILE, "first": True, "last": 2},
    ],
)
def test_what_no_browser_says_is_all_of_it(said):
    looked = looked_of(said)
    assert looked == Looked(looked.scene)
    assert looked.scene.contrast == looked_of(None).scene.contrast


def test_letters_that_no_font_has_are_named():
    letter = "\U00010600"  # of Linear A
    shown = shown_of(explanation(np.ones((1, 3, 2)), coords={"time": DAYS, "feature": [f"{letter}1 荷", "Söñ −3"]}))
    figure = looked_of(None, shown).figure("light")
    assert boxed_letters(figure)[0] == letter
    assert set(boxed_letters(figure)) <= {letter, "荷"}
    assert picture(figure, "png")[:4] == b"\x89PNG"  # without a warning
    assert f"{letter}1 荷" in picture(figure, "svg").decode()


def test_parquet_has_the_table():
    ex = small()
    table, own = pd.read_parquet(io.BytesIO(parquet_bytes(ex.to_dataframe()))), ex.to_dataframe()
    pd.testing.assert_frame_equal(table, own, check_dtype=False)


def test_parquet_takes_inputs_whose_labels_are_of_different_kinds():
    values = np.ones((1, 3))
    items = [
        LabelledInput("days", values, values, values[None], ("time",), {"time": DAYS}),
        LabelledInput("places", values, values, values[None], ("time",), {"time": ["a", "b", "c"]}),
    ]
    ex = build_explanation(items, np.full((1, 1), 6.0), np.zeros((1, 1)), output_labels=["y"], keep_output=False)
    table = pd.read_parquet(io.BytesIO(parquet_bytes(ex.to_dataframe())))
    assert table["attribution"].sum() == 6
    assert table["time"].tolist()[3:] == ["a", "b", "c"]


def test_a_file_shows_itself_again(tmp_path):
    shown = shown_of()
    file = tmp_path / "load.nc"
    file.write_bytes(netcdf_bytes(put_away(shown)))
    again = shown_again(explanation_of_upload(lambda *_: None, file), file.name)
    assert again.baseline.words == "an average day"
    for name in ("title", "sequence", "units", "output_unit", "observed", "time_label"):
        assert getattr(again.subject, name) == getattr(shown.subject, name), name
    np.testing.assert_array_equal(again.explanation.attributions, shown.explanation.attributions)
    assert again.subject.model.path.name == "load.pt2"
    assert again.key == shown_again(again.explanation, file.name).key != "key"


def test_a_file_of_the_library_is_shown_by_its_name():
    again = shown_again(small(), "mine.nc")
    assert again.subject.title == "mine.nc"
    assert again.baseline.words == "the baseline"


@pytest.mark.parametrize(
    "page", [3, [], {"title": 3, "units": ["a"], "observed": [1]}, {"title": "x" * 9999, "units": {"a": 3}}]
)
def test_words_of_a_file_are_words_or_nothing(page):
    ex = small()
    ex.attrs["page"] = page
    subject = shown_again(ex, "mine.nc").subject
    assert len(subject.title) <= 300
    assert subject.units == {}
    assert subject.observed is None


@pytest.mark.parametrize("name", ["/etc/passwd", "../app.py", "app.py", "..", ""])
def test_a_file_names_no_model_of_this_machine(name):
    ex = small()
    ex.attrs["page"] = {"model": name}
    assert not shown_again(ex, "mine.nc").subject.model.path.exists()


def test_other_files_are_no_results(tmp_path):
    file = tmp_path / "mine.nc"
    file.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(ExplanationFileError):
        explanation_of_upload(lambda *_: None, file)


def test_names_of_files_are_letters():
    assert file_name("Load, 5 °C / day", "../x") == "load-5-c-day-x"
    assert file_name("///") == "result"
    assert len(file_name("a" * 200)) == 80


def test_a_picture_of_a_chart_has_a_title():
    figure = go.Figure(layout={"height": 300, "margin": {"t": 28}})
    whole = titled(figure, "What <b>moved</b> it")
    assert whole.layout.title.text == "What &lt;b&gt;moved&lt;/b&gt; it"
    assert whole.layout.height > 300
    assert figure.layout.title.text is None
    assert titled(whole, "Other") is whole


def test_several_inputs_show_themselves_again():
    one = small()
    ex = replace(one, **{name: {"x": getattr(one, name)} for name in ("attributions", "inputs", "baselines")})
    assert shown_again(ex, "mine.nc").subject.series.name == "x"
