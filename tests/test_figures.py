"""Figures show the numbers of the explanation, on axes that line up. Looks are judged by eye, not here."""

import numpy as np
import pandas as pd
import pytest

from explain_core import figures
from explain_core.backends.protocol import GateTrace
from explain_core.errors import InputError, TargetError
from explain_core.explanation.build import LabelledInput, build_explanation
from explain_core.figures.comparison import comparison_figure
from explain_core.figures.style import THEMES, others
from explain_core.figures.time_axis import MAX_CELLS, columns_of, time_axis

DAYS = pd.date_range("2024-01-01", periods=3, freq="D")


def explanation(
    attributions, *, values=None, baseline=None, dims=("time", "feature"), off=0.0, K=1, base=10.0, **labels
):
    """One input; ``attributions`` (sample, ...) are the same for each of K outputs times k + 1."""
    attributions = np.asarray(attributions, float)
    values = np.arange(attributions.size, dtype=float).reshape(attributions.shape) if values is None else values
    gates = labels.pop("gates", None)
    item = LabelledInput(
        "x",
        np.asarray(values),
        np.zeros_like(values) if baseline is None else np.asarray(baseline),
        np.stack([attributions * (k + 1) for k in range(K)]),
        dims,
        labels.pop("coords", {}),
        **labels,
    )
    base = np.full((len(attributions), K), base)
    total = np.stack([attributions.reshape(len(attributions), -1).sum(1) * (k + 1) for k in range(K)], axis=1)
    names = ["load"] if K == 1 else [f"class {k}" for k in range(K)]
    return build_explanation([item], base + total + off, base, output_labels=names, keep_output=K > 1, gates=gates)


def small(**labels):
    """Two samples of 3 days x 2 features of size 10; sample 0 has 1, -3, 2 by day and 2, -2 by feature."""
    cells = [[[3.0, -2.0], [-2.0, -1.0], [1.0, 1.0]]]
    coords = {"time": DAYS, "feature": ["Wind", "Sun"]}
    return explanation(np.concatenate([cells, np.multiply(cells, -1)]), coords=coords, **labels)


def random(T, F, N=1, **labels):
    return explanation(np.random.default_rng(0).normal(size=(N, T, F)), **labels)


def with_gates(T=6, H=4, N=2, K=1, **labels):
    rng = np.random.default_rng(1)
    contribution, carry = rng.normal(size=(K, N, T, 3, H)), rng.normal(size=(K, N, T, H))
    trace = GateTrace(
        kind="GRU",
        gates=("reset", "update", "new"),
        contribution=contribution,
        carry=carry,
        mass=contribution.sum((3, 4)) + carry.sum(3),
        activation=rng.uniform(size=(2, N, T, 3, H)),
        state=rng.normal(size=(2, N, T, H)),
    )
    return random(T, 2, N, K=K, gates={"gru": trace}, **labels)


def one(figure, kind):
    (trace,) = [trace for trace in figure.data if trace.type == kind]
    return trace


def bars(figure):
    """(per timestep, per feature) of a sequence figure."""
    down, across = [trace for trace in figure.data if trace.type == "bar"]
    return (down, across) if down.orientation != "h" else (across, down)


def with_mode(figure, mode):
    return [trace for trace in figure.data if trace.type.startswith("scatter") and trace.mode == mode]


def click_points(figure):
    (trace,) = with_mode(figure, "markers")
    return trace


def headings(figure):
    return [annotation.text for annotation in figure.layout.annotations]


# Sequences


def test_sequence_shows_cells_and_totals():
    figure = figures.attribution_figure(small())
    heatmap = one(figure, "heatmap")
    np.testing.assert_array_equal(heatmap.z, [[3, -2, 1], [-2, -1, 1]])
    per_step, per_feature = bars(figure)
    np.testing.assert_array_equal(per_step.y, [1, -3, 2])
    np.testing.assert_array_equal(per_feature.x, [2, -2])
    np.testing.assert_array_equal(per_feature.y, heatmap.y)
    assert "from 10 to 10 " in figure.layout.title.text + " "
    assert figure.layout.title.subtitle.text == "Sample 0 · adds up exactly"
    assert list(figure.layout.yaxis3.ticktext) == ["Wind", "Sun"]


