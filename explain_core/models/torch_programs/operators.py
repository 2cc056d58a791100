"""The operations that a program from a file may use: TorchScript and exported programs alike.

A file's program can name any operation of PyTorch, and among its 3,000 are some that write files, print, change global
settings or trust sizes without looking. So these are lists of names, and what is on none is refused by name. On them is
what the rule table explains (`explain_core.backends.torch.rules`), and what stands beside it: shapes, constants, whole
numbers, masks, lists, strings. To let in another: look into its kernel for indices, sizes or pointers that it takes
without a check, try it with ones that are far too large, and write its name below; where the kernel trusts them, write
a check for it in `guards`.
"""

from __future__ import annotations

import ast
import re
from typing import Any

import torch

from explain_core.errors import ModelFileError
from explain_core.models.torch_programs.guards import GUARDS as GUARDED
from explain_core.models.torch_programs.guards import UNREACHED

#: The module of TorchScript's that has the functions of `guards`.
GUARDS = "__torch__.pairlift_guards"

_ARITHMETIC = """
    abs absolute add addcdiv addcmul atan arctan atan2 arctan2 asinh ceil celu clamp clamp_max clamp_min clip cos cosh
    copy div divide elu erf erfc exp exp2 expm1 fill fix floor floor_divide fmax fmin gelu glu hardshrink hardsigmoid
    hardswish hardtanh heaviside leaky_relu lerp log log10 log1p log2 log_sigmoid maximum minimum mish mul multiply neg
    negative positive pow prelu _prelu_kernel reciprocal relu relu6 round rrelu rsqrt rsub selu sgn sigmoid sign silu
    sin sinh softplus softshrink special_erf special_expit special_expm1 sqrt square sub subtract tan tanh threshold
    true_divide trunc zero
    acos arccos acosh asin arcsin atanh deg2rad rad2deg digamma lgamma erfinv fmod frac hypot logaddexp logaddexp2
    logit ldexp nan_to_num remainder sinc xlogy special_xlogy float_power special_log1p special_logit
"""

_IN_PLACE = """
    abs_ add_ addcdiv_ addcmul_ addmm_ addbmm_ baddbmm_ addmv_ addr_ alpha_dropout_ ceil_ celu_ clamp_ clamp_max_
    clamp_min_ clip_ copy_ cos_ cumsum_ detach_ div_ divide_ dropout_ elu_ eq_ erf_ exp_ expm1_ feature_alpha_dropout_
    feature_dropout_ fill_ floor_ floor_divide_ fmod_ ge_ gt_ hardsigmoid_ hardswish_ hardtanh_ index_add_ index_copy_
    index_fill_ index_put_ le_ leaky_relu_ lerp_ log_ log1p_ log2_ logical_and_ logical_not_ logical_or_ lt_
    masked_fill_ masked_scatter_ mish_ mul_ multiply_ nan_to_num_ ne_ neg_ pow_ reciprocal_ relu_ relu6_ remainder_
    requires_grad_ round_ rrelu_ rsqrt_ scatter_ scatter_add_ selu_ sgn_ sigmoid_ sign_ silu_ sin_ sqrt_
    square_ squeeze_ sub_ subtract_ t_ tan_ tanh_ threshold_ transpose_ tril_ triu_ trunc_ unsqueeze_ zero_ __iand__
    __ior__ bitwise_and_ bitwise_or_ bitwise_not_
"""

_LINEAR = """
    alias as_strided adjoint adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d _adaptive_avg_pool2d
    _adaptive_avg_pool3d avg_pool1d avg_pool2d avg_pool3d broadcast_to cat chunk clone column_stack concat
    concatenate constant_pad_nd contiguous cumsum diag diag_embed diagonal diff dsplit dstack expand expand_as flatten
    flip fliplr flipud hsplit hstack lift_fresh_copy lift_fresh mH mT mean movedim moveaxis nansum narrow numpy_T
    pad permute pixel_shuffle pixel_unshuffle ravel reflection_pad1d reflection_pad2d reflection_pad3d repeat
    replication_pad1d replication_pad2d replication_pad3d reshape reshape_as roll rot90 select slice split
    split_with_sizes split_copy split_with_sizes_copy squeeze squeeze_copy stack sum sum_to_size swapaxes swapdims t
    tensor_split tile to_dense trace transpose tril triu unbind unflatten unfold unsqueeze upsample_bilinear2d
    upsample_bicubic2d upsample_linear1d upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_trilinear3d
    _upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d view view_as view_copy vsplit vstack
    atleast_1d atleast_2d atleast_3d broadcast_tensors block_diag meshgrid nanmean channel_shuffle
    unsafe_chunk unsafe_split unsafe_split_with_sizes
"""  # the last three are chunk and split for autograd's sake: their kernels look at sizes as those of the plain ones do

