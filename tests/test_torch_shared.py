"""Inputs that all samples share, such as weights of features or positions in time, are the same for each of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from exactness import Named, draw
from torch import nn

import explain_core as xc

STEPS, FEATURES = 4, 3
WEIGHTS = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)


def weighed():
    return Named(lambda net, x, w: (x * w).sum((1, 2))[:, None]).double().eval()


def positioned():
    torch.manual_seed(0)
    model = Named(lambda net, x, p: (x + net.table(p)).tanh().sum(1), table=nn.Embedding(STEPS, FEATURES))
    return model.double().eval()


def position_numbers():
    return torch.arange(STEPS)[None]


@pytest.mark.parametrize("samples", [2, FEATURES, STEPS, 300])
def test_each_sample_is_explained_with_what_all_share(samples):
    x = draw(0, samples, STEPS, FEATURES)
    found = xc.explain(weighed(), (x, WEIGHTS), target=0, sample_axis={"w": None})
    np.testing.assert_allclose(found.attributions, x * WEIGHTS.numpy(), rtol=1e-12)
    assert any("'w' is shared by all samples" in note for note in found.notes)


@pytest.mark.parametrize("samples", [2, STEPS])
def test_positions_are_not_taken_for_tokens_of_a_sample(samples):
    x, model = draw(0, samples, STEPS, FEATURES), positioned()
    found = xc.explain(model, {"x": x, "p": position_numbers()}, target=1, sample_axis={"x": 0, "p": None})
    table = model.table.weight.detach().numpy()
    np.testing.assert_allclose(found.prediction.values[:, 0], np.tanh(x + table).sum(1)[:, 1], rtol=1e-12)
    np.testing.assert_allclose(found.attributions.values[..., 1], np.tanh(x + table)[..., 1] - np.tanh(table)[:, 1])


def test_over_a_background_too():
    x, background = draw(0, 3, STEPS, FEATURES), draw(1, 5, STEPS, FEATURES)
    found = xc.explain(weighed(), (x, WEIGHTS), background, target=0, background=True, sample_axis={"w": None})
    np.testing.assert_allclose(found.attributions, (x - background.mean(0)) * WEIGHTS.numpy(), rtol=1e-10)


@pytest.mark.parametrize(("model", "samples", "shared"), [(weighed, FEATURES, WEIGHTS), (positioned, STEPS, None)])
def test_a_shared_input_of_as_many_elements_as_samples_is_told_how_to_say_so(model, samples, shared):
    shared = position_numbers().expand(samples, STEPS)[:1] if shared is None else shared
    with pytest.raises(xc.errors.CompletenessError) as caught:
        xc.explain(model(), (draw(0, samples, STEPS, FEATURES), shared), target=0)
    assert "sample_axis={name: None}" in caught.value.hint


def test_a_shared_input_of_another_size_is_told_how_to_say_so():
    with pytest.raises(xc.errors.InputError) as caught:
        xc.explain(positioned(), (draw(0, 5, STEPS, FEATURES), position_numbers()), target=0)
    assert "sample_axis={'p': None}" in caught.value.hint


def test_the_first_input_has_samples():
    with pytest.raises(xc.errors.InputError, match="the first input is to have samples") as caught:
        xc.explain(weighed(), (draw(0, 5, STEPS, FEATURES), WEIGHTS), sample_axis={"x": None})
    assert caught.value.where == "x"