def test_second_sample_and_output():
    figure = figures.attribution_figure(small(K=2), sample=1, output="class 1")
    np.testing.assert_array_equal(one(figure, "heatmap").z, [[-6, 4, -2], [4, 2, -2]])


def test_time_axes_line_up():
    figure = figures.attribution_figure(small())
    assert one(figure, "heatmap").xaxis == "x3"
    assert figure.layout.xaxis.matches == figure.layout.xaxis2.matches == "x3"
    assert figure.layout.xaxis.domain == figure.layout.xaxis2.domain == figure.layout.xaxis3.domain
    assert figure.layout.yaxis3.domain == figure.layout.yaxis4.domain
    assert figure.layout.yaxis3.range == figure.layout.yaxis4.range
    per_step, _ = bars(figure)
    np.testing.assert_array_equal(per_step.x, one(figure, "heatmap").x)
    milliseconds = DAYS.values.astype("datetime64[ms]").astype(np.int64)
    np.testing.assert_array_equal(figure.data[0].x, milliseconds)
    assert figure.layout.xaxis3.type == "date"
    assert figure.layout.xaxis3.range[0] == "2023-12-31T12:00:00.000"


@pytest.mark.parametrize("theme", list(THEMES))
def test_colours_are_centred_on_zero(theme):
    axis = figures.attribution_figure(small(), theme=theme).layout.coloraxis
    assert (axis.cmin, axis.cmid, axis.cmax) == (-3, 0, 3)
    assert axis.colorscale[2] == (0.5, THEMES[theme].scale[2][1])
    assert figures.attribution_figure(small(), zmax=8.0).layout.coloraxis.cmax == 8
    nothing = figures.attribution_figure(explanation(np.zeros((1, 3, 2)))).layout.coloraxis
    assert (nothing.cmin, nothing.cmax) == (-1, 1)


def test_hover_and_click_say_the_same():
    ex = small(baseline=np.full((2, 3, 2), 0.5))
    points = click_points(figures.attribution_figure(ex, sample=1, units={"Sun": "h"}))
    # Sample 1, day 2, feature 1: attribution 1, input 6 + 2 * 1 + 1 = 9, size 10.
    np.testing.assert_allclose(points.customdata[3], [1, 1, 1, 1, 9, 0.5, 0.1], rtol=1e-6)
    assert points.text[3] == "Sun (h), 2024-01-02"
    detail = figures.click_detail(ex, 1, 0, points.customdata[3])
    assert detail == figures.cell_detail(ex, 1, 0, time=1, feature="Sun")
    assert detail == figures.cell_detail(ex, 1, 0, time="2024-01-02", feature=1)
    assert detail == {
        "input_name": "x",
        "time": "2024-01-02",
        "feature": "Sun",
        "attribution": 1.0,
        "input": 9.0,
        "baseline": 0.5,
        "share": 0.1,
        "token": None,
    }
    as_streamlit_gives_it = {str(i): number for i, number in enumerate(points.customdata[3].tolist())}
    assert figures.click_detail(ex, 1, 0, as_streamlit_gives_it) == detail


def test_click_on_totals():
    ex = small()
    per_step, per_feature = bars(figures.attribution_figure(ex))
    step = figures.click_detail(ex, 0, 0, per_step.customdata[1])
    assert (step["time"], step["feature"], step["attribution"], step["share"]) == ("2024-01-02", "", -3, -0.3)
    feature = figures.click_detail(ex, 0, 0, per_feature.customdata[1])
    assert (feature["time"], feature["attribution"]) == ("2024-01-01 to 2024-01-03", -2)
    assert (feature["feature"], feature["input"]) == ("Sun", 3)


