"""Finding the recurrent Keras layers in a traced graph.

While a model is traced, the inner loop of every ``LSTM``, ``GRU`` and ``SimpleRNN`` is put into a
TensorFlow function of its own, under a name that only this package gives. In the graph it is then one call,
whose arguments are the paired sequence, the initial states and the mask. The interpreter runs it as one
fused operation, or walks into it like into any other function: it holds the loop that Keras would have
traced.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from . import keras2

CELLS = {"LSTMCell": "LSTM", "GRUCell": "GRU", "SimpleRNNCell": "RNN"}

_marks: ContextVar[dict[str, Layer] | None] = ContextVar("pairlift_marks", default=None)
_patching = threading.RLock()


@dataclass(frozen=True)
class Layer:
    """What the fused operation needs to know of a layer: its weights and options, but not the layer.

    (Traces are kept for as long as the model lives, so they must not keep it alive.)
    """

    name: str  # the layer's path inside the model
    kind: str  # "LSTM", "GRU" or "RNN"
    kernel: Any  # Keras variables: (F, G·H)
    recurrent_kernel: Any  # (H, G·H)
    bias: Any  # (G·H,), (2, 3H) for GRU with reset_after, or None
    activation: str
    recurrent_activation: str
    reset_after: bool
    masked: bool
    go_backwards: bool
    zero_output_for_mask: bool
    return_sequences: bool


def mark_of(function: str) -> str | None:
    """The mark in the name that TensorFlow made of a marked function's."""
    found = re.fullmatch(r"__inference_(pairlift_recurrent_\d+)_\d+", function)
    return found and found[1]


@contextmanager
def marking() -> Iterator[dict[str, Layer]]:
    """Mark the recurrent layers that are traced inside, and give what they are by mark.

    Keras has no hook around the loop of a layer, so its classes' ``inner_loop`` is replaced meanwhile.
    Other threads go through the replacement to the original, for the marks are a context variable.
    """
    import keras

    classes = [keras.layers.RNN, keras.layers.LSTM, keras.layers.GRU]
    marks: dict[str, Layer] = {}
    with _patching:
        originals = {cls: cls.inner_loop for cls in classes}
        plain_loop = originals[keras.layers.RNN]
        token = _marks.set(marks)
        try:
            for cls, original in originals.items():
                cls.inner_loop = _marked(original, plain_loop)
            yield marks
        finally:
            for cls, original in originals.items():
                cls.inner_loop = original
            _marks.reset(token)


def _marked(original: Callable, plain_loop: Callable) -> Callable:
    def inner_loop(self, sequences, initial_state, mask=None, training=False):
        marks = _marks.get()
        if marks is None:
            return original(self, sequences, initial_state, mask, training)
        layer = None if training and _drops(self.cell) else _describe(self, mask)
        if layer is None:  # the plain loop, also where Keras would take a kernel that cannot be looked into
            return plain_loop(self, sequences, initial_state, mask, training)
        mark = f"pairlift_recurrent_{len(marks)}"
        marks[mark] = layer
        states = [tf.convert_to_tensor(s) for s in tf.nest.flatten(initial_state)]

        def loop(sequences, states, mask):
            last, outputs, new_states = plain_loop(self, sequences, states, mask, training)
            return [last, outputs, *new_states]

        loop.__name__ = mark
        last, outputs, *new_states = tf.function(loop, autograph=False)(sequences, states, mask)
        return last, outputs, new_states

    return inner_loop


def _describe(layer: Any, mask: Any) -> Layer | None:
    """The layer, or None if its cell or an activation is not one with a fused form."""
    import keras

    cell = layer.cell
    known = {getattr(keras.layers, name): kind for name, kind in CELLS.items()}
    if type(cell) not in known:  # a subclass may compute something else
        return None
    activation = _name(cell.activation)
    recurrent = _name(getattr(cell, "recurrent_activation", cell.activation))
    if activation is None or recurrent is None:
        return None
    return Layer(
        name=layer.path,
        kind=known[type(cell)],
        kernel=cell.kernel,
        recurrent_kernel=cell.recurrent_kernel,
        bias=cell.bias,
        activation=activation,
        recurrent_activation=recurrent,
        reset_after=getattr(cell, "reset_after", False),
        masked=mask is not None,
        go_backwards=layer.go_backwards,
        zero_output_for_mask=layer.zero_output_for_mask,
        return_sequences=layer.return_sequences,
    )


def _drops(cell: Any) -> bool:
    """Whether the cell leaves numbers out in training, which the fused form does not."""
    return bool(getattr(cell, "dropout", 0) or getattr(cell, "recurrent_dropout", 0))


def _name(activation: Any) -> str | None:
    """The name of an activation that the fused cells have; by identity, as anybody can take a name."""
    import keras

    from .cells import ACTIVATIONS

    if activation is keras2.keras2_hard_sigmoid:
        return "keras2_hard_sigmoid"
    return next((name for name in ACTIVATIONS if activation is getattr(keras.activations, name, None)), None)
