"""Which axis of each input is time and which is the feature, as far as the captured graph says.

Operations that only carry axes along are in a table; of one that is not there, what comes out is not followed.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from explain_core.backends import axis_flow
from explain_core.backends.axis_flow import Atom, Flow, Votes

Named = dict[str, Any]
"""The arguments of an operation: a `Flow` for each tensor that is followed, `_OTHER` for any other tensor."""

_OTHER = object()
Carry = Callable[[Named, tuple[int, ...]], Flow | None]


def axis_names(
    graph: fx.Graph, traced: Sequence[int], shapes: Sequence[Sequence[int]], sample_axes: Sequence[int | None]
) -> tuple[tuple[str | None, ...], ...]:
    """Names of the axes of each input, in the layout of the model; see `Votes.names`.

    Args:
        graph: of the captured model.
        traced: which input each placeholder is.
        shapes, sample_axes: of all inputs.
    """
    votes = Votes(shapes, sample_axes)
    places = iter(traced)
    flows: dict[fx.Node, Any] = {}
    for node in graph.nodes:
        if node.op == "placeholder":
            leaf = next(places)
            flows[node] = axis_flow.start(leaf, shapes[leaf])
        elif node.op == "call_function":
            flows[node] = _carried(node, flows, votes)
    return votes.names()


def _carried(node: fx.Node, flows: dict[fx.Node, Any], votes: Votes) -> Any:
    if node.target is operator.getitem:
        several = flows.get(node.args[0])
        return several[node.args[1]] if isinstance(several, list) and isinstance(node.args[1], int) else None
    if not isinstance(node.target, torch._ops.OpOverload) or not any(flows.get(n) for n in node.all_input_nodes):
        return None
    schema = node.target._schema
    passed = dict(zip((a.name for a in schema.arguments), node.args, strict=False)) | dict(node.kwargs)
    given = {a.name: passed.get(a.name, a.default_value) for a in schema.arguments}
    name = schema.name.removeprefix("aten::")
    name = name.removesuffix("_") if not name.endswith("__") else name
    followed = {key: fx.map_arg(value, lambda n: flows.get(n) or _OTHER) for key, value in given.items()}
    value = node.meta.get("val")
    if name in _SAYING:
        _SAYING[name](followed, votes)
    if isinstance(value, (list, tuple)):
        carry = _SEVERAL.get(name)
        return carry(followed, [tuple(v.shape) if isinstance(v, Tensor) else () for v in value]) if carry else None
    if not isinstance(value, Tensor):
        return None
    shape = tuple(value.shape)
    is_elementwise = torch.Tag.pointwise in node.target.tags or name in _LINEAR or name in _UNTAGGED
    carry = _CARRYING.get(name) or (_elementwise if is_elementwise else None)
    found = None if carry is None else carry(followed, shape)
    if found is None or found.rank != len(shape):
        return None
    if carry is _elementwise and name not in _LINEAR:
        votes.combined(found)
    found = Flow(axis_flow.sized(found.axes, shape), found.picked)
    if schema.name.endswith("_") and not flows.get(node.args[0]):
        _written(node.args[0], found, flows)
    return found


def _written(view: fx.Node, flow: Flow, flows: dict[fx.Node, Any]) -> None:
    """What is written into a part of a tensor that was made for it: the whole has those axes from then on."""
    flows[view] = flow
    while view.op == "call_function" and getattr(view.target, "overloadpacket", None) is torch.ops.aten.slice:
        view = view.args[0]
        shape = tuple(view.meta["val"].shape)
        flow = Flow(axis_flow.sized(flow.axes, shape), flow.picked)
        flows[view] = flow


_LINEAR = ("add", "sub", "rsub", "subtract", "neg", "negative", "copy", "where")
_UNTAGGED = (
    *("multiply", "divide", "true_divide", "floor_divide", "prelu", "log_sigmoid", "hardswish", "absolute", "arctan"),
    *("special_expit", "special_log_softmax", "clip", "float_power", "square", "fix"),
)
"""Elementwise operations that PyTorch composes of others, and so does not mark as such."""


def _of(given: Named) -> list[Flow]:
    """The tensors among the arguments that are followed."""
    found = []
    for value in given.values():
        found += [v for v in (value if isinstance(value, (list, tuple)) else [value]) if isinstance(v, Flow)]
    return found


def _first(given: Named) -> Any:
    return next(iter(given.values()))


def _elementwise(given: Named, shape: tuple[int, ...]) -> Flow:
    return axis_flow.aligned(_of(given), shape)


def _kept(given: Named, shape: tuple[int, ...]) -> Flow | None:
    """Axes that stay where they are, with other sizes."""
    x = _first(given)
    return Flow(axis_flow.sized(x.axes, shape), x.picked) if isinstance(x, Flow) and x.rank == len(shape) else None


def _reshaped(given: Named, shape: tuple[int, ...]) -> Flow:
    return axis_flow.regrouped(_first(given), shape)


def _permuted(given: Named, shape: tuple[int, ...]) -> Flow:
    x = given["self"]
    return Flow(tuple(x.axes[axis] for axis in given["dims"]), x.picked)


def _moved(given: Named, shape: tuple[int, ...]) -> Flow:
    x = given["self"]
    as_list = lambda v: [a % x.rank for a in (v if isinstance(v, (list, tuple)) else [v])]  # noqa: E731
    places = dict(zip(as_list(given["destination"]), as_list(given["source"]), strict=True))
    rest = iter([axis for axis in range(x.rank) if axis not in places.values()])
    return Flow(tuple(x.axes[places[axis] if axis in places else next(rest)] for axis in range(x.rank)), x.picked)


def _transposed(given: Named, shape: tuple[int, ...]) -> Flow:
    x = given["self"]
    a, b = (given.get(key, given.get(other)) for key, other in (("dim0", "axis0"), ("dim1", "axis1")))
    axes = list(x.axes)
    axes[a], axes[b] = axes[b], axes[a]
    return Flow(tuple(axes), x.picked)


def _turned(given: Named, shape: tuple[int, ...]) -> Flow:
    """``.t()``, ``.mT`` and the like."""
    x = given["self"]
    return x if x.rank < 2 else Flow((*x.axes[:-2], x.axes[-1], x.axes[-2]), x.picked)


def _squeezed(given: Named, shape: tuple[int, ...]) -> Flow:
    x = given["self"]
    dims = given.get("dim", range(x.rank))
    dims = [d % x.rank for d in (dims if isinstance(dims, (list, tuple, range)) else [dims])]
    sizes = [_size(axis) for axis in x.axes]
    return Flow(tuple(axis for a, axis in enumerate(x.axes) if a not in dims or sizes[a] != 1), x.picked)


def _size(axis: axis_flow.Axis) -> int:
    size = 1
    for atom in axis:
        size *= atom.size
    return size


def _expanded(given: Named, shape: tuple[int, ...]) -> Flow:
    return axis_flow.aligned([given["self"]], shape)


def _reduced(given: Named, shape: tuple[int, ...]) -> Flow | None:
    x = _first(given)
    dims = given.get("dim")
    if not isinstance(x, Flow) or x.rank == len(shape):
        return _kept(given, shape)
    dims = range(x.rank) if dims is None else dims if isinstance(dims, (list, tuple)) else [dims]
    gone = {d % x.rank for d in dims}
    return Flow(tuple(axis for a, axis in enumerate(x.axes) if a not in gone), x.picked)


def _selected(given: Named, shape: tuple[int, ...]) -> Flow:
    x, dim = given["self"], given["dim"]
    return axis_flow.picked(x, dim, given["index"] % _size(x.axes[dim]))


def _sliced(given: Named, shape: tuple[int, ...]) -> Flow | None:
    x, dim = given["self"], given["dim"]
    start, size = given.get("start") or 0, _size(x.axes[dim])
    if isinstance(start, int) and shape[dim] == 1 and size > 1:
        return axis_flow.picked(x, dim, min(start % size if start < 0 else start, size - 1), keep=True)
    return _kept(given, shape)


def _indexed(given: Named, shape: tuple[int, ...]) -> Flow | None:
    """``x[:, index]``: the axes that are not indexed stay."""
    x, indices = given["self"], given["indices"]
    if not isinstance(x, Flow):
        return _table(given, shape)
    at = [a for a, index in enumerate(indices) if index is not None]
    new = len(shape) - (x.rank - len(at))
    kept = [x.axes[a] for a in range(x.rank) if a not in at]
    front = at[0] if at == list(range(at[0], at[-1] + 1)) else 0
    sources = axis_flow.sources(x.axes[at[0]]) if len(at) == 1 and new == 1 else frozenset()
    made = tuple((Atom(size, sources),) for size in shape[front : front + new])
    return Flow((*kept[:front], *made, *kept[front:]), x.picked)


def _joined(given: Named, shape: tuple[int, ...]) -> Flow | None:
    parts = given["tensors"]
    dim = given.get("dim", 0) % len(shape)
    flows = [part for part in parts if isinstance(part, Flow)]
    if any(flow.rank != len(shape) for flow in flows):
        return None
    if len(flows) == len(parts) > 1 and all(_size(flow.axes[dim]) == 1 for flow in flows):
        return axis_flow.stacked([axis_flow.without(flow, dim) for flow in flows], dim, shape)
    return axis_flow.aligned(flows, shape)


def _stacked(given: Named, shape: tuple[int, ...]) -> Flow | None:
    return axis_flow.stacked(
        [p if isinstance(p, Flow) else None for p in given["tensors"]], given.get("dim", 0) % len(shape), shape
    )


def _unfolded(given: Named, shape: tuple[int, ...]) -> Flow:
    x = given["self"]
    axis = given["dimension"] % x.rank
    return Flow((*x.axes, x.axes[axis]), x.picked)


def _linear(given: Named, shape: tuple[int, ...]) -> Flow | None:
    x = given["input"]
    return Flow(axis_flow.sized(x.axes, shape), x.picked) if isinstance(x, Flow) else None


def _matmul(given: Named, shape: tuple[int, ...]) -> Flow | None:
    """A product by a constant mixes one axis; of two it makes one of both."""
    a, b = _factors(given)
    if isinstance(a, Flow) and isinstance(b, Flow):
        return axis_flow.product(a, b, shape) if min(a.rank, b.rank) > 1 else None
    if isinstance(a, Flow) and a.rank == len(shape):
        return Flow(axis_flow.sized(a.axes, shape), a.picked)
    if isinstance(b, Flow) and b.rank == len(shape):
        return Flow(axis_flow.sized(b.axes, shape), b.picked)
    return None


def _factors(given: Named) -> tuple[Any, Any]:
    for names in (("mat1", "mat2"), ("batch1", "batch2"), ("self", "mat2"), ("self", "other")):
        if all(name in given for name in names):
            return given[names[0]], given[names[1]]
    return None, None


def _einsum(given: Named, shape: tuple[int, ...]) -> Flow | None:
    terms, result = _terms(given, len(shape))
    if terms is None:
        return None
    where: dict[str, list[Flow]] = {}
    for term, flow in zip(terms, given["tensors"], strict=True):
        for letter, axis in zip(term, flow.axes if isinstance(flow, Flow) else (), strict=False):
            where.setdefault(letter, []).append(Flow((axis,)))
    flows = [flow for flow in given["tensors"] if isinstance(flow, Flow)]
    contracted = frozenset().union(
        *(axis_flow.sources(f.axes[0]) for letter, found in where.items() if letter not in result for f in found)
    )
    axes = []
    for letter, size in zip(result, shape, strict=True):
        found = where.get(letter)
        if found is None and len(flows) == 1:  # the weight's own axis, in place of what was summed over
            axes.append((Atom(size, contracted),))
        else:
            axes.append(axis_flow.aligned(found or [Flow(((Atom(size),),))], (size,)).axes[0])
    return Flow(tuple(axes), axis_flow.merged(*(flow.picked for flow in flows)))


def _terms(given: Named, rank: int) -> tuple[list[str] | None, str]:
    """Letters of each factor of an einsum and of its result; None where it leaves some out."""
    equation = given["equation"].replace(" ", "")
    left, arrow, result = equation.partition("->")
    if not arrow or "." in equation or len(result) != rank:
        return None, ""
    return left.split(","), result


def _table(given: Named, shape: tuple[int, ...]) -> Flow | None:
    """Rows of a table by ids, in whichever way they are looked up."""
    ids = _ids(given)
    if not isinstance(ids, Flow):
        return None
    return axis_flow.with_new(ids, ids.rank, Atom(shape[-1])) if len(shape) == ids.rank + 1 else None


def _ids(given: Named) -> Any:
    """The ids of a look-up in a table that does not depend on the inputs; None where it is no such look-up."""
    if "num_classes" in given:
        return given["self"]
    table = given.get("weight", given.get("self"))
    ids = given.get("indices", given.get("index"))
    if isinstance(ids, (list, tuple)):  # table[ids]
        ids = ids[0] if len(ids) == 1 else None
    return None if isinstance(table, Flow) else ids


def _chosen(given: Named, shape: tuple[int, ...]) -> Flow | None:
    return _kept(given, shape) if isinstance(given["self"], Flow) else _table(given, shape)


def _attended(given: Named, shape: tuple[int, ...]) -> Flow | None:
    query, value = given["query"], given["value"]
    if not isinstance(query, Flow):
        return None
    return Flow((*query.axes[:-1], value.axes[-1] if isinstance(value, Flow) else query.axes[-1]), query.picked)


def _all_parts(given: Named, shapes: list[tuple[int, ...]]) -> list[Flow | None]:
    """``split`` and its like: parts of one axis, or ``unbind``: its positions."""
    x, dim = _first(given), given.get("dim", 0)
    if not isinstance(x, Flow):
        return [None] * len(shapes)
    if shapes and len(shapes[0]) < x.rank:
        return [axis_flow.picked(x, dim, i) for i in range(len(shapes))]
    if all(shape[dim] == 1 for shape in shapes) and len(shapes) > 1:
        return [axis_flow.picked(x, dim, i, keep=True) for i in range(len(shapes))]
    return [Flow(axis_flow.sized(x.axes, shape), x.picked) for shape in shapes]


def _all_kept(given: Named, shapes: list[tuple[int, ...]]) -> list[Flow | None]:
    return [_reduced(given, shape) if isinstance(_first(given), Flow) else None for shape in shapes]


def _recurrent(given: Named, shapes: list[tuple[int, ...]]) -> list[Flow | None]:
    """The output runs along the axes of the input; states are not followed."""
    x = given.get("input", given.get("data"))
    output = Flow(axis_flow.sized(x.axes, shapes[0]), x.picked) if isinstance(x, Flow) else None
    return [output, *[None] * (len(shapes) - 1)]


def _cell(given: Named, shape: tuple[int, ...]) -> Flow | None:
    x, hx = given["input"], given["hx"]
    both = [f for f in (x, *(hx if isinstance(hx, (list, tuple)) else [hx])) if isinstance(f, Flow)]
    units = axis_flow.sources(both[0].axes[-1]) if both else frozenset()
    whole = axis_flow.merged(*(f.picked for f in both))
    return Flow((*both[0].axes[:-1], (Atom(shape[-1], units),)), whole) if both else None


def _say_recurrent(given: Named, votes: Votes) -> None:
    x = given.get("input", given.get("data"))
    if isinstance(x, Flow):
        is_packed = "data" in given
        votes.say(x.axes[0 if is_packed or not given["batch_first"] else 1], "time")
        votes.say(x.axes[-1], "feature")
    states = given["hx"]
    for state in states if isinstance(states, (list, tuple)) else [states]:
        if isinstance(state, Flow) and state.rank == 3:
            votes.say(state.axes[0], "layer")
            votes.say(state.axes[-1], "unit")


def _say_cell(given: Named, votes: Votes) -> None:
    if isinstance(given["input"], Flow):
        votes.step(given["input"])


def _say_convolution(given: Named, votes: Votes) -> None:
    x, weight = given["input"], given.get("stride")
    is_of_one = isinstance(x, Flow) and weight is not None and len(weight) == 1
    if is_of_one:
        votes.say(x.axes[-1], "time")
        votes.say(x.axes[-2], "feature")


def _say_attention(given: Named, votes: Votes) -> None:
    for key in ("query", "key"):
        if isinstance(given[key], Flow) and given[key].rank > 1:
            votes.say_pairwise(given[key].axes[-2], given[key].axes[-1])


def _say_product(given: Named, votes: Votes) -> None:
    """Scores of every position with every other of one axis, as attention written by hand has them."""
    a, b = _factors(given)
    if isinstance(a, Flow) and isinstance(b, Flow) and min(a.rank, b.rank) > 1:
        rows, columns = axis_flow.sources(a.axes[-2]), axis_flow.sources(b.axes[-1])
        if rows and rows == columns:
            votes.say_pairwise(a.axes[-2], a.axes[-1])


def _say_einsum(given: Named, votes: Votes) -> None:
    factors = given["tensors"]
    if len(factors) != 2 or not all(isinstance(factor, Flow) for factor in factors):
        return
    terms, result = _terms(given, len(given["equation"].replace(" ", "").partition("->")[2]))
    if terms is None:
        return
    own = [{c: f.axes[at] for at, c in enumerate(term)} for term, f in zip(terms, factors, strict=True)]
    summed = [c for c in own[0] if c in own[1] and c not in result]
    for row in (c for c in own[0] if c not in own[1]):
        for column in (c for c in own[1] if c not in own[0]):
            same = axis_flow.sources(own[0][row])
            if summed and same and same == axis_flow.sources(own[1][column]):
                votes.say_pairwise(own[0][row], own[0][summed[-1]])


def _say_table(given: Named, votes: Votes) -> None:
    """Ids in a row are steps; a table of one axis after that of the samples."""
    ids = _ids(given)
    if isinstance(ids, Flow) and not ids.picked:
        others = [axis for axis in ids.axes if axis_flow.sources(axis) and not votes.is_sample(axis)]
        if len(others) == 1:
            votes.say(others[0], "time", sure=False)


def _say_running(given: Named, votes: Votes) -> None:
    if isinstance(given["self"], Flow):
        votes.say(given["self"].axes[given["dim"]], "time", sure=False)


_RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu")
_CELLS = ("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")
_CONVOLUTIONS = ("conv1d", "conv2d", "conv3d", "convolution", "conv_transpose1d", "conv_transpose2d")
_ATTENTION = "scaled_dot_product_attention"
_TABLES = ("embedding", "embedding_bag", "one_hot", "index", "index_select")
_PRODUCTS = ("matmul", "mm", "bmm", "addmm", "baddbmm", "addbmm")
_RUNNING = ("cumsum", "cumprod", "logcumsumexp")

_SAYING: dict[str, Callable[[Named, Votes], None]] = {
    **dict.fromkeys(_RECURRENT, _say_recurrent),
    **dict.fromkeys(_CELLS, _say_cell),
    **dict.fromkeys(_CONVOLUTIONS, _say_convolution),
    **dict.fromkeys(_PRODUCTS, _say_product),
    **dict.fromkeys(_TABLES, _say_table),
    **dict.fromkeys(_RUNNING, _say_running),
    _ATTENTION: _say_attention,
    "einsum": _say_einsum,
}
"""What says which axis is which."""

_CARRYING: dict[str, Carry] = {
    **dict.fromkeys(("view", "reshape", "_unsafe_view", "flatten", "unflatten", "view_as", "reshape_as"), _reshaped),
    **dict.fromkeys(("transpose", "swapaxes", "swapdims"), _transposed),
    **dict.fromkeys(("t", "numpy_T", "mT", "adjoint", "matrix_H"), _turned),
    **dict.fromkeys(("movedim", "moveaxis"), _moved),
    **dict.fromkeys(("expand", "expand_as", "broadcast_to"), _expanded),
    **dict.fromkeys(("cat", "concat", "concatenate"), _joined),
    **dict.fromkeys(("softmax", "log_softmax", "dropout", "feature_dropout", "alpha_dropout", "layer_norm"), _kept),
    **dict.fromkeys(("batch_norm", "group_norm", "instance_norm", "rms_norm", "flip", "roll", *_RUNNING), _kept),
    **dict.fromkeys(("contiguous", "clone", "to", "_to_copy", "alias", "detach", "triu", "tril", "type_as"), _kept),
    **dict.fromkeys(("float", "double", "long", "int", "repeat", "pad", "constant_pad_nd", "narrow", "sort"), _kept),
    **dict.fromkeys(("index_put", "index_copy", "index_fill", "index_add", "masked_scatter", "scatter"), _kept),
    **dict.fromkeys(("gather", "reflection_pad1d", "replication_pad1d", "repeat_interleave"), _kept),
    **dict.fromkeys(("glu", "normalize", "masked_fill", "upsample_nearest1d", "upsample_linear1d"), _kept),
    **{f"{kind}_pool{n}d": _kept for kind in ("max", "avg", "adaptive_avg", "adaptive_max", "lp") for n in (1, 2, 3)},
    **dict.fromkeys(_CONVOLUTIONS, _kept),
    **dict.fromkeys(("sum", "mean", "amax", "amin", "logsumexp", "prod", "std", "var", "norm", "nansum"), _reduced),
    **dict.fromkeys(("linalg_vector_norm", "all", "any", "max", "min", "argmax", "argmin"), _reduced),
    **dict.fromkeys(_PRODUCTS, _matmul),
    **dict.fromkeys(("embedding", "one_hot"), _table),
    **dict.fromkeys(("gru_cell", "rnn_tanh_cell", "rnn_relu_cell"), _cell),
    "permute": _permuted,
    "squeeze": _squeezed,
    "unsqueeze": lambda given, shape: axis_flow.with_new(given["self"], given["dim"]),
    "select": _selected,
    "slice": _sliced,
    "index": _indexed,
    "index_select": _chosen,
    "stack": _stacked,
    "unfold": _unfolded,
    "linear": _linear,
    "einsum": _einsum,
    _ATTENTION: _attended,
}
"""By operation, how the axes of its arguments become those of its result."""

_SEVERAL: dict[str, Callable[[Named, list[tuple[int, ...]]], list[Flow | None]]] = {
    **dict.fromkeys(("split", "chunk", "tensor_split", "unbind", "split_with_sizes", "unsafe_split"), _all_parts),
    **dict.fromkeys(_RECURRENT, _recurrent),
    **dict.fromkeys(("max", "min", "sort", "topk", "median", "cummax", "cummin", "native_layer_norm"), _all_kept),
    **dict.fromkeys(("max_pool1d_with_indices", "max_pool2d_with_indices", "native_batch_norm"), _all_kept),
    "lstm_cell": lambda given, shapes: [_cell(given, shape) for shape in shapes],
}
"""The same for operations with several results."""
