"""What people write as a baseline is what the model is run on, or an error that says what does not fit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from exactness import Named, Net, draw
from torch import nn

import explain_core as xc
from explain_core.errors import ExplainError, InputError, NonFiniteError
from explain_core.preparation import rows
from explain_core.preparation.baselines import resolve_baselines
from explain_core.preparation.valid_steps import Form, valid_steps

N, T, F = 4, 5, 3
NAMES = ["price", "volume", "rate"]
X = draw(0, N, T, F)
MEAN = X.mean((0, 1))


def last_step() -> nn.Module:
    torch.manual_seed(0)
    modules = {"rnn": nn.GRU(F, 6, batch_first=True), "head": nn.Linear(6, 2)}
    return Net(lambda net, x: net.head(net.rnn(x)[0][:, -1]), **modules).double()


def own(model: nn.Module, *leaves: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model(*map(torch.tensor, leaves)).numpy()


def compared(given, x=X, model=None, **options) -> np.ndarray:
    """The baseline of each sample, after the explanation was held against the model itself."""
    model = model or last_step()
    ex = xc.explain(model, x, given, **options)
    base = ex.baselines.values
    np.testing.assert_allclose(ex.baseline_prediction, own(model, base), atol=1e-13)
    np.testing.assert_allclose(ex.prediction, own(model, np.asarray(x)), atol=1e-13)
    assert np.abs(ex.residual).max() <= 1e-13
    return base


# --- Forms -----------------------------------------------------------------------------------------------------

VECTOR = np.array([0.1, -0.2, 0.3])
ONE = draw(1, 1, T, F)
FORMS = {
    "zero": (0, 0.0),
    "a number": (0.5, 0.5),
    "a number of numpy": (np.float32(0.5), 0.5),
    "a number without axes": (np.array(-1), -1.0),
    "a tensor without axes": (torch.tensor(2.0), 2.0),
    "one value per feature": (VECTOR, VECTOR),
    "a list of one value per feature": (VECTOR.tolist(), VECTOR),
    "a tuple of one value per feature": (tuple(VECTOR.tolist()), VECTOR),
    "(1, 1, F)": (VECTOR[None, None], VECTOR),
    "(1, F)": (VECTOR[None], VECTOR),
    "(1, T, 1)": (ONE[:, :, :1], ONE[:, :, :1]),
    "(T, 1)": (ONE[0, :, :1], ONE[:, :, :1]),
    "(N, 1, F)": (X[::-1, :1], X[::-1, :1]),
    "(1, T, F)": (ONE, ONE),
    "(T, F)": (ONE[0], ONE),
    "one for each sample": (X[::-1], X[::-1]),
    "whole numbers": (np.ones((T, F), int), 1.0),
    "a tensor": (torch.tensor(ONE), ONE),
    "a function": (lambda x: x[:, ::-1], X[:, ::-1]),
    "a function that returns a number": (lambda x: x.max(), X.max()),
    "a function that returns a word": (lambda x: "mean", MEAN),
    "a tuple of one": ((ONE,), ONE),
    "a list of one": ([ONE], ONE),
    "a dict": ({"input": VECTOR}, VECTOR),
    "zeros": ("zeros", 0.0),
    "the mean": ("mean", MEAN),
    "the median": ("median", np.median(X.reshape(-1, F), 0)),
    "the first step": ("first", X[:, :1]),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_baseline_is_what_was_written(name):
    given, expected = FORMS[name]
    np.testing.assert_allclose(compared(given), np.broadcast_to(expected, X.shape), atol=1e-15)


@pytest.mark.parametrize("name", [name for name in FORMS if "dict" not in name])
def test_the_same_in_the_layout_of_a_model_that_takes_time_first(name):
    given, expected = FORMS[name]
    model = Net(lambda net, x: net.inner(x.transpose(0, 1)), inner=last_step())
    if getattr(given, "ndim", 0) == 3:
        given = given.swapaxes(0, 1) if isinstance(given, np.ndarray) else given.transpose(0, 1)
    elif isinstance(given, tuple | list) and hasattr(given[0], "ndim"):
        given = type(given)([given[0].swapaxes(0, 1)])
    elif callable(given):
        function = given
        given = lambda x: (  # noqa: E731
            r.swapaxes(0, 1) if getattr(r := function(x.swapaxes(0, 1)), "ndim", 0) == 3 else r
        )
    ex = xc.explain(model, X.swapaxes(0, 1), given, sample_axis=1)
    np.testing.assert_allclose(ex.baselines, np.broadcast_to(expected, X.shape), atol=1e-15)


def test_a_function_gets_a_copy_in_the_layout_of_the_input():
    seen = []

    def wipe(x):
        seen.append(x.shape)
        x[:] = 0
        return x

    model = Net(lambda net, x: net.inner(x.transpose(0, 1)), inner=last_step())
    ex = xc.explain(model, X.swapaxes(0, 1), wipe, sample_axis=1)
    assert seen == [(T, N, F)]
    np.testing.assert_array_equal(ex.inputs, X)
    assert not ex.baselines.values.any()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (np.zeros(F + 1), r"shape \(4,\), and the input \(4, 5, 3\)"),
        (np.zeros((2, T, F)), r"shape \(2, 5, 3\)"),
        (np.zeros((T + 1, F)), r"shape \(6, 3\)"),
        (np.zeros((1, 1, 1, F)), r"shape \(1, 1, 1, 3\)"),
        ("average", "there is no baseline called 'average'"),
        (True, "baseline"),
        (None, "baseline"),
        (float("nan"), "nan"),
        (1j, "numbers"),
        ({"other": 0}, "there is no input 'other'"),
        ((ONE, ONE), "there are 2 baselines"),
        (lambda x: torch.zeros_like(x), "the function for the baseline failed: TypeError"),
        (lambda x: None, "returned no baseline"),
        (lambda x: x[:2], r"shape \(2, 5, 3\)"),
    ],
)
def test_what_is_no_baseline_is_refused_with_its_shape(given, said):
    with pytest.raises((InputError, NonFiniteError), match=said):
        xc.explain(last_step(), X, given)


def test_a_vector_along_time_is_refused_with_the_form_that_is_meant():
    with pytest.raises(InputError) as error:
        xc.explain(last_step(), X, np.arange(T, dtype=float))
    assert "one number for each step has the shape (5, 1)" in error.value.hint


def test_a_vector_is_of_features_also_where_there_are_as_many_steps_and_a_note_says_so():
    x = draw(3, N, F, F)
    base = compared(VECTOR, x)
    np.testing.assert_array_equal(base, np.broadcast_to(VECTOR, x.shape))
    notes = xc.explain(last_step(), x, VECTOR).notes
    assert any("one for each feature, not for each timestep" in note for note in notes)
    assert not any("one for each feature" in note for note in xc.explain(last_step(), X, VECTOR).notes)


def test_rows_that_might_be_samples_are_one_sequence_and_a_note_says_so():
    x = draw(3, T, T, F)
    ex = xc.explain(last_step(), x, ONE[0])
    np.testing.assert_array_equal(ex.baselines, np.broadcast_to(ONE, x.shape))
    assert any("one sequence for all samples" in note for note in ex.notes)


def test_a_background_has_an_axis_of_samples_and_its_mean_prediction_is_the_base_value():
    model, background = last_step(), draw(4, T, T, F)
    ex = xc.explain(model, X, background, background=True)
    np.testing.assert_allclose(ex.baseline_prediction, np.tile(own(model, background).mean(0), (N, 1)), atol=1e-14)
    for given in ("zeros", "mean", 0.5, VECTOR):
        assert xc.explain(model, X, given, background=True).attrs["baseline_count"] == 1
    with pytest.raises(InputError, match="has no axis of samples"):
        xc.explain(model, X, background[0], background=True)
    for word in ("first", "padded-mean"):
        with pytest.raises(InputError, match="of each sample by itself"):
            xc.explain(model, X, word, background=True)


@pytest.mark.parametrize(("samples", "baselines"), [(7, 5), (3, 20), (20, 3), (1, 9), (6, 2)])
def test_a_background_goes_with_the_samples_in_blocks_of_few_rows(samples, baselines, monkeypatch):
    monkeypatch.setattr(rows, "MOST_ROWS", 6)
    x, background = draw(0, samples, T, F), draw(1, baselines, T, F)
    plan = rows.Plan([x], (0,))
    plan.set_baselines([background], (True,), True)
    batches = plan.batches()
    pairs = [tuple(map(int, pair)) for batch in batches for pair in batch]
    assert sorted(pairs) == [(n, b) for n in range(samples) for b in range(baselines)]
    assert max(map(len, batches)) == plan.rows_at_once <= 6
    in_rounds = -(-samples * baselines // 6) * (min(samples, 6) + -(-6 // samples))
    assert sum(len(set(batch[:, 0])) + len(set(batch[:, 1])) for batch in batches) <= in_rounds
    model = last_step()
    one_by_one = [xc.explain(model, x, base).attributions for base in background]
    found = xc.explain(model, x, background, background=True).attributions
    np.testing.assert_allclose(found, np.mean(one_by_one, axis=0), rtol=1e-9, atol=1e-12)


# --- Names -----------------------------------------------------------------------------------------------------

LABELLED = xr.DataArray(X, dims=("sample", "time", "feature"), coords={"feature": NAMES, "time": range(10, 10 + T)})
ROW = pd.DataFrame([[0.1, 0.2, 0.3]], columns=NAMES)
MOVED = ["rate", "price", "volume"]


@pytest.mark.parametrize(
    "given",
    [
        ROW,
        ROW[MOVED],
        ROW[MOVED].iloc[0],
        pd.concat([ROW[MOVED]] * T),
        xr.DataArray([0.3, 0.1, 0.2], dims="feature", coords={"feature": MOVED}),
        xr.DataArray([[[0.3, 0.1, 0.2]]], dims=("sample", "time", "feature"), coords={"feature": MOVED}),
        xr.DataArray(np.tile([[0.3], [0.1], [0.2]], T), dims=("feature", "time"), coords={"feature": MOVED}),
        lambda x: ROW[MOVED],
    ],
)
def test_features_are_matched_by_name(given):
    np.testing.assert_array_equal(compared(given, LABELLED), np.broadcast_to([0.1, 0.2, 0.3], X.shape))


@pytest.mark.parametrize(
    "given",
    [
        ROW.rename(columns={"rate": "cost"}),
        ROW[["price", "rate"]],
        ROW.assign(cost=1.0),
        ROW.iloc[0].rename({"rate": "cost"}),
        xr.DataArray([0.3, 0.1, 0.2], dims="feature", coords={"feature": ["price", "cost", "rate"]}),
    ],
)
def test_features_of_other_names_are_refused_with_both_lists(given):
    with pytest.raises(InputError, match=r"features of the baseline are \[.*\], and those of the input \['price'"):
        xc.explain(last_step(), LABELLED, given)


def test_rows_of_a_table_as_samples_are_matched_by_column():
    net = nn.Linear(F, 1).double()
    rows = pd.DataFrame(X[:, 0], columns=NAMES, index=pd.Index(list("abcd"), name="who"))
    base = pd.DataFrame(X[:, 1], columns=NAMES, index=rows.index)
    for given in (base, base[MOVED], base[MOVED].iloc[[2, 0, 3, 1]]):  # and samples by theirs
        np.testing.assert_array_equal(compared(given, rows, net), X[:, 1])
    with pytest.raises(InputError, match="features of the baseline"):
        xc.explain(net, rows, base.rename(columns={"rate": "cost"}))


@pytest.mark.parametrize("given", [ROW.to_numpy(), ROW.to_numpy()[0], pd.DataFrame(ROW.to_numpy())])
def test_what_has_no_names_goes_by_position(given):
    np.testing.assert_array_equal(compared(given, LABELLED), np.broadcast_to([0.1, 0.2, 0.3], X.shape))


@pytest.mark.parametrize("dims", [("feature", "sample", "time"), ("time", "feature", "sample")])
def test_axes_are_matched_by_name(dims):
    base = LABELLED.copy(data=draw(5, N, T, F)).assign_coords(time=range(T))
    np.testing.assert_array_equal(compared(base.transpose(*dims), LABELLED), base.values)
    one = base[:1].transpose(*dims)
    np.testing.assert_array_equal(compared(one, LABELLED), np.broadcast_to(base.values[:1], X.shape))
    many = base.rename(sample="draw").transpose(*("draw" if d == "sample" else d for d in dims))
    ex = xc.explain(last_step(), LABELLED[:2], many, background=True)
    np.testing.assert_allclose(ex.baseline_prediction[0], own(last_step(), base.values).mean(0), atol=1e-14)


def test_axes_of_other_names_are_refused_with_both():
    with pytest.raises(InputError, match=r"axes \('time', 'channel', 'height'\), and the input"):
        xc.explain(last_step(), LABELLED, xr.DataArray(X, dims=("time", "channel", "height")))


def grid(dims):
    return xr.DataArray(np.arange(F * F, dtype=float).reshape(F, F), dims=dims)


SQUARE = LABELLED[:, :F]  # as many steps as features
ROWS = pd.DataFrame(grid(("time", "feature")).values, index=NAMES)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (xr.DataArray([1.0, 2, 3], dims="foo"), r"axes \('foo',\), and the input \('sample', 'time', 'feature'\)"),
        (grid(("channel", "step")), r"axes \('channel', 'step'\), and the input"),
        (grid(("feature", "step")), r"axes \('feature', 'step'\), and the input"),
        (grid(("lead", "factor")), r"axes \('lead', 'factor'\), and the input"),
        (ROWS, r"along the axis 'time' the baseline has the names \['price', .*, and those are along 'feature'"),
        (ROWS.iloc[:, :2], "along the axis 'time' the baseline has the names"),
        (ROWS.rename_axis(index="time", columns="time"), "rows and its columns both are of the axis 'time'"),
    ],
    ids=["one", "two", "one of two", "own", "rows called as features", "of another size", "both time"],
)
@pytest.mark.parametrize("background", [False, True])
def test_names_of_a_baseline_that_fit_nothing_are_refused_with_those_expected(given, said, background):
    for x in (SQUARE, SQUARE[:F]):
        with pytest.raises(InputError, match=said):
            xc.explain(last_step(), x, given, target=0, background=background)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (pd.Series([1.0, 2, 3], index=pd.Index([0, 1, 2], name="time")), [[1] * 3, [2] * 3, [3] * 3]),
        (pd.Series([1.0, 2, 3], index=pd.date_range("2024", periods=3)), [[1] * 3, [2] * 3, [3] * 3]),
        (pd.Series([1.0, 2, 3], index=pd.Index([0, 1, 2], name="feature")), [[1, 2, 3]] * 3),
        (pd.Series([1.0, 3, 2], index=pd.Index(MOVED, name="step")), None),
        (ROWS.rename_axis(index="feature"), grid(("feature", "time")).values.T),
        (ROWS.rename_axis(columns="time").reset_index(drop=True), grid(("feature", "time")).values.T),
        (ROWS.set_axis(pd.date_range("2024", periods=3), axis=1), grid(("feature", "time")).values.T),
    ],
)
def test_names_of_an_index_say_what_its_numbers_are_of(given, expected):
    if expected is None:  # features called as steps are: they are none of the input's
        with pytest.raises(InputError, match="along the axis 'time' the baseline has the names"):
            compared(given, SQUARE)
    else:
        np.testing.assert_array_equal(compared(given, SQUARE), np.broadcast_to(expected, SQUARE.shape))


def test_a_series_without_names_is_of_features_and_a_note_says_so():
    said = "one for each feature, not for each timestep, though there are 3 of both"
    for index, is_said in (([0, 1, 2], True), ([5, 7, 9], True), (NAMES, False)):
        x = SQUARE.drop_vars("feature") if index == [5, 7, 9] else SQUARE
        ex = xc.explain(last_step(), x, pd.Series([1.0, 2, 3], index=index), target=0)
        np.testing.assert_array_equal(ex.baselines, np.broadcast_to([1, 2, 3], SQUARE.shape))
        assert any(said in note for note in ex.notes) == is_said


def test_names_of_a_frame_say_which_of_its_axes_is_time():
    net = last_step()
    frame = pd.DataFrame(X[0], columns=pd.Index(NAMES, name="feature"), index=pd.RangeIndex(T, name="time"))
    expected = xc.explain(net, X[:1], target=0)
    ex = xc.explain(net, frame, target=0)
    assert ex.attributions.dims == ("sample", "time", "feature")
    np.testing.assert_array_equal(ex.attributions, expected.attributions)
    with pytest.raises(ExplainError):  # not as many steps as it has features
        xc.explain(net, frame.T, target=0)
    head = nn.Linear(F, 1).double()
    ex = xc.explain(head, frame.rename_axis(index="sample"), target=0)
    assert ex.attributions.dims == ("sample", "feature")
    with pytest.raises(InputError, match="both are of the axis 'time'"):
        xc.explain(net, frame.rename_axis(columns="time"), target=0)


# --- Padding ---------------------------------------------------------------------------------------------------

LENGTHS = np.array([5, 2, 3, 1])
REAL = np.arange(T) < LENGTHS[:, None]
PADDED = np.where(REAL[..., None], X, 0.0)
REAL_MEAN = X[REAL].mean(0)


def packed() -> nn.Module:
    def forward(net, x, n):
        rows = nn.utils.rnn.pack_padded_sequence(x, n, batch_first=True, enforce_sorted=False)
        return net.head(net.rnn(rows)[1][-1])

    torch.manual_seed(1)
    return Net(forward, rnn=nn.GRU(F, 5, batch_first=True), head=nn.Linear(5, 2)).double()


def pooled(keep) -> nn.Module:
    """The mean of what the mask keeps."""

    def forward(net, x, mask):
        weight = keep(mask).to(x.dtype).unsqueeze(-1)
        return net.head((x * weight).sum(1) / weight.sum(1))

    return Net(forward, head=nn.Linear(F, 1)).double()


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("mean", REAL_MEAN),
        ("median", np.median(X[REAL], 0)),
        ("padded-mean", np.where(REAL[..., None], REAL_MEAN, PADDED)),
    ],
)
@pytest.mark.parametrize("padding", [0.0, -999.0])
def test_averages_are_over_real_steps_by_the_lengths(word, expected, padding):
    x = np.where(REAL[..., None], X, padding)
    expected = np.where(expected == 0, padding, expected)
    ex = xc.explain(packed(), (x, LENGTHS), word)
    np.testing.assert_allclose(ex.baselines, np.broadcast_to(expected, X.shape), atol=1e-15)
    assert any("was taken as the lengths" in note for note in ex.notes)
    np.testing.assert_allclose(ex.baseline_prediction, own(packed(), ex.baselines.values, LENGTHS), atol=1e-14)
    labelled = xr.DataArray(x, dims=("sample", "time", "feature")).assign_coords(length=("sample", LENGTHS))
    ex = xc.explain(last_step(), labelled, word)  # a model that is told no lengths
    np.testing.assert_allclose(ex.baselines, np.broadcast_to(expected, X.shape), atol=1e-15)


@pytest.mark.parametrize("kind", [bool, np.int64])
@pytest.mark.parametrize("is_padding", [False, True])
@pytest.mark.parametrize("at_the_end", [False, True])
def test_averages_are_over_real_steps_by_a_mask(kind, is_padding, at_the_end):
    real = REAL if at_the_end else REAL[:, ::-1]
    x = np.where(real[..., None], X, 7.0)
    mask = (~real if is_padding else real).astype(kind)
    model = pooled((lambda m: m == 0) if is_padding else (lambda m: m != 0))
    ex = xc.explain(model, (x, mask), "mean")
    np.testing.assert_allclose(ex.baselines[0, 0], X[real].mean(0), atol=1e-14)
    assert any(f"True is a {'padding' if is_padding else 'real'} step" in note for note in ex.notes)
    first = xc.explain(model, (x, mask), "first").baselines.values
    np.testing.assert_array_equal(first[:, 0], [X[n, np.argmax(real[n])] for n in range(N)])


def form(values, name="x", explained=True, **more) -> Form:
    dims = ("time", "feature")[: values.ndim - 1]
    return Form(name, values, 0, explained, dims, dims, **more)


@pytest.mark.parametrize(
    ("name", "mask", "real"),
    [
        ("mask", REAL, REAL),
        ("key_padding_mask", ~REAL, REAL),
        ("src_key_padding_mask", REAL, ~REAL),  # padding first
        ("attention_mask", REAL[:, ::-1], REAL[:, ::-1]),
        ("mask", ~REAL, None),
        ("m", np.random.default_rng(0).random((N, T)) > 0.5, None),
        ("mask", np.ones((N, T), bool), None),
        ("mask", np.zeros((N, T), bool), None),
    ],
)
def test_what_a_mask_says_is_told_by_its_name_and_place_where_values_do_not(name, mask, real):
    if name == "src_key_padding_mask":
        mask = mask & ~mask.all(1, keepdims=True)
        real = ~mask
    inputs = [form(X), form(mask, name, explained=False)]
    valid = valid_steps(inputs[0], inputs)
    assert (valid.mask is None) == (real is None)
    if real is not None:
        np.testing.assert_array_equal(valid.mask, real)
    is_told = mask.all() or not mask.any()
    assert ("cannot be told" in valid.note) == (real is None and not is_told)


class Keeping(nn.Module):
    """The sum of what one input says to keep, by a rule of the author's own; the names say nothing."""

    def __init__(self, keep):
        super().__init__()
        self.keep = keep
        self.head = nn.Linear(F, 1).double()

    def forward(self, x, given):
        return self.head((x * self.keep(given).to(x.dtype).reshape(len(x), T, 1)).sum(1))


