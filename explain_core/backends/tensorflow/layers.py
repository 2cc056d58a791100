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
import weakref
from collections.abc import Callable, Generator, Hashable, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from . import keras2

CELLS = {"LSTMCell": "LSTM", "GRUCell": "GRU", "SimpleRNNCell": "RNN"}

Loop = Callable[..., tuple[Any, Any, Any]]  # of a layer, sequences, states, mask and training

_instead: ContextVar[Callable | None] = ContextVar("pairlift_loops", default=None)
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
def marking() -> Generator[dict[str, Layer]]:
    """Mark the recurrent layers that are traced inside, and give what they are by mark."""
    marks: dict[str, Layer] = {}

    def marked(original: Loop, plain_loop: Loop, layer: Any, sequences, initial_state, mask, training):
        described = None if training and _drops(layer.cell) else _describe(layer, mask)
        if described is None:  # the plain loop, also where Keras would take a kernel that cannot be looked into
            return plain_loop(layer, sequences, initial_state, mask, training)
        mark = f"pairlift_recurrent_{len(marks)}"
        marks[mark] = described
        states = [tf.convert_to_tensor(s) for s in tf.nest.flatten(initial_state)]

        def loop(sequences, states, mask):
            last, outputs, new_states = plain_loop(layer, sequences, states, mask, training)
            return [last, outputs, *new_states]

        loop.__name__ = mark
        last, outputs, *new_states = tf.function(loop, autograph=False)(sequences, states, mask)
        return last, outputs, new_states

    with _looping(marked):
        yield marks


class Loops:
    """The loops of a model's recurrent layers as graphs, for step by step they take long; kept while the model lives.

    A loop is traced again when its layer, its weights or an option of either is another one than when it was traced.
    """

    MOST = 32

    def __init__(self) -> None:
        self._traced: dict[Hashable, tuple[tuple, Callable]] = {}

    @classmethod
    def of(cls, model: Any) -> Loops:
        """Those that belong to a model."""
        with _patching:
            return _loops.setdefault(model, cls())

    def run(self, original: Loop, layer: Any, described: Layer, given: Sequence[tf.Tensor], any_rows: bool) -> list:
        """What the loop gives: the last output, all outputs and the last states.

        Args:
            original: the loop as Keras has it.
            given: sequences, states and, where the layer is masked, the mask.
            any_rows: whether to trace for any number of rows.
        """
        specs = [tf.TensorSpec([None if any_rows else t.shape[0], *t.shape[1:]], t.dtype) for t in given]
        cell, this = layer.cell, weakref.ref(layer)
        weights = described.kernel, described.recurrent_kernel, described.bias
        options = [value for value in vars(described).values() if isinstance(value, str | bool)]
        code = original, type(layer), type(cell).__call__, type(cell).call
        key = id(layer), *map(id, weights), *options, *code, _plain(layer), _plain(cell), *specs

        def loop(sequences, *rest):
            *states, there = rest if described.masked else (*rest, None)
            last, outputs, new_states = original(this(), sequences, states, there, False)
            return [last, outputs, *new_states]

        found = self._traced.get(key)
        if found is None or found[0][0]() is not layer:  # another object may have got the same id
            # The weights are kept with it, so that theirs are nobody else's.
            found = (this, *weights), tf.function(loop, autograph=False).get_concrete_function(*specs)
            self._traced[key] = found
            for oldest in list(self._traced)[: -self.MOST]:
                del self._traced[oldest]
        return found[1](*given)


_loops: weakref.WeakKeyDictionary[Any, Loops] = weakref.WeakKeyDictionary()


def _plain(part: Any) -> tuple:
    """The options of a layer or cell: its attributes that are plain values."""
    return tuple((name, value) for name, value in vars(part).items() if isinstance(value, bool | int | float | str))


@contextmanager
def compiling(loops: Loops, any_rows: bool) -> Generator[None]:
    """Run the loops of recurrent layers as graphs in a call that is eager around them.

    Only those that `_describe` knows: they do what their description says.

    Args:
        loops: of the model that is called.
        any_rows: whether to trace for any number of rows.
    """

    def compiled(original: Loop, plain_loop: Loop, layer: Any, sequences, initial_state, mask, training):
        described = _describe(layer, mask) if tf.executing_eagerly() else None
        if described is None or training or layer.unroll:
            return original(layer, sequences, initial_state, mask, training)
        states = tf.nest.flatten(initial_state)
        given = [tf.convert_to_tensor(t) for t in (sequences, *states, *([] if mask is None else [mask]))]
        last, outputs, *new_states = loops.run(original, layer, described, given, any_rows)
        return last, outputs, new_states

    with _looping(compiled):
        yield


@contextmanager
def _looping(instead: Callable) -> Generator[None]:
    """Have another function run the loops of recurrent layers: of a layer's own loop, the plain one, and what it gets.

    Keras has no hook around the loop of a layer, so its classes' ``inner_loop`` is replaced meanwhile.
    Other threads go through the replacement to the original, for what is to run is a context variable.
    """
    import keras

    classes = [keras.layers.RNN, keras.layers.LSTM, keras.layers.GRU]
    with _patching:
        originals = {cls: cls.inner_loop for cls in classes}
        token = _instead.set(instead)
        try:
            for cls, original in originals.items():
                cls.inner_loop = _replaced(original, originals[keras.layers.RNN])
            yield
        finally:
            for cls, original in originals.items():
                cls.inner_loop = original
            _instead.reset(token)


def _replaced(original: Loop, plain_loop: Loop) -> Loop:
    def inner_loop(self, sequences, initial_state, mask=None, training=False):
        instead = _instead.get()
        if instead is None:
            return original(self, sequences, initial_state, mask, training)
        return instead(original, plain_loop, self, sequences, initial_state, mask, training)

    return inner_loop


def _describe(layer: Any, mask: Any) -> Layer | None:
    """The layer, or None if its cell or an activation is not one with a fused form.

    Nor is a cell that was given another ``call``, or another ``use_bias`` than it was built with.
    """
    import keras

    cell = layer.cell
    known = {getattr(keras.layers, name): kind for name, kind in CELLS.items()}
    if type(cell) not in known or not {"call", "__call__"}.isdisjoint(vars(cell)):  # it may compute something else
        return None
    if cell.use_bias != (cell.bias is not None):
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

    from ...rules.cells.activations import ACTIVATIONS

    if activation is keras2.keras2_hard_sigmoid:
        return "keras2_hard_sigmoid"
    return next((name for name in ACTIVATIONS if activation is getattr(keras.activations, name, None)), None)
