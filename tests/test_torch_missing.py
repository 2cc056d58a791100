"""Values that are none: missing in the input, or in the branch of a `where` that is not taken."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from exactness import Net, draw
from torch import nn

import explain_core as xc
from explain_core.methods import explain_with

SAMPLES, STEPS, FEATURES = 3, 5, 2
FILLED = draw(0, SAMPLES, STEPS, FEATURES)
BASE = draw(1, SAMPLES, STEPS, FEATURES)
MISSING = draw(2, SAMPLES, STEPS, FEATURES) > 0.5
FILL = 0.25

REPLACED = {
    "where": lambda x: torch.where(torch.isnan(x), torch.full_like(x, FILL), x),
    "masked_fill": lambda x: x.masked_fill(torch.isnan(x), FILL),
    "nan_to_num": lambda x: torch.nan_to_num(x, nan=FILL),
    "unequal to itself": lambda x: torch.where(x != x, torch.full_like(x, FILL), x),
}


def net(replace=lambda x: x):
    torch.manual_seed(3)
    lstm, head = nn.LSTM(FEATURES, 4, batch_first=True), nn.Linear(4, 2)
    return Net(lambda net, x: net.head(net.lstm(replace(x))[0][:, -1]), lstm=lstm, head=head).double().eval()


@pytest.mark.parametrize("how", REPLACED)
@pytest.mark.parametrize("baselines", ["given", "first"])  # the first step held is missing in places
def test_a_missing_value_that_is_replaced_counts_as_what_replaces_it(how, baselines):
    x, filled = np.where(MISSING, np.nan, FILLED), np.where(MISSING, FILL, FILLED)
    baselines = BASE if baselines == "given" else baselines
    found, expected = xc.explain(net(REPLACED[how]), x, baselines), xc.explain(net(), filled, baselines)
    assert MISSING[:, 0].any()
    assert found.relative_residual.max() < 1e-12
    np.testing.assert_allclose(found.attributions, expected.attributions, atol=1e-12)


def test_the_mean_leaves_missing_values_out():
    x = np.where(MISSING, np.nan, FILLED)
    found = xc.explain(net(REPLACED["where"]), x, "mean")
    np.testing.assert_allclose(found.baselines[0, 0], np.nanmean(x, axis=(0, 1)))


@pytest.mark.parametrize("method", ["explain", "ledger", "gradient"])
def test_a_missing_value_that_stays_is_named_with_its_place(method):
    x = FILLED.copy()
    x[1, 2, 0] = np.nan
    run = {
        "explain": lambda: xc.explain(net(), x),
        "ledger": lambda: xc.diagnostics.ledger(net(), x),
        "gradient": lambda: explain_with("gradient_difference", net(REPLACED["where"]), x),
    }[method]
    with pytest.raises(xc.errors.NonFiniteError, match=r"nan at position \(1, 2, 0\)"):
        run()


def test_a_missing_value_that_is_scaled_before_it_is_replaced_is_no_false_share():
    x = np.where(MISSING, np.nan, FILLED)
    with pytest.raises(xc.errors.NonFiniteError, match="nan at position"):
        xc.explain(net(lambda v: REPLACED["where"](3 * v)), x, BASE)


ELEMENTWISE = {
    "log": lambda x: torch.where(x > 0, torch.log(x), 0 * x),
    "square root": lambda x: torch.where(x > 0, torch.sqrt(x), torch.zeros_like(x)),
    "inverse": lambda x: torch.where(x.abs() > 0.5, 1 / torch.where(x.abs() > 0.5, x, torch.zeros_like(x)), 2 * x),
    "power": lambda x: torch.where(x > 0, x**0.3, x),
    "masked log": lambda x: torch.log(x).masked_fill(x <= 0, 1.0),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_a_branch_that_is_not_taken_may_have_no_value(name):
    """Each element stands for itself, so its share is what it moves: f(x) - f(baseline)."""
    function = ELEMENTWISE[name]
    x, base = torch.from_numpy(draw(4, 2, 40)), torch.from_numpy(draw(5, 2, 40))
    model = Net(lambda net, v: function(v).sum(-1, keepdim=True)).double().eval()
    found = xc.explain(model, x, base)
    np.testing.assert_allclose(found.attributions, function(x) - function(base), atol=1e-12)


def test_a_quotient_of_two_features_where_it_is_not_taken():
    x = torch.tensor([[1.0, 2.0], [3.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    base = torch.tensor([[2.0, 0.0], [1.0, 4.0], [5.0, 0.0]], dtype=torch.float64)

    def forward(net, v):
        above, below = v[:, :1], v[:, 1:]
        return torch.where(below != 0, above / below, torch.zeros_like(below))

    found = xc.explain(Net(forward).double().eval(), x, base, target=0)
    # Only one of the two members takes the quotient: the whole step is of what decides, the divisor.
    np.testing.assert_allclose(found.attributions, [[0.0, 0.5], [0.0, -0.25], [0.0, 0.0]], atol=1e-12)