@pytest.mark.parametrize(
    "where",
    [{"time": 3}, {"time": (0, 3)}, {"time": (2, 1)}, {"feature": "Rain"}, {"input": "y"}, {"sample": 2}],
)
def test_cell_that_is_not_there(where):
    with pytest.raises(InputError):
        figures.cell_detail(small(), **where)


def test_steps_can_be_chosen():
    figure = figures.attribution_figure(small(), steps=(1, 2))
    np.testing.assert_array_equal(one(figure, "heatmap").z, [[-2, 1], [-1, 1]])
    np.testing.assert_array_equal(bars(figure)[1].x, [-1, 0])
    np.testing.assert_array_equal(click_points(figure).customdata[0, :3], [0, 1, 1])
    with pytest.raises(InputError, match="2 to 3"):
        figures.attribution_figure(small(), steps=(2, 3))


def test_padding_is_left_out_unless_it_matters():
    cells = np.ones((2, 4, 1))
    cells[0, 2:] = 0
    ex = explanation(cells, lengths=[2, 2])
    assert one(figures.attribution_figure(ex, 0), "heatmap").z.shape == (1, 2)
    assert one(figures.attribution_figure(ex, 1), "heatmap").z.shape == (1, 4)


def test_series_of_like_ranges_keep_their_scale_and_others_are_scaled():
    alike = np.stack([np.linspace(0, 1, 5), np.linspace(0.2, 0.9, 5)], axis=-1)[None]
    figure = figures.attribution_figure(explanation(np.ones((1, 5, 2)), values=alike))
    np.testing.assert_allclose(figure.data[2].y, alike[0, :, 1], rtol=1e-6)
    apart = alike * [1, 1000]
    figure = figures.attribution_figure(explanation(np.ones((1, 5, 2)), values=apart, baseline=apart * 0 + 0.5))
    assert "Input, each feature scaled to its own range (dotted: baseline)" in headings(figure)
    lines = with_mode(figure, "lines+markers")
    assert [float(max(line.y)) for line in lines] == [1, 1]
    np.testing.assert_allclose(lines[1].customdata[:, 0], apart[0, :, 1])


def test_many_features_show_the_series_with_most_attribution():
    cells = np.full((1, 4, 30), 0.01)
    cells[..., [3, 7, 11, 15, 19, 28]] = -1
    figure = figures.attribution_figure(explanation(cells))
    names = [trace.name for trace in with_mode(figure, "lines+markers")]
    assert names == [f"feature {i}" for i in (3, 7, 11, 15, 19, 28)]


def test_long_sequences_are_summed_in_runs_that_keep_the_total():
    ex = random(5000, 50, coords={"time": pd.date_range("2024-01-01", periods=5000, freq="h")})
    figure = figures.attribution_figure(ex)
    z = one(figure, "heatmap").z
    assert z.size <= MAX_CELLS
    assert z.sum() == pytest.approx(float(ex.attributions.sum()), abs=1e-3)  # z is float32
    np.testing.assert_allclose(z[7, 0], ex.attributions[0, :13, 7].sum(), rtol=1e-6)
    assert "Attribution of each value, in runs of 13 timesteps" in headings(figure)
    assert len(figure.to_json()) < 4e6  # measured: 3.6e6
    detail = figures.click_detail(ex, 0, 0, click_points(figure).customdata[7])
    assert detail["attribution"] == pytest.approx(float(ex.attributions[0, :13, 7].sum()), rel=1e-12)
    assert detail["time"] == "2024-01-01 00:00 to 2024-01-01 12:00"


@pytest.mark.parametrize(("T", "F"), [(1, 1), (1, 5), (2, 1), (5, 3), (500, 1), (500, 50), (5, 120)])
def test_any_size_is_drawn(T, F):
    figure = figures.attribution_figure(random(T, F), theme="dark")
    assert figure.layout.height >= 150
    assert figure.to_json()


