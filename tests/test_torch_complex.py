"""Models with complex numbers inside: complete, at both precisions, and what has no rule refused by name."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import torch
from exactness import Net, draw
from mpmath import mp, mpc
from torch import nn

import explain_core as xc
from explain_core.backends.torch import complex_numbers


class LinearRecurrentUnit(nn.Module):
    """Orvieto et al. 2023: a diagonal recurrence of complex states, as a loop."""

    def __init__(self, width: int = 3):
        super().__init__()
        self.size, self.turn = nn.Parameter(torch.rand(width)), nn.Parameter(torch.rand(width))
        self.into = nn.Parameter(torch.randn(4, width, dtype=torch.complex64))
        self.out = nn.Parameter(torch.randn(width, 1, dtype=torch.complex64))

    def forward(self, x):
        decay = torch.polar(torch.exp(-self.size.exp()), self.turn)
        state = torch.zeros(len(x), self.size.numel(), dtype=self.into.dtype)
        for t in range(x.shape[1]):
            state = decay * state + x[:, t].to(self.into.dtype) @ self.into
        return (state @ self.out).real


class Convolved(nn.Module):
    """S4's other form: a long convolution with the kernel of a complex recurrence, by Fourier transforms."""

    def __init__(self):
        super().__init__()
        self.log_a, self.c = nn.Parameter(torch.randn(4, 2)), nn.Parameter(torch.randn(4, 2, 2))
        self.head = nn.Linear(4, 1)

    def forward(self, x):
        steps = x.shape[1]
        a = torch.complex(-self.log_a.exp(), self.log_a)
        kernel = (
            (torch.view_as_complex(self.c).unsqueeze(-1) * torch.exp(a.unsqueeze(-1) * torch.arange(steps))).sum(1).real
        )
        spectrum = torch.fft.rfft(x.mT, n=2 * steps) * torch.fft.rfft(kernel, n=2 * steps)
        y = torch.fft.irfft(spectrum, n=2 * steps)[..., :steps]
        return self.head(nn.functional.gelu(y.mT))[:, -1]


