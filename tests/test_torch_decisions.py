"""Models that read plain values from tensors: which they may, which are guarded, and what is said of the others."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from exactness import Net, draw
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import explain_core as xc
from explain_core.preparation import rows

SAMPLES, STEPS, FEATURES = 3, 6, 4
X, BASE = draw(0, SAMPLES, STEPS, FEATURES), draw(1, SAMPLES, STEPS, FEATURES)
LENGTHS = np.array([6, 5, 4])


def net(forward, **more):
    torch.manual_seed(3)
    lstm, head = nn.LSTM(FEATURES, 5, batch_first=True), nn.Linear(5, 2)
    return Net(forward, lstm=lstm, head=head, mix=nn.Linear(FEATURES, FEATURES), **more).double().eval()


def last(net, x):
    return net.head(net.lstm(x)[0][:, -1])


def masked(net, x, lengths):
    return last(net, x * (torch.arange(STEPS) < lengths[:, None])[..., None])


# --- What does not depend on what is explained ---------------------------------------------------------------------


def asserted(net, x, lengths):
    assert lengths.min() > 0
    assert (lengths <= x.shape[1]).all()
    return masked(net, x, lengths)


def cut(net, x, lengths):
    n = int(lengths.max())
    rest = x.new_zeros(len(x), STEPS - n, FEATURES)
    return masked(net, torch.cat([x[:, :n], rest], 1), lengths)


def by_an_index(net, x, lengths):
    return masked(net, x[:, : lengths.max()], lengths)


def by_item(net, x, lengths):
    return masked(net, x, lengths * (lengths.max().item() / STEPS))


def by_list(net, x, lengths):
    rows = [
        torch.cat([row[:n], row.new_zeros(STEPS - n, FEATURES)]) for row, n in zip(x, lengths.tolist(), strict=True)
    ]
    return last(net, torch.stack(rows))


def by_numpy(net, x, lengths):
    there = np.arange(STEPS) < np.asarray(lengths)[:, None]
    assert lengths.numpy().sum() == int(there.sum())
    return last(net, x * torch.from_numpy(there)[..., None])


def by_range(net, x, lengths):
    rows = [
        sum(x[k, t] for t in range(n)) * 0 + x[k] * (torch.arange(STEPS) < n)[:, None] for k, n in enumerate(lengths)
    ]
    return last(net, torch.stack(rows))


def by_arange(net, x, lengths):
    steps = torch.arange(lengths.max())
    return last(net, x * (steps < lengths[:, None])[..., None])


def by_any_and_all(net, x, lengths):
    mask = torch.arange(STEPS) < lengths[:, None]
    if not mask.all():
        x = x * mask[..., None]
    return last(net, x) if (lengths < STEPS).any() else x.sum(1)[:, :2]


def by_new_sizes(net, x, lengths):
    mask = torch.zeros(SAMPLES, lengths.max(), dtype=torch.bool)
    for k, n in enumerate(lengths):
        mask[k, :n] = True
    return last(net, x * mask[..., None])


def by_equality(net, x, lengths):
    shorter = not torch.equal(lengths, torch.full_like(lengths, STEPS))
    assert not torch.allclose(lengths.double(), torch.zeros(SAMPLES).double())
    return masked(net, x, lengths) if shorter else last(net, x)


def said(net, x, lengths):
    assert f"{lengths.max()} {x.mean():.3f} {x}", "text is for people"
    return masked(net, x, lengths)


@pytest.mark.parametrize(
    "forward",
    [
        asserted, cut, by_an_index, by_item, by_list, by_numpy, by_range, by_arange, by_any_and_all, by_new_sizes,
        by_equality, said,
    ],
    ids=lambda f: f.__name__,
)  # fmt: skip
def test_lengths_may_be_read(forward):
    expected = xc.explain(net(masked), (X, LENGTHS), baselines=(BASE, LENGTHS))
    found = xc.explain(net(forward), (X, LENGTHS), baselines=(BASE, LENGTHS))
    np.testing.assert_allclose(found.attributions, expected.attributions, atol=1e-14)
    np.testing.assert_allclose(found.prediction, expected.prediction, atol=1e-14)
    assert found.relative_residual.max() <= 1e-12


def test_lengths_are_read_anew_in_every_batch(monkeypatch):
    monkeypatch.setattr(rows, "MOST_ROWS", 1)
    found = xc.explain(net(cut), (X, LENGTHS), baselines=(BASE, LENGTHS))
    for k in range(SAMPLES):
        alone = xc.explain(
            net(cut), (X[k : k + 1], LENGTHS[k : k + 1]), baselines=(BASE[k : k + 1], LENGTHS[k : k + 1])
        )
        np.testing.assert_allclose(found.attributions[:, k], alone.attributions[:, 0], atol=1e-14)


# --- Guards ------------------------------------------------------------------------------------------------------


class Normalised(nn.Module):
    """A stabilised recurrence whose first step is told by its state of zeros, as xLSTM's is."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.step, self.head = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, 2)

    def forward(self, x):
        n = x.new_zeros(x.shape[0], FEATURES)
        for t in range(x.shape[1]):
            pre = self.step(x[:, t])
            n = pre if torch.all(n == 0.0) else torch.maximum(pre, torch.tanh(n))
        return self.head(n)


