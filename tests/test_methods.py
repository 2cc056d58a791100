"""Other methods on PyTorch models: what their packages say when called directly, and independent references."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import explain_core as xc
from explain_core.errors import InputError, MethodError
from explain_core.methods import METHODS, Completeness, explain_with

with warnings.catch_warnings():  # of the packages that they import
    warnings.simplefilter("ignore")
    import captum.attr
    import shap

rng = np.random.default_rng(0)
X = rng.normal(size=(2, 3, 2))
BASE = 0.3 * rng.normal(size=(1, 3, 2))
MANY = rng.normal(size=(3, 3, 2))


class Recurrent(nn.Module):
    def __init__(self, kind=nn.LSTM):
        super().__init__()
        self.rnn = kind(2, 4, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])


class FeedForward(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2))


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.rnn, self.head = nn.Embedding(10, 3), nn.GRU(3, 4, batch_first=True), nn.Linear(4, 1)

    def forward(self, ids):
        return self.head(self.rnn(self.embedding(ids))[0][:, -1])


def made(kind, *args):
    torch.manual_seed(1)
    return kind(*args).double().eval()


def tensors(*arrays):
    return [torch.from_numpy(np.array(array)) for array in arrays]


def single(*arrays):
    return [np.float32(array) for array in arrays]


def by_captum(kind, model, **options):
    """(K, N, T, F) of captum's own class."""
    x, b = tensors(X, BASE)
    return np.stack([kind(model).attribute(x, b, target=k, **options).detach().numpy() for k in range(2)])


def by_shap(kind, model, x=X, b=BASE, **options):
    """(K, N, T, F) of shap's own class, a sample at a time."""
    x, b = tensors(x, b)
    found = [kind(model, b).shap_values(x[n : n + 1], **options)[0] for n in range(2)]
    return np.moveaxis(np.stack(found), -1, 0)


def by_autograd(model):
    x = torch.from_numpy(X).requires_grad_()
    slopes = [torch.autograd.grad(model(x)[:, k].sum(), x)[0].numpy() for k in range(2)]
    return np.stack(slopes) * (X - BASE)


def by_captum_occlusion(model):
    x, b = tensors(X, BASE)
    method = captum.attr.Occlusion(model)
    return np.stack([method.attribute(x, (1, 1), baselines=b, target=k).numpy() for k in range(2)])


DIRECT = {
    "integrated_gradients_20": lambda m: by_captum(captum.attr.IntegratedGradients, m, n_steps=20),
    "integrated_gradients": lambda m: by_captum(captum.attr.IntegratedGradients, m, n_steps=50),
    "integrated_gradients_300": lambda m: by_captum(captum.attr.IntegratedGradients, m, n_steps=300),
    "deep_lift": lambda m: by_captum(captum.attr.DeepLift, m),
    "deep_explainer": lambda m: by_shap(shap.DeepExplainer, m, check_additivity=False),
    "gradient_shap": lambda m: by_shap(shap.GradientExplainer, m.float(), *single(X, BASE), nsamples=200, rseed=0),
    "gradient_difference": by_autograd,
    "occlusion": by_captum_occlusion,
}


@pytest.mark.parametrize("kind", [Recurrent, FeedForward])
@pytest.mark.parametrize("method", DIRECT)
def test_the_package_called_directly_says_the_same(method, kind):
    found = explain_with(method, made(kind), X, BASE, device="cpu")
    with warnings.catch_warnings():  # what the packages say of their own
        warnings.simplefilter("ignore")
        expected = DIRECT[method](made(kind))
    # shap draws its random points in float32 and its class takes no model in another precision.
    bound = 1e-6 if method == "gradient_shap" else 1e-12
    np.testing.assert_allclose(found.attributions.values, expected, rtol=0, atol=bound)
    assert found.attrs["library"].startswith(("captum 0.", "shap 0."))


def values_of(model, coalition, n, k, base):
    """The mean prediction over the baselines when only the players of a coalition have the input's values."""
    kept = np.isin(np.arange(X[n].size), coalition).reshape(X[n].shape)
    rows = torch.from_numpy(np.where(kept, X[n], base))
    with torch.no_grad():
        return float(model(rows)[:, k].mean())


@pytest.mark.parametrize("base", [BASE, MANY], ids=["one baseline", "background"])
def test_exact_shapley_values_over_all_coalitions(base):
    model, players = made(Recurrent), range(6)
    found = explain_with("exact_shapley", model, X, base, background=len(base) > 1, device="cpu")
    for k in range(2):
        worth = {
            coalition: values_of(model, coalition, 1, k, base)
            for size in range(7)
            for coalition in itertools.combinations(players, size)
        }
        expected = [
            sum(
                math.factorial(len(c)) * math.factorial(5 - len(c)) / math.factorial(6)
                * (worth[tuple(sorted((*c, player)))] - worth[c])
                for c in worth
                if player not in c
            )
            for player in players
        ]  # fmt: skip
        np.testing.assert_allclose(found.attributions.values[k, 1].ravel(), expected, atol=1e-12)


