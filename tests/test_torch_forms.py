"""Forms in which models come: weights that are not there yet, partly half precision, compiled and frozen parts, outputs
in classes of their own, and models that would change themselves or leave what can be followed."""

from __future__ import annotations

import copy
import warnings
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from exactness import Net, draw, unchanged
from torch import nn

import explain_core as xc

STEPS, FEATURES, HIDDEN = 6, 4, 5
X, BASE = draw(0, 3, STEPS, FEATURES), draw(1, 3, STEPS, FEATURES)


def modules() -> dict[str, nn.Module]:
    torch.manual_seed(3)
    return {"lstm": nn.LSTM(FEATURES, HIDDEN, batch_first=True), "head": nn.Linear(HIDDEN, 2)}


def plain(net, x):
    return net.head(net.lstm(x)[0][:, -1])


def net(forward=plain, **more: nn.Module) -> nn.Module:
    return Net(forward, **modules(), **more).double().eval()


def assert_like_plain(found: xc.Explanation) -> None:
    expected = xc.explain(net(), X, baselines=BASE)
    assert found.relative_residual.max() <= 1e-12
    np.testing.assert_allclose(found.attributions.values, expected.attributions.values, atol=1e-14)


# --- The user's weights ------------------------------------------------------------------------------------------


def clamps_its_weights(net, x):
    net.head.weight.data.clamp_(-0.1, 0.1)
    return plain(net, x)


def test_a_model_that_changes_its_weights_is_stopped_before_it_does():
    model = net(clamps_its_weights)
    with unchanged(model), pytest.raises(xc.errors.CaptureError, match=r"head\.weight"):
        xc.explain(model, X, baselines=BASE)


def test_an_embedding_that_scales_its_rows_is_stopped_before_it_does():
    model = nn.Sequential(nn.Embedding(7, 4, max_norm=0.1), nn.Flatten(), nn.Linear(8, 1)).double()
    with unchanged(model), pytest.raises(xc.errors.CaptureError, match="max_norm"):
        xc.explain(model, np.array([[1, 2], [3, 4]]))


def test_weights_that_are_not_there_yet():
    for model in (nn.Sequential(nn.Flatten(), nn.LazyLinear(2)), nn.Sequential(nn.Linear(4, 2)).to("meta")):
        with pytest.raises(xc.errors.CaptureError, match="no values yet"):
            xc.explain(model, X)


def test_weights_made_in_inference_mode():
    with torch.inference_mode():
        model = net()
    assert_like_plain(xc.explain(model, X, baselines=BASE))


# --- Half precision in a part -------------------------------------------------------------------------------------


class Mixed(nn.Module):
    """An LSTM in single and a head in half precision, or the other way round."""

    def __init__(self, lstm: torch.dtype, head: torch.dtype) -> None:
        super().__init__()
        self.dtypes = lstm, head
        parts = modules()
        self.lstm, self.head = parts["lstm"].to(lstm), parts["head"].to(head)

    def forward(self, x):
        lstm, head = self.dtypes
        return self.head(self.lstm(x.to(lstm))[0][:, -1].to(head)).float()


class Autocast(Mixed):
    def __init__(self) -> None:
        super().__init__(torch.float32, torch.float32)

    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return super().forward(x)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Mixed(torch.float32, torch.bfloat16),
        lambda: Mixed(torch.bfloat16, torch.float32),
        Autocast,
    ],
    ids=["head", "lstm", "autocast"],
)
def test_a_part_in_half_precision_is_explained_in_single(make):
    model = make()
    whole = Mixed(torch.float32, torch.float32)
    whole.load_state_dict(model.state_dict())
    x, base = X.astype(np.float32), BASE.astype(np.float32)
    found = xc.explain(model, x, baselines=base)
    expected = xc.explain(whole, x, baselines=base)
    np.testing.assert_allclose(found.attributions, expected.attributions, atol=1e-6)
    assert found.attrs["dtype"] == "float32"
    assert found.gates["lstm"].contribution.dtype == np.float32
    assert any("bfloat16" in note for note in found.notes)


