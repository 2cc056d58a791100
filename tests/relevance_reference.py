"""Layer-wise relevance propagation (LRP) written down from the papers, slowly: NumPy in float64, a sample at a time.

It shares no code with `explain_core` and needs no framework. Relevances are carried as they are, not as multipliers,
and each timestep is a turn of a loop. The rules, with R for relevance:

* A sum ``z_j = Σ_i x_i·w_ij + b_j`` gives its terms ``R_j·x_i·w_ij/(z_j + ε·sign(z_j))``, with ``sign(0) = 1`` (the
  epsilon rule: Bach et al. 2015, eq. 58). The share of ``b_j`` is booked as "biases", and
  ``R_j·(1 - z_j/(z_j + ε·sign(z_j)))`` as "stabilizer". Without ε a sum of 0 gives nothing on.
* A function of one value with ``f(0) = 0`` passes its relevance on unchanged.
* Of a product of a gate and a signal the signal takes all (Arras et al. 2017, 2019: LRP-all).

Layers have PyTorch's weights, ``(units of all gates, columns)``, and PyTorch's order of gates. Shapes: T timesteps, I
features, H units, P = H states that a layer passes on, fewer where an LSTM projects them. Where nothing is said of
initial states they are zeros, where nothing is said of biases there are none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

Array = np.ndarray
Absorbed = dict[str, float]

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "linear": lambda a: a,
    "tanh": np.tanh,
    "relu": lambda a: np.maximum(a, 0.0),
}


def sigmoid(a: Array) -> Array:
    return (1 + np.tanh(a / 2)) / 2


# --- The rule of sums --------------------------------------------------------------------------------------


class EpsilonRule:
    """Shares the relevance of sums out over their terms, and books what the terms do not get.

    Args:
        eps: ε.
    """

    def __init__(self, eps: float) -> None:
        self.eps = eps
        self.absorbed: Absorbed = {"biases": 0.0, "stabilizer": 0.0}

    def __call__(
        self, relevance: Array, *terms: Array, biases: Sequence[Array | None] = (), eps: float | None = None
    ) -> list[Array]:
        """The relevance of every term of J sums.

        Args:
            relevance: of the sums, (J,).
            terms: (J,), one in each sum, or (J, n), n in each.
            biases: terms (J,) that are nobody's; None for one that is not there.
            eps: instead of the rule's own.

        Returns:
            For each of the terms an array of its shape.
        """
        eps = self.eps if eps is None else eps
        biases = [bias for bias in biases if bias is not None]
        z = np.zeros(len(relevance))
        for term in (*terms, *biases):
            z = z + (term.sum(1) if term.ndim == 2 else term)
        stabilized = z + eps * np.where(z < 0, -1.0, 1.0)
        nothing = stabilized == 0
        per_unit = np.where(nothing, 0.0, relevance) / np.where(nothing, 1.0, stabilized)
        for bias in biases:
            self.absorbed["biases"] += float((bias * per_unit).sum())
        kept = 1 - np.where(nothing, 0.0, z) / np.where(nothing, 1.0, stabilized)
        self.absorbed["stabilizer"] += float((relevance * kept).sum())
        return [term * (per_unit[:, None] if term.ndim == 2 else per_unit) for term in terms]


def linear(
    x: Array, weight: Array, bias: Array | None, relevance_of_outputs: Array, *, eps: float = 0.0
) -> tuple[Array, Absorbed]:
    """``z = W x + b`` for one vector: x (I,), weight (J, I), bias and relevance (J,) -> relevance of x (I,)."""
    rule = EpsilonRule(eps)
    (of_x,) = rule(relevance_of_outputs, weight * x, biases=[bias])
    return of_x.sum(0), rule.absorbed


def weighted_sum(x: Array, weight: float, relevance: Array, *, eps: float = 0.0) -> tuple[Array, Absorbed]:
    """``z = Σ_t weight·x_t``: x (T, J), relevance (J,) -> relevance of x (T, J). The mean has the weight 1/T."""
    rule = EpsilonRule(eps)
    (of_x,) = rule(relevance, weight * x.T)
    return of_x.T, rule.absorbed


# --- Recurrent layers, forward -----------------------------------------------------------------------------


def _gates(rows: Array | None, count: int) -> list[Array | None]:
    """What each of ``count`` gates has of a weight or a bias."""
    return [None] * count if rows is None else np.split(rows, count)


def _affine(weight: Array, x: Array, bias: Array | None) -> Array:
    return weight @ x if bias is None else weight @ x + bias


class LstmStep(NamedTuple):
    """The values of one step."""

    x: Array
    h_before: Array
    c_before: Array
    i: Array
    f: Array
    g: Array
    o: Array
    c: Array
    unprojected: Array  # o·tanh(c)
    h: Array


def lstm_steps(
    x: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None = None,
    b_hh: Array | None = None,
    *,
    h0: Array | None = None,
    c0: Array | None = None,
    w_hr: Array | None = None,
) -> list[LstmStep]:
    """``i, f, o = σ(a)``, ``g = tanh(a_g)``, ``c = f·c_before + i·g``, ``h = o·tanh(c)``, or ``W_hr`` times that."""
    h = np.zeros(w_hh.shape[1]) if h0 is None else h0
    c = np.zeros(len(w_hh) // 4) if c0 is None else c0
    steps = []
    for x_t in x:
        h_before, c_before = h, c
        a_i, a_f, a_g, a_o = np.split(_affine(w_ih, x_t, b_ih) + _affine(w_hh, h_before, b_hh), 4)
        i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)
        c = f * c_before + i * g
        unprojected = o * np.tanh(c)
        h = unprojected if w_hr is None else w_hr @ unprojected
        steps.append(LstmStep(x_t, h_before, c_before, i, f, g, o, c, unprojected, h))
    return steps


class GruStep(NamedTuple):
    """The values of one step."""

    x: Array
    h_before: Array
    r: Array
    z: Array
    q: Array | None  # U_n h_before + b_hn; None where the reset comes before the product
    n: Array
    h: Array


def gru_steps(
    x: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None = None,
    b_hh: Array | None = None,
    *,
    h0: Array | None = None,
    reset_after: bool = True,
) -> list[GruStep]:
    """``r, z = σ(a)``, ``n = tanh(W_n x + b_in + r·q)``, ``h = z·h_before + (1 - z)·n``.

    With the reset before the product it is ``n = tanh(W_n x + b_in + U_n (r·h_before) + b_hn)``.
    """
    h = np.zeros(w_hh.shape[1]) if h0 is None else h0
    (w_r, w_z, w_n), (u_r, u_z, u_n) = _gates(w_ih, 3), _gates(w_hh, 3)
    (b_ir, b_iz, b_in), (b_hr, b_hz, b_hn) = _gates(b_ih, 3), _gates(b_hh, 3)
    steps = []
    for x_t in x:
        h_before = h
        r = sigmoid(_affine(w_r, x_t, b_ir) + _affine(u_r, h_before, b_hr))
        z = sigmoid(_affine(w_z, x_t, b_iz) + _affine(u_z, h_before, b_hz))
        q = _affine(u_n, h_before, b_hn) if reset_after else None
        recurrent = r * q if reset_after else _affine(u_n, r * h_before, b_hn)
        n = np.tanh(_affine(w_n, x_t, b_in) + recurrent)
        h = z * h_before + (1 - z) * n
        steps.append(GruStep(x_t, h_before, r, z, q, n, h))
    return steps


class RnnStep(NamedTuple):
    """The values of one step."""

    x: Array
    h_before: Array
    h: Array


def rnn_steps(
    x: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None = None,
    b_hh: Array | None = None,
    *,
    h0: Array | None = None,
    activation: str = "tanh",
) -> list[RnnStep]:
    """``h = act(W x + b_ih + U h_before + b_hh)``."""
    h = np.zeros(w_hh.shape[1]) if h0 is None else h0
    steps = []
    for x_t in x:
        h_before = h
        h = ACTIVATIONS[activation](_affine(w_ih, x_t, b_ih) + _affine(w_hh, h_before, b_hh))
        steps.append(RnnStep(x_t, h_before, h))
    return steps


# --- Recurrent layers, backward ----------------------------------------------------------------------------


def lstm(
    x: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    relevance_of_outputs: Array,
    *,
    relevance_of_last_h: Array | float = 0.0,
    relevance_of_last_c: Array | float = 0.0,
    h0: Array | None = None,
    c0: Array | None = None,
    w_hr: Array | None = None,
    eps: float = 0.0,
) -> tuple[Array, Array, Array, Absorbed]:
    """Relevance of what an LSTM reads, of what it gives.

    Args:
        x: (T, I).
        w_ih: (4H, I), w_hh: (4H, P), b_ih, b_hh: (4H,); gates in the order i, f, g, o.
        relevance_of_outputs: (T, P).
        relevance_of_last_h: (P,), relevance_of_last_c: (H,); of the states that are left after the last step, besides.
        h0: (P,), c0: (H,).
        w_hr: (P, H), the projection; no ε is added to its sums.

    Returns:
        Relevance of x, h0 and c0, and what was absorbed.
    """
    rule = EpsilonRule(eps)
    w_g, u_g, b_ig, b_hg = _gates(w_ih, 4)[2], _gates(w_hh, 4)[2], _gates(b_ih, 4)[2], _gates(b_hh, 4)[2]
    steps = lstm_steps(x, w_ih, w_hh, b_ih, b_hh, h0=h0, c0=c0, w_hr=w_hr)
    of_x = np.zeros(x.shape)
    of_h, of_c = np.zeros(w_hh.shape[1]) + relevance_of_last_h, np.zeros(len(w_hh) // 4) + relevance_of_last_c
    for t, step in reversed(list(enumerate(steps))):
        of_h = of_h + relevance_of_outputs[t]
        if w_hr is not None:
            (of_unprojected,) = rule(of_h, w_hr * step.unprojected, eps=0.0)
            of_h = of_unprojected.sum(0)
        of_c = of_c + of_h
        of_c, of_g = rule(of_c, step.f * step.c_before, step.i * step.g)
        from_x, from_h = rule(of_g, w_g * step.x, u_g * step.h_before, biases=[b_ig, b_hg])
        of_x[t], of_h = from_x.sum(0), from_h.sum(0)
    return of_x, of_h, of_c, rule.absorbed


def gru(
    x: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    relevance_of_outputs: Array,
    *,
    relevance_of_last_h: Array | float = 0.0,
    h0: Array | None = None,
    reset_after: bool = True,
    eps: float = 0.0,
) -> tuple[Array, Array, Absorbed]:
    """Relevance of what a GRU reads, of what it gives.

    Args:
        x: (T, I).
        w_ih: (3H, I), w_hh: (3H, H), b_ih, b_hh: (3H,); gates in the order r, z, n.
        relevance_of_outputs: (T, H).
        relevance_of_last_h: (H,), of the state that is left after the last step, besides.
        h0: (H,).
        reset_after: whether r multiplies the product with the state (PyTorch) or the state itself.

    Returns:
        Relevance of x and h0, and what was absorbed.
    """
    rule = EpsilonRule(eps)
    w_n, u_n, b_in, b_hn = _gates(w_ih, 3)[2], _gates(w_hh, 3)[2], _gates(b_ih, 3)[2], _gates(b_hh, 3)[2]
    steps = gru_steps(x, w_ih, w_hh, b_ih, b_hh, h0=h0, reset_after=reset_after)
    of_x = np.zeros(x.shape)
    of_h = np.zeros(w_hh.shape[1]) + relevance_of_last_h
    for t, step in reversed(list(enumerate(steps))):
        of_h = of_h + relevance_of_outputs[t]
        carried, of_n = rule(of_h, step.z * step.h_before, (1 - step.z) * step.n)
        if reset_after:
            from_x, of_q = rule(of_n, w_n * step.x, step.r * step.q, biases=[b_in])
            (from_h,) = rule(of_q, u_n * step.h_before, biases=[b_hn])
        else:
            from_x, from_h = rule(of_n, w_n * step.x, u_n * (step.r * step.h_before), biases=[b_in, b_hn])
        of_x[t], of_h = from_x.sum(0), carried + from_h.sum(0)
    return of_x, of_h, rule.absorbed


def rnn(
    x: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    relevance_of_outputs: Array,
    *,
    relevance_of_last_h: Array | float = 0.0,
    h0: Array | None = None,
    activation: str = "tanh",
    eps: float = 0.0,
) -> tuple[Array, Array, Absorbed]:
    """Relevance of what a plain recurrent layer reads, of what it gives.

    Args:
        x: (T, I).
        w_ih: (H, I), w_hh: (H, H), b_ih, b_hh: (H,).
        relevance_of_outputs: (T, H).
        relevance_of_last_h: (H,), of the state that is left after the last step, besides.
        h0: (H,).
        activation: a name of `ACTIVATIONS`.

    Returns:
        Relevance of x and h0, and what was absorbed.
    """
    rule = EpsilonRule(eps)
    steps = rnn_steps(x, w_ih, w_hh, b_ih, b_hh, h0=h0, activation=activation)
    of_x = np.zeros(x.shape)
    of_h = np.zeros(len(w_hh)) + relevance_of_last_h
    for t, step in reversed(list(enumerate(steps))):
        of_h = of_h + relevance_of_outputs[t]
        from_x, from_h = rule(of_h, w_ih * step.x, w_hh * step.h_before, biases=[b_ih, b_hh])
        of_x[t], of_h = from_x.sum(0), from_h.sum(0)
    return of_x, of_h, rule.absorbed


# --- Whole models ------------------------------------------------------------------------------------------


class Layer(Protocol):
    """One layer of a model, for one sample."""

    def run(self, x: Array) -> Array:
        """The layer's output."""
        ...

    def relevance(self, x: Array, of_outputs: Array, eps: float) -> tuple[Array, Absorbed]:
        """Relevance of the layer's input, and what was absorbed in the layer."""
        ...


