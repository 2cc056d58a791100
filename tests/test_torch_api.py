"""What `explain` promises whatever the model: inputs, outputs, baselines, errors, and a model left alone."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from cases import FEATURES, SAMPLES, STEPS
from exactness import Named, Net, arrays, assert_exact, draw, unchanged, weights_of
from reference import paired
from reference.layers import linear
from reference.paired import concat, elementwise
from reference.recurrent import run
from torch import nn

import explain_core as xc


def regressor(outputs: int = 2, **options) -> Net:
    torch.manual_seed(11)
    return Net(
        lambda net, x: net.head(net.lstm(x)[0][:, -1]),
        lstm=nn.LSTM(FEATURES, 5, batch_first=True, **options),
        head=nn.Linear(5, outputs),
    ).double()


def series(seed: int = 0, samples: int = SAMPLES) -> np.ndarray:
    return draw(seed, samples, STEPS, FEATURES)


def lstm_weights(net) -> dict:
    return {n.removeprefix("lstm."): w for n, w in weights_of(net).items() if n.startswith("lstm.")}


# --- Several inputs, several outputs -----------------------------------------------------------------------


def two_inputs() -> Net:
    torch.manual_seed(11)
    return Net(
        lambda net, x, static: net.head(torch.cat([net.lstm(x)[0][:, -1], net.side(static).tanh()], 1)),
        lstm=nn.LSTM(FEATURES, 5, batch_first=True),
        side=nn.Linear(2, 3),
        head=nn.Linear(8, 2),
    )


def two_inputs_mirror(net):
    def mirror(x, static):
        w = weights_of(net)
        side = elementwise(linear(w, static.reshape(1, -1), "side."), paired.tanh)[0]
        joined = concat([run("LSTM", lstm_weights(net), x).outputs[-1], side])
        return linear(w, joined.reshape(1, -1), "head.")

    return mirror


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_several_inputs(dtype):
    net = two_inputs()
    ex = assert_exact(net, [series(), draw(3, SAMPLES, 2)], two_inputs_mirror(net), dtype=dtype)
    assert isinstance(ex.attributions, dict)
    assert [part.dims for part in ex.attributions.values()] == [
        ("output", "sample", "time", "feature"),
        ("output", "sample", "feature"),
    ]


def test_inputs_by_name():
    net = Named(lambda net, series, static: net.inner(series, static), inner=two_inputs()).double()
    x, static = series(), draw(3, SAMPLES, 2)
    ex = xc.explain(net, {"series": x, "static": static}, baselines="zeros")
    assert set(ex.attributions) == {"series", "static"}
    other = xc.explain(net, {"static": static, "series": x}, baselines="zeros")
    plain = xc.explain(net, (x, static), baselines="zeros")
    for name, part in zip(["series", "static"], arrays(plain.attributions), strict=True):
        np.testing.assert_array_equal(ex.attributions[name].values, part)
        np.testing.assert_array_equal(other.attributions[name].values, part)


def test_several_output_tensors():
    torch.manual_seed(11)
    net = Net(
        lambda net, x: (net.head(net.lstm(x)[0][:, -1]), net.lstm(x)[1][1][0].sum(1)),
        lstm=nn.LSTM(FEATURES, 5, batch_first=True),
        head=nn.Linear(5, 2),
    )

    def mirror(x):
        w = lstm_weights(net)
        result = run("LSTM", w, x)
        head = linear(weights_of(net), result.outputs[-1].reshape(1, -1), "head.")[0]
        return concat([head, result.c_n[0].sum().reshape(1)])

    assert_exact(net, [series()], mirror)


@pytest.mark.parametrize(("target", "chosen"), [(None, None), (0, [0]), (1, [1]), (-1, [1])])
def test_target_selects_an_output(target, chosen):
    net = regressor()

    def mirror(x):
        outputs = run("LSTM", lstm_weights(net), x).outputs
        return linear(weights_of(net), outputs[-1].reshape(1, -1), "head.")

    ex = assert_exact(net, [series()], mirror, targets=chosen, target=target)
    assert ("output" in ex.attributions.dims) == (target is None)
    assert ex.prediction.dims == ("sample", "output")


@pytest.mark.parametrize("target", [(2, 1), (0, 0), (STEPS - 1, 1)])
def test_target_selects_a_time_and_a_unit_of_a_sequence(target):
    torch.manual_seed(11)
    net = Net(
        lambda net, x: net.head(net.lstm(x)[0]),
        lstm=nn.LSTM(FEATURES, 5, batch_first=True),
        head=nn.Linear(5, 2),
    )

    def mirror(x):
        return linear(weights_of(net), run("LSTM", lstm_weights(net), x).outputs, "head.")

    time, unit = target
    ex = assert_exact(net, [series()], mirror, targets=[2 * time + unit], target=target)
    assert not ex.attributions.isel(time=slice(time + 1, None)).values.any()  # nothing from the future


def test_model_with_one_number_per_sample():
    net = Net(lambda net, x: net.inner(x).squeeze(-1), inner=regressor(1))

    def mirror(x):
        w = lstm_weights(net.inner)
        return linear(weights_of(net.inner), run("LSTM", w, x).outputs[-1].reshape(1, -1), "head.")

    ex = assert_exact(net, [series()], mirror)
    assert ex.attributions.dims == ("sample", "time", "feature")


@pytest.mark.parametrize("target", [2, -3, (0, 1), "speed", 0.5])
def test_target_that_is_not_there_is_refused(target):
    with pytest.raises(xc.errors.TargetError):
        xc.explain(regressor(), series(), target=target)


# --- Baselines ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "same_as"),
    [
        ("zeros", np.zeros((SAMPLES, STEPS, FEATURES))),
        ("mean", np.broadcast_to(series().mean((0, 1)), (SAMPLES, STEPS, FEATURES))),
        (series(1, 1), np.broadcast_to(series(1, 1), (SAMPLES, STEPS, FEATURES))),
        (series(1, 1)[0], np.broadcast_to(series(1, 1), (SAMPLES, STEPS, FEATURES))),
        (series(1), series(1)),
    ],
    ids=["zeros", "mean", "one", "one without a sample axis", "one per sample"],
)
def test_baselines(given, same_as):
    net, x = regressor(), series()
    ex = xc.explain(net, x, baselines=given)
    for n in range(SAMPLES):
        alone = xc.explain(net, x[n : n + 1], baselines=same_as[n : n + 1])
        np.testing.assert_allclose(ex.attributions[:, n], alone.attributions[:, 0], rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(ex.baselines.values, same_as, atol=1e-15)


def test_background_is_the_average_over_its_members():
    net, x, background = regressor(), series(), series(1, 5)
    ex = xc.explain(net, x, baselines=background, background=True)
    singles = [xc.explain(net, x, baselines=background[i : i + 1]) for i in range(5)]
    mean = np.mean([single.attributions.values for single in singles], axis=0)
    np.testing.assert_allclose(ex.attributions.values, mean, atol=1e-13 * np.abs(mean).max())
    predictions = np.mean([single.baseline_prediction.values for single in singles], axis=0)
    np.testing.assert_allclose(ex.baseline_prediction.values, predictions, atol=1e-14)
    assert ex.relative_residual.max() <= 1e-12


@pytest.mark.parametrize(
    "baselines",
    ["nonsense", np.zeros((SAMPLES + 1, STEPS, FEATURES)), np.zeros((1, STEPS, FEATURES + 1)), np.zeros(3)],
    ids=["word", "samples", "features", "axes"],
)
def test_baselines_that_do_not_fit_are_refused(baselines):
    with pytest.raises(xc.errors.InputError):
        xc.explain(regressor(), series(), baselines=baselines)


def test_results_do_not_depend_on_the_rest_of_the_batch():
    net, x, base = regressor(bidirectional=False, num_layers=2).float(), series(0, 70), series(1, 70)
    x, base = x.astype(np.float32), base.astype(np.float32)
    together = xc.explain(net, x, baselines=base, target=0).attributions.values
    for n in (0, 13, 69):
        alone = xc.explain(net, x[n : n + 1], baselines=base[n : n + 1], target=0).attributions.values[0]
        # Matrix products of other sizes round otherwise: measured up to 6e-7 of the largest.
        np.testing.assert_allclose(together[n], alone, atol=4e-6 * np.abs(alone).max())


def test_one_extreme_sample_does_not_reach_the_others():
    torch.manual_seed(11)
    net = Net(
        lambda net, x: net.head(torch.softmax(net.lstm(x)[0], 1).flatten(1)),
        lstm=nn.LSTM(FEATURES, 5, batch_first=True),
        head=nn.Linear(5 * STEPS, 1),
    )
    x = series().astype(np.float32)
    alone = xc.explain(net, x[:1], baselines="zeros").attributions.values
    x[1] *= 1e4
    np.testing.assert_allclose(
        xc.explain(net, x, baselines="zeros").attributions.values[:1], alone, atol=1e-6 * np.abs(alone).max()
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_input_equal_to_the_baseline_gets_zeros(dtype):
    net = regressor().to(torch.float32 if dtype == np.float32 else torch.float64)
    x = series().astype(dtype)
    base = x.copy()
    base[1, 2, 3] += 1  # one sample differs in one number
    ex = xc.explain(net, x, baselines=base)
    attributions = ex.attributions.values
    assert not attributions[:, [0, 2]].any()
    assert attributions[:, 1].any()
    assert np.count_nonzero(attributions[:, 1]) == 2
    # The halves of a pair may round differently by their place in the batch.
    assert np.abs(ex.residual.values[[0, 2]]).max() <= 2 * np.finfo(dtype).eps
    assert np.isfinite(ex.relative_residual).all()


# --- Precision ---------------------------------------------------------------------------------------------


def test_precision_float64_verifies_a_float32_model():
    net = regressor().float()
    x, base = series().astype(np.float32), series(1).astype(np.float32)
    with unchanged(net):
        ex = xc.explain(net, x, baselines=base, precision="float64")
    assert ex.relative_residual.max() <= 1e-12
    exact = xc.explain(copy.deepcopy(net).double(), x.astype(float), baselines=base.astype(float))
    np.testing.assert_array_equal(ex.attributions.values, exact.attributions.values)
    assert all(p.dtype == torch.float32 for p in net.parameters())


def test_float64_input_to_a_float32_model_is_taken_in_its_precision():
    ex = xc.explain(regressor().float(), series(), baselines="zeros")
    assert ex.relative_residual.max() <= 1e-5
    assert ex.attributions.dtype == np.float32


def test_tensors_are_taken_like_arrays():
    net, x = regressor(), series()
    from_arrays = xc.explain(net, x, baselines=series(1))
    from_tensors = xc.explain(net, torch.from_numpy(x), baselines=torch.from_numpy(series(1)))
    np.testing.assert_array_equal(from_arrays.attributions.values, from_tensors.attributions.values)


def test_running_twice_gives_the_same_bits():
    net, x = regressor(), series()
    np.testing.assert_array_equal(xc.explain(net, x).attributions.values, xc.explain(net, x).attributions.values)


# --- Errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", ["input", "baseline", "weight", "prediction"])
def test_numbers_that_are_not_finite_are_refused_with_their_place(place, bad):
    net, x, base = regressor(), series(), series(1)
    where = ""
    if place == "input":
        x[1, 2, 3] = bad
    elif place == "baseline":
        base[1, 2, 3] = bad
    elif place == "weight":
        net.lstm.weight_hh_l0.data[0, 0] = bad
        where = "lstm.weight_hh_l0"
    else:
        net = Net(lambda net, x: net.inner(x) + torch.full((), bad), inner=net)
    with pytest.raises(xc.errors.NonFiniteError) as caught, unchanged(net):
        xc.explain(net, x, baselines=base)
    assert where in str(caught.value)
    if place in ("input", "baseline"):
        assert all(str(number) in str(caught.value) for number in (1, 2, 3)), "says which element"


@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
def test_operation_without_a_rule_is_an_error_that_names_it(train):
    class Strange(nn.Module):
        def forward(self, x):
            return torch.special.bessel_j0(x)

    inner = nn.Sequential(nn.Linear(FEATURES, 3), Strange())
    net = Net(lambda net, x: net.body(x).sum((1, 2)), body=inner).double().train(train)
    with unchanged(net), pytest.raises(xc.errors.UnsupportedOperation) as caught:
        xc.explain(net, series())
    message = str(caught.value)
    assert "bessel_j0" in message
    assert "body.1" in message
    assert "register_rule" in message


def test_a_registered_rule_is_used(monkeypatch):
    from explain_core.backends.torch import Rescale, rules

    monkeypatch.setattr(rules, "RULES", dict(rules.RULES))  # so that it is taken out again

    def secant(a, b):
        equal = a == b
        gap = torch.where(equal, 1.0, a - b)
        slope = torch.special.bessel_j0(a) - torch.special.bessel_j1(a) / torch.where(a == 0, 1.0, a)
        return torch.where(equal, slope, (torch.special.bessel_j1(a) - torch.special.bessel_j1(b)) / gap)

    net = Net(lambda net, x: torch.special.bessel_j1(x).sum((1, 2)), head=nn.Linear(1, 1)).double()
    x, base = series(), series(1)
    base[0, 0] = x[0, 0]
    with pytest.raises(xc.errors.UnsupportedOperation, match="bessel_j1"):
        xc.explain(net, x, baselines=base)
    xc.register_rule("special_bessel_j1", Rescale(secant))
    ex = xc.explain(net, x, baselines=base)
    expected = (torch.special.bessel_j1(torch.from_numpy(x)) - torch.special.bessel_j1(torch.from_numpy(base))).numpy()
    np.testing.assert_allclose(ex.attributions.values, expected, atol=1e-13)


@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
def test_error_of_the_model_itself_leaves_it_alone(train):
    def forward(net, x):
        net.inner(x)
        raise RuntimeError("the model broke")

    net = Net(forward, inner=regressor()).train(train)
    with unchanged(net), pytest.raises(xc.errors.CaptureError, match="the model broke"):
        xc.explain(net, series())


def test_input_of_the_wrong_shape_is_refused():
    with pytest.raises(xc.errors.ExplainError) as caught:
        xc.explain(regressor(), draw(0, SAMPLES, STEPS, FEATURES + 1))
    assert str(FEATURES + 1) in str(caught.value)


def test_backend_that_does_not_exist_is_refused():
    with pytest.raises(xc.errors.BackendError):
        xc.explain(regressor(), series(), backend="jax")


# --- The model is left alone -------------------------------------------------------------------------------


def test_model_in_train_mode_is_explained_in_eval_mode_and_left_in_train_mode():
    torch.manual_seed(11)
    net = Net(
        lambda net, x: net.head(net.drop(net.norm(net.lstm(x)[0].mean(1)))),
        lstm=nn.LSTM(FEATURES, 5, 2, batch_first=True, dropout=0.3),
        norm=nn.BatchNorm1d(5),
        drop=nn.Dropout(0.5),
        head=nn.Linear(5, 2),
    ).double()
    net.head.weight.requires_grad_(False)
    net.norm.eval()  # modes may be mixed
    net.train()
    net.norm.eval()
    with unchanged(net):
        ex = xc.explain(net, series(), baselines=series(1))
    expected = xc.explain(copy.deepcopy(net).eval(), series(), baselines=series(1))
    np.testing.assert_array_equal(ex.attributions.values, expected.attributions.values)
    assert ex.relative_residual.max() <= 1e-12


def test_hooks_gradients_and_random_state_stay():
    net, calls = regressor(), []
    net.lstm.register_forward_hook(lambda *_: calls.append("forward"))
    net.head.register_full_backward_hook(lambda *_: calls.append("backward"))
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    state = torch.random.get_rng_state()
    with unchanged(net):
        ex = xc.explain(net, series(), baselines="zeros")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(p.grad, torch.ones_like(p)) for p in net.parameters())
    assert ex.relative_residual.max() <= 1e-12
    assert "backward" not in calls


def test_explaining_inside_no_grad_and_inference_mode():
    net, x = regressor(), series()
    expected = xc.explain(net, x).attributions.values
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            np.testing.assert_array_equal(xc.explain(net, x).attributions.values, expected)


def test_inputs_given_are_not_written_to():
    torch.manual_seed(11)

    def forward(net, x):
        x *= 2  # a model that writes over its own input
        return net.head(x.flatten(1))

    net = Net(forward, head=nn.Linear(STEPS * FEATURES, 1)).double()
    x, base = series(), series(1)
    ex = xc.explain(net, x, baselines=base)
    np.testing.assert_array_equal(x, series())
    np.testing.assert_array_equal(base, series(1))
    assert ex.relative_residual.max() <= 1e-12


def test_embeddings_of_ids_that_are_looked_up_twice_are_refused_and_their_sums_given():
    torch.manual_seed(11)
    net = Net(
        lambda net, ids: net.head(net.lstm(net.first(ids))[0][:, -1]) + net.second(ids).sum((1, 2))[:, None],
        first=nn.Embedding(9, 4),
        second=nn.Embedding(9, 6),
        lstm=nn.LSTM(4, 5, batch_first=True),
        head=nn.Linear(5, 2),
    ).double()
    ids = np.random.default_rng(0).integers(1, 9, (SAMPLES, STEPS))
    assert xc.explain(net, ids).relative_residual.max() <= 1e-12
    with pytest.raises(xc.errors.InputError, match="2 lookups"):
        xc.explain(net, ids, keep_embeddings=True)
