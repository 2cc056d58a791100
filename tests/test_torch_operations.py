"""Operation by operation: what each must give follows from its kind, without a mirror.

An elementwise function gives each element its own difference; a linear operation the gradient times the difference;
a function of two tensors the two-player Shapley values by their formula. Anything else either adds up or is refused
by name: never a silent gradient.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from exactness import Net, draw

import explain_core as xc

SHAPE = (2, 6, 4)  # samples, steps, features


def pair(positive: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Test and baseline, some of whose elements are equal."""
    x, base = draw(0, *SHAPE), draw(1, *SHAPE)
    base[:, 2] = x[:, 2]
    return (np.abs(x) + 0.3, np.abs(base) + 0.3) if positive else (x, base)


def explain(function, x, base):
    """The explanation, or the error of one who refuses."""
    try:
        return xc.explain(Net(lambda _, *inputs: function(*inputs)), x, baselines=base, precision="float64")
    except (xc.errors.UnsupportedOperation, xc.errors.CaptureError) as refused:
        return refused


# --- Elementwise -------------------------------------------------------------------------------------------

ELEMENTWISE = {
    "abs": torch.abs,
    "neg": torch.neg,
    "exp": torch.exp,
    "exp2": torch.exp2,
    "expm1": torch.expm1,
    "sin": torch.sin,
    "cos": torch.cos,
    "atan": torch.atan,
    "sinh": torch.sinh,
    "cosh": torch.cosh,
    "asinh": torch.asinh,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "erf": torch.erf,
    "erfc": torch.erfc,
    "square": torch.square,
    "relu": torch.relu,
    "relu6": F.relu6,
    "elu": F.elu,
    "selu": F.selu,
    "celu": F.celu,
    "gelu": F.gelu,
    "silu": F.silu,
    "mish": F.mish,
    "softplus": F.softplus,
    "logsigmoid": F.logsigmoid,
    "softsign": F.softsign,
    "hardtanh": F.hardtanh,
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "hardshrink": F.hardshrink,
    "softshrink": F.softshrink,
    "tanhshrink": F.tanhshrink,
    "leaky_relu": F.leaky_relu,
    "clamp": lambda x: x.clamp(-0.5, 0.7),
    "clamp_min": lambda x: x.clamp_min(0.1),
    "clamp_max": lambda x: x.clamp(max=0.1),
    "threshold": lambda x: F.threshold(x, 0.1, -2.0),
    "pow 2": lambda x: x**2,
    "pow 3": lambda x: x.pow(3),
    "number to a power": lambda x: 2.0**x,
    "x*x": lambda x: x * x,
    "polynomial": lambda x: 3 * x**3 - x * x / 2 + 1,
    "addcmul": lambda x: x.addcmul(x, x, value=0.5),
    "softplus with beta": lambda x: F.softplus(x, beta=3.0),
    "elu with alpha": lambda x: F.elu(x, 0.5),
    "double": lambda x: x.double(),
    "where constant": lambda x: torch.where(torch.tensor([True, False, True, True]), x, 0.0),
    "float mask": lambda x: x * torch.tensor([1.0, 0.0, 1.0, 0.5], dtype=x.dtype),
}
POSITIVE = {
    "log": torch.log,
    "log1p": torch.log1p,
    "log2": torch.log2,
    "log10": torch.log10,
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "reciprocal": torch.reciprocal,
    "1/x": lambda x: 1 / x,
    "pow 0.7": lambda x: x**0.7,
    "pow -1.5": lambda x: x.pow(-1.5),
    "x/(1+x)": lambda x: x / (x + 1),
    "xlogy": lambda x: torch.xlogy(x, torch.tensor(2.0)),
}


@pytest.mark.parametrize("name", [*ELEMENTWISE, *POSITIVE])
def test_elementwise_functions_give_each_element_its_own_difference(name):
    positive = name in POSITIVE
    function = POSITIVE[name] if positive else ELEMENTWISE[name]
    x, base = pair(positive)
    ex = explain(lambda x: function(x).sum((1, 2)), x, base)
    if name in MAY_BE_REFUSED and isinstance(ex, xc.errors.UnsupportedOperation):
        return
    expected = (function(torch.from_numpy(x)) - function(torch.from_numpy(base))).numpy()
    # "x*x" and "x/(1+x)" are elementwise as a whole: their products share one variable, so nothing else can get any.
    np.testing.assert_allclose(ex.attributions.values, expected, atol=1e-12 * np.abs(expected).max())


MAY_BE_REFUSED = {"xlogy"}


# --- Linear ------------------------------------------------------------------------------------------------