SCATTERED = np.array([[1, 0, 1, 1, 0], [0, 1, 0, 0, 1], [1, 1, 1, 0, 1], [0, 0, 1, 1, 0]], bool)


@pytest.mark.parametrize("kind", [bool, np.int64])
@pytest.mark.parametrize("is_padding", [False, True])
@pytest.mark.parametrize("shape", [(N, T), (N, T, 1), (N, 1, T), (N, 1, 1, T), (N, T, F), (N, 2, T, T)])
def test_a_mask_of_any_shape_is_what_the_model_takes_it_for(shape, is_padding, kind):
    axis = len(shape) - 1 if shape[-1] == T else 1
    ahead = SCATTERED.reshape(N, *(1,) * (axis - 1), T, *(1,) * (len(shape) - 1 - axis))
    given = np.broadcast_to(ahead, shape)
    mask = (~given if is_padding else given).astype(kind)

    def keep(values):
        values = values.movedim(axis, 1).reshape(N, T, -1)[..., 0]
        return (values == 0) if is_padding else (values != 0)

    ex = xc.explain(Keeping(keep), (X, mask), "mean")
    np.testing.assert_allclose(ex.baselines[0, 0], X[SCATTERED].mean(0), atol=1e-14)
    assert any(f"True is a {'padding' if is_padding else 'real'} step" in note for note in ex.notes)


