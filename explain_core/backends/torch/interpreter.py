"""Walks a captured graph with pairs instead of tensors."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, fx
from torch._decomp import core_aten_decompositions
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from explain_core.backends.loop_book import Place as LoopPlace
from explain_core.backends.provenance import NEUTRAL
from explain_core.backends.torch import rules, scales
from explain_core.backends.torch.aliasing import Roots, mutated_roots, writes_elsewhere, writes_to_first_argument
from explain_core.backends.torch.compositions import cast
from explain_core.backends.torch.decisions import check, is_guard, memberwise, sidelined, source_of
from explain_core.backends.torch.ids import require_in_table, require_whole_members
from explain_core.backends.torch.infinities import Infinities
from explain_core.backends.torch.methods import METHODS, Method
from explain_core.backends.torch.pairs import Pair, each, is_pair, is_whole, pairs_in, pick
from explain_core.backends.torch.precision import in_one_order
from explain_core.backends.torch.recorder import Recorder
from explain_core.backends.torch.room import is_no_room
from explain_core.errors import CaptureError, UnsupportedOperation

_HINT = (
    "Give it a rule with explain_core.register_rule({name!r}, rule), or write this part of the model with "
    "operations that have one; docs/torch.md lists the kinds of rule."
)

HALF = (torch.float16, torch.bfloat16)


class PairOps:
    """Applies operations to pairs by their rules.

    Attributes:
        recorder: where recurrent layers write down what their gates did.
        packed_orders: for packed sequences by batch sizes, which sample each row is.
        method: the rules that it goes by.
        where: the module that the current operation is in; and ``place`` the call of a loop, if it is in one.
        cuts: where floats of an input become ids that are looked up, with the input's name.
        operation: what the current operation is called in the model's graph.
        divisors: where the baseline is divided by next to nothing.
        judges: whether guards are held against what is read now.
        infinities: those that come up in one member only, and what stands for them.
        own_states: whether the hidden states of recurrent layers have to come from PyTorch's own kernels.
    """

    def __init__(
        self,
        recorder: Recorder,
        layer_names: dict[int, str],
        packed_orders: dict[tuple[int, ...], tuple[int, ...]],
        method: Method = METHODS["paired"],
        infinities: Infinities | None = None,
    ) -> None:
        self.recorder = recorder
        self.method = method
        self.where = ""
        self.operation = ""
        self.divisors = scales.Divisors()
        self.judges = True
        self.own_states = False
        self.infinities = infinities or Infinities()
        self.place: LoopPlace | None = None
        self.packed_orders = packed_orders
        self.cuts: Mapping[fx.Node, str] = {}
        self._layer_names = layer_names
        self._unnamed: dict[int, str] = {}

    def __call__(self, op: Callable, *args: Any, **kwargs: Any) -> Any:
        """Apply ``op``; without a pair among the arguments that is the operation itself.

        Raises:
            UnsupportedOperation: there is no rule.
            OutsideTableError: an id is looked up that has no row.
        """
        require_in_table(op, args)
        if not pairs_in((args, kwargs)):
            with torch.no_grad():
                return op(*args, **kwargs)
        if not isinstance(op, torch._ops.OpOverload):
            raise UnsupportedOperation(f"{_name(op)} has no rule", hint=_HINT.format(name=_name(op)))
        rule = self.method.rule(op, self.where)
        ledger = self.recorder.ledger
        if ledger is None or not ledger.books(rule, op):
            return self._apply(rule, op, args, kwargs)
        return ledger.measure(rule, _name(op), self.place or self.where, partial(self._apply, rule, op), args, kwargs)

    def _apply(self, rule: rules.Rule | None, op: torch._ops.OpOverload, args: tuple, kwargs: dict) -> Any:
        if rule is None:
            return self._take_apart(op, args, kwargs)
        name = _name(op)
        self.divisors.look(name, self.where, self.operation or name, args)
        with in_one_order(op, pairs_in((args, kwargs))[0].test.device):
            result = rules.for_numbers(rule, op, (args, kwargs))(self, op, args, kwargs)
        scales.mark(rules.find_rule(op), name, args, kwargs, result)
        self.method.mark(op, result)
        return result

    def layer_name(self, weight: Tensor, kind: str, layer: int | None, two_way: bool, backwards: bool) -> str:
        """The name of one direction of one layer: module path, plus PyTorch's suffixes where there are several.

        A single-step cell keeps its name over calls; so do layers, whose further calls continue in time.
        """
        path = self._layer_names.get(id(weight))
        if not path:
            path = self._unnamed.setdefault(id(weight), f"{kind.lower()}{len(self._unnamed) or ''}")
        if layer is None and not two_way:
            return path
        return f"{path}.l{layer or 0}{'_reverse' if backwards else ''}"

    def _take_apart(self, op: torch._ops.OpOverload, args: tuple, kwargs: dict) -> Any:
        """Apply an operation that PyTorch defines through simpler ones, by the rules of those."""
        name = _name(op)
        missing = UnsupportedOperation(f"the operation {name} has no rule", hint=_HINT.format(name=name))
        paired = pairs_in((args, kwargs))

        def with_tests(*tests: Tensor) -> Any:
            given = iter(tests)
            call_args, call_kwargs = pytree.tree_map(
                lambda v: next(given) if isinstance(v, Pair) else v, (args, kwargs), is_leaf=is_pair
            )
            return op(*call_args, **call_kwargs)

        try:
            graph = make_fx(with_tests, decomposition_table=core_aten_decompositions())(
                *(p.test.detach() for p in paired)
            )
        except RuntimeError as error:
            raise missing from error
        inner = [node.target for node in graph.graph.nodes if node.op == "call_function"]
        if op in inner:
            raise missing
        return run_graph(graph, paired, self)


@cache
def _name(op: Any) -> str:
    if isinstance(op, torch._ops.OpOverload):
        overload = "" if op._overloadname == "default" else f".{op._overloadname}"
        return f"{op._schema.name.removeprefix('aten::')}{overload}"
    return getattr(op, "__name__", str(op))


@dataclass
class Place:
    """Where a run takes place, which may differ from where the model was captured.

    ``dtype`` replaces every floating dtype of the captured graph, or is None to leave all but half precision, whose
    rounding is larger than most attributions.
    """

    device: torch.device
    dtype: torch.dtype | None = None
    _moved: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def constant(self, value: Any) -> Any:
        """A constant of the graph, moved here once."""
        if not isinstance(value, Tensor):
            return value
        if id(value) not in self._moved:
            dtype = self._floating(value.dtype)
            self._moved[id(value)] = value, value.detach().to(device=self.device, dtype=dtype)
        return self._moved[id(value)][1]

    def arguments(self, values: Any) -> Any:
        """Devices and dtypes that were written into the graph."""
        return each(values, self._argument)

    def _argument(self, value: Any) -> Any:
        if isinstance(value, torch.device):
            return self.device
        return self._floating(value) if isinstance(value, torch.dtype) else value

    def _floating(self, dtype: torch.dtype) -> torch.dtype:
        """What floating and complex numbers become; other dtypes stay."""
        real = dtype.to_real() if dtype.is_complex else dtype
        if not real.is_floating_point:
            return dtype
        real = self.dtype or (torch.float32 if real in HALF else real)
        return real.to_complex() if dtype.is_complex else real


def run_graph(graph: fx.GraphModule, inputs: Sequence[Any], ops: PairOps, place: Place | None = None) -> Any:
    """Run a captured graph on pairs.

    Args:
        inputs: one `Pair` or tensor for each placeholder.
        place: where the run takes place; None for where the graph was captured.

    Returns:
        The graph's output, with pairs wherever it depends on the explained inputs.
    """
    known = _known_of(graph, tuple(map(is_pair, inputs)))
    roots, aside = known.roots, known.aside
    given = iter(inputs)
    ledger = ops.recorder.ledger
    if ledger is not None:
        ledger.overwrites |= bool(roots.memory)
    handed_on = ops.recorder.loops.leaving if ledger is not None else {}
    last_use = _last_uses(graph.graph, handed_on) if handed_on else known.last_use
    env: dict[fx.Node, Any] = {}
    value: Any
    written = scales.Written(roots.memory)
    for node in graph.graph.nodes:
        for state, of_call in handed_on.get(node, ()):
            assert ledger is not None
            env[state] = ledger.hand_on(env[state], of_call)
        if node.op == "placeholder":
            value = next(given)
        elif node.op == "get_attr":
            value = _attribute(graph, node.target)
            value = value if place is None else place.constant(value)
        elif node.op == "output":
            return fx.map_arg(node.args[0], env.__getitem__)
        elif node.target is operator.getitem and isinstance(env[node.args[0]], (list, tuple)):
            value = env[node.args[0]][node.args[1]]  # at once, for there may be as many as rows
        else:
            args, kwargs = fx.map_arg((node.args, _like_captured(node)), env.__getitem__)
            if not roots.changing.isdisjoint(node.all_input_nodes) and pairs_in((args, kwargs)):
                # The tape keeps what it is given, so that is not to change later.
                args, kwargs = fx.map_arg((node.args, _like_captured(node)), partial(_as_now, env, roots.changing))
            if place is not None:
                args, kwargs = place.arguments((args, kwargs))
            written.recall(node, env)
            if node in ops.cuts:
                require_whole_members(args[0], ops.cuts[node])
            if is_guard(node):
                if ops.judges:
                    check(node, args, kwargs, env.get(source_of(node)))
                value = None
            elif node in aside and pairs_in((args, kwargs)):
                value = memberwise(node.target, args, kwargs)
            elif node in roots.views and _is_discrete(args[0]) and _moves_nothing(node.target):
                value = _view(node.target, args, kwargs)
            else:
                # What a rule gives may lie otherwise in memory than what the model had, where nothing is written to it.
                is_free = node.target is torch.ops.aten.view.default and node not in roots.views
                value = _run_node(node, torch.ops.aten.reshape.default if is_free else node.target, args, kwargs, ops)
            if node in roots.splits and pairs_in(args):
                value = _single_views(args[0], value)
        if node in roots.paired and isinstance(value, Tensor):
            flow = value.double() if is_whole(value.dtype) else None
            value = Pair(value.clone(), value.clone(), flow, NEUTRAL)
            if ledger is not None:
                value = ledger.of_constant(value, module_path(node) or _name(node.target), pairs_in(inputs))
        elif node in roots.copied and isinstance(value, Tensor):
            value = value.clone()
        elif node.op == "placeholder" and node in roots.written:
            flow = None if value.flow is None else value.flow.clone()
            value = Pair(value.test.clone(), value.base.clone(), flow, value.scale)
        env[node] = value
        written.note(node, value)
        for done in last_use.get(node, ()):
            del env[done]
    raise CaptureError("the captured graph has no output")


@dataclass(frozen=True)
class _Known:
    """What a graph says of its runs before they begin.

    Attributes:
        aside: see `decisions.sidelined`; and ``last_use``, `_last_uses`, where nothing is handed on.
    """

    roots: Roots
    aside: Set[fx.Node]
    last_use: Mapping[fx.Node, list[fx.Node]]


def _known_of(graph: fx.GraphModule, explained: tuple[bool, ...]) -> _Known:
    """Found once for a graph, with which it is kept; ``explained`` says which placeholders are pairs."""
    before = graph.meta.setdefault("pairlift runs", {})
    if explained not in before:
        roots = mutated_roots(graph.graph, list(explained))
        before[explained] = _Known(roots, sidelined(graph.graph), _last_uses(graph.graph, {}))
    return before[explained]


def _as_now(env: Mapping[fx.Node, Any], changing: Set[fx.Node], node: fx.Node) -> Any:
    value = env[node]
    return value.clone() if node in changing and isinstance(value, Tensor) else value


def _last_uses(graph: fx.Graph, handed_on: Mapping[fx.Node, list]) -> dict[fx.Node, list[fx.Node]]:
    """Which values are no longer needed after each node; see `loops.Loops.leaving`."""
    last: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        more = [state for state, _ in handed_on.get(node, ())]
        if is_guard(node) and (source := source_of(node)) is not None:
            more.append(source)
        for source in (*more, *node.all_input_nodes):
            last[source] = node
    uses: dict[fx.Node, list[fx.Node]] = {}
    for source, node in last.items():
        uses.setdefault(node, []).append(source)
    return uses


def _attribute(module: Any, path: str) -> Any:
    for part in path.split("."):
        module = getattr(module, part)
    return module


# torch.no_grad() in the model must not cut attributions, nor autocast round them.
_MODES = ("_set_grad_enabled", "_enter_autocast", "_exit_autocast")


def _run_node(node: fx.Node, op: Any, args: tuple, kwargs: dict, ops: PairOps) -> Any:
    ops.where, ops.place = module_path(node), ops.recorder.loops.places.get(node)
    ops.operation = _name(op)
    try:
        if op is operator.getitem:
            return args[0][args[1]]
        if getattr(op, "__name__", "") in _MODES:
            return None
        if isinstance(op, torch._ops.OpOverload):
            if torch.Tag.nondeterministic_seeded in op.tags and rules.find_rule(op) is None:
                raise UnsupportedOperation(
                    f"{_name(op)} draws random numbers, so the model answers differently each time",
                    hint="Take the randomness out of forward, for example by starting from zero states, or seed a "
                    "torch.Generator in forward.",
                )
            if writes_to_first_argument(op) and pairs_in((args, kwargs)):
                return _write(op, args, kwargs, ops)
            if writes_elsewhere(op) and pairs_in((args, kwargs)):
                raise UnsupportedOperation(
                    f"{_name(op)} writes its result into a tensor that it is given",
                    hint="Leave out out=, and use the result.",
                )
        return ops(op, *_settled(args), **_settled(kwargs))
    except RuntimeError as error:
        if is_no_room(error):
            raise
        if re.search(
            r"shapes cannot be multiplied|must match the size|must be equal to|[Ee]xpected .*, but got", str(error)
        ):
            raise CaptureError(
                f"the operation {_name(op)} fails on these inputs: {str(error).splitlines()[0]}",
                where=module_path(node),
                hint="Check that each input and baseline has the shape that the model was made for.",
            ) from error
        raise UnsupportedOperation(
            f"the operation {_name(op)} cannot be followed on pairs: {str(error).splitlines()[0]}",
            where=module_path(node),
            hint=_HINT.format(name=_name(op)),
        ) from error
    except UnsupportedOperation as error:
        if error.where:
            raise
        raise UnsupportedOperation(
            error.what if _name(op) in error.what else f"{error.what} (operation {_name(op)})",
            where=module_path(node),
            hint=error.hint or _HINT.format(name=_name(op)),
        ) from error.__cause__


def _like_captured(node: fx.Node) -> dict:
    """The node's keywords; a tensor made from nothing gets the dtype that was the default at capture."""
    kwargs = dict(node.kwargs)
    if isinstance(node.target, torch._ops.OpOverload) and not node.all_input_nodes and "dtype" not in kwargs:
        takes_dtype = any(argument.name == "dtype" for argument in node.target._schema.arguments)
        value = node.meta.get("val")
        if takes_dtype and isinstance(value, Tensor):
            kwargs["dtype"] = value.dtype
    return kwargs


