"""What the caller calls an axis stays; others have the names that the model tells, or neutral ones."""

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from torch import nn

import explain_core as xc
from explain_core.errors import InputError, NonFiniteError
from explain_core.explanation import by_name
from explain_core.figures import attribution_figure, cell_detail, prediction_figure

N, T, F, H = 3, 6, 4, 5
X = np.random.default_rng(0).normal(size=(N, T, F))
BASE = np.random.default_rng(1).normal(size=(1, T, F))
DATES = pd.date_range("2024-01-01", periods=T)
NAMES = ["open", "high", "low", "close"]


class Net(nn.Module):
    """``forward`` as a function of the net and its inputs."""

    def __init__(self, function, **modules):
        super().__init__()
        for name, module in modules.items():
            setattr(self, name, module)
        self.function = function

    def forward(self, x):
        return self.function(self, x)


class Net2(Net):
    def forward(self, x, other):
        return self.function(self, x, other)


def made(function, kind=Net, **modules):
    torch.manual_seed(0)
    for module in modules.values():
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.5)
    return kind(function, **modules).double().eval()


def last(batch_first=True, features=F):
    rnn, head = nn.LSTM(features, H, batch_first=batch_first), nn.Linear(H, 1)
    return made(lambda net, x: net.head(net.rnn(x)[0][:, -1] if batch_first else net.rnn(x)[0][-1]), rnn=rnn, head=head)


def looped(net, x):
    state = x.new_zeros(len(x), H), x.new_zeros(len(x), H)
    for t in range(x.shape[1]):
        state = net.rnn(x[:, t], state)
    return net.head(state[0])


def by_hand(net, x):
    h = x.new_zeros(len(x), H)
    for step in x.unbind(1):
        h = torch.tanh(net.i(step) + net.w(h))
    return net.head(h)


def scores(net, x):
    weight = torch.softmax(net.q(x) @ net.k(x).transpose(1, 2), -1)
    return net.head((weight @ x).mean(1))


def einsum(net, x):
    weight = torch.softmax(torch.einsum("nif,njf->nij", net.q(x), net.k(x)), -1)
    return net.head(torch.einsum("nij,njf->nif", weight, x).mean(1))


def video(net, x):
    frames = net.conv(x.flatten(0, 1)).relu().flatten(1).unflatten(0, x.shape[:2])
    return net.head(net.rnn(frames)[0][:, -1])


def both(net, x):
    return net.head(net.conv(x).mean(-1)) + net.head(net.rnn(x)[0][:, -1])


def sum_of_features(net, x):
    return sum(net.one(x[..., k]).tanh() for k in range(F)).sum(1, keepdim=True)


LINEAR = nn.Linear


def flattened(net, x):
    return net.head(net.conv(x).relu().flatten(1))


def averaged(net, x):
    return net.head(net.conv(x[:, None]).mean(-1))


