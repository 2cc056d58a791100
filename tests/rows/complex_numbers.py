"""Rows that make and take complex numbers, and other rows where their numbers are complex."""

from __future__ import annotations

import torch

from rows.draws import Draw, Sample, aten, each, flag, op, some_axis, unary


def _fft(name: str):
    real_in = name.startswith(("fft_r", "fft_ih"))

    def sample(d: Draw) -> Sample:
        axes = {"2": 2, "n": d.one(1, 2)}.get(name[-1], 1)
        x = d.x(*d.shape(axes + d.one(0, 1)), 5, domain="real" if real_in else d.one("real", "complex"))
        norm = d.one(None, "ortho", "forward")
        if name[-1] in "2n":
            return lambda v: op(name)(v, None if name[-1] == "n" else [4, 6], [-2, -1] if axes > 1 else [-1], norm), [x]
        return lambda v: op(name)(v, d_size, -1, norm), [x]

    def fixed(d: Draw) -> Sample:
        nonlocal d_size
        d_size = d.one(None, 4, 7)
        return sample(d)

    d_size = None
    return fixed


WINDOW = torch.hann_window(4, dtype=torch.float64) + 0.1


def _stft(v: torch.Tensor, step: int) -> torch.Tensor:
    return torch.stft(v, 4, step, window=WINDOW, return_complex=True)


def _two_parts(d: Draw) -> Sample:
    shape = d.shape()
    return aten.complex, [d.x(*shape), d.x(*shape)]


FFT = [f"fft_{way}{kind}fft{axes}" for way in ("", "i") for kind in ("", "r", "h") for axes in ("", "2", "n")]
COMPLEX_ROWS = {
    "view_as_real": unary(domain="complex")("view_as_real"),
    "view_as_complex": lambda d: (aten.view_as_complex, [d.x(*d.shape(), 2)]),
    "complex": _two_parts,
    "polar": lambda d: (aten.polar, [d.x(*(s := d.shape())), d.x(*s)]),
    **each("real imag conj _conj conj_physical _conj_physical resolve_conj", unary(domain="complex")),
    **each("resolve_neg _neg_view", unary(domain="complex")),
    "_fft_r2c": unary([1], 0, flag, axes=2)("_fft_r2c"),
    "_fft_c2r": lambda d: (lambda v: aten._fft_c2r(v, [1], 2, 6), [d.x(d.size(), 4, domain="complex")]),
    "stft": lambda d: (lambda v: torch.view_as_real(_stft(v, 3)), [d.x(9)]),
    "istft": lambda d: (lambda v: torch.istft(v, 4, 2, window=WINDOW), [d.x(3, 4, domain="complex")]),
    "angle": unary()("angle"),
    "_fft_c2c": lambda d: (lambda v: aten._fft_c2c(v, [0, 1], 1, True), [d.x(d.size(), 4, domain="complex")]),
    **each(
        " ".join(
            f"fft_{way}{kind}fft{axes}" for way in ("", "i") for kind in ("", "r", "h") for axes in ("", "2", "n")
        ),
        _fft,
    ),
    **each("fft_fftshift fft_ifftshift", unary([0], domain="complex")),
}


def _mixed(name: str, *domains: str):
    def sample(d: Draw) -> Sample:
        shape = d.shape(2)
        return op(name), [d.x(*shape, domain=domain) for domain in domains]

    return sample


def _einsum(d: Draw) -> Sample:
    operands = [d.x(2, 3, domain="complex"), d.x(3, 2, domain="complex"), d.x(2, domain="complex")]
    return lambda a, b, c: aten.einsum("ij,jk,k->i", [a, b, c]), operands


def _state(d: Draw) -> Sample:
    """A diagonal recurrence of complex states, as S4 and LRU have it, taken back to real numbers."""

    def run(size, turn, x):
        decay, state = torch.polar(size.sigmoid(), turn), torch.zeros(2, dtype=torch.complex128)
        for t in range(3):
            state = decay * state + x[t]
        return (state * torch.exp(1j * turn)).real

    return run, [d.x(2), d.x(2), d.x(3, 2)]


def _rotary(d: Draw) -> Sample:
    def turn(x, angles):
        pairs = torch.view_as_complex(x.reshape(3, 2, 2))
        return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(1)

    return turn, [d.x(3, 4), d.x(3, 2)]


def _correlation(d: Draw) -> Sample:
    """The autocorrelation of Autoformer."""

    def run(q, k):
        return torch.fft.irfft(torch.fft.rfft(q, dim=-1) * torch.conj(torch.fft.rfft(k, dim=-1)), n=6, dim=-1)

    return run, [d.x(2, 6), d.x(2, 6)]


COMPLEX = {
    **{
        name: unary(domain="complex")(name)
        for name in ["abs", "angle", "sgn", "exp", "sin", "cos", "tanh", "square", "reciprocal", "sqrt", "log"]
    },
    "sigmoid": unary(domain="complex")("sigmoid"),
    "power": unary(3, domain="complex")("pow"),
    "negative power": unary(-2, domain="complex")("pow"),
    "sum": unary(some_axis, domain="complex")("sum"),
    "cumprod": unary(some_axis, domain="complex")("cumprod"),
    "cumsum": unary(some_axis, domain="complex")("cumsum"),
    "product": _mixed("mul", "complex", "complex"),
    "product with real": _mixed("mul", "real", "complex"),
    "quotient": _mixed("div", "complex", "complex"),
    "quotient of real": _mixed("div", "real", "complex"),
    "sum of real and complex": _mixed("add", "complex", "real"),
    "matmul": lambda d: (aten.matmul, [d.x(3, 2, domain="complex"), d.x(2, 3, domain="complex")]),
    "choice": _mixed("where", "truth", "complex", "complex"),
    "vdot": lambda d: (aten.vdot, [d.x(3, domain="complex"), d.x(3, domain="complex")]),
    "einsum": _einsum,
    "norm": unary(2, domain="complex")("linalg_vector_norm"),
    "to real by size": lambda d: (lambda v: torch.fft.rfft(v, dim=-1).abs(), [d.x(2, 5)]),
    "angle of a spectrum": lambda d: (lambda v: torch.fft.rfft(v, dim=-1).angle(), [d.x(2, 5)]),
    "times i": lambda d: (lambda v: torch.exp(1j * v) * v, [d.x(2, 5)]),
    "state": _state,
    "rotary": _rotary,
    "autocorrelation": _correlation,
    "spectrogram": lambda d: (lambda v: _stft(v, 2).abs().square(), [d.x(2, 9)]),
    "there and back": lambda d: (lambda v: torch.istft(_stft(v, 1) * 1j, 4, 1, window=WINDOW), [d.x(2, 9)]),
}
"""Calls of which an argument is complex, by what they are."""
