"""A recipe as a Keras model, in the ways that people write TensorFlow and Keras."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from keras import layers as L
from keras import ops as K

from random_graphs.expected import EPS
from random_graphs.recipe import AXES, FUNCTIONS, LAYERS, WIDTH, Recipe

CALLS = {
    **{name: getattr(tf, name) for name in ("tanh", "sigmoid", "square", "sin")},
    **{name: getattr(keras.activations, name) for name in ("relu", "silu", "softplus", "elu", "softsign")},
    "gelu": lambda x: 0.5 * x * (1 + tf.math.erf(x / 2**0.5)),  # TensorFlow's own rounds the root to float32
    "leaky_relu": lambda x: tf.nn.leaky_relu(x, 0.125),
    "absolute": tf.abs,
    "hardtanh": lambda x: tf.clip_by_value(x, -1.0, 1.0),
    "erf": tf.math.erf,
}


class Machine(keras.Model):
    """(sample, time, FEATURES), and what else the recipe has, to (sample, 2)."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(dtype="float64")
        self.recipe = recipe
        self.outer = variables(recipe.outer_weights())
        self.steps_weights = [
            layer(LAYERS[step.way], recipe.weights(i)) if step.op == "layer" else variables(recipe.weights(i))
            for i, step in enumerate(recipe.steps)
        ]

        self.built = True  # all its weights are above

    def call(self, series, second=None, static=None, ids=None, lengths=None, valid=None):
        if self.recipe.names:
            series = tf.transpose(series, [self.recipe.names.index(axis) for axis in AXES])
        outer, time = self.outer, self.recipe.time
        streams = [series @ tf.transpose(outer["series"]) + outer["bias"]]
        if second is not None:
            streams.append(tf.einsum("ntf,wf->ntw", second, outer["second"]))
        if static is not None:
            streams.append(tf.tile(tf.linalg.matmul(static, outer["static"], transpose_b=True)[:, None], [1, time, 1]))
        if ids is not None:
            streams.append(tf.gather(outer["words"], ids))
        if valid is None:
            valid = tf.sequence_mask(tf.fill(tf.shape(series)[:1], time) if lengths is None else lengths, time)
        for i, step in enumerate(self.recipe.steps):
            taken = [streams[-1 - back % len(streams)] for back in step.takes]
            streams.append(STEPS[step.op](Step(self, i, valid), *taken))
        end = streams[-1] if len(streams) == 1 else streams[-1] + 0.5 * streams[len(streams) // 2]
        if self.recipe.pool == "flat":
            end = tf.reshape(end, [-1, time * WIDTH])
        else:
            end = end[:, -1] if self.recipe.pool == "last" else tf.reduce_mean(end, 1)
        return tf.matmul(end, outer["head"], transpose_b=True) + outer["head_bias"]


class Step:
    """What a step sees besides its streams."""

    def __init__(self, machine: Machine, number: int, mask: tf.Tensor) -> None:
        self.recipe, self.number, self.mask = machine.recipe, number, mask
        self.way = machine.recipe.steps[number].way
        self.w = machine.steps_weights[number]


def variables(weights: dict[str, np.ndarray]) -> dict[str, keras.Variable]:
    return {name: keras.Variable(values, dtype="float64", trainable=True) for name, values in weights.items()}


def layer(kind: str, weights: dict[str, np.ndarray]) -> L.Layer:
    """The Keras layer of PyTorch's weights: one bias less, and the GRU's gates in another order."""
    name = "SimpleRNN" if kind == "RNN" else kind
    made = getattr(L, name)(WIDTH, return_sequences=True, dtype="float64")
    made.build((None, None, WIDTH))
    order = {"LSTM": (0, 1, 2, 3), "GRU": (1, 0, 2), "RNN": (0,)}[kind]

    def of(which: str) -> np.ndarray:
        blocks = np.split(weights[which], len(order))
        return np.concatenate([blocks[gate] for gate in order])

    biases = of("bias_ih_l0"), of("bias_hh_l0")
    bias = np.stack(biases) if kind == "GRU" else sum(biases)
    made.set_weights([of("weight_ih_l0").T, of("weight_hh_l0").T, bias])
    return made


def conv(s: Step, x):
    """Its kernel has PyTorch's layout, (out, in, width)."""
    kernel, reach = tf.transpose(s.w["weight"], [2, 1, 0]), s.way + 1
    return tf.nn.convolution(x, kernel, padding="SAME", dilations=[reach]) + s.w["bias"]


def loop(s: Step, x):
    def one(h, now):
        forget = tf.sigmoid(now @ s.w["forget_x"] + h @ s.w["forget_h"])
        return forget * h + (1 - forget) * tf.tanh(now @ s.w["new_x"] + h @ s.w["new_h"])

    h = tf.zeros_like(x[:, 0])
    if s.way == 0:
        states = []
        for t in range(s.recipe.time):
            h = one(h, x[:, t])
            states.append(h)
        return tf.stack(states, 1)
    if s.way == 1:
        states = tf.TensorArray(x.dtype, size=s.recipe.time)
        _, _, states = tf.while_loop(
            lambda t, h, states: t < tf.shape(x)[1],
            lambda t, h, states: (t + 1, one(h, x[:, t]), states.write(t, one(h, x[:, t]))),
            (0, h, states),
        )
        return tf.transpose(states.stack(), [1, 0, 2])
    return tf.transpose(tf.scan(one, tf.transpose(x, [1, 0, 2]), h), [1, 0, 2])


def attend(s: Step, query, key, value):
    query, key = tf.tanh(query @ s.w["query"]), tf.tanh(key @ s.w["key"])
    scores = tf.matmul(query, key, transpose_b=True) / WIDTH**0.5
    seen = tf.linalg.band_part(tf.ones([s.recipe.time] * 2, tf.bool), -1, 0)
    if s.way == 1:
        scores = tf.where(seen, scores, scores.dtype.min)
    elif s.way == 2:
        scores = scores - 1e9 * tf.cast(~seen, scores.dtype)
    elif s.way == 3:
        scores = scores + tf.where(s.mask[:, None], tf.cast(0, scores.dtype), tf.cast(-1e9, scores.dtype))
    return tf.nn.softmax(scores) @ value


def softmax(s: Step, x):
    return tf.nn.log_softmax(x) if s.way == 2 else tf.nn.softmax(x, -1 if s.way == 0 else 1)


def norm(s: Step, x):
    if s.way == 3:
        return x * tf.math.rsqrt(tf.reduce_mean(tf.square(x), -1, keepdims=True) + EPS) * s.w["weight"]
    axes = {0: [-1], 1: [1], 2: [1, 2]}[s.way]
    mean, variance = tf.nn.moments(x, axes, keepdims=True)
    return tf.nn.batch_normalization(x, mean, variance, s.w["bias"], s.w["weight"], EPS)


def batch_norm(s: Step, x):
    w = s.w
    return tf.nn.batch_normalization(x, w["mean"], tf.square(w["spread"]), w["bias"], w["weight"], EPS)


def product(s: Step, a, b):
    if s.way == 0:
        return a * b
    return a * tf.sigmoid(b) if s.way == 1 else tf.einsum("ntw,nsw->nts", a, b) @ (b / WIDTH)


def power(s: Step, a, b):
    root = tf.square(a) + 0.5
    return root**1.5 + b if s.way == 0 else tf.pow(root, tf.tanh(b))


def compared(s: Step, a, b, c):
    if s.way < 2:
        return tf.where(a > (b if s.way else 0.1), b, c)
    return tf.cast(a > 0.1, b.dtype) * b + c if s.way == 2 else tf.where(b > 0.5, tf.cast(0.25, c.dtype), c)


def pool(s: Step, x):
    if s.way >= 2:
        best = tf.reduce_max(x, 1, keepdims=True) if s.way == 2 else K.min(x, axis=1, keepdims=True)
        return tf.repeat(best, s.recipe.time, axis=1)
    if s.way == 0:
        return tf.nn.max_pool1d(x, 3, 1, "SAME")
    padded = tf.pad(x, [[0, 0], [1, 1], [0, 0]])
    return tf.nn.avg_pool1d(padded, 3, 1, "VALID")


def average(s: Step, x):
    if s.way == 0:
        return tf.zeros_like(x) + tf.reduce_mean(x, 1, keepdims=True)
    mask = tf.cast(s.mask, x.dtype)[..., None]
    return tf.zeros_like(x) + tf.reduce_sum(x * mask, 1, keepdims=True) / tf.reduce_sum(mask, 1, keepdims=True)


def moved(s: Step, x):
    if s.way < 2:
        return x[:, ::-1] if s.way == 0 else tf.roll(x, 1, 1)
    before = tf.pad(x, [[0, 0], [1, 0], [0, 0]])[:, :-1]
    return before if s.way == 2 else x - before


def written(s: Step, a, b):
    """TensorFlow writes into a copy."""
    even = np.arange(0, s.recipe.time, 2)
    steps = tf.transpose(a, [1, 0, 2]), tf.transpose(b, [1, 0, 2])
    if s.way == 0:
        y = tf.tensor_scatter_nd_update(steps[0], even[:, None], tf.gather(steps[1], even))
    elif s.way == 1:
        y = tf.tensor_scatter_nd_add(steps[0], [[0]], steps[1][-1:])
    elif s.way == 2:
        y = tf.tensor_scatter_nd_update(steps[0], even[:, None], tf.gather(steps[0] * steps[1], even))
    else:
        return tf.where(s.mask[..., None], a, 0.5 * b)
    return tf.transpose(y, [1, 0, 2])


def taken(s: Step, x):
    return tf.gather(x, s.recipe.order(s.number), axis=1) if s.way == 0 else K.take(x, [1, 1, 0], axis=-1)


def masked(s: Step, x):
    mask = s.mask[..., None]
    return x * tf.cast(mask, x.dtype) if s.way == 0 else tf.where(mask, x, tf.cast(0.25, x.dtype))


def decided(s: Step, x):
    steps = x * tf.cast(s.mask, x.dtype)[..., None]
    if s.way == 0:
        return tf.cond(tf.reduce_all(s.mask), lambda: x, lambda: steps)
    longest = tf.reduce_max(tf.where(s.mask)[:, 1]) + 1
    if s.way == 1:
        return tf.pad(steps[:, :longest], [[0, 0], [0, s.recipe.time - tf.cast(longest, tf.int32)], [0, 0]])
    if s.way == 2:
        _, total = tf.while_loop(
            lambda t, total: t < longest,
            lambda t, total: (t + 1, total + steps[:, t]),
            (tf.zeros((), longest.dtype), tf.zeros_like(x[:, 0])),
        )
        return tf.repeat(total[:, None], s.recipe.time, axis=1)
    with tf.control_dependencies([tf.debugging.assert_positive(tf.reduce_sum(tf.cast(s.mask, tf.int32), 1))]):
        return tf.switch_case(tf.cast(longest, tf.int32) % 2, [lambda: 2 * x, lambda: x + x])


STEPS = {
    "function": lambda s, x: CALLS[FUNCTIONS[s.way]](x),
    "linear": lambda s, x: tf.tensordot(x, tf.transpose(s.w["weight"]), 1) + s.w["bias"],
    "conv": conv,
    "layer": lambda s, x: s.w(x),
    "loop": loop,
    "attention": attend,
    "softmax": softmax,
    "norm": norm,
    "batch_norm": batch_norm,
    "add": lambda s, a, b: a - b if s.way else a + b,
    "product": product,
    "quotient": lambda s, a, b: a / (tf.square(b) + 1) if s.way == 0 else a / (tf.nn.softplus(b) + 0.5),
    "extreme": lambda s, a, b: tf.minimum(a, b) if s.way else tf.maximum(a, b),
    "power": power,
    "chosen": lambda s, a, b: tf.where(s.recipe.pattern(s.number), a, b),
    "compared": compared,
    "cumsum": lambda s, x: tf.cumsum(x, 1),
    "pool": pool,
    "average": average,
    "moved": moved,
    "written": written,
    "taken": taken,
    "masked": masked,
    "length": lambda s, x: (
        x / tf.sqrt(tf.reduce_sum(tf.square(x), -1, keepdims=True) + EPS) * s.w["weight"] + s.w["bias"]
    ),
    "decided": decided,
}
