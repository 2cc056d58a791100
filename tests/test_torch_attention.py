"""What reads a sequence as a whole: pooling over time, attention, lengths and masks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cases import (
    FEATURES,
    SAMPLES,
    STEPS,
    Case,
    check_case,
    flat,
    head,
    last,
    part,
    recurrent,
    run_cases,
    with_lstm,
)
from exactness import DTYPES, RESIDUAL, Net, assert_exact, draw, weights_of
from reference import layers, paired
from reference.layers import linear
from reference.paired import elementwise, max_over, softmax
from torch import nn

import explain_core as xc

# --- Pooling over time -------------------------------------------------------------------------------------


POOLING = {
    "last": Case(
        with_lstm(lambda net, x: net.head(net.lstm(x)[0][:, -1]), head=lambda: head(FEATURES)),
        lambda w, x: linear(w, last(recurrent(w, "lstm", x)), "head."),
    ),
    "select": Case(
        with_lstm(lambda net, x: net.head(net.lstm(x)[0].select(1, STEPS - 1)), head=lambda: head(FEATURES)),
        lambda w, x: linear(w, last(recurrent(w, "lstm", x)), "head."),
    ),
    "mean": Case(
        with_lstm(lambda net, x: net.head(net.lstm(x)[0].mean(dim=1)), head=lambda: head(FEATURES)),
        lambda w, x: linear(w, recurrent(w, "lstm", x).average(0, keepdims=True), "head."),
    ),
}
# Every element's exact Shapley value.
MAXIMA = {
    name: Case(
        with_lstm(forward, head=lambda: head(FEATURES)),
        lambda w, x: linear(w, max_over(recurrent(w, "lstm", x), 0).reshape(1, -1), "head."),
    )
    for name, forward in {
        "max": lambda net, x: net.head(net.lstm(x)[0].max(dim=1).values),
        "amax": lambda net, x: net.head(net.lstm(x)[0].amax(1)),
        "adaptive-max-pool": lambda net, x: net.head(F.adaptive_max_pool1d(net.lstm(x)[0].mT, 1).squeeze(-1)),
        "max-pool": lambda net, x: net.head(F.max_pool1d(net.lstm(x)[0].mT, STEPS).squeeze(-1)),
    }.items()
}


@run_cases({**POOLING, **MAXIMA})
def test_pooling_over_time(case, dtype):
    check_case(case, dtype)


# --- Attention ---------------------------------------------------------------------------------------------


def attention_over_time(net, x):
    y = net.lstm(x)[0]
    weights = torch.softmax(net.score(torch.tanh(net.key(y))), dim=1)
    return net.head(torch.bmm(weights.transpose(1, 2), y).squeeze(1))


def attention_over_time_mirror(w, x):
    y = recurrent(w, "lstm", x)
    weights = softmax(linear(w, elementwise(linear(w, y, "key."), paired.tanh), "score."), 0)
    return linear(w, weights.transpose(1, 0) @ y, "head.")


CAUSAL = np.triu(np.full((STEPS, STEPS), -1e9), 1)


def encoder(**options) -> Callable[[], nn.Module]:
    return lambda: nn.TransformerEncoderLayer(FEATURES, 2, 8, batch_first=True, **options)


def transformer(**options) -> Callable[[], nn.Module]:
    return with_lstm(lambda net, x: net.head(net.norm(net.lstm(x)[0]).flatten(1)), norm=encoder(**options), head=head)


def transformer_mirror(**options):
    return lambda w, x: flat(
        w, layers.transformer_encoder_layer(part(w, "norm"), recurrent(w, "lstm", x), 2, **options)
    )


def many_heads(**options):
    return lambda: nn.MultiheadAttention(FEATURES, 2, batch_first=True, **options)


ATTENTION = {
    "over-time": Case(
        with_lstm(
            attention_over_time,
            key=lambda: nn.Linear(FEATURES, 3),
            score=lambda: nn.Linear(3, 1, bias=False),
            head=lambda: head(FEATURES),
        ),
        attention_over_time_mirror,
    ),
    "scaled-dot-product": Case(
        with_lstm(
            lambda net, x: net.head(F.scaled_dot_product_attention(net.lstm(x)[0], x, x).flatten(1)),
            head=head,
        ),
        lambda w, x: flat(w, layers.attention(recurrent(w, "lstm", x), x, x)),
    ),
    "scaled-dot-product-causal": Case(
        with_lstm(
            lambda net, x: net.head(F.scaled_dot_product_attention(net.lstm(x)[0], x, x, is_causal=True).flatten(1)),
            head=head,
        ),
        lambda w, x: flat(w, layers.attention(recurrent(w, "lstm", x), x, x, CAUSAL)),
    ),
    "MultiheadAttention": Case(
        with_lstm(
            lambda net, x: net.head(net.attend(net.lstm(x)[0], x, x, need_weights=False)[0].flatten(1)),
            attend=many_heads(),
            head=head,
        ),
        lambda w, x: flat(w, layers.multihead_attention(part(w, "attend"), recurrent(w, "lstm", x), x, x, 2)),
    ),
    "MultiheadAttention-with-weights": Case(
        with_lstm(
            lambda net, x: net.head(net.attend(net.lstm(x)[0], x, x)[0].flatten(1)),
            attend=many_heads(),
            head=head,
        ),
        lambda w, x: flat(w, layers.multihead_attention(part(w, "attend"), recurrent(w, "lstm", x), x, x, 2)),
    ),
    "MultiheadAttention-fast-path": Case(
        with_lstm(
            lambda net, x: net.head(self_attention(net.attend, net.lstm(x)[0]).flatten(1)),
            attend=many_heads(),
            head=head,
        ),
        lambda w, x: flat(w, layers.multihead_attention(part(w, "attend"), *[recurrent(w, "lstm", x)] * 3, 2)),
    ),
    "MultiheadAttention-masked": Case(
        with_lstm(
            lambda net, x: net.head(net.attend(*[net.lstm(x)[0]] * 3, attn_mask=causal_mask(x))[0].flatten(1)),
            attend=many_heads(),
            head=head,
        ),
        lambda w, x: flat(
            w, layers.multihead_attention(part(w, "attend"), *[recurrent(w, "lstm", x)] * 3, 2, mask=CAUSAL)
        ),
    ),
    "TransformerEncoderLayer": Case(transformer(), transformer_mirror()),
    "TransformerEncoderLayer-gelu": Case(transformer(activation="gelu"), transformer_mirror(activation=paired.gelu)),
    "TransformerEncoderLayer-norm-first": Case(transformer(norm_first=True), transformer_mirror(norm_first=True)),
}


def causal_mask(x):
    return nn.Transformer.generate_square_subsequent_mask(STEPS, dtype=x.dtype)


def self_attention(module, y):
    return module(y, y, y, need_weights=False)[0]


@run_cases(ATTENTION)
def test_attention(case, dtype):
    check_case(case, dtype)


# Attention with its options, and the same written out.
OPTIONS = {
    "scale": (
        lambda q: F.scaled_dot_product_attention(q, q, q, scale=0.3),
        lambda q: torch.softmax(0.3 * q @ q.mT, -1) @ q,
    ),
    "fewer keys than queries": (
        lambda q: F.scaled_dot_product_attention(q, q[:, :2].tanh(), q[:, 2:], enable_gqa=True),
        lambda q: (
            torch.softmax(q @ q[:, [0, 0, 1, 1]].tanh().mT / FEATURES**0.5, -1)
            @ torch.stack([q[:, 2 + k // 2] for k in range(4)], 1)
        ),
    ),
    "a row with nothing to attend to": (
        lambda q: F.scaled_dot_product_attention(q, q, q, attn_mask=torch.ones(STEPS, STEPS).tril(-1).bool()),
        lambda q: F.pad(
            torch.softmax((q @ q.mT / FEATURES**0.5 + torch.full((STEPS, STEPS), -torch.inf).triu())[..., 1:, :], -1)
            @ q,
            (0, 0, 1, 0),
        ),
    ),
    "a row with nothing to attend to, by numbers": (
        lambda q: F.scaled_dot_product_attention(
            q, q, q, attn_mask=torch.full((STEPS, STEPS), -torch.inf, dtype=q.dtype).triu()
        ),
        lambda q: F.scaled_dot_product_attention(q, q, q, attn_mask=torch.ones(STEPS, STEPS).tril(-1).bool()),
    ),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_of_attention(name):
    """Four heads of queries, each a mixture of the input."""

    def model(attend):
        torch.manual_seed(7)
        heads = lambda net, x: torch.stack([net.mix[k](x) for k in range(4)], 1)  # noqa: E731
        net = Net(lambda net, x: net.head(attend(heads(net, x)).flatten(1)), head=head(4 * STEPS * FEATURES))
        net.mix = nn.ModuleList(nn.Linear(FEATURES, FEATURES) for _ in range(4))
        return net.double()

    x, base = draw(0, SAMPLES, STEPS, FEATURES), draw(1, SAMPLES, STEPS, FEATURES)
    by_option, written_out = (xc.explain(model(attend), x, baselines=base) for attend in OPTIONS[name])
    assert by_option.relative_residual.max() <= 1e-12
    np.testing.assert_allclose(by_option.prediction, written_out.prediction, atol=1e-13)
    np.testing.assert_allclose(by_option.attributions, written_out.attributions, atol=1e-13)


def test_left_padding_under_a_causal_mask():
    """The padding that comes first has nothing to attend to, and gets nothing."""

    def causal(x):
        return torch.ones(x.shape[1], x.shape[1]).triu(1).bool()

    net = Net(
        lambda net, x, padding: net.head(
            net.attend(x, x, x, key_padding_mask=padding, attn_mask=causal(x), need_weights=False)[0][:, -1]
        ),
        attend=nn.MultiheadAttention(FEATURES, 2, batch_first=True),
        head=nn.Linear(FEATURES, 1),
    ).double()
    x, base = draw(0, SAMPLES, STEPS, FEATURES), draw(1, SAMPLES, STEPS, FEATURES)
    padding = np.arange(STEPS) < np.array([[2], [0], [3]])
    ex = xc.explain(net, (x, padding), baselines=(base, padding))
    (found,) = ex.attributions.values() if isinstance(ex.attributions, dict) else [ex.attributions]
    assert ex.relative_residual.max() <= 1e-12
    assert not found.values[padding].any()
    for n, first in enumerate((2, 0, 3)):
        cut = slice(n, n + 1), slice(first, None)
        alone = xc.explain(net, (x[cut], padding[cut]), baselines=(base[cut], padding[cut])).attributions
        np.testing.assert_allclose(found.values[n, first:], alone.values[0], atol=1e-14)


def test_the_fast_path_of_transformers_is_as_it_was():
    before = torch.backends.mha.get_fastpath_enabled()
    net = Net(lambda net, x: net.norm(x).mean(1), norm=encoder()())
    xc.explain(net, draw(0, SAMPLES, STEPS, FEATURES).astype(np.float32))
    assert torch.backends.mha.get_fastpath_enabled() == before
    with pytest.raises(xc.errors.CaptureError):
        xc.explain(Net(lambda net, x: net.norm(x[0]).item(), norm=encoder()()), draw(0, SAMPLES, STEPS, FEATURES))
    assert torch.backends.mha.get_fastpath_enabled() == before


def test_transformer_encoder_stack_under_no_grad_takes_its_fast_path():
    """Without gradients PyTorch runs the whole layer as one fused operation."""
    torch.manual_seed(7)
    stacked = nn.TransformerEncoder(encoder()(), 2).eval()
    net = Net(frozen_forward, stack=stacked, head=head()).eval().requires_grad_(False)

    def mirror(x):
        w = weights_of(net)
        for level in range(2):
            x = layers.transformer_encoder_layer(part(w, f"stack.layers.{level}"), x, 2)
        return flat(w, x)

    assert_exact(net, [draw(0, SAMPLES, STEPS, FEATURES)], mirror)


def frozen_forward(net, x):
    return net.head(net.stack(x).flatten(1))


@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])
@pytest.mark.parametrize("common", [0, 5, 20, 100, 1000])
@pytest.mark.parametrize("function", [torch.softmax, torch.log_softmax], ids=["softmax", "log-softmax"])
def test_logits_that_all_move_by_much_get_no_more_than_they_moved(function, common, dtype):
    """The output hardly moves, so neither attributions nor their rounding may grow exponentially."""
    numbers = np.float32 if dtype == torch.float32 else np.float64
    x = (draw(0, SAMPLES, FEATURES) + common).astype(numbers)
    base = draw(1, SAMPLES, FEATURES).astype(numbers)
    net = Net(lambda _, x: function(x, -1))
    ex = xc.explain(net, x, baselines=base, precision=str(dtype).removeprefix("torch."))
    moved = np.abs(x - base).max()
    assert np.isfinite(ex.attributions).all()
    assert np.abs(ex.attributions).max() <= 5 * (1 + moved)
    assert (np.abs(ex.residual) <= RESIDUAL[dtype] * ex.attribution_size + 8 * torch.finfo(dtype).eps).all()


# --- Lengths and masks -------------------------------------------------------------------------------------

LENGTHS = np.array([3, 6, 1])


def gather_last(net, x, lengths):
    y = net.lstm(x)[0]
    index = (lengths - 1)[:, None, None].expand(-1, 1, y.shape[2])
    return net.head(y.gather(1, index).squeeze(1))


def index_last(net, x, lengths):
    y = net.lstm(x)[0]
    return net.head(y[torch.arange(len(y)), lengths - 1])


def masked_mean(net, x, lengths):
    y = net.lstm(x)[0]
    mask = torch.arange(y.shape[1])[None] < lengths[:, None]
    return net.head(torch.where(mask[..., None], y, torch.zeros_like(y)).sum(1) / lengths[:, None])


def masked_fill_mean(net, x, lengths):
    y = net.lstm(x)[0]
    mask = torch.arange(y.shape[1])[None] >= lengths[:, None]
    return net.head(y.masked_fill(mask[..., None], 0.0).sum(1) / lengths.unsqueeze(1).to(y.dtype))


def masked_attention(net, x, lengths):
    y = net.lstm(x)[0]
    hidden = torch.arange(y.shape[1])[None] >= lengths[:, None]
    scores = (y @ net.query).masked_fill(hidden, float("-inf"))
    return net.head((torch.softmax(scores, 1)[..., None] * y).sum(1))


def masked_transformer(net, x, lengths):
    hidden = torch.arange(x.shape[1])[None] >= lengths[:, None]
    y = net.encoder(net.lstm(x)[0], src_key_padding_mask=hidden)
    return net.head(y[:, 0])


def mean_of_real(w, x, length):
    return linear(w, recurrent(w, "lstm", x)[:length].average(0, keepdims=True), "head.")


def last_of_real(w, x, length):
    return linear(w, recurrent(w, "lstm", x)[length - 1 : length], "head.")


def masked_attention_mirror(w, x, length):
    y = recurrent(w, "lstm", x)[:length]
    return linear(w, softmax(y @ w["query"][:, None], 0).transpose(1, 0) @ y, "head.")


def masked_transformer_mirror(w, x, length):
    y = recurrent(w, "lstm", x)[:length]
    return linear(w, layers.transformer_encoder_layer(part(w, "encoder"), y, 2)[:1], "head.")


BY_LENGTH = {
    "gather": (gather_last, last_of_real, {}),
    "index": (index_last, last_of_real, {}),
    "where": (masked_mean, mean_of_real, {}),
    "masked-fill": (masked_fill_mean, mean_of_real, {}),
    "attention": (masked_attention, masked_attention_mirror, {}),
    "transformer": (masked_transformer, masked_transformer_mirror, {"encoder": encoder()}),
}


@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])
@pytest.mark.parametrize("name", BY_LENGTH)
def test_lengths(name, dtype):
    forward, mirror, modules = BY_LENGTH[name]
    torch.manual_seed(7)
    net = with_lstm(forward, head=lambda: head(FEATURES), **modules)().eval()
    net.query = nn.Parameter(torch.randn(FEATURES))
    assert_exact(
        net,
        [draw(0, SAMPLES, STEPS, FEATURES), LENGTHS],
        lambda x, length: mirror(weights_of(net), x, int(length)),
        dtype=dtype,
    )


def test_boolean_mask_as_an_input():
    net = with_lstm(
        lambda net, x, mask: net.head(torch.where(mask[..., None], net.lstm(x)[0], -1.0).flatten(1)),
        head=head,
    )().eval()
    mask = np.random.default_rng(0).random((SAMPLES, STEPS)) < 0.5

    def mirror(x, keep):
        w = weights_of(net)
        return flat(w, paired.where(keep[:, None], recurrent(w, "lstm", x), np.full((STEPS, FEATURES), -1.0)))

    assert_exact(net, [draw(0, SAMPLES, STEPS, FEATURES), mask], mirror)


@pytest.mark.parametrize("form", ["where", "mask product"])
def test_condition_on_the_values_themselves_is_complete_or_refused(form):
    """A leaky relu by hand: the condition differs within the pair, and no multiplier can say what it did."""

    def forward(net, x):
        y = net.lstm(x)[0]
        return net.head((torch.where(y > 0, y, 0.1 * y) if form == "where" else y * (y > 0)).flatten(1))

    net = with_lstm(forward, head=head)().eval().double()
    x = draw(0, SAMPLES, STEPS, FEATURES)
    try:
        ex = xc.explain(net, x, baselines=draw(1, SAMPLES, STEPS, FEATURES))
    except xc.errors.UnsupportedOperation:
        return
    assert ex.relative_residual.max() <= 1e-12
