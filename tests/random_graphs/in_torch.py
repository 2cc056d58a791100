"""A recipe as an `nn.Module`, in the ways that people write PyTorch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from random_graphs.expected import EPS
from random_graphs.recipe import AXES, FUNCTIONS, LAYERS, WIDTH, Recipe

CALLS = {
    **{name: getattr(torch, name) for name in ("tanh", "sigmoid", "relu", "absolute", "square", "sin", "erf")},
    **{name: getattr(F, name) for name in ("gelu", "silu", "softplus", "elu", "softsign", "hardtanh")},
    "leaky_relu": lambda x: F.leaky_relu(x, 0.125),
}


class Machine(nn.Module):
    """(sample, time, FEATURES), and what else the recipe has, to (sample, 2)."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.outer = parameters(recipe.outer_weights())
        self.weights = nn.ModuleList([parameters(recipe.weights(i)) for i in range(len(recipe.steps))])
        for i, step in enumerate(recipe.steps):
            if step.op in ("layer", "packed"):
                self.weights[i] = recurrent(LAYERS[step.way], recipe.weights(i))

    def forward(self, series, second=None, static=None, ids=None, lengths=None, valid=None) -> Tensor:
        if self.recipe.names:
            series = series.permute([self.recipe.names.index(axis) for axis in AXES])
        outer, time = self.outer, self.recipe.time
        streams = [F.linear(series, outer.series, outer.bias)]
        if second is not None:
            streams.append(second @ outer.second.T)
        if static is not None:
            streams.append((static @ outer.static.T).unsqueeze(1).expand(-1, time, -1))
        if ids is not None:
            streams.append(F.embedding(ids, outer.words))
        if valid is None:
            lengths = torch.full(series.shape[:1], time) if lengths is None else lengths
            valid = torch.arange(time) < lengths[:, None]
        given = valid, valid.sum(1) if lengths is None else lengths
        for i, step in enumerate(self.recipe.steps):
            taken = [streams[-1 - back % len(streams)] for back in step.takes]
            streams.append(STEPS[step.op](Step(self, i, *given), *taken))
        end = streams[-1] if len(streams) == 1 else streams[-1] + 0.5 * streams[len(streams) // 2]
        end = {"last": lambda: end[:, -1], "mean": lambda: end.mean(1), "flat": lambda: end.flatten(1)}[
            self.recipe.pool
        ]()
        return F.linear(end, outer.head, outer.head_bias)


class Step:
    """What a step sees besides its streams."""

    def __init__(self, machine: Machine, number: int, mask: Tensor, lengths: Tensor) -> None:
        self.recipe, self.number, self.mask, self.lengths = machine.recipe, number, mask, lengths
        self.way = machine.recipe.steps[number].way
        self.w = machine.weights[number]

    def __getattr__(self, name: str) -> Tensor:
        return getattr(self.w, name)


class Parameters(nn.Module):
    """Weights by name."""


def parameters(weights: dict[str, np.ndarray]) -> Parameters:
    module = Parameters()
    for name, values in weights.items():
        module.register_parameter(name, nn.Parameter(torch.from_numpy(values)))
    return module


def recurrent(kind: str, weights: dict[str, np.ndarray]) -> nn.Module:
    layer = getattr(nn, kind)(WIDTH, WIDTH, batch_first=True).double()
    layer.load_state_dict({name: torch.from_numpy(values) for name, values in weights.items()})
    return layer


def packed(s: Step, x: Tensor) -> Tensor:
    rows = nn.utils.rnn.pack_padded_sequence(x, s.lengths, batch_first=True, enforce_sorted=False)
    return nn.utils.rnn.pad_packed_sequence(s.w(rows)[0], batch_first=True, total_length=x.shape[1])[0]


def loop(s: Step, x: Tensor) -> Tensor:
    h, states, buffer = x.new_zeros(x.shape[0], WIDTH), [], torch.zeros_like(x)
    for t, now in enumerate(x.unbind(1)):
        forget = torch.sigmoid(now @ s.forget_x + h @ s.forget_h)
        h = forget * h + (1 - forget) * torch.tanh(now @ s.new_x + h @ s.new_h)
        states.append(h)
        buffer[:, t] = h
    if s.way == 0:
        return torch.stack(states, 1)
    return buffer if s.way == 1 else torch.cat([state.unsqueeze(1) for state in states], 1)


def attend(s: Step, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    query, key = torch.tanh(query @ s.w.query), torch.tanh(key @ s.w.key)
    seen = torch.ones(query.shape[1], key.shape[1], dtype=torch.bool).tril()
    if s.way == 0:
        return F.scaled_dot_product_attention(query, key, value)
    if s.way == 1:
        return F.scaled_dot_product_attention(query, key, value, is_causal=True)
    scores = query @ key.mT / WIDTH**0.5
    if s.way == 2:
        scores = scores + torch.zeros(seen.shape, dtype=scores.dtype).masked_fill(~seen, float("-inf"))
    else:
        scores = scores.masked_fill(~s.mask[:, None], float("-inf"))
    return torch.softmax(scores, -1) @ value


def softmax(s: Step, x: Tensor) -> Tensor:
    return F.log_softmax(x, -1) if s.way == 2 else torch.softmax(x, -1 if s.way == 0 else 1)


def norm(s: Step, x: Tensor) -> Tensor:
    if s.way == 0:
        return F.layer_norm(x, (WIDTH,), s.weight, s.bias, EPS)
    if s.way == 1:
        return F.instance_norm(x.mT, weight=s.weight, bias=s.bias, eps=EPS).mT
    if s.way == 2:
        return F.group_norm(x.mT, 1, s.weight, s.bias, EPS).mT
    return F.rms_norm(x, (WIDTH,), s.weight, EPS)


def batch_norm(s: Step, x: Tensor) -> Tensor:
    return F.batch_norm(x.mT, s.mean, s.spread.detach() ** 2, s.weight, s.bias, eps=EPS).mT


def product(s: Step, a: Tensor, b: Tensor) -> Tensor:
    if s.way == 0:
        return a * b
    return F.glu(torch.cat([a, b], -1)) if s.way == 1 else torch.einsum("ntw,nsw->nts", a, b) @ (b / WIDTH)


def power(s: Step, a: Tensor, b: Tensor) -> Tensor:
    root = a**2 + 0.5
    return root**1.5 + b if s.way == 0 else root ** torch.tanh(b)


def compared(s: Step, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    if s.way < 2:
        return torch.where(a > (b if s.way else 0.1), b, c)
    return (a > 0.1) * b + c if s.way == 2 else c.masked_fill(b > 0.5, 0.25)


def pool(s: Step, x: Tensor) -> Tensor:
    if s.way >= 2:
        return (x.amax(1, keepdim=True) if s.way == 2 else x.min(1, keepdim=True).values).expand_as(x)
    return (F.max_pool1d if s.way == 0 else F.avg_pool1d)(x.mT, 3, 1, 1).mT


def average(s: Step, x: Tensor) -> Tensor:
    if s.way == 0:
        return x.mean(1, keepdim=True).repeat(1, x.shape[1], 1)
    mask = s.mask[..., None].to(x.dtype)
    return ((x * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True)).expand_as(x)


def moved(s: Step, x: Tensor) -> Tensor:
    if s.way < 2:
        return x.flip(1) if s.way == 0 else x.roll(1, 1)
    before = F.pad(x, (0, 0, 1, 0))[:, :-1]
    return before if s.way == 2 else x - before


def written(s: Step, a: Tensor, b: Tensor) -> Tensor:
    y = a.clone()
    if s.way == 0:
        y[:, ::2] = b[:, ::2]
    elif s.way == 1:
        y[:, 0] += b[:, -1]
    elif s.way == 2:
        y[:, ::2].mul_(b[:, ::2])
    else:
        y[~s.mask] = (0.5 * b)[~s.mask]
    return y


def taken(s: Step, x: Tensor) -> Tensor:
    order = torch.from_numpy(s.recipe.order(s.number))
    return x[:, order] if s.way == 0 else x.index_select(2, torch.tensor([1, 1, 0]))


def masked(s: Step, x: Tensor) -> Tensor:
    mask = s.mask[..., None]
    return x * mask if s.way == 0 else x.masked_fill(~mask, 0.25)


def decided(s: Step, x: Tensor) -> Tensor:
    if s.way == 0:
        return x if s.mask.all() else x * s.mask[..., None]
    steps = x * s.mask[..., None]
    if s.way == 1:
        longest = int(s.mask.nonzero()[:, 1].max()) + 1
        return F.pad(steps[:, :longest], (0, 0, 0, x.shape[1] - longest))
    if s.way == 2:
        total = torch.zeros_like(x[:, 0])
        for t in range(s.mask.sum(1).max().item() if s.mask.all() else x.shape[1]):
            total = total + steps[:, t]
        return total[:, None].expand_as(x)
    assert s.lengths.min() > 0
    return x * 2.0


STEPS = {
    "function": lambda s, x: CALLS[FUNCTIONS[s.way]](x),
    "linear": lambda s, x: F.linear(x, s.weight, s.bias),
    "conv": lambda s, x: F.conv1d(x.mT, s.weight, s.bias, padding=s.way + 1, dilation=s.way + 1).mT,
    "layer": lambda s, x: s.w(x)[0],
    "packed": packed,
    "loop": loop,
    "attention": attend,
    "softmax": softmax,
    "norm": norm,
    "batch_norm": batch_norm,
    "add": lambda s, a, b: a - b if s.way else a + b,
    "product": product,
    "quotient": lambda s, a, b: a / (b.square() + 1) if s.way == 0 else a.div(F.softplus(b) + 0.5),
    "extreme": lambda s, a, b: torch.minimum(a, b) if s.way else torch.max(a, b),
    "power": power,
    "chosen": lambda s, a, b: torch.where(torch.from_numpy(s.recipe.pattern(s.number)), a, b),
    "compared": compared,
    "cumsum": lambda s, x: x.cumsum(1),
    "pool": pool,
    "average": average,
    "moved": moved,
    "written": written,
    "taken": taken,
    "masked": masked,
    "length": lambda s, x: x / torch.sqrt(x.square().sum(-1, keepdim=True) + EPS) * s.weight + s.bias,
    "decided": decided,
}
