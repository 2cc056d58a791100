"""Which layer follows which, told from sizes, from the order of the file, and from the numbers in names."""

from __future__ import annotations

import re
from collections.abc import Sequence

from explain_core.models.torch.layers import Embedding, Layer, Linear, Norm, cannot_tell
from explain_core.models.torch.shapes import Recurrent

_MOST_MULTIPLES = 10_000
_MOST_TRIES = 20_000


def arranged(layers: Sequence[Layer], where: str, *, ordered: bool = True) -> tuple[list[Layer], bool]:
    """The layers as they follow one another, and whether the sizes allow just this order.

    Args:
        layers: in the order of the file.
        where: the file's name, for errors.
        ordered: whether that is the order of the model's layers.

    Raises:
        ModelFileError: no order fits, or several do and nothing tells which is meant.
    """
    by_name = layers if ordered else sorted(layers, key=lambda layer: natural(layer.path))
    readings = _readings(by_name, where)
    for reading in readings:
        if found := _arranged(reading, ordered):
            return found
    raise cannot_tell(_misfit(readings[0]), where)


def _arranged(layers: list[Layer], ordered: bool) -> tuple[list[Layer], bool] | None:
    fitting = _orders(layers)
    if len(fitting) == 1:
        return fitting[0], True
    first = _recurrent_first(layers)
    likely = [layers, first, _norms_by_number(layers)] if ordered else [first, _norms_by_number(first)]
    order = next((order for order in likely if fits(order)), None)
    if order is None:
        counted = _orders(layers, counted=True)
        order = counted[0] if len(counted) == 1 else None
    return None if order is None else (order, False)


def _readings(layers: Sequence[Layer], where: str) -> list[list[Layer]]:
    """The layers, each time with another matrix as a table of tokens, or none; the likeliest first.

    A matrix without bias can be an embedding or a Linear layer. It is an embedding where it is called like one and the
    first recurrent layer takes its columns, or where nothing else fits.
    """
    takes = next((layer.input_size for layer in layers if isinstance(layer, Recurrent)), None)
    if takes is None:  # how the vectors of the tokens are joined is not said
        return [list(layers)]
    candidates = [layer for layer in layers if isinstance(layer, Linear) and not layer.bias]
    tables = [layer for layer in candidates if layer.input_size == takes]
    tables += [layer for layer in candidates if layer not in tables and layer.is_called_table]
    called = [layer for layer in tables if layer.is_called_table and layer.input_size == takes]
    if len(called) > 1 and len(by_emb := [layer for layer in called if "emb" in layer.path.lower()]) == 1:
        called = by_emb  # and the other is the head that turns into words again
    if len(called) > 1:
        listed = " and ".join(repr(layer.path) for layer in called[:3])
        raise cannot_tell(f"it has several tables of embeddings: {listed}", where)

    def with_table(table: Linear) -> list[Layer]:
        return [layer.as_table if layer is table else layer for layer in layers]

    others = [layer for layer in tables if layer not in called]
    return [*map(with_table, called), list(layers), *map(with_table, others)]


def multiple(layer: Layer, before: Sequence[Layer]) -> float | None:
    """How many times what comes out before it a layer takes; None where it does not fit."""
    if not before:
        return 1
    given = before[-1].output_size
    if isinstance(layer, Embedding) or not given:
        return None
    if isinstance(layer, Norm) and isinstance(before[-1], Norm):  # nobody normalises twice
        return None
    if isinstance(before[-1], Embedding) and isinstance(layer, Linear) and not layer.bias:
        return None  # rather a second table, of positions
    if layer.input_size == given:
        return 1
    if not isinstance(before[-1], Recurrent) or isinstance(layer, Recurrent):
        return None
    if before[-1].bidirectional and 2 * layer.input_size == given:
        return 0.5
    times, rest = divmod(layer.input_size, given)
    return times if not rest and isinstance(layer, Linear) and times <= _MOST_MULTIPLES else None


