"""Every row of the TensorFlow rule table, over every argument that can be explained, at random shapes.

Each call stands alone, in double precision, with nothing exact beside it: its contributions add up to its change. Rows
that are games of their elements are also compared with Shapley values by their definition.
"""

from __future__ import annotations

import itertools
import math
import zlib

import numpy as np
import pytest

pytest.importorskip("tensorflow")
import tensorflow as tf
from tensorflow_draws import Draw, Explained, Sample
from tensorflow_samples import LINEAR, SAMPLES

from explain_core.backends.tensorflow.graph import Precision, compile_graph
from explain_core.backends.tensorflow.interpreter import Interpreter
from explain_core.backends.tensorflow.methods import Method
from explain_core.backends.tensorflow.pairs import CREDIT, Discrete, Pair, is_paired
from explain_core.backends.tensorflow.rules import RULES
from explain_core.errors import UnsupportedOperation

COMPLETE = {"float64": 1e-13, "float32": 1e-6}  # of the values' and the attributions' size
SEEDS = range(8)
ELSEWHERE = {
    "ArgMax": "a position, which is refused where it differs: test_tensorflow_orders",
    "ArgMin": "a position, which is refused where it differs: test_tensorflow_orders",
    "IsFinite": "the same of all finite numbers: test_tensorflow_infinities",
    "IsInf": "the same of all finite numbers: test_tensorflow_infinities",
    "IsNan": "the same of all finite numbers: test_tensorflow_infinities",
}


def test_every_row_is_drawn():
    assert set(RULES) == set(SAMPLES) | set(ELSEWHERE)
    assert not set(SAMPLES) & set(ELSEWHERE)


def sample(row: str, seed: int, most: int = 4) -> Sample:
    return SAMPLES[row](Draw(zlib.crc32(row.encode()) + seed, most))


