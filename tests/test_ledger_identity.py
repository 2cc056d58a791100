"""The sum identity of the ledger, for every method and kind of model: the parts are the whole error."""

from __future__ import annotations

import importlib

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from exactness import Net
from torch import nn

import explain_core as xc
from explain_core.diagnostics.ledgers import LEDGER_METHODS
from explain_core.rules.cells import GRU, LSTM, RNN

FEATURES, UNITS = 3, 5
BOUND = {"float32": 1e-6, "float64": 1e-12}  # measured: 6e-8 and 3e-16, over 500 steps too
ROUNDING = {"float32": 3e-5, "float64": 1e-12}  # of one entry; measured: 9e-6 and 2e-13


def recurrent_net(kind: str, steps: int, seed: int = 0, read=lambda states: states[:, -1], **options) -> Net:
    """A recurrent layer, and a head with modules that shap knows and operations that it does not.

    ``read`` says what of the layer's states (N, T, H) the head gets.
    """
    torch.manual_seed(seed)
    two_way = 2 if options.get("bidirectional") else 1
    layer = getattr(nn, kind)(FEATURES, UNITS, batch_first=True, **options)
    width = two_way * (options.get("proj_size") or UNITS)

    def forward(net, x):
        h = net.relu(net.a(read(net.rnn(x)[0])))
        return (2 * torch.sigmoid(h) * net.b(h)).exp().sum(-1, keepdim=True)

    return Net(forward, rnn=layer, a=nn.Linear(width, 6), relu=nn.ReLU(), b=nn.Linear(6, 6)).eval()


def pair_of_runs(steps: int, samples: int = 1, dtype=np.float64, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return tuple(rng.normal(size=(2, samples, steps, FEATURES)).astype(dtype))


MODELS = {
    "LSTM": ("LSTM", {}),
    "GRU": ("GRU", {}),
    "RNN tanh": ("RNN", {}),
    "RNN relu": ("RNN", {"nonlinearity": "relu"}),
    "bidirectional LSTM": ("LSTM", {"bidirectional": True}),
    "stacked GRU": ("GRU", {"num_layers": 2}),
    "stacked bidirectional LSTM": ("LSTM", {"num_layers": 2, "bidirectional": True}),
    "projected LSTM": ("LSTM", {"proj_size": 2}),
}


def off(explanation: xc.Explanation) -> float:
    """How far the booked sum is from the error, relative to the attributions, or the error where it is larger."""
    totals = explanation.diagnostics["totals"]
    whole = np.maximum(totals["error"].abs(), explanation.attribution_size.values.ravel())
    return float(((totals["booked"] - totals["error"]).abs() / whole).max())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("method", LEDGER_METHODS)
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_defects_add_up_to_the_error(name, method, precision):
    kind, options = MODELS[name]
    net = recurrent_net(kind, 12, **options).to(getattr(torch, precision))
    test, base = pair_of_runs(12, dtype=precision)
    ex = xc.diagnostics.audit(net, test, base, None, method)
    ledger = ex.diagnostics["ledger"]
    assert off(ex) <= BOUND[precision]
    linear = ledger.loc[ledger["part"] == "linear", "defect"].abs().max()
    assert linear <= ROUNDING[precision] * float(ex.attribution_size.max())
    if method == "paired":
        assert ledger["defect"].abs().max() <= ROUNDING[precision] * float(ex.attribution_size.max())
    else:
        exact = name.startswith("RNN") and method == "rescale-only"
        inside = ledger.loc[ledger["time"].notna(), "defect"].abs().max()
        assert (inside > 1e-4 * float(ex.attribution_size.max())) != exact


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_defects_add_up_over_500_timesteps_that_all_count(name, precision):
    kind, options = MODELS[name]
    net = recurrent_net(kind, 500, read=lambda states: states.mean(1), **options).to(getattr(torch, precision))
    test, base = pair_of_runs(500, dtype=precision)
    for method in LEDGER_METHODS:
        ex = xc.diagnostics.audit(net, test, base, None, method)
        assert off(ex) <= BOUND[precision]
        ledger, size = ex.diagnostics["ledger"], float(ex.attribution_size.max())
        assert ledger.loc[ledger["part"] == "linear", "defect"].abs().max() <= ROUNDING[precision] * size
        if method in ("gradient", "shap"):  # the early steps' entries are none of rounding
            assert ledger.loc[ledger["time"] < 50, "defect"].abs().max() > 1e3 * BOUND[precision] * size


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        *(("LSTM", part) for part in ("input", "forget", "candidate", "output")),
        *(("LSTM", part) for part in ("input product", "forget product", "cell tanh", "output product")),
        *(("GRU", part) for part in ("reset", "update", "new", "reset product", "update product")),
        ("RNN", "new"),
    ],
)
def test_a_part_that_is_left_out_is_found_in_the_step_as_a_whole(kind, part, monkeypatch):
    """The step is measured at its ends, so what the parts lack is booked where only rounding may be."""
    cell = {"LSTM": LSTM, "GRU": GRU, "RNN": RNN}[kind]
    given = cell.parts

    def without(*args):
        return {name: torch.zeros_like(defect) if name == part else defect for name, defect in given(*args).items()}

    monkeypatch.setattr(cell, "parts", without)
    ex = xc.diagnostics.audit(recurrent_net(kind, 12).double(), *pair_of_runs(12), None, "gradient")
    ledger, size = ex.diagnostics["ledger"], float(ex.attribution_size.max())
    assert ledger.loc[ledger["part"] == "linear", "defect"].abs().max() > 1e6 * ROUNDING["float64"] * size
    assert off(ex) <= BOUND["float64"]


