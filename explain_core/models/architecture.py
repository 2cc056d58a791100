"""The model that a state dict belongs to, told from names and shapes.

A plain stack is an embedding (or none), recurrent layers in a row, and Linear layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from explain_core.errors import ModelFileError
from explain_core.models.hints import EXPORT_HINT
from explain_core.models.shapes import Recurrent, Shapes, find_recurrent

CHOICES: dict[str, tuple[str, ...]] = {
    "read": ("last step", "final state", "mean over time", "max over time", "every step"),
    "nonlinearity": ("tanh", "relu"),
    "head_activation": ("relu", "none", "tanh", "sigmoid", "gelu"),
    "output_activation": ("none", "softmax", "sigmoid", "tanh", "relu"),
}


@dataclass(frozen=True)
class Options:
    """What a state dict cannot say. Each has the value that most models have, said in the model's notes.

    `CHOICES` has the other values.

    Attributes:
        read: what the head gets of the recurrent output.
        nonlinearity: of ``nn.RNN`` layers.
        head_activation: between the Linear layers of the head, where there are several.
        output_activation: after the last Linear layer.
    """

    read: str = "last step"
    nonlinearity: str = "tanh"
    head_activation: str = "relu"
    output_activation: str = "none"

    @classmethod
    def of(cls, given: Mapping[str, Any], where: str) -> Options:
        names = [field.name for field in fields(cls)]
        for name, value in given.items():
            if name not in names:
                raise ModelFileError(
                    f"architecture has no option {name!r}.",
                    where=where,
                    hint=f"It takes: {', '.join(names)}.",
                )
            if value not in CHOICES[name]:
                raise ModelFileError(
                    f"architecture: {name}={value!r} is not one of its choices.",
                    where=where,
                    hint=f"It takes: {', '.join(CHOICES[name])}.",
                )
        return cls(**given)


@dataclass(frozen=True)
class Head:
    """One Linear layer of the head, by its path."""

    path: str
    input_size: int
    output_size: int
    bias: bool


@dataclass(frozen=True)
class Architecture:
    """A plain stack; paths are those of the state dict."""

    embedding: tuple[str, int, int] | None  # path, tokens, size
    recurrent: tuple[Recurrent, ...]
    head: tuple[Head, ...]
    options: Options

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What the file does not say, one sentence each."""
        options = self.options
        said = ["Sequences enter as (sample, time, feature), in PyTorch's words batch_first."]
        if self.head:
            said.append(f"The head reads: {options.read}.")
        if any(layer.kind == "RNN" for layer in self.recurrent):
            said.append(f"Activation in the recurrent layers: {options.nonlinearity}.")
        if len(self.head) > 1:
            said.append(f"Activation between the Linear layers: {options.head_activation}.")
        said.append(f"Activation after the last layer: {options.output_activation}.")
        return tuple(f"Not in the file, so assumed or chosen. {sentence}" for sentence in said)

    @property
    def choices(self) -> dict[str, tuple[str, ...]]:
        """The options that matter for this stack, with their values."""
        left_out = set()
        if not any(layer.kind == "RNN" for layer in self.recurrent):
            left_out.add("nonlinearity")
        if len(self.head) < 2:
            left_out.add("head_activation")
        return {name: values for name, values in CHOICES.items() if name not in left_out}


def infer(shapes: Shapes, options: Options, where: str) -> Architecture:
    """Find the stack that these parameters belong to.

    Raises:
        ModelFileError: names the first parameter or size that does not fit a plain stack.
    """
    recurrent = find_recurrent(shapes)
    if not recurrent:
        raise _cannot_tell("no recurrent layer is among its parameters", where)
    used = {name for layer in recurrent for name in _recurrent_names(layer)}
    embedding, head = None, []
    for name, shape in shapes.items():
        if name in used:
            continue
        path, _, own = name.rpartition(".")
        bias = f"{path}.bias" if path else "bias"
        if own == "weight" and len(shape) == 2 and bias not in shapes and embedding is None and not head:
            embedding = (path, *shape)
        elif own == "weight" and len(shape) == 2:
            head.append(Head(path, shape[1], shape[0], bias in shapes))
        elif own != "bias" or len(shapes.get(f"{path}.weight", ())) != 2:
            size = " × ".join(map(str, shape)) or "scalar"
            raise _cannot_tell(f"{name!r} ({size}) belongs to no layer of such a stack", where)
    _check_sizes(embedding, recurrent, head, where)
    return Architecture(embedding, tuple(recurrent), tuple(head), options)


def _recurrent_names(layer: Recurrent) -> list[str]:
    prefix = f"{layer.path}." if layer.path else ""
    parts = ["weight_ih", "weight_hh"]
    parts += ["bias_ih", "bias_hh"] if layer.bias else []
    parts += ["weight_hr"] if layer.proj_size else []
    ends = [""] + (["_reverse"] if layer.bidirectional else [])
    return [f"{prefix}{part}_l{number}{end}" for number in range(layer.num_layers) for part in parts for end in ends]


def _check_sizes(
    embedding: tuple[str, int, int] | None, recurrent: list[Recurrent], head: list[Head], where: str
) -> None:
    size = embedding[2] if embedding else recurrent[0].input_size
    for layer in (*recurrent, *head):
        if layer.input_size != size:
            raise _cannot_tell(
                f"{layer.path or 'a layer'!r} takes {layer.input_size} values, but {size} come out before it",
                where,
            )
        size = layer.output_size


def _cannot_tell(why: str, where: str) -> ModelFileError:
    return ModelFileError(
        f"The file holds weights without their model, and they are not of a plain stack "
        f"(embedding, recurrent layers, Linear layers): {why}.",
        where=where,
        hint=EXPORT_HINT,
    )
