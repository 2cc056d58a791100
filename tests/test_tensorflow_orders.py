"""Orders, products of many, groups and running log-sums against the Shapley values of all coalitions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_tools import runner_of

from explain_core.backends.protocol import Target
from explain_core.backends.tensorflow.orders import order_rule
from explain_core.errors import UnsupportedOperation

EXACT = {"rtol": 1e-10, "atol": 1e-12}


class Weighted(tf.Module):
    """The sum of what a function returns, with fixed weights so that nothing cancels by symmetry."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def __call__(self, *inputs):
        out = self.function(*inputs)
        weights = np.random.default_rng(7).normal(size=out.shape)
        return tf.reduce_sum(out * tf.cast(weights, out.dtype))


def attributions(function, tests, bases):
    """The contributions of each input, which must add up."""
    model = Weighted(function)
    runner = runner_of(model, tests, precision="float64", sample_axes=(None,) * len(tests))
    found = runner.attribute(tests, bases, [Target(0, (), "sum")], gates=False, embeddings=False)
    parts = [np.zeros(t.shape) if a is None else a[0, 0] for a, t in zip(found.attributions, tests, strict=True)]
    change = float(found.prediction[0, 0] - found.baseline_prediction[0, 0])
    assert abs(sum(part.sum() for part in parts) - change) <= 1e-12 * sum(np.abs(part).sum() for part in parts)
    return parts


def shapley(function, test, base):
    """The Shapley values of the elements of one array, by all coalitions."""
    model, count = Weighted(function), test.size
    worth = {}
    for here in itertools.product((False, True), repeat=count):
        member = np.where(np.reshape(here, test.shape), test, base)
        worth[here] = float(model(tf.constant(member)))
    values = np.zeros(count)
    for here, value in worth.items():
        size = sum(here)
        for i in range(count):
            if here[i]:
                share = math.factorial(size - 1) * math.factorial(count - size) / math.factorial(count)
                values[i] += share * (value - worth[*here[:i], False, *here[i + 1 :]])
    return values.reshape(test.shape)


def members(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=(2, *shape))


GAMES = {
    "prod": lambda x: tf.reduce_prod(x, -1),
    "prod of everything": lambda x: tf.reduce_prod(x)[None],
    "cumprod": lambda x: tf.math.cumprod(x, -1),
    "cumprod, exclusive and reverse": lambda x: tf.math.cumprod(x, -1, exclusive=True, reverse=True),
    "sort": lambda x: tf.sort(x, -1),
    "sort, descending": lambda x: tf.sort(x, -1, "DESCENDING"),
    "top 3": lambda x: tf.math.top_k(x, 3).values,
    "nth element": lambda x: tf.raw_ops.NthElement(input=x, n=2)[None],
    "unsorted_segment_max": lambda x: tf.math.unsorted_segment_max(x, [1, 0, 1, 1, 0, -1], 2),
    "unsorted_segment_min": lambda x: tf.math.unsorted_segment_min(x, [1, 0, 1, 1, 0, -1], 2),
    "unsorted_segment_prod": lambda x: tf.math.unsorted_segment_prod(x, [3, 0, 3, 3, 0, 1], 4),
    "unsorted_segment_mean": lambda x: tf.math.unsorted_segment_mean(x, [3, 0, 3, 3, 0, 1], 4),
    "segment_max": lambda x: tf.reshape(tf.math.segment_max(x, [0, 0, 2, 2, 2, 3]), [4]),
    "segment_min": lambda x: tf.reshape(tf.math.segment_min(x, [0, 0, 2, 2, 2, 3]), [4]),
    "tensor_scatter_max": lambda x: tf.tensor_scatter_nd_max(x[:3], [[0], [2], [0]], x[3:]),
    "tensor_scatter_min": lambda x: tf.tensor_scatter_nd_min(x[:3], [[0], [2], [0]], x[3:]),
    "xlogy": lambda x: tf.math.xlogy(x[:3], tf.abs(x[3:])),
    "xlog1py": lambda x: tf.math.xlog1py(x[:3], tf.abs(x[3:])),
    "xdivy": lambda x: tf.math.xdivy(x[:3], 1 + tf.abs(x[3:])),
    "cross": lambda x: tf.linalg.cross(x[:3], x[3:]),
}


@pytest.mark.parametrize("name", GAMES)
def test_shares_are_shapley_values(name):
    for seed in range(3):
        test, base = members(6, seed=seed)
        test[seed] = base[seed]  # one that does not move
        test[4] = 0.0
        function = GAMES[name]
        if name in ("xlogy", "xlog1py", "xdivy"):  # a two-player game of what is in front of it and behind it
            test[4] = 0.7
            test[3:], base[3:] = np.abs(test[3:]), np.abs(base[3:])
        (found,) = attributions(function, [test], [base])
        np.testing.assert_allclose(found, shapley(function, test, base), **EXACT)


def _einsum(x):
    return tf.einsum("ij,ij,ij->j", *tf.unstack(tf.reshape(x, [3, 1, 2])))


