"""The app with models whose inputs and outputs are not one sequence in and one number out."""

import io
import warnings

import numpy as np
import torch
from app_tools import app, wait, workers
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
    if any(button.key == "explain" for button in app.button):
        app.button(key="explain").click()
        wait(app)
    assert not app.error, app.error[0].value
    session = app.session_state["session"]
    return session.load(next(reversed(session._loaded)))


def output_of(app):
    """The widget that chooses the output on the page."""
    return next(each for each in app.main.selectbox if each.key.startswith("output "))


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
    app.selectbox(key="baseline files").set_value("Average of my sequences")
    wait(app)
    found = shown(app)
    assert app.title[0].value == "Gru forecaster: GRU in PyTorch"
    baseline = np.broadcast_to(WALK.mean(axis=0), (STEPS, 1, 3)).astype("float32")
    wanted = xc.explain(model, WALK[:, None], baseline, sample_axis=1)
    assert found.attributions.dims == ("sample", "time", "feature")
    assert found.attributions["feature"].values.tolist() == ["speed", "slope", "load"]
    np.testing.assert_allclose(found.attributions.values[0], wanted.attributions.values[0], atol=1e-6)
    assert found.adds_up()


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
    wanted = xc.explain(model, WALK[None], target=[(i, 1) for i in range(STEPS)])
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
    wanted = xc.explain(model, WALK[None], target=[("kind", i) for i in range(3)])
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
