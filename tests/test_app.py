"""The pages, run by Streamlit's own test runner with the real worker: what they show, and what errors say."""

import io
import json
import subprocess
import sys
import warnings
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from app_jobs import imported_frameworks
from app_tools import ROOT, SOON, app, press_explain, stage, wait, workers
from hostile_jobs import sleep
from torch import nn

from explain_core.demos import list_demos, load_demo
from explain_core.jobs.job import Job
from ui.picture import pair_picture

__all__ = ["app", "workers"]  # the fixtures

PAGES = ["pages/explanation.py", "pages/layers.py", "pages/model.py", "pages/how.py"]


def text(app):
    """All words on the page."""
    parts = [*app.title, *app.markdown, *app.caption, *app.info, *app.error, *app.subheader, *app.code]
    parts = [str(part.value) for part in parts]
    if shown := stage(app):
        parts += [shown["title"], shown["sequence"], shown["headline"], shown["residual"]["words"]]
    return "\n".join(parts)


class Regressor(nn.Module):
    def __init__(self, outputs=1):
        super().__init__()
        self.lstm = nn.LSTM(3, 8, batch_first=True)
        self.head = nn.Linear(8, outputs)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


def state_dict(outputs=1):
    torch.manual_seed(0)
    buffer = io.BytesIO()
    torch.save(Regressor(outputs).state_dict(), buffer)
    return buffer.getvalue()


def exported(steps=5):
    torch.manual_seed(0)
    buffer = io.BytesIO()
    with warnings.catch_warnings():  # the exporter's own
        warnings.simplefilter("ignore")
        program = torch.export.export(Regressor(), (torch.randn(2, steps, 3),))
    torch.export.save(program, buffer)
    return buffer.getvalue()


def output_names(app):
    """The widget for the names of the outputs; it has another key for each model."""
    return next(widget for widget in app.text_input if widget.key.startswith("output names"))


CSV = b"speed,slope,load\n" + b"\n".join(b"%d,%.1f,0" % (i, i / 2) for i in range(5))


def upload(app, model=None, data=None):
    """Choose own files, as a person does one after the other."""
    if app.segmented_control(key="source").value != "files":
        app.segmented_control(key="source").set_value("files")
        wait(app)
    for key, file in (("model", model), ("data", data)):
        if file is not None:
            app.file_uploader(key=f"upload {key}").set_value((*file, "application/octet-stream"))
            wait(app)
    return app


def test_the_app_opens_on_a_demo_with_a_result_nobody_asked_for(app):
    wait(app)
    demo = load_demo(list_demos()[0].slug)
    shown = stage(app)
    assert shown["title"] == demo.title
    predicted = demo.held_out[demo.index(demo.default_sequence)].predicted[0]
    assert shown["prediction"] == pytest.approx(predicted, rel=1e-3)
    assert shown["observed"]
    assert shown["residual"]["fine"]
    assert not app.get("plotly_chart")  # it is in a drawer, which computes nothing while it is closed


@pytest.mark.parametrize("page", PAGES)
def test_every_page_of_every_demo(app, page):
    wait(app)
    for demo in list_demos():
        if demo.framework != "torch":
            continue  # has a test of its own
        app.selectbox(key="demo").set_value(demo.slug)
        app.switch_page(page)
        wait(app)
        assert not app.error
        assert app.title or stage(app)


def test_the_keras_demo_on_every_page_with_the_other_engine_and_as_a_file(app):
    wait(app)
    app.selectbox(key="demo").set_value("el-nino")
    wait(app)
    demo = load_demo("el-nino")
    predicted = demo.held_out[demo.index(demo.default_sequence)].predicted[0]
    assert stage(app)["prediction"] == pytest.approx(predicted, rel=1e-3)
    assert "Adds up" in text(app)
    for page in PAGES:
        app.switch_page(page)
        wait(app)
        assert app.title or stage(app)
        assert not app.error
    app.switch_page(PAGES[0])
    app.selectbox(key="backend").set_value("torch")
    wait(app)
    assert "This is a TensorFlow model, and PyTorch was asked to explain it." in app.error[0].value
    app.selectbox(key="backend").set_value("tensorflow")
    wait(app)
    assert "Adds up" in text(app)
    app.selectbox(key="backend").set_value("auto")
    rows = b"a,b,c,d,e,f\n" + b"24,26,28,27,0,1\n" * 12
    upload(app, ("own.keras", demo.model_path.read_bytes()), ("months.csv", rows))
    press_explain(app)
    wait(app)
    assert stage(app)["title"] == "Own: GRU in TensorFlow"
    assert "Adds up" in text(app)
    found = app.session_state["session"].workers
    imported = {name: worker.run(imported_frameworks).result(SOON) for name, worker in found.items()}
    assert imported == {"tensorflow": ["keras", "tensorflow"], None: []}


