"""Which output is explained: whatever results print is taken back, and what can be read in two ways is refused."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
import xarray as xr
from contrasts import CONTRASTS, explained_as_difference
from exactness import Net, draw
from torch import nn

import explain_core as xc
from explain_core.backends.protocol import ModelOutput
from explain_core.errors import TargetError
from explain_core.preparation import prepare
from explain_core.preparation.rows import attribute_rows
from explain_core.preparation.targets import MOST_OUTPUTS, output_labels, select_targets

STEPS, UNITS = 7, 3


def chosen(target, *shapes, names=None, samples=None, of=None):
    """``(output, index)`` of the one target."""
    of = of or [str(i) for i in range(len(shapes))] if len(shapes) > 1 else of or ["output"]
    outputs = [ModelOutput(name, shape) for name, shape in zip(of, shapes, strict=True)]
    (found,), keeps = select_targets(target, outputs, names, samples)
    assert not keeps
    return found.output, found.index


# --- Labels as they are printed --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(40))
def test_every_printed_label_is_a_target(seed):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 4))
    shapes = [tuple(map(int, rng.integers(1, 4, rng.integers(0, 4)))) for _ in range(count)]
    kinds = [["output", "second", "third"], ["0", "1.0", "1.1"], ["logits", "a: b", "t0, unit 1"]]
    outputs = [ModelOutput(name, shape) for name, shape in zip(kinds[seed % 3], shapes, strict=False)]
    last = next((shape[-1] for shape in shapes if shape), 0)
    names = [["low", "middle, or so", "high"], ["2", "1", "0"], None][rng.integers(3)]
    names = names and names[:last]
    every, _ = select_targets(None, outputs, names)
    assert len(every) == sum(int(np.prod(shape)) for shape in shapes) <= MOST_OUTPUTS
    assert len({target.label for target in every}) == len(every)
    for target in every:
        assert select_targets(target.label, outputs, names) == ([target], False)
        by_name = (outputs[target.output].name, *target.index)
        assert select_targets(by_name, outputs, names) == ([target], False)
    for a, b in pairwise(every):
        (found,), _ = select_targets(xc.contrast(a.label, b.label), outputs, names)
        assert (found.parts[0].index, found.parts[1]) == (a.index, b)
        assert select_targets(found.label, outputs, names) == ([found], False)


def test_labels_of_results_are_targets_again():
    torch.manual_seed(0)
    net = Net(lambda net, x: net.lstm(x), lstm=nn.LSTM(2, UNITS, batch_first=True)).double()
    x = draw(0, 2, 4, 2)
    every = xc.explain(net, x)
    for label in every.outputs[:: len(every.outputs) // 5]:
        one = xc.explain(net, x, target=label)
        np.testing.assert_array_equal(one.attributions, every.attributions.sel(output=label))
        assert one.outputs == [label]


def test_an_output_that_is_chosen_twice_is_found_by_the_labels_it_then_has():
    net, x = nn.Linear(3, 2), draw(0, 2, 3)
    twice = xc.explain(net, x, target=[1, 1])
    assert twice.outputs == ["1 (1)", "1 (2)"]
    assert xc.explain(net, x, target=twice.outputs[1]).outputs == ["1"]


# --- Names -----------------------------------------------------------------------------------------------------


def test_a_head_of_one_unit_is_chosen_by_its_name():
    assert chosen("price", (2,), (1,), of=["class", "price"]) == (1, (0,))
    assert chosen("price", (2,), (), of=["class", "price"]) == (1, ())
    assert chosen(("price",), (2,), (1, 1), of=["class", "price"]) == (1, (0, 0))
    assert chosen("dense", (1,), of=["dense"]) == (0, (0,))
    with pytest.raises(TargetError, match="'class' has more than one number") as error:
        chosen("class", (2,), (1,), of=["class", "price"])
    assert "class: 0" in error.value.hint


def test_what_is_printed_goes_before_names_that_are_not():
    # "a" is printed for the first head, whose whole label it is; the unit "a" of the second is printed as "b: a".
    assert chosen("a", (), (2,), of=["a", "b"], names=["a", "c"]) == (0, ())
    assert chosen("b: a", (), (2,), of=["a", "b"], names=["a", "c"]) == (1, (0,))
    assert chosen("c", (), (2,), of=["a", "b"], names=["a", "c"]) == (1, (1,))
    # Numbers as names: the name counts, and the position without quotes.
    assert chosen("1", (2,), names=["1", "0"]) == (0, (0,))
    assert chosen(1, (2,), names=["1", "0"]) == (0, (1,))


@pytest.mark.parametrize("kind", [list, np.array, lambda names: np.array(names, float)])
def test_a_number_is_a_name_where_all_names_are_numbers(kind):
    names = output_labels(kind([1, 2]))
    assert chosen(1, (2,), names=names) == (0, (0,))
    assert chosen((3, 2), (STEPS, 2), names=names) == (0, (3, 1))
    assert chosen((1, 1), (2,), (2,), of=["a", "b"], names=names) == (1, (0,))
    assert chosen(("b", 1), (2,), (2,), of=["a", "b"], names=names) == (1, (0,))
    assert chosen((3, str(names[1])), (STEPS, 2), names=names) == (0, (3, 1))
    assert chosen(-1, (2,), names=[-1, 1]) == (0, (0,))
    assert chosen(("a", 0), (3,), (2,), of=["a", "b"], names=names) == (0, (0,))  # the names are of other units
    for other in (0, -1, 3, (1, 0)):
        with pytest.raises(TargetError, match="there is no output") as error:
            chosen(other, *[(2,)] * (2 if isinstance(other, tuple) else 1), names=names)
        assert "chosen by its name" in error.value.hint
    with pytest.raises(TargetError, match="1 is the name of 2 units"):
        chosen(1, (2,), names=[1, 1])


def test_labels_of_each_sample_and_contrasts_are_names_too():
    net, x = nn.Linear(3, 2), draw(0, 5, 3)
    own = [1, 2, 1, 2, 2]
    ex = xc.explain(net, x, target=np.array(own), output_names=[1, 2])
    every = xc.explain(net, x)
    np.testing.assert_array_equal(ex.prediction[:, 0], every.prediction.values[np.arange(5), np.array(own) - 1])
    assert next(iter(ex.attrs["targets"].values())) == [str(label) for label in own]
    both = xc.explain(net, x, target=xc.contrast(2, 1), output_names=[1, 2])
    np.testing.assert_allclose(both.prediction[:, 0], every.prediction[:, 1] - every.prediction[:, 0], rtol=1e-12)


def test_a_number_that_is_a_name_and_the_place_of_another_is_refused_with_both():
    names = [1, "other"]
    with pytest.raises(TargetError, match="two ways: 1 is the name of '1', and the place of 'other'"):
        chosen(1, (2,), names=names)
    assert chosen(0, (2,), names=names) == (0, (0,))
    assert chosen("1", (2,), names=names) == (0, (0,))
    assert chosen((0, "other"), (STEPS, 2), names=names) == (0, (0, 1))


@pytest.mark.parametrize(
    ("target", "shapes", "names"),
    [("up", [(2,), (2,)], ["up", "down"]), ("up", [(2,)], ["up", "up"]), ("0", [(1,), (1,)], ["0"])],
)
def test_a_name_of_two_outputs_is_refused_or_is_what_is_printed(target, shapes, names):
    of = ["left", "right"][: len(shapes)]
    outputs = [ModelOutput(name, shape) for name, shape in zip(of, shapes, strict=True)]
    with pytest.raises(TargetError, match="is the name of 2 outputs"):
        select_targets(target, outputs, names)


# --- Places in nested outputs ----------------------------------------------------------------------------------


def test_a_tuple_may_begin_with_the_place_of_a_tensor():
    assert chosen((0, 6, 1), (STEPS, UNITS), (1, UNITS)) == (0, (6, 1))
    assert chosen((1, 0, 2), (STEPS, UNITS), (1, UNITS)) == (1, (0, 2))
    assert chosen((6, 1), (STEPS, UNITS), (1, UNITS)) == (0, (6, 1))
    assert chosen((1, 1, 0, 2), (STEPS, UNITS), (1, UNITS), (1, UNITS), of=["0", "1.0", "1.1"]) == (2, (0, 2))
    assert chosen((1, -1), (2,), (4,), of=["a", "b"]) == (1, (3,))
    assert chosen((0, 6, 1), (STEPS, UNITS), of=["0"]) == (0, (6, 1))
    assert chosen(1, (), ()) == (1, ())


@pytest.mark.parametrize(("target", "shapes"), [((1, 0), [(STEPS, UNITS), (UNITS,)]), ((1, 0, 1), [(2, 2, 2), (2, 2)])])
def test_a_tuple_that_can_be_read_in_two_ways_is_refused_with_both(target, shapes):
    with pytest.raises(TargetError, match=r"in two ways, as '0: .*' and as '1: .*'"):
        chosen(target, *shapes)


@pytest.mark.parametrize(
    "target", [(2, 0, 0), (0, STEPS, 0), (0, 0, 0, 0), -1, True, 0.5, (0, 0.5, 1), "", (), object()]
)
def test_what_is_no_output_of_several_is_refused(target):
    with pytest.raises(TargetError):
        chosen(target, (STEPS, UNITS), (1, UNITS))


# --- Contrasts -------------------------------------------------------------------------------------------------


def heads() -> nn.Module:
    torch.manual_seed(1)
    modules = {"rnn": nn.GRU(2, 5, batch_first=True), "first": nn.Linear(5, 3), "second": nn.Linear(5, 1)}

    def forward(net, x):
        states = net.rnn(x)[0]
        return {"each": net.first(states).tanh(), "price": net.second(states[:, -1])}

    return Net(forward, **modules).double()


@CONTRASTS
def test_a_contrast_is_the_difference_of_two_explanations(target, first, second):
    given = draw(2, 3, 4, 2), draw(3, 3, 4, 2)
    found, one, other = explained_as_difference(heads(), *given, target, first, second)
    gates = one.gates["rnn"]["contribution"].values - other.gates["rnn"]["contribution"].values
    np.testing.assert_allclose(found.gates["rnn"]["contribution"].values, gates, atol=1e-14)


def test_contrasts_stand_in_lists_and_against_outputs_that_nothing_moves():
    net = Net(lambda net, x: (net.f(x), torch.full_like(x[:, :1], 2.0)), f=nn.Linear(3, 2)).double()
    x = draw(0, 2, 3)
    found = xc.explain(net, x, target=[("0", 1), xc.contrast(("0", 1), "1"), xc.contrast("1", ("0", 1))])
    np.testing.assert_allclose(found.attributions[1], found.attributions[0], atol=1e-15)
    np.testing.assert_allclose(found.attributions[2], -found.attributions[0], atol=1e-15)
    np.testing.assert_allclose(found.prediction[:, 1], found.prediction[:, 0] - 2, atol=1e-15)


@pytest.mark.parametrize("both", [(1, 1), (1, -1), (xc.contrast(0, 1), 1), (0, 7), (0, None)])
def test_a_contrast_without_a_difference_is_refused(both):
    with pytest.raises(TargetError):
        xc.explain(nn.Linear(3, 2), draw(0, 2, 3), target=xc.contrast(*both))


# --- One target for each sample --------------------------------------------------------------------------------

OWN = [np.array([2, 0, 1, 1]), torch.tensor([2, 0, 1, 1]), xr.DataArray([-1, 0, 1, -2]), np.array(["2", "0", "1", "1"])]


@pytest.mark.parametrize("own", OWN)
def test_an_array_has_one_target_for_each_sample(own):
    torch.manual_seed(0)
    net, x, base = nn.Sequential(nn.Linear(2, 3), nn.Tanh()).double(), draw(0, 4, 2), draw(1, 4, 2)
    every, found = xc.explain(net, x, base), xc.explain(net, x, base, target=own)
    for n, k in enumerate([2, 0, 1, 1]):
        np.testing.assert_allclose(found.attributions[n], every.attributions[k, n], atol=1e-15)
        assert found.prediction[n, 0] == every.prediction[n, k]
        assert found.baseline_prediction[n, 0] == every.baseline_prediction[n, k]
    assert found.attrs["targets"] == {found.outputs[0]: ["2", "0", "1", "1"]}
    assert "output" not in found.attributions.dims


def test_own_targets_are_of_the_right_sample_in_every_batch_and_over_a_background(monkeypatch):
    monkeypatch.setattr("explain_core.preparation.rows.MOST_ROWS", 2)
    net, x, background = heads(), draw(2, 5, 4, 2), draw(3, 3, 4, 2)
    own = np.array([[3, 0], [0, 1], [2, 2], [3, 0], [1, 1]])
    found = xc.explain(net, x, background, target=own, background=True)
    for n, index in enumerate(own.tolist()):
        one = xc.explain(net, x[n : n + 1], background, target=("each", *index), background=True)
        np.testing.assert_allclose(found.attributions[n], one.attributions[0], atol=1e-14)


def test_own_targets_may_be_contrasted_with_one_for_all():
    torch.manual_seed(0)
    net, x = nn.Linear(2, 3).double(), draw(0, 3, 2)
    found = xc.explain(net, x, target=xc.contrast(np.array([2, 0, 1]), 0))
    every = xc.explain(net, x).attributions.values
    for n, k in enumerate([2, 0, 1]):
        np.testing.assert_allclose(found.attributions[n], every[k, n] - every[0, n], atol=1e-15)


@pytest.mark.parametrize(
    ("own", "said"),
    [
        (np.array([0, 1]), "has 2 targets, and there are 3 samples"),
        (np.array([0, 1, 3]), "there is no output 3"),
        (np.array([0.0, 1, 2]), "array of float64"),
        (np.zeros((3, 1, 1), int), "is not a target"),
        (np.array([True, False, True]), "array of bool"),
    ],
)
def test_own_targets_that_do_not_fit_are_refused(own, said):
    with pytest.raises(TargetError, match=said):
        xc.explain(nn.Linear(2, 3), draw(0, 3, 2), target=own)


def test_own_targets_of_different_tensors_are_refused():
    with pytest.raises(TargetError, match="of different outputs"):
        chosen(np.array(["a", "b: 1"]), (1,), (2,), of=["a", "b"], samples=2)


def test_a_number_in_an_array_of_no_axes_is_that_number():
    assert chosen(np.array(1), (3,)) == chosen(torch.tensor(1), (3,)) == chosen(np.int8(1), (3,)) == (0, (1,))


# --- Everything that takes targets -----------------------------------------------------------------------------


@pytest.mark.parametrize("target", [xc.contrast(2, 0), np.array([2, 0]), xc.contrast(np.array([2, 0]), 1)])
def test_other_methods_and_the_ledger_take_the_same_targets(target):
    torch.manual_seed(0)
    net = Net(
        lambda net, x: net.head(net.rnn(x)[0][:, -1]), rnn=nn.GRU(2, 4, batch_first=True), head=nn.Linear(4, 3)
    ).double()
    x, base = draw(0, 2, 3, 2), draw(1, 1, 3, 2)
    own = xc.explain(net, x, base, target=target)
    other = xc.methods.explain_with("integrated_gradients", net, x, base, target=target, steps=200)
    np.testing.assert_allclose(other.prediction, own.prediction, atol=1e-14)
    np.testing.assert_allclose(
        other.attributions.sum(("time", "feature")), own.attributions.sum(("time", "feature")), atol=1e-6
    )
    for method in ("gradient", "shap", "paired"):
        ledger = xc.diagnostics.ledger(net, x, base, target=target, method=method)
        assert len(ledger) > 0
    exact = xc.diagnostics.ledger(net, x, base, target=target, method="paired")["defect"]
    assert np.abs(exact).max() < 1e-13


def test_one_sample_again_keeps_its_own_target_though_inputs_have_labels():
    net = nn.Linear(2, 3)
    x = xr.DataArray(draw(0, 4, 2).astype("f4"), dims=("sample", "feature"), coords={"sample": list("abcd")})
    ready = prepare(net, x, "zeros", np.array([2, 0, 1, 1]))
    alone = ready.again("float64", 2)
    result = attribute_rows(alone.runner, alone.plan, alone.targets, False, False, lambda fraction, message: None)
    found = alone.label(result, {}, 0.0)
    weight = net.weight.detach().double().numpy()[1]
    np.testing.assert_allclose(found.attributions[0], weight * x.values[2], atol=1e-12)


# --- Last states ---------------------------------------------------------------------------------------------------

STATES = {
    "two layers": (lambda net, x: net.rnn(x)[1], {"num_layers": 2}, ["l0", "l1"]),
    "two directions": (lambda net, x: net.rnn(x)[1], {"bidirectional": True}, ["l0", "l0_reverse"]),
    "samples first": (lambda net, x: net.rnn(x)[1].transpose(0, 1), {"num_layers": 2}, ["l0", "l1"]),
    "a head on each": (lambda net, x: net.head(net.rnn(x)[1]).tanh(), {"num_layers": 2}, ["l0", "l1"]),
    "of every step": (lambda net, x: net.rnn(x)[0][:, 1:], {}, ["t0", "t1"]),
}


@pytest.mark.parametrize("name", STATES)
def test_layers_of_the_last_states_are_no_timesteps(name):
    forward, options, rows = STATES[name]
    torch.manual_seed(0)
    net = Net(forward, rnn=nn.GRU(2, 3, batch_first=True, **options), head=nn.Linear(3, 3)).double()
    x = np.random.default_rng(0).normal(size=(4, 3, 2))
    labels = [f"{row}, unit {unit}" for row in rows for unit in range(3)]
    found = xc.explain(net, x)
    assert found.outputs == labels
    one = xc.explain(net, x, target=labels[4])
    np.testing.assert_allclose(one.attributions, found.attributions.sel(output=labels[4]), atol=1e-14)
