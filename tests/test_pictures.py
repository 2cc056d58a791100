"""Pictures without a browser show the numbers of their figures, and text in them is only text."""

from __future__ import annotations

import struct
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from test_explanation import large
from test_figures import DAYS, explanation, random, small, with_gates

from explain_core import figures
from explain_core.errors import InputError
from explain_core.explanation import Explanation
from explain_core.figures.style import THEMES
from explain_core.figures.time_axis import time_axis
from explain_core.pictures import picture
from explain_core.pictures.canvas import colour, drawing, edges
from explain_core.pictures.charts import draw_chart
from explain_core.stage import Words, scene_of, view
from explain_core.stage.still import still_figure

HOSTILE = "</text><script>alert(1)</script>$x_1$ & <b>"


def sheet_of(figure: go.Figure):
    """The figure as drawn: a matplotlib figure."""
    with drawing():
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        sheet = Figure((11, figure.layout.height / 100), dpi=100)
        FigureCanvasAgg(sheet)
        draw_chart(sheet, THEMES["light"], figure)
        return sheet


def bars(ax, *, across=True):
    """(from, to) of the bars of a panel."""
    ends = [(p.get_x(), p.get_x() + p.get_width()) for p in ax.patches]
    return np.array(ends if across else [(p.get_y(), p.get_y() + p.get_height()) for p in ax.patches])


def charts(ex: Explanation) -> dict[str, go.Figure]:
    return {
        "attribution": figures.attribution_figure(ex),
        "waterfall": figures.prediction_figure(ex),
        "gates": figures.gate_figure(ex, "gru"),
        "units": figures.gate_figure(ex, "gru", by="unit"),
        "activations": figures.gate_activation_figure(ex, "gru"),
        "stage": still_figure(scene_of(ex)),
    }


def test_matplotlib_is_loaded_only_to_draw():
    program = "import sys, explain_core.pictures; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("name", ["attribution", "waterfall", "gates", "units", "activations", "stage"])
def test_charts_are_pictures(name):
    figure = charts(with_gates(N=1))[name]
    png, svg = picture(figure, "png"), picture(figure, "svg")
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", png[16:24]) == (2200, 2 * int(figure.layout.height))
    tags = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(svg).iter()}
    assert {"svg", "text", "path"} <= tags
    assert "script" not in tags
    assert picture(figure, "svg") == svg


def test_a_waterfall_goes_from_the_baseline_to_the_prediction():
    (ax,) = sheet_of(figures.prediction_figure(small(), by="time")).axes
    np.testing.assert_allclose(bars(ax), [(0, 10), (10, 7), (7, 9), (9, 10), (0, 10)])
    assert ax.get_ylim() == (4.5, -0.5)  # the first on top
    assert next(text.get_text() for text in ax.get_yticklabels()) == "Baseline"


def test_stacked_bars_end_at_their_sums():
    ex = with_gates(N=1)
    ax = sheet_of(figures.gate_figure(ex, "gru")).axes[0]
    contribution = ex.gates["gru"]["contribution"].sum("unit").values[0]  # (time, gate)
    ends = bars(ax, across=False)
    assert ends.max() == pytest.approx(np.maximum(contribution, 0).sum(axis=1).max(), rel=1e-5)
    assert ends.min() == pytest.approx(np.minimum(contribution, 0).sum(axis=1).min(), rel=1e-5)


def test_the_stage_is_drawn_from_its_view():
    scene = scene_of(random(30, 20), words=Words(unit="kW"))
    seen = view(scene, 5, 24, 400)
    figure = still_figure(scene, 5, 24)
    cells = next(t for t in figure.data if t.type == "heatmap")
    totals = [t for t in figure.data if t.type == "bar"]
    np.testing.assert_array_equal(totals[0].y, seen.column_totals)
    np.testing.assert_array_equal(totals[1].x, seen.row_totals)
    limit = np.abs(seen.cells).max()
    np.testing.assert_allclose(cells.z, seen.cells / limit)  # noise is linear
    sheet = sheet_of(figure)
    drawn = [ax for ax in sheet.axes if ax.collections and ax.get_label().startswith("panel")][-1]
    np.testing.assert_allclose(drawn.collections[0].get_array(), cells.z)
    assert drawn.get_ylim() == (len(seen.rows) - 0.5, -0.5)
    said = " ".join(a.text for a in figure.layout.annotations)
    assert "Shown here" in said