class Rotary(nn.Module):
    """Attention with rotary positions as complex products."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 1)

    def forward(self, x):
        turns = torch.polar(
            torch.ones(x.shape[1], 2), torch.outer(torch.arange(x.shape[1]).float(), torch.tensor([1.0, 0.1]))
        )
        q, k = (
            torch.view_as_real(torch.view_as_complex(v.reshape(*v.shape[:2], 2, 2)) * turns).flatten(2)
            for v in (self.q(x), self.k(x))
        )
        return self.head((q @ k.mT).softmax(-1) @ x).mean(1)


MODELS = {
    "LRU": LinearRecurrentUnit,
    "S4 by convolution": Convolved,
    "rotary attention": Rotary,
    "power spectrum": lambda: Net(lambda _, x: torch.fft.rfft(x, dim=1).abs().pow(2).log1p().sum((1, 2))[:, None]),
    "phases": lambda: Net(lambda _, x: torch.fft.rfft(x, dim=1)[:, 1:4].angle().sin().sum(1)),
    "filtered": lambda: Net(lambda _, x: torch.fft.ifft(torch.fft.fft(x, dim=1)[:, :5], dim=1).real.tanh().sum(1)),
    "quotient": lambda: Net(lambda _, x: (torch.complex(x, x.flip(1)) / torch.complex(x.exp(), x)).imag.sum(1)),
}


@pytest.mark.parametrize("precision", [None, "float64"])
@pytest.mark.parametrize("name", MODELS)
def test_models_are_complete(name, precision):
    torch.manual_seed(0)
    x, base = draw(0, 3, 8, 4).astype(np.float32), draw(1, 3, 8, 4).astype(np.float32)
    ex = xc.explain(MODELS[name](), x, base, precision=precision)
    assert ex.relative_residual.max() <= (1e-5 if precision is None else 1e-13)


def test_layers_of_numbers_and_their_parts_say_the_same():
    """A complex product spelled out in real numbers has the same attributions."""
    a, b = draw(0, 2, 5, 4), draw(1, 2, 5, 4)

    def complex_product(x):
        z = torch.view_as_complex(x.unflatten(-1, (2, 2)))
        return (z * z.flip(1)).imag.sum((1, 2))[:, None]

    def real_product(x):
        re, im = x.unflatten(-1, (2, 2)).unbind(-1)
        return (re * im.flip(1) + im * re.flip(1)).sum((1, 2))[:, None]

    one, other = (
        xc.explain(Net(lambda _, x, f=f: f(x)), a, b, precision="float64") for f in (complex_product, real_product)
    )
    np.testing.assert_allclose(one.attributions, other.attributions, rtol=0, atol=1e-14)


def test_the_size_of_a_number_turns_with_the_plane():
    a, b = draw(0, 1, 3, 2), draw(1, 1, 3, 2)
    size = lambda turn: Net(lambda _, x: (torch.view_as_complex(x) * torch.exp(torch.tensor(1j * turn))).abs())  # noqa: E731
    still, turned = (xc.explain(size(turn), a, b, precision="float64").attributions for turn in (0.0, 1.2))
    np.testing.assert_allclose(still, turned, rtol=0, atol=1e-15)


REFUSED = {
    "tan": lambda z: z.tan(),
    "sinh": lambda z: z.sinh(),
    "pow": lambda z: z**0.3,
    "var": lambda z: z.var(1).to(z.dtype),
    "eq": lambda z: z * (z == 1),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_functions_are_refused_by_name(name):
    net = Net(lambda _, x: REFUSED[name](torch.complex(x, x.flip(1))).real.flatten(1).sum(1))
    said = f"{'power' if name == 'pow' else name}.* of complex numbers"
    with pytest.raises(xc.errors.UnsupportedOperation, match=said):
        xc.explain(net, draw(0, 2, 3, 4), draw(1, 2, 3, 4))


def test_complex_outputs_are_refused():
    with pytest.raises(xc.errors.ExplainError, match="complex"):
        xc.explain(Net(lambda _, x: torch.fft.rfft(x.sum(2), dim=1)), draw(0, 2, 6, 4), draw(1, 2, 6, 4))


# --- Quotients against 50 digits ---------------------------------------------------------------------------------

POINTS = (0.3, 1.7 - 0.4j, -2.0 + 0.1j, 0.001 + 3j, 1j, 2.5 - 2.5j)
DIFFERENCES = (0.0, 1e-30, 1e-9, 1e-3, 0.3, 2.0, 1e-12j, 0.5j, -1e-5 + 1e-7j, -0.7 - 1.1j)
QUOTIENTS = {
    # name: (function, bound in roundings of the quotient's size); measured beside each
    "exp": (mpmath.exp, 8),
    "log": (mpmath.log, 8),
    "sin": (mpmath.sin, 30),
    "cos": (mpmath.cos, 30),
    "tanh": (mpmath.tanh, 30),
    "sigmoid": (lambda z: 1 / (1 + mpmath.exp(-z)), 30),
    "sqrt": (mpmath.sqrt, 8),
}


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
@pytest.mark.parametrize("name", QUOTIENTS)
def test_quotients_are_exact_to_roundings(name, dtype):
    f, bound = QUOTIENTS[name]
    a = torch.tensor([p + d for p in POINTS for d in DIFFERENCES], dtype=torch.complex128).to(dtype)
    b = torch.tensor([p for p in POINTS for _ in DIFFERENCES], dtype=torch.complex128).to(dtype)
    found = getattr(complex_numbers, name)(a, b)
    worst = 0.0
    with mp.workdps(80):
        for x, y, got in zip(a.tolist(), b.tolist(), found.tolist(), strict=True):
            x, y = mpc(x), mpc(y)
            expected = mpmath.diff(f, x) if x == y else (f(x) - f(y)) / (x - y)
            worst = max(worst, float(abs(mpc(got) - expected) / abs(expected)))
    assert worst <= bound * torch.finfo(dtype).eps


W = torch.randn(4, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
COMPOSED = {
    "addcmul": lambda z: torch.addcmul(z, z.flip(1), W, value=2).real,
    "addcmul of two": lambda z: torch.addcmul(W, z, z.flip(1), value=0.5).abs(),
    "addcdiv": lambda z: torch.addcdiv(z, z.flip(1), z + 7).imag,
    "lerp": lambda z: torch.lerp(z, z.flip(1) * W, 0.3).abs(),
    "lerp by itself": lambda z: torch.lerp(z, z.flip(1), W * z).abs(),
    "prod": lambda z: z[:, :3].prod(1, keepdim=True).abs(),
    "cumprod": lambda z: z[:, :3].cumprod(1).real,
    "masked_fill": lambda z: z.masked_fill(torch.arange(5)[:, None] > 2, 1j).abs(),
    "where": lambda z: torch.where(torch.arange(5)[:, None] > 2, 1j, z).abs(),
    "where it is decided by values": lambda z: z.masked_fill(z.real > 0, 1j).imag,
}


@pytest.mark.parametrize("base", [0.0, 1.0])
@pytest.mark.parametrize("name", COMPOSED)
def test_what_is_made_of_sums_and_products_goes_as_for_real_numbers(name, base):
    net = Net(lambda _, x: COMPOSED[name](torch.fft.fft(x, dim=1)).sum(1))
    ex = xc.explain(net, draw(0, 2, 5, 4), base * draw(1, 2, 5, 4))
    assert ex.relative_residual.max() <= 1e-13
