"""The model that a state dict belongs to, told from names and shapes.

A plain stack is a chain: an embedding (or none), layers that act on each step, recurrent layers, a way to read them,
and a head of Linear and normalisation layers. Which layer follows which is told from the sizes, and from the order
of the file where the sizes allow several.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from explain_core.errors import ModelFileError
from explain_core.models.hints import ASSUMED, EXPORT_HINT
from explain_core.models.options import CHOICES, FLAT, HALF_WIDTH, ONE_WIDTH, THREE_WIDTHS, TWO_WIDTHS, Options
from explain_core.models.shapes import Recurrent, Shapes, find_recurrent

_ATTENTION = re.compile(r"attn|attention|query|(^|[._])(key|value)s?($|[._])|alignment|(^|[._])w_[qkv]($|[._])", re.I)
_DECODER = re.compile(r"(^|[._])dec(oder)?\d*($|[._])", re.I)
_NORM_PARTS = {"weight", "bias", "running_mean", "running_var"}
_WEIGHT_NORM = re.compile(r"(weight_[gv]|weight_\w+_(g|v|raw)|original\d?)$")
_MOST_MULTIPLES = 10_000
_MOST_TRIES = 20_000


@dataclass(frozen=True)
class Embedding:
    """An ``nn.Embedding``, by its path."""

    path: str
    tokens: int
    output_size: int


@dataclass(frozen=True)
class Linear:
    """An ``nn.Linear``, by its path."""

    path: str
    input_size: int
    output_size: int
    bias: bool


@dataclass(frozen=True)
class Norm:
    """An ``nn.BatchNorm1d`` ("batch") or ``nn.LayerNorm`` ("layer") over the features, by its path."""

    path: str
    kind: str
    input_size: int
    affine: bool

    @property
    def output_size(self) -> int:
        return self.input_size


Layer = Embedding | Linear | Norm | Recurrent


@dataclass(frozen=True)
class Architecture:
    """A plain stack; paths are those of the state dict.

    Attributes:
        before: what each step goes through before the last recurrent layer, recurrent layers included.
        head: what follows; the whole model where there is no recurrent layer.
        widths: what the head takes, as a multiple of what the last recurrent layer gives at one step.
        order_is_told: whether the sizes allow just this order.
    """

    before: tuple[Layer, ...]
    head: tuple[Linear | Norm, ...]
    options: Options
    widths: float = 1
    order_is_told: bool = True

    @property
    def recurrent(self) -> tuple[Recurrent, ...]:
        return tuple(layer for layer in self.before if isinstance(layer, Recurrent))

    @property
    def embedding(self) -> Embedding | None:
        first = (self.before or self.head)[0]
        return first if isinstance(first, Embedding) else None

    @property
    def input_size(self) -> int:
        return (self.before or self.head)[0].input_size

    @property
    def timesteps(self) -> int | None:
        """The one length that it takes, where the head reads all steps in a row."""
        return int(self.widths) if self.options.read == FLAT else None

    @property
    def activations(self) -> tuple[bool, ...]:
        """For each layer of the head, whether an activation stands before it.

        Numbers that are left out in an ``nn.Sequential`` are layers without weights.
        """
        found: list[bool] = []
        linear_open = False  # a Linear layer whose activation has not come yet
        for position, layer in enumerate(self.head):
            gap = _gap(self.head[position - 1].path, layer.path) if position else None
            here = gap > 1 if gap is not None else linear_open and isinstance(layer, Linear)
            if here or gap == 1:
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
            why = "" if self.order_is_told else " (their sizes allow other orders; this is the file's)"
            said.append(f"The layers follow one another, and nothing else is between them: {names}{why}.")
        if self.recurrent:
            said.append(f"{'The head reads' if self.head else 'What comes out is'}: {options.read}.")
        if "nonlinearity" in choices:
            said.append(f"Activation in the recurrent layers: {options.nonlinearity}.")
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
    layers = _layers(shapes, where)
    _refuse_known_others(layers, where)
    in_file = list(layers)
    if not ordered:
        layers.sort(key=lambda layer: _natural(layer.path))
    first = _recurrent_first(layers)
    fitting = [order for order in ([layers, first] if ordered else [first]) if _fits(order)]
    all_fitting = _orders(layers)
    if not fitting and len(all_fitting) == 1:
        fitting = all_fitting
    if not fitting:
        raise _cannot_tell(_misfit(first if not _fits(in_file) else in_file), where)
    architecture = _split(fitting[0], options, order_is_told=len(all_fitting) == 1)
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


def _layers(shapes: Shapes, where: str) -> list[Layer]:
    """Every layer, in the order of the names' first appearance."""
    recurrent = {layer.path: layer for layer in find_recurrent(shapes)}
    in_recurrent = {name for layer in recurrent.values() for name in layer.parameters}
    parts: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        path, _, own = name.rpartition(".")
        parts.setdefault(path, {})[own] = shape
    found: list[Layer] = []
    for path, own in parts.items():
        prefix = f"{path}." if path else ""
        strangers = [name for name in own if f"{prefix}{name}" not in in_recurrent]
        if path in recurrent and not strangers:
            found.append(recurrent[path])
            continue
        layer = None if path in recurrent else _other_layer(path, own)
        if layer is None:
            raise _cannot_tell(_stranger(prefix, own, strangers), where)
        found.append(layer)
    first_linear = next((i for i, layer in enumerate(found) if isinstance(layer, Linear)), None)
    if first_linear is not None and _is_embedding(found, first_linear):
        plain = found[first_linear]
        found[first_linear] = Embedding(plain.path, plain.output_size, plain.input_size)
    if not any(isinstance(layer, (Linear, Recurrent)) for layer in found):
        raise _cannot_tell("no recurrent and no Linear layer is among its parameters", where)
    return found


