"""A `Blueprint` from a PyTorch model, and a PyTorch model from a `Blueprint`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from explain_core.backends.torch.capture import capture, private_copy
from explain_core.backends.torch.one_at_a_time import one_at_a_time
from explain_core.diagnostics.blueprint import Blueprint, Operation, obstacle
from explain_core.preparation.inputs import Arguments

_CELLS = {"lstm": "LSTM", "gru": "GRU", "rnn_tanh": "RNN", "rnn_relu": "RNN"}
_IDENTITY = ("alias", "clone", "contiguous", "detach", "dropout", "feature_dropout", "lift_fresh_copy", "to")


def describe(model: Any, arguments: Arguments) -> Blueprint:
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

    if leaves[0].ndim != (3 if leaves[0].is_floating_point() else 2):
        raise obstacle(f"its input has the shape {tuple(leaves[0].shape)}, not (sample, time, feature) or token ids")
    with one_at_a_time():
        graph = capture(own, call, [leaves[0]]).graph
    graph.graph.eliminate_dead_code()  # such as final states that are arranged and then not read
    _, steps, *features = leaves[0].shape
    return Blueprint(steps, features[0] if features else None, tuple(_Chain(graph, leaves[0]).follow()))


class _Chain(fx.Interpreter):
    """Runs a recorded graph, and writes down what is done to the input on the way; the rest are constants.

    Convolutions and their like have features before timesteps, so a model turns the axes round for them; operations are
    then the same on the other axis.
    """

    def __init__(self, graph: fx.GraphModule, x: Tensor) -> None:
        super().__init__(graph)
        self._x = x
        self._found: list[Operation] = []
        self._end: fx.Node | None = None  # the last node of the chain
        self._on_chain: set[fx.Node] = set()
        self._features_first = False
        self._last_states: dict[fx.Node, int] = {}  # final states of one direction, counted from the end

    def follow(self) -> list[Operation]:
        with torch.no_grad():
            self.run(self._x)
        if self._features_first:
            raise obstacle("its output has the features before the timesteps")
        return self._found

    def run_node(self, node: fx.Node) -> Any:
        value = super().run_node(node)
        if node.op == "placeholder":
            self._advance(node)
        elif node.op == "call_function" and node.users:  # what nothing uses is not part of what the model does
            before = [other for other in node.all_input_nodes if other in self._on_chain]
            if before and not self._final_states(node, before):
                if before[-1] in self._last_states:
                    raise obstacle("one layer's or direction's final state is read alone", where=node.name)
                if before != [self._end]:
                    raise obstacle(f"{_name(node)} takes a value from before the step ahead of it: the model branches")
                self._found += self._operations(node, before[0], value)
                self._advance(node)
        return value

    def _advance(self, node: fx.Node) -> None:
        self._end = node
        self._on_chain.add(node)

    def _final_states(self, node: fx.Node, before: list[fx.Node]) -> bool:
        """Follow what is done to the final states of a recurrent layer: one of them, or those of both directions.

        Raises:
            InputError: they are taken apart in another way.
        """
        name, source = _name(node), before[0]
        if name == "getitem" and _name(source) in _CELLS and node.args[1] != 0:
            if node.args[1] != 1 or source is not self._end:
                raise obstacle("more than the hidden states of a recurrent layer is read", where=source.name)
        elif name in ("select", "squeeze") and self._is_final(source) and node.args[1:2] == (0,):
            count = len(self.env[source])
            direction = int(node.args[2]) % count if name == "select" else count - 1
            if name == "squeeze" and count > 1:
                raise obstacle("the final states of a recurrent layer are taken apart", where=source.name)
            if not self._found[-1].two_way and direction == count - 1:
                self._read_final()
            else:
                self._last_states[node] = direction - count
        elif name == "cat" and any(state in self._last_states for state in before):
            given, axis = node.args[0], node.args[1] if len(node.args) > 1 else 0
            if [self._last_states.get(state) for state in given] != [-2, -1] or axis not in (1, -1):
                raise obstacle("the final states of a recurrent layer are taken apart", where=node.name)
            self._read_final()
            self._last_states.clear()
        else:
            return False
        self._advance(node)
        return True

    def _is_final(self, node: fx.Node) -> bool:
        """Whether a node is the final hidden states of the last recurrent layer."""
        return _name(node) == "getitem" and _name(node.args[0]) in _CELLS and node.args[1] == 1

    def _read_final(self) -> None:
        """From the last recurrent layer on only the state is taken that each direction ends in."""
        last = self._found.pop()
        self._found.append(replace(last, options={**last.options, "returns": "final"}))

    def _operations(self, node: fx.Node, before: fx.Node, value: Any) -> list[Operation]:
        name = _name(node)
        args, kwargs = self.fetch_args_kwargs_from_env(node)
        at = node.args.index(before) if before in node.args else 0
        given = args[at] if isinstance(args[at], Tensor) else None
        time = 2 if self._features_first else 1
        over_time = given is not None and given.ndim == 3
        if name == "getitem" and args[1] == 0:
            return []
        if given is not None and self._is_turned(name, args, given):
            self._features_first = not self._features_first
            return []
        if name in ("add", "sub", "mul", "div") and not (self._features_first and torch.as_tensor(args[1 - at]).ndim):
            return [_affine(name, at, args, kwargs)]
        if name in _FUNCTIONS and not (self._features_first and name.endswith("softmax")):
            return [_function(name, args, kwargs, value)]
        whole = self._whole(name, args, given, value, time) if given is not None and over_time else None
        if whole is not None:
            return whole
        if self._features_first or (name == "batch_norm" and not over_time):
            found = _of_features_first(name, args)
        else:
            found = _of_features_last(name, args, over_time, value)
        if found is not None:
            return found
        may_keep = given is not None and name in ("slice", "expand", "view", "reshape")
        if name in _IDENTITY or (may_keep and value.shape == given.shape):
            return []
        raise obstacle(f"the operation {name} has no counterpart in the other framework", where=node.name)

    def _whole(self, name: str, args: Any, given: Tensor, value: Any, time: int) -> list[Operation] | None:
        """Operations that take the time axis away from (N, T, F) or (N, F, T), which may leave one position of it."""
        result = value[0] if isinstance(value, tuple) else value
        was_reduced = bool(self._found) and self._found[-1].kind in ("pick", "max", "mean") and given.shape[time] == 1
        if was_reduced and result.shape == (len(given), given[0].numel()):
            self._features_first = False
            return []
        if name == "select" and args[1] % 3 == time:
            self._features_first = False
            return [Operation("pick", {"step": int(args[2]) % given.shape[time]})]
        if name == "gather" and args[1] == 1 and not self._features_first and len(args[2].unique()) == 1:
            return [Operation("pick", {"step": int(args[2].flatten()[0])})]
        if self._reduces(name, args, given.shape[time], time) and (self._features_first or result.ndim == 2):
            self._features_first = self._features_first and result.ndim == 3
            return [Operation("max" if "max" in name else "mean")]
        return None

    @staticmethod
    def _is_turned(name: str, args: Any, given: Tensor) -> bool:
        """Whether an operation swaps timesteps and features."""
        if name == "permute":
            return [axis % 3 for axis in args[1]] == [0, 2, 1] if given.ndim == 3 else False
        if name == "transpose":
            return given.ndim == 3 and {axis % 3 for axis in args[1:3]} == {1, 2}
        return name in ("mT", "adjoint") and given.ndim == 3

    @staticmethod
    def _reduces(name: str, args: Any, steps: int, time: int) -> bool:
        """Whether an operation takes the mean or the largest of all timesteps."""
        if name in ("mean", "amax", "max"):
            axes = args[1] if len(args) > 1 else ()
            return [axis % 3 for axis in ([axes] if isinstance(axes, int) else axes)] == [time]
        if time == 2 and name in ("adaptive_max_pool1d", "adaptive_avg_pool1d"):
            return list(args[1]) == [1]
        return time == 2 and name == "max_pool1d" and list(args[1]) == [steps] and len(args) < 4


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


_FUNCTIONS = {
    **{name: name for name in ("relu", "tanh", "sigmoid", "elu", "selu", "silu", "softplus", "gelu", "leaky_relu")},
    **{name: name for name in ("mish", "log_sigmoid", "softmax", "log_softmax")},
    "_softmax": "softmax",
    "hardsigmoid": "hard_sigmoid",
    "hardswish": "hard_silu",
    "hardtanh": "relu6",
}
"""Functions of `ACTIVATIONS` by their name here."""


def _function(name: str, args: Any, kwargs: Any, value: Tensor) -> Operation:
    """An activation, if its options are ones that both frameworks have."""
    options: dict[str, Any] = {}
    plain = True
    if name == "hardtanh":
        plain = list(args[1:3]) == [0.0, 6.0]
    elif name == "softplus":
        plain = list(args[1:]) in ([], [1.0], [1.0, 20.0])
    elif name == "elu":
        options = {"alpha": float(args[1]) if len(args) > 1 else 1.0}
        plain = len(args) < 3
    elif name == "leaky_relu":
        options = {"negative_slope": float(args[1]) if len(args) > 1 else 0.01}
    elif name == "gelu":
        options = {"approximate": kwargs.get("approximate", "none") == "tanh"}
    elif name.endswith("softmax"):
        plain = args[1] in (-1, value.ndim - 1)
    if not plain:
        raise obstacle(f"{name} with {list(args[1:])} has no counterpart in the other framework")
    return Operation(_FUNCTIONS[name], options)


def _of_features_last(name: str, args: Any, over_time: bool, value: Any) -> list[Operation] | None:
    """Operations on (N, T, F) or (N, F); None where there is no counterpart."""
    if name in _CELLS:
        return _recurrent(name, args)
    if name == "linear":
        weight, bias = args[1], args[2] if len(args) > 2 else None
        bias = torch.zeros(len(weight)) if bias is None else bias
        return [Operation("dense", weights={"weight": weight.numpy(), "bias": bias.numpy()})]
    if name == "embedding" and not (len(args) > 3 and args[3]):
        return [Operation("embedding", weights={"table": args[0].numpy()})]
    if name == "layer_norm" and len(args[1]) == 1:
        left_out: tuple[Any, ...] = (None, None, 1e-5)
        _, _, scale, shift, epsilon = (*args, *left_out[len(args) - 2 :])[:5]
        scale = torch.ones(args[1]) if scale is None else scale
        shift = torch.zeros(args[1]) if shift is None else shift
        return [Operation("norm", {"epsilon": float(epsilon)}, {"scale": scale.numpy(), "shift": shift.numpy()})]
    if name in ("flatten", "view", "reshape") and over_time and value.shape == (len(args[0]), args[0][0].numel()):
        return [Operation("flatten")]
    return None


def _of_features_first(name: str, args: Any) -> list[Operation] | None:
    """Operations on (N, F, T), and batch normalisation of (N, F); None where there is no counterpart."""
    if name == "batch_norm":
        _, scale, shift, mean, variance, training, _, epsilon, _ = args
        if training:
            raise obstacle("batch normalisation is left in training mode")
        scale = (torch.ones_like(variance) if scale is None else scale) / torch.sqrt(variance + epsilon)
        shift = (0 if shift is None else shift) - mean * scale
        return [Operation("affine", weights={"scale": scale.numpy(), "shift": shift.numpy()})]
    if name == "conv1d":
        left_out: tuple[Any, ...] = (None, [1], [0], [1], 1)
        _, weight, bias, stride, padding, dilation, groups = (*args, *left_out[len(args) - 2 :])[:7]
        reach = (weight.shape[-1] - 1) * dilation[0]
        if padding in ("same", "valid"):
            before = reach // 2 if padding == "same" else 0
            sides = [before, reach - before if padding == "same" else 0]
        else:
            sides = [int(padding[0])] * 2
        options = {"stride": int(stride[0]), "padding": sides, "dilation": int(dilation[0]), "groups": int(groups)}
        bias = torch.zeros(len(weight)) if bias is None else bias
        return [Operation("conv", options, {"weight": weight.numpy(), "bias": bias.numpy()})]
    if name in ("max_pool1d", "avg_pool1d") and not any(_sizes(args[3:4])):
        (size,), (stride,) = args[1], args[2] if len(args) > 2 and args[2] else args[1]
        if len(args) > 4:
            raise obstacle(f"{name} with further options than size and stride")
        return [Operation("pool", {"size": int(size), "stride": int(stride), "how": name[:3].replace("avg", "mean")})]
    return None


def _sizes(padding: Any) -> list[int]:
    return [int(size) for sizes in padding for size in (sizes if isinstance(sizes, (list, tuple)) else [sizes])]


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
    """A `Blueprint` in PyTorch: (N, T, F) to the result of its last operation."""

    def __init__(self, blueprint: Blueprint) -> None:
        super().__init__()
        self.blueprint = blueprint
        for place, operation in enumerate(blueprint.operations):
            if operation.kind == "recurrent":
                setattr(self, f"layer_{place}", _layer(operation))
            for name, array in operation.weights.items() if operation.kind != "recurrent" else ():
                self.register_buffer(f"{name}_{place}", torch.from_numpy(np.array(array)))

    def forward(self, x: Tensor) -> Tensor:
        for place, operation in enumerate(self.blueprint.operations):
            x = self._result(place, operation, x)
        return x

    def _result(self, place: int, operation: Operation, x: Tensor) -> Tensor:
        kind, options = operation.kind, operation.options
        if kind == "recurrent":
            out, last = getattr(self, f"layer_{place}")(x)
            last = last[0] if isinstance(last, tuple) else last
            return out if options["returns"] == "sequence" else torch.cat(tuple(last), -1)
        if kind == "affine":
            return x * getattr(self, f"scale_{place}") + getattr(self, f"shift_{place}")
        if kind == "dense":
            return nn.functional.linear(x, getattr(self, f"weight_{place}"), getattr(self, f"bias_{place}"))
        if kind == "embedding":
            return nn.functional.embedding(x, getattr(self, f"table_{place}"))
        if kind == "conv":
            weight, bias = getattr(self, f"weight_{place}"), getattr(self, f"bias_{place}")
            x = nn.functional.pad(x.transpose(1, 2), options["padding"])
            further = options["stride"], 0, options["dilation"], options["groups"]
            return nn.functional.conv1d(x, weight, bias, *further).transpose(1, 2)
        if kind == "norm":
            scale, shift = getattr(self, f"scale_{place}"), getattr(self, f"shift_{place}")
            return nn.functional.layer_norm(x, scale.shape, scale, shift, options["epsilon"])
        if kind == "pool":
            pool = nn.functional.max_pool1d if options["how"] == "max" else nn.functional.avg_pool1d
            return pool(x.transpose(1, 2), options["size"], options["stride"]).transpose(1, 2)
        if kind == "pick":
            return x[:, options["step"]]
        if kind in ("mean", "max"):
            return x.mean(1) if kind == "mean" else x.amax(1)
        if kind == "flatten":
            return x.flatten(1)
        applied = _APPLIED.get(kind) or getattr(nn.functional, kind.replace("hard_", "hard"))
        return applied(x, **_named(options))


_APPLIED = {
    "softmax": lambda x: torch.softmax(x, -1),
    "log_softmax": lambda x: torch.log_softmax(x, -1),
    "log_sigmoid": nn.functional.logsigmoid,
    "hard_silu": nn.functional.hardswish,
}


def _named(options: dict[str, Any]) -> dict[str, Any]:
    """Options of an activation as PyTorch calls them."""
    exact = {True: "tanh", False: "none"}
    return {name: exact[value] if name == "approximate" else value for name, value in options.items()}


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


def build(blueprint: Blueprint) -> nn.Module:
    """The blueprint as a module in evaluation mode."""
    return Chain(blueprint).eval()
