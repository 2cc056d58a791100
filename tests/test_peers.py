"""The engine against shap on written-out cells and captum on feed-forward nets, where both are exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from exactness import Net
from reference import peers
from torch import nn

import explain_core as xc


def same_net(p: peers.Problem, dtype: torch.dtype) -> Net:
    """The problem's weights in `nn.LSTM` or `nn.GRU`."""
    recurrent = getattr(nn, p.kind)(peers.FEATURES, peers.HIDDEN, batch_first=True).to(dtype)
    head = nn.Linear(peers.HIDDEN, 1, bias=False).to(dtype)
    tensors = {name: torch.from_numpy(array) for name, array in p.weights.items()}
    head.load_state_dict({"weight": tensors.pop("head")})
    recurrent.load_state_dict(tensors)
    return Net(lambda net, x: net.head(net.rnn(x)[0][:, -1]), rnn=recurrent, head=head).eval()


@pytest.mark.parametrize("name", peers.PROBLEMS)
@pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-10)], ids=["float32", "float64"]
)
def test_shap_on_written_out_cells_says_the_same(name, dtype, bound):
    p = peers.problem(name)
    expected = peers.shap_answers()[f"{name}/attributions"]
    numbers = np.float32 if dtype == torch.float32 else np.float64
    ex = xc.explain(same_net(p, dtype), p.test.astype(numbers), baselines=p.base.astype(numbers))
    largest = np.abs(expected).max(axis=(1, 2), keepdims=True)
    assert (np.abs(ex.attributions.values - expected) / largest).max() <= bound
    np.testing.assert_allclose(ex.prediction.values[:, 0], peers.shap_answers()[f"{name}/prediction"], atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-10)], ids=["float32", "float64"]
)
def test_captum_on_feed_forward_nets_says_the_same(seed, dtype, bound):
    net, _ = peers.feed_forward(seed)
    rng = np.random.default_rng(seed)
    test, base = rng.normal(size=(2, 5, 4)).astype(np.float32).astype(np.float64)
    expected = peers.captum_answer(net, test, base)
    numbers = np.float32 if dtype == torch.float32 else np.float64
    ex = xc.explain(net.to(dtype), test.astype(numbers), baselines=base.astype(numbers))
    largest = np.abs(expected).max(axis=1, keepdims=True)
    assert (np.abs(ex.attributions.values - expected) / largest).max() <= bound
