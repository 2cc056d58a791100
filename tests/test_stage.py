"""What the stage draws and says are the numbers of the explanation, at every zoom, fold and grouping."""

from __future__ import annotations

import base64
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_figures import DAYS, explanation, random, small

from explain_core.errors import InputError
from explain_core.explanation.build import LabelledInput, build_explanation
from explain_core.stage import Words, scene_of, view
from explain_core.stage.bundle import bundle, bundled
from explain_core.stage.contrast import chosen, contrasts_of, limit_of
from explain_core.stage.grouping import groups_of
from explain_core.stage.ranges import Range, strongest_ranges, where_it_matters
from explain_core.stage.sentences import amount_of, range_sentence
from explain_core.stage.when import in_words, step_texts

CELSIUS = Words(unit="°C", time_label="Date", baseline="an average day", headline="**+1**", title="Load")


def decoded(data, name):
    values = np.frombuffer(base64.b64decode(data[name]), "<f8")
    return values.reshape(data["steps"], len(data["features"]))


def test_a_scene_carries_the_explanation_as_json():
    ex = small(values=np.ones((2, 3, 2)), baseline=np.full((2, 3, 2), 0.5))
    data = json.loads(json.dumps(scene_of(ex, 1, units={"Wind": "m/s"}, words=CELSIUS).as_data(), allow_nan=False))
    np.testing.assert_array_equal(decoded(data, "attribution"), ex.attributions.values[1])
    np.testing.assert_array_equal(decoded(data, "value"), ex.inputs.values[1])
    np.testing.assert_array_equal(decoded(data, "baseline"), ex.baselines.values[1])
    assert data["features"][0] == {"name": "Wind", "unit": "m/s", "group": None}
    assert data["size"] == 10
    assert data["prediction"] == 10
    assert data["residual"] == {"words": "Adds up exactly", "fine": True}
    assert data["time"] == {
        "label": "Date",
        "texts": ["1 Jan 2024", "2 Jan 2024", "3 Jan 2024"],
        "positions": [day.timestamp() * 1000 for day in DAYS],
        "is_date": True,
    }


def test_steps_that_are_only_counted_are_no_dates():
    """Of an input without dates, beside one that has them."""
    scene = scene_of(explanation([[[1.0], [2.0], [0.0]]], dims=("time", "feature")), words=CELSIUS)
    assert scene.as_data()["time"]["label"] == "Timestep"
    assert scene.ranges[0][1].startswith("Timesteps 1 to 2: ")


def test_an_input_without_time_has_one_step():
    data = scene_of(explanation([[1.0, -2.0]], dims=("feature",)), words=CELSIUS).as_data()
    assert (data["steps"], data["time"]["label"], data["time"]["texts"]) == (1, "", [""])
    assert (
        data["ranges"][0]["text"] == "feature 2: −2\N{NO-BREAK SPACE}°C, more than the −1\N{NO-BREAK SPACE}°C in all: "
        "other values pull back"
    )
    assert data["matters"] is None


