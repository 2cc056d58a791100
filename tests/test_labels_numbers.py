"""Whole numbers as the index of a table are labels, unless they are those that pandas gives by itself."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from exactness import Net, draw
from torch import nn

import explain_core as xc
from explain_core.errors import ExplainError, InputError, TargetError
from explain_core.figures import attribution_figure, cell_detail, prediction_figure

N, T, F = 4, 5, 3
X, BASE = draw(0, N, F), draw(1, N, F)
LABELS, MOVED, ORDER = [17, 3, 42, 8], [3, 8, 17, 42], [1, 3, 0, 2]
FRAME = pd.DataFrame(X, columns=list("abc"), index=LABELS)


def rows() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(F, 2).double()


def reader() -> nn.Module:
    torch.manual_seed(0)
    return Net(lambda net, x: net.head(net.rnn(x)[0][:, -1]), rnn=nn.GRU(F, 4, batch_first=True), head=nn.Linear(4, 1))


# --- Samples ---------------------------------------------------------------------------------------------------

OWN = np.array([0, 0, 1, 1])
INPUTS = {
    "whole numbers": FRAME,
    "named": FRAME.rename_axis("id"),
    "text": FRAME.set_axis(list(map(str, LABELS))),
    "an array of names": xr.DataArray(X, dims=("sample", "feature"), coords={"sample": LABELS}),
}
SERIES = pd.Series(OWN[ORDER], index=MOVED)
TARGETS = {
    "whole numbers": SERIES,
    "named": SERIES.rename_axis("id"),
    "text": SERIES.set_axis(list(map(str, MOVED))),
    "an array of names": xr.DataArray(SERIES.values, dims="sample", coords={"sample": MOVED}),
    "a table of indices": SERIES.to_frame(),
}


@pytest.mark.parametrize("given", INPUTS)
@pytest.mark.parametrize("target", TARGETS)
def test_targets_go_to_the_samples_of_the_same_numbers(given, target):
    ex = xc.explain(rows(), INPUTS[given], target=TARGETS[target])
    np.testing.assert_array_equal(ex.attributions, xc.explain(rows(), X, target=OWN).attributions)
    assert [str(label) for label in ex.samples] == list(map(str, LABELS))


@pytest.mark.parametrize("given", INPUTS)
def test_baselines_go_to_the_samples_of_the_same_numbers(given):
    base = pd.DataFrame(BASE[ORDER], columns=list("abc"), index=MOVED)
    ex = xc.explain(rows(), INPUTS[given], base, target=0)
    np.testing.assert_array_equal(ex.baselines, BASE)
    over = xc.explain(rows(), INPUTS[given], base.set_axis([90, 91, 92, 93]), target=0, background=True)
    assert over.attrs["baseline_count"] == N  # the labels of a background are its own


def test_inputs_lengths_and_masks_are_those_of_the_samples_of_the_same_numbers():
    net = nn.Bilinear(F, F, 1).double()
    other = pd.DataFrame(BASE, columns=list("uvw"), index=LABELS)
    ex = xc.explain(net, (FRAME, other.loc[MOVED]))
    np.testing.assert_array_equal(ex.prediction, xc.explain(net, (X, BASE)).prediction)
    assert ex.samples.tolist() == LABELS

    def packed(net, x, lengths):
        rows = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return net.rnn(rows)[1][-1]

    net, values, lengths = Net(packed, rnn=nn.GRU(F, 4, batch_first=True)).double(), draw(2, N, T, F), [5, 1, 4, 2]
    panel = pd.concat({label: pd.DataFrame(values[i]) for i, label in enumerate(LABELS)}, names=["sample", "time"])
    own = pd.Series(lengths, index=LABELS)
    expected = xc.explain(net, (values, np.array(lengths)), "mean", target=0)
    ex = xc.explain(net, (panel, own.loc[MOVED]), "mean", target=0)
    np.testing.assert_array_equal(ex.attributions, expected.attributions)
    both = xc.explain(net, (panel, own), (np.zeros((1, T, F)), own.loc[MOVED]), target=0)  # the same lengths
    assert both.samples.tolist() == LABELS
    base = np.zeros((1, T, F))
    with pytest.raises(InputError, match="the baseline has 1 here"):
        xc.explain(net, (panel, own), (base, own.loc[MOVED].set_axis(LABELS)), target=0)


def test_lengths_that_come_with_a_baseline_are_those_of_the_samples_of_their_labels():
    def packed(net, x, lengths):
        rows = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return net.rnn(rows)[1][-1]

    net, lengths = Net(packed, rnn=nn.GRU(F, 4, batch_first=True)).double(), [5, 1, 4, 2]
    coords = {"sample": LABELS, "length": ("sample", lengths)}
    x = xr.DataArray(draw(2, N, T, F), dims=("sample", "time", "feature"), coords=coords)
    base = x.copy(data=draw(3, N, T, F))
    ex = xc.explain(net, (x, np.array(lengths)), base.sel(sample=MOVED), target=0)
    np.testing.assert_array_equal(ex.baselines, base)


def test_numbers_of_other_samples_are_refused_and_how_to_drop_them_is_said():
    said = (
        r"are \['0', '1', '2', '4'\], and those of .*\['17'[^$]*reset_index\(drop=True\) where an index means nothing"
    )
    others = [0, 1, 2, 4]
    with pytest.raises(InputError, match=f"samples of the baseline {said}"):
        xc.explain(rows(), FRAME, FRAME.set_axis(others), target=0)
    with pytest.raises(TargetError, match=f"samples of the targets {said}"):
        xc.explain(rows(), FRAME, target=pd.Series(OWN, index=others))
    with pytest.raises(InputError, match=f"samples of 'input2' {said}"):
        xc.explain(nn.Bilinear(F, F, 1).double(), (FRAME, FRAME.set_axis(others)))
    twice = FRAME.set_axis([0, 1, 0, 1])  # of pd.concat
    with pytest.raises(InputError, match=r"'0' is there 2 times[^$]*reset_index\(drop=True\)"):
        xc.explain(rows(), twice, target=0)


@pytest.mark.parametrize("index", [None, range(N), [0, 1, 2, 3], pd.Index([0, 1, 2, 3], dtype="Int64")])
def test_numbers_from_0_in_order_are_no_labels(index):
    plain = pd.DataFrame(X, columns=list("abc"), index=index)
    for given, labels in ((plain, [0, 1, 2, 3]), (FRAME, LABELS)):
        ex = xc.explain(rows(), given, pd.DataFrame(BASE, index=index), target=pd.Series(OWN, index=index))
        np.testing.assert_array_equal(ex.baselines, BASE)
        np.testing.assert_array_equal(ex.prediction, xc.explain(rows(), X, target=OWN).prediction)
        assert ex.samples.tolist() == labels
    ex = xc.explain(rows(), plain, FRAME, target=SERIES)  # one side has labels, so position counts
    np.testing.assert_array_equal(ex.baselines, X)
    assert ex.attrs["targets"]["own target of each sample"] == SERIES.astype(str).tolist()


@pytest.mark.parametrize("is_shuffled", ["the input", "the other"])
def test_a_count_beside_the_same_numbers_in_another_order_may_mean_either(is_shuffled):
    shuffled, counted = [3, 1, 0, 2], range(N)
    mine, others = (shuffled, counted) if is_shuffled == "the input" else (counted, shuffled)
    given, other = FRAME.set_axis(mine), pd.DataFrame(BASE, columns=list("abc"), index=others)
    targets = pd.Series(OWN, index=others)
    two = Net(lambda net, x, y: net.head(x * y), head=nn.Linear(F, 1)).double()
    for refused in (
        lambda: xc.explain(rows(), given, other, target=0),
        lambda: xc.explain(rows(), given, target=targets),
        lambda: xc.explain(two, (given, other), target=0),
    ):
        with pytest.raises(ExplainError, match=r"only counted by pandas[^$]*reset_index\(drop=True\)"):
            refused()
    ex = xc.explain(rows(), given.to_numpy(), target=targets)
    np.testing.assert_array_equal(ex.prediction, xc.explain(rows(), X, target=OWN).prediction)
    ex = xc.explain(rows(), given.rename_axis("sample"), target=targets.rename_axis("sample"))
    in_order = [list(others).index(label) for label in mine]
    np.testing.assert_array_equal(ex.prediction, xc.explain(rows(), X, target=OWN[in_order]).prediction)


def test_samples_go_by_labels_that_say_more_than_numbers_from_0():
    net = Net(lambda net, x, y, z: net.head(x * y - z), head=nn.Linear(F, 1)).double()
    counted = FRAME.set_axis(pd.RangeIndex(N, name="row"))
    other = pd.DataFrame(BASE, index=LABELS)
    ex = xc.explain(net, (counted, other, other.loc[MOVED]), target=pd.Series([0] * N, index=MOVED))
    assert ex.samples.tolist() == LABELS
    np.testing.assert_array_equal(ex.prediction, xc.explain(net, (X, BASE, BASE), target=0).prediction)


def test_the_first_sample_is_drawn_whatever_it_is_called():
    x = draw(3, 2, T, F)
    index = pd.MultiIndex.from_product([[17, 3], range(2000, 2000 + T)])
    panel = pd.DataFrame(x.reshape(-1, F), columns=list("abc"), index=index)
    ex = xc.explain(reader().double(), panel, target=0)
    assert ex.adds_up()
    assert ex.residual_in_words() == ex.residual_in_words(17)
    assert cell_detail(ex)["attribution"] == ex.attributions.values[0, 0, 0]
    assert attribution_figure(ex) == attribution_figure(ex, 17)
    assert prediction_figure(ex) == prediction_figure(ex, 17)
    with pytest.raises(ExplainError, match="There is no sample 0"):
        ex.adds_up(0)


# --- Time ------------------------------------------------------------------------------------------------------

SEQUENCE = pd.DataFrame(draw(4, T, F), columns=list("abc"))


@pytest.mark.parametrize("index", [range(2, 2 + T), [2000, 2001, 2004, 2009, 2010], [4, 3, 2, 0, 1]])
def test_numbers_label_the_steps_of_one_sequence(index):
    frame = SEQUENCE.set_axis(index)
    ex = xc.explain(reader().double(), frame, frame.iloc[[1, 3, 0, 4, 2]], target=0)
    assert ex.attributions.time.values.tolist() == list(index)
    np.testing.assert_array_equal(ex.baselines, ex.inputs)  # the same steps, in whatever order
    assert ex.gates["rnn"].time.values.tolist() == list(index)
    one = Net(lambda net, x: net.rnn(x[..., None])[0][:, -1], rnn=nn.GRU(1, 2, batch_first=True)).double()
    ex = xc.explain(one, frame["a"], target=0)
    assert ex.attributions.time.values.tolist() == list(index)


def test_frames_keep_the_numbers_of_their_steps():
    net, later = reader().double(), SEQUENCE.set_axis(range(10, 10 + T))
    ex = xc.explain(net, [later, later], target=0)
    assert ex.attributions.time.values.tolist() == later.index.tolist()
    for frames in ([SEQUENCE, later], [later, SEQUENCE], [later.set_axis(later.index * 1.0), SEQUENCE]):
        ex = xc.explain(net, frames, target=0)
        assert ex.attributions.time_label.values.tolist() == [frame.index.tolist() for frame in frames]
    zone = SEQUENCE.set_axis(pd.date_range("2024-01-01", periods=T, tz="Europe/Berlin"))
    assert xc.explain(net, [zone, zone], target=0).attributions.time.dtype.kind == "M"
    for other in (zone, SEQUENCE.set_axis(list("vwxyz"))):
        with pytest.raises(InputError, match=r"rows of frame 1 are called \['0', .*, and those of frame 0"):
            xc.explain(net, [other, SEQUENCE], target=0)


def test_steps_that_pandas_counted_have_no_names():
    """Beside the same numbers in another order they stay where they are, in one frame and in several."""
    moved = SEQUENCE.set_axis([4, 3, 2, 0, 1])
    for given in (SEQUENCE, [SEQUENCE, SEQUENCE]):
        ex = xc.explain(reader().double(), given, moved, target=0)
        np.testing.assert_array_equal(ex.baselines, ex.inputs)