def test_names_are_text_not_markup():
    coords = {"feature": ["<b>bold</b>", "%{x} & more"], "time": DAYS}
    figure = figures.attribution_figure(explanation(np.ones((1, 3, 2)), coords=coords))
    assert list(figure.layout.yaxis3.ticktext) == ["&lt;b&gt;bold&lt;/b&gt;", "%{x} &amp; more"]
    assert "<b>bold" not in figure.to_json()
    assert all("%{x} &" not in (trace.hovertemplate or "") for trace in figure.data)


# Time axes


def test_uneven_dates_stand_side_by_side():
    labels = np.array(["2024-01-01", "2024-01-02", "2024-03-01"], "datetime64[D]")
    axis = time_axis(labels)
    np.testing.assert_array_equal(axis.positions, [0, 1, 2])
    assert axis.layout["ticktext"] == ["2024-01-01", "2024-01-02", "2024-03-01"]
    weekdays = np.array(["2024-01-05", "2024-01-08", "2024-01-09"], "datetime64[D]")
    assert time_axis(weekdays).layout["type"] == "date"


def test_numbers_keep_their_scale():
    axis = time_axis(np.array([0.5, 1.0, 1.5]))
    assert axis.layout["range"] == [0.25, 1.75]
    assert time_axis(np.array(["a", "b"])).layout["ticktext"] == ["a", "b"]
    assert time_axis(np.array([3])).layout["ticktext"] == ["3"]


def test_steps_on_axes_have_commas_and_years_none():
    steps, years = np.arange(1, 2601), np.arange(1990, 2020)
    assert [time_axis(each).layout["tickformat"] for each in (steps, years)] == [",d", "d"]
    assert time_axis(years).texts[0] == "1990"
    some = time_axis(steps[1899:1950], of=steps)  # which by themselves might be years
    assert (some.texts[0], some.layout["tickformat"]) == ("1,900", ",d")