TIME_FEATURE = ("time", "feature")
MODELS = {
    "LSTM": (last, X, TIME_FEATURE),
    "a linear layer before a GRU": (
        lambda: made(
            lambda net, x: net.head(net.rnn(net.i(x).tanh())[0].mean(1)),
            i=LINEAR(F, 7),
            rnn=nn.GRU(7, H, batch_first=True),
            head=LINEAR(H, 1),
        ),
        X,
        TIME_FEATURE,
    ),
    "transposed for a layer that takes time first": (
        lambda: made(lambda net, x: net.head(net.rnn(x.transpose(0, 1))[0][-1]), rnn=nn.RNN(F, H), head=LINEAR(H, 1)),
        X,
        TIME_FEATURE,
    ),
    "cells in a loop": (lambda: made(looped, rnn=nn.LSTMCell(F, H), head=LINEAR(H, 1)), X, TIME_FEATURE),
    "a recurrence by hand": (
        lambda: made(by_hand, i=LINEAR(F, H), w=LINEAR(H, H), head=LINEAR(H, 1)),
        X,
        TIME_FEATURE,
    ),
    "channels first": (
        lambda: made(lambda net, x: net.head(net.conv(x).relu().mean(-1)), conv=nn.Conv1d(T, H, 2), head=LINEAR(H, 1)),
        X,
        ("feature", "time"),
    ),
    "transposed to channels first": (
        lambda: made(
            lambda net, x: net.head(net.conv(x.permute(0, 2, 1)).relu().mean(-1)),
            conv=nn.Conv1d(F, H, 2),
            head=LINEAR(H, 1),
        ),
        X,
        TIME_FEATURE,
    ),
    "a transformer": (
        lambda: made(
            lambda net, x: net.head(net.part(x).mean(1)),
            part=nn.TransformerEncoderLayer(F, 2, 8, batch_first=True),
            head=LINEAR(F, 1),
        ),
        X,
        TIME_FEATURE,
    ),
    "attention by hand": (lambda: made(scores, q=LINEAR(F, 2), k=LINEAR(F, 2), head=LINEAR(F, 1)), X, TIME_FEATURE),
    "attention by einsum": (lambda: made(einsum, q=LINEAR(F, 2), k=LINEAR(F, 2), head=LINEAR(F, 1)), X, TIME_FEATURE),
    "attention over series": (
        lambda: made(
            lambda net, x: net.head(scores_of(net.embed(x.transpose(1, 2)))), embed=LINEAR(T, 2), head=LINEAR(2, 1)
        ),
        X,
        ("axis_1", "axis_2"),
    ),
    "flattened": (
        lambda: made(lambda net, x: net.head(x.flatten(1)).tanh(), head=LINEAR(T * F, 1)),
        X,
        ("axis_1", "axis_2"),
    ),
    "two parts that disagree": (
        lambda: made(both, conv=nn.Conv1d(T, H, 2), rnn=nn.GRU(F, H, batch_first=True), head=LINEAR(H, 1)),
        X,
        ("axis_1", "axis_2"),
    ),
    "a sum of functions of each feature": (lambda: made(sum_of_features, one=LINEAR(T, H)), X, ("axis_1", "axis_2")),
    "rows": (lambda: made(lambda net, x: net.head(x).tanh(), head=LINEAR(F, 1)), X[:, 0], ("feature",)),
    "one series for a recurrent layer": (
        lambda: made(
            lambda net, x: net.head(net.rnn(x.unsqueeze(-1))[0][:, -1]),
            rnn=nn.GRU(1, H, batch_first=True),
            head=LINEAR(H, 1),
        ),
        X[:, :, 0],
        ("time",),
    ),
    "one series for a convolution": (
        lambda: made(
            lambda net, x: net.head(net.conv(x[:, None]).mean(-1)), conv=nn.Conv1d(1, H, 2), head=LINEAR(H, 1)
        ),
        X[:, :, 0],
        ("time",),
    ),
    "images": (
        lambda: made(
            lambda net, x: net.head(net.conv(x).relu().flatten(1)), conv=nn.Conv2d(2, 2, 2), head=LINEAR(24, 1)
        ),
        np.random.default_rng(2).normal(size=(N, 2, 4, 5)),
        ("axis_1", "axis_2", "axis_3"),
    ),
    "volumes": (
        lambda: made(
            lambda net, x: net.head(net.conv(x).relu().flatten(1)), conv=nn.Conv3d(1, 2, 2), head=LINEAR(8, 1)
        ),
        np.random.default_rng(2).normal(size=(N, 1, 3, 3, 2)),
        ("axis_1", "axis_2", "axis_3", "axis_4"),
    ),
    "images over time": (
        lambda: made(video, conv=nn.Conv2d(1, 2, 2), rnn=nn.GRU(8, H, batch_first=True), head=LINEAR(H, 1)),
        np.random.default_rng(2).normal(size=(N, 4, 1, 3, 3)),
        ("time", "axis_2", "axis_3", "axis_4"),
    ),
    "token ids": (
        lambda: made(
            lambda net, x: net.head(net.rnn(net.table(x))[0][:, -1]),
            table=nn.Embedding(9, 3),
            rnn=nn.GRU(3, H, batch_first=True),
            head=LINEAR(H, 1),
        ),
        np.random.default_rng(2).integers(0, 9, (N, T)),
        ("time",),
    ),
    "token ids as floats": (
        lambda: made(
            lambda net, x: net.head(net.rnn(net.table(x.long()))[0][:, -1]),
            table=nn.Embedding(9, 3),
            rnn=nn.GRU(3, H, batch_first=True),
            head=LINEAR(H, 1),
        ),
        np.random.default_rng(2).integers(0, 9, (N, T)).astype(float),
        ("time",),
    ),
    "a bag of words": (
        lambda: made(lambda net, x: net.head(net.table(x).mean(1)), table=nn.Embedding(9, 3), head=LINEAR(3, 1)),
        np.random.default_rng(2).integers(0, 9, (N, T)),
        ("time",),
    ),
    "a table for each column": (
        lambda: made(
            lambda net, x: net.one(x[:, 0]) + net.two(x[:, 1]), one=nn.Embedding(9, 1), two=nn.Embedding(9, 1)
        ),
        np.random.default_rng(2).integers(0, 9, (N, 2)),
        ("axis_1",),
    ),
}


