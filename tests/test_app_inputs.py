"""The app with models whose inputs and outputs are not one sequence in and one number out."""

import io
import warnings

import numpy as np
import torch
from app_tools import app, press_explain, stage, wait, workers
from test_app import text, upload
from torch import nn

import explain_core as xc

__all__ = ["app", "workers"]  # the fixtures

STEPS = 6
WALK = np.random.default_rng(0).normal(size=(STEPS, 3)).astype("float32")


def table(values, names=("speed", "slope", "load")):
    return (",".join(names) + "\n" + "\n".join(",".join(map(str, row)) for row in values.tolist())).encode()


def program(model, *example, dynamic=None):
    """A .pt2 file of a model."""
    file = io.BytesIO()
    with warnings.catch_warnings():  # the exporter's own
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(model.eval(), example, dynamic_shapes=dynamic), file)
    return file.getvalue()


def shown(app):
    """The explanation on the page, which was asked for where there is a button for that."""
    press_explain(app)
    wait(app)
    assert not app.error, app.error[0].value
    session = app.session_state["session"]
    return session.load(next(reversed(session._loaded)))


def output_of(app):
    """The widget that chooses the output on the page."""
    return next(each for each in app.selectbox if each.label == "Output")


class TimeFirst(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.gru = nn.GRU(3, 5)
        self.head = nn.Linear(5, 1)

    def forward(self, x):
        return self.head(self.gru(x)[0][-1])


def test_a_model_that_takes_time_first_gets_it_so(app):
    wait(app)
    model = TimeFirst()
    file = program(model, torch.randn(STEPS, 2, 3), dynamic=({1: torch.export.Dim.DYNAMIC},))
    upload(app, ("gru_forecaster.pt2", file), ("walk.csv", table(WALK)))
    assert "The model takes **time first**" in text(app)
    app.selectbox(key="baseline files").set_value("Average over time")
    wait(app)
    found = shown(app)
    assert stage(app)["title"] == "Gru forecaster: GRU in PyTorch"
    baseline = np.broadcast_to(WALK.mean(axis=0), (STEPS, 1, 3)).astype("float32")
    wanted = xc.explain(model, WALK[:, None], baseline, sample_axis=1)
    assert found.attributions.dims == ("sample", "time", "feature")
    assert found.attributions["feature"].values.tolist() == ["speed", "slope", "load"]
    np.testing.assert_allclose(found.attributions.values[0], wanted.attributions.values[0], atol=1e-6)
    assert found.adds_up()
    app.switch_page("pages/model.py")
    wait(app)
    assert "x: float32, 6 timesteps × any number of samples × 3 features" in text(app)
    assert "For zeros of 6 × 1 × 3 it answers 1 number" in text(app)


class EachStep(nn.Module):
    """One answer for each timestep, and of several units."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.lstm = nn.LSTM(3, 4, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.lstm(x)[0])


def test_every_step_of_an_output_in_time_is_explained_at_once(app):
    wait(app)
    model = EachStep()
    upload(app, ("tagger.pt2", program(model, torch.randn(1, STEPS, 3))), ("walk.csv", table(WALK)))
    next(each for each in app.number_input if each.label.startswith("Output number")).set_value(2)
    wait(app)
    found = shown(app)
    assert found.outputs == [f"Output 2, step {i + 1}" for i in range(STEPS)]
    wanted = xc.explain(model, WALK[None], "mean", target=[(i, 1) for i in range(STEPS)])
    np.testing.assert_allclose(found.attributions.values, wanted.attributions.values, atol=1e-6)
    slider = next(each for each in app.select_slider if each.label == "Output step")
    assert slider.value == "Output 2, step 6"  # of steps, people ask for the last
    slider.set_value("Output 2, step 3")
    wait(app)
    app.switch_page("pages/layers.py")
    wait(app)
    assert next(each for each in app.select_slider if each.label == "Output step").value == "Output 2, step 3"
    app.switch_page("pages/explanation.py")
    wait(app)
    assert next(each for each in app.select_slider if each.label == "Output step").value == "Output 2, step 3"


class Heads(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.lstm = nn.LSTM(3, 4, batch_first=True)
        self.risk, self.kind = nn.Linear(4, 1), nn.Linear(4, 3)

    def forward(self, x):
        last = self.lstm(x)[0][:, -1]
        return {"risk": self.risk(last), "kind": self.kind(last)}


def test_one_of_several_heads_is_chosen_by_its_name_and_stays(app):
    wait(app)
    model = Heads()
    upload(app, ("heads.pt2", program(model, torch.randn(1, STEPS, 3))), ("walk.csv", table(WALK)))
    head = next(each for each in app.selectbox if each.label == "Head")
    assert head.options == ["risk (1)", "kind (3)"]
    head.set_value("kind (3)")
    wait(app)
    names = next(each for each in app.text_input if each.label == "Names of the outputs")
    names.set_value("calm, sepsis, shock")
    wait(app)
    found = shown(app)
    wanted = xc.explain(model, WALK[None], "mean", target=[("kind", i) for i in range(3)])
    assert found.outputs == ["calm", "sepsis", "shock"]
    np.testing.assert_allclose(found.attributions.values, wanted.attributions.values, atol=1e-6)
    chosen = output_of(app)
    other = next(name for name in found.outputs if name not in chosen.value)
    chosen.set_value(other)
    wait(app)
    app.switch_page("pages/layers.py")
    wait(app)
    assert output_of(app).value == other
    app.segmented_control(key="source").set_value("demo")
    app.switch_page("pages/explanation.py")
    wait(app)
    app.segmented_control(key="source").set_value("files")
    wait(app)
    assert next(each for each in app.selectbox if each.label == "Head").value == "kind (3)"
    names = next(each for each in app.text_input if each.label == "Names of the outputs")
    assert names.value == "calm, sepsis, shock"
    assert output_of(app).value == other


class Beside(nn.Module):
    """A sequence, another one, and numbers that hold for all of it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(4)
        self.lstm = nn.LSTM(5, 4, batch_first=True)
        self.head = nn.Linear(6, 1)

    def forward(self, series, weather, person):
        last = self.lstm(torch.cat([series, weather], -1))[0][:, -1]
        return self.head(torch.tanh(torch.cat([last, person], -1)))


NAMES = ["north", "south"]
SERIES = np.random.default_rng(1).normal(size=(2, STEPS, 3)).round(3).astype("float32")
WEATHER = np.random.default_rng(2).normal(size=(2, STEPS, 2)).round(3).astype("float32")
PERSON = np.array([[40, 1], [25, 0]], "float32")


def beside_file():
    example = torch.randn(1, STEPS, 3), torch.randn(1, STEPS, 2), torch.randn(1, 2)
    return program(Beside(), *example)


def rows(header, *blocks):
    """A table of both sequences with a column of their names; the last first, where they go by name."""
    lines = [",".join(["sequence", *header])]
    for block in blocks:
        for name, values in block:
            lines += [",".join([name, *(f"{value:.6g}" for value in row)]) for row in values]
    return "\n".join(lines).encode()


def test_a_file_for_each_input_matched_by_the_names_of_the_sequences(app):
    wait(app)
    series = rows(["a", "b", "c"], zip(NAMES, SERIES, strict=True))
    weather = rows(["sun", "rain"], zip(NAMES[::-1], WEATHER[::-1], strict=True))
    person = rows(["age", "sex"], zip(NAMES[::-1], PERSON[::-1, None], strict=True))
    upload(app, ("shop.pt2", beside_file()))
    assert "**weather**: 2 features at each of 6 timesteps" in text(app)
    assert "**person**: 2 numbers for each sequence, without timesteps" in text(app)
    upload(app, data=("series.csv", series))
    assert "The model also takes **weather** and **person**" in text(app)
    for place, file in ((1, weather), (2, person)):
        app.file_uploader(key=f"upload input {place}").set_value((f"input{place}.csv", file, "text/csv"))
        wait(app)
    app.selectbox(key="sequence files").set_value("south")
    assert app.selectbox(key="baseline beside person").value == "Average of my sequences"
    app.selectbox(key="baseline files").set_value("Another sequence")
    wait(app)
    assert app.selectbox(key="baseline beside weather").value == "The same as the sequence"  # as is suggested
    found = shown(app)
    assert "for “north” as series, weather and person; " in stage(app)["headline"]
    for name, values in {"series": SERIES, "weather": WEATHER, "person": PERSON}.items():
        np.testing.assert_allclose(found.baselines[name].values, values[:1], atol=1e-6)
    app.selectbox(key="baseline files").set_value("Zeros")
    wait(app)
    app.selectbox(key="baseline beside weather").set_value("Its own values")
    wait(app)
    found = shown(app)
    said = "for a sequence of zeros as series, its own values as weather and an average of your sequences as person; "
    assert said in stage(app)["headline"]
    inputs = {"series": SERIES[1:], "weather": WEATHER[1:], "person": PERSON[1:]}
    wanted = xc.explain(Beside(), inputs, {"weather": WEATHER[1:], "person": PERSON.mean(axis=0, keepdims=True)})
    assert found.input_names == ["series", "weather", "person"]
    assert found.attributions["weather"]["feature"].values.tolist() == ["sun", "rain"]
    for name in inputs:
        np.testing.assert_allclose(found.attributions[name].values, wanted.attributions[name].values, atol=1e-6)
    assert found.adds_up()


def test_columns_of_one_table_for_each_input_and_typed_numbers(app):
    wait(app)
    together = np.concatenate([SERIES, WEATHER, np.repeat(PERSON[:, None], STEPS, axis=1)], axis=2)
    header = ["a", "b", "c", "sun", "rain", "age", "sex"]
    upload(app, ("shop.pt2", beside_file()), ("all.csv", rows(header, zip(NAMES, together, strict=True))))
    picked = {each.label.split(",")[0]: each.value for each in app.multiselect if each.label.startswith("Columns of")}
    assert picked == {"Columns of weather": ["sun", "rain"], "Columns of person": ["age", "sex"]}
    for key in ("files", "beside weather", "beside person"):
        app.selectbox(key=f"baseline {key}").set_value("Zeros")
        wait(app)
    found = shown(app)
    wanted = xc.explain(Beside(), {"series": SERIES[:1], "weather": WEATHER[:1], "person": PERSON[:1]})
    for name in wanted.input_names:
        np.testing.assert_allclose(found.attributions[name].values, wanted.attributions[name].values, atol=1e-6)
    look = next(each for each in app.selectbox if each.label == "Input to look at")
    look.set_value("weather")
    wait(app)
    assert app.query_params["input"] == "weather"
    app.query_params["input"] = "person"  # as a link may say
    wait(app)
    assert next(each for each in app.selectbox if each.label == "Input to look at").value == "person"
    assert stage(app)["input"] == "person"
    assert not app.toast
    without = rows(header[:5], zip(NAMES, together[..., :5], strict=True))
    upload(app, data=("five.csv", without))
    assert "The model also takes **person**" in text(app)
    source = next(each for each in app.selectbox if each.label == "Where person comes from")
    source.set_value("numbers")
    wait(app)
    app.text_input(key="input numbers 2").set_value("31, one")
    wait(app)
    assert "What was typed is not all numbers." in app.error[0].value
    app.text_input(key="input numbers 2").set_value("31, 0.5")
    wait(app)
    found = shown(app)
    np.testing.assert_array_equal(found.inputs["person"].values, [[31, 0.5]])
    assert found.adds_up()


class Film(nn.Module):
    """Images in time: each is seen by a convolution, and all of them are read in their order."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.see = nn.Conv2d(2, 3, 3)
        self.gru = nn.GRU(12, 4, batch_first=True)
        self.head = nn.Linear(4, 1)

    def forward(self, film):
        n, t = film.shape[:2]
        seen = torch.tanh(self.see(film.flatten(0, 1)))
        return self.head(self.gru(seen.reshape(n, t, -1))[0][:, -1])


def test_images_in_time_are_shown_as_sums_over_each_image(app):
    wait(app)
    films = np.random.default_rng(3).normal(size=(2, 5, 2, 4, 4)).astype("float32")
    file = io.BytesIO()
    np.savez(file, films=films, labels=np.zeros(2))
    upload(app, ("film.pt2", program(Film(), torch.randn(1, 5, 2, 4, 4))), ("films.npz", file.getvalue()))
    assert "2 samples · 5 timesteps · 2 × 4 × 4 numbers each" in text(app)
    app.selectbox(key="baseline files").set_value("First step, held")
    wait(app)
    found = shown(app)
    held = np.broadcast_to(films[:1, :1], films[:1].shape)
    wanted = xc.explain(Film(), films[:1], np.array(held))
    assert found.attributions.dims == ("sample", "time", "feature")
    assert found.attributions["feature"].values.tolist() == ["channel 1", "channel 2"]
    sums = wanted.attributions.values.sum(axis=(3, 4))
    np.testing.assert_allclose(found.attributions.values, sums, atol=1e-6)
    assert found.adds_up()
    assert "Each cell is the sum over 16 places (4 × 4)" in text(app).replace("\\", "")
    upload(app, data=("walk.csv", table(WALK)))
    assert "The model takes arrays of 5 axes, such as images, and the file is no array of NumPy" in app.error[0].value
    app.switch_page("pages/model.py")
    wait(app)


class Wave(nn.Module):
    def forward(self, wave):
        return wave.real.sum((1, 2))


def test_what_no_file_can_give_is_said_before_a_sequence_is_given(app):
    wait(app)
    upload(app, ("wave.pt2", program(Wave(), torch.randn(1, STEPS, 3, dtype=torch.complex64))))
    assert "This model cannot be explained here." in app.warning[0].value
    assert "complex64" in app.warning[0].value
    assert "model = xc.load_model('wave.pt2')" in app.code[0].value
    assert not any("Now give a" in info.value for info in app.info)
    upload(app, ("gru.pt2", program(TimeFirst(), torch.randn(STEPS, 1, 3))))
    assert not app.warning
