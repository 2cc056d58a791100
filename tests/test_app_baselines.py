"""Baselines in the app: every choice gives exactly the values that are explained against, and says what it means."""

import io
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from app_tools import app, press_explain, stage, wait, workers
from test_app import CSV, state_dict, text, upload
from test_app_data import words_file

from explain_core.demos import load_demo
from explain_core.errors import InputError
from explain_core.figures.style import THEMES
from explain_core.sequences.fitting import fit
from explain_core.sequences.labelled import label, label_ragged, single
from explain_core.sequences.scaling import Scaling
from ui.baseline_checks import findings, suggested
from ui.baselines import HELD, ZEROS, Baseline, Material, demo_material, ready, together, values_of
from ui.baselines_given import (
    background,
    by_hand,
    evenly,
    matched_by,
    of_file,
    of_ids,
    other,
    own_table,
    same_length,
    usual,
)
from ui.components import baseline_choice
from ui.components import baseline_editor as editor
from ui.components.baseline_preview import preview

__all__ = ["app", "workers"]  # the fixtures

NAMES = ["speed", "slope", "load"]
HOSTILE = '**"><img src=x onerror=alert(1)>** $x$ [a](javascript:b)'


def material(parts, index=0, scaling=None, layers=(), names=None, features=NAMES, padded_to=None):
    """Of sequences (steps, feature) for a model that takes one of them, or that many steps and a length."""
    names = names or [f"walk {i + 1}" for i in range(len(parts))]
    sequences = label_ragged([np.asarray(part, dtype=float) for part in parts], names, features)

    def fitted(one):
        if scaling is not None:
            scaled = (one - scaling.offset) / scaling.scale
            one = scaled.assign_coords(
                add_offset=("feature", scaling.offset), scale_factor=("feature", scaling.scale), feature=one["feature"]
            )
        if padded_to is not None:
            n = one.sizes["time"]
            values = np.zeros((1, padded_to, one.sizes["feature"]))
            values[:, :n] = one.values
            one = label(values, [str(one["sample"].values[0])], np.arange(1, padded_to + 1), features)
            one = one.assign_coords(length=("sample", [n]))
        return one.astype("float32")

    return Material(fitted(single(sequences, index)), sequences, index, lambda one: fitted(one).values, layers=layers)


def made(of, label):
    return ready(of)[label]()


RAGGED = [np.arange(12.0).reshape(4, 3), np.arange(6.0).reshape(2, 3) + 100, np.full((5, 3), 7.0)]


def test_an_average_goes_over_real_steps_only():
    rows = np.concatenate(RAGGED)
    found = material(RAGGED)
    average, median = (made(found, f"{kind} of my sequences") for kind in ("Average", "Median"))
    np.testing.assert_allclose(average.values, np.broadcast_to(rows.mean(0), (1, 4, 3)), rtol=1e-6)
    np.testing.assert_allclose(median.values, np.broadcast_to(np.median(rows, 0), (1, 4, 3)), rtol=1e-6)
    assert "an average step of your 3 sequences" in average.note
    assert list(ready(found)) == ["Average of my sequences", "Median of my sequences", HELD, ZEROS]


def test_padding_stays_as_the_sequence_has_it():
    found = material(RAGGED, padded_to=8)
    average = made(found, "Average of my sequences")
    np.testing.assert_allclose(
        average.values[0, :4], np.broadcast_to(np.concatenate(RAGGED).mean(0), (4, 3)), rtol=1e-6
    )
    assert not average.values[0, 4:].any()
    assert own_table(average, found).shape == (4, 3)
    np.testing.assert_array_equal(by_hand(np.ones((1, 3)), found).values[0], [[1.0] * 3] * 4 + [[0.0] * 3] * 4)


def test_values_are_in_the_persons_units_and_the_model_gets_its_own():
    scaling = Scaling(np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0, 30.0]))
    found = material(RAGGED, scaling=scaling)
    table = np.arange(12.0).reshape(4, 3)[::-1].copy()
    hand = by_hand(table, found)
    np.testing.assert_allclose(hand.values[0], (table - scaling.offset) / scaling.scale, rtol=1e-6)
    np.testing.assert_allclose(own_table(hand, found), table, rtol=1e-6)
    np.testing.assert_allclose(own_table(made(found, "Zeros after scaling"), found), [[1, 2, 3]] * 4, rtol=1e-6)
    average = made(found, "Average of my sequences")
    np.testing.assert_allclose(own_table(average, found)[2], np.concatenate(RAGGED).mean(0), rtol=1e-6)