_STEPS = {"LSTM": lstm_steps, "GRU": gru_steps, "RNN": rnn_steps}
_RELEVANCE = {"LSTM": lstm, "GRU": gru, "RNN": rnn}


@dataclass(frozen=True)
class Cell:
    """One direction of one recurrent layer.

    Attributes:
        kind: "LSTM", "GRU" or "RNN".
        weights: ``w_ih``, ``w_hh``, ``b_ih``, ``b_hh`` as `lstm`, `gru` and `rnn` take them; None where there is none.
        options: what else these take: ``activation``, ``reset_after``, ``w_hr``.
        states: ``h0`` and ``c0``; they are constants, and what arrives there is booked as such.
    """

    kind: str
    weights: Mapping[str, Array | None]
    options: Mapping[str, object] = field(default_factory=dict)
    states: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Recurrent:
    """A recurrent layer, (T, I) -> (T, states of all directions).

    Attributes:
        cells: the one that reads forward in time and, where there is one, the one that reads backward.
    """

    cells: tuple[Cell, ...]

    def _directions(self) -> list[tuple[Cell, slice]]:
        """Each cell and how it goes through time, there and back."""
        return list(zip(self.cells, (slice(None), slice(None, None, -1)), strict=False))

    def run(self, x: Array) -> Array:
        return np.concatenate(
            [np.stack([step.h for step in self._steps(cell, x[order])])[order] for cell, order in self._directions()],
            axis=1,
        )

    @staticmethod
    def _steps(cell: Cell, x: Array):
        return _STEPS[cell.kind](x, **cell.weights, **cell.options, **cell.states)

    def relevance(self, x: Array, of_outputs: Array, eps: float) -> tuple[Array, Absorbed]:
        total, books = np.zeros(x.shape), []
        parts = np.split(of_outputs, len(self.cells), axis=1)
        for (cell, order), part in zip(self._directions(), parts, strict=True):
            of_x, *of_states, absorbed = _RELEVANCE[cell.kind](
                x[order],
                **cell.weights,
                relevance_of_outputs=part[order],
                **cell.options,
                **cell.states,
                eps=eps,
            )
            total += of_x[order]
            books.append(absorbed | {"constants": float(sum(of_state.sum() for of_state in of_states))})
        return total, total_of(books)


