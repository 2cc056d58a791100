"""What a random model is made of, and how hypothesis draws one."""

from __future__ import annotations

import itertools
import zlib
from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st

WIDTH, FEATURES, WORDS, SAMPLES = 3, 2, 5, 2
FUNCTIONS = (
    "tanh", "sigmoid", "relu", "gelu", "silu", "softplus", "elu", "leaky_relu", "absolute", "square", "softsign",
    "hardtanh", "sin", "erf",
)  # fmt: skip
LAYERS = ("LSTM", "GRU", "RNN")
SQUARE = {"weight": (WIDTH, WIDTH), "bias": (WIDTH,)}
CELL = dict.fromkeys(("forget_x", "forget_h", "new_x", "new_h"), (WIDTH, WIDTH))
PER_CHANNEL = {"weight": (WIDTH,), "bias": (WIDTH,)}


@dataclass(frozen=True)
class Op:
    """How many streams a step takes, in how many ways it can be done, and its weights."""

    takes: int = 1
    ways: int = 1
    weights: dict[str, tuple[int, ...]] = field(default_factory=dict)


OPS = {
    "function": Op(ways=len(FUNCTIONS)),
    "linear": Op(weights=SQUARE),
    "conv": Op(ways=2, weights={"weight": (WIDTH, WIDTH, 3), "bias": (WIDTH,)}),  # dilation 1 or 2
    "layer": Op(ways=len(LAYERS)),  # its weights depend on the kind, see `layer_weights`
    "loop": Op(ways=3, weights=CELL),  # a cell by hand: stacked, written in place, joined bit by bit
    "attention": Op(3, ways=4, weights={"query": (WIDTH, WIDTH), "key": (WIDTH, WIDTH)}),  # four masks
    "softmax": Op(ways=3),  # over features, over time, its logarithm
    "norm": Op(ways=4, weights=PER_CHANNEL),  # over features, over time, over both, by the root of the mean square
    "batch_norm": Op(weights={**PER_CHANNEL, "mean": (WIDTH,), "spread": (WIDTH,)}),
    "add": Op(2, ways=2),  # sum, difference
    "product": Op(2, ways=3),  # plain, gated, over time with time
    "quotient": Op(2, ways=2),
    "extreme": Op(2, ways=2),  # the larger, the smaller
    "power": Op(2, ways=2),  # a constant exponent, an explained one
    "chosen": Op(2),  # by a constant pattern
    "compared": Op(3, ways=4),  # by what is explained
    "cumsum": Op(),
    "pool": Op(ways=4),  # maximum and mean of windows, maximum and minimum over time
    "average": Op(ways=2),  # over time, over the steps of the mask
    "moved": Op(ways=4),  # reversed, rolled, shifted with zeros, differences
    "written": Op(2, ways=4),  # into a copy: every second step, one step added to, a product, where it is masked
    "taken": Op(ways=2),  # steps in another order, one feature at all places
    "masked": Op(ways=2),  # multiplied, filled
    "length": Op(weights=PER_CHANNEL),  # by the norm of each step
    "decided": Op(ways=4),  # an if, a slice, a loop and an assertion on lengths and masks, which are constants
}
"""Steps that both frameworks have, and the reference."""

ONLY_TORCH = {"packed": Op(ways=len(LAYERS))}


@dataclass(frozen=True)
class Step:
    """One stream more. ``takes`` count backwards from the newest stream, round and round."""

    op: str
    takes: tuple[int, ...]
    way: int = 0