def test_sampled_shapley_values_approach_the_exact_ones():
    model = made(Recurrent)
    exact = explain_with("exact_shapley", model, X, BASE, device="cpu").attributions.values
    sampled = explain_with("sampled_shapley", model, X, BASE, device="cpu", orders=200).attributions.values
    kernel = explain_with("kernel_shap", model, X, BASE, device="cpu").attributions.values
    # Measured: 1e-3 of the largest for 200 orders; the regression sees all 64 subsets and is exact.
    np.testing.assert_allclose(sampled, exact, atol=5e-3 * np.abs(exact).max())
    np.testing.assert_allclose(kernel, exact, atol=1e-8)


def test_integrated_gradients_are_the_integral():
    """Simpson's rule on 2,001 points, in float64, by autograd alone."""
    model, points = made(Recurrent), 2001
    weights = np.full(points, 2.0)
    weights[1::2] = 4.0
    weights[[0, -1]] = 1.0
    weights /= 3 * (points - 1)
    rows = torch.from_numpy(BASE + np.linspace(0, 1, points)[:, None, None] * (X[:1] - BASE)).requires_grad_()
    slopes = torch.autograd.grad(model(rows)[:, 1].sum(), rows)[0].numpy()
    expected = np.tensordot(weights, slopes, 1) * (X[0] - BASE[0])
    found = explain_with("integrated_gradients", model, X[:1], BASE, target=1, device="cpu")
    np.testing.assert_allclose(found.attributions.values[0], expected, atol=1e-11)


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize(
    "name", [n for n, m in METHODS.items() if m.completeness in (Completeness.EXACT, Completeness.LIMIT)]
)
def test_methods_that_promise_it_add_up(name, background):
    model = made(FeedForward)
    found = explain_with(name, model, X, MANY if background else BASE, background=background, device="cpu")
    off = np.abs(found.residual.values).max() / np.abs(found.prediction - found.baseline_prediction).values.max()
    # The kinks of a ReLU and random points leave something (measured 4e-3 and 1e-1); the others leave rounding.
    bound = {"limit": 2e-2, "by chance": 0.5}.get(
        "by chance" if name == "gradient_shap" else "limit" if name.startswith("integrated") else "", 1e-10
    )
    assert off < bound


@pytest.mark.parametrize("name", METHODS)
def test_results_have_the_form_of_explain(name):
    model = made(Recurrent)
    ex = xc.explain(model, X, BASE, target=1, device="cpu", output_names=["low", "high"])
    found = explain_with(name, model, X, BASE, target=1, device="cpu", output_names=["low", "high"])
    assert found.attributions.coords.equals(ex.attributions.coords)
    assert found.attributions.dims == ex.attributions.dims
    assert found.attributions.dtype == ex.attributions.dtype == np.float64
    assert found.inputs.identical(ex.inputs)
    assert found.baselines.identical(ex.baselines)
    np.testing.assert_allclose(found.prediction, ex.prediction, atol=1e-14)
    # Relevance propagation knows no baseline, and starts from nothing.
    of_baseline = np.zeros((2, 1)) if name == "lrp" else ex.baseline_prediction
    np.testing.assert_allclose(found.baseline_prediction, of_baseline, atol=1e-14)
    assert found.outputs == ["high"]
    assert found.attrs["method"] == METHODS[name].name


@pytest.mark.parametrize(
    "name", ["deep_explainer", "deep_lift", "gradient_difference", "integrated_gradients", "occlusion"]
)
def test_a_background_is_the_mean_over_its_baselines(name):
    model = made(Recurrent)
    whole = explain_with(name, model, X, MANY, background=True, device="cpu").attributions.values
    each = [explain_with(name, model, X, MANY[i : i + 1], device="cpu").attributions.values for i in range(3)]
    np.testing.assert_allclose(whole, np.mean(each, axis=0), atol=1e-12)


def test_a_sample_is_explained_as_if_it_were_alone():
    for name in ("integrated_gradients", "sampled_shapley", "gradient_shap"):
        together = explain_with(name, made(Recurrent), X, BASE, device="cpu").attributions.values
        alone = explain_with(name, made(Recurrent), X[1:], BASE, device="cpu").attributions.values
        np.testing.assert_array_equal(together[:, 1:], alone)


@pytest.mark.parametrize("name", ["gradient_shap", "sampled_shapley"])
def test_random_numbers_come_from_the_seed_alone(name):
    np.random.seed(5)  # noqa: NPY002 - the state that must survive
    expected = np.random.get_state()[1].copy()  # noqa: NPY002
    runs = [explain_with(name, made(Recurrent), X, BASE, seed=s, device="cpu").attributions.values for s in (0, 0, 1)]
    assert (np.random.get_state()[1] == expected).all()  # noqa: NPY002
    np.testing.assert_array_equal(runs[0], runs[1])
    assert np.abs(runs[0] - runs[2]).max() > 0


def test_the_model_is_left_as_it_was():
    model = Recurrent().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for name in METHODS:
        explain_with(name, model, X.astype(np.float32), target=0, device="cpu")
    assert model.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert not any(part._forward_hooks or part._backward_hooks for part in model.modules())
    assert all((before[name] == value).all() for name, value in model.state_dict().items())


