"""What people's own labels say goes before positions: samples are matched by name, or refused with both orders."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from exactness import Named, Net, draw
from torch import nn

import explain_core as xc
from explain_core.errors import ExplainError, ExplanationFileError, InputError, NonFiniteError, TargetError

N, T, F = 3, 4, 2
X = draw(0, N, T, F)
SAMPLES, MOVED, ORDER = list("pqr"), list("rpq"), [2, 0, 1]
LABELLED = xr.DataArray(X, dims=("sample", "time", "feature"), coords={"sample": SAMPLES})


def reader() -> nn.Module:
    torch.manual_seed(0)
    modules = {"rnn": nn.GRU(F, 5, batch_first=True), "head": nn.Linear(5, N)}
    return Net(lambda net, x: net.head(net.rnn(x)[0][:, -1]), **modules).double()


def of_samples(values, labels, dims="sample"):
    return xr.DataArray(values, dims=dims, coords={"sample": labels})


# --- Samples ---------------------------------------------------------------------------------------------------

OWN = np.array([0, 2, 1])
TARGETS = {
    "xarray": of_samples(OWN[ORDER], MOVED),
    "called batch": xr.DataArray(OWN[ORDER], dims="batch", coords={"batch": MOVED}),
    "indices, samples last": of_samples(OWN[None, ORDER], MOVED, ("unit", "sample")),
    "a series": pd.Series(OWN[ORDER], index=MOVED),
    "no labels": xr.DataArray(OWN, dims="sample"),
    "no names": xr.DataArray(OWN),
    "numbers from 0": pd.Series(OWN),
}


@pytest.mark.parametrize("name", TARGETS)
def test_own_targets_go_to_the_samples_of_their_labels(name):
    ex = xc.explain(reader(), LABELLED, target=TARGETS[name])
    expected = xc.explain(reader(), X, target=OWN)
    np.testing.assert_array_equal(ex.prediction, expected.prediction)
    np.testing.assert_array_equal(ex.attributions, expected.attributions)
    assert np.abs(ex.residual).max() < 1e-13


def test_a_contrast_matches_both_sides():
    against = of_samples((OWN + 1)[ORDER] % 3, MOVED)
    ex = xc.explain(reader(), LABELLED, target=xc.contrast(TARGETS["a series"], against))
    expected = xc.explain(reader(), X, target=xc.contrast(OWN, (OWN + 1) % 3))
    np.testing.assert_array_equal(ex.prediction, expected.prediction)


@pytest.mark.parametrize(
    ("own", "said"),
    [
        (of_samples(OWN, list("pqz")), r"samples of the targets are \['p', 'q', 'z'\], and those of the inputs \['p'"),
        (pd.Series(OWN, index=list("xyz")), "samples of the targets"),
        (xr.DataArray(OWN, dims="foo"), r"has the axes \('foo',\), and none is that of the samples"),
    ],
)
def test_targets_of_other_samples_are_refused(own, said):
    with pytest.raises(TargetError, match=said):
        xc.explain(reader(), LABELLED, target=own)


def test_a_second_input_is_brought_into_the_order_of_the_first():
    net = nn.Bilinear(F, F, 1).double()
    left, right = (pd.DataFrame(X[:, i], index=pd.Index(SAMPLES, name="who")) for i in (0, 1))
    expected = xc.explain(net, (X[:, 0], X[:, 1]), (X[:, 2], X[:, 3]))
    base = (of_samples(X[ORDER, 2], MOVED, ("sample", "feature")), pd.DataFrame(X[ORDER, 3], index=MOVED))
    ex = xc.explain(net, (left, right.loc[MOVED]), base)
    assert ex.samples.tolist() == SAMPLES
    for name, part in expected.attributions.items():
        np.testing.assert_array_equal(ex.attributions[name], part)
        np.testing.assert_array_equal(ex.inputs[name], expected.inputs[name])
    with pytest.raises(InputError, match=r"samples of 'input2' are \['p', 'q', 'z'\], and those of 'input1' \['p'"):
        xc.explain(net, (left, right.set_axis(list("pqz"))))


def test_labels_of_a_later_input_are_those_of_the_result():
    net = nn.Bilinear(F, F, 1).double()
    right = pd.DataFrame(X[:, 1], index=MOVED)
    ex = xc.explain(net, (X[:, 0], right), (X[:, 2], right.loc[SAMPLES]))
    assert ex.samples.tolist() == MOVED
    np.testing.assert_array_equal(ex.baselines["input1"], X[:, 2])
    np.testing.assert_array_equal(ex.baselines["input2"], ex.inputs["input2"])


LENGTHS = np.array([4, 1, 3])
MASK = np.arange(T) < LENGTHS[:, None]


def packed(net, x, lengths):
    rows = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    return net.head(net.rnn(rows)[1][-1])


def masked(net, x, mask):
    return net.head((torch.tanh(x) * mask[..., None]).sum(1))


def told(forward) -> Named:
    """A model that is told which steps are real, with names for its inputs."""
    torch.manual_seed(0)
    return Named(forward, rnn=nn.GRU(F, 5, batch_first=True), head=nn.Linear(5 if forward is packed else F, 1))


@pytest.mark.parametrize(
    ("forward", "plain", "given"),
    [
        (packed, LENGTHS, of_samples(LENGTHS[ORDER], MOVED)),
        (packed, LENGTHS, pd.Series(LENGTHS[ORDER], index=MOVED)),
        (masked, MASK, of_samples(MASK[ORDER], MOVED, ("sample", "time"))),
    ],
    ids=["lengths", "a series of lengths", "a mask"],
)
def test_lengths_and_masks_are_those_of_the_samples_of_their_labels(forward, plain, given):
    net = told(forward).double()
    ex, expected = (xc.explain(net, (x, steps), "mean") for x, steps in ((LABELLED, given), (X, plain)))
    np.testing.assert_array_equal(ex.prediction, expected.prediction)
    np.testing.assert_array_equal(ex.baselines, expected.baselines)
    np.testing.assert_array_equal(ex.attributions, expected.attributions)


def test_what_is_given_of_samples_and_time_moves_with_them():
    net = nn.Bilinear(F, F, 1).double()
    words = [["a", "b"], ["c", "d"], ["e", "f"]]
    second = of_samples(X[:, 1], SAMPLES, ("sample", "feature")).assign_coords(word=(("sample", "feature"), words))
    ex = xc.explain(net, (of_samples(X[:, 0], MOVED, ("sample", "feature")), second))
    assert ex.inputs["input2"].word.values.tolist() == [words[i] for i in ORDER]


@pytest.mark.parametrize("labels", [list("pqz"), list("xyz")], ids=["some", "none"])
def test_baselines_of_other_samples_are_refused(labels):
    with pytest.raises(InputError, match=r"samples of the baseline are .*, and those of the input \['p', 'q', 'r'\]"):
        xc.explain(reader(), LABELLED, LABELLED.assign_coords(sample=labels), target=0)


def test_one_sample_for_all_may_be_called_anything_and_dates_match_in_any_unit():
    ex = xc.explain(reader(), LABELLED, LABELLED[1:2].assign_coords(sample=["z"]), target=0)
    np.testing.assert_array_equal(ex.baselines, np.broadcast_to(X[1], X.shape))
    days = pd.date_range("2024-01-01", periods=N)
    x = LABELLED.assign_coords(sample=days.to_numpy().astype("datetime64[s]"))
    base = LABELLED[ORDER].assign_coords(sample=days.to_numpy().astype("datetime64[ns]")[ORDER])
    np.testing.assert_array_equal(xc.explain(reader(), x, base, target=0).baselines, X)


# --- Lengths and masks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("lengths", [[4, 9, 1], [4, 0, 1], [4, -1, 1], [4, 1.5, 1], [4, np.nan, 1]])
def test_lengths_that_cannot_be_are_refused_with_their_sample(lengths):
    with pytest.raises(InputError, match=r"'length' is .* for sample 'q', and there are 4 timesteps"):
        xc.explain(reader(), LABELLED.assign_coords(length=("sample", lengths)), target=0)


@pytest.mark.parametrize(
    ("forward", "steps"),
    [(packed, LENGTHS), (masked, MASK), (masked, np.ones_like(MASK))],
    ids=["lengths", "mask", "all"],
)
def test_lengths_that_contradict_what_the_model_gets_are_refused(forward, steps):
    net = told(forward).double()
    own = LABELLED.assign_coords(length=("sample", [4, 2, 3]))
    with pytest.raises(InputError, match=r"'length' is 2 for sample 'q', and by '(lengths|mask)' it has [14] steps"):
        xc.explain(net, (own, steps))
    if not np.all(steps):
        same = LABELLED.assign_coords(length=("sample", LENGTHS.astype(float)))
        assert xc.explain(net, (same, steps), "mean").attributions.length.values.tolist() == LENGTHS.tolist()


def test_a_mask_of_floats_is_said_to_be_explained():
    net = told(masked).double()
    ex = xc.explain(net, (X, MASK.astype(float)), "mean")
    assert any("'mask' has floats 0 and 1" in note and "give it as truth values" in note for note in ex.notes)
    assert not any("floats 0 and 1" in note for note in xc.explain(net, (X, MASK), "mean").notes)
    assert not any("floats 0 and 1" in note for note in xc.explain(net, (X, MASK * 0.5), "mean").notes)


# --- Names of outputs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [tuple("abc"), np.array(list("abc")), pd.Index(list("abc")), pd.Series(list("abc"))])
def test_names_of_outputs_are_any_sequence(names):
    assert xc.explain(reader(), X, target="b", output_names=names).outputs == ["b"]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (list("ab"), "output_names has 2 names, and the model gives .* of shape .3,. per sample"),
        (list("abcdef"), "output_names has 6 names"),
        ({"a": 0}, "output_names is 'dict', and it is a list of names"),
        ("abc", "output_names is 'str'"),
        (7, "output_names is 'int'"),
    ],
)
def test_what_names_no_outputs_is_refused(names, said):
    with pytest.raises(InputError, match=said):
        xc.explain(reader(), X, target=0, output_names=names)


def test_one_name_is_that_of_the_one_number():
    net = Net(lambda net, x: net.head(x[:, -1])[:, 0], head=nn.Linear(F, 1)).double()
    assert xc.explain(net, X, target="price", output_names=["price"]).outputs == ["price"]


# --- Types -----------------------------------------------------------------------------------------------------


def test_numbers_in_another_order_of_bytes_are_the_same_numbers():
    expected = xc.explain(reader(), X, X[:1], target=0).attributions
    ex = xc.explain(reader(), X.astype(">f8"), X[:1].astype(">f8"), target=0)
    np.testing.assert_array_equal(ex.attributions, expected)
    with pytest.raises(InputError, match="more digits than any model"):
        xc.explain(reader(), X.astype(np.longdouble), target=0)


def test_masked_numbers_are_missing():
    masked_array = np.ma.masked_array(X, np.arange(X.size).reshape(X.shape) == 3)
    with pytest.raises(NonFiniteError, match=r"nan at position \(0, 1, 1\)"):
        xc.explain(reader(), masked_array, target=0)
    with pytest.raises(InputError, match=r"masked at position \(0, 1\)"):
        xc.explain(nn.Embedding(4, 2), np.ma.masked_array([[0, 1]], [[False, True]]))
    whole = np.ma.masked_array(X, False)
    np.testing.assert_array_equal(xc.explain(reader(), whole, target=0).inputs, X)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"background": torch.zeros(2, T, F)}, "background is a Tensor, and it is True or False"),
        ({"background": "yes"}, "background is 'yes'"),
        ({"progress": 3}, "progress is 3, and it is a function"),
        ({"baselines": True}, "the baseline is True, and it is numbers"),
        ({"baselines": np.bool_(False)}, "the baseline is False"),
    ],
)
def test_options_of_another_type_are_refused(options, said):
    with pytest.raises(InputError, match=said):
        xc.explain(reader(), X, target=0, **options)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ExplanationFileError, match=r"there is no folder .*nowhere"):
        xc.explain(reader(), X, target=0).save(tmp_path / "nowhere" / "a.nc")


def test_names_of_a_baseline_that_match_nothing_are_said_to_be_unused():
    frame = pd.DataFrame(X[0], columns=["u", "v"])
    assert any(
        "Names in the baseline of 'input' were not used" in n for n in xc.explain(reader(), X, frame, target=0).notes
    )
    assert not any("Names in" in n for n in xc.explain(reader(), X, frame.to_numpy(), target=0).notes)


def test_a_sample_axis_may_be_that_of_all_parts_of_an_argument():
    net = nn.LSTM(F, 5, batch_first=True).double()
    states = tuple(draw(i, 1, N, 5) for i in (1, 2))
    ex, expected = (
        xc.explain(net, (X, states), sample_axis=axis, target=("0", 0, 0))
        for axis in ({"input": 0, "hx": 1}, {"input": 0, "hx.0": 1, "hx.1": 1})
    )
    for name, part in expected.attributions.items():
        np.testing.assert_array_equal(ex.attributions[name], part)


def test_whole_numbers_to_compute_with_and_lengths_as_floats_have_their_next_step():
    counts = Net(lambda net, x: net.head(x.double().sum(1)), head=nn.Linear(F, 1)).double()
    with pytest.raises(InputError, match=r"as floats: x.astype"):
        xc.explain(counts, np.ones((N, T, F), int))
    net = told(lambda net, x, lengths: packed(net, x, lengths.long())).double()
    net.head = nn.Linear(5, 1).double()
    with pytest.raises(ExplainError, match=r"lengths of packed sequences are computed[^$]*give whole numbers"):
        xc.explain(net, (X, LENGTHS.astype(float)))


# --- Forms of inputs -------------------------------------------------------------------------------------------


class Reads(nn.Module):
    """A model of one named argument."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.rnn = nn.GRU(F, 5, batch_first=True)

    def forward(self, x):
        return self.rnn(x)[0][:, -1]


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"y": X}, r"inputs are called \['y'\], and the model has the parameters \['x'\]"),
        (list(torch.tensor(X)), r"3 inputs were given, and the model takes 1: \['x'\][^$]*one array: torch.stack"),
    ],
)
def test_inputs_in_a_form_that_the_model_does_not_take_are_refused_with_its_parameters(inputs, said):
    with pytest.raises(InputError, match=said):
        xc.explain(Reads().double(), inputs, target=0)


@pytest.mark.parametrize("background", [False, True])
def test_a_list_of_frames_is_a_baseline_of_as_many_samples(background):
    net, base = Reads().double(), draw(3, N, T, F)
    frames = [pd.DataFrame(values, columns=["u", "v"]) for values in X]
    others = [pd.DataFrame(values[:, ::-1], columns=["v", "u"]) for values in base]
    options = {"target": 0, "background": background}
    ex = xc.explain(net, frames, others, **options)
    np.testing.assert_array_equal(ex.attributions, xc.explain(net, X, base, **options).attributions)