def scores_of(x):
    return (torch.softmax(x @ x.transpose(1, 2), -1) @ x).mean(1)


@pytest.mark.parametrize("name", MODELS)
def test_axes_without_names_have_those_that_the_model_tells(name, tmp_path):
    make, x, dims = MODELS[name]
    ex = xc.explain(make(), x, target=0)
    assert ex.attributions.dims == ("sample", *dims)
    assert ex.relative_residual.max() <= 1e-12
    total = ex.attributions.values
    for axis, totals in (("time", ex.by_time), ("feature", ex.by_feature)):
        if axis in dims:
            others = tuple(a for a in range(1, x.ndim) if a != 1 + dims.index(axis))
            np.testing.assert_allclose(totals().values, total.sum(others), atol=1e-14)
        else:
            with pytest.raises(InputError, match=f"No explained input has an axis called '{axis}'; they have .*sample"):
                totals()
    ex.save(tmp_path / "run.nc")
    again = xc.Explanation.load(tmp_path / "run.nc")
    assert again.attributions.identical(ex.attributions)
    assert list(ex.to_dataframe().columns[3 : 3 + len(dims)]) == list(dims)
    assert cell_detail(again)["attribution"] == pytest.approx(total[0].flat[0])
    assert attribution_figure(again).data
    assert prediction_figure(again).data
    assert repr(again)


def test_states_lengths_and_time_first():
    def forward(net, x, h):
        return net.head(net.rnn(x, h)[0][-1])

    net = made(forward, Net2, rnn=nn.GRU(F, H, num_layers=2), head=nn.Linear(H, 1))
    h = np.random.default_rng(3).normal(size=(2, N, H))
    ex = xc.explain(net, (X.transpose(1, 0, 2), h), target=0, sample_axis=1)
    assert ex.attributions["x"].dims == ("sample", "time", "feature")
    assert ex.attributions["other"].dims == ("sample", "layer", "unit")
    assert ex.relative_residual.max() <= 1e-12

    def packed(net, x, n):
        rows = nn.utils.rnn.pack_padded_sequence(x, n, batch_first=True, enforce_sorted=False)
        return net.head(net.rnn(rows)[1][-1])

    net = made(packed, Net2, rnn=nn.GRU(F, H, batch_first=True), head=nn.Linear(H, 1))
    assert xc.explain(net, (X, np.array([6, 3, 4])), target=0).attributions.dims == ("sample", "time", "feature")
    whole = made(lambda net, x: net.head(net.rnn(x)[0][-1]), rnn=nn.LSTM(F, H), head=nn.Linear(H, 1))
    assert xc.explain(whole, X[0], target=0, sample_axis=None).attributions.dims == ("sample", "time", "feature")


