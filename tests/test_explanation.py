"""Labels, sums, selection, files and tables of an `Explanation`, against numbers worked out by hand."""

import os
import subprocess
import sys
import warnings

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from explain_core.backends.protocol import GateTrace
from explain_core.errors import ExplanationFileError, InputError, TargetError
from explain_core.explanation import Explanation, conservation
from explain_core.explanation.build import LabelledInput, build_explanation


def small(dtype=np.float32, off=0.0, **changes):
    """One sample of 2 timesteps x 2 features; attributions 1, -2, 3, 0.5 add up to 2.5."""
    attributions = np.array([[[[1, -2], [3, 0.5]]]], dtype)
    given = {"output_labels": ["load"], "keep_output": False} | changes
    item = LabelledInput(
        "x",
        values=np.array([[[10, 20], [30, 40]]], dtype),
        baseline=np.zeros((1, 2, 2), dtype),
        attributions=attributions,
        dims=("time", "feature"),
        coords={"feature": ["a", "b"], "time": pd.to_datetime(["2024-01-01", "2024-01-02"])},
    )
    return build_explanation([item], np.array([[7.5 + off]], dtype), np.array([[5.0]], dtype), **given)


def gate_trace(rng, K, N, T, H=3):
    contribution, carry = rng.normal(size=(K, N, T, 4, H)), rng.normal(size=(K, N, T, H))
    return GateTrace(
        kind="LSTM",
        gates=("input", "forget", "candidate", "output"),
        contribution=contribution,
        carry=carry,
        mass=contribution.sum(axis=(3, 4)) + carry.sum(axis=3),
        activation=rng.normal(size=(2, N, T, 4, H)),
        state=rng.normal(size=(2, N, T, H)).astype(np.float32),
        cell=rng.normal(size=(2, N, T, H)),
    )


def large(K=2):
    """Everything at once: three inputs of different kinds, gates, embeddings, names that files find hard."""
    rng = np.random.default_rng(0)
    N, T, F = 3, 4, 2

    def sequence(name, dtype, **labels):
        values = rng.normal(size=(N, T, F)).astype(dtype)
        attributions = rng.normal(size=(K, N, T, F)).astype(dtype)
        coords = {"feature": ["a/b", "Temperatur in °C"]} | labels
        return LabelledInput(name, values, -values, attributions, ("time", "feature"), coords, lengths=[4, 3, 2])

    tokens = LabelledInput(
        "token ids",
        values=rng.integers(0, 9, (N, 5)),
        baseline=np.zeros((N, 5), int),
        attributions=rng.normal(size=(K, N, 5)),
        dims=("time",),
        coords={"time": np.datetime64("2020-01-01T00:00", "us") + np.arange(15).reshape(N, 5)},
        tokens=np.full((N, 5), "Maß"),
    )
    dates = pd.date_range("2024-03-30 23:00", periods=T, freq="h", tz="Europe/Berlin")
    inputs = [sequence("x/1", np.float32, time=dates), sequence("half", np.float16), tokens]
    total = sum(item.attributions.astype(float).reshape(K, N, -1).sum(-1) for item in inputs)
    return build_explanation(
        inputs,
        1 + total.T,
        np.ones((N, K)),
        output_labels=[f"class {k}" for k in range(K)],
        keep_output=K > 1,
        sample_labels=["first", "second", "dritte·"],
        gates={"encoder/lstm.l0": gate_trace(rng, K, N, T), "gru": gate_trace(rng, K, N, 7)},
        embedding_attributions={"token ids": rng.normal(size=(K, N, 5, 6))},
        notes=["One sentence.", "Überall Zeichen: φ ≠ 0"],
        attrs={"seconds": np.float64(0.1), "device": "cpu", "threads": None, "nested": {"list": [1, (2.5,)]}},
    )


def test_dims_are_as_promised():
    one, several = small(), large()
    assert one.attributions.dims == ("sample", "time", "feature")
    assert one.prediction.dims == ("sample", "output")
    assert several.attributions["x/1"].dims == ("output", "sample", "time", "feature")
    assert several.inputs["token ids"].dims == ("sample", "time")
    assert several.embedding_attributions["token ids"].dims == ("output", "sample", "time", "embedding")
    gates = several.gates["encoder/lstm.l0"]
    assert gates["contribution"].dims == ("output", "sample", "time", "gate", "unit")
    assert gates["mass"].dims == ("output", "sample", "time")
    assert gates["activation"].dims == ("member", "sample", "time", "gate", "unit")
    assert gates["cell"].dims == ("member", "sample", "time", "unit")
    assert list(gates["member"].values) == ["test", "baseline"]
    assert gates.attrs == {"kind": "LSTM"}