class NormalisedPlainly(Normalised):
    def forward(self, x):
        n = self.step(x[:, 0])
        for t in range(1, x.shape[1]):
            n = torch.maximum(self.step(x[:, t]), torch.tanh(n))
        return self.head(n)


def test_a_branch_on_which_both_members_agree():
    found = xc.explain(Normalised().double().eval(), X, baselines=BASE)
    expected = xc.explain(NormalisedPlainly().double().eval(), X, baselines=BASE)
    np.testing.assert_allclose(found.attributions, expected.attributions, atol=1e-14)
    assert found.relative_residual.max() <= 1e-12


def by_sign(net, x):
    return last(net, x) if x[:, 0, 0].sum() > 0 else net.head(net.lstm(2 * x)[0].mean(1))


def by_rounded(net, x):
    return last(net, x) * int(x.abs().max().ceil())


def by_values_in_python(net, x):
    return last(net, x) * (2.0 if (x[:, 0, 0] > 0).tolist()[0] else 3.0)


@pytest.mark.parametrize("forward", [by_sign, by_rounded, by_values_in_python], ids=lambda f: f.__name__)
def test_each_batch_may_decide_otherwise(forward):
    """Rows whose members agree are explained by what the model does for them, whatever was recorded before."""
    x, base = np.abs(X) * np.array([1, -1, 1])[:, None, None], np.abs(BASE) * np.array([1, -1, 1])[:, None, None]
    x[:, 1, 1], base[:, 1, 1] = [2.5, 4.5, 3.5], [2.2, 4.2, 3.2]

    def one_by_one(net, x):
        if len(x) != 1:
            raise ValueError("one row at a time")
        return forward(net, x)

    model = net(one_by_one)
    found = xc.explain(model, x, baselines=base)
    assert found.relative_residual.max() <= 1e-12
    for k in range(SAMPLES):
        with torch.no_grad():
            own = model(torch.from_numpy(x[k : k + 1])), model(torch.from_numpy(base[k : k + 1]))
        np.testing.assert_allclose(found.prediction[k], own[0][0], atol=1e-14)
        np.testing.assert_allclose(found.baseline_prediction[k], own[1][0], atol=1e-14)
        alone = xc.explain(model, x[k : k + 1], baselines=base[k : k + 1])
        np.testing.assert_allclose(found.attributions[:, k], alone.attributions[:, 0], atol=1e-14)