# --- Names that are given ---------------------------------------------------------------------------------------


def named(values=X, dims=("sample", "time", "feature"), **coords):
    labels = {"sample": ["a", "b", "c"], "time": DATES, "feature": NAMES}
    return xr.DataArray(values, dims=dims, coords={d: labels[d] for d in dims if d in labels} | coords)


def test_given_names_and_labels_stay_in_the_order_of_the_model():
    net = made(lambda net, x: net.head(net.conv(x).flatten(1)), conv=nn.Conv1d(F, 2, 1, bias=False), head=LINEAR(12, 1))
    x = named().transpose("sample", "feature", "time")
    ex = xc.explain(net, x, named(BASE[0], ("time", "feature")).transpose(), target=0)
    assert ex.attributions.dims == ("sample", "feature", "time")
    head = net.head.weight.detach().numpy().reshape(2, T)
    weight = net.conv.weight.detach().numpy()[:, :, 0].T @ head  # (feature, time)
    expected = weight * (X - BASE).transpose(0, 2, 1)
    np.testing.assert_allclose(ex.attributions, expected, atol=1e-13)
    np.testing.assert_allclose(ex.by_feature(), expected.sum(2), atol=1e-13)
    assert ex.by_feature().feature.values.tolist() == NAMES
    np.testing.assert_array_equal(ex.by_time().time.values, DATES)
    assert ex.samples.tolist() == ["a", "b", "c"]


@pytest.mark.parametrize("dims", [("time", "sample", "feature"), ("time", "batch", "feature")])
def test_the_axis_of_samples_is_found_by_its_name(dims):
    along = {"season": ("time", list("uuvvww")), "quality": ((dims[1], "time"), np.arange(N * T).reshape(N, T))}
    first = named().rename(sample=dims[1]).assign_coords(along)
    net, same = last(False), last()
    ex = xc.explain(net, first.transpose(*dims), target=0)
    assert ex.attributions.dims == ("sample", "time", "feature")
    assert ex.attributions.season.values.tolist() == list("uuvvww")
    assert ex.attributions.quality.dims == ("sample", "time")
    np.testing.assert_array_equal(ex.attributions.quality, along["quality"][1])
    np.testing.assert_allclose(ex.attributions, xc.explain(same, X, target=0).attributions, atol=1e-13)


def test_names_of_ones_own_stay_and_the_samples_may_be_called_anything():
    x = xr.DataArray(X.transpose(1, 0, 2), dims=("lead", "asset", "factor"), coords={"asset": ["p", "q", "r"]})
    ex = xc.explain(last(False), x, target=0, sample_axis="asset")
    assert ex.attributions.dims == ("sample", "lead", "factor")
    assert ex.samples.tolist() == ["p", "q", "r"]
    np.testing.assert_allclose(ex.attributions, xc.explain(last(), X, target=0).attributions, atol=1e-13)
    with pytest.raises(InputError, match=r"called 'time'; they have .*'lead', 'factor'"):
        ex.by_time()
    with pytest.raises(InputError, match="called 'feature'"):
        ex.to_shap("feature")
    first = xc.explain(last(), x.transpose("asset", "lead", "factor"), target=0)
    assert first.attributions.dims == ("sample", "lead", "factor")


def test_a_variable_has_the_names_of_its_axes():
    net = made(lambda net, x: net.head(x.mean(1)), head=LINEAR(F, 2))
    own, base = np.array([1, 0, 1]), named(BASE[0], ("time", "feature")).transpose()
    expected = xc.explain(net, X, BASE, target=own)
    x = xr.Variable(("sample", "time", "feature"), X)
    ex = xc.explain(net, x, base.variable, target=xr.Variable("sample", own))
    assert ex.attributions.dims == ("sample", "time", "feature")
    np.testing.assert_array_equal(ex.attributions, expected.attributions)
    order = xr.Variable(("unit", "sample"), own[None])
    np.testing.assert_array_equal(xc.explain(net, x, base.variable, target=order).prediction, expected.prediction)
    rows = made(lambda net, x: net.head(x.T), head=LINEAR(F, 1))
    ex = xc.explain(rows, xr.Variable(("feature", "sample"), X[:, 0].T), target=0)
    assert ex.attributions.dims == ("sample", "feature")
    np.testing.assert_allclose(ex.attributions, rows.head.weight.detach().numpy() * X[:, 0], atol=1e-14)


