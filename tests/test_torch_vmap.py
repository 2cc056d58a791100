"""``torch.vmap`` inside a model is explained as the operations on whole batches that it stands for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from exactness import Net, draw
from torch import nn
from torch.func import functional_call, stack_module_state
from torch.func import vmap as imported

import explain_core as xc

SAMPLES, STEPS, FEATURES = 3, 5, 4
X, BASE = draw(0, SAMPLES, STEPS, FEATURES), draw(1, SAMPLES, STEPS, FEATURES)


def net(forward):
    torch.manual_seed(3)
    mix, head = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, 2)
    return (
        Net(forward, mix=mix, head=head, parts=nn.ModuleList(nn.Linear(FEATURES, 2) for _ in range(3))).double().eval()
    )


def plainly(net, x):
    return net.head(torch.tanh(net.mix(x)).mul(x).sum(1))


def over_samples(net, x):
    return torch.vmap(lambda series: net.head((torch.tanh(net.mix(series)) * series).sum(0)))(x)


def imported_before(net, x):
    return imported(lambda series: net.head((torch.tanh(net.mix(series)) * series).sum(0)))(x)


def twice(net, x):
    inner = torch.vmap(lambda step: torch.tanh(net.mix(step)) * step)
    return net.head(torch.vmap(inner, in_dims=1, out_dims=1)(x).sum(1))


def over_what_it_closes_over(net, x):
    gate = torch.tanh(net.mix(x))
    parts = torch.vmap(lambda n: (gate * x).select(1, 0) * n)(torch.ones(STEPS, dtype=x.dtype)).sum(0) * 0
    return net.head(parts + torch.vmap(lambda a, b: {"product": (a * b).sum(0)})(gate, x)["product"])


@pytest.mark.parametrize("forward", [over_samples, imported_before, twice, over_what_it_closes_over])
def test_it_is_the_same_as_on_whole_batches(forward):
    found, expected = (xc.explain(net(way), X, baselines=BASE) for way in (forward, plainly))
    np.testing.assert_allclose(found.prediction, expected.prediction, atol=1e-14)
    np.testing.assert_allclose(found.attributions, expected.attributions, atol=1e-14)
    assert found.relative_residual.max() <= 1e-12


def test_an_ensemble_by_stacked_weights():
    def ensemble(net, x):
        weights, buffers = stack_module_state(list(net.parts))
        call = lambda w, b, x: functional_call(net.parts[0], (w, b), (x,))  # noqa: E731
        return torch.vmap(call, in_dims=(0, 0, None))(weights, buffers, x.tanh().sum(1)).mean(0)

    def one_by_one(net, x):
        return sum(part(x.tanh().sum(1)) for part in net.parts) / 3

    found, expected = (xc.explain(net(way), X, baselines=BASE) for way in (ensemble, one_by_one))
    np.testing.assert_allclose(found.attributions, expected.attributions, atol=1e-14)


def test_nothing_is_read_inside():
    def forward(net, x):
        largest = x.max()
        return torch.vmap(lambda series: net.head(series.sum(0) * float(largest)))(x)

    with pytest.raises(xc.errors.CaptureError, match=r"reads values out of tensors inside torch\.vmap"):
        xc.explain(net(forward), X, baselines=BASE)
