"""What a state dict cannot say about its model, with the value that most models have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from explain_core.errors import ModelFileError

_ACTIVATIONS = ("relu", "none", "tanh", "sigmoid", "gelu", "leaky_relu", "elu", "silu")

# How the head can read the recurrent output, by how many times the width of one step it then takes.
ONE_WIDTH = ("last step", "final state", "mean over time", "max over time", "every step")
HALF_WIDTH = ("final state of the last direction", "last step, directions added", "last step, mean of directions")
FLAT = "all steps in a row"
TWO_WIDTHS = ("mean and max over time", "last step and max over time")
THREE_WIDTHS = ("last step, mean and max over time", "last step, max and mean over time")

CHOICES: dict[str, tuple[str, ...]] = {
    "read": (*ONE_WIDTH, *HALF_WIDTH, FLAT, *TWO_WIDTHS, *THREE_WIDTHS),
    "nonlinearity": ("tanh", "relu"),
    "initial_state": ("as stored", "zeros"),
    "positions": ("added", "added to √size times the vectors", "left out"),
    "input_activation": ("none", *(name for name in _ACTIVATIONS if name != "none")),
    "read_activation": ("none", *(name for name in _ACTIVATIONS if name != "none")),
    "head_activation": _ACTIVATIONS,
    "output_activation": ("none", "softmax", "log_softmax", "sigmoid", "tanh", "relu", "softplus"),
    "squeeze": ("no", "yes"),
}


@dataclass(frozen=True)
class Options:
    """What a state dict cannot say. Each has the value that most models have, said in the model's notes.

    `CHOICES` has the other values. None stands for the default, which for ``read`` depends on the sizes.

    Attributes:
        read: what the head gets of the recurrent output.
        nonlinearity: of ``nn.RNN`` layers.
        initial_state: what the recurrent layer starts from, where the file has a learned state.
        positions: what is done with a table that has a row for each timestep.
        input_activation: after each Linear layer before the recurrent ones.
        read_activation: of what the head reads, before its first layer.
        head_activation: between the Linear layers of the head, where there are several.
        output_activation: after the last layer.
        squeeze: whether an output of one number per sample has shape (sample,) instead of (sample, 1).
    """

    read: str | None = None
    nonlinearity: str = "tanh"
    initial_state: str = "as stored"
    positions: str = "added"
    input_activation: str = "none"
    read_activation: str = "none"
    head_activation: str = "relu"
    output_activation: str = "none"
    squeeze: str = "no"

    @classmethod
    def of(cls, given: Mapping[str, Any], where: str) -> Options:
        """Options from ``architecture=``.

        Raises:
            ModelFileError: there is no such option, or no such choice.
        """
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