def test_padding_is_left_out_and_two_inputs_share_one_size():
    rng = np.random.default_rng(3)
    parts = [rng.normal(size=(1, 1, 4, 2)), rng.normal(size=(1, 1, 3))]
    parts[0][:, :, 3] = 0
    items = [
        LabelledInput(
            "a",
            parts[0][0],
            parts[0][0] * 0,
            parts[0],
            ("time", "feature"),
            along={"length": (("sample",), np.array([3]))},
        ),
        LabelledInput("b", parts[1][0], parts[1][0] * 0, parts[1], ("feature",)),
    ]
    total = np.array([[sum(part.sum() for part in parts)]])
    ex = build_explanation(items, total, total * 0, output_labels=["y"], keep_output=False)
    scene = scene_of(ex, input="a")
    assert scene.attribution.shape == (3, 2)
    assert scene.size == pytest.approx(sum(np.abs(part).sum() for part in parts))
    assert scene.elsewhere == pytest.approx(parts[1].sum())
    assert scene.inputs == ["a", "b"]


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_sums_are_those_of_the_explanation_at_every_zoom_and_fold(data):
    T, F = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 30))
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    names = [f"{name} {i}" for i, name in enumerate(rng.choice(["wind", "sun", "rain"], F))]
    ex = explanation(rng.standard_cauchy((1, T, F)), coords={"feature": names})
    given_groups = {name: name.split()[0] for name in names} if data.draw(st.booleans()) else None
    scene = scene_of(ex, groups=given_groups)
    first = data.draw(st.integers(0, T - 1))
    last = data.draw(st.integers(first, T - 1))
    opened = {"wind"} if data.draw(st.booleans()) else set()
    seen = view(scene, first, last, data.draw(st.integers(1, 50)), opened, unfolded=data.draw(st.booleans()))

    own = ex.attributions.isel(sample=0, time=slice(first, last + 1))
    size = float(np.abs(own).sum())
    close = {"rtol": 0, "atol": 1e-12 * size}
    assert sorted(f for row in seen.rows for f in row.features) == list(range(F))
    np.testing.assert_allclose(seen.total, float(own.sum()), **close)
    np.testing.assert_allclose(seen.cells.sum(axis=1), seen.row_totals, **close)
    np.testing.assert_allclose(seen.cells.sum(axis=0), seen.column_totals, **close)
    for row, total in zip(seen.rows, seen.row_totals, strict=True):
        np.testing.assert_allclose(total, float(own[:, list(row.features)].sum()), **close)
    steps = [step for a, b in zip(seen.first, seen.last, strict=True) for step in range(a, b + 1)]
    assert steps == list(range(first, last + 1))
    for c, (a, b) in enumerate(zip(seen.first, seen.last, strict=True)):
        np.testing.assert_allclose(seen.column_totals[c], float(ex.attributions[0, a : b + 1].sum()), **close)
    assert len(seen.rows) <= F


def test_a_zoom_outside_of_the_sequence_is_refused():
    with pytest.raises(InputError, match="timesteps 1 to 4"):
        view(scene_of(small()), 0, 3, 10)


def test_the_fold_holds_little_and_says_how_many():
    cells = np.ones((1, 5, 40))
    cells[..., 7] = 100
    scene = scene_of(explanation(cells))
    assert scene.order[0] == 7
    rows = view(scene, 0, 4, 10).rows
    assert rows[0].label == "feature 8"
    assert rows[-1].label == f"{40 - scene.fold_after} more features"
    assert len(view(scene, 0, 4, 10, unfolded=True).rows) == 40


def test_groups_are_found_only_where_names_say_so():
    assert groups_of(["Rain", "Season (sine)", "Season (cosine)"]) == [None, "Season", "Season"]
    assert groups_of(["wind_u", "wind_v", "t"]) == ["wind", "wind", None]
    assert groups_of(["temp_max", "temp_min", "wind"]) == [None] * 3  # rows enough for these
    lags = [f"lag_{i}" for i in range(6)]
    assert groups_of([*lags, "a", "b", "c"]) == ["lag"] * 6 + [None] * 3
    assert groups_of([f"feature {i + 1}" for i in range(20)]) == [None] * 20
    assert groups_of(["a", "b", "c"], {"a": "one", "b": "one", "c": "two"}) == ["one", "one", None]


def test_an_opened_group_has_its_features_side_by_side():
    cells = np.zeros((1, 2, 4))
    cells[0, 0] = [5, 1, 4, 3]
    ex = explanation(cells, coords={"feature": ["wind_u", "rain", "sun", "wind_v"]})
    scene = scene_of(ex)
    assert [row.label for row in view(scene, 0, 1, 9).rows] == ["wind", "sun", "rain"]
    assert [row.label for row in view(scene, 0, 1, 9, {"wind"}).rows] == ["wind_u", "wind_v", "sun", "rain"]