def _other_layer(path: str, own: dict[str, tuple[int, ...]]) -> Layer | None:
    weight = own.get("weight", ())
    if len(weight) == 2 and set(own) <= {"weight", "bias"} and own.get("bias", weight[:1]) == weight[:1]:
        return Linear(path, weight[1], weight[0], "bias" in own)
    sizes = set(own.values())
    if set(own) <= _NORM_PARTS and len(sizes) == 1 and len(size := sizes.pop()) == 1:
        if {"running_mean", "running_var"} <= set(own):
            return Norm(path, "batch", size[0], affine="weight" in own)
        if set(own) == {"weight", "bias"}:
            return Norm(path, "layer", size[0], affine=True)
    return None


def _is_embedding(layers: Sequence[Layer], position: int) -> bool:
    """Whether a matrix without bias is a table of tokens: what follows takes its columns, or its name says so."""
    layer = layers[position]
    following = next((other for other in layers if isinstance(other, Recurrent)), None)
    if layer.bias or following is None or following.input_size != layer.input_size:
        return False
    is_linear_too = following.input_size == layer.output_size or _last_recurrent(layers).output_size == layer.input_size
    return not is_linear_too or "emb" in layer.path.lower() or (position == 0 and "word" in layer.path.lower())


def _last_recurrent(layers: Iterable[Layer]) -> Recurrent:
    return [layer for layer in layers if isinstance(layer, Recurrent)][-1]


def _stranger(prefix: str, own: dict[str, tuple[int, ...]], strangers: Sequence[str]) -> str:
    computed = [name for name in own if _WEIGHT_NORM.search(name)]
    name = (computed or strangers or list(own))[0]
    size = " × ".join(map(str, own[name])) or "scalar"
    if computed:
        return f"{prefix + name!r} is of a weight that is computed from others (weight normalisation, parametrization)"
    if len(own.get("weight", ())) in (3, 4):
        return f"{prefix + 'weight'!r} is of a convolution, whose stride and padding the file does not say"
    return f"{prefix + name!r} ({size}) belongs to no layer of such a stack"


def _refuse_known_others(layers: Sequence[Layer], where: str) -> None:
    """What fits in size by chance, but by its name is computed otherwise."""
    for layer in layers:
        if _ATTENTION.search(layer.path):
            raise _cannot_tell(f"{layer.path!r} is attention by its name, whose formula the file does not say", where)
    recurrent = [layer for layer in layers if isinstance(layer, Recurrent)]
    for layer in recurrent:
        if len(recurrent) > 1 and _DECODER.search(layer.path):
            raise _cannot_tell(f"{layer.path!r} is a decoder by its name: what it is fed the file does not say", where)


