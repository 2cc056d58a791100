"""Which axis of each input is time and which is the feature, as far as the captured graph says."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from explain_core.backends import axis_flow
from explain_core.backends.axis_flow import Flow, Votes
from explain_core.backends.torch.axis_carrying import (
    ATTENTION,
    CARRYING,
    CELLS,
    CONVOLUTIONS,
    PRODUCTS,
    RECURRENT,
    RUNNING,
    SEVERAL,
    TABLES,
    Named,
    einsum_terms,
    elementwise,
    factors,
    ids_of,
)

_OTHER = object()
"""Stands for a tensor that is not followed."""


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
        carry = SEVERAL.get(name)
        return carry(followed, [tuple(v.shape) if isinstance(v, Tensor) else () for v in value]) if carry else None
    if not isinstance(value, Tensor):
        return None
    shape = tuple(value.shape)
    is_elementwise = torch.Tag.pointwise in node.target.tags or name in _LINEAR or name in _UNTAGGED
    carry = CARRYING.get(name) or (elementwise if is_elementwise else None)
    found = None if carry is None else carry(followed, shape)
    if found is None or found.rank != len(shape):
        return None
    if carry is elementwise and name not in _LINEAR:
        votes.combined(found)
    found = axis_flow.kept(found, shape)
    if schema.name.endswith("_") and not flows.get(node.args[0]):
        _written(node.args[0], found, flows)
    return found


def _written(view: fx.Node, flow: Flow, flows: dict[fx.Node, Any]) -> None:
    """What is written into a part of a tensor that was made for it: the whole has those axes from then on."""
    flows[view] = flow
    while view.op == "call_function" and getattr(view.target, "overloadpacket", None) is torch.ops.aten.slice:
        view = view.args[0]
        flows[view] = flow = axis_flow.kept(flow, tuple(view.meta["val"].shape))


_LINEAR = ("add", "sub", "rsub", "subtract", "neg", "negative", "copy", "where")
_UNTAGGED = (
    *("multiply", "divide", "true_divide", "floor_divide", "prelu", "log_sigmoid", "hardswish", "absolute", "arctan"),
    *("special_expit", "special_log_softmax", "clip", "float_power", "square", "fix"),
)
"""Elementwise operations that PyTorch composes of others, and so does not mark as such."""


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
    a, b = factors(given)
    if isinstance(a, Flow) and isinstance(b, Flow) and min(a.rank, b.rank) > 1:
        votes.say_scores(a, b)


def _say_einsum(given: Named, votes: Votes) -> None:
    flows, terms = given["tensors"], einsum_terms(given)
    if terms is not None and len(flows) == 2 and all(isinstance(flow, Flow) for flow in flows):
        votes.say_contracted(*terms, flows)


def _say_table(given: Named, votes: Votes) -> None:
    ids = ids_of(given)
    if isinstance(ids, Flow):
        votes.say_ids(ids)


def _say_running(given: Named, votes: Votes) -> None:
    if isinstance(given["self"], Flow):
        votes.say(given["self"].axes[given["dim"]], "time", sure=False)


_SAYING: dict[str, Callable[[Named, Votes], None]] = {
    **dict.fromkeys(RECURRENT, _say_recurrent),
    **dict.fromkeys(CELLS, _say_cell),
    **dict.fromkeys(CONVOLUTIONS, _say_convolution),
    **dict.fromkeys(PRODUCTS, _say_product),
    **dict.fromkeys(TABLES, _say_table),
    **dict.fromkeys(RUNNING, _say_running),
    ATTENTION: _say_attention,
    "einsum": _say_einsum,
}
"""What says which axis is which."""