def test_a_mask_that_says_several_things_of_a_step_is_not_taken_and_a_note_says_so():
    causal = np.broadcast_to(np.tri(T, dtype=bool), (N, T, T))
    ex = xc.explain(Keeping(lambda mask: mask[:, -1]), (X, causal), "mean")
    np.testing.assert_allclose(ex.baselines[0, 0], MEAN, atol=1e-14)
    assert any("cannot be told whether 'given'" in note for note in ex.notes)


def until(n):
    return torch.arange(T) < n[:, None]


@pytest.mark.parametrize(
    ("lengths", "keep", "real"),
    [
        ([5, 2, 3, 1], until, [5, 2, 3, 1]),
        ([5, 2, 3, 0], until, [5, 2, 3, 0]),
        ([9, 2, 3, 1], until, [5, 2, 3, 1]),
        ([9, 2, 0, 1], lambda n: until(n.clamp(min=1)), [5, 2, 1, 1]),
        ([4, 2, 3, 1], lambda n: until(n + 1), None),
        ([5, 2, 3, 0], lambda n: n[:, None] > -torch.ones(T), None),
        ([0, 0, 0, 0], until, None),
    ],
)
def test_lengths_are_what_the_model_does_with_them(lengths, keep, real):
    ex = xc.explain(Keeping(keep), (X, np.array(lengths)), "mean")
    mask = np.ones((N, T), bool) if real is None else np.arange(T) < np.array(real)[:, None]
    np.testing.assert_allclose(ex.baselines[0, 0], X[mask].mean(0), atol=1e-14)
    assert any("taken as the lengths" in note for note in ex.notes) == (real is not None)