def test_residual_is_sum_minus_difference():
    exact, off = small(), small(off=0.25)
    assert float(exact.residual[0, 0]) == 0.0
    assert float(off.residual[0, 0]) == -0.25
    assert float(off.attribution_size[0, 0]) == 6.5
    assert float(off.relative_residual[0, 0]) == 0.25 / 6.5


def test_residual_covers_all_inputs_and_outputs():
    residual = large().residual
    assert residual.dims == ("sample", "output")
    assert residual.shape == (3, 2)
    # Sums of 28 numbers of size 1 in another order: at most 28 * eps * sum|a|, about 2e-13.
    np.testing.assert_allclose(residual, 0, atol=2e-13)


def test_residual_is_summed_in_float64():
    attributions = np.array([[[1e8, 1, 1, -1e8]]], np.float32)  # float32 would lose both ones
    item = LabelledInput("x", attributions[0], 0 * attributions[0], attributions, ("feature",))
    two, zero = np.full((1, 1), 2, np.float32), np.zeros((1, 1), np.float32)
    ex = build_explanation([item], two, zero, output_labels=["y"], keep_output=False)
    assert float(ex.residual[0, 0]) == 0.0


def test_nothing_over_nothing_is_zero():
    zeros = np.zeros((1, 1, 3))
    item = LabelledInput("x", zeros[0], zeros[0], zeros, ("feature",))
    one = np.ones((1, 1))
    same = build_explanation([item], one, one, output_labels=["y"], keep_output=False)
    assert float(same.relative_residual[0, 0]) == 0.0
    assert same.residual_in_words() == "adds up exactly"
    other = build_explanation([item], one + 0.5, one, output_labels=["y"], keep_output=False)
    assert float(other.relative_residual[0, 0]) == np.inf
    assert other.residual_in_words() == "does not add up: off by 0.5, with no attribution at all"


@pytest.mark.parametrize(
    ("dtype", "off", "adds_up", "words"),
    [
        (np.float64, 0.0, True, "adds up exactly"),
        (np.float64, 3e-13, True, "adds up: off by 3e-13 (5e-14 of all attribution)"),
        (np.float64, 0.13, False, "does not add up: off by 0.1, 2 % of all attribution"),
        (np.float64, 1e-10, False, "does not add up: off by 1e-10, 1.5e-9 % of all attribution"),
        (np.float32, 1e-5, True, "adds up: off by 1e-5 (2e-6 of all attribution)"),
        (np.float32, 1e-3, False, "does not add up: off by 0.001, 0.015 % of all attribution"),
        (np.float32, np.nan, False, "does not add up: the residual is not a finite number"),
    ],
)
def test_residual_in_words(dtype, off, adds_up, words):
    ex = small(dtype, off)
    assert ex.residual_in_words().startswith(words)
    assert ex.adds_up() is adds_up


def test_rounding_of_large_predictions_is_not_blamed_on_the_method():
    attributions = np.array([[[1e-3]]], np.float32)
    item = LabelledInput("x", attributions[0], 0 * attributions[0], attributions, ("feature",))
    large, step = np.float32(1000), np.float32(1000.001)  # float32 has steps of 6e-5 there
    ex = build_explanation([item], np.array([[step]]), np.array([[large]]), output_labels=["y"], keep_output=False)
    assert float(ex.relative_residual[0, 0]) > 1e-2
    assert ex.adds_up()
    assert ex.residual_in_words().startswith("adds up as far as float32 can tell: off by 2e-5")


def test_tolerance_follows_the_dtype_of_the_run():
    assert small(np.float32).tolerance == 1e-5
    assert small(np.float64).tolerance == 1e-12
    assert small(np.float64, attrs={"dtype": "float32"}).tolerance == 1e-5


def test_totals():
    ex = small()
    np.testing.assert_array_equal(ex.by_time(), [[-1, 3.5]])
    np.testing.assert_array_equal(ex.by_feature(), [[4, -1.5]])
    assert ex.by_time().dims == ("sample", "time")
    assert set(large().by_feature()) == {"x/1", "half"}
    assert set(large().by_time()) == {"x/1", "half", "token ids"}
    item = LabelledInput("x", np.ones((1, 2)), np.ones((1, 2)), np.ones((1, 1, 2)), ("feature",))
    flat = build_explanation([item], np.ones((1, 1)), np.ones((1, 1)), output_labels=["y"], keep_output=False)
    with pytest.raises(InputError, match="'time'"):
        flat.by_time()