@dataclass(frozen=True)
class Linear:
    """``act(W x + b)`` of a vector (I,), or of every timestep of (T, I); weight (J, I), bias (J,)."""

    weight: Array
    bias: Array | None = None
    activation: str = "linear"

    def run(self, x: Array) -> Array:
        rows = [_affine(self.weight, row, self.bias) for row in np.atleast_2d(x)]
        return ACTIVATIONS[self.activation](np.stack(rows).reshape(*x.shape[:-1], -1))

    def relevance(self, x: Array, of_outputs: Array, eps: float) -> tuple[Array, Absorbed]:
        pairs = zip(np.atleast_2d(x), np.atleast_2d(of_outputs), strict=True)
        found = [linear(row, self.weight, self.bias, of_row, eps=eps) for row, of_row in pairs]
        return np.stack([of_x for of_x, _ in found]).reshape(x.shape), total_of([absorbed for _, absorbed in found])


@dataclass(frozen=True)
class LastStep:
    """The outputs at the last timestep, (T, J) -> (J,)."""

    def run(self, x: Array) -> Array:
        return x[-1]

    def relevance(self, x: Array, of_outputs: Array, eps: float) -> tuple[Array, Absorbed]:
        of_x = np.zeros(x.shape)
        of_x[-1] = of_outputs
        return of_x, {}