_PICKED = """
    embedding gather index index_add index_copy index_fill index_put index_select masked_fill masked_scatter
    masked_select one_hot scatter scatter_add scatter_reduce select_scatter slice_backward
    slice_scatter diagonal_scatter take take_along_dim where embedding_renorm_ nonzero argwhere
"""

_PRODUCTS = """
    addbmm addmm addmv addr baddbmm bilinear bmm conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d
    convolution _convolution _convolution_mode cross dot einsum ger inner kron linalg_cross linalg_matmul
    linalg_multi_dot linalg_vecdot linear matmul mm mv outer tensordot vdot chain_matmul
"""

_COMPOSED = """
    adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d alpha_dropout batch_norm _batch_norm_impl_index
    cosine_similarity dropout feature_alpha_dropout feature_dropout group_norm instance_norm layer_norm linalg_norm
    linalg_vector_norm log_softmax _log_softmax logsumexp native_dropout native_group_norm native_layer_norm norm
    frobenius_norm pairwise_distance cdist rms_norm scaled_dot_product_attention softmax
    _softmax std std_mean var var_mean _safe_softmax
"""

_RECURRENT = "lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell _pack_padded_sequence"

_EXTREMES = """
    amax amin aminmax argmax argmin argsort cummax cummin cumprod kthvalue logcumsumexp max median min mode msort
    nanmedian prod quantile nanquantile sort topk bucketize searchsorted
"""

_TRUTHS = """
    all allclose any bitwise_and bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor count_nonzero
    eq equal ge greater greater_equal gt isclose isfinite isin isinf isnan isneginf isposinf isreal le less less_equal
    logical_and logical_not logical_or logical_xor lt ne not_equal signbit is_nonzero
    __and__ __or__ __xor__ __lshift__ __rshift__ __not__ __is__ __isnot__ __contains__
"""

_SHAPES = """
    broadcast_shapes dense_dim device dim element_size get_device is_complex is_contiguous is_floating_point
    is_inference is_same_size is_signed numel result_type promote_types can_cast size
    storage_offset stride sym_is_contiguous sym_numel sym_size sym_storage_offset sym_stride _shape_as_tensor is_leaf

"""

_NEW = """
    arange empty empty_like empty_permuted empty_strided eye full full_like hann_window hamming_window linspace logspace
    new_empty new_empty_strided new_full new_ones new_zeros ones ones_like scalar_tensor tensor tril_indices
    triu_indices zeros zeros_like as_tensor complex polar detach detach_copy data
    bernoulli bernoulli_ exponential_ normal normal_ rand rand_like randint randint_like randn randn_like randperm
    uniform_ multinomial
"""  # the random ones are named where the model is explained

_CASTS = """
    to type_as _to_copy cpu cuda _cast_Byte _cast_Double _cast_Float _cast_Half
    _cast_Int _cast_Long real imag view_as_real
    view_as_complex resolve_conj resolve_neg conj conj_physical angle
"""

_FOURIER = "fft_fft fft_ifft fft_rfft fft_irfft fft_hfft fft_ihfft fft_fftshift fft_ifftshift fft_fftfreq fft_rfftfreq"

_LOSSES = """
    binary_cross_entropy binary_cross_entropy_with_logits cross_entropy_loss huber_loss kl_div l1_loss mse_loss nll_loss
    nll_loss_nd poisson_nll_loss smooth_l1_loss soft_margin_loss
"""  # in branches that training takes

_CHECKS = """
    _assert_async _assert_scalar _assert_tensor_metadata sym_constrain_range sym_constrain_range_for_size
    _functional_assert_async is_autocast_enabled is_autocast_cpu_enabled is_grad_enabled set_grad_enabled
"""

