"""Single steps beside the sequence: exact for this engine, off for the others, and each step is the model's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import explain_core as xc
from explain_core.diagnostics.lone_layer_torch import cell_weights
from explain_core.diagnostics.one_step import ONE_STEP, SEQUENCE, steps, summary
from explain_core.figures.steps import steps_figure

FEATURES, UNITS, STEPS = 3, 4, 6
EXACT = 1e-5  # measured: at most 5e-7


class Net(nn.Module):
    """A recurrent module and a head on its last step."""

    def __init__(self, rnn: nn.RNNBase) -> None:
        super().__init__()
        self.rnn, self.head = rnn, nn.Linear(rnn.hidden_size * (2 if rnn.bidirectional else 1), 1)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])


class Loop(nn.Module):
    """A cell in a Python loop; ``scale`` changes the hidden state between the steps."""

    def __init__(self, cell: nn.RNNCellBase, scale: float = 1.0) -> None:
        super().__init__()
        self.cell, self.scale, self.head = cell, scale, nn.Linear(cell.hidden_size, 1)

    def forward(self, x):
        h = c = x.new_zeros(len(x), self.cell.hidden_size)
        for step in x.unbind(1):
            h, c = self.cell(step, (self.scale * h, c))
        return self.head(h)


def made(make) -> nn.Module:
    torch.manual_seed(0)
    return make().eval()


def pair(steps: int = STEPS) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.random.default_rng(0).normal(size=(2, 1, steps, FEATURES)).astype(np.float32))


def errors(table, method: str, scope: str) -> np.ndarray:
    return table[(table["method"] == method) & (table["scope"] == scope)]["relative_error"].to_numpy()


@pytest.mark.parametrize(
    ("make", "layer"),
    [
        (lambda: Net(nn.LSTM(FEATURES, UNITS, batch_first=True)), "rnn"),
        (lambda: Net(nn.GRU(FEATURES, UNITS, 2, batch_first=True, bidirectional=True)), "rnn.l1_reverse"),
        (lambda: Net(nn.RNN(FEATURES, UNITS, batch_first=True, nonlinearity="relu")), "rnn"),
        (lambda: Net(nn.LSTM(FEATURES, UNITS, batch_first=True, bias=False)), "rnn"),
        (lambda: Loop(nn.LSTMCell(FEATURES, UNITS)), "cell"),
    ],
    ids=["LSTM", "GRU of two layers both ways", "RNN with relu", "no bias", "cells in a loop"],
)
def test_this_engine_is_exact_by_itself_and_along_the_sequence(make, layer):
    table = steps(made(make), *pair(), layer=layer, methods=("pairlift", "gradient_difference"))
    for scope in (ONE_STEP, SEQUENCE):
        ours = errors(table, "PairLift", scope)
        assert len(ours) == STEPS
        assert ours.max() <= EXACT
    if "relu" not in str(made(make)):  # a relu whose side does not change is linear
        assert errors(table, "Gradient × difference", SEQUENCE).max() > 1e-3


def test_shap_and_captum_are_off_on_both():
    table = steps(made(lambda: Net(nn.LSTM(FEATURES, UNITS, batch_first=True))), *pair())
    for method in ("shap DeepExplainer", "captum DeepLift"):
        assert errors(table, method, ONE_STEP).max() > 0.01
        assert errors(table, method, SEQUENCE).max() > 0.01
    found = summary(table).set_index("method")
    assert found.loc["PairLift", "whole_sequence"] <= EXACT < found.loc["shap DeepExplainer", "one_step"]
    assert "no rule for LSTM" in found.loc["shap DeepExplainer", "says"]


@pytest.mark.parametrize(("state", "place"), [("hidden", 0), ("cell", 1)])
def test_what_is_explained_is_the_state_that_the_layer_itself_gives(state, place):
    net, (x, base) = made(lambda: Net(nn.LSTM(FEATURES, UNITS, batch_first=True))), pair()
    table = steps(net, x, base, state=state, methods=("pairlift",))
    for step in range(STEPS):
        with torch.no_grad():
            last = [net.rnn(torch.from_numpy(v[:, : step + 1]))[1][place].double() for v in (x, base)]
        distance = float((last[0] - last[1]).abs().sum())
        here = table[table["step"] == step]
        np.testing.assert_allclose(here["expected"], distance, rtol=1e-5)
        np.testing.assert_allclose(here["attributed"], distance, rtol=1e-5)


def test_one_unit():
    net, (x, base) = made(lambda: Net(nn.GRU(FEATURES, UNITS, batch_first=True))), pair()
    table = steps(net, x, base, unit=2, methods=("pairlift",))
    with torch.no_grad():
        change = (net.rnn(torch.from_numpy(x))[0] - net.rnn(torch.from_numpy(base))[0])[0, :, 2].numpy()
    for scope in (ONE_STEP, SEQUENCE):
        np.testing.assert_allclose(table[table["scope"] == scope]["expected"], change, atol=1e-6)
    assert set(table["unit"]) == {"2"}


def test_the_reversed_direction_is_taken_in_the_order_in_which_it_reads():
    net = made(lambda: Net(nn.GRU(FEATURES, UNITS, batch_first=True, bidirectional=True)))
    table = steps(net, *pair(), layer="rnn.l0_reverse", methods=("pairlift",))
    one = table[table["scope"] == ONE_STEP]
    assert one["time"].tolist() == list(range(STEPS))[::-1]


def test_padding_is_left_out():
    class Packed(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = nn.LSTM(FEATURES, UNITS, batch_first=True, bidirectional=True), nn.Linear(UNITS, 1)

        def forward(self, x, lengths):
            packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            return self.head(self.rnn(packed)[1][0][0])

    x, base = pair()
    lengths = np.array([4])
    for layer in ("rnn.l0", "rnn.l0_reverse"):
        table = steps(made(Packed), (x, lengths), (base, lengths), layer=layer, methods=("pairlift",))
        assert sorted(table[table["scope"] == ONE_STEP]["time"]) == [0, 1, 2, 3]
        assert table["relative_error"].max() <= EXACT


def test_a_long_sequence_is_cut_at_some_steps_and_goes_through_the_cell_in_one_batch():
    table = steps(
        made(lambda: Net(nn.LSTM(FEATURES, UNITS, batch_first=True))),
        *pair(500),
        methods=("pairlift",),
        most_sequences=4,
    )
    assert (table["scope"] == ONE_STEP).sum() == 500
    assert table[table["scope"] == SEQUENCE]["step"].tolist() == [0, 7, 62, 499]
    assert table["relative_error"].max() <= 1e-4  # the state saturates, and its distance with it; measured: 1e-6


def test_a_method_that_fails_is_a_row_that_says_so():
    net = made(lambda: Net(nn.LSTM(FEATURES, 30, batch_first=True)))
    table = steps(net, *pair(2), methods=("exact_shapley", "pairlift"))
    failed = table[(table["method"] == "Shapley values, exact") & (table["scope"] == ONE_STEP)]
    assert len(failed) == 2  # more than 14 values; the sequence has six
    assert failed["error"].isna().all()
    assert all("2^" in text for text in failed["says"])
    assert table[table["method"] == "PairLift"]["relative_error"].max() <= EXACT
    assert steps_figure(table).data


def test_a_loop_that_changes_the_state_between_steps_is_refused():
    with pytest.raises(xc.errors.InputError, match="not what its cell makes") as caught:
        steps(made(lambda: Loop(nn.LSTMCell(FEATURES, UNITS), scale=0.5)), *pair(), methods=("pairlift",))
    assert "between the steps" in caught.value.hint


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layer": "lstm"}, "no recurrent layer 'lstm'"),
        ({"state": "cell"}, "GRU has no cell state"),
        ({"unit": UNITS}, "no unit 4"),
        ({"methods": ("magic",)}, "no method 'magic'"),
    ],
)
def test_what_is_not_there_is_refused(options, words):
    with pytest.raises(xc.errors.InputError, match=words) as caught:
        steps(made(lambda: Net(nn.GRU(FEATURES, UNITS, batch_first=True))), *pair(), **options)
    assert caught.value.hint


def test_a_model_without_a_recurrent_layer_says_so():
    with pytest.raises(xc.errors.InputError, match="no recurrent layer whose steps"):
        steps(made(lambda: nn.Sequential(nn.Flatten(), nn.Linear(STEPS * FEATURES, 1))), *pair())


@pytest.mark.filterwarnings("ignore:The tensor attributes .*_flat_weights:UserWarning")  # the exporter's own
def test_weights_of_an_exported_program_are_found_by_name():
    net, (x, _) = made(lambda: Net(nn.LSTM(FEATURES, UNITS, 2, batch_first=True))), pair()
    program = torch.export.export(net, (torch.from_numpy(x),))
    for layer in ("rnn.l0", "rnn.l1"):
        found = cell_weights(program, layer)
        for part, array in found.items():
            np.testing.assert_array_equal(array, getattr(net.rnn, f"{part}_{layer[-2:]}").detach().numpy())


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_figure_has_a_line_for_each_method_and_scope(theme):
    table = steps(
        made(lambda: Net(nn.LSTM(FEATURES, UNITS, batch_first=True))),
        *pair(3),
        methods=("pairlift", "gradient_difference"),
    )
    figure = steps_figure(table, theme=theme)
    assert [trace.name for trace in figure.data] == ["PairLift"] * 2 + ["Gradient × difference"] * 2
    np.testing.assert_allclose(figure.data[0].x, [1, 2, 3])
    assert figure.layout.yaxis.type == "log"


class Scaled(Net):
    """Two inputs, of which the second is the same for both members."""

    def forward(self, x, lengths):
        return super().forward(x) * lengths.unsqueeze(-1)


@pytest.mark.filterwarnings("ignore:The tensor attributes .*_flat_weights:UserWarning")  # the exporter's own
def test_an_exported_program_takes_its_inputs_by_name():
    net, (x, base) = made(lambda: Scaled(nn.GRU(FEATURES, UNITS, batch_first=True))), pair()
    lengths = np.array([STEPS])
    program = torch.export.export(net, (torch.from_numpy(x), torch.from_numpy(lengths)))
    table = steps(program.module(), {"x": x, "lengths": lengths}, {"x": base}, methods=("pairlift",), most_sequences=2)
    assert table["relative_error"].max() <= EXACT