def test_columns_cover_every_step_once():
    columns = columns_of(time_axis(np.arange(7)), MAX_CELLS // 3)
    assert columns.steps == 3
    np.testing.assert_array_equal(columns.sums(np.arange(7.0)), [3, 12, 6])
    np.testing.assert_array_equal(columns.means(np.arange(7.0)), [1, 4, 6])
    np.testing.assert_array_equal(columns.positions, [1, 4, 6])
    assert columns.texts == ["0 to 2", "3 to 5", "6"]


# Tokens and tables


def test_tokens_in_reading_order():
    words = np.array([["not", "<bad>", *(["word"] * 12)]])
    ex = explanation(np.arange(14.0)[None], values=np.arange(14)[None] + 100, dims=("time",), tokens=words)
    figure = figures.attribution_figure(ex)
    heatmap = one(figure, "heatmap")
    assert heatmap.z.shape == (2, 12)
    assert list(heatmap.text[0, :3]) == ["not", "&lt;bad&gt;", "word"]
    np.testing.assert_array_equal(heatmap.z[1], [12, 13, *[np.nan] * 10])
    detail = figures.click_detail(ex, 0, 0, click_points(figure).customdata[1])
    assert (detail["token"], detail["input"], detail["attribution"]) == ("<bad>", 101, 1)
    assert figures.prediction_figure(ex).layout.yaxis.ticktext[1] == "word (13)"


def test_words_stand_under_the_heatmaps_of_several_methods():
    words = np.array([["the", "incomprehensibilities", "were", "<bad>"]])
    ex = explanation(np.arange(4.0)[None], values=np.arange(4)[None] + 100, dims=("time",), tokens=words)
    figure = comparison_figure({"pairlift": ex, "gradient_difference": ex})
    assert list(figure.layout.xaxis.ticktext) == ["the", "incomprehen…", "were", "&lt;bad&gt;"]
    assert figure.layout.xaxis.title.text == "Word"
    assert figure.layout.yaxis.visible is False


def test_token_ids_without_texts_and_long_token_sequences():
    ids = explanation(np.ones((1, 5)), values=np.arange(5)[None], dims=("time",))
    assert list(one(figures.attribution_figure(ids), "heatmap").text[0]) == ["0", "1", "2", "3", "4"]
    long = explanation(np.ones((1, 400)), values=np.arange(400)[None], dims=("time",))
    assert one(figures.attribution_figure(long), "heatmap").z.shape == (1, 400)


def test_table_rows_as_bars_with_the_small_ones_together():
    amounts = np.array([[*range(1, 36)]], float) * np.where(np.arange(35) % 2, 1, -1)
    figure = figures.attribution_figure(explanation(amounts, dims=("feature",)))
    bar = one(figure, "bar")
    assert len(bar.x) == 31
    np.testing.assert_array_equal(bar.x[:3], [-35, 34, -33])
    assert bar.x[-1] == -1 + 2 - 3 + 4 - 5
    assert figure.layout.yaxis.ticktext[-1] == "5 others together"
    assert others(1) == "1 other"
    assert figure.layout.yaxis.ticktext[0] == "feature 34 = 34"


def test_states_with_other_axes():
    figure = figures.attribution_figure(explanation([[[1.0, -2.0]]], dims=("layer", "unit")))
    assert list(figure.layout.yaxis.ticktext) == ["layer 0, unit 1 = 1", "layer 0, unit 0 = 0"]


# Prediction


def test_waterfall_goes_from_baseline_to_prediction():
    amounts = [[5.0, -4, 3, -2, 1, 0.5]]
    figure = figures.prediction_figure(explanation(amounts, dims=("feature",)), most=3)
    trace = one(figure, "waterfall")
    np.testing.assert_array_equal(trace.x, [10, 5, -4, 3, -0.5, 13.5])
    assert list(trace.measure) == ["absolute", *["relative"] * 4, "total"]
    assert sum(trace.x[:-1]) == trace.x[-1]
    assert figure.layout.yaxis.ticktext[4] == "3 others together"


def test_waterfall_shows_what_is_not_explained():
    figure = figures.prediction_figure(explanation([[5.0, -4]], dims=("feature",), off=0.5))
    np.testing.assert_array_equal(one(figure, "waterfall").x, [10, 5, -4, 0.5, 11.5])
    assert figure.layout.yaxis.ticktext[3] == "Not explained"
    assert "does not add up" in figure.layout.title.subtitle.text


@pytest.mark.parametrize("base", [0.0, 3.0, -3.0, 100.0])
def test_waterfall_begins_at_zero_or_says_that_it_does_not(base):
    axis = figures.prediction_figure(explanation([[5.0, -4]], dims=("feature",), base=base)).layout.xaxis
    low, high = axis.range
    assert (low <= 0 <= high) == (base < 100)
    assert ("does not begin at 0" in axis.title.text) == (base == 100)
    assert low < base < high


def test_waterfall_by_time():
    figure = figures.prediction_figure(small(), by="time")
    np.testing.assert_array_equal(one(figure, "waterfall").x, [10, -3, 2, 1, 10])
    assert figure.layout.yaxis.ticktext[1] == "2024-01-02"
    with pytest.raises(InputError, match="'unit'"):
        figures.prediction_figure(small(), by="unit")


# Gates


def test_gate_bars_are_sums_over_units():
    ex = with_gates(K=2)
    gates = ex.gates["gru"]
    figure = figures.gate_figure(ex, "gru", sample=1, output="class 1")
    stacked = [trace for trace in figure.data if trace.type == "bar"]
    assert [trace.name for trace in stacked] == ["Reset gate", "Update gate", "New values"]
    np.testing.assert_allclose(stacked[2].y, gates["contribution"][1, 1, :, 2].sum("unit"), rtol=1e-6)
    lines = {trace.name: trace.y for trace in figure.data if trace.type == "scatter"}
    np.testing.assert_allclose(lines["Carried on"], gates["carry"][1, 1].sum("unit"), rtol=1e-6)
    total = sum(trace.y for trace in stacked) + lines["Carried on"]
    np.testing.assert_allclose(lines["Mass"], total, rtol=1e-4)
    assert figure.layout.barmode == "relative"
    assert "every step adds up" in figure.layout.title.subtitle.text


def test_gate_heatmaps_per_unit():
    ex = with_gates(H=60)
    contribution = ex.gates["gru"]["contribution"]
    figure = figures.gate_figure(ex, "gru", by="unit")
    assert [trace.z.shape for trace in figure.data] == [(48, 6)] * 3
    assert figure.layout.coloraxis.cmin == -figure.layout.coloraxis.cmax
    only = one(figures.gate_figure(ex, "gru", by="unit", gate="update"), "heatmap")
    size = abs(contribution[0, :, 1]).sum("time").values
    largest = np.sort(np.argsort(-size)[:48])
    np.testing.assert_allclose(only.z, contribution[0, :, 1].values.T[largest], rtol=1e-6)
    assert only.text[0][0].startswith(f"unit {largest[0] + 1}, ")  # people count from 1


def test_gate_values_of_sample_and_baseline():
    ex = with_gates()
    activation = ex.gates["gru"]["activation"]
    figure = figures.gate_activation_figure(ex, "gru", sample=1)
    lines = [trace for trace in figure.data if trace.line.width]
    np.testing.assert_allclose(lines[0].y, activation[0, 1, :, 0].mean("unit"), rtol=1e-6)
    np.testing.assert_allclose(lines[1].y, activation[1, 1, :, 0].mean("unit"), rtol=1e-6)
    assert lines[1].line.dash == "dot"
    single = figures.gate_activation_figure(ex, "gru", unit=2)
    assert len(single.data) == 6
    np.testing.assert_allclose(single.data[0].y, activation[0, 0, :, 0, 2], rtol=1e-6)


def test_gates_of_long_sequences_stay_small():
    ex = with_gates(T=5000, H=64, N=1)
    for figure in (
        figures.gate_figure(ex, "gru"),
        figures.gate_figure(ex, "gru", by="unit"),
        figures.gate_activation_figure(ex, "gru"),
    ):
        assert len(figure.to_json()) < 1.5e6
    stacked = figures.gate_figure(ex, "gru").data[0]
    assert stacked.y.sum() == pytest.approx(float(ex.gates["gru"]["contribution"][..., 0, :].sum()), abs=1e-2)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"layer": "lstm"}, InputError),
        ({"layer": "gru", "by": "time"}, InputError),
        ({"layer": "gru", "by": "unit", "gate": "forget"}, InputError),
        ({"layer": "gru", "sample": 9}, InputError),
        ({"layer": "gru", "output": "wind"}, TargetError),
        ({"layer": "gru", "theme": "sepia"}, InputError),
    ],
)
def test_gates_that_are_not_there(arguments, error):
    with pytest.raises(error):
        figures.gate_figure(with_gates(), **arguments)


# All


@pytest.mark.parametrize("theme", list(THEMES))
@pytest.mark.parametrize(
    "draw",
    [
        lambda **how: figures.attribution_figure(small(), **how),
        lambda **how: figures.attribution_figure(explanation([[1.0, 2.0]], dims=("feature",)), **how),
        lambda **how: figures.prediction_figure(small(), **how),
        lambda **how: figures.gate_figure(with_gates(), "gru", **how),
        lambda **how: figures.gate_figure(with_gates(), "gru", by="unit", **how),
        lambda **how: figures.gate_activation_figure(with_gates(), "gru", **how),
    ],
)
def test_themes_and_titles(draw, theme):
    figure = draw(theme=theme)
    assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0,0,0,0)"
    assert figure.layout.font.color == THEMES[theme].text
    assert figure.layout.title.text
    assert draw(theme=theme, titled=False).layout.title.text == ""
