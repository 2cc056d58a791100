"""Functions of two arguments where their closed forms end: zeros of either sign, negative bases, infinities."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from exactness import Net

import explain_core as xc
from explain_core.backends.torch.kinds import TwoPlayers
from explain_core.backends.torch.rules import RULES

CORNERS = (0.0, -0.0, 1.0, -1.0, 2.0, -3.0, 0.5, torch.inf, -torch.inf)
FUNCTIONS = {
    name: getattr(
        torch.special if name.startswith("special_") else torch, name.partition(".")[0].removeprefix("special_")
    )
    for name, rule in RULES.items()
    if isinstance(rule, TwoPlayers)
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_secants_are_complete_at_every_corner(name):
    """Each argument's share is its two-player Shapley value, wherever the four values are numbers."""
    f, rule = FUNCTIONS[name], RULES[name]
    points = torch.tensor(list(itertools.product(CORNERS, repeat=4)), dtype=torch.float64)
    a, a_base, b, b_base = points.T
    both, first, second, none = f(a, b), f(a, b_base), f(a_base, b), f(a_base, b_base)
    known = torch.stack([both, first, second, none]).isfinite().all(0)
    if name == "pow":  # (-1)^inf is 1 and its neighbours 0 and inf: no secant in the base
        known &= b.isfinite() & b_base.isfinite()
    shares = {
        "first": (a, a_base, (rule.first(b, a, a_base) + rule.first(b_base, a, a_base)) / 2, both - second + first),
        "second": (b, b_base, (rule.second(a, b, b_base) + rule.second(a_base, b, b_base)) / 2, both - first + second),
    }
    for x, x_base, slope, gain in shares.values():
        asked = known & (x != x_base) & (x - x_base).isfinite()
        assert asked.sum() > 100
        torch.testing.assert_close((slope * (x - x_base))[asked], ((gain - none) / 2)[asked], atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize(
    ("f", "x", "base"),
    [
        (torch.atan2, (1.0, 0.0), (0.0, 1.0)),
        (torch.atan2, (0.0, -1.0), (0.0, 1.0)),
        (torch.atan2, (1.0, -1.0), (0.0, 0.0)),
        (torch.atan2, (0.0, 0.0), (-2.0, -1.0)),
        (torch.copysign, (1.0, 2.0), (0.0, -1.0)),
        (torch.copysign, (-3.0, 2.0), (1.0, -1.0)),
        (torch.xlogy, (1.0, 1.0), (0.0, 3.0)),
        (torch.xlogy, (1.0, 2.0), (0.0, 3.0)),
        (torch.xlogy, (0.0, 2.0), (0.0, 0.0)),
        (torch.special.xlog1py, (1.0, 1.0), (0.0, 3.0)),
    ],
)
def test_explained_at_corners(f, x, base):
    model = Net(lambda net, v: f(v[:, 0], v[:, 1])[:, None]).eval()
    (a, b), (a_base, b_base) = x, base = torch.tensor([x, base], dtype=torch.float64)
    found = xc.explain(model, x[None], base[None]).attributions.values.ravel()
    share = (f(a, b) - f(a_base, b) + f(a, b_base) - f(a_base, b_base)) / 2
    np.testing.assert_allclose(found, [share, f(a, b) - f(a_base, b_base) - share], atol=1e-12)


def test_a_zero_that_changes_its_sign_leaves_the_change_to_the_other_argument():
    model = Net(lambda net, v: torch.atan2(v[:, 0], v[:, 1])[:, None]).eval()
    x, base = torch.tensor([[0.0, -1.0]]).double(), torch.tensor([[-0.0, 1.0]]).double()
    np.testing.assert_allclose(xc.explain(model, x, base).attributions.values.ravel(), [0.0, np.pi], atol=1e-12)


@pytest.mark.parametrize("base", [0.0, 0.3, 1.0, 2.5])
def test_entropy_is_explained_at_zero(base):
    model = Net(lambda net, v: torch.special.entr(v)).eval()
    x = torch.tensor([[0.0, 0.3, 1 / np.e, 2.5, 7.0]], dtype=torch.float64)
    found = xc.explain(model, x, torch.full_like(x, base))
    assert found.relative_residual.max() <= 1e-12
    mixed = np.abs(found.attributions.values[:, 0]) * (1 - np.eye(5))
    assert mixed.max() == 0


@pytest.mark.parametrize("baseline", [np.zeros((1, 8)), np.ones((1, 8))])
def test_angles_of_spectra_with_zeros(baseline):
    model = Net(lambda net, v: torch.fft.rfft(v).angle()).eval()
    rows = np.concatenate([np.eye(8), np.random.default_rng(0).normal(size=(3, 8))])
    found = xc.explain(model, rows, baselines=baseline)
    assert found.relative_residual.max() <= 1e-12
