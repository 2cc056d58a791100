"""A TensorFlow model as shap wants it: a Keras model of the explained inputs with one column for each output."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from explain_core.backends.protocol import Target
from explain_core.backends.tensorflow.calling import entry, named_outputs
from explain_core.backends.tensorflow.devices import full_precision
from explain_core.methods.sample import Sample
from explain_core.preparation import Prepared


class TensorFlowModel:
    """See `PlainModel`."""

    def __init__(self, ready: Prepared) -> None:
        self._ready = ready
        self._call = entry(ready.model)
        self._place = {"cpu": "/CPU:0"}.get(ready.runner.device, ready.runner.device.replace("cuda", "/GPU"))
        self._constants: list[tf.Tensor] = []
        self._targets: list[Target] = []
        self.takes_many = True
        self.notes: list[str] = []

    @contextmanager
    def at_work(self) -> Generator[None]:
        """Where the model runs, in full precision."""
        with tf.device(self._place), full_precision():
            yield

    def use(self, sample: Sample) -> None:
        """See `PlainModel`."""
        self._targets = [target.of_sample(sample.number) for target in self._ready.targets]
        self._constants = [tf.constant(values) for values in sample.constants]
        self.takes_many = self._ready.axes[0] is not None and all(self._takes(sample, rows) for rows in (1, 2))

    def _takes(self, sample: Sample, rows: int) -> bool:
        """Whether the model itself takes so many rows and has as many answers."""
        self.takes_many = True
        try:
            return len(self.predict([np.repeat(values, rows, 0) for values in sample.test])) == rows
        except Exception:  # whatever a model made for another number of rows raises
            return False

    def predict(self, rows: Sequence[np.ndarray]) -> np.ndarray:
        """See `PlainModel`."""
        with self.at_work():
            return self.columns([tf.constant(leaf) for leaf in rows]).numpy()

    def gradients(self, rows: Sequence[np.ndarray], output: int) -> list[np.ndarray]:
        """The slope of one output for each row and input, in the shape of the rows."""
        with self.at_work(), tf.GradientTape(watch_accessed_variables=False) as tape:
            given = [tf.constant(leaf) for leaf in rows]
            tape.watch(given)
            column = self.columns(given)[:, output]
        zero = tf.UnconnectedGradients.ZERO
        return [slope.numpy() for slope in tape.gradient(column, given, unconnected_gradients=zero)]

    def as_keras(self, sample: Sample) -> Any:
        """A functional Keras model around the person's own, which stays as it is."""
        columns = self.columns

        class Columns(keras.layers.Layer):
            def call(self, given: Any) -> tf.Tensor:
                return columns(given if isinstance(given, list | tuple) else [given])

        inputs = [keras.Input(values.shape[1:], dtype=values.dtype.name) for values in sample.test]
        return keras.Model(inputs, Columns()(inputs if len(inputs) > 1 else inputs[0]))

    def columns(self, explained: Sequence[tf.Tensor]) -> tf.Tensor:
        """R rows of each explained input to (R, K)."""
        if self.takes_many:
            return self._of_batch(explained)
        rows, found = self._ready.plan.rows_at_once, []
        for first in range(0, explained[0].shape[0], rows):
            some = [leaf[first : first + rows] for leaf in explained]
            short = rows - some[0].shape[0]
            full = [tf.concat([leaf, tf.repeat(leaf[-1:], short, axis=0)], axis=0) for leaf in some]
            found.append(self._of_batch(full)[: rows - short])
        return tf.concat(found, axis=0)

    def _of_batch(self, explained: Sequence[tf.Tensor]) -> tf.Tensor:
        ready, count = self._ready, tf.shape(explained[0])[0]
        given, constants = iter(explained), iter(self._constants)
        leaves = []
        for is_explained, axis in zip(ready.runner.explained, ready.axes, strict=True):
            leaf = next(given) if is_explained else next(constants)
            leaf = leaf if is_explained else tf.repeat(leaf, count, axis=0)
            leaves.append(leaf[0] if axis is None else _moved(leaf, 0, axis))
        args, kwargs = ready.arguments.rebuild(leaves)
        outputs = [tensor for _, tensor in named_outputs(ready.model, self._call(*args, **kwargs))]
        columns = []
        for target in self._targets:
            first, *second = (self._column(outputs, part) for part in target.parts)
            columns.append(first - second[0] if second else first)
        return tf.stack(columns, axis=1)

    def _column(self, outputs: Sequence[tf.Tensor], target: Target) -> tf.Tensor:
        axis, output = self._ready.runner.output_axes[target.output], outputs[target.output]
        return (output[None] if axis is None else _moved(output, axis, 0))[target.place(0)]


def _moved(tensor: tf.Tensor, source: int, to: int) -> tf.Tensor:
    return tensor if source == to else tf.experimental.numpy.moveaxis(tensor, source, to)