@pytest.mark.parametrize(
    ("forward", "dtype"),
    [(lambda net, x: plain(net, x).bfloat16(), "bfloat16"), (lambda net, x: plain(net, x).half(), "float16")],
)
def test_an_output_in_half_precision_is_explained_in_single(forward, dtype):
    model = Net(forward, **modules()).eval()
    found = xc.explain(model, X.astype(np.float32), baselines=BASE.astype(np.float32))
    np.testing.assert_allclose(found.attributions, xc.explain(net(), X, baselines=BASE).attributions, atol=1e-5)
    assert any(dtype in note for note in found.notes)


def test_an_output_under_autocast_is_explained_in_single():
    def forward(net, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return plain(net, x)

    assert forward(net().float(), torch.tensor(X).float()).dtype is torch.bfloat16
    found = xc.explain(net(forward).float(), X.astype(np.float32), baselines=BASE.astype(np.float32))
    np.testing.assert_allclose(found.attributions, xc.explain(net(), X, baselines=BASE).attributions, atol=1e-5)


# --- Parts that are compiled or frozen ----------------------------------------------------------------------------


def test_a_compiled_part_is_explained_as_it_was_written():
    def compiler(graph, examples):
        raise AssertionError("nothing needs to be compiled")

    inner = torch.compile(lambda y: torch.tanh(y) * 2, backend=compiler)
    model = net(lambda net, x: net.head(inner(net.lstm(x)[0][:, -1])))
    found = xc.explain(model, X, baselines=BASE)
    expected = xc.explain(net(lambda net, x: net.head(torch.tanh(net.lstm(x)[0][:, -1]) * 2)), X, baselines=BASE)
    np.testing.assert_allclose(found.attributions, expected.attributions, atol=1e-14)


class Scripted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        parts = modules()
        self.lstm, self.head = parts["lstm"], parts["head"]

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


@pytest.mark.parametrize("then", [lambda m: m, torch.jit.optimize_for_inference], ids=["frozen", "optimized"])
def test_frozen_torchscript(then):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that TorchScript is deprecated; people have the files
        model = then(torch.jit.freeze(torch.jit.script(Scripted().double().eval())))
        found = xc.explain(model, X, baselines=BASE)
    assert_like_plain(found)


# --- Outputs --------------------------------------------------------------------------------------------------------


@dataclass
class Output:
    logits: torch.Tensor
    states: tuple | None = None


class Mapped(OrderedDict):
    """As the outputs of well-known language models are."""


@pytest.mark.parametrize(
    "wrap",
    [
        lambda y: Output(y),
        lambda y: Mapped(logits=y, states=None),
        lambda y: (None, [Output(y, (y[:, :1],))]),
    ],
    ids=["dataclass", "mapping", "nested"],
)
def test_outputs_in_classes_of_their_own(wrap):
    found = xc.explain(net(lambda net, x: wrap(plain(net, x))), X, baselines=BASE, target=[0, 1])
    assert_like_plain(found)


def test_an_output_without_a_tensor_is_said_once():
    with pytest.raises(xc.errors.CaptureError) as caught:
        xc.explain(net(lambda net, x: "words"), X)
    assert str(caught.value).splitlines()[0] == "the model returned str, in which there is no tensor"


# --- What cannot be followed --------------------------------------------------------------------------------------


def into_a_given_tensor(net, x):
    out = torch.empty_like(x)
    torch.tanh(x, out=out)
    return plain(net, out)


def through_a_derivative(net, x):
    return plain(net, torch.func.grad(lambda x: net.mix(x).tanh().sum())(x))


@pytest.mark.parametrize(
    ("forward", "word"),
    [(into_a_given_tensor, "out="), (through_a_derivative, "torch.func that differentiate")],
    ids=["out", "grad"],
)
def test_it_stops_with_a_name_and_a_way_out(forward, word):
    with pytest.raises(xc.errors.ExplainError) as caught:
        xc.explain(net(forward, mix=nn.Linear(FEATURES, FEATURES)), X, baselines=BASE)
    assert word in str(caught.value)


# --- A layer on other rows than the samples -----------------------------------------------------------------------


@pytest.mark.parametrize("both", [True, False], ids=["and on samples", "only"])
def test_a_layer_that_runs_on_windows(both):
    """Its gates have no sample, so they are left out with a note; the attributions are those of two layers."""

    def windows(net, x):
        return net.lstm(x.reshape(-1, STEPS // 2, FEATURES))[0][:, -1].view(len(x), 2, HIDDEN).sum(1)

    def one_by_one(net, x):
        parts = [net.copies[k](x[:, at : at + STEPS // 2])[0][:, -1] for k, at in enumerate((0, STEPS // 2))]
        return net.head(sum(parts) * (net.lstm(x)[0][:, -1] if both else 1))

    model = net(lambda net, x: net.head(windows(net, x) * (net.lstm(x)[0][:, -1] if both else 1)))
    found = xc.explain(model, X, baselines=BASE)
    apart = net(one_by_one)
    apart.copies = nn.ModuleList(copy.deepcopy(apart.lstm) for _ in range(2))
    expected = xc.explain(apart, X, baselines=BASE)
    assert found.relative_residual.max() <= 1e-12
    np.testing.assert_allclose(found.attributions, expected.attributions, atol=1e-14)
    assert "lstm" not in found.gates
    assert any("lstm" in note for note in found.notes)


@pytest.mark.parametrize("method", ["paired", "gradient"])
def test_the_ledger_of_a_layer_on_windows_and_on_samples_adds_up(method):
    def forward(net, x):
        windows = net.lstm(x.reshape(-1, STEPS // 2, FEATURES))[0][:, -1].view(len(x), 2, HIDDEN).sum(1)
        return net.head(windows * net.lstm(x)[0][:, -1])

    model = net(forward)
    defects = xc.diagnostics.ledger(model, X, BASE, target=0, method=method).groupby("sample")["defect"].sum()
    multipliers = xc.diagnostics.ledger(model, X, BASE, target=0, method="paired")
    assert set(multipliers[multipliers["layer"] == "lstm"]["time"]) == set(range(STEPS // 2 + STEPS))
    if method == "paired":
        np.testing.assert_allclose(defects, 0, atol=1e-15)
        return
    x = torch.from_numpy(X).requires_grad_()
    model(x)[:, 0].sum().backward()
    change = (model(x.detach()) - model(torch.from_numpy(BASE)))[:, 0].detach().numpy()
    by_gradient = (x.grad.numpy() * (X - BASE)).sum((1, 2))
    np.testing.assert_allclose(defects, change - by_gradient, atol=1e-14)


# --- Files -------------------------------------------------------------------------------------------------------


class Causal(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.TransformerEncoderLayer(FEATURES, 2, 8, batch_first=True), nn.Linear(FEATURES, 2)

    def forward(self, x):
        later = torch.triu(torch.full((x.size(1), x.size(1)), float("-inf"), dtype=x.dtype), diagonal=1)
        return self.head(self.layer(x, src_mask=later)[:, -2])


class Padded(nn.Module):
    """Leaves out the timesteps that are zero."""

    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(FEATURES, HIDDEN, batch_first=True), nn.Linear(HIDDEN, 2)

    def forward(self, x):
        there = (x.abs().sum(-1) > 0).float().unsqueeze(-1)
        return self.head((self.lstm(x)[0] * there).sum(1) / there.sum(1).clamp(min=1.0))


class Stepped(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.GRUCell(FEATURES, HIDDEN), nn.Linear(HIDDEN, 2)

    def forward(self, x):
        h = torch.zeros(x.size(0), HIDDEN)
        for step in range(x.size(1)):
            h = self.cell(x[:, step], h)
        return self.head(h)


def scripted(model, x, path):
    torch.jit.save(torch.jit.script(model), str(path))


def traced(model, x, path):
    torch.jit.save(torch.jit.trace(model, x), str(path))


def exported(model, x, path):
    torch.export.save(torch.export.export(model, (x,)), path)


@pytest.mark.parametrize(
    ("kind", "save", "ending"), [(Causal, scripted, "pt"), (Padded, exported, "pt2"), (Stepped, traced, "pt")]
)
def test_a_file_is_explained_as_its_model_is(kind, save, ending, tmp_path):
    torch.manual_seed(0)
    model, x, base = kind().eval(), torch.randn(3, STEPS, FEATURES), torch.randn(3, STEPS, FEATURES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save(model, x, tmp_path / f"m.{ending}")
    live = xc.explain(model, x, baselines=base)
    loaded = xc.load_model(tmp_path / f"m.{ending}")
    found = xc.explain(loaded, x, baselines=base)
    assert xc.explain(loaded, x, baselines=base, precision="float64").relative_residual.max() <= 1e-10
    assert found.relative_residual.max() <= 1e-5
    np.testing.assert_allclose(found.attributions.values, live.attributions.values, rtol=1e-4, atol=1e-6)