def test_another_sequence_is_matched_by_order():
    found = material(RAGGED)
    shorter, longer = other(found, 1), other(found, 2)
    np.testing.assert_array_equal(shorter.values[0], [[100, 101, 102], *[[103, 104, 105]] * 3])
    np.testing.assert_array_equal(longer.values, np.full((1, 4, 3), 7.0))
    assert matched_by(found, 1) == "It has 2 steps; the last is held for the other 2."
    assert matched_by(found, 2) == "Its first 4 of 5 steps are used, matched by their order."
    assert "“walk 2”" in shorter.note


def test_a_background_is_of_the_same_length_where_there_are_two_such():
    parts = [np.full((4, 3), float(i)) for i in range(6)] + [np.zeros((2, 3))]
    found = material(parts, index=2)
    assert same_length(found) == [0, 1, 3, 4, 5]
    places = evenly(same_length(found), 3)
    assert places == [0, 3, 5]
    made_of = background(found, places)
    np.testing.assert_array_equal(made_of.values[:, 0, 0], [0, 3, 5])
    assert made_of.background
    np.testing.assert_allclose(own_table(made_of, found), np.full((4, 3), 8 / 3))
    assert same_length(material(RAGGED)) == [1, 2]  # of other lengths, since there are none of its own


def test_a_file_goes_by_the_names_of_its_columns():
    found = material([np.arange(12.0).reshape(4, 3)])
    moved = label(np.array([[[3.0, 1.0, 2.0]]]), ["rest"], np.arange(1), ["load", "speed", "slope"])
    unnamed = moved.assign_coords(feature=["feature 1", "feature 2", "feature 3"])
    for own, expected in ((moved, [1, 2, 3]), (unnamed, [3, 1, 2])):
        np.testing.assert_array_equal(of_file(own, found).values, np.broadcast_to(expected, (1, 4, 3)))
    with pytest.raises(InputError, match="columns mass, speed, slope; the sequence has speed, slope, load"):
        of_file(moved.assign_coords(feature=["mass", "speed", "slope"]), found)
    two = label(np.arange(24.0).reshape(2, 4, 3), ["a", "b"], np.arange(4), NAMES)
    several = of_file(two, found)
    assert several.background
    np.testing.assert_array_equal(several.values, two.values)
    with pytest.raises(InputError, match="The baselines have 2, 4 timesteps"):
        of_file(two.assign_coords(length=("sample", [4, 2])), found)
    with pytest.raises(InputError, match="has 3 timesteps and 3 features; the sequence has 4 and 3"):
        of_file(two.isel(time=slice(0, 3)), found)


def test_a_demo_takes_its_own_names_and_its_training_data():
    demo = load_demo("japanese-vowels")
    length = len(demo.times[0])
    fitted = label(demo.x[:1], demo.names[:1], np.arange(demo.x.shape[1]), [f.label for f in demo.features])
    found = demo_material(demo, fitted.assign_coords(length=("sample", [length])), 0)
    np.testing.assert_array_equal(made(found, "Average of the training data").values, demo.mean_baseline)
    third = other(found, 3).values[0]
    own = len(demo.times[3])
    n = min(own, length)
    np.testing.assert_array_equal(third[:n], demo.x[3, :n])
    assert (third[n:length] == demo.x[3, own - 1]).all()
    assert not third[length:].any()
    columns = [f.name for f in demo.features]
    file = label(np.arange(12.0)[None, None], ["mine"], np.arange(1), columns[::-1])
    np.testing.assert_array_equal(of_file(file, found).values[0, 0], np.arange(12.0)[::-1])