INDEX = torch.tensor([3, 0, 0, 2])
LINEAR = {
    "sum": lambda x: x.sum(1),
    "mean": lambda x: x.mean((1, 2)),
    "mean keepdim": lambda x: x - x.mean(1, keepdim=True),
    "cumsum": lambda x: x.cumsum(1),
    "flip": lambda x: x.flip(1),
    "roll": lambda x: x.roll(2, 1),
    "diff": lambda x: x.diff(dim=1),
    "transpose": lambda x: x.mT,
    "permute": lambda x: x.permute(0, 2, 1),
    "reshape": lambda x: x.reshape(2, 3, 8),
    "unflatten": lambda x: x.unflatten(1, (2, 3)),
    "squeeze": lambda x: x[:, :1].squeeze(1),
    "expand": lambda x: x[:, :1].expand(-1, 5, -1),
    "repeat": lambda x: x.repeat(1, 2, 1),
    "tile": lambda x: torch.tile(x, (1, 1, 2)),
    "repeat_interleave": lambda x: x.repeat_interleave(2, dim=1),
    "narrow": lambda x: x.narrow(1, 1, 3),
    "chunk": lambda x: x.chunk(3, dim=1)[1],
    "split": lambda x: x.split([1, 5], 1)[1],
    "unbind": lambda x: x.unbind(1)[3],
    "tensor_split": lambda x: x.tensor_split(4, dim=1)[0],
    "index_select": lambda x: x.index_select(1, INDEX),
    "index": lambda x: x[:, INDEX],
    "index two axes": lambda x: x[:, INDEX, INDEX],
    "boolean index": lambda x: x[:, torch.arange(6) > 2],
    "ellipsis step": lambda x: x[..., ::2],
    "gather": lambda x: x.gather(1, INDEX.expand(2, 1, 4)),
    "take_along_dim": lambda x: torch.take_along_dim(x, INDEX.expand(2, 1, 4), 1),
    "cat": lambda x: torch.cat([x, 2 * x[:, :1]], 1),
    "stack": lambda x: torch.stack([x, -x], 1),
    "hstack": lambda x: torch.hstack([x, x]),
    "pad": lambda x: F.pad(x, (1, 1, 2, 0)),
    "pad replicate": lambda x: F.pad(x, (2, 1), mode="replicate"),
    "pad reflect": lambda x: F.pad(x, (1, 2), mode="reflect"),
    "pad circular": lambda x: F.pad(x, (2, 1), mode="circular"),
    "unfold": lambda x: x.unfold(1, 3, 2),
    "matmul by a constant": lambda x: x @ torch.eye(4, dtype=x.dtype).cumsum(0),
    "constant matmul": lambda x: torch.ones(3, 6, dtype=x.dtype) @ x,
    "einsum": lambda x: torch.einsum("ntf,fg->ng", x, torch.ones(4, 2, dtype=x.dtype)),
    "tensordot": lambda x: torch.tensordot(x, torch.ones(4, 2, dtype=x.dtype), 1),
    "triu": lambda x: x.triu(),
    "tril": lambda x: x.tril(-1),
    "diagonal": lambda x: x.diagonal(dim1=1, dim2=2),
    "masked_fill": lambda x: x.masked_fill(torch.arange(4) > 1, 3.0),
    "masked_select": lambda x: x[:, :, torch.tensor([True, False, True, False])],
    "addmm": lambda x: torch.addmm(torch.zeros(2, dtype=x.dtype), x[:, 0], torch.ones(4, 2, dtype=x.dtype)),
    "baddbmm": lambda x: torch.baddbmm(x, torch.ones(2, 6, 3, dtype=x.dtype), torch.ones(2, 3, 4, dtype=x.dtype)),
    "add with alpha": lambda x: torch.add(x, x.flip(1), alpha=0.3),
    "rsub": lambda x: 1.5 - x,
    "div by a number": lambda x: x / 3,
    "avg_pool1d": lambda x: F.avg_pool1d(x, 2),
    "adaptive_avg_pool1d": lambda x: F.adaptive_avg_pool1d(x, 3),
    "avg_pool1d padded": lambda x: F.avg_pool1d(x, 3, 1, 1),
    "conv1d": lambda x: F.conv1d(x, torch.ones(2, 6, 3, dtype=x.dtype), padding=1),
    "conv_transpose1d": lambda x: F.conv_transpose1d(x, torch.ones(6, 2, 3, dtype=x.dtype), stride=2),
    "conv2d": lambda x: F.conv2d(x[:, None], torch.ones(2, 1, 3, 2, dtype=x.dtype)),
    "interpolate": lambda x: F.interpolate(x, 9, mode="linear"),
    "interpolate nearest": lambda x: F.interpolate(x, 3),
    "lerp to a constant": lambda x: torch.lerp(x, torch.ones_like(x), 0.3),
    "index_add": lambda x: torch.zeros(2, 6, 4, dtype=x.dtype).index_add(1, torch.tensor([0, 0, 1, 2, 2, 5]), x),
    "scatter_add": lambda x: torch.zeros_like(x).scatter_add(1, torch.zeros(2, 6, 4, dtype=torch.long), x),
    "scatter": lambda x: torch.zeros_like(x).scatter(1, torch.arange(6).flip(0)[None, :, None].expand(2, 6, 4), x),
    "index_put": lambda x: x.clone().index_put(
        (torch.tensor([0]), torch.tensor([1])), torch.tensor(0.0, dtype=x.dtype)
    ),
    "clone": lambda x: x.clone().contiguous(),
    "detach": lambda x: x.detach(),
    "data": lambda x: x.data * 2,
    "to": lambda x: x.to(torch.float64),
    "movedim": lambda x: x.movedim(1, 2),
    "swapaxes": lambda x: x.swapaxes(1, 2),
    "view_as": lambda x: x.view_as(torch.zeros(2, 6, 4)),
    "atleast": lambda x: torch.atleast_3d(x),
    "dropout in eval": lambda x: F.dropout(x, 0.5, training=False),
    "identity": lambda x: torch.nn.Identity()(x),
    "meshless outer": lambda x: x[:, :, None] * torch.ones(3, 1, dtype=x.dtype),
    "nan_to_num": lambda x: torch.nan_to_num(x) * 1,
    "trace by einsum": lambda x: torch.einsum("nii->n", x[:, :4]),
    "rot90": lambda x: torch.rot90(x, 1, (1, 2)),
    "logit scale": lambda x: torch.mul(x, 100.0),
    "batch_norm": lambda x: F.batch_norm(x, torch.ones(6, dtype=x.dtype), torch.ones(6, dtype=x.dtype) * 2),
    "as_strided": lambda x: x.as_strided((2, 3, 4), (24, 4, 1), 4),
}
# Linear for the pairs drawn here only, by their place in memory, or behind the tracer's back.
LINEAR_BUT_MAY_BE_REFUSED = {"nan_to_num", "as_strided", "data"}