_OF_SCRIPTS = """
    Bool Complex Delete Float FloatImplicit Int IntImplicit ComplexImplicit ScalarImplicit __derive_index __getitem__
    __range_length _set_item _unwrap_optional append clear copysign degrees dict endswith extend fabs find format
    get index insert isalnum isalpha isdecimal isdigit islower isspace isupper item items join keys len list lower
    lstrip mathremainder percentFormat pop popitem radians remove reverse rfind rstrip setdefault slice sorted
    split splitlines startswith str strip title update upper values floordiv ceil strip
    modf frexp
"""

_ALL = (
    *(_ARITHMETIC, _IN_PLACE, _LINEAR, _PICKED, _PRODUCTS, _COMPOSED, _RECURRENT, _EXTREMES, _TRUTHS, _SHAPES, _NEW),
    *(_CASTS, _FOURIER, _LOSSES, _CHECKS, _OF_SCRIPTS),
)

NAMES = frozenset(" ".join(_ALL).split())
"""Names of ``aten`` operations, without overload, whose kernels look at what they are given."""

_UNSORTABLE = "sorting them reads beyond the list where one is no number; sort a tensor"

# They have rules for models that are given live; before a file may name one, see the top of this module.
_NOT_LOOKED_INTO = """
    _cdist_forward _conj _conj_physical _embedding_bag_forward_only
    _fake_quantize_per_tensor_affine_cachemask_tensor_qparams _fft_c2c _fft_c2r _fft_r2c _linalg_solve_ex _neg_view
    _pdist_forward _sparse_mm _unique _unique2 _upsample_bicubic2d_aa _upsample_bilinear2d_aa arccosh arcsinh arctanh
    bincount cholesky_solve conv_tbc corrcoef cov dist fake_quantize_per_channel_affine
    fake_quantize_per_channel_affine_cachemask fake_quantize_per_tensor_affine
    fake_quantize_per_tensor_affine_cachemask fft_fft2 fft_fftn fft_hfft2 fft_hfftn fft_ifft2 fft_ifftn fft_ihfft2
    fft_ihfftn fft_irfft2 fft_irfftn fft_rfft2 fft_rfftn fused_moving_avg_obs_fake_quant grid_sampler grid_sampler_2d
    grid_sampler_3d histc index_reduce istft linalg_lu_solve linalg_matrix_exp linalg_solve linalg_solve_ex
    linalg_solve_triangular native_batch_norm pdist put special_digamma special_entr special_erfc special_erfinv
    special_exp2 special_gammaln special_psi special_sinc special_xlog1py stft triangular_solve unique_consecutive
    unique_dim unique_dim_consecutive
"""

REFUSED: dict[str, str] = {
    "_unsafe_view": "exported programs get the plain view in its place",
    "_unsafe_index": "exported programs get the plain index in its place",
    "_unsafe_index_put": "exported programs get the plain index_put in its place",
    "embedding_bag": "its kernel takes offsets beyond the indices",
    "_embedding_bag": "its kernel takes offsets beyond the indices",
    "ctc_loss": "its kernel takes targets that are no classes",
    "sparse_coo_tensor": "sparse tensors are computed with without a look at their indices",
    "_sparse_coo_tensor_unsafe": "it makes a tensor whose indices no one looks at",
    "save": "it writes a file",
    "from_file": "it reads and writes files",
    "warn": "what it says is the file's",
    "data_ptr": "it hands out addresses",
    "set_": "it gives a tensor other memory",
    "resize_": "it gives a tensor more memory than its values fill",
    "count": "counting an empty text never ends",
    "replace": "replacing an empty text never ends",
    **{f"{name}.{kind}": _UNSORTABLE for name in ("sort", "sorted") for kind in ("float", "Tensor", "any")},
    "fork": "it runs beside the checks; write the model without torch.jit.fork",
    **dict.fromkeys(_NOT_LOOKED_INTO.split(), "no one has looked yet at which sizes its kernel trusts"),
}
"""Known names on no list, and overloads of names on one, with the reason that the error gives."""

SAFE_TWINS = {"_unsafe_view": "view", "_unsafe_index": "index", "_unsafe_index_put": "index_put"}
"""What exported programs get in the place of operations that leave out a check."""