def ids(fitted, padding=(0, "end"), count=3):
    texts = [fitted, *[np.arange(1, n + 1) for n in (2, 6)][: count - 1]]
    values = np.zeros((len(texts), 6), dtype=np.int64)
    for row, one in zip(values, texts, strict=True):
        row[: len(one)] = one
    coords = {"sample": [f"t{i}" for i in range(len(texts))], "length": ("sample", [len(one) for one in texts])}
    sequences = label(values[..., None], coords["sample"], np.arange(6), ["id"]).isel(feature=0, drop=True)
    sequences = sequences.assign_coords(length=coords["length"])
    return Material(single(sequences, 0), sequences, 0, lambda one: one.values, padding)


def test_token_ids_have_padding_other_texts_and_texts_of_ones_own():
    found = ids([5, 6, 7], padding=(9, "end"))
    assert [*ready(found)] == ["Padding only"]
    np.testing.assert_array_equal(made(found, "Padding only").values, [[9, 9, 9]])
    np.testing.assert_array_equal(other(found, 1).values, [[1, 2, 9]])
    np.testing.assert_array_equal(other(found, 2).values, [[1, 2, 3]])
    assert matched_by(found, 1) == "It has 2 words, and padding for the other 1."
    np.testing.assert_array_equal(of_ids(np.array([4, 3, 2, 1]), found).values, [[4, 3, 2]])
    np.testing.assert_array_equal(of_ids(np.array([4]), replace(found, padding=(9, "start"))).values, [[9, 9, 4]])
    file = label(np.array([[[1.5]] * 3]), ["f"], np.arange(3), ["id"])
    with pytest.raises(InputError, match="no token ids"):
        of_file(file, found)
    np.testing.assert_array_equal(of_file(file * 2, found).values, [[3, 3, 3]])


def words(baseline, of):
    return " ".join(each.words for each in findings(baseline, of))


def test_what_is_said_of_a_baseline_before_it_is_used():
    found = material([np.arange(12.0).reshape(4, 3) + 900, np.arange(12.0).reshape(4, 3) + 950])
    itself = by_hand(own_table(Baseline("", "", found.fitted.values), found), found)
    (fault,) = findings(itself, found)
    assert fault.is_degenerate
    assert "every share is exactly 0" in fault.words
    assert "0 is outside of what the sequences have for speed (900 to 959), and so it is for 2 more features" in words(
        made(found, ZEROS), found
    )
    assert not findings(made(found, "Average of my sequences"), found)
    constant = material([np.array([[0.0, 1, 1], [2, 1, 1], [1, 1, 1]])])
    assert "slope and load are the same in both and get shares of exactly 0." in words(made(constant, HELD), constant)
    normalised = replace(found, layers=("InstanceNorm1d", "LSTM"))
    for each in ready(normalised).values():
        assert findings(each(), normalised)[0].is_degenerate
    assert not findings(other(normalised, 1), normalised)
    layer = replace(found, layers=("LayerNorm",))
    assert "zeros do not vary" in words(made(layer, ZEROS), layer)
    assert not findings(made(layer, "Average of my sequences"), layer)


def test_the_first_choice_is_never_the_sequence_itself_and_says_why():
    several = material(RAGGED)
    first, why = suggested(ready(several), several)
    assert (first.label, why) == (
        "Average of my sequences",
        "Suggested, since an average is a usual value in every feature.",
    )
    alone = material([np.arange(12.0).reshape(4, 3)])
    first, why = suggested(ready(alone), alone)
    assert first.label == "Average over time"
    assert "with one sequence there are no others to average" in why
    assert "its own average over time" in first.note
    flat = material([np.full((4, 3), 0.1)])  # its average and its first step are itself
    first, why = suggested(ready(flat), flat)
    assert first.label == ZEROS
    assert why.startswith("Suggested, since “Average over time” and “Median over time” are this sequence itself")
    nothing = material([np.zeros((4, 3))])
    assert "give one of your own" in suggested(ready(nothing), nothing)[1]
    normalised = replace(several, layers=("RevIN",))
    makers = {**ready(normalised), "Another sequence": lambda: other(normalised, 1)}
    assert suggested(makers, normalised)[0].label == "Another sequence"