@dataclass(frozen=True)
class Recipe:
    """A model, its inputs and the baseline; reading it anew makes the same numbers.

    Args:
        steps: the streams after the first, which is a linear map of the series.
        more: an input besides the series: "", "static", "second" (a series) or "ids".
        given: what is not explained: "", "lengths" or "valid" (a mask).
        pool: how the last stream becomes the outputs: "last", "mean" or "flat".
        baseline: one of `BASELINES`, see `compare.baseline_of`.
        names: the order of the dimensions in which a series with names is passed; empty for one without names.
    """

    steps: tuple[Step, ...]
    more: str = ""
    given: str = ""
    pool: str = "last"
    baseline: str = "own"
    names: tuple[str, ...] = ()
    time: int = 3
    scale: float = 1.0
    double: bool = True
    seed: int = 0

    def generator(self, *purpose: object) -> np.random.Generator:
        return np.random.default_rng([self.seed, zlib.crc32(repr(purpose).encode())])

    def drawn(self, *purpose: object, shape: tuple[int, ...], scale: float = 1.0) -> np.ndarray:
        """Numbers that are the same in both precisions."""
        values = scale * self.generator(*purpose).normal(size=shape)
        return values.astype(np.float32).astype(np.float64)

    def weights(self, number: int) -> dict[str, np.ndarray]:
        """Of one step, under the names of the table; those of recurrent layers under PyTorch's."""
        step = self.steps[number]
        if step.op in ("layer", "packed"):
            shapes = layer_weights(LAYERS[step.way])
        else:
            shapes = {**OPS, **ONLY_TORCH}[step.op].weights
        return {name: self.drawn(number, name, shape=shape, scale=0.7) for name, shape in shapes.items()}

    def outer_weights(self) -> dict[str, np.ndarray]:
        """Of the maps from inputs to streams, and from the last stream to two outputs."""
        flat = WIDTH * (self.time if self.pool == "flat" else 1)
        shapes = {
            "series": (WIDTH, FEATURES),
            "bias": (WIDTH,),
            "second": (WIDTH, FEATURES),
            "static": (WIDTH, FEATURES),
        }
        shapes |= {"words": (WORDS, WIDTH), "head": (2, flat), "head_bias": (2,)}
        return {name: self.drawn("outer", name, shape=shape) for name, shape in shapes.items()}

    def explained(self, member: str, samples: int = SAMPLES) -> dict[str, np.ndarray]:
        """Explained inputs of the "test" or the "base" member, sample axis first."""
        found = {"series": self.drawn(member, "series", shape=(samples, self.time, FEATURES), scale=self.scale)}
        if self.more == "second":
            found["second"] = self.drawn(member, "second", shape=(samples, self.time, FEATURES), scale=self.scale)
        if self.more == "static":
            found["static"] = self.drawn(member, "static", shape=(samples, FEATURES), scale=self.scale)
        if self.more == "ids":
            found["ids"] = self.generator(member, "ids").integers(0, WORDS, (samples, self.time))
        return found

    def constants(self) -> dict[str, np.ndarray]:
        """Inputs that are not explained."""
        lengths = self.generator("lengths").integers(1, self.time + 1, SAMPLES)
        if self.given == "lengths":
            return {"lengths": lengths}
        if self.given == "valid":
            mask = self.generator("mask").random((SAMPLES, self.time)) < 0.7
            mask[:, 0] = True
            return {"valid": mask}
        return {}

    def mask(self) -> np.ndarray:
        """Which steps count: (SAMPLES, time)."""
        constants = self.constants()
        if "valid" in constants:
            return constants["valid"]
        return np.arange(self.time) < self.lengths()[:, None]

    def lengths(self) -> np.ndarray:
        """(SAMPLES,)"""
        constants = self.constants()
        if "valid" in constants:
            return constants["valid"].sum(1)
        return constants.get("lengths", np.full(SAMPLES, self.time))

    def pattern(self, number: int) -> np.ndarray:
        """A constant choice for a step: (time, WIDTH) truths."""
        return self.generator(number, "pattern").random((self.time, WIDTH)) < 0.5

    def order(self, number: int) -> np.ndarray:
        """Steps in another order, some of them twice."""
        return self.generator(number, "order").integers(0, self.time, self.time)


def layer_weights(kind: str) -> dict[str, tuple[int, ...]]:
    rows = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind] * WIDTH
    return {
        "weight_ih_l0": (rows, WIDTH),
        "weight_hh_l0": (rows, WIDTH),
        "bias_ih_l0": (rows,),
        "bias_hh_l0": (rows,),
    }


def steps(ops: dict[str, Op]) -> st.SearchStrategy[Step]:
    def of(name: str) -> st.SearchStrategy[Step]:
        op = ops[name]
        takes = st.tuples(*[st.integers(0, 3)] * op.takes)
        return st.builds(Step, st.just(name), takes, st.integers(0, op.ways - 1))

    return st.sampled_from(sorted(ops)).flatmap(of)


BASELINES = ("own", "one", "zeros", "mean", "median", "first", "number", "vector", "function", "background")
AXES = ("sample", "time", "feature")
SAMPLES_FIRST = [(), AXES, ("sample", "feature", "time")]


def recipes(ops: dict[str, Op]) -> st.SearchStrategy[Recipe]:
    """Where there are other inputs, samples come first in all of them."""
    alone = st.fixed_dictionaries(
        {
            "more": st.just(""),
            "given": st.just(""),
            "names": st.sampled_from([(), *itertools.permutations(AXES)]),
        }
    )
    beside = st.fixed_dictionaries(
        {
            "more": st.sampled_from(["", "static", "second", "ids"]),
            "given": st.sampled_from(["", "lengths", "valid"]),
            "names": st.sampled_from(SAMPLES_FIRST),
        }
    )
    return st.builds(
        lambda inputs, **others: Recipe(**inputs, **others),
        st.one_of(alone, beside),
        steps=st.lists(steps(ops), min_size=1, max_size=5).map(tuple),
        pool=st.sampled_from(["last", "mean", "flat"]),
        baseline=st.sampled_from(BASELINES),
        time=st.integers(2, 4),
        scale=st.sampled_from([0.3, 1.0, 1.0, 3.0]),
        double=st.sampled_from([True, True, False]),
        seed=st.integers(0, 2**16),
    )
