"""What is explained is what the model itself answers, in every batch, and no sample's answer hangs on the others."""

from __future__ import annotations

import itertools
from typing import ClassVar

import numpy as np
import pytest
import torch
from exactness import Net, draw
from torch import nn

import explain_core as xc
from explain_core.backends import answers
from explain_core.errors import CaptureError, CompletenessError
from explain_core.preparation import rows

N, T, F = 5, 6, 4


def net(forward, **modules) -> Net:
    torch.manual_seed(0)
    return Net(forward, head=nn.Linear(F, 3), **modules).eval()


def softmax_over_samples(m, x):
    return (torch.softmax(m.head(x), 0) * x[..., :3]).sum(1)


def attention_over_samples(m, x):
    """``nn.MultiheadAttention`` reads the first axis as time unless it is told otherwise."""
    return m.head(m.attention(x, x, x)[0]).sum(1)


MIXING = {
    "mean of the samples": lambda m, x: (m.head(x) - 0.1 * x[..., :3].mean(0)).sum(1),
    "statistics of the samples": lambda m, x: m.head((x - x.mean(0)) / (x.var(0, unbiased=False) + 0.1).sqrt()).sum(1),
    "the sample before": lambda m, x: (m.head(x) + 0.1 * x.roll(1, 0)[..., :3]).sum(1),
    "the sample before the one before": lambda m, x: (m.head(x) + 0.1 * x.roll(2, 0)[..., :3]).sum(1),
    "the samples before": lambda m, x: (m.head(x) + 0.1 * x.cumsum(0)[..., :3]).sum(1),
    "the samples after": lambda m, x: (m.head(x) + 0.1 * x.flip(0).cumsum(0).flip(0)[..., :3]).sum(1),
    "the largest sample": lambda m, x: (m.head(x) * x.amax(0)[..., :3]).sum(1),
    "softmax": softmax_over_samples,
    "the number of samples": lambda m, x: m.head(x).sum(1) / len(x),
}
PARTS = {
    "time first, given samples first": (lambda m, x: m.rnn(x)[0][:, -1], lambda: {"rnn": nn.LSTM(F, 3)}),
    "attention, time first": (attention_over_samples, lambda: {"attention": nn.MultiheadAttention(F, 2)}),
}
MIXING_PARTS = {name: (forward, dict) for name, forward in MIXING.items()} | PARTS


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("name", MIXING_PARTS)
def test_a_model_that_mixes_samples_is_refused_for_it(name, precision):
    forward, modules = MIXING_PARTS[name]
    torch.manual_seed(1)
    model = net(forward, **modules())
    with pytest.raises(CompletenessError, match="depends on the others in its batch") as raised:
        xc.explain(model, draw(0, N, T, F), target=0, precision=precision)
    assert "sample_axis=1" in raised.value.hint
    alone = xc.explain(model, draw(0, N, T, F)[:1], target=0, precision=precision)
    assert alone.relative_residual.max() < 1e-5


@pytest.mark.parametrize(
    "draws", [torch.randn_like, lambda x: torch.rand(F, T, len(x)).permute(2, 1, 0), lambda x: x.clone().normal_()]
)
def test_noise_in_the_shape_of_the_batch_is_named(draws):
    def forward(m, x):
        torch.manual_seed(3)
        return m.head(x * draws(x)).sum(1)

    with pytest.raises(
        CompletenessError, match=r"draws random numbers in the shape of its batch \(\w+ of \([456, ]+\)\)"
    ):
        xc.explain(net(forward), draw(0, N, T, F).astype(np.float32), target=0)


def test_noise_in_the_shape_of_one_sample_is_explained():
    def forward(m, x):
        torch.manual_seed(3)
        return m.head(x * torch.rand(T, F)).sum(1)

    assert xc.explain(net(forward), draw(0, N, T, F).astype(np.float32)).relative_residual.max() < 1e-5


