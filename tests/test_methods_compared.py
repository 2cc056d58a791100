"""Methods side by side: faithfulness curves, rank agreement, and the horizon curve."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import explain_core as xc
from explain_core.diagnostics import faithfulness, horizons
from explain_core.diagnostics.horizons import cut_sequence, log_spaced
from explain_core.errors import InputError
from explain_core.figures.comparison import comparison_figure, curves_figure
from explain_core.figures.horizon import horizon_figure

rng = np.random.default_rng(0)
X = rng.normal(size=(2, 6, 2))
BASE = 0.3 * rng.normal(size=(1, 6, 2))
MANY = rng.normal(size=(3, 6, 2))


class Recurrent(nn.Module):
    def __init__(self, every_step=False):
        super().__init__()
        self.rnn, self.head = nn.LSTM(2, 4, batch_first=True), nn.Linear(4, 2)
        self.every_step = every_step

    def forward(self, x):
        out = self.head(self.rnn(x)[0])
        return out if self.every_step else out[:, -1]


class OneStep(nn.Module):
    """Looks at one timestep only."""

    def __init__(self, step=3):
        super().__init__()
        self.step = step

    def forward(self, x):
        return torch.tanh(x[:, self.step, :1] + 0 * x.sum((1, 2), keepdim=True)[:, 0])


class Lengths(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Recurrent(every_step=True)

    def forward(self, x, lengths):
        return self.inner(x)[torch.arange(len(x)), lengths - 1]


def made(kind, *args):
    torch.manual_seed(1)
    return kind(*args).double().eval()


@pytest.mark.parametrize("method", ["pairlift", "lrp"])
@pytest.mark.parametrize("base", [BASE, MANY], ids=["one baseline", "background"])
def test_curves_begin_and_end_at_the_predictions(base, method):
    model, options = made(Recurrent), {"background": len(base) > 1, "device": "cpu"}
    ex = xc.methods.explain_with(method, model, X, base, **options)
    curves = faithfulness.faithfulness_curves(model, X, base, None, ex, **options)
    with torch.no_grad():
        whole = model(torch.from_numpy(X)).numpy()
        nothing = model(torch.from_numpy(base)).numpy().mean(0)
    for (sample, output, curve), one in curves.groupby(["sample", "output", "curve"]):
        ends = (whole[sample, int(output)], nothing[int(output)])
        first, last = ends if curve == "deletion" else ends[::-1]
        assert one["prediction"].iloc[0] == pytest.approx(first, abs=1e-12)
        assert one["prediction"].iloc[-1] == pytest.approx(last, abs=1e-12)
        assert one["position"].iloc[[0, -1]].tolist() == pytest.approx([1, 0] if curve == "deletion" else [0, 1])
        assert one["replaced"].tolist() == list(range(7))


def test_curves_replace_the_steps_in_the_order_of_their_attributions():
    model = made(Recurrent)
    ex = xc.explain(model, X[:1], BASE, target=0, device="cpu")
    curves = faithfulness.faithfulness_curves(model, X[:1], BASE, 0, ex, device="cpu")
    moved = float(ex.prediction[0, 0] - ex.baseline_prediction[0, 0])
    order = np.argsort(-ex.attributions.values[0].sum(-1) * np.sign(moved))
    rows = X[:1].copy()
    expected = []
    for step in (None, *order):
        if step is not None:
            rows[0, step] = BASE[0, step]
        with torch.no_grad():
            expected.append(float(model(torch.from_numpy(rows))[0, 0]))
    found = curves[curves["curve"] == "deletion"]["prediction"]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_the_area_of_a_model_that_looks_at_one_step():
    model = OneStep().eval()
    ex = xc.explain(model, X[:1], BASE, target=0, device="cpu")
    area = faithfulness.areas(faithfulness.faithfulness_curves(model, X[:1], BASE, 0, ex, device="cpu"))
    # All of it goes with the first of six steps: a triangle of width 1/6.
    assert float(area["deletion"].iloc[0]) == pytest.approx(1 / 12)
    assert float(area["insertion"].iloc[0]) == pytest.approx(1 - 1 / 12)


def test_few_points_of_many_steps():
    model, x = made(Recurrent), rng.normal(size=(1, 100, 2))
    ex = xc.explain(model, x, target=0, device="cpu")
    curves = faithfulness.faithfulness_curves(model, x, "zeros", 0, ex, points=10, device="cpu")
    assert curves[curves["curve"] == "insertion"]["replaced"].tolist() == list(range(0, 101, 10))


def test_methods_agree_on_a_linear_model():
    linear = made(nn.Sequential, nn.Flatten(), nn.Linear(12, 1))
    methods = ["pairlift", "gradient_difference", "deep_lift", "integrated_gradients_20", "occlusion"]
    compared = xc.diagnostics.compare(linear, X[:1], BASE, 0, methods, device="cpu")
    assert compared.table["adds_up"][:3].all()
    # captum keeps its weights in float32 also for models in float64. Measured: 5e-8.
    assert (compared.table["relative_error"] < 1e-6).all()
    for kind in ("spearman", "kendall"):
        np.testing.assert_allclose(compared.agreement(kind), 1.0, atol=0.05)
    wide = compared.attributions
    assert len(wide) == 12
    for method in methods[1:]:
        np.testing.assert_allclose(wide[method], wide["pairlift"], atol=1e-6)


def test_a_comparison_says_who_fails_and_who_does_not_add_up(tmp_path):
    methods = ["pairlift", "deep_lift", "exact_shapley"]
    compared = xc.diagnostics.compare(made(Recurrent), X[:1, :, :].repeat(2, 1), np.zeros((1, 12, 2)), 0, methods)
    table = compared.table.set_index("method")
    assert table.loc["pairlift", "adds_up"]
    assert not table.loc["deep_lift", "adds_up"]
    assert table.loc["deep_lift", "relative_error"] > 1e-3
    assert "24 values need 2^24 runs" in table.loc["exact_shapley", "message"]
    assert list(compared.explanations) == ["pairlift", "deep_lift"]
    error = table.loc["deep_lift", "error"]
    assert error == pytest.approx(float(compared.explanations["deep_lift"].residual[0, 0]))
    one = compared.explanations["pairlift"]
    one.diagnostics.update(compared.tables())
    one.save(tmp_path / "kept.nc")
    kept = xc.Explanation.load(tmp_path / "kept.nc").diagnostics
    assert kept["methods"]["method"].tolist() == methods
    assert set(kept) == {"methods", "methods_agreement", "methods_curves", "methods_attributions"}
    for theme in ("light", "dark"):
        assert len(comparison_figure(compared.explanations, theme=theme).data) == 2
        assert len(curves_figure(compared.curves, theme=theme).data) == 4


def test_cut_and_spliced_horizons_agree_where_the_rest_plays_no_part():
    """The output of step 2 of a causal model is the same whether the sequence ends or goes on as the baseline."""
    model, methods = made(Recurrent, True), ["pairlift", "gradient_difference", "integrated_gradients_20"]
    tables = {
        how: horizons.horizon(model, X[:1], BASE, (2, 0), methods, [3, 4, 6], how=how, device="cpu")
        for how in ("cut", "spliced")
    }
    for column in ("difference", "error"):
        np.testing.assert_allclose(tables["cut"][column], tables["spliced"][column], atol=1e-12)
    exact = tables["cut"][tables["cut"]["method"] == "pairlift"]
    assert (exact["relative_error"] < 1e-12).all()
    slope = tables["cut"][tables["cut"]["method"] == "gradient_difference"]
    assert (slope["relative_error"] > 1e-3).all()


def test_a_horizon_is_what_each_length_gives_by_itself():
    model = made(Recurrent)
    table = horizons.horizon(model, X, BASE, 0, ["deep_lift"], device="cpu")
    assert set(table["how"]) == {"cut"}
    for row in table.itertuples():
        alone = xc.methods.explain_with("deep_lift", model, X[:, : row.steps], BASE[:, : row.steps], 0, device="cpu")
        assert np.abs(alone.residual.values).max() == pytest.approx(abs(row.error), rel=1e-9)
        assert row.relative_error == pytest.approx(abs(row.error / row.difference), rel=1e-9)


def test_models_of_one_length_or_with_lengths_are_spliced():
    flat = made(nn.Sequential, nn.Flatten(), nn.Linear(12, 1), nn.Tanh())
    assert cut_sequence(flat, X[:1], BASE, 0, device="cpu").how == "spliced"
    given = {"x": X[:1], "lengths": np.array([5])}
    cut = cut_sequence(made(Lengths), given, {"x": MANY}, 0, device="cpu", background=True)
    assert cut.how == "spliced"
    inputs, baselines = cut.at(2)
    np.testing.assert_array_equal(inputs["x"][:, :2], X[:1, :2])
    np.testing.assert_allclose(inputs["x"][0, 2:], MANY.mean(0)[2:])
    np.testing.assert_array_equal(inputs["lengths"], [5])
    np.testing.assert_array_equal(baselines["x"], MANY)
    table = horizons.horizon(made(Lengths), given, {"x": MANY}, 0, ["pairlift"], device="cpu", background=True)
    assert (table["relative_error"] < 1e-10).all()


@pytest.mark.parametrize("of_one", [False, True], ids=["samples", "one sample alone"])
def test_lengths_of_labelled_sequences_end_the_horizon(of_one):
    rows = xr.DataArray(X, dims=("sample", "time", "feature"), coords={"length": ("sample", [4, 3])})
    given, last = (rows.isel(sample=1), 3) if of_one else (rows, 4)
    assert cut_sequence(made(Recurrent), given, BASE[0] if of_one else BASE, 0, device="cpu").lengths[-1] == last


def test_a_small_difference_does_not_blow_the_curve_up():
    table = horizons.horizon(made(Recurrent), X[:1], BASE, 0, ["gradient_difference"], device="cpu")
    size = table["difference"].abs()
    expected = table["error"].abs() / np.maximum(size, 0.01 * size.max())
    np.testing.assert_allclose(table["relative_error"], expected)


def test_horizons_that_cannot_be():
    with pytest.raises(InputError, match="No explained input has a time axis"):
        horizons.horizon(made(nn.Linear, 4, 1), rng.normal(size=(1, 4)), target=0, device="cpu")
    with pytest.raises(InputError, match="A horizon is of one output, and there are 2"):
        horizons.horizon(made(Recurrent), X, BASE, device="cpu")
    with pytest.raises(InputError, match="There are no lengths"):
        horizons.horizon(made(Recurrent), X, BASE, 0, steps=[7], device="cpu")


def test_lengths_are_spaced_evenly_on_a_log_scale():
    assert log_spaced(5) == (1, 2, 3, 5) or log_spaced(5) == (1, 2, 3, 4, 5)
    lengths = log_spaced(500)
    assert lengths[0] == 1
    assert lengths[-1] == 500
    assert len(lengths) <= horizons.MOST_LENGTHS


def test_the_horizon_figure_has_a_line_a_method():
    table = horizons.horizon(made(Recurrent), X[:1], BASE, 0, ["pairlift", "deep_lift"], device="cpu")
    for theme in ("light", "dark"):
        names = [trace.name for trace in horizon_figure(table, theme=theme).data]
        assert names[1:3] == ["PairLift", "captum DeepLift"]


def test_the_public_names():
    assert xc.diagnostics.horizon is horizons.horizon
    assert xc.diagnostics.faithfulness_curves is faithfulness.faithfulness_curves