def test_an_operation_that_is_left_out_leaves_the_sum_short(monkeypatch):
    ledger = importlib.import_module("explain_core.backends.torch.ledger").Ledger
    books = ledger.books
    monkeypatch.setattr(ledger, "books", staticmethod(lambda rule, op: books(rule, op) and "sigmoid" not in str(op)))
    ex = xc.diagnostics.audit(recurrent_net("LSTM", 12).double(), *pair_of_runs(12), None, "gradient")
    assert off(ex) > 1e6 * BOUND["float64"]


def test_cells_in_a_loop_have_a_time_axis():
    torch.manual_seed(0)

    def forward(net, x):
        h = c = x.new_zeros(len(x), UNITS)
        for t in range(x.shape[1]):
            h, c = net.cell(x[:, t], (h, c))
        return net.head(h)

    net = Net(forward, cell=nn.LSTMCell(FEATURES, UNITS), head=nn.Linear(UNITS, 1)).double()
    test, base = pair_of_runs(7)
    ex = xc.diagnostics.audit(net, test, base, 0, "gradient")
    inside = ex.diagnostics["ledger"].query("layer == 'cell'")
    assert sorted(inside["time"].unique()) == list(range(7))
    assert off(ex) <= BOUND["float64"]


def test_packed_sequences_keep_their_own_time():
    torch.manual_seed(0)

    def forward(net, x, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return net.head(net.rnn(packed)[1][0][-1])

    layer = nn.LSTM(FEATURES, UNITS, bidirectional=True, batch_first=True)
    net = Net(forward, rnn=layer, head=nn.Linear(UNITS, 1)).double()
    test, base = pair_of_runs(6, samples=3)
    lengths = np.array([4, 6, 2])
    ex = xc.diagnostics.audit(net, (test, lengths), base, 0, "gradient")
    assert off(ex) <= BOUND["float64"]
    for table in (*ex.diagnostics.values(), xc.diagnostics.compounding(ex), xc.diagnostics.conservation(ex)):
        for n, length in enumerate(lengths if "time" in table else ()):
            mine = table[(table["sample"] == n) & table["time"].notna()]
            assert sorted(mine["time"].unique()) == list(range(length))
    gates = xc.explain(net, (test, lengths), base, 0).gates.values()
    assert [layer["length"].values.tolist() for layer in gates] == [lengths.tolist()] * 2
    one = xc.diagnostics.compounding(net, (test[:1, :4], lengths[:1]), base[:1, :4], 0, "gradient")
    all_at_once = xc.diagnostics.compounding(ex).query("sample == 0")
    pd.testing.assert_frame_equal(all_at_once.reset_index(drop=True), one)


@pytest.mark.parametrize("reads_padding", [False, True])
def test_steps_after_a_known_length_have_rows_only_where_something_is_booked(reads_padding):
    torch.manual_seed(0)

    def forward(net, x, lengths):
        states = net.rnn(x)[0]
        return net.head(states.mean(1) if reads_padding else states[torch.arange(len(x)), lengths - 1])

    net = Net(forward, rnn=nn.LSTM(FEATURES, UNITS, batch_first=True), head=nn.Linear(UNITS, 1)).double()
    test, base = pair_of_runs(6, samples=2)
    lengths = np.array([4, 2])
    x = xr.DataArray(test, dims=("sample", "time", "feature")).assign_coords(length=("sample", lengths))
    ex = xc.diagnostics.audit(net, (x, lengths), base, 0, "gradient")
    assert off(ex) <= BOUND["float64"]
    tables = ex.diagnostics["ledger"], ex.diagnostics["steps"], xc.diagnostics.conservation(ex)
    for table in tables:
        last = table.groupby("sample")["time"].max()
        assert last.tolist() == ([5, 5] if reads_padding else [3, 1])


def test_several_samples_outputs_and_baselines():
    net = recurrent_net("LSTM", 5).double()
    net.rnn = nn.LSTM(FEATURES, UNITS, batch_first=True).double()
    test, _ = pair_of_runs(5, samples=3)
    background = np.random.default_rng(9).normal(size=(4, 5, FEATURES))
    ex = xc.diagnostics.audit(net, test, background, None, "gradient", background=True)
    assert off(ex) <= BOUND["float64"]
    one = [xc.diagnostics.audit(net, test[1:2], b[None], None, "gradient").diagnostics["ledger"] for b in background]
    mean = np.mean([table["defect"] for table in one], axis=0)
    mine = ex.diagnostics["ledger"].query("sample == 1")["defect"].to_numpy()
    np.testing.assert_allclose(mine, mean, atol=1e-15)


def test_token_ids_are_followed_from_the_embedding():
    torch.manual_seed(0)
    forward = lambda net, ids: net.head(net.rnn(net.table(ids))[0][:, -1])  # noqa: E731
    parts = {"table": nn.Embedding(9, FEATURES), "rnn": nn.GRU(FEATURES, UNITS, batch_first=True)}
    net = Net(forward, **parts, head=nn.Linear(UNITS, 1)).double()
    ids = np.array([[1, 4, 2, 8]])
    for method in ("paired", "gradient", "rescale-only"):
        assert off(xc.diagnostics.audit(net, ids, np.zeros_like(ids), 0, method)) <= BOUND["float64"]
    with pytest.raises(xc.errors.MethodError, match="token ids"):
        xc.diagnostics.audit(net, ids, np.zeros_like(ids), 0, "shap")


def test_writing_in_place_and_attention():
    torch.manual_seed(0)

    def forward(net, x):
        h = net.rnn(x)[0]
        h = net.attend(h, h, h)[0]
        out = torch.zeros_like(h)
        out[:, 1:] = torch.tanh(h[:, 1:]) * h[:, :-1]
        return net.norm(out).relu_().mean((1, 2)).unsqueeze(1)

    parts = {"rnn": nn.LSTM(FEATURES, 4, batch_first=True), "attend": nn.MultiheadAttention(4, 2, batch_first=True)}
    net = Net(forward, **parts, norm=nn.LayerNorm(4)).double().eval()
    test, base = pair_of_runs(6)
    for method in LEDGER_METHODS:
        ex = xc.diagnostics.audit(net, test, base, 0, method)
        assert off(ex) <= BOUND["float64"]
        assert {"rnn", "attend", "norm", ""} <= set(ex.diagnostics["ledger"]["layer"])


def test_the_gradient_is_that_of_captum():
    net = recurrent_net("LSTM", 8).double()
    test, base = pair_of_runs(8, samples=2)
    ours = xc.diagnostics.audit(net, test, base, None, "gradient")
    theirs = xc.methods.explain_with("gradient_difference", net, test, base, None)
    np.testing.assert_allclose(ours.attributions.values, theirs.attributions.values, atol=1e-15)


def test_the_paired_method_is_the_engine():
    net = recurrent_net("GRU", 8).double()
    test, base = pair_of_runs(8, samples=2)
    ours = xc.diagnostics.audit(net, test, base, None, "paired")
    np.testing.assert_allclose(ours.attributions, xc.explain(net, test, base).attributions, rtol=1e-12)


def test_what_there_is_no_ledger_of():
    with pytest.raises(xc.errors.InputError, match="no ledger of 'magic'"):
        xc.diagnostics.ledger(nn.Linear(3, 1), np.ones((1, 3), np.float32), method="magic")


def test_the_table_by_itself():
    net = recurrent_net("LSTM", 4)
    test, base = pair_of_runs(4, dtype=np.float32)
    table = xc.diagnostics.ledger(net, test, base, 0, "gradient")
    assert list(table.columns) == ["sample", "layer", "time", "part", "defect"]
    assert table["defect"].dtype == np.float64
    (total,) = table.attrs["totals"]
    np.testing.assert_allclose(table["defect"].sum(), total["error"], atol=1e-6)
    np.testing.assert_allclose(total["attributed"] + total["error"], total["difference"], rtol=1e-12)
