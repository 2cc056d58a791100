"""Models as people script, trace and freeze them, each with its inputs: every one must go on opening."""

# ruff: noqa: C416, RUF059, SIM108, UP006, UP007, UP032, UP035, UP045 - they are written as people write TorchScript

import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Dict, Final, List, NamedTuple, Optional, Tuple, Union

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STEPS, FEATURES, UNITS = 6, 4, 8
SERIES = (3, STEPS, FEATURES)


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.Module], **options) -> None:
        super().__init__()
        self.rnn = kind(FEATURES, UNITS, batch_first=True, **options)
        self.fc = nn.Linear(UNITS * (2 if options.get("bidirectional") else 1), 2)

    def forward(self, x):
        y, _ = self.rnn(x)
        return self.fc(y[:, -1])


class Cells(nn.Module):
    """Cells in a loop, with a list of outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.gru = nn.LSTMCell(FEATURES, UNITS), nn.GRUCell(UNITS, UNITS)
        self.rnn = nn.RNNCell(UNITS, UNITS, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros(x.size(0), 8, dtype=x.dtype, device=x.device)
        c, g = torch.zeros_like(h), h.new_zeros(h.shape)
        outputs: List[Tensor] = []
        for t in range(x.shape[1]):
            h, c = self.lstm(x[:, t], (h, c))
            g = self.gru(h, g)
            outputs.append(self.rnn(g))
        return torch.stack(outputs, dim=1).mean(dim=1)


class HandWritten(nn.Module):
    """A recurrent layer in plain arithmetic, with in-place writes into a buffer of outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(FEATURES, 4 * UNITS) / 4)
        self.u = nn.Parameter(torch.randn(UNITS, 4 * UNITS) / 4)
        self.b = nn.Parameter(torch.zeros(4 * UNITS))

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.size(0), 8)
        c = torch.zeros_like(h)
        out = torch.empty(x.size(0), x.size(1), 8, dtype=x.dtype)
        for t in range(x.size(1)):
            i, f, g, o = (x[:, t] @ self.w + h @ self.u + self.b).chunk(4, dim=-1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * c.tanh()
            out[:, t] = h
        return out.sum(1)


class Attention(nn.Module):
    """Attention over LSTM states, with a mask and an optional one."""

    scale: Final[float]

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(FEATURES, UNITS, num_layers=2, batch_first=True, bidirectional=True, dropout=0.3)
        self.query, self.key = nn.Linear(2 * UNITS, UNITS), nn.Linear(2 * UNITS, UNITS)
        self.scale = 1 / math.sqrt(UNITS)

    def forward(self, x: Tensor, mask: Optional[Tensor] = None) -> Tensor:
        y, (h, c) = self.lstm(x)
        scores = torch.matmul(self.query(y), self.key(y).transpose(1, 2)) * self.scale
        if mask is not None:
            scores = scores.masked_fill(mask.unsqueeze(1) == 0, float("-inf"))
        weights = F.softmax(scores, dim=-1)
        context = torch.bmm(weights, y)
        return torch.cat([context.mean(1), h[-1]], dim=-1)


class Einsum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(FEATURES, UNITS, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.gru(x)[0]
        return torch.einsum("bti,btj->bij", y, y).flatten(1)


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, FEATURES, padding_idx=0)
        self.lstm = nn.LSTM(FEATURES, UNITS, batch_first=True)
        self.drop, self.norm = nn.Dropout(0.5), nn.LayerNorm(UNITS)
        self.fc = nn.Linear(UNITS, 3)

    def forward(self, ids: Tensor) -> Tensor:
        mask = (ids != 0).unsqueeze(-1).to(torch.float32)
        y = self.norm(self.lstm(self.drop(self.embedding(ids)))[0])
        pooled = (y * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1e-6)
        return F.log_softmax(self.fc(pooled), dim=1)


class Convolutions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(FEATURES, 8, 3, padding=1),
            nn.BatchNorm1d(8),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.Conv1d(8, 8, 3, padding="same", padding_mode="replicate"),
            nn.GroupNorm(2, 8),
            nn.GELU(),
            nn.Dropout1d(0.2),
        )
        self.lstm = nn.LSTM(8, UNITS, batch_first=True)
        self.head = nn.Sequential(nn.Flatten(), nn.LeakyReLU(0.1), nn.Linear(3 * UNITS, 1), nn.Sigmoid())

    def forward(self, x):
        return self.head(self.lstm(self.layers(x.permute(0, 2, 1)).permute(0, 2, 1))[0])


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(FEATURES, UNITS)
        self.register_buffer("positions", torch.randn(1, STEPS, UNITS))
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(UNITS, 2, 16, batch_first=True), 2)
        self.fc = nn.Linear(UNITS, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.encoder(self.project(x) + self.positions).mean(1)).squeeze(-1)


class SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(FEATURES, 2, batch_first=True)
        self.gru = nn.GRU(FEATURES, UNITS, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.attention(x, x, x, need_weights=False)
        return self.gru(y + x)[1][0]


def gate(x: Tensor, strength: float = 0.5, name: str = "a", more: Optional[Tuple[int, float]] = None) -> Tensor:
    """A helper with defaults."""
    if len(name) > 2 and more is None:
        raise ValueError("too many names: 'a' \"b\"\n\tand\\more, \u00e9")
    return x * torch.sigmoid(x) * strength


class Pair(NamedTuple):
    logits: Tensor
    state: Tensor


class Structures(nn.Module):
    """Lists, dictionaries, tuples, options, strings, loops, branches and assertions."""

    names: Dict[str, int]
    sizes: List[int]

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({"first-head": nn.Linear(UNITS, 2), "second": nn.Linear(UNITS, 2)})
        self.layers = nn.ModuleList([nn.GRU(FEATURES, UNITS, batch_first=True), nn.GRU(UNITS, UNITS, batch_first=True)])
        self.names, self.sizes, self.mode = {"a": 1, "b": -2}, [1, 2, 3], "mean"
        self.weights: List[Tensor] = [torch.ones(1), torch.zeros(1)]
        self.limits: Tuple[float, float, Optional[int]] = (float("-inf"), float("inf"), None)
        self.missing = float("nan")
        self.register_buffer("count", torch.zeros(1, dtype=torch.long))
        self.register_parameter("nothing", None)

    def forward(self, x: Tensor, lengths: Optional[List[int]] = None) -> Dict[str, Tensor]:
        assert x.dim() == 3, "expected (sample, time, feature)"
        assert x.size(-1) == 4
        y, steps, i = x, x.size(1), 0
        for layer in self.layers:
            y = layer(y)[0]
        while i < steps and not (i == 3 or i > 4):
            i += 1
        if self.mode == "mean" and lengths is None:
            pooled = y.mean(1)
        elif self.mode == "max":
            pooled = y.max(1)[0]
        else:
            raise RuntimeError(f"unknown mode {self.mode}")
        found: Dict[str, Tensor] = {}
        for name, head in self.heads.items():
            found[name] = gate(head(pooled)) * float(self.names["a"]) + self.weights[0]
        for key, value in self.names.items():
            found[key] = pooled * value
        total = sum([size**2 for size in self.sizes]) / len(self.sizes) + steps // 2 % 3 - (-i)
        low, high, _ = self.limits
        clipped = found["second"].clamp(low, high) * min(total, 3.0) * max(i, 1) * abs(-1.5)
        pair = Pair(clipped, pooled)
        found["all"] = torch.nan_to_num(torch.cat([pair.logits, pair[1]], 1), nan=0.0)
        text = "{} and {}".format(self.mode, i)
        if "mean" in text or text.startswith("x"):
            found["all"] = found["all"] + 1
        return {key: value for key, value in found.items()}


class Constants(nn.Module):
    """Dtypes, devices, constant tensors, slices, comparisons, and what is written in place."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(FEATURES, UNITS, batch_first=True)
        self.h0 = nn.Parameter(torch.zeros(1, 1, UNITS))
        self.register_buffer("scale", torch.tensor([1.0, 2.0, 3.0, 4.0]))

    def forward(self, x: Tensor) -> Tensor:
        x = (x - torch.tensor([0.1, 0.2, 0.3, 0.4])) * self.scale[None, None]
        h = self.h0.expand(-1, x.shape[0], -1).contiguous()
        y, state = self.lstm(x, (h, torch.zeros(1, x.shape[0], 8, device=torch.device("cpu"))))
        steps = torch.arange(x.shape[1], device=x.device, dtype=torch.int64)
        causal = torch.triu(torch.ones(x.shape[1], x.shape[1], dtype=torch.bool), diagonal=1)
        y = y.clone()
        y[:, 0] = 0.0
        y[:, -2:, 1:] *= 2
        y = torch.where((steps % 2 == 0)[None, :, None], y, -y).relu_()
        near = y.float().half().float() + y.double().to(x.dtype)
        top, where = near.topk(2, dim=1)
        scores = torch.zeros(x.shape[1], x.shape[1]).masked_fill_(causal, -1e9).softmax(-1)
        return torch.matmul(scores, near)[:, -1] + top[:, 0] + state[0].squeeze(0) + where.sum(1) * 0 + 1e-05


class Inner(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.fc = nn.Linear(size, size)

    @torch.jit.export
    def describe(self) -> str:
        return "inner of size " + str(self.size)

    def forward(self, x: Tensor, state: Tuple[Tensor, Tensor]) -> Tuple[Tensor, Tuple[Tensor, Tensor]]:
        h, c = state
        return F.relu(self.fc(x)), (h + x, c)


class Nested(nn.Module):
    """Modules in modules, a shared one, a state that comes and goes, and one that is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.RNN(FEATURES, UNITS, num_layers=2, batch_first=True)
        self.one = Inner(UNITS)
        self.other = self.one
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: Tensor) -> Tuple[Tensor, Tensor]:
        y = self.rnn(x)[0][:, -1]
        y, state = self.one(y, (y, torch.zeros_like(y)))
        y, state = self.other(y, state)
        self.calls.add_(1)
        with torch.no_grad():
            scale = torch.linalg.vector_norm(y, dim=1, keepdim=True) + y.std(1, keepdim=True) + y.var(1, keepdim=True)
        return y / (scale + 1e-8), state[0]