def test_another_sequence_and_baseline_of_a_demo(app, monkeypatch):
    wait(app)
    before = text(app)
    slug = app.selectbox(key="demo").value
    app.selectbox(key=f"sequence {slug}").select_index(0)
    with monkeypatch.context() as never_done:
        never_done.setattr(Job, "done", property(lambda job: False))
        app.run()
    (dimmed,) = app.get("bidi_component")  # while the next is computed, the one before is still there
    assert json.loads(dimmed.proto.json)["dimmed"]
    assert json.loads(dimmed.proto.json)["headline"] in before
    wait(app)
    between = text(app)
    app.selectbox(key=f"baseline {slug}").set_value("Zeros")
    wait(app)
    assert len({before, between, text(app)}) == 3
    assert "a sequence of zeros" in text(app)


def test_gates_page_shows_each_layer(app):
    wait(app)
    app.switch_page("pages/layers.py")
    wait(app)
    assert app.main.selectbox[0].label == "Layer"
    assert "Adds up" in text(app)
    app.segmented_control(key="gates by").set_value("unit")
    wait(app)
    assert len(app.get("plotly_chart")) == 2


def test_uploaded_state_dict_and_csv(app):
    wait(app)
    upload(app, ("walk.pth", state_dict()), ("walk.csv", CSV))
    assert "Then press **Explain**" in text(app)
    assert app.selectbox(key="option read").options[0] == "last step"
    press_explain(app)
    wait(app)
    assert stage(app)["title"] == "Walk: LSTM in PyTorch"
    assert "Adds up" in text(app)
    torch.manual_seed(0)
    x = torch.tensor(np.loadtxt(io.BytesIO(CSV), delimiter=",", skiprows=1), dtype=torch.float32)
    predicted = Regressor()(x[None]).item()
    assert stage(app)["prediction"] == pytest.approx(predicted, rel=1e-3)
    note = next(caption.value for caption in app.caption if "Not in the file, so assumed or chosen." in caption.value)
    assert "The head reads: last step." in note


def test_a_choice_that_completes_the_state_dict_changes_the_prediction(app):
    wait(app)
    upload(app, ("walk.pth", state_dict()), ("walk.csv", CSV))
    press_explain(app)
    wait(app)
    before = stage(app)["prediction"]
    app.selectbox(key="option read").set_value("mean over time")
    wait(app)
    press_explain(app)
    wait(app)
    assert stage(app)["prediction"] != before


def test_several_outputs_have_names(app):
    wait(app)
    upload(app, ("walk.pth", state_dict(outputs=2)), ("walk.csv", CSV))
    output_names(app).set_value("rising, falling")
    wait(app)
    press_explain(app)
    wait(app)
    assert {
        option.removesuffix(" (largest)")
        for option in next(each for each in app.selectbox if each.label == "Output").options
    } == {
        "rising",
        "falling",
    }


def test_many_sequences_of_unequal_lengths(app):
    wait(app)
    many = b"sequence,a,b,c\n" + b"".join(b"%s,1,2,3\n" % name for name in (b"p", b"p", b"q", b"q", b"q"))
    upload(app, ("walk.pth", state_dict()), ("walks.csv", many))
    app.selectbox(key="sequence files").set_value("q")
    wait(app)
    app.selectbox(key="baseline files").set_value("Average of my sequences")
    wait(app)
    press_explain(app)
    wait(app)
    assert "q" in text(app)
    assert "adds up" in text(app).lower()


