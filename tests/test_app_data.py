"""Data in the app: what does not fit is offered a way on, and units, windows and words reach the page."""

import io
import json

import numpy as np
import pytest
import torch
from app_tools import ROOT, SOON, app, press_explain, wait, workers
from streamlit.testing.v1 import AppTest
from test_app import CSV, exported, state_dict, text, upload
from torch import nn

from explain_core.errors import JobError
from explain_core.explanation.own_units import in_own_units
from ui.model import _known

__all__ = ["app", "workers"]  # the fixtures


def press(app, label):
    next(button for button in app.button if button.label == label).click()
    return wait(app)


def explanation(app):
    press_explain(app)
    wait(app)
    assert not app.error
    session = app.session_state["session"]
    return session.load(next(reversed(session._loaded)))


ROWS = np.random.default_rng(0).normal(20, 5, size=(12, 3)).round(2)
TABLE = "engine;speed;slope;load\n" + "\n".join(
    f"{1 + i // 6};" + ";".join(f"{v}".replace(".", ",") for v in row) for i, row in enumerate(ROWS)
)


def test_one_click_makes_a_file_fit_another_cuts_it_and_a_scaling_keeps_its_units(app):
    wait(app)
    upload(app, ("steps.pt2", exported(steps=5)), ("walk.csv", TABLE.encode()))
    assert "The model takes 3 features; the sequence has 4" in app.error[0].value
    press(app, "Leave out 'engine'")
    assert "The model takes exactly 5 timesteps; the sequence has 12" in app.error[0].value
    press(app, "Cut windows of 5 timesteps")
    assert not app.error
    assert app.selectbox(key="sequence files").value == "8 to 12"  # of windows, the latest
    assert "8 sequences · 5 timesteps · 3 features" in text(app)

    app.selectbox(key="scaling kind").set_value("file")
    wait(app)
    scaler = json.dumps({"mean_": [20, 21, 22], "scale_": [5, 6, 7]}).encode()
    app.file_uploader(key="upload scaling").set_value(("scaler.json", scaler, "application/json"))
    wait(app)
    found = explanation(app)
    np.testing.assert_allclose(found.inputs.values[0], (ROWS[7:] - [20, 21, 22]) / [5, 6, 7], rtol=1e-6)
    np.testing.assert_allclose(in_own_units(found.inputs).values[0], ROWS[7:], rtol=1e-6)

    app.switch_page("pages/model.py")
    wait(app)
    assert "What is in the sequence file" in text(app)
    assert "Numbers are read with a comma for decimals" in text(app)
    assert "attributions belong to the model" in text(app)


def test_other_sequences_as_background_and_another_order_of_features(app):
    wait(app)
    header, *rows = TABLE.replace("engine", "unit").splitlines()
    three = [header, *rows, *(f"3{row[1:]}" for row in rows[:6])]
    upload(app, ("walk.pth", state_dict()), ("walk.csv", "\n".join(three).encode()))
    assert not app.error
    picker = next(each for each in app.multiselect if each.label.startswith("Features"))
    assert list(picker.value) == ["speed", "slope", "load"]
    picker.set_value(["load", "speed", "slope"])
    wait(app)
    app.selectbox(key="baseline files").set_value("Other sequences, averaged")
    wait(app)
    found = explanation(app)
    np.testing.assert_allclose(found.inputs.values[0], ROWS[:6][:, [2, 0, 1]], rtol=1e-6)
    np.testing.assert_allclose(found.baselines.values[0], (ROWS[6:] + ROWS[:6])[:, [2, 0, 1]] / 2, rtol=1e-6)
    press(app, "As the file shows")
    picker = next(each for each in app.multiselect if each.label.startswith("Features"))
    assert list(picker.value) == ["speed", "slope", "load"]


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(8, 3)
        self.lstm = nn.LSTM(3, 4, batch_first=True)
        self.head = nn.Linear(4, 1)


def words_file():
    torch.manual_seed(0)
    buffer = io.BytesIO()
    torch.save(Words().state_dict(), buffer)
    return buffer.getvalue()


def test_words_need_their_vocabulary_and_stand_in_the_result(app):
    wait(app)
    upload(app, ("words.pth", words_file()), ("ids.csv", b"4,2,7,3\n"))  # ids need none: a row is a sequence of them
    assert "4 tokens" in text(app)
    assert explanation(app).inputs.values.tolist() == [[4, 2, 7, 3]]
    upload(app, data=("texts.txt", b"the cat sat\nthe dog sat\n"))
    assert "The model takes token ids, and the file has no numbers that could be." in app.error[0].value
    vocabulary = b"[PAD]\n[UNK]\nthe\ncat\nsat\n"
    app.file_uploader(key="upload vocabulary").set_value(("vocabulary.txt", vocabulary, "text/plain"))
    wait(app)
    found = explanation(app)
    assert found.inputs.values.tolist() == [[2, 3, 4]]
    assert list(found.inputs["token"].values[0]) == ["the", "cat", "sat"]
    app.switch_page("pages/model.py")
    wait(app)
    assert "Not in the vocabulary, so given the id 1: “dog”." in text(app)


@pytest.fixture(scope="module")
def shared():
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        one = AppTest.from_file(str(ROOT / "app.py"), default_timeout=SOON)
        wait(one)
        upload(one, ("walk.pth", state_dict()))
        yield one
        one.session_state["session"].close()


@pytest.mark.parametrize(
    "content",
    [b"\x80\x04\x95.", b"PAR1PAR1", b"[" * 50_000, b"\x93NUMPY\x01\x00", b"\0" * 100],
    ids=["pickle", "parquet", "deep json", "npy", "nothing"],
)
def test_hostile_files_are_an_error_and_the_app_goes_on(shared, content):
    upload(shared, None, ("data.csv", content))
    assert len(shared.error) == 1
    upload(shared, None, ("walk.csv", CSV))
    assert not shared.error


@pytest.mark.parametrize("said", ["evil", "", None, 1, ["torch"], {"torch": 1}])
def test_a_worker_that_names_another_framework_is_an_error(said):
    with pytest.raises(JobError, match="answered with something else"):
        _known(said)
    assert _known("torch") == "torch"
