"""A `Plan` from a PyTorch model, and a PyTorch model from a `Plan`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from explain_core.backends.torch.capture import capture, private_copy
from explain_core.diagnostics.plan import Operation, Plan, obstacle
from explain_core.inputs import Arguments

_CELLS = {"lstm": "LSTM", "gru": "GRU", "rnn_tanh": "RNN", "rnn_relu": "RNN"}
_IDENTITY = ("alias", "clone", "contiguous", "detach", "dropout", "lift_fresh_copy", "to")


def describe(model: Any, arguments: Arguments) -> Plan:
    """What the model does with its first argument, recorded on these values.

    Raises:
        InputError: an operation has no counterpart, or the model is no chain.
    """
    module = model.module() if isinstance(model, torch.export.ExportedProgram) else model
    own = private_copy(module)
    leaves = [torch.from_numpy(np.array(leaf)) for leaf in arguments.leaves]

    def call(x: Tensor) -> Any:
        args, kwargs = arguments.rebuild([x, *leaves[1:]])
        return own(*args, **kwargs)

    graph = capture(own, call, [leaves[0]]).graph
    graph.graph.eliminate_dead_code()  # such as final states that are arranged and then not read
    return Plan(leaves[0].shape[1], leaves[0].shape[2], tuple(_Chain(graph, leaves[0]).follow()))


class _Chain(fx.Interpreter):
    """Runs a recorded graph, and writes down what is done to the input on the way; the rest are constants."""

    def __init__(self, graph: fx.GraphModule, x: Tensor) -> None:
        super().__init__(graph)
        self._x = x
        self._found: list[Operation] = []
        self._end: fx.Node | None = None  # the last node of the chain
        self._on_chain: set[fx.Node] = set()

    def follow(self) -> list[Operation]:
        with torch.no_grad():
            self.run(self._x)
        return self._found

    def run_node(self, node: fx.Node) -> Any:
        value = super().run_node(node)
        if node.op == "placeholder":
            self._advance(node)
        elif node.op == "call_function" and node.users:  # what nothing uses is not part of what the model does
            before = [other for other in node.all_input_nodes if other in self._on_chain]
            if before:
                if before != [self._end]:
                    raise obstacle(f"{_name(node)} takes a value from before the step ahead of it: the model branches")
                self._found += self._operations(node, before[0], value)
                self._advance(node)
        return value

    def _advance(self, node: fx.Node) -> None:
        self._end = node
        self._on_chain.add(node)

    def _operations(self, node: fx.Node, before: fx.Node, value: Any) -> list[Operation]:
        name = _name(node)
        args, kwargs = self.fetch_args_kwargs_from_env(node)
        at = node.args.index(before) if before in node.args else 0
        if name in _CELLS:
            return _recurrent(name, args)
        if name == "getitem":
            if args[1] != 0:
                raise obstacle("the final state of a recurrent layer is taken apart", where=before.name)
            return []
        if name in ("add", "sub", "mul", "div"):
            return [_affine(name, at, args, kwargs)]
        if name == "linear":
            weight, bias = args[1], args[2] if len(args) > 2 else None
            bias = torch.zeros(len(weight)) if bias is None else bias
            return [Operation("dense", weights={"weight": weight.numpy(), "bias": bias.numpy()})]
        if name in ("relu", "tanh", "sigmoid"):
            return [Operation(name)]
        if name in ("softmax", "_softmax") and args[1] in (-1, value.ndim - 1):
            return [Operation("softmax")]
        if name == "select" and args[0].ndim == 3 and args[1] == 1:
            return [Operation("pick", {"step": int(args[2]) % args[0].shape[1]})]
        if name == "gather" and args[0].ndim == 3 and args[1] == 1 and len(args[2].unique()) == 1:
            return [Operation("pick", {"step": int(args[2].flatten()[0])})]
        if name == "mean" and args[0].ndim == 3 and list(args[1]) == [1] and value.ndim == 2:
            return [Operation("mean")]
        same = value.shape == args[0].shape if name in ("slice", "expand", "view", "reshape") else False
        if name in _IDENTITY or same or (name == "squeeze" and self._found and self._found[-1].kind == "pick"):
            return []
        raise obstacle(f"the operation {name} has no counterpart in the other framework", where=node.name)


def _name(node: fx.Node) -> str:
    target = node.target
    return target.__name__.partition(".")[0] if hasattr(target, "__name__") else str(target)


def _recurrent(name: str, args: Any) -> list[Operation]:
    _, first, parameters, has_biases, layers, dropout, train, two_way, batch_first = args
    states = first if isinstance(first, (list, tuple)) else [first]
    if any(bool((state != 0).any()) for state in states):
        raise obstacle(f"{name} starts from other states than zeros")
    if not batch_first:
        raise obstacle(f"{name} has its timesteps first (batch_first=False)")
    if train and dropout:
        raise obstacle(f"{name} has its dropout left on")
    directions = 2 if two_way else 1
    per_direction = len(parameters) // (layers * directions)
    names = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if has_biases else [])]
    if per_direction != len(names):
        raise obstacle(f"{name} projects its hidden state (proj_size), which Keras' layers cannot")
    found = []
    options = {"cell": _CELLS[name], "activation": "relu" if name == "rnn_relu" else "tanh", "returns": "sequence"}
    for layer in range(layers):
        weights = {}
        for direction in range(directions):
            at = (layer * directions + direction) * per_direction
            suffix = "_l0_reverse" if direction else "_l0"
            for part, weight in zip(names, parameters[at : at + per_direction], strict=True):
                weights[part + suffix] = weight.detach().numpy()
        found.append(Operation("recurrent", options, weights))
    return found


def _affine(name: str, at: int, args: Any, kwargs: Any) -> Operation:
    if kwargs.get("alpha", 1) != 1 or kwargs.get("rounding_mode"):
        raise obstacle(f"{name} with {sorted(kwargs)}")
    other = torch.as_tensor(args[1 - at]).detach()
    if other.numel() > 1 and other.numel() != other.shape[-1]:
        raise obstacle(f"{name} with a constant of shape {tuple(other.shape)}, not one for each feature")
    other = other.reshape(-1).to(torch.float32)
    one, zero = torch.ones_like(other), torch.zeros_like(other)
    if name == "div" and at == 1:
        raise obstacle("something is divided by a value that depends on the input")
    scale, shift = {
        "add": (one, other),
        "sub": (one, -other) if at == 0 else (-one, other),
        "mul": (other, zero),
        "div": (1 / other, zero),
    }[name]
    return Operation("affine", weights={"scale": scale.numpy(), "shift": shift.numpy()})


class Chain(nn.Module):
    """A `Plan` in PyTorch: (N, T, F) to the result of its last operation."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan
        for place, operation in enumerate(plan.operations):
            if operation.kind == "recurrent":
                setattr(self, f"layer_{place}", _layer(operation))
            for name, array in operation.weights.items() if operation.kind != "recurrent" else ():
                self.register_buffer(f"{name}_{place}", torch.from_numpy(np.array(array)))

    def forward(self, x: Tensor) -> Tensor:
        for place, operation in enumerate(self.plan.operations):
            x = self._apply(place, operation, x)
        return x

    def _apply(self, place: int, operation: Operation, x: Tensor) -> Tensor:
        kind, options = operation.kind, operation.options
        if kind == "recurrent":
            out, last = getattr(self, f"layer_{place}")(x)
            last = last[0] if isinstance(last, tuple) else last
            return out if options["returns"] == "sequence" else torch.cat(tuple(last), -1)
        if kind == "affine":
            return x * getattr(self, f"scale_{place}") + getattr(self, f"shift_{place}")
        if kind == "dense":
            return nn.functional.linear(x, getattr(self, f"weight_{place}"), getattr(self, f"bias_{place}"))
        if kind == "pick":
            return x[:, options["step"]]
        if kind == "mean":
            return x.mean(1)
        return torch.softmax(x, -1) if kind == "softmax" else getattr(torch, kind)(x)


def _layer(operation: Operation) -> nn.RNNBase:
    weights = {name: torch.from_numpy(np.array(array)) for name, array in operation.weights.items()}
    kernel = weights["weight_ih_l0"]
    options: dict[str, Any] = {"bias": "bias_ih_l0" in weights, "bidirectional": operation.two_way}
    if operation.options["cell"] == "RNN":
        options["nonlinearity"] = operation.options["activation"]
    units = weights["weight_hh_l0"].shape[1]
    make = getattr(nn, operation.options["cell"])
    layer = make(kernel.shape[1], units, batch_first=True, dtype=kernel.dtype, **options)
    layer.load_state_dict(weights)
    return layer


def build(plan: Plan) -> nn.Module:
    """The plan as a module in evaluation mode."""
    return Chain(plan).eval()
