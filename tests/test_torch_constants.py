"""What a model does with values that no input decides: changes them, draws them from a seed, masks with infinity."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from exactness import Net, draw, unchanged
from torch import nn

import explain_core as xc

SAMPLES, STEPS, FEATURES = 3, 6, 4
X, BASE = draw(0, SAMPLES, STEPS, FEATURES), draw(1, SAMPLES, STEPS, FEATURES)


def net(forward, **more):
    torch.manual_seed(3)
    made = Net(forward, head=nn.Linear(FEATURES, 2), scale=nn.Linear(FEATURES, FEATURES), **more).double().eval()
    made.register_buffer("levels", torch.linspace(0.5, 2.0, FEATURES).double())
    return made


def assert_alike(forward, plainly, note="", **more):
    model = net(forward, **more)
    with unchanged(model):
        found = xc.explain(model, X, baselines=BASE)
    expected = xc.explain(net(plainly), X, baselines=BASE)
    np.testing.assert_allclose(found.prediction, expected.prediction, atol=1e-13)
    np.testing.assert_allclose(found.attributions, expected.attributions, atol=1e-13)
    assert found.relative_residual.max() <= 1e-12
    assert any(note in said for said in found.notes) if note else not found.notes


# --- Constants that change in place ---------------------------------------------------------------------------------


def decaying(net, x):
    weight, total = torch.ones(FEATURES, dtype=x.dtype), 0
    for t in range(STEPS):
        total = total + x[:, t] * weight
        weight *= 0.9
    return net.head(total)


def decaying_plainly(net, x):
    return net.head(sum(x[:, t] * 0.9**t for t in range(STEPS)))


def decaying_from_a_view(net, x):
    weight, total = torch.ones(FEATURES, dtype=x.dtype), 0
    row = weight.view(1, -1)
    for t in range(STEPS):
        total = total + x[:, t] * row
        weight[:2].mul_(0.9)
        weight[2:] = weight[2:] * 0.9
    return net.head(total)


def rewritten(net, x):
    weight = torch.full((FEATURES,), 3.0, dtype=x.dtype)
    y = torch.tanh(x[:, 0]) / weight + torch.where(weight > 2, x[:, 1], 0 * x[:, 1])
    weight.zero_().add_(2)
    return net.head(torch.maximum(y * weight, weight - 1) + torch.lerp(x[:, 2], x[:, 3], weight / 4))


def rewritten_plainly(net, x):
    two = torch.full((FEATURES,), 2.0, dtype=x.dtype)
    y = torch.tanh(x[:, 0]) / (two + 1) + x[:, 1]
    return net.head(torch.maximum(y * two, two - 1) + torch.lerp(x[:, 2], x[:, 3], two / 4))


@pytest.mark.parametrize(
    ("forward", "plainly"),
    [(decaying, decaying_plainly), (decaying_from_a_view, decaying_plainly), (rewritten, rewritten_plainly)],
    ids=lambda f: f.__name__,
)
def test_a_constant_that_is_used_and_then_changed(forward, plainly):
    assert_alike(forward, plainly)


def shaped_in_place(net, x):
    y = x.tanh().sum(1)
    y.unsqueeze_(1).transpose_(1, 2).squeeze_(-1)
    return net.head(y.squeeze_())


def test_a_shape_that_changes_in_place():
    assert_alike(shaped_in_place, lambda net, x: net.head(x.tanh().sum(1)))


def a_buffer_written_through_a_view(net, x):
    net.levels[1:] += 1
    y = (x * net.levels).sum(1)
    net.levels.mul_(2)
    return net.head(y * net.levels)


def a_buffer_written_plainly(net, x):
    levels = net.levels + torch.tensor([0, 1, 1, 1], dtype=x.dtype)
    return net.head((x * levels).sum(1) * (2 * levels))


def test_a_buffer_that_is_written_through_a_view():
    assert_alike(a_buffer_written_through_a_view, a_buffer_written_plainly, note="keeps values between calls (levels)")


# --- Weights that forward writes to ---------------------------------------------------------------------------------


def rewritten_in_place(net, x):
    with torch.no_grad():
        net.scale.weight.clamp_(-10, 10)
        net.scale.bias.view(2, 2)[0].mul_(1.0)
    return scaled(net, x)


def rewritten_as_data(net, x):
    net.scale.weight.data = net.scale.weight.data.clone()
    return scaled(net, x)


def doubled_and_halved(net, x):
    net.scale.weight.data[:] = net.scale.weight.data * 2
    y = net.scale(x)
    net.scale.weight.data.div_(2)
    return net.head(((y + net.scale.bias) / 2).tanh().sum(1))


def scaled(net, x):
    return net.head(net.scale(x).tanh().sum(1))


@pytest.mark.parametrize(
    "forward", [rewritten_in_place, rewritten_as_data, doubled_and_halved], ids=lambda f: f.__name__
)
def test_weights_may_be_written_that_stay_what_they_are(forward):
    assert_alike(forward, scaled)


def halved_in_place(net, x):
    with torch.no_grad():
        net.scale.weight.div_(2)
    return scaled(net, x)


def halved_as_data(net, x):
    net.scale.weight.data = net.scale.weight.data / 2
    return scaled(net, x)


def halved_once(net, x):
    if not getattr(net, "done", False):
        net.scale.weight.data[:] = net.scale.weight.data * 0.5
        net.done = True
    return scaled(net, x)


@pytest.mark.parametrize("forward", [halved_in_place, halved_as_data, halved_once], ids=lambda f: f.__name__)
def test_a_model_that_changes_its_weights_is_named_and_kept(forward):
    model = net(forward)
    with unchanged(model), pytest.raises(xc.errors.CaptureError) as caught:
        xc.explain(model, X, baselines=BASE)
    assert caught.value.what == "the model changes its weight 'scale.weight' when it is called"
    assert caught.value.where == "scale"
    assert "call the model once before" in caught.value.hint


def test_after_its_first_call_such_a_model_is_explained():
    model, plainly = net(halved_once), net(scaled)
    with torch.no_grad():
        model(torch.from_numpy(X))
        plainly.scale.weight.div_(2)
    found, expected = xc.explain(model, X, baselines=BASE), xc.explain(plainly, X, baselines=BASE)
    np.testing.assert_allclose(found.attributions, expected.attributions, atol=1e-14)


def test_weights_that_are_written_by_the_input_are_refused():
    def forward(net, x):
        net.scale.weight.data.add_(x.mean())
        return net.head(net.scale(x).sum(1))

    model = net(forward)
    with unchanged(model), pytest.raises(xc.errors.CaptureError, match=r"changes its weight 'scale\.weight'"):
        xc.explain(model, X, baselines=BASE)


# --- Numbers that are not finite ------------------------------------------------------------------------------------


def with_buffer(forward, value):
    model = net(forward)
    model.register_buffer("odd", value)
    return model


def test_a_mask_of_infinities_may_be_a_buffer():
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(FEATURES, 2, batch_first=True)
    causal = nn.Transformer.generate_square_subsequent_mask(STEPS).double()

    def by_buffer(net, x):
        return net.head(net.attention(x, x, x, attn_mask=net.odd)[0][:, 2])

    def by_cut(net, x):
        x = x[:, :3]
        return net.head(net.attention(x, x, x, attn_mask=causal[:3, :3])[0][:, 2])

    model = with_buffer(by_buffer, causal)
    model.attention = attention.double().eval()
    cut = net(by_cut, attention=attention)
    found, expected = xc.explain(model, X, baselines=BASE), xc.explain(cut, X, baselines=BASE)
    assert found.relative_residual.max() <= 1e-12
    np.testing.assert_allclose(found.attributions, expected.attributions, atol=1e-14)
    assert np.abs(found.attributions[..., 3:, :]).max() == 0


def test_a_buffer_that_is_never_used_may_hold_anything():
    model = with_buffer(decaying_plainly, torch.full((3,), float("nan")).double())
    assert xc.explain(model, X, baselines=BASE).relative_residual.max() <= 1e-12


def test_a_buffer_that_spoils_the_prediction_is_named():
    model = with_buffer(lambda net, x: net.head(x[:, 0] + net.odd), torch.full((FEATURES,), float("nan")).double())
    with pytest.raises(xc.errors.NonFiniteError) as caught:
        xc.explain(model, X, baselines=BASE)
    assert caught.value.hint == "The buffer 'odd' contains NaN or infinity."


# --- Random numbers -------------------------------------------------------------------------------------------------


def seeded(net, x):
    generator = torch.Generator().manual_seed(3)
    return net.head((x * torch.rand(FEATURES, generator=generator, dtype=x.dtype)).sum(1))


def seeded_for_all(net, x):
    torch.manual_seed(3)
    return net.head((x * torch.rand(FEATURES, dtype=x.dtype)).sum(1))


def seeded_in_place(net, x):
    generator = torch.Generator().manual_seed(3)
    noise = torch.empty(FEATURES, dtype=x.dtype).uniform_(generator=generator)
    noise *= 2
    return net.head((x * noise).sum(1) / 2)


def seeded_like(net, x):
    torch.manual_seed(3)
    return net.head((x * torch.rand_like(x[0, 0])).sum(1))


@pytest.mark.parametrize("forward", [seeded, seeded_for_all, seeded_in_place, seeded_like], ids=lambda f: f.__name__)
def test_numbers_from_a_seed_are_constants(forward):
    drawn = torch.rand(FEATURES, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    assert_alike(forward, lambda net, x: net.head((x * drawn).sum(1)))


def from_a_generator_that_goes_on(net, x):
    return net.head((x * torch.rand(FEATURES, generator=GENERATOR, dtype=x.dtype)).sum(1))


GENERATOR = torch.Generator().manual_seed(3)


def unseeded(net, x):
    return net.head((x * torch.rand(FEATURES, dtype=x.dtype)).sum(1))


def unseeded_and_unseen(net, x):
    return net.head((x + 1e-12 * torch.rand(FEATURES, dtype=x.dtype)).sum(1))


@pytest.mark.parametrize(
    "forward", [from_a_generator_that_goes_on, unseeded, unseeded_and_unseen], ids=lambda f: f.__name__
)
def test_numbers_without_a_seed_are_refused(forward):
    with pytest.raises(xc.errors.UnsupportedOperation) as caught:
        xc.explain(net(lambda net, x: net.inner(x), inner=net(forward)), X, baselines=BASE)
    assert caught.value.what == "rand draws random numbers, so the model answers differently each time"
    assert caught.value.where == "inner"
    assert "seed a torch.Generator in forward" in caught.value.hint


def test_chances_from_the_input_are_refused():
    def forward(net, x):
        generator = torch.Generator().manual_seed(3)
        return net.head((x * torch.bernoulli(torch.sigmoid(x), generator=generator)).sum(1))

    with pytest.raises(xc.errors.CaptureError) as caught:
        xc.explain(net(forward), X, baselines=BASE)
    chances = "the chances of random numbers are computed from the explained input (sigmoid(the input))"
    assert caught.value.what.startswith(f"{chances}: 72 of 72 values differ")


# --- Other kinds of numbers -----------------------------------------------------------------------------------------


def test_a_part_in_single_precision_of_a_model_in_double():
    def forward(net, x):
        return net.head(net.lstm(net.scale(x).float())[0][:, -1].double())

    model = net(forward, lstm=nn.LSTM(FEATURES, FEATURES, batch_first=True))
    model.lstm.float()
    found = xc.explain(model, X, baselines=BASE)
    assert found.relative_residual.max() <= 1e-12
    assert found.notes == ["A part of the model computes in float32; it is explained in float64."]
    with torch.no_grad():
        np.testing.assert_allclose(found.prediction, model(torch.from_numpy(X)), atol=1e-6)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [nn.LSTM, nn.Linear])
def test_a_quantized_layer_is_named(kind):
    layers = nn.Sequential(nn.Linear(FEATURES, 5) if kind is nn.Linear else nn.LSTM(FEATURES, 5)).eval()
    model = torch.ao.quantization.quantize_dynamic(layers, {kind})
    with pytest.raises(xc.errors.UnsupportedOperation) as caught:
        xc.explain(model, X.astype(np.float32))
    assert caught.value.what.startswith(f"the layer {kind.__name__} is quantized")
    assert (caught.value.where, caught.value.hint) == ("0", "Explain the model as it was before it was quantized.")


# --- PyTorch's fast path --------------------------------------------------------------------------------------------


class Padded(nn.Module):
    def __init__(self, norm=False, additive=False):
        super().__init__()
        torch.manual_seed(2)
        layer = nn.TransformerEncoderLayer(FEATURES, 2, 8, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(FEATURES) if norm else None)
        self.head, self.additive = nn.Linear(FEATURES, 2), additive

    def forward(self, x, lengths):
        padded = torch.arange(STEPS) >= lengths[:, None]
        if self.additive:
            padded = torch.zeros(padded.shape, dtype=x.dtype).masked_fill(padded, float("-inf"))
        return self.head(self.encoder(x, src_key_padding_mask=padded).mean(1))


class PaddedPlainly(Padded):
    def forward(self, x, lengths):
        padded = torch.arange(STEPS) >= lengths[:, None]
        for layer in self.encoder.layers:
            x = layer(x, src_key_padding_mask=padded)
        x = x.masked_fill(padded[..., None], 0.0)
        return self.head((x if self.encoder.norm is None else self.encoder.norm(x)).mean(1))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("additive", [False, True], ids=["truths", "infinities"])
@pytest.mark.parametrize("norm", [False, True], ids=["bare", "norm"])
def test_the_zeros_at_padded_timesteps_are_explained(norm, additive):
    lengths = np.array([6, 4, 2])
    model, plainly = Padded(norm, additive).double().eval(), PaddedPlainly(norm).double().eval()
    found = xc.explain(model, (X, lengths), baselines=(BASE, lengths))
    expected = xc.explain(plainly, (X, lengths), baselines=(BASE, lengths))
    assert found.relative_residual.max() <= 1e-12
    with torch.no_grad():
        np.testing.assert_allclose(found.prediction, model(torch.from_numpy(X), torch.from_numpy(lengths)), atol=1e-14)
    np.testing.assert_allclose(found.attributions, expected.attributions, atol=1e-14)
    said = "In evaluation without gradients PyTorch puts zeros in place of padded timesteps (encoder); that is what is "
    assert any(note.startswith(said) for note in found.notes)


class Translated(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.both = nn.Transformer(FEATURES, 2, 1, 1, 8, batch_first=True)
        self.head = nn.Linear(FEATURES, 2)

    def forward(self, x, lengths):
        padded = torch.arange(STEPS) >= lengths[:, None]
        causal = nn.Transformer.generate_square_subsequent_mask(STEPS, dtype=x.dtype)
        padding = {"src_key_padding_mask": padded, "tgt_key_padding_mask": padded, "memory_key_padding_mask": padded}
        return self.head(self.both(x, x.flip(1).roll(1, 1), tgt_mask=causal, **padding)[:, 1])


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors", "ignore:Support for mismatched")
def test_an_encoder_and_a_decoder_with_masks():
    lengths = np.array([6, 4, 2])
    model = Translated().double().eval()
    found = xc.explain(model, (X, lengths), baselines=(BASE, lengths))
    assert found.relative_residual.max() <= 1e-12
    with torch.no_grad():
        np.testing.assert_allclose(found.prediction, model(torch.from_numpy(X), torch.from_numpy(lengths)), atol=1e-14)