def test_every_input_is_warned_of_what_the_model_divides_by(monkeypatch):
    seen = []
    monkeypatch.setattr(baseline_choice, "choose_baseline", lambda session, upload, material, *_: seen.append(material))
    one = material(RAGGED, layers=("LayerNorm",))
    baseline_choice.choose_each(None, None, {"x": one, "y": material(RAGGED, index=2)})
    assert ["zeros do not vary" in words(made(each, ZEROS), each) for each in seen] == [True, True]


def test_baselines_of_several_inputs_go_together_by_name():
    one, two = material(RAGGED), material(RAGGED, index=2)
    chosen = {"x": made(one, ZEROS), "y": background(two, [0, 1])}
    both = together(chosen, {"x": one.fitted, "y": two.fitted})
    assert both.background
    assert {name: values.shape for name, values in both.values.items()} == {"x": (2, 4, 3), "y": (2, 5, 3)}
    assert together({"x": chosen["x"]}, {"x": one.fitted}) is chosen["x"]
    with pytest.raises(InputError, match="The backgrounds have 1 sequences for 'x' and 2 sequences for 'y'"):
        together({**chosen, "x": replace(chosen["x"], background=True)}, {"x": one.fitted, "y": two.fitted})
    calm = together({"x": made(one, ZEROS), "y": made(two, HELD)}, {"x": one.fitted, "y": two.fitted})
    assert calm.values == {"x": "zeros", "y": "first"}
    assert calm.words == "a sequence of zeros as x and its own first step, held to the end as y"
    np.testing.assert_array_equal(values_of(made(two, HELD), two.fitted), two.fitted.values[:, [0] * 5])
    three = together(dict.fromkeys("xyz", chosen["x"]) | {"z": made(two, HELD)}, dict.fromkeys("xyz", one.fitted))
    assert three.words == "a sequence of zeros as x and y, and its own first step, held to the end as z"


def test_another_input_goes_with_what_the_sequence_is_compared_with():
    series, side = material(RAGGED, names=["a", "b", "c"]), material(RAGGED, names=["a", "c", "d"])
    beside = replace(side, beside=other(series, 2))
    first, why = suggested(usual(beside), beside)
    assert (first.label, first.words) == ("The same as the sequence", "“c”")
    assert "belongs to what the sequence is compared with" in why
    assert "The same as the sequence" not in usual(replace(side, beside=background(series, [1, 2])))  # it has no b
    own = usual(beside)["Its own values"]()
    np.testing.assert_array_equal(own.values, side.fitted.values)
    assert not findings(own, beside)
    one_row = material([[[40.0, 1, 0]], [[20.0, 0, 0]]])
    assert made(one_row, ZEROS).words == "zeros"
    assert made(one_row, "Average of my sequences").words == "an average of your sequences"
    assert list(ready(material([[[40.0, 1, 0]]]))) == [ZEROS]


def test_cells_without_a_number_keep_theirs():
    start = np.arange(6.0).reshape(3, 2)
    frame = pd.DataFrame(start, columns=["c0", "c1"]).astype(object)
    frame.iloc[0, 0], frame.iloc[1, 1], frame.iloc[2, 0], frame.iloc[2, 1] = "12", None, float("inf"), 1.5
    values, empty = editor.edited(frame, start)
    np.testing.assert_array_equal(values, [[12, 1], [2, 3], [4, 1.5]])
    assert empty == 2


def test_what_was_edited_counts_where_it_fits(monkeypatch):
    monkeypatch.setattr(editor.st, "session_state", {})
    found = material(RAGGED)
    assert editor.taken("files", found) is None
    editor.hands().open("files", np.zeros((4, 3)), "zeros")
    editor.take("files", NAMES, np.ones((4, 3)))
    assert editor.hands().editing is None
    assert editor.hands().taken == {"files"}
    np.testing.assert_array_equal(editor.taken("files", found), np.ones((4, 3)))
    assert editor.taken("files", material(RAGGED, index=1)) is None  # of two steps
    editor.take("files", NAMES, np.ones((1, 3)))
    assert editor.taken("files", material(RAGGED, index=1)).shape == (1, 3)
    assert editor.taken("files", material(RAGGED, features=["a", "b", "c"])) is None


