"""Checks of operations whose kernels trust the sizes that they are given.

PyTorch's kernels read and write outside of a tensor where, for example, the weights of an LSTM are smaller than its
states say, and no check of PyTorch stands before it. Its own modules never call them like that; a file can. So what a
file's program calls are the functions here, which look at the sizes and then call the operation.

The checks are written in what Python and TorchScript have in common: exported programs run them as they are, and a
TorchScript archive gets their source.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, List, Optional, Tuple, Union  # noqa: UP035 - the only names that TorchScript knows

import torch
from torch import Tensor

__all__ = ["GUARDS", "UNREACHED", "List", "Optional", "Tuple", "Union", "guarded", "source_of"]


def layers_fit(
    input: Tensor,
    h: Tensor,
    units: int,
    gates: int,
    params: List[Tensor],  # noqa: UP006 - also below: what TorchScript reads
    has_biases: bool,
    num_layers: int,
    bidirectional: bool,
    batch_first: bool,
) -> bool:
    # The weights of recurrent layers against their input and their states, as torch.nn lays them out.
    if input.dim() != 3 or h.dim() != 3:
        return False
    ways = 2 if bidirectional else 1
    read = h.size(2)  # the units, or their projection
    each = (4 if has_biases else 2) + (0 if read == units else 1)
    samples = input.size(0) if batch_first else input.size(1)
    if num_layers < 1 or len(params) != num_layers * ways * each:
        return False
    if h.size(0) != num_layers * ways or h.size(1) != samples or h.dtype != input.dtype:
        return False
    for weight in params:
        if weight.dtype != input.dtype or weight.device != input.device:
            return False
    width = input.size(2)
    for layer in range(num_layers):
        for way in range(ways):
            first = (layer * ways + way) * each
            if list(params[first].shape) != [gates * units, width]:
                return False
            if list(params[first + 1].shape) != [gates * units, read]:
                return False
            if has_biases and list(params[first + 2].shape) != [gates * units]:
                return False
            if has_biases and list(params[first + 3].shape) != [gates * units]:
                return False
            if read != units and list(params[first + each - 1].shape) != [read, units]:
                return False
        width = read * ways
    return True


def lstm_fits(
    input: Tensor,
    hx: List[Tensor],  # noqa: UP006
    params: List[Tensor],  # noqa: UP006
    has_biases: bool,
    num_layers: int,
    bidirectional: bool,
    batch_first: bool,
) -> bool:
    if len(hx) != 2 or hx[0].dim() != 3 or hx[1].dim() != 3:
        return False
    if hx[0].size(0) != hx[1].size(0) or hx[0].size(1) != hx[1].size(1) or hx[0].dtype != hx[1].dtype:
        return False
    units = hx[1].size(2)
    return layers_fit(input, hx[0], units, 4, params, has_biases, num_layers, bidirectional, batch_first)


def gru_fits(
    input: Tensor,
    hx: Tensor,
    params: List[Tensor],  # noqa: UP006
    has_biases: bool,
    num_layers: int,
    bidirectional: bool,
    batch_first: bool,
) -> bool:
    return layers_fit(input, hx, hx.size(-1), 3, params, has_biases, num_layers, bidirectional, batch_first)


def rnn_fits(
    input: Tensor,
    hx: Tensor,
    params: List[Tensor],  # noqa: UP006
    has_biases: bool,
    num_layers: int,
    bidirectional: bool,
    batch_first: bool,
) -> bool:
    return layers_fit(input, hx, hx.size(-1), 1, params, has_biases, num_layers, bidirectional, batch_first)


def batches_fit(data: Tensor, batch_sizes: Tensor) -> bool:
    # Of a packed sequence: samples end one after the other, and none begins again.
    if batch_sizes.dim() != 1 or batch_sizes.numel() < 1 or data.dim() < 1:
        return False
    if int(batch_sizes.sum()) != data.size(0) or int(batch_sizes.min()) < 1:
        return False
    return not bool((batch_sizes[1:] > batch_sizes[:-1]).any())


def norms_fit(v: Tensor, g: Tensor, dim: int) -> bool:
    if dim < 0 or dim >= v.dim():
        return dim == -1 and g.numel() == 1
    return g.dim() == v.dim() and g.numel() == v.size(dim) and g.size(dim) == v.size(dim) and g.dtype == v.dtype


def statistics_fit(
    input: Tensor,
    weight: Optional[Tensor],  # noqa: UP045 - also below
    bias: Optional[Tensor],  # noqa: UP045
    running_mean: Optional[Tensor],  # noqa: UP045
    running_var: Optional[Tensor],  # noqa: UP045
) -> bool:
    if input.dim() < 2 or running_mean is None or running_var is None:
        return False
    for values in [weight, bias, running_mean, running_var]:
        if values is not None and (list(values.shape) != [input.size(1)] or values.dtype != running_mean.dtype):
            return False
    return True


def attention_fits(
    query: Tensor, num_head: int, qkv_weight: Tensor, qkv_bias: Tensor, proj_weight: Tensor, proj_bias: Tensor
) -> bool:
    if num_head < 1:
        return False
    for weight in [qkv_weight, qkv_bias, proj_weight, proj_bias]:
        if weight.dtype != query.dtype:
            return False
    return qkv_bias.dim() == 1 and proj_bias.dim() == 1


def encoder_fits(
    src: Tensor, num_heads: int, qkv_weight: Tensor, qkv_bias: Tensor, proj_weight: Tensor, proj_bias: Tensor
) -> bool:
    return attention_fits(src, num_heads, qkv_weight, qkv_bias, proj_weight, proj_bias)


def repeats_fit(repeats: Union[Tensor, int]) -> bool:  # noqa: UP007
    # Their sum is the size of the result; see `within_memory` for how it stays what it says.
    if isinstance(repeats, int):
        return repeats >= 0
    return repeats.numel() <= 262144


def within_memory(repeats: Tensor) -> Tensor:
    # As many numbers as may be given, of at most 2**44 each, sum up to less than 2**63; and one that large is more than
    # any memory holds, so what was larger fails all the same. It is no check, as that would have to read the numbers
    # while a model is traced.
    if repeats.element_size() == 8 and not repeats.is_floating_point():
        return torch.clamp_max(repeats, 17592186044416)
    return repeats


def places_fit(numbers: List[int]) -> bool:  # noqa: UP006
    # Products and sums of a few such numbers, and of the sizes of tensors, do not wrap around.
    for number in numbers:  # noqa: SIM110 - TorchScript has no other way
        if number < 0 or number > 1048576:
            return False
    return True


def pool_fits(
    kernel_size: List[int],  # noqa: UP006 - also below
    stride: List[int],  # noqa: UP006
    padding: List[int],  # noqa: UP006
    dilation: List[int],  # noqa: UP006
) -> bool:
    return places_fit(kernel_size) and places_fit(stride) and places_fit(padding) and places_fit(dilation)


def columns_fit(
    kernel_size: List[int],  # noqa: UP006 - also below
    dilation: List[int],  # noqa: UP006
    padding: List[int],  # noqa: UP006
    stride: List[int],  # noqa: UP006
) -> bool:
    return pool_fits(kernel_size, stride, padding, dilation)


def image_fits(
    output_size: List[int],  # noqa: UP006 - also below
    kernel_size: List[int],  # noqa: UP006
    dilation: List[int],  # noqa: UP006
    padding: List[int],  # noqa: UP006
    stride: List[int],  # noqa: UP006
) -> bool:
    return places_fit(output_size) and pool_fits(kernel_size, stride, padding, dilation)


#: Operations that run behind a check, by "name.overload", each with the check: it takes arguments of the operation by
#: their names, and answers whether the kernel stays inside of its tensors.
GUARDS: dict[str, Callable[..., bool]] = {
    "lstm.input": lstm_fits,
    "gru.input": gru_fits,
    "rnn_tanh.input": rnn_fits,
    "rnn_relu.input": rnn_fits,
    "_pad_packed_sequence": batches_fit,
    "_weight_norm": norms_fit,
    "_native_batch_norm_legit_no_training": statistics_fit,
    "_native_multi_head_attention": attention_fits,
    "_transformer_encoder_layer_fwd": encoder_fits,
    "repeat_interleave.Tensor": repeats_fit,
    "repeat_interleave.self_Tensor": repeats_fit,
    "repeat_interleave.self_int": repeats_fit,
    **{f"max_pool{axes}d": pool_fits for axes in (1, 2, 3)},
    **{f"max_pool{axes}d_with_indices": pool_fits for axes in (1, 2, 3)},
    "im2col": columns_fit,
    "col2im": image_fits,
}

#: By operation, an argument that is first made safe, and how.
_MADE_SAFE: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "repeat_interleave.Tensor": ("repeats", within_memory),
    "repeat_interleave.self_Tensor": ("repeats", within_memory),
}

#: The key of several overloads that a script cannot tell apart by what is written, and the argument that differs.
_OF_EITHER = {"repeat_interleave.self_Tensor": ("repeats", "int")}

_PACKED = "packed sequences inside TorchScript cannot be followed"
_NESTED = "nested tensors cannot be followed; make the encoder with enable_nested_tensor=False"
_ANTIALIASED = "resizing with antialias=True cannot be followed"

#: Operations that PyTorch's own modules have in code which ordinary models do not reach, by "name.overload", each with
#: what is said where one is reached all the same: they are never run.
UNREACHED: dict[str, str] = {
    "lstm.data": _PACKED,
    "gru.data": _PACKED,
    "rnn_tanh.data": _PACKED,
    "rnn_relu.data": _PACKED,
    "_nested_tensor_from_mask": _NESTED,
    "_nested_tensor_from_mask_left_aligned": _NESTED,
    "to_padded_tensor": _NESTED,
    "_upsample_bilinear2d_aa.vec": _ANTIALIASED,
    "_upsample_bicubic2d_aa.vec": _ANTIALIASED,
    "_upsample_lanczos2d_aa.vec": _ANTIALIASED,
}

_UNFIT = "the tensors given to {} do not fit together"


def schema_of(key: str) -> Any:
    """PyTorch's own description of an operation, by "name.overload"."""
    name, _, overload = key.partition(".")
    return torch._C._get_schema(f"aten::{name}", overload)