def _recurrent_first(layers: Sequence[Layer]) -> list[Layer]:
    def rank(layer: Layer) -> int:
        return 0 if isinstance(layer, Embedding) else 1 if isinstance(layer, Recurrent) else 2

    return sorted(layers, key=rank)


def _multiple(layer: Layer, before: Sequence[Layer]) -> float | None:
    """How many times what comes out before it a layer takes; None where it does not fit."""
    if not before:
        return 1
    given = before[-1].output_size
    if isinstance(layer, Embedding) or not given:
        return None
    if layer.input_size == given:
        return 1
    if not isinstance(before[-1], Recurrent) or isinstance(layer, Recurrent):
        return None
    if before[-1].bidirectional and 2 * layer.input_size == given:
        return 0.5
    times, rest = divmod(layer.input_size, given)
    return times if not rest and isinstance(layer, Linear) and times <= _MOST_MULTIPLES else None


def _fits(order: Sequence[Layer]) -> bool:
    """Whether sizes follow one another, with one way to read between the last recurrent layer and the head."""
    has_recurrent_after = [any(isinstance(x, Recurrent) for x in order[i + 1 :]) for i in range(len(order))]
    for position, layer in enumerate(order):
        times = _multiple(layer, order[:position])
        if times is None or (times != 1 and has_recurrent_after[position]):
            return False
    return True


def _orders(layers: Sequence[Layer]) -> list[list[Layer]]:
    """Up to two orders that fit."""
    found: list[list[Layer]] = []
    tries = [_MOST_TRIES]

    def go_on(chain: list[Layer], left: list[Layer]) -> None:
        tries[0] -= 1
        if len(found) > 1 or tries[0] < 0:
            return
        if not left:
            if _fits(chain):
                found.append(chain)
            return
        for i, layer in enumerate(left):
            if _multiple(layer, chain) is not None:
                go_on([*chain, layer], left[:i] + left[i + 1 :])

    go_on([], list(layers))
    return found


def _misfit(order: Sequence[Layer]) -> str:
    for position, layer in enumerate(order):
        if _multiple(layer, order[:position]) is None:
            before = order[position - 1]
            rivals = [x.path for x in order if isinstance(x, Linear) and x.input_size == layer.input_size]
            if isinstance(layer, Linear) and len(rivals) > 1:
                listed = " and ".join(map(repr, rivals[:3]))
                return f"it has more than one branch: {listed} each take {layer.input_size} values"
            return (
                f"{layer.path or 'a layer'!r} takes {getattr(layer, 'input_size', 'token')} values, but "
                f"{before.output_size} come out before it, of {before.path or 'a layer'!r}"
            )
    return "the sizes allow no order of its layers"


def _split(order: Sequence[Layer], options: Options, order_is_told: bool) -> Architecture:
    last = max((i for i, layer in enumerate(order) if isinstance(layer, Recurrent)), default=-1)
    before, head = tuple(order[: last + 1]), tuple(order[last + 1 :])
    widths = _multiple(head[0], before) if before and head else 1
    return Architecture(before, head, options, widths or 1, order_is_told)


def _gap(path: str, following: str) -> int | None:
    """By how many places two layers of one ``nn.Sequential`` are apart; None where they are not in one."""
    parent, _, own = path.rpartition(".")
    parent_2, _, own_2 = following.rpartition(".")
    if parent != parent_2 or not own.isdigit() or not own_2.isdigit():
        return None
    return int(own_2) - int(own)


def _natural(path: str) -> list[tuple[int, str]]:
    """A key by which fc2 sorts before fc10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.findall(r"\d+|\D+", path)]


def _cannot_tell(why: str, where: str) -> ModelFileError:
    return ModelFileError(
        f"The file holds weights without their model, and they are not of a plain stack "
        f"(embedding, recurrent layers, Linear layers): {why}.",
        where=where,
        hint=EXPORT_HINT,
    )