@pytest.mark.parametrize("name", LINEAR)
def test_linear_operations_give_the_gradient_times_the_difference(name):
    function = LINEAR[name]
    x, base = pair()
    weights = torch.from_numpy(draw(2, *function(torch.from_numpy(x)).shape[1:]))

    def total(x):
        return (function(x) * weights).flatten(1).sum(1) if function(x).ndim > 1 else function(x) * weights

    ex = explain(total, x, base)
    if name in LINEAR_BUT_MAY_BE_REFUSED and isinstance(ex, xc.errors.ExplainError):
        return
    point = torch.from_numpy(base).requires_grad_()
    if name in ("detach", "data"):  # for the gradient they cut; for what the model computes they are nothing
        expected = draw(2, *SHAPE[1:]) * (2 if name == "data" else 1) * (x - base)
    else:
        expected = torch.autograd.grad(total(point).sum(), point)[0].numpy() * (x - base)
    np.testing.assert_allclose(ex.attributions.values, expected, atol=1e-12 * np.abs(expected).max())
    assert ex.relative_residual.max() <= 1e-12


# --- Two tensors -------------------------------------------------------------------------------------------

TWO = {
    "mul": torch.mul,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "fmax": torch.fmax,
    "fmin": torch.fmin,
    "atan2": torch.atan2,
    "hypot": torch.hypot,
    "where constant": lambda a, b: torch.where(torch.tensor([True, False, True, False]), a, b),
    "sub": torch.sub,
    "addcmul": lambda a, b: torch.addcmul(a, a, b, value=0.5),
    "sigmoid gate": lambda a, b: a * torch.sigmoid(b),
    "max of two": torch.max,
    "stack and max": lambda a, b: torch.stack([a, b]).amax(0),
    "logaddexp": torch.logaddexp,
}
TWO_POSITIVE = {
    "div": torch.div,
    "pow": torch.pow,
    "float_power": torch.float_power,
    "addcdiv": lambda a, b: torch.addcdiv(torch.zeros_like(a), a, b, value=2.0),
    "xlogy": torch.xlogy,
    "harmonic": lambda a, b: 1 / (1 / a + 1 / b),
}
# Not two-player games as they stand: inner functions by their own rules, or no rule at all.
COMPOSED = {"addcmul", "logaddexp", "harmonic", "hypot", "xlogy"}