@cache
def guarded(key: str) -> Callable[..., Any]:
    """A function that checks its arguments and then calls the operation ``key`` of `GUARDS`, for exported programs."""
    check, schema = GUARDS[key], schema_of(key)
    name, _, overload = key.partition(".")
    operation = getattr(getattr(torch.ops.aten, name), overload or "default")
    wanted = list(inspect.signature(check).parameters)
    names = [argument.name for argument in schema.arguments]
    defaults = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}

    def checked(*args: Any, **kwargs: Any) -> Any:
        given = defaults | dict(zip(names, args, strict=False)) | kwargs
        if not check(*(given[name] for name in wanted)):
            raise RuntimeError(_UNFIT.format(name))
        if key in _MADE_SAFE:
            argument, made_safe = _MADE_SAFE[key]
            given[argument] = made_safe(given[argument])
            return operation(**given)
        return operation(*args, **kwargs)

    checked.__name__ = f"checked_{key.replace('.', '_')}"
    return checked


def source_of(keys: Iterable[str], module: str, name_of: Callable[[str], str]) -> bytes:
    """TorchScript with a function for each of the operations ``keys``, and the checks that they need.

    Args:
        keys: of `GUARDS` and `UNREACHED`.
        module: TorchScript's name of the module that the source will be.
        name_of: gives the name of the function for a key.
    """
    keys = sorted(keys)
    helpers = (layers_fit, attention_fits, within_memory, places_fit, pool_fits)
    checks = dict.fromkeys((*helpers, *(GUARDS[key] for key in keys if key in GUARDS)))
    parts = [inspect.getsource(check) for check in checks]
    source = "\n".join((*parts, *(_function(key, name_of(key)) for key in keys)))
    names = "|".join(check.__name__ for check in checks)
    return re.sub(rf"(?<!def )\b({names})\(", rf"{module}.\1(", source).encode("ascii")