def module_path(node: fx.Node) -> str:
    """The path of the module that a node came from, as ``named_modules`` has it."""
    return (node.meta.get("custom") or {}).get("module", "")


def _is_discrete(value: Any) -> bool:
    return is_pair(value) and not value.is_float


def _moves_nothing(op: Any) -> bool:
    return isinstance(op, torch._ops.OpOverload) and isinstance(rules.find_rule(op), rules.Linear)


def _view(op: Callable, args: tuple, kwargs: dict) -> Any:
    """A view of whole numbers that are written to: it stays a pair where they agree, with a view of their flow."""
    whole, *rest = args
    test, base = op(whole.test, *rest, **kwargs), op(whole.base, *rest, **kwargs)
    flow = None if whole.flow is None else op(whole.flow, *rest, **kwargs)
    if isinstance(test, Tensor):
        return Pair(test, base, flow, whole.scale)
    flows = flow or [None] * len(test)
    return tuple(Pair(t, b, f, whole.scale) for t, b, f in zip(test, base, flows, strict=True))


def _settled(values: Any) -> Any:
    """Whole numbers that stayed a pair because they are written to: a plain tensor where the members agree."""

    def settled(pair: Pair) -> Pair | Tensor:
        is_kept = pair.is_float or pair.base is pair.test or not torch.equal(pair.test, pair.base)
        return pair if is_kept else pair.test

    return pick(values, settled)