def test_a_sequence_read_along_what_is_called_feature_is_said():
    x = named().transpose("sample", "feature", "time")
    ex = xc.explain(last(features=T), x, target=0)
    assert ex.attributions.dims == ("sample", "feature", "time")
    assert any("along the axis of 'x' that is called 'feature'" in note for note in ex.notes)


@pytest.mark.parametrize(
    ("x", "options", "words"),
    [
        (named().transpose("time", "sample", "feature"), {"sample_axis": 2}, "axis 1 is called 'sample'"),
        (named(), {"sample_axis": None}, "axis 0 is called 'sample'"),
        (named(), {"sample_axis": "asset"}, "sample_axis is 'asset', and the axes are called"),
        (xr.DataArray(X, dims=("sample", "batch", "feature")), {}, "two of its axes"),
        (xr.DataArray(X, dims=("time", "asset", "feature")), {}, "it is called 'time'"),
        (xr.DataArray(X, dims=("sample", "output", "feature")), {}, "a name that results use themselves"),
        (named().to_dataset(name="x"), {}, "an xarray Dataset with the variables"),
    ],
    ids=["another axis", "no samples", "no such name", "two", "time is no sample", "taken", "a dataset"],
)
def test_names_that_contradict_are_refused(x, options, words):
    with pytest.raises(InputError, match=words):
        xc.explain(last(), x, target=0, **options)


# --- Frames, series and names without samples -------------------------------------------------------------------

FRAME = pd.DataFrame(X[0], columns=NAMES, index=DATES)
ONE = {
    "a frame by dates": FRAME,
    "a frame": FRAME.reset_index(drop=True),
    "nullable numbers": FRAME.convert_dtypes(),
    "names": named(X[0], ("time", "feature")),
    "dates with a zone": FRAME.tz_localize("Europe/Berlin"),
}


@pytest.mark.parametrize("name", ONE)
@pytest.mark.parametrize(
    "model", ["LSTM", "a transformer", "cells in a loop", "transposed to channels first", "flattened"]
)
def test_timesteps_and_features_are_one_sequence_for_a_model_of_sequences(name, model):
    net = MODELS[model][0]()
    ex = xc.explain(net, ONE[name], target=0)
    assert ex.attributions.dims == ("sample", "time", "feature")
    assert ex.attributions.feature.values.tolist() == NAMES
    np.testing.assert_allclose(ex.attributions, xc.explain(net, X[:1], target=0).attributions, atol=1e-14)
    if name != "a frame":
        np.testing.assert_array_equal(ex.attributions.time, DATES)


def test_one_sequence_for_a_model_that_takes_time_first_or_no_samples():
    expected = xc.explain(last(), X[:1], target=0).attributions
    assert_same(xc.explain(last(False), FRAME, target=0), expected)
    alone = last(False)
    alone.function = lambda net, x: net.head(net.rnn(x[:, None])[0][-1, 0])
    assert_same(xc.explain(alone, FRAME, target=0), expected)


def assert_same(ex, expected):
    assert ex.attributions.dims == ("sample", "time", "feature")
    np.testing.assert_allclose(ex.attributions, expected, atol=1e-14)


def test_a_frame_whose_columns_are_dates_goes_to_channels_first():
    net = made(averaged_channels, conv=nn.Conv1d(F, H, 2), head=LINEAR(H, 1))
    ex = xc.explain(net, FRAME.T, target=0)
    assert ex.attributions.dims == ("sample", "feature", "time")
    assert ex.by_feature().feature.values.tolist() == NAMES
    square = made(averaged_channels, conv=nn.Conv1d(T, H, 2), head=LINEAR(H, 1))
    with pytest.raises(InputError, match="reads a sequence along axis 2, and that is called 'feature'"):
        xc.explain(square, FRAME, target=0)  # its six steps fit as six channels