def test_the_preview_shows_the_features_that_differ_most_and_takes_names_as_text():
    own = np.tile(np.linspace(0, 1, 9)[:, None], 5)
    base = own + np.array([0, 3, 0, 2, 1])
    picture, said = preview(own, base, ["a", HOSTILE, "c", "d", "e"], THEMES["light"])
    assert picture.count("<polyline") == 6
    assert "<img" not in picture
    assert "&lt;img" in picture
    assert said.startswith(HOSTILE)
    assert "c goes" not in said


# In the app.


WALKS = b"sequence,speed,slope,load\n" + b"".join(
    b"%s,%d,%d,%d\n" % (name, i + at, 2 * i, at) for at, name in enumerate((b"p", b"q", b"r")) for i in range(4)
)


def explained(app):
    """Ask for the explanation; returns it with its baselines (time, feature)."""
    press_explain(app)
    wait(app)
    assert not app.error
    session = app.session_state["session"]
    found = session.load(next(reversed(session._loaded)))
    return found.baselines.values[0] if "feature" in found.baselines.dims else found


def walks(at):
    return np.array([[i + at, 2 * i, at] for i in range(4)], dtype=float)


def test_each_choice_is_what_is_explained_against(app):
    wait(app)
    upload(app, ("walk.pth", state_dict()), ("walks.csv", WALKS))
    menu = app.selectbox(key="baseline files")
    assert menu.options == [
        "Average of my sequences",
        "Median of my sequences",
        HELD,
        ZEROS,
        "Another sequence",
        "Other sequences, averaged",
        "My baseline file",
        "Edited by hand",
    ]
    rows = np.concatenate([walks(i) for i in range(3)])
    assert "Suggested, since an average is a usual value" in text(app)
    np.testing.assert_allclose(explained(app), np.tile(rows.mean(0), (4, 1)), rtol=1e-6)
    assert "an average step of your sequences" in text(app)

    def choose(label):
        app.selectbox(key="baseline files").set_value(label)
        wait(app)

    choose(HELD)
    assert "what the course since then has done" in text(app)
    assert "load is the same in both and gets a share of exactly 0" in text(app)
    np.testing.assert_array_equal(explained(app), walks(0)[[0] * 4])
    choose("Another sequence")
    app.selectbox(key="baseline files other").set_value(2)
    wait(app)
    assert "Against the sequence “r”" in text(app)
    np.testing.assert_array_equal(explained(app), walks(2))
    choose("Other sequences, averaged")
    np.testing.assert_array_equal(explained(app), (walks(1) + walks(2)) / 2)
    app.multiselect(key="baseline files picked").set_value([1])
    wait(app)
    np.testing.assert_array_equal(explained(app), walks(1))
    choose("My baseline file")
    assert "Until there is a file, it is compared with an average step of your sequences." in text(app)
    app.file_uploader(key="upload baseline").set_value(("rest.csv", b"load,speed,slope\n3,1,2\n", "text/csv"))
    wait(app)
    np.testing.assert_array_equal(explained(app), [[1, 2, 3]] * 4)
    assert "your baseline" in text(app)
    app.file_uploader(key="upload baseline").set_value(("other.csv", b"mass\n3\n", "text/csv"))
    wait(app)
    assert "The baseline has the columns mass" in app.sidebar.error[0].value
    assert "for an average step of your sequences" in stage(app)["headline"]


def test_values_edited_by_hand_are_what_is_explained_against(app):
    wait(app)
    upload(app, ("walk.pth", state_dict()), ("walk.csv", CSV))
    app.selectbox(key="baseline files").set_value("Edited by hand")
    wait(app)
    assert "Nothing is edited yet. Until then it is compared with its own average over time." in text(app)
    app.button(key="edit files").click()
    wait(app)
    hands = app.session_state["editing by hand"]
    key, start, origin = hands.editing
    assert (key, origin) == ("files", "its own average over time")
    np.testing.assert_array_equal(start, [[2, 1, 0]] * 5)
    app.button(key="edit take").click()
    wait(app)
    assert hands.editing is None

    def take(table):
        app.session_state["baseline files values"] = (tuple(NAMES), tuple(map(tuple, table)))
        hands.taken.add("files")

    table = np.arange(15.0).reshape(5, 3).tolist()
    take(table)
    app.selectbox(key="baseline files").set_value(ZEROS)  # what was taken goes before the menu
    wait(app)
    assert app.selectbox(key="baseline files").value == "Edited by hand"
    np.testing.assert_array_equal(explained(app), table)
    assert "the values that you set" in text(app)
    take(CSV_ROWS)
    wait(app)
    assert "It is this sequence itself" in app.warning[0].value


