"""The model that a state dict belongs to, told from names and shapes.

A plain stack is a chain: an embedding (or none), layers that act on each step, recurrent layers, a way to read them,
and a head of Linear and normalisation layers. Which layer follows which is told from the sizes, and from the order
of the file where the sizes allow several.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from explain_core.errors import ModelFileError
from explain_core.models.hints import ASSUMED
from explain_core.models.torch.beside import (
    InitialState,
    Positions,
    initial_state,
    positions_of,
    refuse_kept_states,
    split_off,
)
from explain_core.models.torch.layers import Embedding, Layer, Linear, Norm, find_layers
from explain_core.models.torch.options import CHOICES, FLAT, HALF_WIDTH, ONE_WIDTH, THREE_WIDTHS, TWO_WIDTHS, Options
from explain_core.models.torch.ordering import arranged, gap, multiple
from explain_core.models.torch.shapes import Recurrent, Shapes


@dataclass(frozen=True)
class Architecture:
    """A plain stack; paths are those of the state dict.

    Attributes:
        before: what each step goes through before the last recurrent layer, recurrent layers included.
        head: what follows; the whole model where there is no recurrent layer.
        widths: what the head takes, as a multiple of what the last recurrent layer gives at one step.
        order_is_told: whether the sizes allow just this order.
        initial: the learned state that the recurrent layer starts from.
        positions: what is added to each step by its place.
    """

    before: tuple[Layer, ...]
    head: tuple[Embedding | Linear | Norm, ...]
    options: Options
    widths: float = 1
    order_is_told: bool = True
    initial: InitialState | None = None
    positions: Positions | None = None

    @property
    def recurrent(self) -> tuple[Recurrent, ...]:
        return tuple(layer for layer in self.before if isinstance(layer, Recurrent))

    @property
    def embedding(self) -> Embedding | None:
        first = (self.before or self.head)[0]
        return first if isinstance(first, Embedding) else None

    @property
    def input_size(self) -> int:
        first = (self.before or self.head)[0]
        return first.tokens if isinstance(first, Embedding) else first.input_size

    @property
    def timesteps(self) -> int | None:
        """The one length that it takes, where the head reads all steps in a row."""
        return int(self.widths) if self.options.read == FLAT else None

    @property
    def activations(self) -> tuple[bool, ...]:
        """For each layer of the head, whether an activation stands before it.

        Numbers that are left out in an ``nn.Sequential`` are layers without weights. Linear layers without a gap are of
        an ``nn.ModuleList``, which does not say what is between them.
        """
        listed = _in_lists(self.head)
        found: list[bool] = []
        linear_open = False  # a Linear layer whose activation has not come yet
        for position, layer in enumerate(self.head):
            told = position and layer not in listed
            between = gap(self.head[position - 1].path, layer.path) if told else None
            here = between > 1 if between is not None else linear_open and isinstance(layer, Linear)
            if here or between == 1:
                linear_open = linear_open and not here and isinstance(layer, Norm)
            if isinstance(layer, Linear):
                linear_open = True
            found.append(here)
        return tuple(found)

    @property
    def reads(self) -> tuple[str, ...]:
        """The ways to read the last recurrent layer whose size fits the head."""
        if not self.recurrent or not self.head:
            return ONE_WIDTH if self.recurrent else ()
        if self.widths == 0.5:
            return HALF_WIDTH
        if self.widths == 1:
            both = self.recurrent[-1].bidirectional
            return tuple(name for name in ONE_WIDTH if both or name != "final state")
        more = {2: TWO_WIDTHS, 3: THREE_WIDTHS}.get(int(self.widths), ())
        return (FLAT, *more)

    @property
    def choices(self) -> dict[str, tuple[str, ...]]:
        """The options that matter for this stack, with their values."""
        last = (*self.before, *self.head)[-1]
        relevant = {
            "read": len(self.reads) > 1,
            "nonlinearity": any(layer.kind == "RNN" for layer in self.recurrent),
            "initial_state": self.initial is not None,
            "positions": self.positions is not None,
            "input_activation": any(isinstance(layer, Linear) for layer in self.before),
            "read_activation": bool(self.recurrent and self.head),
            "head_activation": any(self.activations),
            "output_activation": True,
            "squeeze": last.output_size == 1,
        }
        return {
            name: self.reads if name == "read" else values for name, values in CHOICES.items() if relevant.get(name)
        }

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What the file does not say, one sentence each."""
        options, choices = self.options, self.choices
        names = ", ".join(layer.path or "the layer itself" for layer in (*self.before, *self.head))
        kind = "token ids as (sample, time)" if self.embedding else "sequences as (sample, time, feature)"
        said = []
        if self.recurrent:
            said.append(
                f"It takes {kind}, in PyTorch's words batch_first; a model that was fed (time, sample, feature) "
                "computes the same of them."
            )
        if len(self.before) + len(self.head) > 1:
            other = " (their sizes allow other orders; this follows the file and the numbers in names)"
            why = "" if self.order_is_told else other
            said.append(f"The layers follow one another, and nothing else is between them: {names}{why}.")
        if self.recurrent:
            said.append(f"{'The head reads' if self.head else 'What comes out is'}: {options.read}.")
        if "nonlinearity" in choices:
            said.append(f"Activation in the recurrent layers: {options.nonlinearity}.")
        if self.initial is not None:
            listed = " and ".join(map(repr, self.initial.names))
            start = (
                f"{listed} of the file, the same for each sample" if options.initial_state == "as stored" else "zeros"
            )
            said.append(f"The recurrent layer starts from {start}.")
        if self.positions is not None:
            place = "the input" if self.positions.after is None else f"what {self.positions.after!r} gives"
            said.append(f"The rows of {self.positions.name!r}, one a timestep, at {place}: {options.positions}.")
        if "input_activation" in choices:
            said.append(f"Activation before the recurrent layers: {options.input_activation}.")
        if "read_activation" in choices:
            said.append(f"Activation of what the head reads: {options.read_activation}.{self._unknown_first()}")
        if "head_activation" in choices:
            said.append(f"Activation between the Linear layers: {options.head_activation}.")
        said.append(f"Activation after the last layer: {options.output_activation}.")
        if any(isinstance(layer, Norm) and layer.kind == "layer" for layer in (*self.before, *self.head)):
            said.append("Normalisation without running statistics is LayerNorm, with eps 1e-5.")
        if any(isinstance(layer, Norm) and layer.kind == "batch" for layer in (*self.before, *self.head)):
            said.append("BatchNorm1d has eps 1e-5.")
        return tuple(f"{ASSUMED}{sentence}" for sentence in said)

    def _unknown_first(self) -> str:
        """Where the head is an ``nn.Sequential`` whose first layer has no weights."""
        path = self.head[0].path
        parent, _, own = path.rpartition(".")
        if parent and own.isdigit() and int(own) > 0 and not any(x.path.startswith(f"{parent}.") for x in self.before):
            return f" Before {path!r} stands something without weights: dropout, or an activation."
        return ""