def test_slopes_wherever_it_is_called():
    expected = explain_with("integrated_gradients", made(Recurrent), X, BASE, device="cpu").attributions
    model, before = made(Recurrent), torch.backends.cudnn.enabled
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            found = explain_with("integrated_gradients", model, X, BASE, device="cpu").attributions
        np.testing.assert_array_equal(found, expected)
    assert torch.backends.cudnn.enabled == before


class TimeFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Recurrent()

    def forward(self, x):
        return self.inner(x.transpose(0, 1))


def test_a_model_with_time_first():
    first, usual = made(TimeFirst), made(Recurrent)
    x, base = X.swapaxes(0, 1), BASE.swapaxes(0, 1)
    for name in ("integrated_gradients", "occlusion", "gradient_shap", "sampled_shapley"):
        found = explain_with(name, first, x, base, sample_axis=1, device="cpu")
        expected = explain_with(name, usual, X, BASE, device="cpu")
        np.testing.assert_allclose(found.attributions.values, expected.attributions.values, atol=1e-12)
    for name in ("deep_lift", "deep_explainer"):
        with pytest.raises(
            MethodError, match="as one batch, and this model takes one row at a time or has its samples"
        ):
            explain_with(name, first, x, base, sample_axis=1, device="cpu")


def exported(rows):
    with warnings.catch_warnings():  # the exporter's own
        warnings.simplefilter("ignore")
        return torch.export.export(made(Recurrent), (torch.from_numpy(np.repeat(X[:1], rows, 0)),))


@pytest.mark.parametrize("rows", [1, 2])
def test_a_program_made_for_so_many_rows(rows):
    x = np.repeat(X[:1], rows, 0)
    for name in ("integrated_gradients", "occlusion", "sampled_shapley"):
        found = explain_with(name, exported(rows), x, BASE, device="cpu")
        expected = explain_with(name, made(Recurrent), x, BASE, device="cpu")
        np.testing.assert_allclose(found.attributions.values, expected.attributions.values, atol=1e-12)


def test_layers_without_a_rule_are_named():
    for name, package in (("deep_lift", "captum"), ("deep_explainer", "shap")):
        notes = explain_with(name, made(Recurrent), X, BASE, device="cpu").notes
        assert f"{package} has no rule for LSTM and takes the plain slope there." in notes
        notes = explain_with(name, made(FeedForward), X, BASE, device="cpu").notes
        assert notes == []


IDS = np.array([[1, 2, 3, 4]])


def test_token_ids():
    model = made(Tokens)
    for name in ("integrated_gradients", "occlusion", "sampled_shapley", "exact_shapley", "kernel_shap", "pairlift"):
        found = explain_with(name, model, IDS, device="cpu")
        assert found.attributions.dims == ("sample", "time")
        if name != "occlusion":
            assert np.abs(found.residual.values).max() < 1e-8
    for name in ("deep_lift", "deep_explainer", "gradient_shap", "gradient_difference"):
        with pytest.raises(MethodError, match="Token ids are whole numbers"):
            explain_with(name, model, IDS, device="cpu")


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.relu, self.last = nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)

    def forward(self, x):
        return self.last(self.relu(self.inner(self.relu(x))).sum(1))


class InPlace(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(6, 4), nn.ReLU(inplace=True), nn.Linear(4, 1))


@pytest.mark.parametrize(
    ("method", "model", "said"),
    [
        ("exact_shapley", lambda: made(nn.Sequential, nn.Flatten(), nn.Linear(40, 1)), "40 values need 2.40 runs"),
        ("kernel_shap", lambda: made(nn.Sequential, nn.Flatten(), nn.Linear(2000, 1)), "the limit is 1,000"),
        ("deep_explainer", lambda: made(InPlace), "overwrites its input in place"),
    ],
    ids=["too many players", "too many for a regression", "in place"],
)
def test_what_cannot_be_done_is_said(method, model, said):
    size = next(part.in_features for part in model().modules() if isinstance(part, nn.Linear))
    with pytest.raises(MethodError, match=said) as caught:
        explain_with(method, model(), rng.normal(size=(1, size // 2, 2)), target=0, device="cpu")
    assert caught.value.hint


def test_a_crash_inside_a_package_is_an_error_in_words(monkeypatch):
    def crash(*args, **options):
        raise ZeroDivisionError("deep inside")

    monkeypatch.setattr(captum.attr.IntegratedGradients, "attribute", crash)
    with pytest.raises(MethodError, match="failed: ZeroDivisionError: deep inside") as caught:
        explain_with("integrated_gradients", made(Recurrent), X, BASE, device="cpu")
    assert caught.value.where.startswith("captum 0.")


def test_unknown_methods_and_options():
    with pytest.raises(InputError, match="There is no method 'lime'"):
        explain_with("lime", made(Recurrent), X)
    with pytest.raises(InputError, match="has no option 'step'"):
        explain_with("integrated_gradients", made(Recurrent), X, step=3)


def test_every_method_says_what_it_is():
    for method in METHODS.values():
        assert method.words.endswith(".")
        assert set(method.libraries) == set(method.frameworks) <= {"torch", "tensorflow"}