def test_rows_stand_in_the_order_of_their_totals_groups_by_their_own():
    cells = np.array([[[9.0, 3, -4, 2, 1], [-9.0, 3, -4, 2, 0]]])  # the first moves most, and comes to nothing
    ex = explanation(cells, coords={"feature": ["rain", "wind_u", "sun", "wind_v", "fog"]})
    seen = view(scene_of(ex), 0, 1, 9)
    assert [row.label for row in seen.rows] == ["wind", "sun", "fog", "rain"]
    assert np.abs(seen.row_totals).tolist() == [10, 8, 1, 0]


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 30), st.integers(1, 8), st.integers(0, 10**6))
def test_strongest_ranges_are_disjoint_sums(T, F, seed):
    values = np.random.default_rng(seed).standard_cauchy((T, F))
    found, taken = strongest_ranges(values), np.zeros((T, F), int)
    assert 1 <= len(found) <= 3
    for run in found:
        columns = slice(None) if run.feature is None else slice(run.feature, run.feature + 1)
        cells = values[run.first : run.last + 1, columns]
        assert run.amount == pytest.approx(cells.sum(), rel=1e-9, abs=1e-12 * np.abs(values).sum())
        taken[run.first : run.last + 1, columns] += 1
    assert taken.max() == 1
    assert abs(found[0].amount) >= np.abs(values).max() * (1 - 1e-9) or F > 1


def test_the_strongest_range_is_found_and_said_with_its_dates():
    values = np.zeros((1, 30, 2))
    values[0, 17:20, 0] = [2.0, 3.0, 4.1]
    values[0, 3, 1] = -1.5
    values[0, 29, 1] = 6.9
    coords = {"time": pd.date_range("2015-07-01", periods=30), "feature": ["Maximum temperature", "Wind"]}
    said = [
        text.replace("\N{NO-BREAK SPACE}", " ")
        for _, text in scene_of(explanation(values, coords=coords), words=CELSIUS).ranges
    ]
    assert said == [
        "18 to 20 July: Maximum temperature, +9.1 °C of the +14.5 °C",
        "30 July: Wind, +6.9 °C of the +14.5 °C",
        "4 July: Wind, −1.5 °C, against the +14.5 °C in all",
    ]


def test_all_features_together_are_told_where_no_single_one_stands_out():
    values = np.zeros((1, 20, 10))
    values[0, 11:20] = 1.0
    (run, text), *_ = scene_of(explanation(values)).ranges
    assert (run.first, run.last, run.feature, run.amount) == (11, 19, None, 90)
    assert text == "Timesteps 12 to 20: all features together, +90 of the +90"


def test_amounts_are_honest_about_what_they_are_of():
    assert amount_of(2.0, 4.0, 9.0) == "+2 of the +4"
    assert amount_of(-2.0, 4.0, 9.0) == "−2, against the +4 in all"
    assert amount_of(6.0, 4.0, 9.0) == "+6, more than the +4 in all: other values pull back"
    assert amount_of(4.00001, 4.0, 9.0) == "+4 of the +4"
    assert amount_of(2.0, 0.0, 9.0) == "+2, which other values cancel"


def test_words_of_a_text_are_quoted():
    tokens = np.array([["a", "very", "good", "film"]])
    ex = explanation(
        np.array([[0.0, 1.0, 2.0, -0.1]]), values=np.arange(4).reshape(1, 4), dims=("time",), tokens=tokens
    )
    scene = scene_of(ex, words=Words(time_label="Word"))
    assert scene.tokens == tokens[0].tolist()
    assert scene.ranges[0][1].startswith("Words 2 to 3: “very good”, +3")


@pytest.mark.parametrize(
    ("labels", "first", "last", "words", "text"),
    [
        (np.arange(30), 11, 19, "Timesteps 12 to 20", "12"),  # numbers that nobody gave are counted from 1
        (np.arange(1, 31), 11, 11, "Timestep 12", "12"),
        (np.arange(1, 2601), 1999, 2009, "Timesteps 2,000 to 2,010", "2,000"),
        (np.arange(1990, 2021), 0, 2, "Timesteps 1990 to 1992", "1990"),  # years
        (np.linspace(0, 3, 31), 5, 7, "Timestep 0.5 to 0.7", "0.5"),
        (np.array(["Mon", "Tue", "Wed"]), 0, 2, "Timestep Mon to Wed", "Mon"),
        (pd.date_range("2014-12-30", periods=5).values, 0, 3, "30 December 2014 to 2 January 2015", "30 Dec 2014"),
        (pd.date_range("2014-06-30", periods=5).values, 0, 2, "30 June to 2 July", "30 Jun 2014"),
        (pd.date_range("1993-11-01", periods=12, freq="MS").values, 1, 3, "December 1993 to February 1994", "Dec 1993"),
        (pd.date_range("1990-01-01", periods=4, freq="YS").values, 1, 3, "1991 to 1993", "1991"),
        (
            pd.date_range("2014-06-30", periods=48, freq="h").values,
            1,
            3,
            "30 June, 01:00 to 03:00",
            "30 Jun 2014, 01:00",
        ),
        (
            pd.date_range("2014-06-30", periods=48, freq="h").values,
            23,
            24,
            "30 June, 23:00 to 1 July, 00:00",
            "30 Jun 2014, 23:00",
        ),
    ],
)
def test_steps_in_words(labels, first, last, words, text):
    assert in_words(labels, first, last, "Timestep") == words
    assert step_texts(labels)[first] == text


