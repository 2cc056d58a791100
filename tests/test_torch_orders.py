"""Sorting, medians, running maxima and sums of exponentials, products: against definitions, and at sizes of models."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from exactness import Net, draw
from rows import Explained
from test_torch_rows import on_pairs, shapley, weighed
from torch import nn

import explain_core as xc
from explain_core.backends.torch.formulas import softmax
from explain_core.backends.torch.orders import order_rule


@pytest.mark.parametrize(("size", "ranks"), [(200, "all"), (1000, [1, 2, 3]), (300, [150]), (20_000, [1, 2])])
def test_many_elements_are_complete(size, ranks):
    x, base = (torch.from_numpy(draw(seed, 2, size)) for seed in (0, 1))
    if ranks == "all":
        function = lambda v: v.sort(-1)[0]  # noqa: E731
    elif len(ranks) == 1:
        function = lambda v: v.kthvalue(ranks[0], -1)[0]  # noqa: E731
    else:
        function = lambda v: v.topk(len(ranks), -1)[0]  # noqa: E731
    change, size, (found,) = on_pairs(function, [Explained(x, base)])
    assert abs(float(found.sum() - change)) <= 1e-14 * float(size)
    assert float(found.abs().sum()) <= (x - base).abs().sum()  # multipliers are shares


def same(one, other, x, base):
    found = [on_pairs(f, [Explained(x, base)])[2][0] for f in (one, other)]
    torch.testing.assert_close(*found, rtol=0, atol=0)


def test_the_first_and_the_last_are_the_maximum_and_the_minimum():
    x, base = (torch.from_numpy(draw(seed, 3, 7)) for seed in (0, 1))
    same(lambda v: v.topk(1, -1)[0], lambda v: v.amax(-1, True), x, base)
    same(lambda v: v.topk(1, 0, largest=False)[0], lambda v: v.amin(0, True), x, base)
    same(lambda v: v.kthvalue(7, -1)[0], lambda v: v.max(-1)[0], x, base)
    same(lambda v: v.quantile(0.0, -1), lambda v: v.min(-1)[0], x, base)
    in_order = on_pairs(lambda v: v.sort(-1)[0], [Explained(x, base)])
    assert abs(float(in_order[2][0].sum() - in_order[0])) <= 1e-14 * float(in_order[1])


def test_order_beside_masked_elements():
    x, base = torch.tensor([[1.0, -np.inf, 0.5, 2.0]]).double(), torch.tensor([[-2.0, -np.inf, 0.7, 0.1]]).double()
    first_two = lambda v: v.topk(2, -1)[0]  # noqa: E731
    slope = order_rule(x, base, torch.tensor([1, 2]))(weighed(x[:, :2]))
    assert slope[0, 1] == 0
    keep = [0, 2, 3]
    x, base = x[:, keep], base[:, keep]
    torch.testing.assert_close(slope[:, keep] * (x - base), shapley(first_two, [Explained(x, base)])[0])
    x, base = draw(0, 2, 4), draw(1, 2, 4)
    model = Net(lambda _, v: v.masked_fill(torch.tensor([False, True, False, False]), -np.inf).topk(2, -1)[0])
    masked = xc.explain(model, x, base, precision="float64")
    assert masked.relative_residual.max() <= 1e-14
    assert (masked.attributions[..., 1] == 0).all()


def test_nearly_equal_elements_keep_their_share():
    """An element whose difference is a rounding has the multiplier of the gap that it is in, not one of rounding."""
    base = torch.tensor([[0.0, 1.0, 2.0, 3.0]]).double()
    x = base + torch.tensor([[1.5, 0.1, -1.3, 0.2]]).double()
    m = torch.tensor([[0.3, -1.0, 2.0, 0.7]]).double()
    slopes = []
    for move in (1e-3, 4e-16):  # of the second element: from 1 to a little more
        x[0, 1] = 1 + move
        slopes.append(order_rule(x, base, torch.arange(1, 5))(m))
    torch.testing.assert_close(*slopes, rtol=2e-3, atol=0)


@pytest.mark.parametrize("steps", [1, 5, 700])
def test_running_sum_of_exponentials_is_that_of_each_beginning(steps):
    x, base = (3 * torch.from_numpy(draw(seed, 2, steps)).cumsum(-1) for seed in (0, 1))
    _, size, (found,) = on_pairs(lambda v: v.logcumsumexp(-1), [Explained(x, base)])
    weights = (1 + torch.arange(2 * steps, dtype=torch.float64)).sqrt().view(2, steps) / (2 * steps) ** 0.5
    expected = torch.zeros_like(x)
    for t in range(steps):
        expected[:, : t + 1] += weights[:, t : t + 1] * softmax.logsumexp_multipliers(x[:, : t + 1], base[:, : t + 1])
    torch.testing.assert_close(found, expected * (x - base), rtol=0, atol=1e-14 * float(size))


class MinGRU(nn.Module):
    """Feng et al. 2024, *Were RNNs all we needed?*, its parallel form in logarithms."""

    def __init__(self, width: int = 5):
        super().__init__()
        self.z, self.h, self.head = nn.Linear(4, width), nn.Linear(4, width), nn.Linear(width, 1)

    def forward(self, x):
        k = self.z(x)
        log_z, log_coefficients = -nn.functional.softplus(-k), -nn.functional.softplus(k)
        raw = self.h(x)
        log_h = torch.where(raw >= 0, (raw.relu() + 0.5).log(), -nn.functional.softplus(-raw))
        decay = log_coefficients.cumsum(1)
        return self.head((decay + (log_z + log_h - decay).logcumsumexp(1)).exp()[:, -1])


class Experts(nn.Module):
    """A mixture of experts of which the two with the largest gates answer."""

    def __init__(self):
        super().__init__()
        self.gate, self.experts = nn.Linear(4, 6), nn.Linear(4, 6)

    def forward(self, x):
        gates = self.gate(x)
        least = gates.topk(2, -1).values[..., -1:]
        return (gates.masked_fill(gates < least, -30.0).softmax(-1) * self.experts(x)).sum((1, 2))[:, None]


MODELS = {
    "minGRU": MinGRU,
    "experts": Experts,
    "survival": lambda: Net(lambda _, x: (1 - x.sigmoid()).cumprod(1)[:, -1]),
    "a product over 200 steps": lambda: Net(lambda _, x: (0.3 * x.repeat(1, 25, 1)).exp().prod(1)),
    "pooled by the median": lambda: Net(lambda _, x: torch.cat([x.median(1).values, x.quantile(0.8, 1)], -1)),
    "the highest so far": lambda: Net(lambda _, x: (x.cummax(1).values - x).mean(1)),
}


@pytest.mark.parametrize("name", MODELS)
def test_models_are_complete(name):
    torch.manual_seed(0)
    model = MODELS[name]().double()
    x, base = draw(0, 3, 8, 4), draw(1, 3, 8, 4)
    ex = xc.explain(model, x, base)
    assert ex.relative_residual.max() <= 1e-13
    with torch.no_grad():
        np.testing.assert_allclose(ex.prediction, model(torch.from_numpy(x)), rtol=1e-11)


def test_a_place_in_the_order_that_differs_is_refused():
    net = Net(lambda _, x: x.gather(1, x.argsort(1)).cumsum(1)[:, 2])
    with pytest.raises(xc.errors.UnsupportedOperation, match="index"):
        xc.explain(net, draw(0, 2, 5, 4), draw(1, 2, 5, 4))