def test_selection():
    ex = large()
    part = ex.sel(sample="second", output="class 1")
    assert part.attributions["x/1"].dims == ("sample", "time", "feature")
    np.testing.assert_array_equal(part.attributions["x/1"][0], ex.attributions["x/1"][1, 1])
    np.testing.assert_array_equal(part.gates["gru"]["mass"][0], ex.gates["gru"]["mass"][1, 1])
    np.testing.assert_array_equal(part.gates["gru"]["state"][:, 0], ex.gates["gru"]["state"][:, 1])
    assert part.prediction.shape == (1, 1)
    assert float(part.prediction[0, 0]) == float(ex.prediction[1, 1])
    assert list(ex.sel(sample=[2, "first"]).samples) == ["dritte·", "first"]
    assert list(ex.sel(sample=slice(1, None)).samples) == ["second", "dritte·"]
    assert ex.sel(output=[0, 1]).attributions["x/1"].dims[0] == "output"
    with pytest.raises(InputError, match="'fourth'"):
        ex.sel(sample="fourth")
    with pytest.raises(TargetError, match="2"):
        ex.sel(output=2)


def test_numbers_are_labels_where_labels_are_numbers():
    values = np.arange(3.0).reshape(3, 1)
    item = LabelledInput("x", values, 0 * values, values[None], ("feature",))
    ex = build_explanation([item], values, 0 * values, output_labels=["y"], keep_output=False, sample_labels=[2, 1, 7])
    assert float(ex.sel(sample=2).prediction[0, 0]) == 0.0
    with pytest.raises(InputError, match="no sample 0"):
        ex.sel(sample=0)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"output_labels": ["load", "wind"]}, "2 labels"),
        ({"sample_labels": ["s", "t"]}, "2 labels"),
    ],
)
def test_labels_that_do_not_fit(labels, message):
    with pytest.raises(InputError, match=message):
        small(**labels)


def test_twice_the_same_name():
    zeros = np.zeros((1, 1, 1))
    item = LabelledInput("x", zeros[0], zeros[0], zeros, ("feature",))
    with pytest.raises(InputError, match="'x' is there 2 times"):
        build_explanation([item, item], zeros[0], zeros[0], output_labels=["y"], keep_output=False)


def test_conservation_is_per_step():
    gates = large().gates["gru"].copy(deep=True)
    np.testing.assert_allclose(conservation(gates), 0, atol=1e-13)
    gates["contribution"][1, 2, 3, 0, 0] += 0.5
    broken = conservation(gates)
    assert broken.dims == ("output", "sample", "time")
    assert float(broken[1, 2, 3]) == pytest.approx(-0.5, abs=1e-13)
    assert int((abs(broken) > 1e-10).sum()) == 1


# Files


def assert_same(one: xr.DataArray | xr.Dataset, other: xr.DataArray | xr.Dataset):
    xr.testing.assert_identical(one, other)
    if isinstance(one, xr.Dataset):
        for name in one.data_vars:
            assert_same(one[name], other[name])
        return
    assert one.dtype == other.dtype
    assert one.values.tobytes() == other.values.tobytes()
    for name, coord in one.coords.items():
        assert coord.dtype == other[name].dtype, name


def test_a_selection_keeps_of_each_sample_only_what_is_of_the_chosen():
    ex = large()
    ex.attrs["targets"] = {"class 0": ["a", "b", "c"], "class 1": ["d", "e", "f"]}
    totals = [{"sample": s, "output": o, "error": i} for i, s in enumerate(ex.samples) for o in ex.outputs]
    ex.diagnostics["ledger"] = pd.DataFrame(totals)
    ex.diagnostics["ledger"].attrs = {"totals": totals, "method": "paired", "notes": ["one"]}
    part = ex.sel(sample=[2, "first"], output="class 1")
    assert part.attrs["targets"] == {"class 1": ["f", "d"]}
    assert sorted(r["error"] for r in part.diagnostics["ledger"].attrs["totals"]) == [0, 2]
    assert part.diagnostics["ledger"].attrs["notes"] == ["one"]
    assert ex.sel(sample=slice(1, 3)).attrs["targets"] == {"class 0": ["b", "c"], "class 1": ["e", "f"]}
    assert ex.attrs["targets"]["class 1"] == ["d", "e", "f"]
    assert len(ex.diagnostics["ledger"].attrs["totals"]) == 6
    ex.attrs["targets"] = {"class 0": ["a", "b", "c"]}
    assert "targets" not in ex.sel(output="class 1").attrs