def test_a_product_of_three_operands_is_one_game():
    """Not two games of two, in which what is multiplied first would share alike with what comes last."""
    for seed in range(3):
        test, base = members(6, seed=seed)
        (found,) = attributions(_einsum, [test], [base])
        np.testing.assert_allclose(found, shapley(_einsum, test, base), **EXACT)
    a, b = members(3, 4, seed=1), members(4, 4, seed=2)

    def function(x, y):  # one operand twice, one constant, and what is made of them
        return tf.einsum("ij,jk,kl,lm,lm->im", x, y, tf.eye(4) + 0.5, tf.sin(y), y) + tf.einsum("ij,jk->ik", x, y)

    attributions(function, [a[0], b[0, :4]], [a[1], b[1, :4]])


def test_the_largest_alone_goes_by_the_rule_of_the_maximum():
    test, base = members(4, 7, seed=1)
    one = attributions(lambda x: tf.math.top_k(x, 1).values[:, 0], [test], [base])
    np.testing.assert_array_equal(one, attributions(lambda x: tf.reduce_max(x, -1), [test], [base]))
    least = attributions(lambda x: tf.sort(x, -1)[:, 0], [test], [base])
    np.testing.assert_allclose(least, attributions(lambda x: tf.reduce_min(x, -1), [test], [base]), **EXACT)


def test_the_median_of_ties_and_of_masks():
    """Values that are the same, and the infinities of a mask, have nobody between them."""
    test = np.array([1.0, 1.0, 0.0, -np.inf, 2.0])
    base = np.array([0.0, 1.0, 1.0, -np.inf, 0.0])
    for rank in (1, 2, 3, 4):
        slope = order_rule(tf.constant(test), tf.constant(base), np.array([rank]))(tf.ones(1, tf.float64)).numpy()
        moved = np.where(test == base, 0.0, test) - np.where(test == base, 0.0, base)
        game = np.zeros(5)
        for order in itertools.permutations(range(5)):
            now = base.copy()
            for player in order:
                before, now[player] = np.sort(now)[-rank], test[player]
                game[player] += (np.sort(now)[-rank] - before) / math.factorial(5)
        np.testing.assert_allclose(slope * moved, game, atol=1e-13)


def test_many_are_sorted():
    test, base = members(2, 300, seed=3)
    attributions(lambda x: tf.sort(x, -1)[:, 140:160], [test], [base])


def test_many_factors_with_zeros_among_them():
    test, base = 1 + 0.1 * members(3, 60, seed=4)
    test[0, 5] = base[1, 7] = test[1, 7] = 0.0
    attributions(lambda x: tf.math.cumprod(x, 1) + tf.reduce_prod(x, 1, keepdims=True), [test], [base])


def test_running_log_sums_share_as_log_sum_exp_of_each_beginning():
    """Against softmax's own rule: the log-sum-exp of a beginning is its last element less its last log-softmax."""
    test, base = 3 * members(2, 5, seed=5)
    (found,) = attributions(lambda x: tf.math.cumulative_logsumexp(x, 1), [test], [base])

    def slowly(x):
        return tf.stack([x[:, t] - tf.nn.log_softmax(x[:, : t + 1])[:, t] for t in range(5)], 1)

    np.testing.assert_allclose(found, attributions(slowly, [test], [base])[0], **EXACT)
    for exclusive, reverse in ((True, False), (False, True), (True, True)):
        attributions(
            lambda x, e=exclusive, r=reverse: tf.math.cumulative_logsumexp(x, 1, e, r)[:, 1:-1], [test], [base]
        )


def test_a_norm_is_the_root_of_a_sum_of_squares():
    test, base = members(3, 4, seed=6)
    test[0] = base[0] = 0.0  # no length, no direction
    (found,) = attributions(lambda x: tf.math.reduce_euclidean_norm(x, 1), [test], [base])
    slowly = attributions(lambda x: tf.sqrt(tf.reduce_sum(tf.square(x), 1)), [test], [base])
    np.testing.assert_allclose(found, slowly[0], **EXACT)
    assert not found[0].any()


def test_a_weight_of_zero_takes_no_logarithm_of_zero():
    test, base = np.array([0.0, 2.0]), np.array([0.0, 1.0])
    (found,) = attributions(lambda x: tf.math.xlogy(x, [0.0, 3.0]) + tf.math.xdivy(x, [0.0, 2.0]), [test], [base])
    assert found[0] == 0