class Counted(nn.Module):
    def forward(self, x, n):
        return x.sum(1) + n[:, None]


@pytest.mark.parametrize("lengths", [[5, 2, 3, 0], [9, 2, 3, 1], [9, 9, 5, 5]])
def test_unusual_lengths_that_the_model_does_not_go_by_are_not_taken_for_their_name(lengths):
    ex = xc.explain(Counted(), (X, np.array(lengths)), "mean")
    np.testing.assert_allclose(ex.baselines[0, 0], MEAN, atol=1e-14)
    assert any("cannot be told whether 'n'" in note for note in ex.notes)


def test_what_is_given_at_steps_that_are_not_read_does_not_count():
    """A model with an output for each step keeps its padded steps to themselves."""
    model = Net(lambda net, x, given: net.rnn(x)[0] + 0 * given[:, None, None], rnn=nn.GRU(F, 2, batch_first=True))
    ex = xc.explain(model.double(), (X, np.array([5, 2, 3, 4])), "mean", target=(0, 1))
    np.testing.assert_allclose(ex.baselines[0, 0], X[np.arange(T) < np.array([[5], [2], [3], [4]])].mean(0), atol=1e-14)


class Weighted(nn.Module):
    def forward(self, x, mask):
        return (x * mask.reshape(N, T, 1)).sum(1)


