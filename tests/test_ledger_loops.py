"""Loops over time that a model writes out itself: their entries have a time where it is certain, and no other."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from exactness import Net
from test_ledger_identity import BOUND, FEATURES, UNITS, off, pair_of_runs
from torch import Tensor, nn

import explain_core as xc
from explain_core.diagnostics.ledgers import LEDGER_METHODS

STEPS = 7


class WrittenOut(nn.Module):
    """An LSTM step of plain operations, with the weights of ``nn.LSTMCell``."""

    def __init__(self, cell: nn.LSTMCell) -> None:
        super().__init__()
        self.of_input, self.of_state = nn.Linear(FEATURES, 4 * UNITS), nn.Linear(UNITS, 4 * UNITS)
        own = (self.of_input.weight, self.of_state.weight, self.of_input.bias, self.of_state.bias)
        for mine, theirs in zip(own, (cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh), strict=True):
            mine.data = theirs.data.clone()

    def forward(self, x: Tensor, states: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        h, c = states
        i, f, g, o = (self.of_input(x) + self.of_state(h)).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


def looped(cell: nn.Module, steps_of=lambda x: x.unbind(1), keep: bool = False) -> Net:
    """The cell over the timesteps that ``steps_of`` takes one by one; the head gets the last state, or all of them."""

    def forward(net, x):
        h = c = x.new_zeros(x.shape[0], UNITS)
        kept = x.new_zeros(x.shape[0], x.shape[1], UNITS)
        for t, now in enumerate(steps_of(x)):
            h, c = net.cell(now, (h, c))
            kept[:, t] = h
        return net.head(kept.mean(1) if keep else h)

    torch.manual_seed(1)
    return Net(forward, cell=cell, head=nn.Linear(UNITS, 1)).double().eval()


def cell() -> nn.LSTMCell:
    torch.manual_seed(0)
    return nn.LSTMCell(FEATURES, UNITS)


def one_by_one(order):
    return lambda x: [x[:, t] for t in order(range(x.shape[1]))]


READING = {
    "unbind": lambda x: x.unbind(1),
    "index": one_by_one(list),
    "slice": lambda x: [x[:, t : t + 1].squeeze(1) for t in range(x.shape[1])],
    "backwards": one_by_one(reversed),
}


@pytest.mark.parametrize("reading", READING)
@pytest.mark.parametrize("method", LEDGER_METHODS)
@pytest.mark.parametrize("keep", [False, True])
def test_a_cell_written_out_errs_at_every_step_as_the_built_in_one(reading, method, keep):
    test, base = pair_of_runs(STEPS)
    own, built_in = (
        xc.diagnostics.audit(looped(made, READING[reading], keep), test, base, 0, method)
        for made in (WrittenOut(cell()), cell())
    )
    assert off(own) <= BOUND["float64"]
    tables = [xc.diagnostics.compounding(ex) for ex in (own, built_in)]
    assert tables[0]["layer"].unique().tolist() == ["cell"]
    pd.testing.assert_frame_equal(*tables, rtol=1e-9, atol=1e-12)
    ledger = own.diagnostics["ledger"].query("layer == 'cell'")
    assert ledger["time"].notna().all()
    gates = {"sigmoid (1)": "forget", "sigmoid (2)": "input", "sigmoid (3)": "output", "tanh (1)": "candidate"}
    theirs = built_in.diagnostics["ledger"]
    for part, gate in gates.items():
        mine = ledger.loc[ledger["part"] == part, "defect"]
        np.testing.assert_allclose(mine, theirs.loc[theirs["part"] == gate, "defect"], atol=1e-12)


def test_a_backward_loop_has_the_inputs_time():
    test, base = pair_of_runs(STEPS)
    gates = xc.explain(looped(cell(), READING["backwards"]), test, base, 0).gates["cell"]
    turned = xc.explain(looped(cell()), test[:, ::-1], base[:, ::-1], 0).gates["cell"]
    for name in ("state", "activation", "contribution", "mass", "input"):
        np.testing.assert_allclose(gates[name], turned[name].isel(time=slice(None, None, -1)), atol=1e-14)
    np.testing.assert_array_equal(gates["initial_state"], 0)
    table = xc.diagnostics.steps(looped(cell(), READING["backwards"]), test, base, methods=("pairlift",))
    assert table["relative_error"].max() <= 1e-9


def test_labels_and_lengths_of_the_input_are_those_of_the_loop():
    def forward(net, x, lengths):
        h, c, states = x.new_zeros(len(x), UNITS), x.new_zeros(len(x), UNITS), []
        for t in range(x.shape[1]):
            h, c = net.cell(x[:, t], (h, c))
            states.append(h)
        return net.head(torch.stack(states)[lengths - 1, torch.arange(len(x))])

    net = Net(forward, cell=WrittenOut(cell()), head=nn.Linear(UNITS, 1)).double().eval()
    test, base = pair_of_runs(STEPS, samples=2)
    days = np.arange("2024-01-01", "2024-01-08", dtype="datetime64[D]").astype("datetime64[ns]")
    lengths = np.array([3, STEPS])
    x = xr.DataArray(test, {"time": days, "length": ("sample", lengths)}, ("sample", "time", "feature"))
    ex = xc.diagnostics.audit(net, (x, lengths), base, 0, "gradient")
    steps = ex.diagnostics["steps"]
    assert off(ex) <= BOUND["float64"]
    for n, length in enumerate(lengths):
        np.testing.assert_array_equal(steps.loc[steps["sample"] == n, "time"], days[:length])


class Several(nn.Module):
    """One module in several places of a chain, each on the output of the last, and each of its inputs at hand."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.mix, self.act, self.head = how, nn.Linear(FEATURES, FEATURES), nn.Tanh(), nn.Linear(FEATURES, 1)

    def forward(self, x):
        h = x[:, 0] * 0
        for t in range(x.shape[1]):
            now = {"all": x.mean(1), "same": x[:, 1], "other order": x[:, (3 * t) % x.shape[1]]}.get(self.how)
            now = x[:, t] if now is None else now
            h = self.act(self.mix(now) if self.how == "apart" else self.mix(now + h))
        return self.head(h)


@pytest.mark.parametrize("how", ["all", "same", "other order", "apart"])
def test_a_module_used_several_times_is_no_loop(how):
    test, base = pair_of_runs(STEPS)
    ex = xc.diagnostics.audit(Several(how).double().eval(), test, base, 0, "gradient")
    assert off(ex) <= BOUND["float64"]
    assert ex.diagnostics["ledger"]["time"].isna().all()
    assert len(ex.diagnostics["steps"]) == 0