@pytest.mark.parametrize("name", [*TWO, *TWO_POSITIVE])
def test_functions_of_two_tensors_give_two_player_shapley_values(name):
    function = TWO.get(name) or TWO_POSITIVE[name]
    x, x_base = pair(name in TWO_POSITIVE)
    y, y_base = (x_base[::-1].copy(), x[:, ::-1].copy())
    ex = explain(lambda a, b: function(a, b).sum((1, 2)), (x, y), (x_base, y_base))
    if name in COMPOSED and isinstance(ex, xc.errors.UnsupportedOperation):
        return
    a, a_base, b, b_base = map(torch.from_numpy, (x, x_base, y, y_base))
    with_b, with_base = function(a, b) - function(a_base, b), function(a, b_base) - function(a_base, b_base)
    for_b, for_base = function(a, b) - function(a, b_base), function(a_base, b) - function(a_base, b_base)
    assert ex.relative_residual.max() <= 1e-12
    if name in COMPOSED:
        return
    for found, first, second in zip(ex.attributions.values(), (with_b, for_b), (with_base, for_base), strict=True):
        expected = ((first + second) / 2).numpy()
        np.testing.assert_allclose(found.values, expected, atol=1e-12 * np.abs(expected).max())


# --- Everything else: it adds up, or it is refused by name -------------------------------------------------

OTHERS = {
    "norm": lambda x: x.norm(dim=2),
    "vector_norm": lambda x: torch.linalg.vector_norm(x, dim=1),
    "norm 1": lambda x: x.norm(1, dim=2),
    "normalize": lambda x: F.normalize(x, dim=2),
    "var": lambda x: x.var(1),
    "std": lambda x: x.std(1),
    "var_mean": lambda x: torch.var_mean(x, 1)[0],
    "prod": lambda x: x.prod(2),
    "cumprod": lambda x: x.cumprod(1),
    "logsumexp": lambda x: x.logsumexp(1),
    "logcumsumexp": lambda x: x.logcumsumexp(1),
    "softmin": lambda x: F.softmin(x, 1),
    "softmax two axes": lambda x: x.flatten(1).softmax(1),
    "cosine": lambda x: F.cosine_similarity(x[:, :3], x[:, 3:], dim=2),
    "cdist": lambda x: torch.cdist(x, x[:, :2]),
    "pairwise_distance": lambda x: F.pairwise_distance(x[:, 0], x[:, 1]),
    "topk": lambda x: x.topk(2, 1).values,
    "sort": lambda x: x.sort(1).values,
    "median": lambda x: x.median(1).values,
    "kthvalue": lambda x: x.kthvalue(2, 1).values,
    "cummax": lambda x: x.cummax(1).values,
    "min": lambda x: x.min(1).values,
    "amin": lambda x: x.amin((1, 2)),
    "amax two axes": lambda x: x.amax((1, 2)),
    "aminmax": lambda x: x.aminmax(dim=1).max,
    "max of all": lambda x: x.flatten(1).max(1)[0],
    "argmax gather": lambda x: x.gather(1, x.argmax(1, keepdim=True)),
    "round": torch.round,
    "floor": torch.floor,
    "frac": torch.frac,
    "sign": torch.sign,
    "heaviside": lambda x: torch.heaviside(x, torch.zeros(1, dtype=x.dtype)),
    "remainder": lambda x: x % 0.7,
    "fmod": lambda x: torch.fmod(x, 0.7),
    "comparison": lambda x: (x > 0).to(x.dtype),
    "comparison product": lambda x: x * (x > 0.2),
    "where on itself": lambda x: torch.where(x > 0, x, x.exp() - 1),
    "mask from values": lambda x: x.masked_fill(x < 0, 0.0),
    "boolean index of values": lambda x: x * (x[:, :, :1] > 0),
    "quantile": lambda x: x.quantile(0.5, dim=1),
    "nanmean": lambda x: x.nanmean(1),
    "fft": lambda x: torch.fft.rfft(x, dim=1).abs(),
    "fft real": lambda x: torch.fft.rfft(x, dim=1).real,
    "det": lambda x: torch.linalg.det(x[:, :4]),
    "inverse": lambda x: torch.linalg.inv(x[:, :4] + 5 * torch.eye(4, dtype=x.dtype)),
    "svdvals": lambda x: torch.linalg.svdvals(x),
    "matrix product of three": lambda x: x @ x.mT @ x,
    "einsum of three": lambda x: torch.einsum("ntf,nsf,nsg->ntg", x, x, x),
    "outer": lambda x: torch.einsum("nt,nf->ntf", x[:, :, 0], x[:, 0]),
    "gumbel": lambda x: F.gumbel_softmax(x, dim=2),
    "dropout in training": lambda x: F.dropout(x, 0.5, training=True),
    "noise": lambda x: x + torch.randn_like(x),
    "random mask": lambda x: x * torch.rand(4).round(),
    "bernoulli": lambda x: torch.bernoulli(x.sigmoid()),
    "layer_norm": lambda x: F.layer_norm(x, (4,)),
    "instance_norm": lambda x: F.instance_norm(x),
    "group_norm": lambda x: F.group_norm(x, 3),
    "local_response_norm": lambda x: F.local_response_norm(x, 3),
    "rms_norm": lambda x: F.rms_norm(x, (4,)),
    "glu": lambda x: F.glu(x),
    "maxpool": lambda x: F.max_pool1d(x, 3, 1, 1),
    "lp_pool": lambda x: F.lp_pool1d(x.abs(), 2.0, 2),
    "fractional": lambda x: F.adaptive_max_pool1d(x, 3),
    "max_pool2d": lambda x: F.max_pool2d(x, 2),
    "long cast": lambda x: x.long().to(x.dtype),
    "one hot of argmax": lambda x: F.one_hot(x.argmax(2), 4).to(x.dtype) * x,
    "bucketize": lambda x: torch.bucketize(x, torch.tensor([0.0])).to(x.dtype),
    "clamp by a tensor": lambda x: torch.clamp(x, x.flip(1) - 1, x.flip(1) + 1),
    "renorm": lambda x: x.renorm(2, 0, 1.0),
    "trapezoid": lambda x: torch.trapezoid(x, dim=1),
    "grid": lambda x: F.grid_sample(x[:, None], x[:, None, :, :2].tanh(), align_corners=True),
    "embedding_bag": lambda x: torch.stack([F.embedding_bag(torch.zeros(1, 3, dtype=torch.long), v) for v in x]),
    "huber": lambda x: F.smooth_l1_loss(x, torch.zeros_like(x), reduction="none"),
    "mse": lambda x: F.mse_loss(x, torch.ones_like(x), reduction="none"),
    "bce": lambda x: F.binary_cross_entropy_with_logits(x, torch.ones_like(x), reduction="none"),
    "cross entropy": lambda x: F.cross_entropy(x, torch.ones(2, 4, dtype=torch.long), reduction="none"),
    "item": lambda x: x * x.sum().item(),
    "if": lambda x: x if x.sum() > 0 else -x,
    "shape of nonzero": lambda x: x * len(x.nonzero()),
    "tolist": lambda x: x * x[0, 0].tolist()[0],
    "numpy": lambda x: x * float(x.detach().numpy().sum()),
    "erfinv": lambda x: torch.erfinv(x.tanh()),
    "lgamma": lambda x: torch.lgamma(x.abs() + 1),
    "i0": torch.i0,
    "sinc": torch.sinc,
    "polar": lambda x: torch.polar(x.abs(), x).real,
}