class Call:
    """A sample, traced once."""

    def __init__(self, sample: Sample) -> None:
        kinds = [tf.as_dtype(e.test.dtype) for e in sample.explained]
        specs = [
            tf.TensorSpec(e.test.shape, tf.float32 if sample.singles else kind)
            for e, kind in zip(sample.explained, kinds, strict=True)
        ]
        traced = tf.function(sample.function, autograph=False).get_concrete_function(*specs)
        self.precision = next((kind.name for kind in kinds if kind.is_floating), "float64")
        self.program = compile_graph(traced.graph, Precision(self.precision))
        self.captured = [Precision(self.precision).cast(t) for t in traced.captured_inputs]

    def plainly(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        return [t.numpy() for t in Interpreter(self.program, {}).run([*map(tf.constant, arrays), *self.captured])]

    def on_pairs(self, explained: list[Explained], chosen: tuple[int, ...]) -> tuple[float, float, list[np.ndarray]]:
        """The change of a weighted sum of the results, their size, and the contribution of each chosen element.

        The others are at their test values.
        """
        given, leaves = [tf.constant(e.test) for e in explained], []
        with tf.GradientTape() as tape:
            for i in chosen:
                e = explained[i]
                leaves.append(given[i] if given[i].dtype.is_floating else tf.zeros(e.test.shape, CREDIT))
                tape.watch(leaves[-1])
                base = tf.constant(e.base)
                if given[i].dtype.is_floating:
                    given[i] = Pair(given[i], base)
                elif (e.test != e.base).any():
                    given[i] = Discrete(given[i], base, leaves[-1])
            total, change, size = tf.zeros((), CREDIT), 0.0, 0.0
            for r in Interpreter(self.program, {}).run([*given, *self.captured]):
                if not is_paired(r):
                    continue
                t, b = (tf.cast(member, CREDIT).numpy() for member in (r.test, r.base))
                t, b = (np.where(t == b, 0.0, member) for member in (t, b))  # such as the least number, of no members
                weights = weighed(t)
                change += float(((t - b) * weights).sum())
                size += float((np.abs(t) * weights + np.abs(b) * weights).sum())
                moved = tf.cast(r.test, CREDIT) if isinstance(r, Pair) else r.credit * (t - b)
                total += tf.reduce_sum(moved * weights)
        found = tape.gradient(total, leaves, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        contributions = []
        for i, m in zip(chosen, found, strict=True):
            moves = explained[i].test - explained[i].base if isinstance(given[i], Pair) else 1.0
            contributions.append(tf.convert_to_tensor(m).numpy() * moves)
        return change, size, contributions


def weighed(y: np.ndarray) -> np.ndarray:
    """Weights of which no two are the same."""
    return np.sqrt(1.0 + np.arange(y.size)).reshape(y.shape) / max(y.size, 1) ** 0.5


def subsets(count: int):
    """Each alone, each two, and all."""
    for size in sorted({1, min(2, count), count}):
        yield from itertools.combinations(range(count), size)


def assert_complete(call: Call, explained: list[Explained], chosen: tuple[int, ...], seed: int) -> None:
    change, size, contributions = call.on_pairs(explained, chosen)
    assert all(np.isfinite(c).all() for c in contributions), (seed, chosen)
    total = sum(float(c.sum(dtype=float)) for c in contributions)
    bound = COMPLETE[call.precision] * (size + sum(float(np.abs(c).sum()) for c in contributions))
    assert abs(total - change) <= bound, (seed, chosen, total - change, bound)


@pytest.mark.parametrize("row", SAMPLES)
def test_row_is_complete_by_itself(row, monkeypatch):
    reached, rules_of = set(), Method.rules

    def rules(method, program, node, values):
        reached.add(node.type)
        return rules_of(method, program, node, values)

    monkeypatch.setattr(Method, "rules", rules)
    for seed in SEEDS:
        drawn = sample(row, seed)
        call, explained = Call(drawn), drawn.explained
        for chosen in subsets(len(explained)):
            if any(explained[i].refused for i in chosen):
                with pytest.raises(UnsupportedOperation, match=row):
                    call.on_pairs(explained, chosen)
                continue
            assert_complete(call, explained, chosen, seed)
    assert row in reached


def of_kind(drawn: Sample, domain: str) -> Sample:
    """The same call on whole numbers or on truths in place of floats."""
    change = {"int": lambda x: np.round(2 * x).astype(np.int32), "truth": lambda x: x > 0}[domain]
    given = [
        Explained(change(e.test), change(e.base), e.refused) if e.test.dtype.kind == "f" else e for e in drawn.explained
    ]
    return Sample(drawn.function, given)


@pytest.mark.parametrize("domain", ["int", "truth"])
@pytest.mark.parametrize("row", SAMPLES)
def test_row_is_complete_or_refused_where_no_float_differs(row, domain):
    for seed in range(2):
        drawn = of_kind(sample(row, seed, most=3), domain)
        explained = drawn.explained
        try:
            call = Call(drawn)
            call.plainly([e.test for e in explained]), call.plainly([e.base for e in explained])
        except (TypeError, ValueError, tf.errors.OpError):
            return  # TensorFlow has no such operation
        for chosen in subsets(len(explained)):
            refused = ""
            try:
                assert_complete(call, explained, chosen, seed)
            except UnsupportedOperation as error:
                refused = str(error)
            assert not refused or row in refused


def shapley(call: Call, explained: list[Explained]) -> list[np.ndarray]:
    """Exact Shapley values of the weighted sum, with every element that differs as a player."""
    sizes = [e.test.size for e in explained]
    where = np.concatenate([(e.test != e.base).ravel() for e in explained]).nonzero()[0]
    count, ends = len(where), np.cumsum(sizes)[:-1]

    def value(members: int) -> float:
        taken = np.zeros(sum(sizes), bool)
        taken[where[[i for i in range(count) if members >> i & 1]]] = True
        mixed = [
            np.where(t.reshape(e.test.shape), e.test, e.base)
            for t, e in zip(np.split(taken, ends), explained, strict=True)
        ]
        results = [(r.astype(float), weighed(r)) for r in call.plainly(mixed)]
        return sum(float((np.where(np.abs(r) > 1e300, 0.0, r) * w).sum()) for r, w in results)

    values, found = [value(members) for members in range(2**count)], np.zeros(sum(sizes))
    for members, before in enumerate(values):
        others = members.bit_count()
        for i in range(count):
            if not members >> i & 1:
                weight = math.factorial(others) * math.factorial(count - others - 1) / math.factorial(count)
                found[where[i]] += weight * (values[members | 1 << i] - before)
    return [part.reshape(e.test.shape) for part, e in zip(np.split(found, ends), explained, strict=True)]


def thinned(explained: list[Explained], players: int, seed: int) -> list[Explained]:
    """The same arrays, of which only so many elements differ, and none that must not."""
    able = np.concatenate([np.full(e.test.size, not e.refused) for e in explained]).nonzero()[0]
    chosen = np.zeros(sum(e.test.size for e in explained), bool)
    chosen[np.random.default_rng(seed).permutation(able)[:players]] = True
    moves = np.split(chosen, np.cumsum([e.test.size for e in explained])[:-1])
    return [
        Explained(e.test, np.where(m.reshape(e.test.shape), e.base, e.test), e.refused)
        for m, e in zip(moves, explained, strict=True)
    ]


# Games of their parts, or of truths, of which one that stays moves nothing whatever its elements do.
OF_PARTS = {"CumulativeLogsumexp", "EuclideanNorm", "LogSoftmax", "Softmax", "LogicalAnd", "LogicalOr"}
OF_PARTS |= {"All", "Any", "Equal", "NotEqual", "Greater", "GreaterEqual", "Less", "LessEqual"}


WITHOUT_DOUBLES = {"FusedBatchNorm", "FusedBatchNormV3"}  # TensorFlow's own kernel


@pytest.mark.parametrize("row", [row for row in SAMPLES if row not in OF_PARTS | WITHOUT_DOUBLES])
def test_row_gives_shapley_values(row):
    for seed in range(3):
        drawn = sample(row, seed, most=3)
        if row in LINEAR and drawn.explained[0].test.dtype.kind != "f":
            continue  # a whole number that stays has nothing to share, and a rounded one what it changes by
        call, explained = Call(drawn), thinned(drawn.explained, 5, seed)
        chosen = tuple(i for i, e in enumerate(explained) if not e.refused)
        _, size, found = call.on_pairs(explained, chosen)
        expected = shapley(call, explained)
        for i, f in zip(chosen, found, strict=True):
            np.testing.assert_allclose(f, expected[i], rtol=0, atol=COMPLETE[call.precision] * (size + 1e-3))