#: Operations in the namespace ``prim`` that TorchScript's code calls.
_PRIM = """
    RaiseException NumToTensor StringIndex abs data device dtype index is_cpu is_cuda is_meta is_mkldnn is_mps is_nested
    is_quantized is_sparse is_sparse_csr is_xla itemsize layout max min name rangelist requires_grad tolist type
    unchecked_unwrap_optional
"""
PRIM = frozenset(_PRIM.split())

#: Nodes of TorchScript's graphs that are no calls of operations.
_NODES = """
    CallFunction CallMethod Constant CreateObject DictConstruct Enter Exit GetAttr If ListConstruct ListUnpack Loop
    SetAttr TupleConstruct TupleIndex TupleSlice TupleUnpack Uninitialized isinstance unchecked_cast
"""
_STRUCTURE = frozenset(_NODES.split())

_GUARDED_NAMES = {key.partition(".")[0] for key in (*GUARDED, *UNREACHED)}


_DEVICE = re.compile(r"(cpu|cuda|mps|xpu)(:\d{1,3})?", re.ASCII)


def is_device(name: Any) -> bool:
    """Whether a text names a processor; others have tensors without values."""
    return isinstance(name, str) and _DEVICE.fullmatch(name) is not None


def may_be_called(name: str) -> bool:
    """Whether the code of a script may have a call of the ``aten`` operation ``name``."""
    return name in NAMES or name in _GUARDED_NAMES


def guard_of(name: str, arguments: list[ast.expr]) -> str | None:
    """The key in `guards` for a call in the code of a script; None for an operation that needs no guard.

    Recurrent layers over packed sequences have another order of arguments: the fourth is a list of weights, where that
    of the others says whether there are biases. Repeating with nothing but numbers of repeats has one argument.
    """
    if name not in _GUARDED_NAMES:
        return None
    if name == "repeat_interleave":
        return f"{name}.{'Tensor' if len(arguments) < 2 else 'self_Tensor'}"
    keys = [key for key in (*GUARDED, *UNREACHED) if key.partition(".")[0] == name]
    if len(keys) == 1:
        return keys[0]
    plain = len(arguments) > 3 and isinstance(arguments[3], ast.Constant) and isinstance(arguments[3].value, bool)
    return f"{name}.{'input' if plain else 'data'}"


def function_name(key: str) -> str:
    """What the guard of an operation is called in `GUARDS`."""
    return key.replace(".", "_")


def node_is_allowed(kind: str, schema: Any, *, in_guard: bool) -> bool:
    """Whether a compiled graph may have a node.

    Args:
        kind: of the node, "aten::add".
        schema: of its operation; None for a node that calls none.
        in_guard: whether the graph is that of a function in `guards`.
    """
    namespace, _, name = kind.partition("::")
    if namespace == "prim":
        return name in PRIM | _STRUCTURE
    if namespace != "aten" or schema is None or any(argument.is_out for argument in schema.arguments):
        return False
    return key_of(schema) not in REFUSED and (name in NAMES or (in_guard and name in _GUARDED_NAMES))


def key_of(schema: Any) -> str:
    """The "name.overload" of an operation."""
    name = schema.name.rpartition("::")[2]
    return f"{name}.{schema.overload_name}" if schema.overload_name else name


def target_is_allowed(target: str) -> bool:
    """Whether an exported program may call ``name.overload`` of ``torch.ops.aten``."""
    name, dot, overload = target.partition(".")
    overload = "" if overload == "default" else overload
    key = f"{name}.{overload}" if overload else name
    if not dot or key in REFUSED or (name not in NAMES and key not in GUARDED):
        return False
    try:
        schema = torch._C._get_schema(f"aten::{name}", overload)
    except RuntimeError:  # there is none of that name
        return False
    return not any(argument.is_out for argument in schema.arguments)


def refusal(operation: str, where: str) -> ModelFileError:
    """The error for an operation that is not on the list."""
    key = operation.rpartition("::")[2]
    why = REFUSED.get(key) or REFUSED.get(key.partition(".")[0])
    return ModelFileError(
        f"The file is refused: the operation {operation!r} is not on the list of those that a model file may use"
        + (f" ({why})." if why else "."),
        where=where,
        hint="The list has what can be explained, and what stands beside it: "
        "explain_core/models/torch_programs/operators.py. If you trust the file, open it in Python and give the live "
        "model to explain_core.explain.",
    )