def test_floats_that_are_called_a_mask_are_noted_in_any_shape():
    for shape in ((N, T), (N, T, 1), (N, 1, T)):
        ex = xc.explain(Weighted(), (X, REAL.astype(float).reshape(shape)))
        assert any("as a mask has" in note for note in ex.notes)


def test_a_number_of_each_sample_that_may_not_be_a_length_is_none():
    hour = np.array([3, 1, 4, 1])
    inputs = [form(X), form(hour, "hour", explained=False)]
    valid = valid_steps(inputs[0], inputs)
    assert valid.mask is None
    assert "cannot be told whether 'hour'" in valid.note
    inputs = [form(PADDED), form(hour, "hour", explained=False), form(LENGTHS, "k", explained=False)]
    assert valid_steps(inputs[0], inputs).source == 2  # all that is behind it is padding


def test_padding_that_nothing_tells_of_is_not_kept():
    with pytest.raises(InputError, match="nothing says which steps are padding"):
        xc.explain(last_step(), X, "padded-mean")


# --- Several inputs, and what is not explained -----------------------------------------------------------------


def stateful() -> nn.Module:
    def forward(net, x, hx):
        return net.head(net.rnn(x, hx)[0][:, -1])

    torch.manual_seed(2)
    return Named(forward, rnn=nn.LSTM(F, 4, batch_first=True), head=nn.Linear(4, 1)).double()


