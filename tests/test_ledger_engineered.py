"""Models whose whole error is made at one place by construction: the ledger has it there and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from exactness import Net
from torch import nn

import explain_core as xc

STEPS, AT = 6, 3  # the input differs from its baseline at one timestep only

LSTM_GATES = {"input": 0, "forget": 1, "candidate": 2, "output": 3}
GRU_GATES = {"reset": 0, "update": 1, "new": 2}


def silent(kind: str) -> tuple[nn.Module, Net]:
    """One unit without weights, and a linear head that reads the state after `AT`."""
    layer = getattr(nn, kind)(1, 1, batch_first=True).double()
    for weight in layer.parameters():
        nn.init.zeros_(weight)
    head = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(head.weight, 2.0)
    return layer, Net(lambda net, x: net.head(net.rnn(x)[0][:, AT]), rnn=layer, head=head).eval()


def lstm_by_gate(gate: str) -> Net:
    """Only this gate sees the input; the others are held by their biases, so that every product is linear in it.

    The memory that the forget gate drops is made by the constant candidate, so all of it is the same in both runs.
    """
    layer, net = silent("LSTM")
    with torch.no_grad():
        layer.weight_ih_l0[LSTM_GATES[gate], 0] = 1.5
        layer.bias_ih_l0[:] = torch.tensor([0.4, 0.3, 0.0 if gate == "candidate" else 0.7, 0.2])
    return net


def gru_by_gate(gate: str) -> Net:
    """As `lstm_by_gate`; the reset gate multiplies the constant ``d_n``."""
    layer, net = silent("GRU")
    with torch.no_grad():
        layer.weight_ih_l0[GRU_GATES[gate], 0] = 1.5
        layer.bias_ih_l0[:] = torch.tensor([0.4, 0.3, 0.5])
        layer.bias_hh_l0[2] = 0.8
    return net


def runs() -> tuple[np.ndarray, np.ndarray]:
    test, base = np.zeros((2, 1, STEPS, 1))
    test[0, AT], base[0, AT] = 1.3, -0.6
    return test, base


def places(net: Net, method: str) -> dict[tuple[int, str], float]:
    """Defects above rounding, by timestep and part, as shares of the error."""
    ex = xc.diagnostics.audit(net, *runs(), 0, method)
    ledger = ex.diagnostics["ledger"]
    error = float(ex.diagnostics["totals"]["error"].iloc[0])
    scale = max(abs(error), float(ex.attribution_size.max()))
    found = ledger[ledger["defect"].abs() > 1e-13 * scale]
    assert (found["layer"] == "rnn").all()
    return {(int(row.time), row.part): row.defect / error for row in found.itertuples()}


# What stands between a gate and the output; all of it is where the one difference passes through a nonlinearity.
ALONG = {
    "input": {"input", "cell tanh"},
    "forget": {"forget", "cell tanh"},
    "candidate": {"candidate", "cell tanh"},
    "output": {"output"},
    "reset": {"reset", "new"},
    "update": {"update"},
    "new": {"new"},
}


@pytest.mark.parametrize("gate", [*LSTM_GATES, *GRU_GATES])
@pytest.mark.parametrize("method", ["gradient", "shap"])
def test_the_error_is_where_the_difference_meets_a_nonlinearity(gate, method):
    net = lstm_by_gate(gate) if gate in LSTM_GATES else gru_by_gate(gate)
    found = places(net, method)
    assert set(found) == {(AT, part) for part in ALONG[gate]}
    np.testing.assert_allclose(sum(found.values()), 1, rtol=1e-12)


@pytest.mark.parametrize("gate", ["input", "forget", "candidate", "output", "reset", "update", "new"])
def test_rescale_only_has_no_error_without_a_product_of_two(gate):
    net = lstm_by_gate(gate) if gate in LSTM_GATES else gru_by_gate(gate)
    ex = xc.diagnostics.audit(net, *runs(), 0, "rescale-only")
    assert ex.diagnostics["ledger"]["defect"].abs().max() <= 1e-14


@pytest.mark.parametrize("gate", ["input", "forget", "candidate", "output"])
@pytest.mark.parametrize("method", ["gradient", "shap"])
def test_all_of_it_in_one_gate_at_one_step(gate, method):
    """With a cell state too small for tanh to bend, only the gate itself is left."""
    net = lstm_by_gate(gate)
    with torch.no_grad():  # f, i·g and with them c shrink to where tanh is linear to the last digit
        net.rnn.bias_ih_l0[2] = 0.0 if gate == "candidate" else 1e-9
        if gate == "candidate":
            net.rnn.bias_ih_l0[0] = -21.0
    assert set(places(net, method)) == {(AT, gate)}


PRODUCTS = {
    "input product": ("LSTM", (0, 2)),
    "output product": ("LSTM", (2, 3)),
    "update product": ("GRU", (1, 2)),
}


@pytest.mark.parametrize("part", PRODUCTS)
def test_rescale_only_loses_it_in_the_product(part):
    kind, rows = PRODUCTS[part]
    layer, net = silent(kind)
    with torch.no_grad():
        layer.weight_ih_l0[list(rows), 0] = torch.tensor([1.5, 0.8], dtype=torch.float64)
        layer.bias_ih_l0[:] = torch.tensor([0.4, 0.3, 0.5, 0.2])[: len(layer.bias_ih_l0)]
    assert set(places(net, "rescale-only")) == {(AT, part)}


def test_the_reset_product_by_itself():
    """The past differs since step `AT` - 1, and the reset gate at `AT`."""
    layer, net = silent("GRU")
    with torch.no_grad():
        layer.weight_ih_l0[:, 0] = torch.tensor([1.5, 0.0, 0.7])
        layer.weight_hh_l0[2, 0] = 0.9
    test, base = runs()
    test[0, AT - 1], base[0, AT - 1] = 0.5, -0.4
    ledger = xc.diagnostics.ledger(net, test, base, 0, "rescale-only")
    found = ledger[ledger["defect"].abs() > 1e-14]
    assert [(int(row.time), row.part) for row in found.itertuples()] == [(AT, "reset product")]


def test_the_forget_product_by_itself():
    layer, net = silent("LSTM")
    with torch.no_grad():
        layer.weight_ih_l0[1, 0] = 1.5
        layer.weight_ih_l0[2, 0] = 0.7
    test, base = runs()
    test[0, AT - 1], base[0, AT - 1] = 0.5, -0.4
    ledger = xc.diagnostics.ledger(net, test, base, 0, "rescale-only")
    found = ledger[ledger["defect"].abs() > 1e-14]
    assert {(int(row.time), row.part) for row in found.itertuples()} == {(AT, "forget product")}


def test_conservation_leaks_at_that_step_only():
    for name in ("gradient", "shap"):
        table = xc.diagnostics.conservation(lstm_by_gate("output"), *runs(), 0, name)
        leaks = table.loc[table["residual"].abs() > 1e-14, "time"]
        assert list(leaks) == [AT]


def test_compounding_in_a_chain_of_one_unit():
    """A linear memory that keeps the factor f: what a state at t does to the output is f^(T - t)."""
    layer, net = silent("GRU")
    keep = 0.8
    with torch.no_grad():
        layer.bias_ih_l0[1] = np.log(keep / (1 - keep))
        layer.weight_ih_l0[2, 0] = 1.0
    rng = np.random.default_rng(0)
    test, base = rng.normal(size=(2, 1, STEPS, 1))
    table = xc.diagnostics.compounding(net, test, base, 0, "gradient")
    expected = np.where(np.arange(STEPS) <= AT, keep ** (AT - np.arange(STEPS)), 0.0)
    np.testing.assert_allclose(table["amplification"], expected, rtol=1e-12)
    made = (1 - keep) * (np.tanh(test) - np.tanh(base) - (1 - np.tanh(test) ** 2) * (test - base))[0, :, 0]
    np.testing.assert_allclose(table["local"][: AT + 1], made[: AT + 1], atol=1e-15)
    np.testing.assert_allclose(table["defect"], 2 * expected * made, atol=1e-15)
    np.testing.assert_allclose(table["running"], np.cumsum(table["defect"]), atol=1e-15)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("method", ["paired", "gradient", "shap", "rescale-only"])
def test_what_a_cut_does_not_conserve_is_the_defect_of_its_step(kind, method):
    """Two computations: from the gates' contributions, and from the ledger's entries. At every timestep."""
    torch.manual_seed(0)
    layer = getattr(nn, kind)(3, 4, num_layers=2, bidirectional=True, batch_first=True)
    net = Net(lambda net, x: net.head(net.rnn(x)[0][:, -1]), rnn=layer, head=nn.Linear(8, 1)).double()
    test, base = np.random.default_rng(0).normal(size=(2, 1, 9, 3))
    ex = xc.diagnostics.audit(net, test, base, 0, method)
    cuts, steps = xc.diagnostics.conservation(ex), xc.diagnostics.compounding(ex)
    assert (cuts[["layer", "time"]].to_numpy() == steps[["layer", "time"]].to_numpy()).all()
    np.testing.assert_allclose(cuts["residual"], steps["defect"], atol=1e-14)
    if method == "paired":
        assert cuts["residual"].abs().max() <= 1e-14
