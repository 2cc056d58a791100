"""What is known of an opened model: plain values, so that a process without a framework can show them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ExpectedInput:
    """One input that the model takes.

    ``shape`` has None for an axis of any size, and is None itself where the file does not tell.
    """

    name: str
    shape: tuple[int | None, ...] | None
    dtype: str

    @property
    def features(self) -> int | None:
        """Size of the feature axis of a (sample, time, feature) input; None where it is not known."""
        return self.shape[2] if self.shape is not None and len(self.shape) == 3 else None

    @property
    def timesteps(self) -> int | None:
        """The one number of timesteps that the model takes; None where any number will do."""
        return self.shape[1] if self.shape is not None and len(self.shape) >= 2 else None

    @property
    def takes_token_ids(self) -> bool:
        return self.dtype.startswith(("int", "uint"))


@dataclass(frozen=True)
class LayerSummary:
    """One layer: its path in the model, its kind, its sizes in words, and how many numbers it learned."""

    name: str
    kind: str
    detail: str
    parameters: int
    recurrent: bool = False


@dataclass(frozen=True)
class ModelSummary:
    """What a person wants to see after opening a file."""

    framework: str
    format: str
    layers: tuple[LayerSummary, ...]
    inputs: tuple[ExpectedInput, ...]
    notes: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = ()  # what the file does not say and `architecture=` can change
    options: dict[str, tuple[str, ...]] | None = None  # the choices for `architecture=`, by option

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    @property
    def recurrent_layers(self) -> tuple[LayerSummary, ...]:
        return tuple(layer for layer in self.layers if layer.recurrent)


@dataclass(frozen=True)
class LoadedModel:
    """An opened model, ready for `explain_core.explain`.

    Attributes:
        framework: "torch" or "tensorflow".
        module: the framework's own callable, in evaluation mode, on the CPU.
        format: its opener, by the name that this has in `explain_core.models`: "torch.export", "keras h5", ...
        summary: the same in plain values, which can go to another process.
        notes: what to know about how the file was opened, one sentence each.
        program: for "torch.export" the ``ExportedProgram`` itself; its constants do not move with
            ``module.to(device)`` but with ``torch.export.passes.move_to_device_pass``.
    """

    framework: str
    module: Any
    format: str
    summary: ModelSummary
    notes: tuple[str, ...] = ()
    program: Any = None