@pytest.mark.parametrize("share", [1e-3, 1e-4, 1e-5, 1e-6])
def test_mixing_is_seen_however_little(share):
    """Of single precision's 1e-7 too: rows that stay give the same to the last bit, whatever stands beside them."""
    model = net(lambda m, x: (m.head(x) - share * x[..., :3].mean(0)).sum(1))
    with pytest.raises(CompletenessError, match="depends on the others"):
        xc.explain(model, draw(0, N, T, F).astype(np.float32), target=0)


@pytest.mark.parametrize("count", [2, 3, 64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_in_their_own_right_are_explained(count, dtype):
    """The opposite: kernels round differently for other numbers of rows, which is no mixing."""
    torch.manual_seed(0)
    rnn = nn.LSTM(F, 32, num_layers=2, bidirectional=True, batch_first=True)
    model = net(lambda m, x: m.out(m.rnn(x)[0][:, -1]), rnn=rnn, out=nn.Linear(64, 1))
    model = model.to(torch.float64 if dtype == np.float64 else torch.float32)
    assert xc.explain(model, draw(0, count, 20, F).astype(dtype)).relative_residual.max() < 1e-5


def test_a_row_by_its_place_is_no_mixing():
    """What is written to the first row of a batch is the same whoever stands beside it."""

    def forward(m, x):
        y = m.head(x).sum(1)
        return y + torch.eye(len(x), 1, dtype=y.dtype)

    ex = xc.explain(net(forward).double(), draw(0, N, T, F), target=0)
    assert ex.relative_residual.max() < 1e-12


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_targets_of_each_samples_own_are_compared_alone(dtype):
    model = net(lambda m, x: m.head(x).tanh().sum(1)).to(torch.float64 if dtype == np.float64 else torch.float32)
    ex = xc.explain(model, draw(0, N, T, F).astype(dtype), target=np.array([2, 1, 0, 1, 2]))
    assert ex.relative_residual.max() < 1e-5


def test_a_row_that_would_be_shorter_alone_is_explained_as_it_was_passed():
    """Cut to the longest of its batch, one row alone has no such step that could be compared."""
    model = net(lambda m, x: m.head(x[:, : int((x[..., 0].detach() != 0).sum(1).max())]).tanh())
    x, base = draw(2, N, T, F), draw(3, 1, T, F)
    x[0, 2:] = 0
    ex = xc.explain(model, x, base, target=(T - 1, 0))
    with torch.no_grad():
        np.testing.assert_allclose(ex.prediction, model(torch.from_numpy(x).float())[:, -1, :1], atol=1e-6)
    assert ex.relative_residual.max() < 1e-5


def test_mixing_hidden_by_equal_rows():
    """With equal rows each gets what the others give it, so that everything adds up."""
    model = net(lambda m, x: (m.head(x) + x[..., :3].mean(0)).sum(1))
    equal = np.repeat(draw(0, 1, T, F), N, axis=0)
    with pytest.raises(CompletenessError, match="depends on the others"):
        xc.explain(model, equal, target=0)


class TurnsWrong(nn.Module):
    """Answers as it should until call number ``after``; from then on rows of ``member`` are off."""

    seen: ClassVar[list] = []  # the class's, so that nothing on the model says that it keeps anything

    def __init__(self, member: str):
        super().__init__()
        self.head, self.after, self.member = nn.Linear(F, 1), float("inf"), member

    def forward(self, x):
        self.seen.append(x.shape)
        y = self.head(x).sum(1)
        if len(self.seen) <= self.after:
            return y
        wrong = (x == 0).flatten(1).all(1, keepdim=True) == (self.member == "the baseline")
        return y + 1e-3 * wrong


@pytest.mark.parametrize("member", ["the input", "the baseline"])
def test_every_batch_is_compared_with_the_models_own_call(member, monkeypatch):
    """The call of the last batch, of twelve rows four at a time, comes before that on all rows as passed."""
    monkeypatch.setattr(rows, "MOST_ROWS", 4)
    monkeypatch.setattr(TurnsWrong, "seen", [])
    x, baselines = draw(0, 12, T, F), draw(1, 12, T, F)
    baselines[8:] = 0
    xc.explain(TurnsWrong(member).double().eval(), x, baselines=baselines)
    model = TurnsWrong(member).double().eval()
    model.after = len(TurnsWrong.seen) - 2
    TurnsWrong.seen.clear()
    with pytest.raises(CaptureError, match=f"for {member} of row"):
        xc.explain(model, x, baselines=baselines)


def test_rows_that_are_equal_are_asked_for_once(monkeypatch):
    """Batches after the first, which is also tried among other rows: here of four samples and one baseline for all."""
    monkeypatch.setattr(rows, "MOST_ROWS", 4)
    monkeypatch.setattr(TurnsWrong, "seen", [])
    model = TurnsWrong("the input").double().eval()
    xc.explain(model, draw(0, 12, T, F))
    *_, second, third, as_passed = TurnsWrong.seen
    assert [second[0], third[0], as_passed[0]] == [4, 4, 12]
    xc.explain(model, np.repeat(draw(0, 3, T, F), 4, axis=0), baselines=draw(1, 12, T, F))
    *_, second, third, as_passed = TurnsWrong.seen
    assert [second[0], third[0], as_passed[0]] == [5, 5, 12]


def test_a_batch_decides_where_rows_by_themselves_differ(monkeypatch):
    """A model that is made for one number of rows, and one whose rows go by their place."""
    monkeypatch.setattr(rows, "MOST_ROWS", 4)
    for forward in (
        lambda m, x: m.head(x).sum(1) * torch.ones(4, 1, dtype=x.dtype),
        lambda m, x: m.head(x).sum(1) * (torch.arange(len(x))[:, None] % 4 + 1),
    ):
        x = np.repeat(draw(0, 3, T, F), [4, 3, 1], axis=0)
        ex = xc.explain(net(forward).double(), x, baselines=np.repeat(draw(1, 2, T, F), 4, axis=0))
        assert abs(ex.relative_residual).max() < 1e-12


# --- Decisions over the whole batch -----------------------------------------------------------------------------------


def scored(m, x):
    return m.head(x).tanh().sum(1)


def by_an_element(m, x):
    return scored(m, x) * (2 if (x > 8).any() else 1)


def by_the_mean(m, x):
    return scored(m, x) * (2 if x[:, 0].mean() > 0 else 1)


def by_the_largest(m, x):
    return scored(m, x / x.max().item())


def by_a_mean_and_coarse(m, x):
    """Single precision's rounding is measured in double, where the mean is another number."""
    return (scored(m, x) * x[:, 0].mean().item() + 1e4) - 1e4


BY_ALL = [by_an_element, by_the_mean, by_the_largest, by_a_mean_and_coarse]


def alike_in_all(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Members with the same largest element and mean, whose rows among others have neither."""
    x, base = draw(0, count, T, F), draw(1, count, T, F)
    x[:, 0] = base[:, 0] = -1
    for start in range(0, count, rows.MOST_ROWS):
        own, other = x[start : start + rows.MOST_ROWS], base[start : start + rows.MOST_ROWS]
        _, of_baseline = next(answers.other_mates([own], [other], [0], len(own)))
        if not of_baseline.any():
            own[:, 0, 0] = other[:, 0, 0] = 900
            continue
        own[of_baseline, 0, 0] = other[~of_baseline, 0, 0] = 900
        other[np.flatnonzero(~of_baseline)[0], 0, 2] += own[:, 0].sum() - other[:, 0].sum()
    return x, base


@pytest.mark.parametrize("count", [2, 3, 256])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("forward", BY_ALL)
def test_rows_that_others_decide_for_are_refused_for_it(forward, dtype, count):
    model = net(forward).to(dtype)
    x, base = (torch.tensor(a, dtype=dtype) for a in alike_in_all(count))
    with pytest.raises(CompletenessError, match="depends on the others in its batch"):
        xc.explain(model, x, baselines=base, target=0)
    alone = xc.explain(model, x[:1], baselines=x[:1].flip(2), target=0)
    assert alone.relative_residual.max() < (1e-3 if forward is by_a_mean_and_coarse else 1e-5)


@pytest.mark.parametrize("count", [3, 300])
def test_a_row_that_reads_another_number_alone_is_refused(count):
    """Among others and in both members the mean is the same; it was recorded anew, and then not looked at again."""
    x, base = draw(0, count, T, F), draw(1, count, T, F)
    x[:, 0] = base[:, 0] = np.abs(x[:, 0])
    with pytest.raises(CompletenessError, match=r"depends on the others in its batch: .* alone"):
        xc.explain(net(by_a_mean_and_coarse).double(), x, baselines=base, target=0)


@pytest.mark.parametrize("count", [1, 3, 300])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("by_value", [True, False])
def test_what_others_decide_may_make_no_difference(by_value, dtype, count):
    def forward(m, x):
        if by_value:
            largest = x.max().item()
            return scored(m, x * largest / largest)
        return scored(m, x) if (x > 8).any() else scored(m, x * 3 / 3)

    model = net(forward).to(dtype)
    x, base = (torch.tensor(a, dtype=dtype) for a in alike_in_all(count))
    ex = xc.explain(model, x, baselines=base, target=0)
    tolerance = 1e-4 if dtype is torch.float32 else 1e-12
    for given, prediction in ((x, ex.prediction), (base, ex.baseline_prediction)):
        np.testing.assert_allclose(prediction.values.ravel(), model(given)[:, 0].detach(), rtol=tolerance)
    assert ex.relative_residual.max() < tolerance


# --- The comparison itself --------------------------------------------------------------------------------------------


def test_other_mates_keep_rows_in_place():
    test, base = draw(0, 3, 7, 2), draw(1, 3, 7, 2)
    for count in (2, 3, 7):
        for (mixed,), of_baseline in answers.other_mates([test[:, :count]], [base[:, :count]], [1], count):
            assert 0 < of_baseline.sum() < count
            np.testing.assert_array_equal(mixed[:, of_baseline], base[:, :count][:, of_baseline])
            np.testing.assert_array_equal(mixed[:, ~of_baseline], test[:, :count][:, ~of_baseline])


@pytest.mark.parametrize("count", [2, 5, 8])
def test_two_rows_that_read_each_other_are_told_apart(count):
    """Alike, they leave every sum right: ``y_i = x_i·x_j`` and ``y_j = x_j·x_i``."""
    x = draw(0, count, T, F)
    for i, j in itertools.combinations(range(count), 2):
        mates = torch.eye(count, dtype=torch.float64)
        mates[i, j] = mates[j, i] = 1.0
        model = net(lambda m, x, mates=mates: (x.mean(1) * (mates @ x.mean(1))).sum(1)).double()
        with pytest.raises(CompletenessError, match="depends on the others"):
            xc.explain(model, x, target=0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_how_far_answers_may_be_apart(dtype):
    own, size = np.array([1.0, 0.0, 100.0]), np.array([1.0, 2.0, 1.0])
    near = answers.AGREEMENT[dtype]
    assert answers.rows_apart(own, own + 0.9 * near * (own + size), size, dtype).size == 0
    assert list(answers.rows_apart(own, own + np.array([0, 5 * near, 0]), size, dtype)) == [1]
    # What rounding was measured to do is allowed for; the measurement is made only where it is needed.
    assert answers.rows_apart(own, own + np.array([0, 5 * near, 0]), size, dtype, lambda: np.full(3, near)).size == 0
    assert list(answers.rows_apart(own, own + np.array([0, 5, 0]), size, dtype, lambda: np.full(3, near))) == [1]
    answers.rows_apart(own, own, size, dtype, lambda: pytest.fail("nothing to measure"))
    assert list(answers.rows_apart(own, [1.0, np.nan, 100.0], size, dtype)) == [1]