@dataclass(frozen=True)
class FinalStates:
    """The outputs of both directions where each of them ends: the last timestep and the first, (T, J) -> (J,)."""

    def run(self, x: Array) -> Array:
        half = x.shape[1] // 2
        return np.concatenate([x[-1, :half], x[0, half:]])

    def relevance(self, x: Array, of_outputs: Array, eps: float) -> tuple[Array, Absorbed]:
        half, of_x = x.shape[1] // 2, np.zeros(x.shape)
        of_x[-1, :half], of_x[0, half:] = of_outputs[:half], of_outputs[half:]
        return of_x, {}


@dataclass(frozen=True)
class SumOverTime:
    """``Σ_t x_t``, or the mean ``Σ_t x_t/T``: (T, J) -> (J,)."""

    mean: bool = False

    def _weight(self, x: Array) -> float:
        return 1 / len(x) if self.mean else 1.0

    def run(self, x: Array) -> Array:
        return self._weight(x) * x.sum(0)

    def relevance(self, x: Array, of_outputs: Array, eps: float) -> tuple[Array, Absorbed]:
        return weighted_sum(x, self._weight(x), of_outputs, eps=eps)


def total_of(books: Sequence[Absorbed]) -> Absorbed:
    """What was absorbed in all of them together."""
    total = {"biases": 0.0, "stabilizer": 0.0, "constants": 0.0}
    for absorbed in books:
        for name, value in absorbed.items():
            total[name] += value
    return total