@pytest.mark.parametrize("make", [small, large, lambda: large(K=1), lambda: large().sel("first", 1)])
def test_file_gives_back_every_bit(make, tmp_path):
    ex = make()
    ex.save(tmp_path / "run.nc")
    back = Explanation.load(tmp_path / "run.nc")
    for field in ("attributions", "inputs", "baselines"):
        one, other = getattr(ex, field), getattr(back, field)
        assert type(one) is type(other)
        pairs = [(one[n], other[n]) for n in one] if isinstance(one, dict) else [(one, other)]
        for pair in pairs:
            assert_same(*pair)
    assert_same(ex.prediction, back.prediction)
    assert_same(ex.baseline_prediction, back.baseline_prediction)
    assert list(ex.gates) == list(back.gates)
    for name in ex.gates:
        assert_same(ex.gates[name], back.gates[name])
    for name in ex.embedding_attributions:
        assert_same(ex.embedding_attributions[name], back.embedding_attributions[name])
    assert (ex.notes, ex.attrs) == (back.notes, back.attrs)
    assert repr(ex) == repr(back)
    assert os.listdir(tmp_path) == ["run.nc"]


def test_special_numbers_survive(tmp_path):
    values = np.array([[-0.0, 5e-324, np.inf, np.nan]])
    item = LabelledInput("x", values, values, values[None], ("feature",))
    ex = build_explanation(
        [item], values[:, :1], values[:, :1], output_labels=["y"], keep_output=False, notes=["n" * 100_000]
    )
    ex.save(tmp_path / "run.nc")
    back = Explanation.load(tmp_path / "run.nc")
    assert back.attributions.values.tobytes() == values.tobytes()
    assert back.notes == ex.notes


def test_other_programs_can_read_the_dates(tmp_path):
    small().save(tmp_path / "run.nc")
    with xr.open_dataset(tmp_path / "run.nc", group="inputs/0", engine="h5netcdf") as dataset:
        assert str(dataset["time"].values[1]).startswith("2024-01-02T00")


def foreign_file(path, kind):
    if kind == "missing":
        return
    if kind == "text":
        path.write_text("not a file of ours")
        return
    if kind == "empty":
        path.touch()
        return
    if kind == "other netcdf":
        xr.Dataset({"a": ("x", [1.0])}).to_netcdf(path, engine="h5netcdf")
        return
    small().save(path)
    if kind == "cut short":
        path.write_bytes(path.read_bytes()[:-2000])
        return
    with h5py.File(path, "r+") as file:
        if kind == "newer version":
            file.attrs["version"] = 99
        elif kind == "group gone":
            del file["inputs"]
        elif kind == "attribution gone":
            del file["inputs/0/attribution"]
        elif kind == "type not ours":
            file["inputs/0/attribution"].attrs["original_dtype"] = "|O"
        elif kind == "notes not json":
            del file["notes"]
            file["notes"] = "]["
        elif kind == "link to a file":
            file["inputs/0/more"] = h5py.ExternalLink("/etc/other.nc", "/")
        elif kind == "bytes of another file":
            del file["inputs/0/attribution"]
            file.create_dataset("inputs/0/attribution", (16,), "u1", external=[(str(path.with_suffix(".txt")), 0, 16)])
        elif kind == "larger than it is":
            file.create_dataset("inputs/0/huge", (10**12,), "f8", chunks=(1000,))


@pytest.mark.parametrize(
    "kind",
    [
        *("missing", "text", "empty", "other netcdf", "cut short", "newer version", "group gone"),
        *("attribution gone", "type not ours", "notes not json"),
        *("link to a file", "bytes of another file", "larger than it is"),
    ],
)
def test_file_that_is_not_ours(kind, tmp_path):
    foreign_file(tmp_path / "run.nc", kind)
    with pytest.raises(ExplanationFileError, match=r"run\.nc"):
        Explanation.load(tmp_path / "run.nc")


# Tables and shap


def test_dataframe_by_hand():
    table = small().to_dataframe()
    assert list(table.columns) == [
        *("sample", "output", "input", "time", "feature", "value", "baseline", "attribution", "share")
    ]
    assert len(table) == 4
    row = table.iloc[2]
    assert (row["output"], row["input"], row["feature"]) == ("load", "x", "a")
    assert row["time"] == pd.Timestamp("2024-01-02")
    assert (row["value"], row["baseline"], row["attribution"]) == (30, 0, 3)
    assert row["share"] == pytest.approx(3 / 6.5)


