"""The app with Keras models of several inputs and of time first; TensorFlow is in other processes only."""

import subprocess
import sys

import numpy as np
import pytest
from app_tools import ROOT, app, wait, workers
from test_app import text, upload
from test_app_inputs import NAMES, PERSON, SERIES, STEPS, WALK, rows, shown, table

__all__ = ["app", "workers"]  # the fixtures

MAKE = f"""
import sys
import keras
import numpy as np
import explain_core as xc

folder, values = sys.argv[1], np.load(sys.argv[2])
keras.utils.set_random_seed(0)
series, person = keras.Input(({STEPS}, 3), name="series"), keras.Input((2,), name="person")
both = keras.layers.Concatenate()([keras.layers.LSTM(4)(series), person])
two = keras.Model([person, series], keras.layers.Dense(1, name="risk")(both))
two.save(folder + "/two_inputs.keras")
found = xc.explain(two, {{"person": values["person"], "series": values["series"]}})
turned = keras.Input(batch_shape=({STEPS}, None, 3), name="walk")
last = keras.layers.GRU(4)(keras.ops.transpose(turned, (1, 0, 2)))
first = keras.Model(turned, keras.layers.Dense(1)(last))
first.save(folder + "/time_first.keras")
moved = xc.explain(first, values["walk"][:, None], sample_axis=1)
both = {{name: array.values for name, array in found.attributions.items()}}
np.savez(folder + "/wanted.npz", walk=moved.attributions.values, **both)
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The folder with the models, and what the library says of them."""
    folder = tmp_path_factory.mktemp("keras")
    np.savez(folder / "values.npz", series=SERIES[1:], person=PERSON[1:], walk=WALK)
    given = [sys.executable, "-c", MAKE, str(folder), str(folder / "values.npz")]
    done = subprocess.run(given, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_a_keras_model_of_a_sequence_and_numbers_beside_it(app, files):
    wait(app)
    upload(app, ("two_inputs.keras", (files / "two_inputs.keras").read_bytes()))
    upload(app, data=("series.csv", rows(["a", "b", "c"], zip(NAMES, SERIES, strict=True))))
    place = next(int(each.key.rpartition(" ")[2]) for each in app.file_uploader if each.label == "File of person")
    person = rows(["age", "sex"], zip(NAMES, PERSON[:, None], strict=True))
    app.file_uploader(key=f"upload input {place}").set_value(("person.csv", person, "text/csv"))
    wait(app)
    app.selectbox(key="sequence files").set_value("south")
    for key in ("files", "beside person"):
        app.selectbox(key=f"baseline {key}").set_value("Zeros")  # as the library compares where nothing is said
        wait(app)
    found, wanted = shown(app), np.load(files / "wanted.npz")
    assert found.input_names == ["series", "person"]
    for name in found.input_names:
        np.testing.assert_allclose(found.attributions[name].values, wanted[name], atol=1e-6)


def test_a_keras_model_that_takes_time_first(app, files):
    wait(app)
    upload(app, ("time_first.keras", (files / "time_first.keras").read_bytes()), ("walk.csv", table(WALK)))
    assert "The model takes **time first**" in text(app)
    app.selectbox(key="baseline files").set_value("Zeros")
    wait(app)
    found, wanted = shown(app), np.load(files / "wanted.npz")
    assert found.attributions.dims == ("sample", "time", "feature")
    np.testing.assert_allclose(found.attributions.values[0], wanted["walk"].reshape(STEPS, 3), atol=1e-6)