@dataclass(frozen=True)
class Explained:
    """One output of a model, for one sample.

    Attributes:
        prediction: the output, which is the relevance that is shared out.
        relevance: of the input, in its shape.
        layers: what was absorbed in each of the layers.
    """

    prediction: float
    relevance: Array
    layers: list[Absorbed]

    @property
    def absorbed(self) -> Absorbed:
        """What was absorbed in the model: with the relevances it adds up to the prediction."""
        return total_of(self.layers)


def explain(model: Sequence[Layer], x: Array, target: tuple[int, ...], eps: float = 0.0) -> Explained:
    """The relevance of a model's input.

    Args:
        model: layers, the first one first.
        x: (T, I) in float64.
        target: which element of the model's output, ``(unit,)`` or ``(time, unit)``.
        eps: ε of all sums.
    """
    inputs = [x]
    for layer in model:
        inputs.append(layer.run(inputs[-1]))
    output = inputs.pop()
    of_it = np.zeros(output.shape)
    of_it[target] = output[target]
    books: list[Absorbed] = []
    for layer, given in zip(reversed(model), reversed(inputs), strict=True):
        of_it, absorbed = layer.relevance(given, of_it, eps)
        books.insert(0, total_of([absorbed]))
    return Explained(float(output[target]), of_it, books)


def torch_stack(
    kind: str,
    state_dict: Mapping[str, Array],
    *,
    h0: Array | None = None,
    c0: Array | None = None,
    **options: object,
) -> list[Recurrent]:
    """The layers of `nn.LSTM`, `nn.GRU` or `nn.RNN`, from its weights under PyTorch's names.

    Args:
        kind: "LSTM", "GRU" or "RNN".
        state_dict: ``weight_ih_l0``, ``bias_hh_l1_reverse``, ...; the names say how many layers and directions.
        h0: (layers·directions, P), c0: (layers·directions, H), where they are not zeros.
        options: of the cells, such as ``activation``.
    """
    directions = ("", "_reverse") if "weight_ih_l0_reverse" in state_dict else ("",)
    layers = []
    while f"weight_ih_l{len(layers)}" in state_dict:
        cells = []
        for number, direction in enumerate(directions):
            suffix, row = f"l{len(layers)}{direction}", len(layers) * len(directions) + number
            names = {"w_ih": "weight_ih", "w_hh": "weight_hh", "b_ih": "bias_ih", "b_hh": "bias_hh"}
            weights = {short: state_dict.get(f"{name}_{suffix}") for short, name in names.items()}
            projection = state_dict.get(f"weight_hr_{suffix}")
            own = {} if projection is None else {"w_hr": projection}
            states = {name: rows[row] for name, rows in {"h0": h0, "c0": c0}.items() if rows is not None}
            cells.append(Cell(kind, weights, {**options, **own}, states))
        layers.append(Recurrent(tuple(cells)))
    return layers