def said_in(figure):
    return " ".join(each.text for each in figure.layout.annotations)


def test_a_picture_says_what_is_in_it_and_which_input_it_is_of():
    scene = scene_of(random(30, 4))
    for run, _ in scene.ranges:
        words = said_in(still_figure(scene, run.first, run.last))
        for other, text in scene.ranges:
            overlaps = other.first <= run.last and run.first <= other.last
            assert (text in words) == overlaps
    assert len({run.first for run, _ in scene.ranges}) > 1
    several = large()
    for name in several.input_names:
        assert name in still_figure(scene_of(several, input=name)).layout.title.text


@pytest.mark.parametrize("dims", [("feature",), ("time",)])
def test_a_stage_without_features_over_time(dims):
    tokens = np.array([["not", "very", HOSTILE]]) if dims == ("time",) else None
    scene = scene_of(explanation([[3.0, -2.0, 1.0]], values=np.array([[1, 2, 3]]), dims=dims, tokens=tokens))
    text = "".join(ElementTree.fromstring(picture(scene, "svg")).itertext())
    assert ("very" in text) == (tokens is not None)
    assert "+3" in text


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_names_are_only_text(theme):
    ex = explanation(np.ones((1, 3, 2)), coords={"time": DAYS, "feature": [HOSTILE, "$\\frac{"]})
    words = Words(title=HOSTILE, sequence=HOSTILE, headline=HOSTILE, unit="<i>")
    svg = picture(scene_of(ex, words=words), "svg", theme=theme)
    found = list(ElementTree.fromstring(svg).iter())
    assert not [element for element in found if element.tag.endswith("script")]
    text = "".join(ElementTree.fromstring(svg).itertext())
    assert HOSTILE in text
    assert "$\\frac{" in text


def test_dates_and_log_axes_stand_where_they_should():
    figure = go.Figure()
    figure.add_scatter(x=DAYS, y=[1e-3, 1.0, 10.0], mode="lines")
    figure.update_layout(height=300, yaxis={"type": "log", "range": [-4, 2]}, xaxis={"type": "date"})
    (ax,) = sheet_of(figure).axes
    np.testing.assert_allclose(ax.get_ylim(), (1e-4, 100))
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), DAYS.values.astype("datetime64[D]").astype(float))


@pytest.mark.parametrize(
    ("start", "step", "first", "second"),
    [("2014-06-03", "D", "5 Jun 2014", "9 Jun"), ("2014-07-02 09:00", "5min", "2 Jul 2014, 09:00", "09:15")],
)
def test_an_axis_of_dates_says_the_year_once(start, step, first, second):
    figure = go.Figure()
    figure.add_scatter(x=pd.date_range(start, periods=16, freq=step), y=np.arange(16.0))
    figure.update_layout(height=300, xaxis={"type": "date"})
    (ax,) = sheet_of(figure).axes
    locator = ax.xaxis.get_major_locator()
    texts = ax.xaxis.get_major_formatter().format_ticks(locator())
    assert texts[0] == first
    assert texts[1] == second
    assert sum("2014" in text for text in texts) == 1


def test_steps_are_written_with_commas_also_beyond_ten_thousand():
    figure = go.Figure()
    figure.add_scatter(x=np.arange(1, 20_001), y=np.ones(20_000))
    figure.update_layout(height=300, xaxis=time_axis(np.arange(1, 20_001)).layout)
    (ax,) = sheet_of(figure).axes
    texts = ax.xaxis.get_major_formatter().format_ticks(ax.xaxis.get_major_locator()())
    assert "12,000" in texts


def test_other_formats_are_refused():
    with pytest.raises(InputError, match="png, svg"):
        picture(go.Figure(), "gif")


def test_small_parts():
    assert colour("rgba(255,0,0,0.5)") == (1.0, 0.0, 0.0, 0.5)
    np.testing.assert_array_equal(edges(np.array([0.0, 1.0, 3.0])), [-0.5, 0.5, 2.0, 4.0])
