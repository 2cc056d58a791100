"""Each kind of layer, activation and way of writing a model, by itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cases import (
    FEATURES,
    SAMPLES,
    STEPS,
    Case,
    check_case,
    flat,
    head,
    last,
    part,
    recurrent,
    run_cases,
    with_lstm,
)
from exactness import DTYPES, Net, draw, weights_of
from reference import layers, paired
from reference.layers import linear
from reference.paired import PairedArray, concat, elementwise, max_over, softmax, stack
from torch import nn

import explain_core as xc

# --- Activations -------------------------------------------------------------------------------------------


def gated_linear(x: PairedArray) -> PairedArray:
    half = x.shape[-1] // 2
    return x[:, :half] * elementwise(x[:, half:], paired.sigmoid)


def of(function: paired.Scalar) -> Callable[[PairedArray], PairedArray]:
    return lambda x: elementwise(x, function)


# Name: module or function, mirror. One module is used at two places, as people do with activations.
ACTIVATIONS = {
    "ReLU": (nn.ReLU(), of(paired.relu)),
    "ReLU-inplace": (nn.ReLU(inplace=True), of(paired.relu)),
    "ReLU6": (nn.ReLU6(), of(paired.relu6)),
    "LeakyReLU": (nn.LeakyReLU(0.2), of(paired.leaky_relu(0.2))),
    "PReLU": (nn.PReLU(init=0.3), of(paired.leaky_relu(float(np.float32(0.3))))),
    "RReLU": (nn.RReLU(0.1, 0.3), of(paired.leaky_relu(0.2))),
    "ELU": (nn.ELU(), of(paired.elu)),
    "CELU": (nn.CELU(1.5), of(paired.celu(1.5))),
    "SELU": (nn.SELU(), of(paired.selu)),
    "GELU": (nn.GELU(), of(paired.gelu)),
    "GELU-tanh": (nn.GELU("tanh"), of(paired.gelu_tanh)),
    "SiLU": (nn.SiLU(), of(paired.silu)),
    "Mish": (nn.Mish(), of(paired.mish)),
    "Sigmoid": (nn.Sigmoid(), of(paired.sigmoid)),
    "Tanh": (nn.Tanh(), of(paired.tanh)),
    "Softplus": (nn.Softplus(), of(paired.softplus)),
    "LogSigmoid": (nn.LogSigmoid(), of(paired.logsigmoid)),
    "Softsign": (nn.Softsign(), of(paired.softsign)),
    "Tanhshrink": (nn.Tanhshrink(), of(paired.tanhshrink)),
    "Softshrink": (nn.Softshrink(), of(paired.softshrink)),
    "Hardshrink": (nn.Hardshrink(), of(paired.hardshrink)),
    "Hardtanh": (nn.Hardtanh(), of(paired.hardtanh)),
    "Hardsigmoid": (nn.Hardsigmoid(), of(paired.hardsigmoid)),
    "Hardswish": (nn.Hardswish(), of(paired.hardswish)),
    "GLU": (nn.GLU(), gated_linear),
    "Softmax": (nn.Softmax(-1), softmax),
    "LogSoftmax": (nn.LogSoftmax(-1), paired.log_softmax),
    "torch.relu": (torch.relu, of(paired.relu)),
    "torch.sigmoid": (torch.sigmoid, of(paired.sigmoid)),
    "torch.tanh": (torch.tanh, of(paired.tanh)),
    "Tensor.relu_": (lambda x: x.relu_(), of(paired.relu)),
    "Tensor.tanh_": (lambda x: x.tanh_(), of(paired.tanh)),
    "F.gelu": (F.gelu, of(paired.gelu)),
    "F.silu-inplace": (lambda x: F.silu(x, inplace=True), of(paired.silu)),
    "F.elu": (F.elu, of(paired.elu)),
    "F.softmax": (lambda x: F.softmax(x, dim=1), lambda x: softmax(x, 0)),
    "x*sigmoid(x)": (lambda x: x * torch.sigmoid(x), lambda x: x * elementwise(x, paired.sigmoid)),
    "exp": (torch.exp, of(paired.exp)),
    "expm1": (torch.expm1, of(paired.expm1)),
    "log of a positive": (
        lambda x: (x.square() + 0.5).log(),
        lambda x: elementwise(elementwise(x, paired.square) + 0.5, paired.log),
    ),
    "log1p of abs": (
        lambda x: x.abs().log1p(),
        lambda x: elementwise(elementwise(x, paired.absolute), paired.log1p),
    ),
    "sqrt of a positive": (lambda x: (x * x + 0.1).sqrt(), lambda x: elementwise(x * x + 0.1, paired.sqrt)),
    "rsqrt": (lambda x: (x**2 + 0.1).rsqrt(), lambda x: elementwise(x * x + 0.1, paired.reciprocal_sqrt)),
    "cube": (lambda x: x**3, of(paired.power(3))),
    "sin": (torch.sin, of(paired.sin)),
    "cos": (torch.cos, of(paired.cos)),
    "erf": (torch.erf, of(paired.erf)),
    "clamp": (lambda x: x.clamp(-1, 1), of(paired.hardtanh)),
    "reciprocal": (lambda x: 1 / (x.abs() + 1), lambda x: 1 / (elementwise(x, paired.absolute) + 1)),
}


def activation_case(name: str) -> Case:
    function, mirrored = ACTIVATIONS[name]
    narrower = 2 if name == "GLU" else 1

    def net():
        reused = function if isinstance(function, nn.Module) else Net(lambda _, x: function(x))
        return Net(
            lambda net, x: net.head(net.act(net.second(net.act(net.first(x)))).flatten(1)),
            first=nn.Linear(FEATURES, 4),
            act=reused,
            second=nn.Linear(4 // narrower, 4),
            head=nn.Linear(STEPS * 4 // narrower, 1),
        )

    def mirror(w, x):
        x = mirrored(linear(w, mirrored(linear(w, x, "first.")), "second."))
        return linear(w, x.reshape(1, -1), "head.")

    return Case(net, mirror)


@run_cases({name: activation_case(name) for name in ACTIVATIONS})
def test_activations(case, dtype):
    check_case(case, dtype)


# --- Layers ------------------------------------------------------------------------------------------------


def channels(function) -> Callable:
    """A mirror of a layer on (C, T), between a sequence (T, C) and the head."""
    return lambda w, x: flat(w, function(w, x.transpose(1, 0)))


def on_channels(net, x):
    return net.head(net.norm(x.transpose(1, 2)).flatten(1))


def on_steps(net, x):
    return net.head(net.norm(x).flatten(1))


def pool_by_three(x: PairedArray) -> PairedArray:
    """Maxima over windows of three: (C, T) -> (C, T - 2)."""
    return stack([max_over(x[:, t : t + 3], 1) for t in range(STEPS - 2)]).transpose(1, 0)


def root_mean_square(w, x):
    mean = elementwise(x, paired.square).average(-1, keepdims=True)
    eps = float(np.finfo(np.float64).eps)
    return paired.over_scale(x, elementwise(mean + eps, paired.sqrt)) * w["norm.weight"]


def shares_of_sum(x):
    """Over the first axis."""
    return paired.over_scale(x, x.sum(0, keepdims=True))


def own_group_norm(w, x):
    return layers.group_norm(part(w, "norm"), x, 2)


LAYERS = {
    "Linear-no-bias": Case(
        lambda: Net(on_steps, norm=nn.Linear(FEATURES, FEATURES, bias=False), head=head()),
        lambda w, x: flat(w, linear(part(w, "norm"), x)),
    ),
    "Conv1d": Case(
        lambda: Net(on_channels, norm=nn.Conv1d(FEATURES, 4, 3, padding=1), head=head()),
        channels(lambda w, x: layers.conv1d(part(w, "norm"), x, padding=1)),
    ),
    "Conv1d-strided-dilated-grouped": Case(
        lambda: Net(
            on_channels,
            norm=nn.Conv1d(FEATURES, 6, 2, stride=2, dilation=2, padding=2, groups=2),
            head=head(6 * 4),
        ),
        channels(lambda w, x: layers.conv1d(part(w, "norm"), x, stride=2, dilation=2, padding=2, groups=2)),
    ),
    "Conv1d-same": Case(
        lambda: Net(on_channels, norm=nn.Conv1d(FEATURES, 4, 3, padding="same"), head=head()),
        channels(lambda w, x: layers.conv1d(part(w, "norm"), x, padding=1)),
    ),
    "BatchNorm1d-channels": Case(
        lambda: Net(on_channels, norm=nn.BatchNorm1d(FEATURES), head=head()),
        channels(lambda w, x: layers.batch_norm(part(w, "norm"), x)),
    ),
    "BatchNorm1d-flat": Case(
        lambda: Net(
            lambda net, x: net.head(torch.tanh(net.norm(x.mean(1)))),
            norm=nn.BatchNorm1d(FEATURES),
            head=head(FEATURES),
        ),
        lambda w, x: flat(w, elementwise(layers.batch_norm(part(w, "norm"), x.average(0)), paired.tanh)),
    ),
    "LayerNorm": Case(
        lambda: Net(on_steps, norm=nn.LayerNorm(FEATURES), head=head()),
        lambda w, x: flat(w, layers.layer_norm(w, x, "norm.")),
    ),
    "LayerNorm-two-axes": Case(
        lambda: Net(on_steps, norm=nn.LayerNorm((STEPS, FEATURES)), head=head()),
        lambda w, x: flat(w, paired.normalise(x, (0, 1)) * w["norm.weight"] + w["norm.bias"]),
    ),
    "LayerNorm-plain": Case(
        lambda: Net(on_steps, norm=nn.LayerNorm(FEATURES, elementwise_affine=False), head=head()),
        lambda w, x: flat(w, paired.normalise(x, -1)),
    ),
    "LayerNorm-by-hand": Case(
        lambda: Net(
            lambda net, x: net.head(
                ((x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, keepdim=True, unbiased=False) + 1e-5)).flatten(1)
            ),
            head=head(),
        ),
        lambda w, x: flat(w, paired.normalise(x, -1)),
    ),
    "GroupNorm": Case(
        lambda: Net(on_channels, norm=nn.GroupNorm(2, FEATURES), head=head()),
        channels(own_group_norm),
    ),
    "InstanceNorm1d": Case(
        lambda: Net(on_channels, norm=nn.InstanceNorm1d(FEATURES, affine=True), head=head()),
        channels(lambda w, x: layers.group_norm(part(w, "norm"), x, FEATURES)),
    ),
    "RMSNorm": Case(
        lambda: Net(on_steps, norm=nn.RMSNorm(FEATURES, eps=float(np.finfo(np.float64).eps)), head=head()),
        lambda w, x: flat(w, root_mean_square(w, x)),
    ),
    "Dropout-in-eval": Case(
        lambda: Net(
            lambda net, x: net.head(F.dropout(net.norm(x), 0.5, net.training).flatten(1)),
            norm=nn.Dropout(),
            head=head(),
        ),
        flat,
    ),
    "Bilinear": Case(
        lambda: Net(lambda net, x: net.bilinear(x[:, 0], x[:, 1]), bilinear=nn.Bilinear(FEATURES, FEATURES, 2)),
        lambda w, x: concat(
            [
                (x[0:1] @ w["bilinear.weight"][k] @ x[1:2].transpose(1, 0)).reshape(1) + w["bilinear.bias"][k : k + 1]
                for k in range(2)
            ]
        ),
    ),
    "Flatten-Unflatten": Case(
        lambda: Net(
            lambda net, x: net.head(net.fold(net.norm(x)).tanh().sum(1)),
            norm=nn.Flatten(),
            fold=nn.Unflatten(1, (STEPS // 2, 2 * FEATURES)),
            head=head(2 * FEATURES),
        ),
        lambda w, x: flat(w, elementwise(x.reshape(STEPS // 2, -1), paired.tanh).sum(0)),
    ),
    "AvgPool1d": Case(
        lambda: Net(
            lambda net, x: net.head(net.pool(x.transpose(1, 2)).sigmoid().flatten(1)),
            pool=nn.AvgPool1d(2),
            head=head(STEPS * FEATURES // 2),
        ),
        channels(lambda w, x: elementwise((x[:, 0::2] + x[:, 1::2]) * 0.5, paired.sigmoid)),
    ),
    "AdaptiveAvgPool1d": Case(
        lambda: Net(
            lambda net, x: net.head(net.pool(x.transpose(1, 2)).squeeze(-1).sigmoid()),
            pool=nn.AdaptiveAvgPool1d(1),
            head=head(FEATURES),
        ),
        channels(lambda w, x: elementwise(x.average(1), paired.sigmoid)),
    ),
    "MaxPool1d-of-two": Case(
        lambda: Net(
            lambda net, x: net.head(net.pool(net.first(x).transpose(1, 2)).flatten(1)),
            first=nn.Linear(FEATURES, FEATURES),
            pool=nn.MaxPool1d(2),
            head=head(STEPS * FEATURES // 2),
        ),
        lambda w, x: flat(w, max_over(linear(w, x, "first.").transpose(1, 0).reshape(FEATURES, STEPS // 2, 2), 2)),
    ),
    "MaxPool1d-overlapping": Case(
        lambda: Net(
            lambda net, x: net.head(net.pool(net.first(x).transpose(1, 2)).flatten(1)),
            first=nn.Linear(FEATURES, FEATURES),
            pool=nn.MaxPool1d(3, stride=1),
            head=head((STEPS - 2) * FEATURES),
        ),
        lambda w, x: flat(w, pool_by_three(linear(w, x, "first.").transpose(1, 0))),
    ),
}


@run_cases(LAYERS)
def test_layers(case, dtype):
    check_case(case, dtype)


# --- Ways of writing a model -------------------------------------------------------------------------------


def in_place(net, x):
    y = net.lstm(x)[0]
    y += x
    y[:, 0] *= 2
    y.mul_(0.5).add_(1)
    y[:, 1:3, :2] = x[:, 1:3, 2:]
    y[..., -1].zero_()
    return net.head(y.flatten(1))


def in_place_mirror(w, x):
    y = ((recurrent(w, "lstm", x) + x) * np.where(np.arange(STEPS) == 0, 2.0, 1.0)[:, None]) * 0.5 + 1
    kept = np.ones((STEPS, FEATURES))
    kept[1:3, :2] = 0
    kept[:, -1] = 0
    moved = concat([x[:, 2:], x[:, :2]], 1)
    replaced = np.zeros((STEPS, FEATURES))
    replaced[1:3, :2] = 1
    return flat(w, y * kept + moved * replaced)


def input_is_overwritten(net, x):
    x = x.clone()
    x[:, :, 0] = x[:, :, 1] * x[:, :, 2]
    x[:, 1:] -= x[:, :-1].clone()
    return net.head(net.lstm(x)[0][:, -1])


def input_is_overwritten_mirror(w, x):
    x = concat([x[:, 1:2] * x[:, 2:3], x[:, 1:]], 1)
    x = concat([x[:1], x[1:] - x[:-1]])
    return linear(w, recurrent(w, "lstm", x)[STEPS - 1 :], "head.")


def einsum_net(net, x):
    y = net.lstm(x)[0]
    scores = torch.einsum("ntf,nsf->nts", x, y)
    return net.head(torch.einsum("nts,nsf->nf", scores, y))


def einsum_mirror(w, x):
    y = recurrent(w, "lstm", x)
    scores = x @ y.transpose(1, 0)
    return linear(w, (scores @ y).sum(0).reshape(1, -1), "head.")


STYLES = {
    "residual": Case(
        with_lstm(lambda net, x: net.head((x + net.lstm(x)[0]).flatten(1)), head=head),
        lambda w, x: flat(w, x + recurrent(w, "lstm", x)),
    ),
    "lstm-used-twice": Case(
        with_lstm(lambda net, x: net.head(net.lstm(net.lstm(x)[0])[0].flatten(1)), head=head),
        lambda w, x: flat(w, recurrent(w, "lstm", recurrent(w, "lstm", x))),
    ),
    "linear-used-twice": Case(
        lambda: Net(
            lambda net, x: net.head(net.first(net.first(x).tanh()).tanh().flatten(1)),
            first=nn.Linear(FEATURES, FEATURES),
            head=head(),
        ),
        lambda w, x: flat(
            w,
            elementwise(linear(w, elementwise(linear(w, x, "first."), paired.tanh), "first."), paired.tanh),
        ),
    ),
    "in-place": Case(with_lstm(in_place, head=head), in_place_mirror),
    "input-overwritten": Case(
        with_lstm(input_is_overwritten, head=lambda: head(FEATURES)), input_is_overwritten_mirror
    ),
    "einsum": Case(with_lstm(einsum_net, head=lambda: head(FEATURES)), einsum_mirror),
    "square-as-product": Case(
        with_lstm(lambda net, x: net.head((net.lstm(x)[0] * net.lstm(x)[0]).flatten(1)), head=head),
        lambda w, x: flat(w, elementwise(recurrent(w, "lstm", x), paired.square)),
    ),
    "maximum-minimum": Case(
        with_lstm(lambda net, x: net.head(torch.maximum(x, torch.minimum(net.lstm(x)[0], -x)).flatten(1)), head=head),
        lambda w, x: flat(
            w,
            paired.two_arguments(x, paired.two_arguments(recurrent(w, "lstm", x), -x, paired.minimum), paired.maximum),
        ),
    ),
    "pow-of-two-tensors": Case(
        with_lstm(lambda net, x: net.head(torch.pow(x.abs() + 0.5, net.lstm(x)[0]).flatten(1)), head=head),
        lambda w, x: flat(
            w,
            paired.two_arguments(elementwise(x, paired.absolute) + 0.5, recurrent(w, "lstm", x), paired.power_of),
        ),
    ),
    "atan2": Case(
        with_lstm(lambda net, x: net.head(torch.atan2(net.lstm(x)[0], x.abs() + 0.1).flatten(1)), head=head),
        lambda w, x: flat(
            w,
            paired.two_arguments(recurrent(w, "lstm", x), elementwise(x, paired.absolute) + 0.1, paired.atan2),
        ),
    ),
    "division-by-a-sum": Case(
        with_lstm(
            lambda net, x: net.head((net.lstm(x)[0].exp() / net.lstm(x)[0].exp().sum(1, keepdim=True)).flatten(1)),
            head=head,
        ),
        lambda w, x: flat(w, shares_of_sum(elementwise(recurrent(w, "lstm", x), paired.exp))),
    ),
    "shuffled-axes": Case(
        with_lstm(
            lambda net, x: net.head(
                net.lstm(x.flip(1).roll(1, 2))[0].permute(2, 0, 1).unflatten(2, (2, 3)).movedim(0, -1).flatten(1).tanh()
            ),
            head=head,
        ),
        lambda w, x: flat(
            w,
            elementwise(
                recurrent(w, "lstm", concat([x[::-1, -1:], x[::-1, :-1]], 1)).reshape(2, 3, FEATURES),
                paired.tanh,
            ),
        ),
    ),
    "padded-and-cumulated": Case(
        with_lstm(
            lambda net, x: net.head(F.pad(net.lstm(x.cumsum(1))[0], (0, 0, 1, 0))[:, :-1].flatten(1)),
            head=head,
        ),
        lambda w, x: flat(
            w,
            concat(
                [
                    paired.as_pair(np.zeros((1, FEATURES))),
                    recurrent(w, "lstm", stack([x[: t + 1].sum(0) for t in range(STEPS)]))[:-1],
                ]
            ),
        ),
    ),
}


@run_cases(STYLES)
def test_ways_of_writing(case, dtype):
    check_case(case, dtype)


# --- Embedding ---------------------------------------------------------------------------------------------

VOCABULARY, WIDTH = 11, 4


@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])
@pytest.mark.parametrize("function", [False, True], ids=["module", "function"])
def test_tokens_get_the_sum_over_their_embedding(function, dtype):
    torch.manual_seed(7)

    def forward(net, ids):
        vectors = F.embedding(ids, net.embed.weight) if function else net.embed(ids)
        return net.head(net.lstm(vectors)[0][:, -1])

    net = (
        with_lstm(forward, embed=lambda: nn.Embedding(VOCABULARY, WIDTH, padding_idx=0), head=lambda: head(FEATURES))()
        .eval()
        .to(dtype)
    )
    rng = np.random.default_rng(0)
    ids, base = rng.integers(1, VOCABULARY, (SAMPLES, STEPS)), np.zeros((1, STEPS), dtype=np.int64)
    ex = xc.explain(net, ids, baselines=base, keep_embeddings=True)
    bound = 1e-5 if dtype == torch.float32 else 1e-12
    assert ex.relative_residual.max() <= bound
    assert ex.attributions.dims == ("output", "sample", "time")
    (embedded,) = ex.embedding_attributions.values()
    assert embedded.dims == ("output", "sample", "time", "embedding")
    w = weights_of(net)
    for n in range(SAMPLES):
        vectors = PairedArray(w["embed.weight"][ids[n]], w["embed.weight"][base[0]])
        out = linear(w, last(recurrent(w, "lstm", vectors)), "head.").reshape(-1)
        for k in range(2):
            expected = paired.Multipliers(out[k]).contributions(vectors)
            scale = np.abs(expected).max()
            np.testing.assert_allclose(embedded.values[k, n], expected, atol=bound * scale)
            np.testing.assert_allclose(ex.attributions.values[k, n], expected.sum(1), atol=bound * scale)


def test_tokens_beside_numbers():
    torch.manual_seed(7)
    net = Net(
        lambda net, ids, x: net.head(net.lstm(torch.cat([net.embed(ids), x], -1))[0][:, -1]),
        embed=nn.Embedding(VOCABULARY, WIDTH),
        lstm=nn.LSTM(WIDTH + FEATURES, 5, batch_first=True),
        head=nn.Linear(5, 1),
    ).eval()
    rng = np.random.default_rng(0)
    ids, base = rng.integers(0, VOCABULARY, (2, SAMPLES, STEPS))
    x, x_base = draw(0, SAMPLES, STEPS, FEATURES), draw(1, SAMPLES, STEPS, FEATURES)
    ex = xc.explain(net.double(), (ids, x), baselines=(base, x_base))
    assert ex.relative_residual.max() <= 1e-12
    tokens, numbers = ex.attributions.values()
    w = weights_of(net)
    for n in range(SAMPLES):
        vectors = PairedArray(w["embed.weight"][ids[n]], w["embed.weight"][base[n]])
        row = PairedArray(x[n], x_base[n])
        out = linear(w, last(recurrent(w, "lstm", concat([vectors, row], 1))), "head.")
        m = paired.Multipliers(out)
        np.testing.assert_allclose(tokens.values[n], m.contributions(vectors).sum(1), atol=1e-12)
        np.testing.assert_allclose(numbers.values[n], m.contributions(row), atol=1e-12)


WRAPPED = {
    "exported": lambda model, x: torch.export.export(model, (x,)),
    "exported, its module": lambda model, x: torch.export.export(model, (x,)).module(),
    "in a module of one's own": lambda model, x: Net(
        lambda net, x: net.inner(x), inner=torch.export.export(model, (x,)).module()
    ),
    "DataParallel": lambda model, x: nn.DataParallel(model),
}


@pytest.mark.parametrize("wrapped", WRAPPED)
def test_a_model_in_evaluation_is_not_said_to_have_been_in_training(wrapped):
    x = torch.zeros(2, 4, 3)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2), nn.Dropout(0.5)).eval()
    model = WRAPPED[wrapped](model, x)
    if isinstance(model, Net):
        model.training = False  # its eval() would be that of the program too, which refuses it
    assert xc.explain(model, x, target=0, device="cpu").notes == []


def test_a_model_in_training_says_so_on_several_devices_too():
    x = torch.zeros(2, 4, 3)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2), nn.Dropout(0.5))
    assert "training mode" in "".join(xc.explain(nn.DataParallel(model), x, target=0, device="cpu").notes)