def infer(shapes: Shapes, options: Options, where: str, *, ordered: bool = True) -> Architecture:
    """Find the stack that these parameters belong to.

    Args:
        shapes: of every parameter and buffer, by name.
        options: what was chosen.
        where: the file's name, for errors.
        ordered: whether the order of the names is that of the model's layers.

    Raises:
        ModelFileError: names the first parameter or size that does not fit a plain stack.
    """
    of_layers, states, tables = split_off(shapes)
    refuse_kept_states(of_layers, where)
    order, order_is_told = arranged(find_layers(of_layers, where), where, ordered=ordered)
    architecture = _split(order, options, order_is_told)
    architecture = replace(
        architecture,
        initial=initial_state(states, shapes, order, where),
        positions=positions_of(tables, shapes, architecture.before, where),
    )
    reads = architecture.reads
    if options.read is None and reads:
        options = replace(options, read=reads[0])
    elif reads and options.read not in reads and not (options.read == "final state" and architecture.widths == 1):
        raise ModelFileError(
            f"architecture: read={options.read!r} does not fit the sizes of the head.",
            where=where,
            hint=f"These fit: {', '.join(reads)}.",
        )
    return replace(architecture, options=options)


def _in_lists(head: Sequence[Layer]) -> list[Linear]:
    """The Linear layers whose numbers go on without a gap below one path, with nothing else there."""
    found: list[Linear] = []
    for parent in {layer.path.rpartition(".")[0] for layer in head}:
        parts = [layer for layer in head if layer.path.rpartition(".")[0] == parent]
        numbers = [layer.path.rpartition(".")[2] for layer in parts]
        linear = [layer for layer in parts if isinstance(layer, Linear)]
        if numbers == [str(i) for i in range(len(parts))] and len(linear) == len(parts):
            found += linear
    return found


def _split(order: Sequence[Layer], options: Options, order_is_told: bool) -> Architecture:
    last = max((i for i, layer in enumerate(order) if isinstance(layer, Recurrent)), default=-1)
    before = tuple(order[: last + 1])
    head = tuple(layer for layer in order[last + 1 :] if not isinstance(layer, Recurrent))
    widths = multiple(head[0], before) if before and head else 1
    return Architecture(before, head, options, widths or 1, order_is_told)
