"""The bundled demos: complete, small, readable, and as good as they say on the sequences they ship."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from explain_core import explain
from explain_core.demos import DEMO_ROOT, Demo, list_demos, load_demo
from explain_core.errors import InputError, SequenceFileError

SLUGS = ["seattle-weather", "japanese-vowels", "el-nino", "snowmelt"]
FIRST_ROW = "forecast for 2015-01-01,2014-12-02,0.0,5.6,-3.2,5.7,-0.4972,0.8676\n"
TORCH_SLUGS = ["seattle-weather", "japanese-vowels", "snowmelt"]
# The predictions in the manifests are from the machine that trained; other kernels round differently.
TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}


def torch_predictions(demo: Demo, *inputs: np.ndarray) -> np.ndarray:
    """What the demo's `.pt2` model gives, one row per sequence."""
    import torch

    module = torch.export.load(demo.model_path).module()
    with torch.no_grad():
        return module(*(torch.tensor(array) for array in inputs)).numpy()


def keras_predictions(demo: Demo, *inputs: np.ndarray) -> np.ndarray:
    """What the demo's `.keras` model gives, one row per sequence."""
    import keras

    model = keras.saving.load_model(demo.model_path, compile=False, safe_mode=True)
    return np.asarray(model(*inputs))


def assert_reproduces_its_figures(demo: Demo, predicted: np.ndarray) -> None:
    """The predictions are the manifest's, and give the metric that it states for the shipped sequences."""
    np.testing.assert_allclose(predicted, [s.predicted for s in demo.held_out], **TOLERANCE)
    observed = [s.observed for s in demo.held_out]
    if demo.task == "classification":
        named = [demo.output_names[k] for k in predicted.argmax(1)]
        metric = np.mean([one == other for one, other in zip(named, observed, strict=True)])
    else:
        metric = np.sqrt(np.mean((predicted[:, demo.default_target] - observed) ** 2))
    assert metric == pytest.approx(demo.metrics.shipped_model, rel=1e-4, abs=2e-4)  # what was observed is rounded
    assert demo.metrics.shipped_n == len(observed)


def test_the_list_names_every_demo_in_the_order_to_show_them():
    assert [summary.slug for summary in list_demos()] == SLUGS
    assert {summary.framework for summary in list_demos()} == {"torch", "tensorflow"}


@pytest.mark.parametrize("slug", SLUGS)
def test_a_manifest_is_complete(slug):
    demo = load_demo(slug)
    for text in (
        "title",
        "description",
        "input_name",
        "time_label",
        "time_unit",
        "output_label",
        "output_unit",
    ):
        assert getattr(demo, text).strip()
    for text in ("source", "url", "licence", "citation"):
        assert getattr(demo, text).strip()
    assert all(feature.label for feature in demo.features)
    assert demo.task in {"regression", "classification"}
    assert demo.default_sequence in demo.names
    assert demo.default_baseline in {"mean", "background"}
    assert 0 <= demo.default_target < len(demo.output_names)
    assert len(set(demo.names)) == len(demo.names) >= 20
    for sequence in demo.held_out:
        assert len(sequence.predicted) == len(demo.output_names)
        if demo.task == "classification":
            assert sequence.observed in demo.output_names
        else:
            assert np.isfinite(sequence.observed)


@pytest.mark.parametrize("slug", SLUGS)
def test_arrays_agree_with_each_other(slug):
    demo = load_demo(slug)
    n, steps, features = demo.x.shape
    assert (n, features) == (len(demo.held_out), len(demo.features))
    assert demo.background.shape[1:] == (steps, features)
    assert 32 <= len(demo.background) <= 64
    assert demo.feature_mean.shape == (features,)
    assert demo.mean_baseline.shape == (1, steps, features)
    for array in (demo.x, demo.background, demo.feature_mean, demo.mean_baseline):
        assert array.dtype == np.float32
        assert np.isfinite(array).all()
    assert (demo.mean_baseline[0] == demo.feature_mean).all()
    valid = [steps] * n if demo.lengths is None else demo.lengths.tolist()
    assert [len(times) for times in demo.times] == valid
    assert demo.model_inputs(0)[0].shape == (1, steps, features)
    assert demo.index(demo.names[-1]) == n - 1


@pytest.mark.parametrize("slug", SLUGS)
def test_the_model_beats_every_naive_reference(slug):
    metrics = load_demo(slug).metrics
    assert any(reference.naive for reference in metrics.references)
    sign = -1 if metrics.lower_is_better else 1
    for reference in metrics.references:
        if reference.naive:
            assert sign * metrics.model > sign * reference.value, reference.name


@pytest.mark.parametrize("slug", SLUGS)
def test_files_are_small(slug):
    demo = load_demo(slug)
    assert demo.model_path.stat().st_size < 100_000
    assert sum(path.stat().st_size for path in demo.folder.iterdir()) < 1_000_000


@pytest.mark.parametrize("slug", TORCH_SLUGS)
def test_a_torch_model_reproduces_its_figures(slug):
    demo = load_demo(slug)
    assert_reproduces_its_figures(demo, torch_predictions(demo, *demo.model_inputs()))


@pytest.mark.parametrize("slug", TORCH_SLUGS)
@pytest.mark.parametrize("batch", [1, 2, 7])
def test_a_torch_model_takes_any_batch_and_treats_each_sequence_alone(slug, batch):
    demo = load_demo(slug)
    predicted = torch_predictions(demo, *demo.model_inputs(slice(batch)))
    np.testing.assert_allclose(predicted, [s.predicted for s in demo.held_out[:batch]], **TOLERANCE)