def averaged_channels(net, x):
    return net.head(net.conv(x).relu().mean(-1))


def test_tensors_that_do_not_come_from_an_input_break_no_trail():
    def forward(net, x):
        start = torch.ones(x.shape[0] * T * F, dtype=x.dtype).view_as(x)
        start = start + torch.ones(1, dtype=x.dtype).expand_as(x)
        held = torch.zeros_like(x)
        held[:, 1:] = x[:, :-1]
        return net.head(net.rnn(start * held)[0][:, -1])

    net = made(forward, rnn=nn.GRU(F, H, batch_first=True), head=LINEAR(H, 1))
    assert xc.explain(net, X, target=0).attributions.dims == ("sample", "time", "feature")


def test_rows_stay_samples_for_a_model_of_rows():
    net = MODELS["rows"][0]()
    for x in (FRAME, named(X[0], ("time", "feature"))):
        ex = xc.explain(net, x, target=0)
        assert ex.attributions.dims == ("sample", "feature")
        np.testing.assert_array_equal(ex.samples, DATES)
        np.testing.assert_allclose(ex.attributions, xc.explain(net, X[0], target=0).attributions, atol=1e-14)
        assert any("Each of the 6 rows is explained as a sample of its own" in note for note in ex.notes)
    assert not xc.explain(net, FRAME.reset_index(drop=True), target=0).notes


def test_several_frames_and_frames_of_two_levels_are_samples():
    expected = xc.explain(last(), X[:2], target=0).attributions
    other = pd.DataFrame(X[1], columns=NAMES, index=DATES + pd.Timedelta(days=7))
    ex = xc.explain(last(), [FRAME, other], target=0)
    assert_same(ex, expected)
    np.testing.assert_array_equal(ex.attributions.time_label[1], other.index)
    for names in (["id", "date"], ["date", "id"]):
        both = pd.concat({"p": FRAME, "q": other.set_axis(DATES)}, names=["id", "date"]).reorder_levels(names)
        ex = xc.explain(last(), both, target=0)
        assert_same(ex, expected)
        assert ex.samples.tolist() == ["p", "q"]
        np.testing.assert_array_equal(ex.attributions.time, DATES)


@pytest.mark.parametrize(
    "names",
    [
        *(["time", "sample"], ["step", "batch"], ["Date", "sequence"], ["timestamp", None], [None, "id"]),
        *(["sample", "time"], ["id", "t"], ["batch", None], [None, "step"], ["asset", "date"], [None, None]),
    ],
)
@pytest.mark.parametrize("dates", [False, True])
def test_names_of_the_levels_say_which_is_time(names, dates):
    is_first = names[0] in ("time", "step", "Date", "timestamp") or names[1] == "id"
    times, samples = DATES if dates else pd.RangeIndex(10, 10 + T), pd.Index([7, 5, 9])
    levels, values = ([times, samples], X.swapaxes(0, 1)) if is_first else ([samples, times], X)
    index = pd.MultiIndex.from_product(levels, names=names)
    ex = xc.explain(last(), pd.DataFrame(values.reshape(-1, F), columns=NAMES, index=index), target=0)
    assert_same(ex, xc.explain(last(), X, target=0).attributions)
    assert ex.samples.tolist() == samples.tolist()
    np.testing.assert_array_equal(ex.attributions.time, times)


@pytest.mark.parametrize(
    "names", [["date", "step"], ["day", "hour"], ["batch", "sample"], ["sample", "feature"], ["channel", "time"]]
)
def test_names_of_levels_that_contradict_are_refused(names):
    index = pd.MultiIndex.from_product([range(N), range(T)], names=names)
    with pytest.raises(InputError, match=rf"levels of its rows are called \['{names[0]}', '{names[1]}'\], and one is"):
        xc.explain(last(), pd.DataFrame(X.reshape(-1, F), columns=NAMES, index=index), target=0)


