"""The layers that a state dict holds, told from names and shapes; and names that stand for other formulas."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from explain_core.errors import ModelFileError
from explain_core.models.hints import EXPORT_HINT
from explain_core.models.torch.shapes import Recurrent, Shapes, find_recurrent

_NORM_PARTS = {"weight", "bias", "running_mean", "running_var"}
_COMPUTED = re.compile(r"weight_(\w+_)?(g|v|u|raw|orig|mask)")
_TABLE = re.compile(r"emb|word|token|vocab|lookup|item", re.I)


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

    @property
    def as_table(self) -> Embedding:
        """The same matrix as an ``nn.Embedding``: a row for each token."""
        return Embedding(self.path, self.output_size, self.input_size)

    @property
    def is_called_table(self) -> bool:
        return _TABLE.search(self.path) is not None


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

# Names of what computes something else with its weights, or stands beside the chain, by what it is.
_OTHER_FORMULAS = (
    (
        re.compile(r"attn|attention|query|alignment|(^|[._])w_[qkv]($|[._])", re.I),
        "is attention by its name, whose formula the file does not say",
    ),
    (
        re.compile(r"(^|[._])([ix]2[hcfgo]|h2h|hidden_?(2|to)_?hidden|[WU]_?([xhi]?[ifgocrzuh]))$", re.I),
        "is by its name part of a recurrent layer written by hand, whose formula the file does not say",
    ),
    (
        re.compile(r"(^|[._])(\w+_)?gat(e|es|ing)\d*($|[._])", re.I),
        "is a gate by its name, which multiplies something that the file does not say",
    ),
    (
        re.compile(r"(^|[._])(skip|shortcut|residual|highway|downsample)(_\w+)?\d*($|[._])", re.I),
        "by its name leads past other layers, and where to the file does not say",
    ),
    (
        re.compile(r"log_?(var|sigma|std)|presigma|(^|[._])sigma", re.I),
        "is a branch by its name, beside the one of the mean; a stack has one",
    ),
)
_DECODER = re.compile(r"(^|[._])dec(oder)?\d*($|[._])", re.I)


def find_layers(shapes: Shapes, where: str) -> list[Layer]:
    """Every layer, in the order of the names' first appearance; a matrix by itself is a `Linear`.

    Raises:
        ModelFileError: names the first parameter that no such layer has, or the layer that computes otherwise.
    """
    recurrent = {layer.path: layer for layer in find_recurrent(shapes)}
    in_recurrent = {name for layer in recurrent.values() for name in layer.parameters}
    parts: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        path, _, own = name.rpartition(".")
        parts.setdefault(path, {})[own] = shape
    _refuse_other_formulas(parts, recurrent, where)
    found: list[Layer] = []
    for path, own in parts.items():
        prefix = f"{path}." if path else ""
        strangers = [name for name in own if f"{prefix}{name}" not in in_recurrent]
        if path in recurrent and not strangers:
            found.append(recurrent[path])
            continue
        layer = None if path in recurrent else _other_layer(path, own)
        if layer is None:
            raise cannot_tell(_stranger(prefix, own, strangers), where)
        found.append(layer)
    if not any(isinstance(layer, (Linear, Recurrent)) for layer in found):
        raise cannot_tell("no recurrent and no Linear layer is among its parameters", where)
    return found


def _refuse_other_formulas(paths: Iterable[str], recurrent: dict[str, Recurrent], where: str) -> None:
    """What may fit in size by chance, but by its name is computed otherwise."""
    for path in paths:
        for pattern, what in _OTHER_FORMULAS:
            if path not in recurrent and pattern.search(path):
                raise cannot_tell(f"{path!r} {what}", where)
    for path in paths:
        if ".parametrizations." in f".{path}.":
            raise cannot_tell(_computed(path), where)
    for path in recurrent:
        if len(recurrent) > 1 and _DECODER.search(path):
            raise cannot_tell(f"{path!r} is a decoder by its name: what it is fed the file does not say", where)


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


def _stranger(prefix: str, own: dict[str, tuple[int, ...]], strangers: Sequence[str]) -> str:
    computed = [name for name in own if _COMPUTED.fullmatch(name)]
    name = (computed or strangers or list(own))[0]
    size = " × ".join(map(str, own[name])) or "scalar"
    if computed:
        return _computed(prefix + name)
    if len(own.get("weight", ())) in (3, 4):
        return f"{prefix + 'weight'!r} is of a convolution, whose stride and padding the file does not say"
    return f"{prefix + name!r} ({size}) belongs to no layer of such a stack"


def _computed(name: str) -> str:
    return f"{name!r} is of a weight that is computed from others, and not by the parts that PyTorch has for that"


def cannot_tell(why: str, where: str) -> ModelFileError:
    """The error for weights that are of no plain stack."""
    return ModelFileError(
        f"The file holds weights without their model, and they are not of a plain stack "
        f"(embedding, recurrent layers, Linear layers): {why}.",
        where=where,
        hint=EXPORT_HINT,
    )