@pytest.mark.parametrize("slug", TORCH_SLUGS)
def test_a_torch_model_file_holds_a_graph_and_plain_tensors_only(slug):
    with zipfile.ZipFile(load_demo(slug).model_path) as archive:
        parts = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    weights = json.loads(parts["data/weights/model_weights_config.json"])["config"]
    assert weights
    assert not any(entry["use_pickle"] for entry in weights.values())
    assert parts["data/sample_inputs/model.pt"] == b""  # the one part that could be a pickle
    assert json.loads(parts["data/constants/model_constants_config.json"]) == {"config": {}}
    graph = json.loads(parts["models/model.json"])
    nodes = graph["graph_module"]["graph"]["nodes"]
    recurrent = [node["target"] for node in nodes if re.search(r"aten\.(lstm|gru)\.", node["target"])]
    assert len(recurrent) == 1
    assert not any("stack_trace" in node["metadata"] for node in nodes)


def test_padding_does_not_change_what_the_speaker_model_says():
    demo = load_demo("japanese-vowels")
    x, lengths = demo.model_inputs()
    other = x.copy()
    for row, length in enumerate(lengths):
        other[row, length:] = 7.0
    assert (other != x).any()
    np.testing.assert_array_equal(torch_predictions(demo, other, lengths), torch_predictions(demo, x, lengths))


@pytest.mark.parametrize(
    ("name", "says_without_the_winter", "share_of_the_winter"),
    [("flow on 2008-04-19", (10, 25), (0.35, 0.5)), ("flow on 2006-10-29", (170, 220), (0.0, 0.15))],
)
def test_the_river_remembers_the_snow_of_a_winter_and_forgets_the_rain_of_a_summer(
    name, says_without_the_winter, share_of_the_winter
):
    # Measured: 158 becomes 15 m³/s without what is older than 30 days, and 189 becomes 203; shares 0.41 and 0.11.
    demo = load_demo("snowmelt")
    x = demo.x[[demo.index(name)]]
    forgetful = x.copy()
    forgetful[:, :-30] = demo.feature_mean
    low, high = says_without_the_winter
    assert low < torch_predictions(demo, forgetful).item() < high

    import torch

    found = explain(torch.export.load(demo.model_path).module(), x, demo.mean_baseline, keep_gates=False)
    assert found.adds_up(0, 0)
    size = np.abs(np.asarray(found.attributions).reshape(180, 4)).sum(axis=1)
    low, high = share_of_the_winter
    assert low < size[:-30].sum() / size.sum() < high


def test_the_keras_model_reproduces_its_figures():
    demo = load_demo("el-nino")
    assert_reproduces_its_figures(demo, keras_predictions(demo, *demo.model_inputs()))


def test_the_keras_model_has_built_in_layers_only():
    with zipfile.ZipFile(load_demo("el-nino").model_path) as archive:
        layers = json.loads(archive.read("config.json"))["config"]["layers"]
    assert [layer["class_name"] for layer in layers] == [
        "InputLayer",
        "Normalization",
        "GRU",
        "Dense",
        "Rescaling",
    ]
    assert all(layer["module"] == "keras.layers" and not layer["registered_name"] for layer in layers)


def test_the_readme_states_the_figures_of_the_manifests():
    readme = (DEMO_ROOT / "README.md").read_text(encoding="utf-8")
    for slug in SLUGS:
        demo = load_demo(slug)
        section = readme.partition(f"## {demo.title}")[2].partition("\n## ")[0]
        percent = demo.task == "classification"
        for figure in (demo.metrics.model, *(reference.value for reference in demo.metrics.references)):
            shown = f"{figure:.1%}".replace("%", " %") if percent else f"{figure:.2f} {demo.metrics.unit}"
            assert f"| {shown} |" in section, (slug, shown)
        assert demo.licence in section
        assert demo.url in section


def test_demos_are_read_without_a_framework():
    code = "import sys; from explain_core.demos import *; load_demo('el-nino'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "explain_core.demos" in loaded
    assert not {"torch", "tensorflow", "keras"} & set(loaded)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with a copy of one demo, to be broken."""
    shutil.copytree(DEMO_ROOT / "seattle-weather", tmp_path / "seattle-weather")
    return tmp_path


def test_an_unknown_demo_is_an_error_that_lists_the_others(copy):
    with pytest.raises(InputError, match=r"'rain'.*\n.*seattle-weather"):
        load_demo("rain", copy)
    with pytest.raises(InputError, match="no demo"):
        load_demo("../seattle-weather", copy / "seattle-weather")
    assert list_demos(copy / "nowhere") == []


def test_an_unknown_sequence_is_an_error_that_lists_the_others(copy):
    with pytest.raises(InputError, match=r"'tomorrow'.*\n.*forecast for 2015-07-19"):
        load_demo("seattle-weather", copy).index("tomorrow")


@pytest.mark.parametrize("content", ['{"schema": 99}', "[]", "{"])
def test_a_manifest_of_another_kind_is_refused(copy, content):
    (copy / "seattle-weather" / "demo.json").write_text(content)
    with pytest.raises(InputError, match=r"demo\.json"):
        load_demo("seattle-weather", copy)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("temp_max", "temperature", "columns"),
        ("forecast for 2015-01-15", "something else", "manifest lists"),
        (FIRST_ROW, FIRST_ROW * 2, "31 rows; the most is 30"),
        (FIRST_ROW, "", "must have 30 rows"),
    ],
)
def test_sequences_that_do_not_match_the_manifest_are_refused(copy, old, new, message):
    path = copy / "seattle-weather" / "sequences.csv"
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new))
    with pytest.raises(SequenceFileError, match=message):
        load_demo("seattle-weather", copy)
