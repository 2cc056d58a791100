"""A recipe read by the slow reference: every step on pairs of one sample, (time, WIDTH)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from reference import paired
from reference.layers import attention, conv1d, linear
from reference.paired import Multipliers, PairedArray, as_pair, concat, elementwise, normalise, stack
from reference.recurrent import run

from random_graphs.provenance import is_statistic
from random_graphs.recipe import FUNCTIONS, LAYERS, SAMPLES, WIDTH, Recipe

SCALARS = {
    **{name: getattr(paired, name) for name in FUNCTIONS if name != "leaky_relu"},
    "leaky_relu": paired.leaky_relu(0.125),
}
EPS = 0.1
"""Large, so that rows that hardly vary are not blown up, which would test rounding and nothing else."""


@dataclass
class Sample:
    """What a step sees besides its streams."""

    recipe: Recipe
    number: int  # of the sample
    step: int = 0
    way: int = 0
    statistics: list[bool] = field(default_factory=list)  # which of its streams are

    @property
    def weights(self) -> dict[str, np.ndarray]:
        return self.recipe.weights(self.step)

    @property
    def mask(self) -> np.ndarray:
        return self.recipe.mask()[self.number][:, None]

    @property
    def length(self) -> int:
        return int(self.recipe.lengths()[self.number])


def function(s: Sample, x: PairedArray) -> PairedArray:
    return elementwise(x, SCALARS[FUNCTIONS[s.way]])


def conv(s: Sample, x: PairedArray) -> PairedArray:
    dilation = s.way + 1
    return conv1d(s.weights, x.transpose(1, 0), padding=dilation, dilation=dilation).transpose(1, 0)


def layer(s: Sample, x: PairedArray) -> PairedArray:
    return run(LAYERS[s.way], s.weights, x).outputs


def packed(s: Sample, x: PairedArray) -> PairedArray:
    return run(LAYERS[s.way], s.weights, x, length=s.length).outputs


def loop(s: Sample, x: PairedArray, steps: int | None = None) -> PairedArray:
    w, h, states = s.weights, as_pair(np.zeros((1, WIDTH))), []
    for t in range(x.shape[0] if steps is None else steps):
        now = x[t : t + 1]
        forget = elementwise(now @ w["forget_x"] + h @ w["forget_h"], paired.sigmoid)
        new = elementwise(now @ w["new_x"] + h @ w["new_h"], paired.tanh)
        h = forget * h + (1 - forget) * new
        states.append(h)
    return concat(states)


def attend(s: Sample, query: PairedArray, key: PairedArray, value: PairedArray) -> PairedArray:
    query, key = (elementwise(x @ s.weights[name], paired.tanh) for x, name in ((query, "query"), (key, "key")))
    seen = np.tri(query.shape[0], dtype=bool)
    hidden = {0: None, 1: ~seen, 2: ~seen, 3: ~np.broadcast_to(s.mask.T, seen.shape)}[s.way]
    return attention(query, key, value, None if hidden is None else np.where(hidden, -1e4, 0.0))


def softmax(s: Sample, x: PairedArray) -> PairedArray:
    return paired.log_softmax(x, -1) if s.way == 2 else paired.softmax(x, -1 if s.way == 0 else 0)


def norm(s: Sample, x: PairedArray) -> PairedArray:
    if s.way == 3:
        square = elementwise(x, paired.square).average(-1, keepdims=True)
        y = paired.over_scale(x, elementwise(square + EPS, paired.sqrt))
        return y * s.weights["weight"]
    y = normalise(x, {0: -1, 1: 0, 2: (0, 1)}[s.way], EPS)
    return y * s.weights["weight"] + s.weights["bias"]


def batch_norm(s: Sample, x: PairedArray) -> PairedArray:
    w = s.weights
    scale = w["weight"] / np.sqrt(w["spread"] ** 2 + EPS)
    return x * scale + (w["bias"] - w["mean"] * scale)


def add(s: Sample, a: PairedArray, b: PairedArray) -> PairedArray:
    return a - b if s.way else a + b


def product(s: Sample, a: PairedArray, b: PairedArray) -> PairedArray:
    if s.way == 0:
        return a * b
    if s.way == 1:
        return a * elementwise(b, paired.sigmoid)
    return (a @ b.transpose(1, 0)) @ (b * (1 / WIDTH))


def quotient(s: Sample, a: PairedArray, b: PairedArray) -> PairedArray:
    under = elementwise(b, paired.square) + 1.0 if s.way == 0 else elementwise(b, paired.softplus) + 0.5
    return paired.over_scale(a, under) if s.statistics[1] else a / under


def extreme(s: Sample, a: PairedArray, b: PairedArray) -> PairedArray:
    return paired.two_arguments(a, b, paired.minimum if s.way else paired.maximum)


def power(s: Sample, a: PairedArray, b: PairedArray) -> PairedArray:
    root = elementwise(a, paired.square) + 0.5
    if s.way == 0:
        return elementwise(root, paired.power(1.5)) + b
    return paired.two_arguments(root, elementwise(b, paired.tanh), paired.power_of)


def chosen(s: Sample, a: PairedArray, b: PairedArray) -> PairedArray:
    return paired.where(s.recipe.pattern(s.step), a, b)


def compared(s: Sample, a: PairedArray, b: PairedArray, c: PairedArray) -> PairedArray:
    if s.way == 0:
        truth = above(a, 0.1)
    elif s.way == 1:
        truth = above(a, b)
    elif s.way == 2:  # a mask that is multiplied
        return above(a, 0.1) * b + c
    else:  # filled where it is large
        return 0.25 * above(b, 0.5) + (1 - above(b, 0.5)) * c
    return truth * b + (1 - truth) * c


def above(a: PairedArray, b: PairedArray | float) -> PairedArray:
    """``a > b`` as 0 and 1: plain quotients, two-player Shapley values; a truth that stays moves nothing."""
    b_test, b_base = (b, b) if isinstance(b, float) else (b.test, b.base)
    test, base = (a.test > b_test).astype(float), (a.base > b_base).astype(float)
    moved = test != base
    of_a = ((a.test > b_test) * 1.0 - (a.base > b_test) + (a.test > b_base) - (a.base > b_base)) / 2

    def quotients(change: np.ndarray, delta: np.ndarray) -> np.ndarray:
        return np.where(moved & (change != 0), change / np.where(delta == 0, 1, delta), 0.0)

    slope_a = quotients(of_a, a.delta)
    if isinstance(b, float):
        return PairedArray(test, base, [(a, lambda m: m * slope_a)])
    of_b = ((a.test > b.test) * 1.0 - (a.test > b.base) + (a.base > b.test) - (a.base > b.base)) / 2
    slope_b = quotients(of_b, b.delta)
    return PairedArray(test, base, [(a, lambda m: m * slope_a), (b, lambda m: m * slope_b)])


def cumsum(s: Sample, x: PairedArray) -> PairedArray:
    return as_pair(np.tri(x.shape[0])) @ x


def pool(s: Sample, x: PairedArray) -> PairedArray:
    time = x.shape[0]
    if s.way >= 2:
        best = paired.max_over(x, 0) if s.way == 2 else -paired.max_over(-x, 0)
        return stack([best] * time)
    rows = []
    for t in range(time):
        window = x[max(t - 1, 0) : t + 2]
        rows.append(paired.max_over(window, 0) if s.way == 0 else window.sum(0) * (1 / 3))
    return stack(rows)


def average(s: Sample, x: PairedArray) -> PairedArray:
    mask = s.mask if s.way else np.ones((x.shape[0], 1))
    mean = (x * (mask / mask.sum())).sum(0, keepdims=True)
    return as_pair(np.ones((x.shape[0], 1))) * mean


def moved(s: Sample, x: PairedArray) -> PairedArray:
    time, nothing = x.shape[0], as_pair(np.zeros((1, WIDTH)))
    if s.way == 0:
        return x[::-1]
    if s.way == 1:
        return x[np.roll(np.arange(time), 1)]
    before = concat([nothing, x[: time - 1]])
    return before if s.way == 2 else x - before


def written(s: Sample, a: PairedArray, b: PairedArray) -> PairedArray:
    every_second = (np.arange(a.shape[0]) % 2 == 0)[:, None] * np.ones((1, WIDTH))
    if s.way == 0:
        return paired.where(every_second, b, a)
    if s.way == 1:
        first = (np.arange(a.shape[0]) == 0)[:, None] * np.ones((1, WIDTH))
        return a + as_pair(first) * b[b.shape[0] - 1 : b.shape[0]]
    if s.way == 2:
        return paired.where(every_second, a * b, a)
    return paired.where(s.mask * np.ones((1, WIDTH)), a, 0.5 * b)


def taken(s: Sample, x: PairedArray) -> PairedArray:
    return x[s.recipe.order(s.step)] if s.way == 0 else x[:, np.array([1, 1, 0])]


def masked(s: Sample, x: PairedArray) -> PairedArray:
    return x * s.mask if s.way == 0 else paired.where(s.mask * np.ones((1, WIDTH)), x, as_pair(np.full(x.shape, 0.25)))


def length(s: Sample, x: PairedArray) -> PairedArray:
    size = elementwise(elementwise(x, paired.square).sum(-1, keepdims=True) + EPS, paired.sqrt)
    return paired.over_scale(x, size) * s.weights["weight"] + s.weights["bias"]


def decided(s: Sample, x: PairedArray) -> PairedArray:
    """Decisions that leave each sample what it is alone: a mask, a cut, a sum, a factor."""
    if s.way == 2:
        return stack([(x * s.mask).sum(0)] * x.shape[0])
    return x * 2.0 if s.way == 3 else x * s.mask


STEPS = {
    "function": function, "linear": lambda s, x: linear(s.weights, x), "conv": conv, "layer": layer, "packed": packed,
    "loop": loop, "attention": attend, "softmax": softmax, "norm": norm, "batch_norm": batch_norm, "add": add,
    "product": product, "quotient": quotient, "extreme": extreme, "power": power, "chosen": chosen,
    "compared": compared, "cumsum": cumsum, "pool": pool, "average": average, "moved": moved, "written": written,
    "taken": taken, "masked": masked, "length": length, "decided": decided,
}  # fmt: skip


def outputs(recipe: Recipe, number: int, leaves: dict[str, PairedArray]) -> PairedArray:
    """Two numbers of one sample; of ids, the embedded pair is the leaf."""
    outer, time = recipe.outer_weights(), recipe.time
    streams = [linear({"weight": outer["series"], "bias": outer["bias"]}, leaves["series"])]
    if recipe.more == "second":
        streams.append(linear({"weight": outer["second"]}, leaves["second"]))
    if recipe.more == "static":
        streams.append(stack([linear({"weight": outer["static"]}, leaves["static"].reshape(1, -1))[0]] * time))
    if recipe.more == "ids":
        streams.append(leaves["ids"])
    sample, statistics = Sample(recipe, number), [False] * len(streams)
    for sample.step, step in enumerate(recipe.steps):
        at = [-1 - back % len(streams) for back in step.takes]
        sample.way, sample.statistics = step.way, [statistics[i] for i in at]
        streams.append(STEPS[step.op](sample, *(streams[i] for i in at)))
        statistics.append(is_statistic(step, sample.statistics))
    end = streams[-1] if len(streams) == 1 else streams[-1] + 0.5 * streams[len(streams) // 2]
    if recipe.pool == "last":
        end = end[time - 1 : time]
    elif recipe.pool == "mean":
        end = end.average(0, keepdims=True)
    return linear({"weight": outer["head"], "bias": outer["head_bias"]}, end.reshape(1, -1)).reshape(-1)


@dataclass
class Expected:
    """Of two samples and two outputs."""

    prediction: np.ndarray  # (sample, output)
    baseline_prediction: np.ndarray
    attributions: dict[str, np.ndarray]  # by input: (output, sample, ...)


def expected(recipe: Recipe, base: dict[str, np.ndarray]) -> Expected:
    """Reference attributions.

    Args:
        base: by explained input (baseline, ...): one for all samples, as many as samples, or a background set.
    """
    test, words = recipe.explained("test"), recipe.outer_weights()["words"]
    count = max(len(values) for values in base.values())
    background = recipe.baseline == "background"
    rows = []
    for n in range(SAMPLES):
        for b in range(count) if background else [n % count]:
            leaves = {}
            for name, values in test.items():
                pair = values[n], base[name][b % len(base[name])]
                leaves[name] = PairedArray(*(words[ids] for ids in pair) if name == "ids" else pair)
            y = outputs(recipe, n, leaves)
            parts = {name: [] for name in leaves}
            for k in range(2):
                m = Multipliers(y[k])
                for name, leaf in leaves.items():
                    found = m.contributions(leaf)
                    parts[name].append(found.sum(-1) if name == "ids" else found)
            rows.append((y.test, y.base, {name: np.stack(values) for name, values in parts.items()}))
    per = len(rows) // SAMPLES
    groups = [rows[n * per : (n + 1) * per] for n in range(SAMPLES)]
    return Expected(
        np.stack([np.mean([row[0] for row in group], 0) for group in groups]),
        np.stack([np.mean([row[1] for row in group], 0) for group in groups]),
        {name: np.stack([np.mean([row[2][name] for row in group], 0) for group in groups], axis=1) for name in test},
    )