def test_files_are_remembered_while_looking_at_a_demo(app):
    wait(app)
    upload(app, ("walk.pth", state_dict()), ("walk.csv", CSV))
    confirmed = next(box.key for box in app.checkbox if box.key.startswith("confirmed "))
    app.checkbox(key=confirmed).check()
    app.selectbox(key="option read").set_value("mean over time")
    output_names(app).set_value("height")
    wait(app)
    app.segmented_control(key="source").set_value("demo")
    wait(app)
    app.segmented_control(key="source").set_value("files")
    wait(app)
    assert stage(app)["title"] == "Walk: LSTM in PyTorch"
    assert app.selectbox(key="option read").value == "mean over time"
    assert app.checkbox(key=confirmed).value
    assert output_names(app).value == "height"


@pytest.mark.parametrize("page", ["pages/explanation.py", "pages/layers.py", "pages/parity.py"])
def test_pages_say_which_half_is_missing(app, page):
    wait(app)
    upload(app, data=("walk.csv", CSV))
    app.switch_page(page).run()
    assert ["Now give the **model**" in info.value for info in app.info] == [True]
    app.file_uploader(key="upload data").clear()
    wait(app)
    upload(app, ("walk.pth", state_dict()))
    assert ["Now give a **sequence**" in info.value for info in app.info] == [True]


@pytest.mark.parametrize(
    ("model", "data", "said"),
    [
        (b"", None, "The model file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", None, "git-LFS pointer"),
        (state_dict(), b"a,b,c\n1,2,x\n", "'x' is not a finite number"),
        (state_dict(), b"a,b\n1,2\n", "The model takes 3 features; the sequence has 2: a, b"),
        (exported(), b"a,b,c\n1,2,3\n", "The model takes exactly 5 timesteps; the sequence has 1"),
    ],
    ids=["empty model", "pointer", "text in numbers", "features", "timesteps"],
)
def test_errors_say_what_and_the_app_goes_on(app, model, data, said):
    wait(app)
    upload(app, ("model.pt2", model), data and ("walk.csv", data))
    assert len(app.error) == 1
    assert said.replace("-", "\\-") in app.error[0].value.replace("\\-", "-").replace("-", "\\-")
    upload(app, ("walk.pth", state_dict()), ("walk.csv", CSV))
    assert not app.error
    app.segmented_control(key="source").set_value("demo")
    wait(app)
    assert "Adds up" in text(app)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_drawing_of_how_it_works_is_an_image_whose_shares_add_up(theme):
    drawn = ElementTree.fromstring(pair_picture(theme))
    words = [element.text for element in drawn.iter("{http://www.w3.org/2000/svg}text")]
    shares = [float(word.replace("−", "-")) for word in words if word[0] in "+−"]
    answer, baseline, total = [float(word.strip("=+ °C\N{NO-BREAK SPACE}")) for word in words if "°C" in word]
    assert sum(shares) == pytest.approx(answer - baseline) == total


def test_cancel_and_try_again(app, workers):
    wait(app)
    upload(app, ("walk.pth", state_dict()), ("walk.csv", CSV))
    before = workers["torch"].run(sleep, SOON)  # so that the explanation is not done before it is cancelled
    press_explain(app)
    app.run()
    app.button(key="cancel").click()
    wait(app)
    assert "Cancelled" in text(app)
    before.cancel()
    app.button(key="again").click()
    wait(app)
    assert "Adds up" in text(app)


def test_a_bug_gets_an_id_that_is_in_the_log(app, monkeypatch, caplog):
    wait(app)

    def fail(*args, **kwargs):
        raise RuntimeError("secret detail")

    monkeypatch.setattr("ui.components.stage.scene_of", fail)
    app.run()
    shown = app.error[0].value
    number = shown.split("`")[1]
    assert "secret" not in shown
    assert any(number in record.getMessage() for record in caplog.records)


def test_the_apps_own_process_imports_no_framework():
    code = """
import os, sys
from streamlit.testing.v1 import AppTest
import time
if __name__ == "__main__":
    app = AppTest.from_file(os.path.abspath("app.py"), default_timeout=90).run()
    while any(button.key == "cancel" for button in app.button):
        time.sleep(0.1)
        app.run()
    assert app.get("bidi_component"), app
    for page in ("pages/layers.py", "pages/model.py", "pages/how.py"):
        app.switch_page(page).run()
        assert not app.exception
    print(sorted({"torch", "tensorflow", "keras", "jax"} & set(sys.modules)))
    app.session_state["session"].close()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=SOON)
    assert done.stdout.strip() == "[]", done.stderr
