"""What one recurrent layer was given and what it made of it, step by step, as plain numpy."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from explain_core.errors import InputError
from explain_core.explanation import Explanation, own_steps


@dataclass(frozen=True)
class LayerRun:
    """One direction of one layer, on one sample and its baseline, in the order in which the layer reads.

    The first axis of the arrays is the pair, the sequence and its baseline. States are the hidden state, and for an
    LSTM the cell state after it.
    """

    name: str
    kind: str  # "LSTM", "GRU" or "RNN"
    times: np.ndarray  # (T,) labels
    x: np.ndarray  # (2, T, I)
    before: tuple[np.ndarray, ...]  # each (2, T, H)
    after: tuple[np.ndarray, ...]  # each (2, T, H)

    @property
    def units(self) -> int:
        return self.after[0].shape[-1]

    @property
    def rows(self) -> np.ndarray:
        """Input and states before each step side by side, (2, T, I + states·H)."""
        return np.concatenate([self.x, *self.before], -1)

    def only(self, steps: np.ndarray) -> LayerRun:
        """Some of the steps."""
        return replace(
            self,
            times=self.times[steps],
            x=self.x[:, steps],
            before=tuple(state[:, steps] for state in self.before),
            after=tuple(state[:, steps] for state in self.after),
        )


def layer_run(explanation: Explanation, layer: str | None = None, sample: object = None) -> LayerRun:
    """The run of a layer.

    Args:
        layer: a key of ``explanation.gates``; None for the first.
        sample: label, or position where labels are text; None for the first.

    Raises:
        InputError: there is no such layer, or what it was given was not kept.
    """
    if not explanation.gates:
        raise InputError("The model has no recurrent layer whose steps could be looked at.")
    layer = next(iter(explanation.gates)) if layer is None else layer
    if layer not in explanation.gates:
        raise InputError(f"There is no recurrent layer {layer!r}.", hint=f"There are: {', '.join(explanation.gates)}.")
    gates = explanation.gates[layer].isel(sample=explanation.sample_position(sample))
    if "input" not in gates:
        raise InputError(
            f"The explanation does not say what {layer!r} was given.", hint="Explain again with this version."
        )
    if "projection" in gates.dims:
        raise InputError(
            f"{layer!r} projects its hidden state (proj_size), which no single cell does.",
            hint="Choose a layer without a projection.",
        )
    if explanation.attrs.get("baseline_count", 1) > 1:
        raise InputError(
            "States averaged over several baselines are no run of the layer.", hint="Explain with one baseline."
        )
    direction = slice(None, None, -1) if gates.attrs.get("backwards") else slice(None)
    names = ("state", "cell") if "cell" in gates else ("state",)
    steps = _length(gates)
    x = _pair(gates, "input", "channel")[:, :steps][:, direction]
    after = tuple(_pair(gates, name, "unit")[:, :steps][:, direction] for name in names)
    first = [gates[f"initial_{name}"].transpose("member", "unit").values[:, None] for name in names]
    before = tuple(np.concatenate([start, state[:, :-1]], 1) for start, state in zip(first, after, strict=True))
    kind, times = gates.attrs["kind"], gates["time"].values[:steps][direction]
    return LayerRun(layer, kind, times, x, before, after)


def _pair(gates: xr.Dataset, name: str, last: str) -> np.ndarray:
    return gates[name].transpose("member", "time", last).values


def _length(gates: xr.Dataset) -> int:
    """Real timesteps: padding at the end is zero in every state of both members."""
    if "length" in gates.coords:
        return own_steps(gates)
    busy = np.flatnonzero((_pair(gates, "state", "unit") != 0).any(axis=(0, 2)))
    return int(busy[-1]) + 1 if busy.size else gates.sizes["time"]
