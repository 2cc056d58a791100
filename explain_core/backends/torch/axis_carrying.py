"""How operations carry the axes of their arguments to those of their results.

Of an operation that is not in these tables, what comes out is not followed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from explain_core.backends import axis_flow
from explain_core.backends.axis_flow import Atom, Flow

Named = dict[str, Any]
"""The arguments of an operation by name, with a `Flow` for each tensor that is followed."""

Carry = Callable[[Named, tuple[int, ...]], Flow | None]

RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu")
CELLS = ("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")
CONVOLUTIONS = ("conv1d", "conv2d", "conv3d", "convolution", "conv_transpose1d", "conv_transpose2d")
ATTENTION = "scaled_dot_product_attention"
TABLES = ("embedding", "embedding_bag", "one_hot", "index", "index_select")
PRODUCTS = ("matmul", "mm", "bmm", "addmm", "baddbmm", "addbmm")
RUNNING = ("cumsum", "cumprod", "logcumsumexp")


def _of(given: Named) -> list[Flow]:
    """The tensors among the arguments that are followed."""
    found = []
    for value in given.values():
        found += [v for v in (value if isinstance(value, (list, tuple)) else [value]) if isinstance(v, Flow)]
    return found


def _first(given: Named) -> Any:
    return next(iter(given.values()))


def elementwise(given: Named, shape: tuple[int, ...]) -> Flow:
    return axis_flow.aligned(_of(given), shape)


def _kept(given: Named, shape: tuple[int, ...]) -> Flow | None:
    """Axes that stay where they are, with other sizes."""
    x = _first(given)
    return axis_flow.kept(x, shape) if isinstance(x, Flow) and x.rank == len(shape) else None


def _reshaped(given: Named, shape: tuple[int, ...]) -> Flow | None:
    """In another shape, which may be that of a followed tensor (``view_as``) where the values are constants."""
    x = _first(given)
    return axis_flow.regrouped(x, shape) if isinstance(x, Flow) else None


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
    return axis_flow.turned(given["self"]) if given["self"].rank > 1 else given["self"]


def _squeezed(given: Named, shape: tuple[int, ...]) -> Flow:
    x = given["self"]
    dims = given.get("dim", range(x.rank))
    dims = [d % x.rank for d in (dims if isinstance(dims, (list, tuple, range)) else [dims])]
    sizes = [axis_flow.size(axis) for axis in x.axes]
    return Flow(tuple(axis for a, axis in enumerate(x.axes) if a not in dims or sizes[a] != 1), x.picked)


def _expanded(given: Named, shape: tuple[int, ...]) -> Flow | None:
    return axis_flow.aligned([given["self"]], shape) if isinstance(given["self"], Flow) else None


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
    return axis_flow.picked(x, dim, given["index"] % axis_flow.size(x.axes[dim]))


def _sliced(given: Named, shape: tuple[int, ...]) -> Flow | None:
    x, dim = given["self"], given["dim"]
    start, size = given.get("start") or 0, axis_flow.size(x.axes[dim])
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
    if len(flows) == len(parts) > 1 and all(axis_flow.size(flow.axes[dim]) == 1 for flow in flows):
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
    return axis_flow.kept(x, shape) if isinstance(x, Flow) else None


def _matmul(given: Named, shape: tuple[int, ...]) -> Flow | None:
    """A product by a constant mixes one axis; of two it makes one of both."""
    a, b = factors(given)
    if isinstance(a, Flow) and isinstance(b, Flow):
        return axis_flow.product(a, b, shape) if min(a.rank, b.rank) > 1 else None
    if isinstance(a, Flow) and a.rank == len(shape):
        return axis_flow.kept(a, shape)
    if isinstance(b, Flow) and b.rank == len(shape):
        return axis_flow.kept(b, shape)
    return None


def factors(given: Named) -> tuple[Any, Any]:
    for names in (("mat1", "mat2"), ("batch1", "batch2"), ("self", "mat2"), ("self", "other")):
        if all(name in given for name in names):
            return given[names[0]], given[names[1]]
    return None, None


def _einsum(given: Named, shape: tuple[int, ...]) -> Flow | None:
    terms = einsum_terms(given)
    if terms is None or len(terms[1]) != len(shape):
        return None
    flows = [flow if isinstance(flow, Flow) else None for flow in given["tensors"]]
    return axis_flow.contracted(*terms, flows, shape)


def einsum_terms(given: Named) -> tuple[list[str], str] | None:
    """Letters of each factor of an einsum and of its result; None where it leaves some out."""
    left, arrow, result = given["equation"].replace(" ", "").partition("->")
    return (left.split(","), result) if arrow and "." not in left else None


def _table(given: Named, shape: tuple[int, ...]) -> Flow | None:
    """Rows of a table by ids, in whichever way they are looked up."""
    ids = ids_of(given)
    if not isinstance(ids, Flow):
        return None
    return axis_flow.with_new(ids, ids.rank, Atom(shape[-1])) if len(shape) == ids.rank + 1 else None


def ids_of(given: Named) -> Any:
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
    return [axis_flow.kept(x, shape) for shape in shapes]


def _all_kept(given: Named, shapes: list[tuple[int, ...]]) -> list[Flow | None]:
    return [_reduced(given, shape) if isinstance(_first(given), Flow) else None for shape in shapes]


def _recurrent(given: Named, shapes: list[tuple[int, ...]]) -> list[Flow | None]:
    """The output runs along the axes of the input; states are not followed."""
    x = given.get("input", given.get("data"))
    output = axis_flow.kept(x, shapes[0]) if isinstance(x, Flow) else None
    return [output, *[None] * (len(shapes) - 1)]


def _cell(given: Named, shape: tuple[int, ...]) -> Flow | None:
    x, hx = given["input"], given["hx"]
    both = [f for f in (x, *(hx if isinstance(hx, (list, tuple)) else [hx])) if isinstance(f, Flow)]
    units = axis_flow.sources(both[0].axes[-1]) if both else frozenset()
    whole = axis_flow.merged(*(f.picked for f in both))
    return Flow((*both[0].axes[:-1], (Atom(shape[-1], units),)), whole) if both else None


CARRYING: dict[str, Carry] = {
    **dict.fromkeys(("view", "reshape", "_unsafe_view", "flatten", "unflatten", "view_as", "reshape_as"), _reshaped),
    **dict.fromkeys(("transpose", "swapaxes", "swapdims"), _transposed),
    **dict.fromkeys(("t", "numpy_T", "mT", "adjoint", "matrix_H"), _turned),
    **dict.fromkeys(("movedim", "moveaxis"), _moved),
    **dict.fromkeys(("expand", "expand_as", "broadcast_to"), _expanded),
    **dict.fromkeys(("cat", "concat", "concatenate"), _joined),
    **dict.fromkeys(("softmax", "log_softmax", "dropout", "feature_dropout", "alpha_dropout", "layer_norm"), _kept),
    **dict.fromkeys(("batch_norm", "group_norm", "instance_norm", "rms_norm", "flip", "roll", *RUNNING), _kept),
    **dict.fromkeys(("contiguous", "clone", "to", "_to_copy", "alias", "detach", "triu", "tril", "type_as"), _kept),
    **dict.fromkeys(("float", "double", "long", "int", "repeat", "pad", "constant_pad_nd", "narrow", "sort"), _kept),
    **dict.fromkeys(("index_put", "index_copy", "index_fill", "index_add", "masked_scatter", "scatter"), _kept),
    **dict.fromkeys(("gather", "reflection_pad1d", "replication_pad1d", "repeat_interleave"), _kept),
    **dict.fromkeys(("glu", "normalize", "masked_fill", "upsample_nearest1d", "upsample_linear1d"), _kept),
    **{f"{kind}_pool{n}d": _kept for kind in ("max", "avg", "adaptive_avg", "adaptive_max", "lp") for n in (1, 2, 3)},
    **dict.fromkeys(CONVOLUTIONS, _kept),
    **dict.fromkeys(("sum", "mean", "amax", "amin", "logsumexp", "prod", "std", "var", "norm", "nansum"), _reduced),
    **dict.fromkeys(("linalg_vector_norm", "all", "any", "max", "min", "argmax", "argmin"), _reduced),
    **dict.fromkeys(PRODUCTS, _matmul),
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
    ATTENTION: _attended,
}
"""By operation, how the axes of its arguments become those of its result."""

SEVERAL: dict[str, Callable[[Named, list[tuple[int, ...]]], list[Flow | None]]] = {
    **dict.fromkeys(("split", "chunk", "tensor_split", "unbind", "split_with_sizes", "unsafe_split"), _all_parts),
    **dict.fromkeys(RECURRENT, _recurrent),
    **dict.fromkeys(("max", "min", "sort", "topk", "median", "cummax", "cummin", "native_layer_norm"), _all_kept),
    **dict.fromkeys(("max_pool1d_with_indices", "max_pool2d_with_indices", "native_batch_norm"), _all_kept),
    "lstm_cell": lambda given, shapes: [_cell(given, shape) for shape in shapes],
}
"""The same for operations with several results."""
