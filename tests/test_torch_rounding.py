"""A residual is rounding, or the result is not returned: which of the two is measured, not assumed."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import torch
from exactness import Net, draw
from torch import nn

import explain_core as xc
from explain_core.backends.torch import Rescale, rules, secants
from explain_core.errors import CompletenessError

N, F = 4, 5


def net(forward, dtype=torch.float32, **modules) -> Net:
    torch.manual_seed(0)
    return Net(forward, head=nn.Linear(F, 3), **modules).eval().to(dtype)


def moving(common: float, dtype=torch.float32) -> Net:
    """Logits that all move together by ``common`` times the sum of the inputs, which moves no probability."""
    return net(lambda m, x: torch.softmax(common * x.sum(-1, keepdim=True) + m.head(x), -1), dtype)


def given(dtype, seed=0):
    return draw(seed, N, F).astype(np.float64 if dtype == torch.float64 else np.float32)


# --- Rounding, however large, is no reason to refuse ------------------------------------------------------------------


@pytest.mark.parametrize("common", [1, 100, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_softmax_whose_logits_move_together(common, dtype):
    ex = xc.explain(moving(common, dtype), given(dtype))
    assert (np.abs(ex.residual) <= 1e-4 * np.abs(ex.prediction - ex.baseline_prediction)).all()
    assert all(ex.adds_up(n, k) for n in range(N) for k in range(3))
    exact = xc.explain(moving(common, dtype), given(dtype), precision="float64")
    size = np.abs(exact.attributions).max().item()
    np.testing.assert_allclose(ex.attributions, exact.attributions, atol=1e-4 * size)


@pytest.mark.parametrize("common", [1e7, 1e8, 1e9])
def test_softmax_whose_logits_move_together_far_in_double(common):
    """Refused before: off by more than 1e-9 of all attribution, which is rounding at logits of this size."""
    ex = xc.explain(moving(common, torch.float64), given(torch.float64))
    assert (np.abs(ex.residual) <= 1e-2 * np.abs(ex.prediction - ex.baseline_prediction)).all()
    for n in range(N):
        for k in range(3):
            assert ex.residual_in_words(n, k).startswith("adds up")


def test_logits_moving_together_get_what_exact_arithmetic_gives_them():
    """One input that moves all logits and one that moves the first: the shares by the rules of `softmax`, in mpmath."""
    common, weights = 1e6, torch.tensor([[1.0, 0.5], [1.0, 0.0], [1.0, 0.0]])
    weights[:, 0] *= common
    head = nn.Linear(2, 3)
    head.weight.data, head.bias.data = weights, torch.zeros(3)
    ex = xc.explain(Net(lambda m, x: torch.softmax(m.head(x), -1), head=head).double(), [[1.0, 1.0]], target=0)
    with mpmath.workdps(60):
        x, base = [mpmath.mpf(common) + 0.5, mpmath.mpf(common), mpmath.mpf(common)], [mpmath.mpf(0)] * 3
        totals = [mpmath.log(sum(mpmath.exp(v) for v in member)) for member in (x, base)]
        moved = totals[0] - totals[1]
        shares = [
            (mpmath.exp(a - totals[0]) - mpmath.exp(b - totals[0])) / (1 - mpmath.exp(-moved)) * moved / (a - b)
            for a, b in zip(x, base, strict=True)
        ]
        y, y_base = mpmath.exp(x[0] - totals[0]), mpmath.exp(base[0] - totals[1])
        slope = (y - y_base) / ((x[0] - totals[0]) - (base[0] - totals[1]))
        of_logits = [slope * ((i == 0) - share) for i, share in enumerate(shares)]
        expected = [float(sum(m * mpmath.mpf(common) for m in of_logits)), float(of_logits[0] / 2)]
    np.testing.assert_allclose(ex.attributions[0], expected, rtol=1e-9)


def test_what_single_precision_cannot_tell_is_computed_in_double():
    model = net(lambda m, x: (m.head(x).sum(-1, keepdim=True) * 1e4 + x[:, :1]) - m.head(x).sum(-1, keepdim=True) * 1e4)
    ex, exact = (xc.explain(model, given(torch.float32), precision=precision) for precision in (None, "float64"))
    assert ex.attrs["dtype"] == "float64"
    assert any("In float32, rounding left" in note for note in ex.notes)
    np.testing.assert_array_equal(ex.attributions, exact.attributions)
    np.testing.assert_allclose(ex.attributions[:, 0], given(torch.float32)[:, 0], rtol=1e-9)


def test_a_prediction_that_is_rounding_is_not_explained():
    model = net(lambda m, x: ((m.head(x) + 1e7) - 1e7).sum(-1, keepdim=True))
    with pytest.raises(CompletenessError, match=r"is itself rounding: .* in float32 and .* in float64"):
        xc.explain(model, given(torch.float32))
    ex = xc.explain(model, given(torch.float32), precision="float64")
    assert any("Rounding in float32 moves the model's own prediction" in note for note in ex.notes)


def test_where_even_double_precision_drowns_the_difference():
    """The square of a number as what is left of another square: of its digits there are none in 1e20."""

    def forward(m, x):
        return (1e10 + x[:, :1]).square() - 1e20 - 2e10 * x[:, :1]

    with pytest.raises(CompletenessError, match=r"even in float64 rounding .* drowns"):
        xc.explain(net(forward, torch.float64), given(torch.float64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ordinary_results_are_not_computed_twice(dtype, monkeypatch):
    """Nor is a note made, or the precision changed."""
    from explain_core.preparation import Prepared

    monkeypatch.setattr(Prepared, "again", lambda *_: pytest.fail("computed again"))
    rnn = nn.LSTM(F, 16, num_layers=2, bidirectional=True, batch_first=True)
    model = net(lambda m, x: m.out(m.rnn(x)[0][:, -1]), dtype, rnn=rnn, out=nn.Linear(32, 2))
    x = draw(0, 8, 50, F).astype(np.float32 if dtype == torch.float32 else np.float64)
    ex = xc.explain(model, x)
    assert (ex.attrs["dtype"], ex.notes) == (str(dtype).removeprefix("torch."), [])


# --- What a rule leaves out is no rounding ----------------------------------------------------------------------------


def leaving_out(share: float) -> Rescale:
    return Rescale(lambda a, b: secants.tanh(a, b) * (1 - share))


@pytest.mark.parametrize("share", [0.3, 1e-3, 1e-4, 1e-5])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_an_incomplete_rule_is_found_out(share, precision, monkeypatch):
    monkeypatch.setitem(rules.RULES, "tanh", leaving_out(share))
    model = net(lambda m, x: m.head(x).tanh().sum(-1, keepdim=True))
    with pytest.raises(CompletenessError, match="more than rounding explains") as raised:
        xc.explain(model, given(torch.float32), precision=precision)
    assert "register_rule" in raised.value.hint
    assert "Or the model mixes the samples of a batch" in raised.value.hint
    other = "float64" if precision == "float32" else "float32"
    assert f"of their size, and in {other} by" in raised.value.what


@pytest.mark.parametrize("share", [1e-7, 1e-9, 1e-10])
def test_an_incomplete_rule_is_found_out_in_double_down_to_its_digits(share, monkeypatch):
    monkeypatch.setitem(rules.RULES, "tanh", leaving_out(share))
    with pytest.raises(CompletenessError, match="more than rounding explains"):
        xc.explain(net(lambda m, x: m.head(x).tanh().sum(-1, keepdim=True)), given(torch.float32), precision="float64")


@pytest.mark.parametrize("share", [1e-4, 1e-6])
def test_an_incomplete_rule_is_not_hidden_by_rounding(share, monkeypatch):
    """Beside large terms that cancel, whose rounding in float32 is larger than what is left out."""
    monkeypatch.setitem(rules.RULES, "tanh", leaving_out(share))
    model = net(
        lambda m, x: (
            (m.head(x).tanh() * 1e4 + x[:, :3]).sum(-1, keepdim=True)
            - 1e4 * m.head(x).tanh().sum(-1, keepdim=True) * 0.99
        )
    )
    with pytest.raises(CompletenessError, match="more than rounding explains"):
        xc.explain(model, given(torch.float32))