def fits(order: Sequence[Layer]) -> bool:
    """Whether sizes follow one another, with one way to read between the last recurrent layer and the head."""
    has_recurrent_after = [any(isinstance(x, Recurrent) for x in order[i + 1 :]) for i in range(len(order))]
    for position, layer in enumerate(order):
        times = multiple(layer, order[:position])
        if times is None or (times != 1 and has_recurrent_after[position]):
            return False
    return True


def _orders(layers: Sequence[Layer], *, counted: bool = False) -> list[list[Layer]]:
    """Up to two orders that fit; ``counted``: of those in which layers of one name stand in the order of numbers."""
    found: list[list[Layer]] = []
    tries = [_MOST_TRIES]
    numbers = {layer.path: _numbered(layer.path) for layer in layers}

    def is_next(layer: Layer, left: Sequence[Layer]) -> bool:
        stem, number = numbers[layer.path]
        return not any(numbers[x.path][0] == stem and numbers[x.path][1] < number for x in left)

    def go_on(chain: list[Layer], left: list[Layer]) -> None:
        tries[0] -= 1
        if len(found) > 1 or tries[0] < 0:
            return
        if not left:
            if fits(chain):
                found.append(chain)
            return
        for i, layer in enumerate(left):
            if multiple(layer, chain) is not None and (not counted or is_next(layer, left)):
                go_on([*chain, layer], left[:i] + left[i + 1 :])

    go_on([], list(layers))
    return found


def _recurrent_first(layers: Sequence[Layer]) -> list[Layer]:
    def rank(layer: Layer) -> int:
        return 0 if isinstance(layer, Embedding) else 1 if isinstance(layer, Recurrent) else 2

    return sorted(layers, key=rank)


def _norms_by_number(layers: Sequence[Layer]) -> list[Layer]:
    """Each numbered normalisation after the other layer of its number, where that is one: lstms.0, norms.0, lstms.1."""
    norms = [layer for layer in layers if isinstance(layer, Norm) and _numbered(layer.path)[1] >= 0]
    order = [layer for layer in layers if layer not in norms]
    for norm in norms:
        number = _numbered(norm.path)[1]
        same = [x for x in order if not isinstance(x, Norm) and _numbered(x.path)[1] == number]
        if len(same) != 1:
            return list(layers)
        order.insert(order.index(same[0]) + 1, norm)
    return order


def _misfit(order: Sequence[Layer]) -> str:
    """Why the layers are no chain: the first that does not fit, or what is left open."""
    if _orders(order):
        return "their sizes allow several orders, and neither the order of the file nor their names tell which is meant"
    order = order if not fits(_recurrent_first(order)) else _recurrent_first(order)
    for position, layer in enumerate(order):
        if multiple(layer, order[:position]) is None:
            before = order[position - 1]
            if isinstance(layer, Linear):
                rivals = [x.path for x in order if isinstance(x, Linear) and x.input_size == layer.input_size]
                if len(rivals) > 1:
                    listed = " and ".join(map(repr, rivals[:3]))
                    return f"it has more than one branch: {listed} each take {layer.input_size} values"
            return (
                f"{layer.path or 'a layer'!r} takes {getattr(layer, 'input_size', 'token')} values, but "
                f"{before.output_size} come out before it, of {before.path or 'a layer'!r}"
            )
    return "the sizes allow no order of its layers"


def gap(path: str, following: str) -> int | None:
    """By how many places two layers of one ``nn.Sequential`` are apart; None where they are not in one."""
    parent, _, own = path.rpartition(".")
    parent_2, _, own_2 = following.rpartition(".")
    if parent != parent_2 or not own.isdigit() or not own_2.isdigit():
        return None
    return int(own_2) - int(own)


def natural(path: str) -> list[tuple[int, str]]:
    """A key by which fc2 sorts before fc10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.findall(r"\d+|\D+", path)]


def _numbered(path: str) -> tuple[str, int]:
    """What a path is without the number at its end, and the number; -1 for none."""
    stem = path.rstrip("0123456789")
    digits = path[len(stem) :]
    return (stem, int(digits)) if digits and len(digits) < 10 else (path, -1)
