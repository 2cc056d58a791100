"""What is like a tensor and no array of numbers: sequences of their own lengths, and tensors without memory."""

from __future__ import annotations

from typing import Any

from explain_core.errors import ExplainError, InputError

_LENGTHS = "and the lengths or a mask as the input by which the model knows padding."
_KINDS = {
    "RaggedTensor": f"Give .to_tensor(), {_LENGTHS}",
    "SparseTensor": "Give tf.sparse.to_dense() of it; if what is absent is padding, with the lengths or a mask.",
    "PackedSequence": "Give what it was packed from, padded sequences and their lengths, to a model that packs them "
    "itself: pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False) in its forward.",
}
_FORMS = {
    "is_nested": ("nested tensor", f"Give torch.nested.to_padded_tensor(tensor, 0.0), {_LENGTHS}"),
    "is_meta": ("tensor on the meta device", "It has a shape and no numbers: give it on the CPU or a GPU, with them."),
    "is_quantized": ("quantized tensor", "Give .dequantize(), and the model as it was before it was quantized."),
}


def is_no_array(value: Any) -> bool:
    """Whether `require_array` would refuse a value."""
    return _found(value) is not None


def require_array(value: Any, where: str, error: type[ExplainError] = InputError) -> None:
    """Refuse what is like a tensor and no array of numbers.

    Args:
        where: the name of the input.
        error: the class of the error.

    Raises:
        ExplainError: names its kind.
    """
    found = _found(value)
    if found is not None:
        raise error(f"this is a {found[0]}, which is no array of numbers", where=where, hint=found[1])


def _found(value: Any) -> tuple[str, str] | None:
    kind = type(value)
    if kind.__name__ in _KINDS:
        return kind.__name__, _KINDS[kind.__name__]
    if kind.__module__.partition(".")[0] != "torch":
        return None
    return next((named for form, named in _FORMS.items() if getattr(value, form, False) is True), None)