@pytest.mark.parametrize("name", OTHERS)
def test_anything_else_adds_up_or_is_refused(name):
    x, base = pair()
    function = OTHERS[name]
    size = function(torch.from_numpy(x)).flatten().shape[0] // len(x)
    weights = torch.from_numpy(draw(2, size))

    def total(x):
        return (function(x).reshape(len(x), -1) * weights).sum(1)

    state = torch.random.get_rng_state()
    ex = explain(total, x, base)
    if isinstance(ex, xc.errors.ExplainError):
        assert name not in MUST_WORK
        return
    assert name not in MUST_BE_REFUSED
    assert np.isfinite(ex.attributions).all()
    assert ex.relative_residual.max() <= 1e-12
    torch.random.set_rng_state(state)
    # What it explains is what the model says, on the baseline too.
    for member, prediction in ((x, ex.prediction), (base, ex.baseline_prediction)):
        expected = total(torch.from_numpy(member)).numpy()
        np.testing.assert_allclose(prediction.values[:, 0], expected, rtol=1e-10, atol=1e-12)


MUST_BE_REFUSED = {
    "gumbel",
    "dropout in training",
    "noise",
    "random mask",
    "bernoulli",
    "item",
    "if",
    "shape of nonzero",
    "tolist",
    "numpy",
}
MUST_WORK = {
    "norm",
    "normalize",
    "var",
    "std",
    "logsumexp",
    "softmin",
    "cosine",
    "min",
    "amax two axes",
    "max of all",
    "matrix product of three",
    "layer_norm",
    "instance_norm",
    "group_norm",
    "glu",
    "maxpool",
    "mse",
    "cross entropy",
    "bce",
    "outer",
}