def _function(key: str, name: str) -> str:
    schema = schema_of(key)
    arguments = ", ".join(
        f"{a.name}: {_type(key, a)}" + (f"={a.default_value!r}" if a.has_default_value() else "")
        for a in schema.arguments
    )
    types = [value.type.annotation_str for value in schema.returns]
    kind = types[0] if len(types) == 1 else f"Tuple[{', '.join(types)}]"
    lines = [f"def {name}({arguments}) -> {kind}:"]
    if key in UNREACHED:
        lines += [f'  ops.prim.RaiseException("{UNREACHED[key]}", "builtins.RuntimeError")']
        return "\n".join((*lines, f"  return uninitialized({kind})", ""))
    check = GUARDS[key]
    operation = key.partition(".")[0]
    lines += [
        f"  if not {check.__name__}({', '.join(inspect.signature(check).parameters)}):",
        f'    ops.prim.RaiseException("{_UNFIT.format(operation)}", "builtins.RuntimeError")',
    ]
    if key in _OF_EITHER:
        argument, other = _OF_EITHER[key]
        lines += [f"  if isinstance({argument}, {other}):", f"    return {_call(operation, schema, None)}"]
    return "\n".join((*lines, f"  return {_call(operation, schema, _MADE_SAFE.get(key))}", ""))


def _type(key: str, argument: Any) -> str:
    name, other = _OF_EITHER.get(key, ("", ""))
    own = argument.type.annotation_str
    return f"Union[{own}, {other}]" if argument.name == name else own


def _call(operation: str, schema: Any, made_safe: tuple[str, Callable[[Tensor], Tensor]] | None) -> str:
    argument, function = ("", "") if made_safe is None else (made_safe[0], made_safe[1].__name__)
    given = (f"{function}({a.name})" if a.name == argument else a.name for a in schema.arguments)
    parts = (f"{a.name}={value}" if a.kwarg_only else value for a, value in zip(schema.arguments, given, strict=True))
    return f"torch.{operation}({', '.join(parts)})"
