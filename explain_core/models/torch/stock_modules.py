"""Whole pickled models of stock ``torch.nn`` classes, built anew from what the file says of them.

What was unpickled is never used as a module: its attributes could shadow methods, or hold other things than the class
would put there. A fresh module is constructed from checked attributes, gets the file's tensors, and must then agree
with every plain attribute in the file.
"""

from __future__ import annotations

import inspect
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from explain_core.errors import ModelFileError
from explain_core.models.hints import EXPORT_HINT
from explain_core.models.torch.checkpoint import has_values
from explain_core.models.torch.inert import FUNCTIONS, STOCK_MODULES, Recorded, is_module

WRAPPERS = ("torch.nn.parallel.data_parallel.DataParallel", "torch.nn.parallel.distributed.DistributedDataParallel")
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")  # the ones that change what a module computes
_COUNTER = "num_batches_tracked"
_MOST_MODULES = 10_000
_DEEPEST = 50
_RECURRENT = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional")
_MORE_ARGUMENTS: dict[type[nn.Module], tuple[str, ...]] = {
    nn.LSTM: (*_RECURRENT, "proj_size"),
    nn.GRU: _RECURRENT,
    nn.RNN: (*_RECURRENT, "nonlinearity"),
}
_BUILDING_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)


def build(value: Recorded, where: str) -> nn.Module:
    """The module that was pickled, in evaluation mode.

    Raises:
        ModelFileError: names the module and what of it is not as its class makes it.
    """
    if value.path in WRAPPERS:
        value = part(value, "_modules").get("module", value)
    module = _Builder(where).build(value, "")
    if isinstance(module, (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)):
        raise ModelFileError(
            f"The file holds a pickled {type(module).__name__}: parts of a model, without what connects them.",
            where=where,
            hint=EXPORT_HINT,
        )
    return module.eval()


def part(value: Recorded, name: str) -> dict[str, Any]:
    """One of a module's own tables (``_modules``, ``_parameters``, ``_buffers``) without its empty places."""
    found = value.attributes.get(name)
    if not isinstance(found, Mapping):
        return {}
    return {str(key): item for key, item in found.items() if item is not None}


class _Builder:
    def __init__(self, where: str) -> None:
        self._where = where
        self._left = _MOST_MODULES

    def build(self, value: Any, path: str) -> nn.Module:
        self._left -= 1
        if self._left < 0 or path.count(".") > _DEEPEST:
            raise self._refuse(path, "is nested deeper, or has more parts, than real models have")
        if not is_module(value) or value.path not in STOCK_MODULES:
            raise self._refuse(path, f"is a {type(value).__name__}, which is no module of torch.nn")
        if any(value.attributes.get(name) for name in _HOOKS):
            raise self._refuse(path, "has hooks, which change what it computes and are code of their own")
        inner = part(value, "_modules")
        children = {name: self.build(child, f"{path}.{name}" if path else name) for name, child in inner.items()}
        kind = STOCK_MODULES[value.path]
        try:
            with torch.device("meta"):  # sizes meet the tensors before any memory is taken
                module = _construct(kind, value, children)
            _give_tensors(module, value)
            _require_agreement(module, value)
        except _BUILDING_ERRORS as error:
            said = str(error).partition("\n")[0]
            raise self._refuse(path, f"is not as PyTorch {torch.__version__} makes a {kind.__name__}: {said}") from None
        return module

    def _refuse(self, path: str, why: str) -> ModelFileError:
        return ModelFileError(
            f"The pickled model cannot be opened: its part {path or '(top level)'!r} {why}.",
            where=self._where,
            hint="Export it where it was made. " + EXPORT_HINT,
        )


