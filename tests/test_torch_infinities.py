"""Infinities that come up in one of the two runs, and of which the model makes something finite."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from exactness import DTYPES, RESIDUAL, Net, draw
from torch import nn

import explain_core as xc

X = torch.tensor([[0.0, 1.0, 2.0], [3.0, 0.5, 0.0], [1.0, 2.0, 3.0]])
BASE = torch.tensor([[1.0, 2.0, 0.5], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])


def without(value, is_infinite=torch.isinf):
    return torch.where(is_infinite(value), torch.zeros_like(value), value)


ELEMENTWISE = {
    "inverse root, clamped": lambda x: torch.rsqrt(x).clamp(max=10.0),
    "logarithm, clamped": lambda x: torch.log(x).clamp(min=-10.0),
    "logarithm, scaled and moved": lambda x: (0.5 * torch.log(x) + 1).clamp(min=-7.0),
    "maximum": lambda x: torch.maximum(torch.log(x), torch.full_like(x, -10.0)),
    "smallest": lambda x: torch.minimum(1 / x, torch.full_like(x, 10.0)),
    "filled where it is infinite": lambda x: (lambda d: d.masked_fill_(d == math.inf, 0.0))(x.pow(-0.5)),
    "chosen where it is infinite": lambda x: without(x.log()),
    "chosen where it is finite": lambda x: without(x.log(), lambda v: ~torch.isfinite(v)),
    "nan_to_num": lambda x: torch.nan_to_num(x.log(), neginf=-20.0),
    "a chain of infinities": lambda x: torch.log(1 / torch.sqrt(x)).clamp(max=500.0),
    "bounded": lambda x: torch.tanh(x.log()) + torch.atan(1 / x),
    "back to a number": lambda x: torch.exp(0.5 * x.log()) + 1 / torch.rsqrt(x),
    "logit": lambda x: torch.logit(x * 0.2).clamp(-5, 5),
    "a quotient": lambda x: 1 / (1 + 2 / x),
    "counted": lambda x: x + torch.isinf(x.log()).to(x.dtype),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_each_element_has_what_it_moves(name, dtype):
    function, x, base = ELEMENTWISE[name], X.to(dtype), BASE.to(dtype)
    model = Net(lambda net, v: function(v).sum(-1, keepdim=True)).to(dtype).eval()
    found = xc.explain(model, x, base, target=0)
    assert found.relative_residual.max() < RESIDUAL[dtype]
    np.testing.assert_allclose(found.attributions, function(x) - function(base), atol=30 * torch.finfo(dtype).eps)


MIXED = {
    "geometric mean": lambda x: torch.exp(x.log().mean(1)),
    "harmonic mean": lambda x: 1 / (1 / x).mean(1),
    "sum of inverses, clamped": lambda x: (1 / x).sum(1).clamp(max=7),
    "largest": lambda x: torch.amax(-x.log(), 1).clamp(max=5),
    "softmax": lambda x: torch.softmax(x.log(), 1)[:, 1],
    "log of a sum": lambda x: torch.logsumexp(x.log(), 1),
    "attention": lambda x: torch.softmax((x[:, :, None] * x[:, None]).log() - x[:, None], -1)[:, 1, 2],
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MIXED)
def test_several_elements_share_as_they_do_near_it(name, dtype):
    function, x, base = MIXED[name], X[[0, 0]].to(dtype), BASE[[0, 0]].to(dtype)
    x[1] = torch.tensor([0.0, 3.0, 0.5])
    found = xc.explain(Net(lambda net, v: function(v)).to(dtype).eval(), x, base)
    assert found.relative_residual.max() < RESIDUAL[dtype]
    model, near = Net(lambda net, v: function(v)).double().eval(), x.double().clamp(min=1e-300)
    expected = xc.explain(model, near, base.double())
    # As a logarithm goes to infinity, shares go to their limit with its inverse.
    np.testing.assert_allclose(found.attributions, expected.attributions, atol=3 / -math.log(1e-300))


MASKS = {
    "chosen": lambda s, keep: torch.where(keep, s, torch.full_like(s, -math.inf)),
    "filled": lambda s, keep: s.masked_fill(~keep, -math.inf),
    "filled in place": lambda s, keep: s.clone().masked_fill_(~keep, -math.inf),
}


@pytest.mark.parametrize("how", MASKS)
def test_a_mask_of_infinities_that_differs_is_as_one_of_large_numbers(how):
    x, base = torch.from_numpy(draw(0, 3, 5, 3)), torch.from_numpy(draw(1, 3, 5, 3))

    def net(mask):
        def forward(net, v):
            scores, keep = net.score(v)[..., 0], v[..., 0] > -0.9
            return (torch.softmax(mask(scores, keep), -1)[..., None] * torch.tanh(v)).sum((1, 2))

        torch.manual_seed(0)
        return Net(forward, score=nn.Linear(3, 1)).double().eval()

    large = net(lambda s, keep: torch.where(keep, s, torch.full_like(s, -1e30)))
    assert ((x[..., 0] > -0.9) != (base[..., 0] > -0.9)).any()
    found, expected = xc.explain(net(MASKS[how]), x, base), xc.explain(large, x, base)
    assert found.relative_residual.max() < 1e-12
    np.testing.assert_allclose(found.attributions, expected.attributions, atol=1e-9)


@pytest.mark.parametrize("function", [lambda x: (1 / x) * x, lambda x: x.log() - x.log().exp().log()])
def test_what_the_model_makes_no_number_of_is_said_to_be_none(function):
    with pytest.raises(xc.errors.NonFiniteError, match=r"prediction .*nan"):
        xc.explain(Net(lambda net, v: function(v).sum(-1)).double().eval(), X.double(), BASE.double())


def test_a_prediction_that_is_infinite_is_said_to_be():
    with pytest.raises(xc.errors.NonFiniteError, match=r"prediction .* is -?inf"):
        xc.explain(Net(lambda net, v: v.log().sum(-1)).double().eval(), X.double(), BASE.double())


def test_large_numbers_are_themselves():
    """What stands for infinity does so only where one came up."""
    x, base = torch.full((1, 2), 59.0), torch.zeros(1, 2)
    model = Net(lambda net, v: (v.exp().log() + torch.isinf(v.exp())).sum(-1))
    found = xc.explain(model.eval(), x, base)
    np.testing.assert_allclose(found.attributions, [[59.0, 59.0]], rtol=1e-6)


@pytest.mark.parametrize(
    "replace", [lambda p: p.nan_to_num(0.0), lambda p: torch.where(p.isnan(), torch.full_like(p, 0.25), p)]
)
def test_a_softmax_of_masks_alone_that_the_model_replaces_is_explained(replace):
    """Both members are padding alone in a sample each, of which the softmax is no number."""
    ids, base = (
        np.array([[1, 2, 3, 0], [0, 0, 0, 0], [4, 4, 0, 0]]),
        np.array([[0, 0, 0, 0], [1, 3, 0, 0], [2, 1, 4, 3]]),
    )
    torch.manual_seed(0)

    def forward(net, ids):
        x = net.table(ids)
        shares = replace(net.score(x)[..., 0].masked_fill(ids == 0, -math.inf).softmax(1))
        return (shares[..., None] * x.tanh()).sum((1, 2))

    model = Net(forward, table=nn.Embedding(5, 4), score=nn.Linear(4, 1)).double().eval()
    found = xc.explain(model, ids, base)
    assert found.relative_residual.max() < 1e-12
    assert np.abs(found.attributions).max() < 3 * np.abs(found.prediction - found.baseline_prediction).max()


# --- Where a prediction that is no number comes from ---------------------------------------------------------------


class Part(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


CAUSES = {
    "'log' (in part)": torch.log,
    "'sub' (in part), of the infinity that 'log' (in part) gives": lambda x: x.log() - x.log().mean(1, keepdim=True),
    "'div' (in part), as where all steps are padding": lambda x: x / x.sum(1, keepdim=True),
    "'softmax' (in part), as where all steps are padding": lambda x: x.masked_fill(x <= 0, -math.inf).softmax(1),
}


@pytest.mark.parametrize("said", CAUSES)
@pytest.mark.parametrize("member", ["input", "baseline"])
def test_the_operation_is_named(said, member):
    model = Net(lambda net, x: net.part(x).sum(1), part=Part(CAUSES[said])).double().eval()
    none, some = torch.zeros(2, 3).double(), torch.rand(2, 3).double() + 0.5
    x, base = (none, some) if member == "input" else (some, none)
    with pytest.raises(xc.errors.NonFiniteError) as raised:
        xc.explain(model, x, base)
    assert f"it comes up in {said}" in raised.value.what
    assert ("for the baseline" in raised.value.what) == (member == "baseline")
    assert ("baseline" in raised.value.hint) == (member == "baseline")
