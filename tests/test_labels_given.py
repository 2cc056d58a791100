"""What people's own labels say goes before positions: samples are matched by name, or refused with both orders."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from exactness import Net, draw
from torch import nn

import explain_core as xc
from explain_core.errors import InputError, TargetError

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
    torch.manual_seed(0)
    size = 5 if forward is packed else F
    net = Net(forward, rnn=nn.GRU(F, 5, batch_first=True), head=nn.Linear(size, 1)).double()
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