def _construct(kind: type[nn.Module], value: Recorded, children: Mapping[str, Any]) -> nn.Module:
    if kind is nn.Sequential:
        return nn.Sequential(OrderedDict(children))
    if kind is nn.ModuleList:
        return nn.ModuleList(children.values())
    if kind is nn.ModuleDict:
        return nn.ModuleDict(children)
    if kind is nn.TransformerEncoderLayer:
        attention, wide, norm = (children[name] for name in ("self_attn", "linear1", "norm1"))
        made = kind(
            attention.embed_dim,
            attention.num_heads,
            wide.out_features,
            activation=_activation(value.attributes.get("activation")),
            layer_norm_eps=norm.eps,
            batch_first=attention.batch_first,
            norm_first=value.attributes.get("norm_first", False),
            bias=wide.bias is not None,
        )
    elif kind is nn.TransformerEncoder:
        nested = value.attributes.get("enable_nested_tensor", True)
        with warnings.catch_warnings(action="ignore"):  # on layers for which that setting does nothing
            made = kind(children["layers"][0], len(children["layers"]), children.get("norm"), bool(nested))
    else:
        made = kind(**_arguments(kind, value))
    if children.keys() != made._modules.keys():
        raise ValueError(f"it has the parts {', '.join(children)}")
    for name, child in children.items():
        if type(child) is not type(made._modules[name]):
            raise ValueError(f"{name} is a {type(child).__name__}")
        made._modules[name] = child
    return made


def _activation(value: Any) -> str:
    name = FUNCTIONS.get(getattr(value, "path", ""))  # a function is referred to, so its stand-in is the class itself
    if name not in ("relu", "gelu"):
        raise ValueError("its activation is neither relu nor gelu")
    return name


def _arguments(kind: type[nn.Module], value: Recorded) -> dict[str, Any]:
    """Constructor arguments by the attributes of the same name."""
    own, weights = value.attributes, part(value, "_parameters")
    names = _MORE_ARGUMENTS.get(kind) or list(inspect.signature(kind.__init__).parameters)[1:]
    found = {name: own[name] for name in names if name in own and _is_plain(own[name])}
    if "bias" in names and "bias" not in found:
        found["bias"] = any("bias" in name for name in weights)
    if kind is nn.RNN and "nonlinearity" not in found:
        found["nonlinearity"] = "relu" if own.get("mode") == "RNN_RELU" else "tanh"
    if isinstance(found.get("num_layers"), int) and found["num_layers"] > len(weights):
        raise ValueError("it has more layers than weights")
    return found


def _give_tensors(module: nn.Module, value: Recorded) -> None:
    """Put the file's tensors into a module on the meta device, of which only its own tensors are looked at."""
    tensors = part(value, "_parameters") | part(value, "_buffers")
    own = {**module._parameters, **module._buffers}
    expected = {name: item for name, item in own.items() if item is not None}
    if _COUNTER in expected:  # not there before PyTorch 0.4.1, and of no use after training
        tensors = {_COUNTER: torch.zeros((), dtype=torch.long)} | tensors
    if tensors.keys() != expected.keys():
        raise ValueError(f"it has the tensors {', '.join(tensors) or 'none'}, not {', '.join(expected) or 'none'}")
    numbers = {tensor.dtype for tensor in tensors.values() if getattr(tensor, "dtype", torch.long).is_floating_point}
    if len(numbers) > 1:
        raise ValueError(f"its tensors are of several kinds of numbers: {', '.join(sorted(map(str, numbers)))}")
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor) or tensor.shape != expected[name].shape:
            found = tuple(tensor.shape) if isinstance(tensor, torch.Tensor) else type(tensor).__name__
            raise ValueError(f"{name} is {found}, not {tuple(expected[name].shape)}")
        if not has_values(tensor) or tensor.is_quantized:
            raise ValueError(f"{name} has no plain values (sparse, nested, quantized or without data)")
        if name in module._parameters:
            setattr(module, name, nn.Parameter(tensor.detach(), requires_grad=False))
        else:
            module._buffers[name] = tensor.detach()


def _require_agreement(module: nn.Module, value: Recorded) -> None:
    """Settings that the fresh module has otherwise would be a changed meaning."""
    own = vars(module)
    if own.get("padding_mode") == "circular" and "_reversed_padding_repeated_twice" not in value.attributes:
        raise ValueError("circular padding of PyTorch before 1.5, which padded half as much")
    for name, item in value.attributes.items():
        known = name in own and name != "training" and not str(name).startswith("_")
        if known and _is_plain(item) and _is_plain(own[name]) and not _equal(item, own[name]):
            raise ValueError(f"{name} is {item!r}, and would be {own[name]!r}")


def _is_plain(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return len(value) < 100 and all(_is_plain(item) for item in value)
    return isinstance(value, (bool, int, float, str, type(None))) and not (isinstance(value, int) and value > 2**31)


def _equal(one: Any, other: Any) -> bool:
    return (
        list(one) == list(other)
        if isinstance(one, (tuple, list)) and isinstance(other, (tuple, list))
        else one == other
    )