def _single_views(whole: Pair, parts: Sequence[Pair]) -> tuple[Pair, ...]:
    """The parts of ``split`` and its like as views one by one, which PyTorch allows to be written to."""

    def single(of: Tensor, part: Tensor) -> Tensor:
        return of.as_strided(part.shape, part.stride(), part.storage_offset())

    flows = [None if whole.flow is None or p.flow is None else single(whole.flow, p.flow) for p in parts]
    return tuple(Pair(single(whole.test, p.test), p.base, f, p.scale) for p, f in zip(parts, flows, strict=True))


def _out_of_place(op: torch._ops.OpOverload) -> torch._ops.OpOverload:
    """The twin of an in-place operation that takes the same arguments; its overload may have another name."""
    namespace, _, name = op._schema.name.removesuffix("_").partition("::")
    packet = getattr(getattr(torch.ops, namespace), name, None)
    types = [str(argument.type) for argument in op._schema.arguments]
    for overload in packet.overloads() if packet is not None else ():
        twin = getattr(packet, overload)
        if [str(argument.type) for argument in twin._schema.arguments] == types:
            return twin
    raise UnsupportedOperation(f"the in-place operation {_name(op)} has no out-of-place twin to take the rule of")


def _write(op: torch._ops.OpOverload, args: tuple, kwargs: dict, ops: PairOps) -> Pair:
    """An in-place operation: the result of its out-of-place twin, written into both members.

    The rules keep secants and means rather than the tensors they came from, so nothing they need is overwritten.
    """
    target = args[0]
    if not isinstance(target, Pair):
        raise CaptureError(f"{_name(op)} writes into a tensor that the capture could not follow")
    result = ops(_out_of_place(op), *_settled(args), **_settled(kwargs))
    if is_pair(result) and result.is_float and not target.is_float:
        result = cast(ops, result, target.test.dtype)
    if not is_pair(result):
        result = torch.as_tensor(result, dtype=target.test.dtype, device=target.test.device)
        result = Pair(result, result, None if target.is_float else result.double(), NEUTRAL)
    if target.is_float:
        target.test.copy_(result.tape)
    else:
        if target.flow is None or result.flow is None:
            raise UnsupportedOperation(
                "a position or a rounded number that differs between the input and the baseline is written here, and "
                "no rule says how to attribute it",
                hint="Choose a baseline for which it is the same.",
            )
        target.flow.copy_(result.flow)
        target.test.copy_(result.test.detach())
    with torch.no_grad():
        target.base.copy_(result.base)
    target.scale = result.kind
    return target