@pytest.mark.parametrize("batch", [1, SAMPLES])
def test_members_that_decide_differently_are_refused(batch, monkeypatch):
    monkeypatch.setattr(rows, "MOST_ROWS", batch)

    def forward(net, x):
        if (x[:, 0, 0] > 5).any():
            x = 2 * x
        return last(net, net.mix(x))

    x = X.copy()
    x[2, 0, 0] = 7.0
    with pytest.raises(xc.errors.CaptureError) as caught:
        xc.explain(net(forward), x, baselines=BASE)
    told = "; first in sample 2 of these" if batch > 1 else ""
    decided = "the model decides by any(the input > 5) what to compute"
    assert caught.value.what == f"{decided}: True for the input and False for the baseline{told}"
    assert "Choose a baseline for which it is the same" in caught.value.hint


def test_the_refusal_names_the_module():
    def forward(net, x):
        return last(net, net.inner(x))

    def inner(net, x):
        return x * x.sum().item()

    with pytest.raises(xc.errors.CaptureError) as caught:
        xc.explain(net(forward, inner=Net(inner)), X, baselines=BASE)
    assert caught.value.where == "inner"
    assert caught.value.what.startswith("the model decides by sum(the input) what to compute: ")


def through_numpy(net, x):
    return last(net, x * torch.from_numpy(x.abs().detach().cpu().numpy()))


def through_an_array(net, x):
    return last(net, x * torch.as_tensor(np.asarray(x.data)))


def through_a_list(net, x):
    return last(net, x * torch.tensor(x[0, 0].tolist(), dtype=x.dtype))


def through_a_view_written_to(net, x):
    scale = torch.zeros(2, FEATURES, dtype=x.dtype)
    scale[1].copy_(x[0, 0])
    return last(net, x * float(scale.sum()))


def through_a_filled_tensor(net, x):
    return last(net, x * torch.full((FEATURES,), x[0, 0, 0], dtype=x.dtype))