def test_dataframe_of_everything():
    ex = large()
    table = ex.to_dataframe()
    assert len(table) == 2 * 3 * (8 + 8 + 5)
    chosen = table.query("output == 'class 1' and sample == 'second' and input == 'x/1'")
    expected = ex.attributions["x/1"].sel(output="class 1", sample="second").values
    np.testing.assert_array_equal(chosen["attribution"], expected.ravel())
    np.testing.assert_allclose(table["share"].abs().groupby([table["sample"], table["output"]]).sum(), 1)
    tokens = table[table["input"] == "token ids"]
    assert set(tokens["token"]) == {"Maß"}
    assert tokens["time_label"].iloc[1] == pd.Timestamp("2020-01-01T00:00:00.000001")


def test_padding_has_no_rows_unless_it_was_attributed_to():
    attributions = np.ones((1, 2, 4, 1))
    attributions[:, :, 2:] = 0
    attributions[0, 1, 3] = 5  # of the second sample, padding that moved the output
    item = LabelledInput(
        "x", np.ones((2, 4, 1)), np.zeros((2, 4, 1)), attributions, ("time", "feature"), lengths=[2, 1]
    )
    total = attributions.sum(axis=(0, 2, 3))
    ex = build_explanation([item], total[:, None], total[:, None] * 0, output_labels=["y"], keep_output=False)
    table = ex.to_dataframe()
    assert table.groupby("sample")["time"].apply(list).tolist() == [[0, 1], [0, 1, 2, 3]]
    assert table.groupby("sample")["attribution"].sum().tolist() == total.tolist()


@pytest.fixture
def shap():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what shap uses of matplotlib and IPython is not ours to judge
        import matplotlib

        matplotlib.use("Agg")
        import shap

        yield shap
        matplotlib.pyplot.close("all")


def test_shap_by_hand(shap):
    result = small().to_shap()
    assert isinstance(result, shap.Explanation)
    assert result.feature_names == ["a@2024-01-01", "b@2024-01-01", "a@2024-01-02", "b@2024-01-02"]
    np.testing.assert_array_equal(result.values, [[1, -2, 3, 0.5]])
    np.testing.assert_array_equal(result.data, [[10, 20, 30, 40]])
    np.testing.assert_array_equal(result.base_values, [5])
    assert float(result.values.sum() + result.base_values[0]) == 7.5

    by_feature = small().to_shap("feature")
    assert by_feature.feature_names == ["a", "b"]
    np.testing.assert_array_equal(by_feature.values, [[4, -1.5]])
    np.testing.assert_array_equal(by_feature.data, [[20, 30]])
    by_time = small().to_shap("time")
    assert by_time.feature_names == ["@2024-01-01", "@2024-01-02"]
    np.testing.assert_array_equal(by_time.values, [[-1, 3.5]])
    with pytest.raises(InputError, match="'unit'"):
        small().to_shap("unit")


@pytest.mark.parametrize("by", ["timestep_feature", "feature", "time"])
@pytest.mark.parametrize("K", [1, 2])
def test_shap_adds_up_and_draws(shap, by, K):
    ex = large(K)
    result = ex.to_shap(by)
    one = result if K == 1 else result[:, :, "class 1"]
    column = K - 1
    np.testing.assert_allclose(
        one.values.sum(axis=1) + one.base_values, ex.prediction[:, column], atol=1e-2
    )  # the half-precision input rounds to 1e-3
    shap.plots.waterfall(one[0], show=False)
    shap.plots.beeswarm(one, show=False)
    shap.plots.bar(one, show=False)
    shap.plots.heatmap(one, show=False)


def test_repr_says_what_matters():
    text = repr(small(off=0.25))
    assert "1 sample, 1 output: 'load'" in text
    assert "x: 2 timesteps x 2 features (float32)" in text
    assert "does not add up: off by 0.2, 3.8 % of all attribution" in text
    assert "encoder/lstm.l0 (LSTM, 3 units)" in repr(large())
    assert "note: One sentence." in repr(large())
    assert "&lt;Explanation" in small()._repr_html_()


def test_import_is_light():
    heavy = ("shap", "plotly", "h5py", "torch", "tensorflow")
    code = f"import sys, explain_core.explanation.build; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[]"