H, C = draw(6, 1, N, 4), draw(7, 1, N, 4)
H2, C2 = draw(8, 1, 1, 4), draw(9, 1, 1, 4)


@pytest.mark.parametrize(
    "given",
    [
        {"x": ONE, "hx": (H2, C2)},
        {"x": ONE, "hx.0": H2, "hx.1": C2},
        {"hx": [H2, C2], "x": ONE[0]},
        (ONE, (H2, C2)),
        [ONE, (H2, C2)],
        (ONE, H2, C2),
        lambda inputs: {name: {"x": ONE, "hx.0": H2, "hx.1": C2}[name] for name in inputs},
    ],
)
def test_several_inputs_by_order_and_by_name(given):
    ex = xc.explain(stateful(), (X, (H, C)), given)
    expected = {"x": ONE, "hx.0": H2.swapaxes(0, 1), "hx.1": C2.swapaxes(0, 1)}
    for name, base in expected.items():
        np.testing.assert_array_equal(ex.baselines[name], np.broadcast_to(base, ex.baselines[name].shape))


@pytest.mark.parametrize("given", [0.5, (0.5, 0.5, 0.5), {"x": 0.5, "hx": 0.5}, lambda inputs: 0.5])
def test_one_number_is_for_all_inputs(given):
    ex = xc.explain(stateful(), (X, (H, C)), given)
    assert all((base == 0.5).all() for base in ex.baselines.values())


def test_states_are_averaged_over_samples_only_and_words_may_differ_by_input():
    model = Net(
        lambda net, x, hx: net.head(net.rnn(x, hx)[0][:, -1]),
        rnn=nn.GRU(F, 4, 2, batch_first=True),
        head=nn.Linear(4, 1),
    )
    states = draw(3, 2, N, 4)
    ex = xc.explain(model.double(), (X, states), ("zeros", "mean"))
    first, second = ex.baselines.values()
    assert not first.values.any()
    np.testing.assert_allclose(second[0], states.mean(1), atol=1e-15)


def test_an_input_without_a_baseline_gets_zeros_and_a_note_says_so():
    ex = xc.explain(stateful(), (X, (H, C)), {"x": ONE, "hx.1": None})
    assert [note for note in ex.notes if "no baseline: zeros" in note] == [
        f"Input {name!r} was given no baseline: zeros were taken." for name in ("hx.0", "hx.1")
    ]


@pytest.mark.parametrize("given", [{"hx": (H2,)}, (ONE, H2), {"hy": 0}, {"hx": {"2": H2}}, ONE])
def test_baselines_for_other_inputs_are_refused(given):
    with pytest.raises(InputError):
        xc.explain(stateful(), (X, (H, C)), given)


@pytest.mark.parametrize("given", [(ONE, LENGTHS), {"x": ONE, "n": LENGTHS}, (ONE, None), ONE, (ONE,)])
def test_lengths_given_with_a_baseline_are_those_of_the_samples(given):
    model = Named(lambda net, x, n: net.inner(x, n), inner=packed())
    ex = xc.explain(model, (PADDED, LENGTHS), given)
    expected = own(model, np.broadcast_to(ONE, X.shape).copy(), LENGTHS)
    np.testing.assert_allclose(ex.baseline_prediction, expected, atol=1e-14)