@pytest.mark.parametrize(
    ("forward", "word"),
    [
        (through_numpy, ".numpy()"),
        (through_an_array, "numpy.asarray()"),
        (through_a_list, ".tolist()"),
        (through_a_view_written_to, "decides by sum("),
        (through_a_filled_tensor, "decides by the input what"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_no_explained_value_leaves_unseen(forward, word):
    with pytest.raises(xc.errors.CaptureError) as caught:
        xc.explain(net(forward), X, baselines=BASE)
    assert word in caught.value.what
    assert "for the input and" in caught.value.what or "differ between the input and" in caught.value.what


# --- Packed sequences -------------------------------------------------------------------------------------------


def ids_of(*counts):
    ids = np.zeros((len(counts), STEPS), dtype=np.int64)
    for k, n in enumerate(counts):
        ids[k, :n] = 1 + np.arange(n) % 6 + k
    return ids


def embedding_net(forward):
    torch.manual_seed(4)
    parts = {
        "table": nn.Embedding(10, FEATURES),
        "lstm": nn.LSTM(FEATURES, 5, batch_first=True),
        "head": nn.Linear(5, 2),
    }
    return Net(forward, **parts).double().eval()


def packed(net, ids, lengths):
    rows = pack_padded_sequence(net.table(ids), lengths, batch_first=True, enforce_sorted=False)
    return net.head(net.lstm(rows)[1][0][-1])


def embedded_after_packing(net, ids, lengths):
    rows = pack_padded_sequence(ids, lengths, batch_first=True, enforce_sorted=False)
    return net.head(net.lstm(rows._replace(data=net.table(rows.data)))[1][0][-1])


def counted(net, ids):
    return packed(net, ids, (ids != 0).sum(1))


def counted_and_listed(net, ids):
    return packed(net, ids, [int((row != 0).sum()) for row in ids])


@pytest.mark.parametrize("forward", [embedded_after_packing, counted, counted_and_listed], ids=lambda f: f.__name__)
def test_packed_token_ids(forward):
    counts = (4, 6, 3)
    ids, base = ids_of(*counts), np.where(ids_of(*counts) > 0, 9, 0)
    lengths = np.array(counts)
    given = [(ids, lengths), (base, lengths)] if forward is embedded_after_packing else [ids, base]
    expected = xc.explain(embedding_net(packed), (ids, lengths), baselines=(base, lengths))
    found = xc.explain(embedding_net(forward), given[0], baselines=given[1])
    np.testing.assert_allclose(found.attributions, expected.attributions, atol=1e-14)
    assert found.relative_residual.max() <= 1e-12


def test_lengths_that_are_counted_and_differ_are_named():
    with pytest.raises(xc.errors.CaptureError) as caught:
        xc.explain(embedding_net(counted), ids_of(4, 6, 3), baselines=ids_of(4, 6, 2))
    assert "the lengths of packed sequences are computed from the explained input" in caught.value.what
    assert "[4, 6, 3] for the input and [4, 6, 2] for the baseline; first in sample 2" in caught.value.what


# --- Distributions ----------------------------------------------------------------------------------------------


def likely(net, x):
    mean, scale = last(net, x).chunk(2, -1)
    law = torch.distributions.Normal(mean, nn.functional.softplus(scale))
    return torch.cat([law.cdf(torch.ones_like(mean)), law.log_prob(torch.zeros_like(mean)), law.mean], -1)


def likely_by_hand(net, x):
    mean, scale = last(net, x).chunk(2, -1)
    scale = nn.functional.softplus(scale)
    cdf = 0.5 * (1 + torch.erf((1 - mean) * scale.reciprocal() / np.sqrt(2)))
    log_prob = -(mean**2) / (2 * scale**2) - scale.log() - 0.5 * np.log(2 * np.pi)
    return torch.cat([cdf, log_prob, mean], -1)


def test_a_distribution_checks_its_arguments():
    model, by_hand = net(likely), net(likely_by_hand)
    found = xc.explain(model, X, baselines=BASE)
    assert found.relative_residual.max() <= 1e-12
    np.testing.assert_allclose(found.prediction, by_hand(torch.from_numpy(X)).detach(), atol=1e-14)
    expected = xc.explain(by_hand, X, baselines=BASE)
    np.testing.assert_allclose(found.attributions[[0, 2]], expected.attributions[[0, 2]], atol=1e-12)


# --- Nothing of the model changes ---------------------------------------------------------------------------------


def test_reading_leaves_the_model_as_it_was():
    model = net(cut)
    before = copy.deepcopy(model.state_dict())
    xc.explain(model, (X, LENGTHS), baselines=(BASE, LENGTHS))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_no_sample_is_named_where_none_is_at_fault():
    """As many values as there are samples, but not one of each."""

    def forward(net, x):
        best = x.abs().mean((0, 1)).topk(SAMPLES).indices
        return last(net, x[:, :, best.numpy()[[0, 0, 1, 2]]])

    with pytest.raises(xc.errors.CaptureError) as caught:
        xc.explain(net(forward), X * np.array([1, 2, 3, 4]), baselines=BASE * np.array([4, 3, 2, 1]))
    assert "[3, 2, 1] for the input and" in caught.value.what
    assert "sample" not in caught.value.what


def test_a_view_of_what_a_rule_lays_out_otherwise():
    def forward(net, x):
        heads = x.view(SAMPLES, STEPS, 2, 2).transpose(1, 2)
        mixed = nn.functional.scaled_dot_product_attention(heads, heads, heads)
        return last(net, mixed.transpose(1, 2).contiguous().view(SAMPLES, STEPS, FEATURES))

    assert xc.explain(net(forward), X, baselines=BASE).relative_residual.max() <= 1e-12


def test_a_number_that_more_digits_change_is_said_to_be_rounding():
    def forward(net, x):
        large = 1e8 * x[:, 0, 0]  # the same in both members, and too large to add 1 to in single precision
        return last(net, x) * ((large + 1) - large).mean().item()

    x, base = X.astype("f4"), BASE.astype("f4")
    x[:, 0, 0] = base[:, 0, 0] = 1.0
    single = net(forward).float()
    with pytest.raises(xc.errors.CaptureError, match="rounding decides it") as raised:
        xc.explain(single, x, base, target=0, precision="float64")
    assert "model.double()" in raised.value.hint
    assert "baseline" not in raised.value.hint
    assert xc.explain(single.double(), x, base, target=0, precision="float64").relative_residual.max() <= 1e-12