def test_a_series_is_one_sequence_or_one_row():
    series = pd.Series(X[0, :, 0], index=DATES)
    short = MODELS["one series for a recurrent layer"][0]()
    ex = xc.explain(short, series, target=0)
    assert ex.attributions.dims == ("sample", "time")
    np.testing.assert_array_equal(ex.attributions.time, DATES)
    ex = xc.explain(last(features=1), series, target=0)
    assert ex.attributions.dims == ("sample", "time", "feature")
    np.testing.assert_allclose(ex.attributions, xc.explain(last(features=1), X[:1, :, :1], target=0).attributions)
    ex = xc.explain(MODELS["rows"][0](), FRAME.iloc[0], target=0)
    assert ex.by_feature().feature.values.tolist() == NAMES


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (FRAME.set_axis(["open", "high", "open", "close"], axis=1), "the column 'open' is there 2 times"),
        (FRAME.assign(note="x"), "the column 'note' is not numbers"),
        ([FRAME, FRAME[:3]], r"differ in length: \[6, 3\]"),
        ([FRAME, FRAME.rename(columns={"open": "last"})], "frame 1 has the columns"),
        (pd.concat({"p": FRAME, "q": FRAME[:2]}), "its sequences differ in length"),
        (3.0, "there is no array among the inputs"),
    ],
    ids=["a name twice", "words", "lengths", "other columns", "unequal panel", "a number"],
)
def test_frames_that_do_not_fit_are_refused_by_their_cause(x, words):
    with pytest.raises(InputError, match=words):
        xc.explain(last(), x, target=0)


def test_a_missing_number_in_a_frame_is_where_it_is():
    with pytest.raises(NonFiniteError, match=r"at position \(1, 2\)"):
        xc.explain(last(), FRAME.convert_dtypes().mask(np.arange(T * F).reshape(T, F) == 6), target=0)


# --- Arguments that are no arrays -------------------------------------------------------------------------------


class Optional(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = last()

    def forward(self, past, static=None, forcing=0.0, training=False, mode="plain", scale=None):
        assert static is None
        assert not training
        assert mode == "plain"
        return self.net(past) * (1.0 + forcing) * (1.0 if scale is None else scale)


class OneDict(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = last()

    def forward(self, batch):
        assert batch["name"] == "station"
        return self.net(batch["x"]) * batch["factor"]


def test_none_flags_numbers_and_texts_are_part_of_the_call():
    plain = xc.explain(last(), X, BASE, target=0).attributions.values
    net = Optional().double().eval()
    for given, factor in (
        ((X, None, 0.5, False), 1.5),
        ((X, None, np.float64(0.5), np.bool_(False), "plain"), 1.5),
        ({"past": X, "static": None, "forcing": 1}, 2.0),
        ((X, None, 0.0, False, "plain", torch.tensor(3.0, dtype=torch.float64)), 3.0),
        ((X, None, 0.0, False, "plain", np.array(3.0)), 3.0),
    ):
        ex = xc.explain(net, given, BASE, target=0)
        assert list(by_name(ex.attributions)) == ["past"]
        np.testing.assert_allclose(ex.attributions, factor * plain, atol=1e-13)


def test_a_dict_is_the_argument_where_no_parameter_has_its_names():
    net = OneDict().double().eval()
    batch = {"x": X, "factor": 2.0, "name": "station"}
    plain = xc.explain(last(), X, BASE, target=0).attributions.values
    for given in (batch, (batch,), {"batch": batch}, {**batch, "x": named()}):
        ex = xc.explain(net, given, BASE, target=0)
        np.testing.assert_allclose(ex.attributions, 2 * plain, atol=1e-13)
    assert xc.explain(net, batch, {"x": BASE}, target=0).input_names == ["x"]
    with pytest.raises(InputError, match="the model has no parameter 'futur'"):
        xc.explain(Optional().double().eval(), {"past": X, "futur": X}, target=0)