@pytest.mark.parametrize(
    ("given", "background"),
    [
        ((ONE, np.array([2])), False),
        ((ONE, np.array([5, 2, 3, 2])), False),
        ((X, np.array([5, 5, 5, 5])), True),
        (xr.DataArray(ONE, dims=("sample", "time", "feature")).assign_coords(length=("sample", [3])), False),
        (xr.DataArray(X, dims=("sample", "time", "feature")).assign_coords(length=("sample", LENGTHS)), True),
    ],
)
def test_other_lengths_than_the_samples_are_refused_and_never_dropped(given, background):
    with pytest.raises(InputError) as error:
        xc.explain(packed(), (PADDED, LENGTHS), given, background=background)
    assert "both runs need the same" in error.value.hint


def test_a_mask_of_the_baseline_is_that_of_the_sample_or_refused():
    model = pooled(lambda mask: mask)
    same = xc.explain(model, (PADDED, REAL), (ONE, REAL))
    np.testing.assert_allclose(same.baseline_prediction, own(model, np.broadcast_to(ONE, X.shape).copy(), REAL))
    with pytest.raises(InputError, match="the baseline has True here, and sample 1 has False"):
        xc.explain(model, (PADDED, REAL), (ONE, np.ones((1, T), bool)))


def test_a_background_runs_with_the_lengths_of_each_sample():
    model, background = packed(), draw(4, 3, T, F)
    ex = xc.explain(model, (PADDED, LENGTHS), background, background=True)
    for n, length in enumerate(LENGTHS):
        expected = own(model, background, np.full(3, length)).mean(0)
        np.testing.assert_allclose(ex.baseline_prediction[n], expected, atol=1e-14)


# --- Ids -------------------------------------------------------------------------------------------------------


def words() -> nn.Module:
    return Net(
        lambda net, ids: net.head(net.table(ids).mean(1)), table=nn.Embedding(9, 4), head=nn.Linear(4, 1)
    ).double()


IDS = np.random.default_rng(0).integers(0, 9, (N, T))


@pytest.mark.parametrize("given", [2, 2.0, np.full((1, T), 2.0), np.full(T, 2), torch.full((N, T), 2)])
def test_whole_numbers_are_ids_in_whatever_type(given):
    base = compared(given, IDS, words())
    assert base.dtype.kind == "i"
    assert (base == 2).all()


def test_the_first_id_is_held():
    np.testing.assert_array_equal(compared("first", IDS, words()), np.repeat(IDS[:, :1], T, 1))


@pytest.mark.parametrize("given", [0.5, np.full((1, T), 2.5), np.where(IDS == 5, 2.25, 1.0)])
def test_ids_with_a_fraction_are_refused_with_their_place(given):
    with pytest.raises(InputError, match=r"the baseline has \d\.2?5 at position \(\d, \d\), and the input is of whole"):
        xc.explain(words(), IDS, given)


@pytest.mark.parametrize("word", ["mean", "median"])
def test_the_average_of_one_sample_without_time_is_said_to_explain_nothing(word):
    one = xc.explain(nn.Linear(F, 1).double(), X[:1, 0], word)
    assert any("nothing differs to be explained" in note for note in one.notes)
    for other in (xc.explain(nn.Linear(F, 1).double(), X[:, 0], word), xc.explain(last_step(), X[:1], word)):
        assert not any("nothing differs" in note for note in other.notes)


@pytest.mark.parametrize("word", ["mean", "median", "padded-mean"])
def test_ids_have_no_average(word):
    with pytest.raises(InputError, match="token ids have no mean"):
        xc.explain(words(), IDS, word)


@pytest.mark.parametrize(
    "dims", [("time", "feature"), ("feature",), ("time",), ("feature", "time", "axis_3"), ("time", "a", "b")]
)
def test_words_are_by_the_names_of_axes(dims):
    values = draw(3, 4, *range(2, 2 + len(dims)))
    one = Form("x", values, 0, True, dims, dims)
    over = tuple([0] + [1 + k for k, dim in enumerate(dims) if dim == "time"])
    for word, of in (("mean", np.mean), ("median", np.median)):
        (found,) = resolve_baselines(word, [one], False).arrays
        expected = np.broadcast_to(of(values, over, keepdims=True), values[:1].shape)
        np.testing.assert_allclose(found, expected, atol=1e-15)
    if "time" not in dims:
        with pytest.raises(InputError, match="no axis of time"):
            resolve_baselines("first", [one], False)
    else:
        (first,) = resolve_baselines("first", [one], False).arrays
        time = 1 + dims.index("time")
        np.testing.assert_array_equal(first, np.repeat(values.take([0], time), values.shape[time], time))


# --- Inputs in a dict ----------------------------------------------------------------------------------------------