def test_contrast_is_chosen_so_that_half_of_the_picture_is_seen():
    even = np.random.default_rng(0).uniform(0.2, 1, (50, 4))
    assert chosen(contrasts_of(even), even).kind == "linear"
    one_peak = even.copy()
    one_peak[0, 0] = 100
    robust = chosen(contrasts_of(one_peak), one_peak)
    assert robust.kind == "robust"
    assert robust.limit == np.sort(np.abs(one_peak), axis=None)[-3]  # 99 % of 200, from 0: position 197
    assert "2 cells are stronger" in robust.words
    falling = 0.7 ** np.arange(30)[::-1, None] * np.ones((1, 2))
    assert chosen(contrasts_of(falling), falling).kind == "root"


def test_limits_are_amounts_that_are_there():
    values = np.array([[0.0, 0.0, -2.0, 1.0]])
    assert limit_of(values, "linear") == 2
    assert limit_of(values, "robust") == 1
    assert limit_of(values * 0, "robust") == 1


def test_strength_keeps_signs_and_ends_at_one():
    for contrast in contrasts_of(np.array([[-4.0, 1.0, 0.0], [1.0, 1.0, 1.0]])):
        strength = contrast.strength(np.array([-9.0, -1.0, 0.0, 1.0]))
        assert strength[0] == -1
        assert strength[2] == 0
        assert strength[3] == -strength[1] > 0


def test_where_it_matters_is_the_shortest_run():
    values = np.full((100, 1), 1e-3)
    values[60:64] = -1.0
    assert where_it_matters(values) == (60, 63)
    assert where_it_matters(np.ones((10, 2))) is None
    assert where_it_matters(np.zeros((10, 2))) is None


def test_modules_become_one(tmp_path):
    (tmp_path / "stage.js").write_text(
        "import { sum } from './view.js';\nexport default function mount() { return sum(1); }\n"
    )
    (tmp_path / "view.js").write_text("export const ONE = 1;\nexport function sum(a) {\n  return a + ONE;\n}\n")
    text = bundled(tmp_path)
    assert "import" not in text
    assert "export default" in bundle()  # the page's own go together too
    assert text.count("export") == 1
    assert text.index("const ONE") < text.index("export default function mount")
    (tmp_path / "other.js").write_text("const ONE = 2;\n")
    with pytest.raises(ValueError, match="both have ONE"):
        bundled(tmp_path)


def test_a_large_scene_is_made_quickly_enough_to_be_aggregated():
    scene = scene_of(random(2000, 200))
    seen = view(scene, 0, 1999, 300)
    assert seen.cells.shape[1] <= 300
    assert seen.steps == 7
    assert seen.total == pytest.approx(float(scene.attribution.sum()))


def test_a_sentence_of_a_long_name_still_says_the_amount():
    names = [f"a_very_long_name_of_what_was_measured_{'x' * 30}_{i}" for i in (1, 2)]
    one, two = (
        range_sentence(Range(3, 4, feature, 0.5), 1.0, 1.0, labels=np.arange(9), features=names) for feature in (0, 1)
    )
    assert one.endswith("_1, +0.5 of the +1")
    assert two.endswith("_2, +0.5 of the +1")
    assert len(one) < 90