LINEAR = {
    "segment_sum": lambda x: tf.math.unsorted_segment_sum(x, [1, 0, 1, -1], 3),
    "segment_mean": lambda x: tf.math.unsorted_segment_mean(x, [1, 0, 1, 1], 3),
    "sparse_segment_mean": lambda x: tf.reshape(tf.sparse.segment_mean(x, [0, 3, 1], [0, 0, 1]), [2, 5]),
    "scatter_nd": lambda x: tf.scatter_nd([[1], [0], [1], [2]], x, [4, 5]),
    "scatter_sub": lambda x: tf.tensor_scatter_nd_sub(x, [[1], [1]], x[:2]),
    "set_diag": lambda x: tf.linalg.set_diag(x, x[1, :4]),
    "ragged to dense": lambda x: tf.reshape(
        tf.RaggedTensor.from_row_splits(x, [0, 3, 3, 4]).to_tensor(x[0, 0]), [3, 3, 5]
    ),
    "ragged twice to dense": lambda x: tf.reshape(
        tf.RaggedTensor.from_nested_row_splits(x, [[0, 1, 3], [0, 2, 2, 4]]).to_tensor(), [2, 2, 2, 5]
    ),
}


@pytest.mark.parametrize("name", LINEAR)
def test_what_is_linear_moves_each_element_by_itself(name):
    """An element's share is what the result changes by when it alone moves."""
    function, (test, base) = LINEAR[name], members(4, 5, seed=8)
    (found,) = attributions(function, [test], [base])
    model, expected = Weighted(function), np.zeros_like(test)
    start = float(model(tf.constant(base)))
    for place in np.ndindex(*test.shape):
        moved = base.copy()
        moved[place] = test[place]
        expected[place] = float(model(tf.constant(moved))) - start
    np.testing.assert_allclose(found, expected, **EXACT)


def test_whole_numbers_that_meet_in_one_place_share_it():
    """A sum of counts in which both parts differ is not credited twice."""
    test, base = np.array([3.2, 2.1, 4.5]), np.array([1.0, 5.5, 4.6])
    (found,) = attributions(
        lambda x: tf.cast(tf.scatter_nd([[1], [1], [0]], tf.cast(x, tf.int32), [2]), x.dtype), [test], [base]
    )
    weight = np.random.default_rng(7).normal(size=2)[1]
    np.testing.assert_allclose(found, [2 * weight, -3 * weight, 0], rtol=1e-12)


POSITIONS = {
    "argsort": lambda x: tf.cast(tf.argsort(x), tf.float32),
    "top_k": lambda x: tf.gather([1.0, 2.0, 4.0, 8.0], tf.math.top_k(x, 2).indices),
    "argmax": lambda x: tf.one_hot(tf.argmax(x, -1), 4),
    "gather by argsort": lambda x: tf.gather(x, tf.argsort(x, -1), batch_dims=1)[:, 0],
}


@pytest.mark.parametrize("name", POSITIONS)
def test_positions_that_differ_are_refused_where_they_matter(name):
    test, base = members(3, 4, seed=2)
    with pytest.raises(UnsupportedOperation, match=r"TopKV2|ArgMax|GatherV2") as caught:
        attributions(POSITIONS[name], [test], [base])
    assert "differ" in str(caught.value)
    base = test - 0.25  # the same order in both
    attributions(lambda x: POSITIONS[name](x) * tf.reduce_sum(x), [test], [base])


def test_positions_that_nothing_depends_on_are_no_obstacle():
    test, base = members(3, 4, seed=2)

    def function(x):
        values, _ = tf.math.top_k(x, 2)
        return values + 0 * tf.cast(tf.argmax(x, -1), x.dtype)[:, None]

    attributions(function, [test], [base])


@pytest.mark.parametrize("seed", range(4))
def test_random_shapes_and_axes_add_up(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 5, size=rng.integers(2, 5)))
    axis = int(rng.integers(0, len(shape)))
    test, base = rng.normal(size=(2, *shape))
    ids, groups = np.arange(np.prod(shape[:2])).reshape(shape[:2]) % 2, min(2, np.prod(shape[:2]))
    for function in (
        lambda x: tf.reduce_prod(x, axis),
        lambda x: tf.math.cumprod(x, axis, reverse=True),
        lambda x: tf.sort(x, axis),
        lambda x: tf.math.cumulative_logsumexp(x, axis),
        lambda x: tf.math.reduce_euclidean_norm(x, axis),
        lambda x: tf.math.unsorted_segment_max(x, ids, groups),
    ):
        attributions(function, [test], [base])


def test_counts_of_explained_numbers_are_refused_by_name():
    def counts(x):
        found = tf.math.bincount(tf.cast(x, tf.int32), minlength=5, maxlength=5)
        return tf.cast(tf.reshape(found, [5]), x.dtype)

    with pytest.raises(UnsupportedOperation, match=r"in bincount"):
        attributions(counts, [np.array([1.2, 3.4, 0.1])], [np.array([2.2, 2.4, 0.1])])


@pytest.mark.parametrize("name", ["any", "all"])
def test_truths_of_comparisons_share_by_shapley_values(name):
    test, base = np.array([2.0, 3.0, -1.0, 2.5]), np.array([-1.0, -2.0, -3.0, -1.0])
    if name == "all":
        test, base = -base, -test
    reduce = {"any": tf.reduce_any, "all": tf.reduce_all}[name]

    def function(x):
        return tf.cast(reduce(x > 0), x.dtype)[None]

    np.testing.assert_allclose(attributions(function, [test], [base])[0], shapley(function, test, base), **EXACT)