class OfADict(nn.Module):
    """Takes one dict, with lengths in it and a dict inside."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(F, 2)

    def forward(self, x: dict):
        steps = torch.arange(T) < x["more"]["lengths"][:, None]
        return (self.head(x["values"]).tanh() * steps[..., None]).sum(1)


STEPS = np.array([5, 3, 2, 4])
NESTED = {"values": X, "more": {"lengths": STEPS}}
BASE = {"values": draw(2, N, T, F), "more": {"lengths": STEPS}}
AS_DICTS = {
    "by the argument's name": {"x": BASE},
    "by their own names": BASE,
    "by position": (BASE,),
    "a part of it": {"x": {"values": BASE["values"]}},
}


@pytest.mark.parametrize("inputs", [{"x": NESTED}, NESTED, (NESTED,)], ids=["by name", "alone", "by position"])
@pytest.mark.parametrize("form", AS_DICTS)
def test_baselines_of_a_dict_have_any_form_that_its_inputs_may_have(inputs, form):
    torch.manual_seed(0)
    model = OfADict().double()
    ex = xc.explain(model, inputs, AS_DICTS[form])
    with torch.no_grad():
        expected = model({"values": torch.tensor(BASE["values"]), "more": {"lengths": torch.tensor(STEPS)}})
    np.testing.assert_allclose(ex.baseline_prediction, expected, atol=1e-13)
    assert np.abs(ex.residual).max() <= 1e-13


@pytest.mark.parametrize("inputs", [{"x": NESTED}, NESTED], ids=["by name", "alone"])
def test_other_lengths_inside_a_dict_are_refused_in_any_form(inputs):
    other = {"values": BASE["values"], "more": {"lengths": STEPS - 1}}
    for form in ({"x": other}, other, (other,)):
        with pytest.raises(InputError, match="the baseline has 4 here, and sample 0 has 5") as raised:
            xc.explain(OfADict().double(), inputs, form)
        assert raised.value.where.endswith("more.lengths")


def test_a_word_for_an_argument_is_for_what_is_explained_in_it():
    model = OfADict().double()
    ex = xc.explain(model, {"x": NESTED}, {"x": "zeros"})
    np.testing.assert_array_equal(ex.baselines.values, np.zeros((N, T, F)))
    with pytest.raises(InputError, match="it is not explained"):
        xc.explain(model, {"x": NESTED}, {"x": {"more": "zeros"}})


def test_a_name_that_no_input_has_is_still_an_error():
    for form in ({"y": BASE["values"]}, {"x": {"velues": BASE["values"]}}, {"values": "zeros", "velues": "zeros"}):
        with pytest.raises(InputError, match="there is no input"):
            xc.explain(OfADict().double(), NESTED, form)


# --- Numbers that do not fit -------------------------------------------------------------------------------------

LARGE = np.where(np.arange(T)[:, None] == 2, np.array([0.0, 1e300, 0.0]), 0.0)


TOO_LARGE = {
    "a number": (
        X.astype("f4"),
        1e300,
        r"baseline has 1e\+300 at .*, which does not fit float32, the type of the input",
    ),
    "an array": (X.astype("f4"), LARGE, r"baseline has 1e\+300 at position \(0, 2, 1\), which does not fit float32"),
    "for the model": (X, LARGE, r"baseline has 1e\+300 at position \(0, 2, 1\), .* float32, the type that the model"),
    "the input": (X + LARGE, 0, r"the input has 1e\+300 at position \(0, 2, 1\), .* float32, the type that the model"),
}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_a_number_that_is_too_large_for_the_type_is_named(name):
    x, baseline, said = TOO_LARGE[name]
    with pytest.raises(InputError, match=said):
        xc.explain(last_step().float(), x, baseline, target=0)


def test_a_number_that_fits_a_model_in_double_precision_is_taken():
    assert (compared(1e300) == 1e300).all()


def test_a_whole_number_beyond_its_type_is_no_fraction():
    torch.manual_seed(0)
    table = Net(lambda net, ids: net.table(ids).sum((1, 2)), table=nn.Embedding(9, 2)).double()
    with pytest.raises(InputError, match=r"1e\+300 at position .* does not fit int64"):
        xc.explain(table, np.ones((2, 3), int), 1e300)


@pytest.mark.parametrize("word", ["mean", "median", "padded-mean"])
def test_codes_among_the_features_are_named_where_they_would_be_averaged(word):
    torch.manual_seed(0)

    def forward(net, x):
        return net.head(net.rnn(torch.cat([net.days(x[..., 0].long()), x[..., 1:]], -1))[0][:, -1])

    modules = {"days": nn.Embedding(7, 2), "rnn": nn.GRU(4, 3, batch_first=True), "head": nn.Linear(3, 1)}
    x = X.copy()
    x[..., 0] = np.arange(N * T).reshape(N, T) % 7
    given = xr.DataArray(x, dims=("sample", "time", "feature"), coords={"feature": ["weekday", "load", "rate"]})
    net = Net(forward, **modules).double()
    with pytest.raises(InputError, match=r"no mean; those of whole numbers are .*weekday") as raised:
        xc.explain(net, given, word)
    assert "load" not in raised.value.what
    assert (compared([3.0, 0.5, 0.1], given, net) == [3.0, 0.5, 0.1]).all()
    assert (compared("first", given, net) == x[:, :1]).all()