CSV_ROWS = [[i, i / 2, 0] for i in range(5)]


def test_names_from_files_are_text(app):
    wait(app)
    table = pd.read_csv(io.BytesIO(WALKS)).replace({"sequence": {"r": HOSTILE}})
    table = table.rename(columns={"load": HOSTILE})
    upload(app, ("walk.pth", state_dict()), ("walks.csv", table.to_csv(index=False).encode()))
    app.selectbox(key="baseline files").set_value("Another sequence")
    wait(app)
    app.selectbox(key="baseline files other").set_value(2)
    wait(app)
    explained(app)
    markdown = "\n".join(caption.value for caption in app.caption)
    assert '“\\*\\*"\\>\\<img' in markdown
    assert "“**" not in markdown
    drawn = app.session_state["last scene"].as_data()  # text there, and no Markdown
    assert drawn["note"] == f"Against the sequence “{HOSTILE}”: why the model answers differently for the two."
    app.selectbox(key="baseline files").set_value(HELD)
    app.button(key="edit files").click()
    wait(app)
    assert not app.exception


def test_a_demo_has_the_same_choices(app):
    wait(app)
    demo = load_demo(app.selectbox(key="demo").value)
    widget = f"baseline {demo.slug}"
    assert "Suggested, since the model learned from such data" in text(app)
    app.selectbox(key=widget).set_value("Another sequence")
    wait(app)
    place = app.selectbox(key=f"{widget} other").value
    session = app.session_state["session"]
    found = session.load(next(reversed(session._loaded)))
    np.testing.assert_array_equal(found.baselines.values[0], demo.x[place])
    app.selectbox(key=widget).set_value("Training sequences, averaged")
    app.run()
    app.number_input(key=f"{widget} count").set_value(2)
    wait(app)
    found = session.load(next(reversed(session._loaded)))
    np.testing.assert_allclose(found.baselines.values[0], demo.background[[0, -1]].mean(0), rtol=1e-5, atol=1e-6)


def test_words_are_compared_with_a_text_of_ones_own(app):
    wait(app)
    upload(app, ("words.pth", words_file()), ("texts.txt", b"the cat sat\nthe dog sat\n"))
    vocabulary = json.dumps({"[PAD]": 0, "[UNK]": 1, "the": 2, "cat": 3, "sat": 4, "dog": 5}).encode()
    app.file_uploader(key="upload vocabulary").set_value(("vocabulary.json", vocabulary, "application/json"))
    wait(app)
    assert app.selectbox(key="baseline files").options == [
        "Padding only",
        "Another text",
        "My baseline file",
        "A text of my own",
    ]
    app.selectbox(key="baseline files").set_value("A text of my own")
    wait(app)
    assert app.text_area[0].value == "the cat sat"
    assert "It is this sequence itself" in app.warning[0].value
    app.text_area[0].set_value("the dog")
    wait(app)
    found = explained(app)
    assert found.baselines.values.tolist() == [[2, 5, 0]]


def test_fitting_several_inputs_needs_no_more_than_one_at_a_time():
    """What `fit` gives for a model of a sequence and its length is what the functions here take."""
    sequences = label_ragged(RAGGED, ["a", "b", "c"], NAMES)

    class Spec:
        name, shape, dtype, takes_token_ids, features, timesteps = "x", (None, 8, 3), "float32", False, 3, 8

    class Length:
        name, shape, dtype = "n", (None,), "int64"

    def fitted(one):
        return fit(one, [Spec, Length], "here")["x"]

    found = Material(fitted(single(sequences, 0)), sequences, 0, lambda one: fitted(one).values)
    assert found.steps == 4
    assert other(found, 1).values.shape == (1, 8, 3)
    assert not other(found, 2).values[0, 4:].any()
