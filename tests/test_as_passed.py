"""What is explained is the model on the input as it was passed, in however many batches it is run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from exactness import Net, draw
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import explain_core as xc
from explain_core.checks import as_passed
from explain_core.preparation import rows

AT_ONCE = 8
MANY, STEPS, FEATURES = AT_ONCE + 5, 4, 2
X = draw(0, MANY, STEPS, FEATURES)
LENGTHS = np.where(np.arange(MANY) < AT_ONCE, np.arange(MANY) % STEPS + 1, 2)


@pytest.fixture(autouse=True)
def few_rows_at_once(monkeypatch):
    monkeypatch.setattr(rows, "MOST_ROWS", AT_ONCE)


def net(forward):
    torch.manual_seed(0)
    return Net(forward, rnn=nn.GRU(FEATURES, 3, batch_first=True), head=nn.Linear(FEATURES, 1)).double().eval()


def padded_to_the_longest(net, x, lengths):
    packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(net.rnn(packed)[0], batch_first=True)[0]


def number(x):
    return torch.arange(len(x), dtype=x.dtype)[:, None]


BY_THE_BATCH = {
    "the longest sequence": (lambda net, x, n: padded_to_the_longest(net, x, n).mean(1), (X, LENGTHS)),
    "a decision over all rows": (lambda net, x: net.head(x[:, -1]) * (9.0 if (x[:, 0, 0] > 50).any() else 1.0), X),
    "the number of a row": (lambda net, x: net.head(x[:, -1]) * (1 + number(x)), X),
    "how many rows there are": (lambda net, x: net.head(x[:, -1]) * (2.0 if len(x) > AT_ONCE else 1.0), X),
    "groups that span two batches": (
        lambda net, x, g: net.head(x[:, -1]) * (g[:, None] == g[None]).double().sum(1, keepdim=True),
        (X, np.arange(MANY) % (MANY - 3)),
    ),
}


@pytest.mark.parametrize("why", BY_THE_BATCH)
def test_a_model_that_goes_by_its_batch_is_refused_beyond_one(why):
    forward, inputs = BY_THE_BATCH[why]
    baselines = "zeros"
    if why == "a decision over all rows":  # on which both members agree, in each batch
        inputs = inputs.copy()
        inputs[AT_ONCE + 2, 0, 0] = 99.0
        baselines = inputs * [1.0, 0.5]
    with pytest.raises(xc.errors.CompletenessError, match="depends on the others in its batch") as caught:
        xc.explain(net(forward), inputs, baselines, target=0)
    assert "row" in caught.value.hint


@pytest.mark.parametrize("why", ["the number of a row", "how many rows there are"])
def test_over_a_background_too(why):
    forward, _ = BY_THE_BATCH[why]
    if why == "how many rows there are":
        forward = lambda net, x: net.head(x[:, -1]) * (2.0 if len(x) > 3 else 1.0)  # noqa: E731
    with pytest.raises(xc.errors.CompletenessError, match="depends on the others in its batch"):
        xc.explain(net(forward), X[:3], X[3:7], background=True)


def test_an_output_that_some_batches_do_not_have_is_named():
    target = (STEPS - 1, 0)
    with pytest.raises(xc.errors.CaptureError, match="there is no output 't3, unit 0' for some of the samples"):
        xc.explain(net(padded_to_the_longest), (X, LENGTHS), target=target)


@pytest.mark.parametrize("at_once", [None, 5])
def test_many_rows_of_their_own_are_what_the_model_gives(monkeypatch, at_once):
    if at_once:  # more samples than one call of the model has room for
        monkeypatch.setattr(as_passed, "STEPS_IN_ONE_CALL", at_once * STEPS)
    model = net(lambda net, x: net.head(net.rnn(x)[0][:, -1, :2]))
    found = xc.explain(model, X)
    with torch.no_grad():
        np.testing.assert_allclose(found.prediction, model(torch.from_numpy(X)), atol=1e-12)
    assert found.relative_residual.max() < 1e-12


@pytest.mark.parametrize("sample_axis", [0, 1])
def test_samples_read_as_time_are_no_other_model(sample_axis):
    """A layer that takes time first, given samples first, and the other way round."""
    torch.manual_seed(0)
    rnn, head = nn.LSTM(FEATURES, 3, batch_first=bool(sample_axis)), nn.Linear(3, 1)
    last = (lambda y: y[:, -1]) if sample_axis else (lambda y: y[-1])
    model = Net(lambda net, x: net.head(last(net.rnn(x)[0])), rnn=rnn, head=head).double().eval()
    x = draw(3, 5, 3, FEATURES) if sample_axis else draw(3, 3, 5, FEATURES)
    with pytest.raises(xc.errors.CaptureError, match="no axis has the 3 samples") as caught:
        xc.explain(model, x, sample_axis=sample_axis)
    assert "batch_first" in caught.value.hint


def test_one_number_for_all_samples_is_refused_and_explained_for_one():
    model = net(lambda net, x: net.head(x).sum())
    with pytest.raises(xc.errors.CaptureError, match="no axis has the 3 samples"):
        xc.explain(model, X[:3])
    assert xc.explain(model, X[:1]).relative_residual.max() < 1e-12


@pytest.mark.parametrize("precision", [None, "float64"])
def test_rounding_of_huge_logits_is_no_dependence_on_others(precision):
    """Their last digits, which a softmax turns on, go by how many rows are multiplied at once."""
    weight = 3e3 + torch.linspace(-0.03, 0.03, 10)[:, None].expand(10, 64)
    model = Net(lambda net, x: (x @ weight.T).softmax(1)).eval()
    x, background = 1 + draw(0, 3, 64).astype("float32"), 1 + 0.1 * draw(1, 5, 64).astype("float32")
    found = xc.explain(model, x, background, target=0, background=True, precision=precision)
    expected = (torch.from_numpy(x).double() @ weight.double().T).softmax(1)[:, 0]
    np.testing.assert_allclose(found.prediction[:, 0], expected, rtol=1e-9)
    assert found.relative_residual.max() < 1e-10


def positioned(net, x):
    """Positions are (time, feature), and the recurrent layer has the samples first: with time first they are added up
    of one sample at a time only, by broadcasting."""
    return net.head(x + torch.linspace(0, 1, STEPS)[:, None].to(x)).flatten(2)[:, -1]


def weighed(net, x):
    return torch.sigmoid((x * torch.linspace(0, 1, STEPS)[:, None].to(x)).sum((1, 2)))


def positioned_time_first(net, x):
    return net.head(x + torch.linspace(0, 1, STEPS)[:, None, None].to(x))[-1]


FEW = X[: STEPS + 1]


@pytest.mark.parametrize("sample_axis", [1, "batch"])
@pytest.mark.parametrize("forward", [positioned, weighed])
def test_time_first_for_a_model_with_samples_first_is_refused(forward, sample_axis):
    inputs = FEW.transpose(1, 0, 2)
    if sample_axis == "batch":
        inputs = xr.DataArray(inputs, dims=("time", "batch", "feature"))
    with pytest.raises(RuntimeError):  # what the model itself says
        net(forward)(torch.tensor(np.asarray(inputs)))
    with pytest.raises(xc.errors.SampleAxisError, match=r"does not take .* samples at axis 1: .*must match") as caught:
        xc.explain(net(forward), inputs, sample_axis=0 if sample_axis == "batch" else 1)
    assert "at axis 0, (5, 4, 2)" in caught.value.hint


def test_samples_first_for_a_model_with_time_first_is_refused():
    model = net(positioned_time_first)
    assert xc.explain(model, FEW.transpose(1, 0, 2), sample_axis=1, target=0).prediction.size == len(FEW)
    with pytest.raises(xc.errors.SampleAxisError, match="samples at axis 0") as caught:
        xc.explain(model, FEW, target=0)
    assert "at axis 1, (4, 5, 2)" in caught.value.hint


def test_a_model_of_one_sample_at_a_time_says_so():
    def one(net, x):
        return net.head(x.reshape(1, STEPS, FEATURES)[:, -1])

    explanation = xc.explain(net(one), FEW, target=0)
    own = [net(one)(torch.tensor(row[None])).item() for row in FEW]
    np.testing.assert_allclose(explanation.prediction.values[:, 0], own, rtol=1e-12)
    assert any("explained by itself" in note for note in explanation.notes)