class Upsampled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(FEATURES, UNITS, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y = F.interpolate(x.transpose(1, 2), scale_factor=2.0, mode="nearest")
        y = F.interpolate(y, size=[5], mode="linear", align_corners=False)
        y = F.adaptive_avg_pool1d(F.pad(y, [1, 1]), 4)
        return self.gru(F.avg_pool1d(F.pad(y, [1, 1], mode="reflect"), 2).transpose(1, 2))[0].amax(1)


def cast(x: Tensor, kind: Optional[torch.dtype] = None) -> Tensor:
    """A helper that takes a kind of numbers, or none."""
    if kind is None:
        result = x.softmax(-1)
    else:
        result = F.softmax(x, dim=-1, dtype=kind)
    return result


class Kinds(nn.Module):
    """Kinds of numbers that are attributes, arguments and results."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.kind = nn.GRU(FEATURES, UNITS, batch_first=True), torch.float32

    def forward(self, x: Tensor, kind: torch.dtype = torch.float32) -> Tensor:
        y = self.gru(x.to(self.kind))[0].to(kind)
        chosen = y.dtype if y.dim() > 2 else torch.float64
        ones = torch.ones(y.size(-1), dtype=chosen).contiguous(memory_format=torch.contiguous_format)
        return (cast(y, torch.float64) + cast(y)).to(dtype=chosen)[:, -1] * ones


class Either(nn.Module):
    """A state that may be one tensor or two, or none, as wrappers around several kinds of layers have it."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(FEATURES, UNITS, batch_first=True)

    def forward(self, x: Tensor, state: Union[Tensor, Tuple[Tensor, Tensor], None] = None) -> Tensor:
        h = torch.zeros(1, x.size(0), 8)
        if isinstance(state, Tensor):
            h = state
        elif isinstance(state, tuple):
            h = state[0] + state[1]
        return self.gru(x, h)[0][:, -1]


def models() -> dict[str, tuple[nn.Module, tuple[Tensor, ...], bool]]:
    """Models by name, with the inputs, and whether tracing them makes sense."""
    torch.manual_seed(0)
    x, ids = torch.randn(SERIES), torch.randint(0, 20, SERIES[:2])
    mask = torch.ones(SERIES[:2])
    return {
        "lstm": (Recurrent(nn.LSTM), (x,), True),
        "lstm, layers and directions": (Recurrent(nn.LSTM, num_layers=2, bidirectional=True, dropout=0.2), (x,), True),
        "lstm without bias": (Recurrent(nn.LSTM, bias=False), (x,), True),
        "gru": (Recurrent(nn.GRU, num_layers=2), (x,), True),
        "rnn": (Recurrent(nn.RNN, nonlinearity="relu", bidirectional=True), (x,), True),
        "cells": (Cells(), (x,), True),
        "hand-written": (HandWritten(), (x,), True),
        "attention": (Attention(), (x,), True),
        "attention with a mask": (Attention(), (x, mask), True),
        "einsum": (Einsum(), (x,), True),
        "words": (Words(), (ids,), True),
        "convolutions": (Convolutions(), (x,), True),
        "transformer": (Transformer(), (x,), True),
        "self-attention": (SelfAttention(), (x,), True),
        "structures": (Structures(), (x,), False),
        "constants": (Constants(), (x,), True),
        "nested": (Nested(), (x,), True),
        "upsampled": (Upsampled(), (x,), True),
        "kinds": (Kinds(), (x,), True),
        "either": (Either(), (x,), True),
    }


def scripts() -> Iterator[tuple[str, torch.jit.ScriptModule, nn.Module, tuple[Tensor, ...]]]:
    """Each model scripted, traced and frozen: a name, the script, the original and its inputs."""
    for name, (model, inputs, traces) in models().items():
        model.eval()
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # on TorchScript, on traces of branches, and on layers off their fast path
            scripted = torch.jit.script(model)
            yield f"{name}, scripted", scripted, model, inputs
            yield f"{name}, frozen", torch.jit.freeze(scripted), model, inputs
            if traces:
                traced = torch.jit.trace(model, inputs, check_trace=False)
                yield f"{name}, traced", traced, model, inputs
                yield f"{name}, traced and frozen", torch.jit.freeze(traced), model, inputs


def write(folder: Path) -> dict[str, tuple[Path, nn.Module, tuple[Tensor, ...]]]:
    """Save each of `scripts` as a file of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for place, (name, script, model, inputs) in enumerate(scripts()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.save(script, str(folder / f"{place:02}.pt"))
        found[name] = folder / f"{place:02}.pt", model, inputs
    return found
