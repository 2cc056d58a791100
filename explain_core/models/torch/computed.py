"""Weights that a state dict keeps as the parts they are computed from, computed as PyTorch does in evaluation mode.

| parts | weight |
| --- | --- |
| ``weight_g``, ``weight_v``, or ``original0`` and ``original1`` of a parametrization | ``g · v / ‖v‖`` |
| ``weight_orig``, ``weight_u``, ``weight_v``, or ``original``, ``0._u``, ``0._v`` of one | ``W / (u · W v)`` |
| ``weight_orig``, ``weight_mask`` | ``W · mask`` |

These are weight normalisation (Salimans & Kingma 2016; the norm is over the axes on which g has size 1), spectral
normalisation (Miyato et al. 2018) with the vectors as they were stored, and pruning.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

_PARTS = (
    re.compile(r"(?P<path>.*\.)?(?P<own>(weight|bias)(_\w+)?)_(?P<part>g|v|u|orig|mask)"),
    re.compile(r"(?P<path>.*\.)?parametrizations\.(?P<own>\w+)\.(?P<part>original[01]?|0\._[uv])"),
)


def _normalised(g: Tensor, v: Tensor) -> Tensor | None:
    if g.ndim not in (0, v.ndim) or any(size not in (1, v.shape[i]) for i, size in enumerate(g.shape)):
        return None
    axes = [i for i in range(v.ndim) if not g.ndim or g.shape[i] == 1]
    return v * (g / torch.linalg.vector_norm(v, dim=axes, keepdim=True))


def _spectral(weight: Tensor, u: Tensor, v: Tensor) -> Tensor | None:
    if weight.ndim != 2 or (len(u), len(v)) != tuple(weight.shape) or u.ndim != 1 or v.ndim != 1:
        return None
    return weight / torch.dot(u, torch.mv(weight, v))


def _pruned(weight: Tensor, mask: Tensor) -> Tensor | None:
    return weight * mask if weight.shape == mask.shape else None


_RECIPES: tuple[tuple[tuple[str, ...], str, Callable[..., Tensor | None]], ...] = (
    (("g", "v"), "weight normalisation", _normalised),
    (("original0", "original1"), "weight normalisation", _normalised),
    (("orig", "u", "v"), "spectral normalisation", _spectral),
    (("original", "0._u", "0._v"), "spectral normalisation", _spectral),
    (("orig", "mask"), "pruning", _pruned),
)


def computed(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """The weights with such parts joined, each in the place of its first part; and a note on each way.

    Parts that fit no row of the table stay as they are.
    """
    parts: dict[str, dict[str, str]] = {}  # by the weight's name: the names of its parts
    for name in weights:
        if found := next((match for form in _PARTS if (match := form.fullmatch(name))), None):
            parts.setdefault((found["path"] or "") + found["own"], {})[found["part"]] = name
    made: dict[str, tuple[str, Tensor]] = {}  # by the name of the first part
    used: set[str] = set()
    ways: dict[str, list[str]] = {}
    for target, names in parts.items():
        for wanted, way, recipe in _RECIPES:
            if set(wanted) != set(names) or target in weights:
                continue
            tensors = [weights[names[part]] for part in wanted]
            single = [tensor.float() if tensor.dtype != torch.float64 else tensor for tensor in tensors]
            if (value := recipe(*single)) is not None:
                made[next(iter(names.values()))] = target, value
                used |= set(names.values())
                ways.setdefault(way, []).append(target)
    found = {}
    for name, tensor in weights.items():
        if name in made:
            target, value = made[name]
            found[target] = value
        elif name not in used:
            found[name] = tensor
    notes = [
        f"Computed from their parts, as in evaluation ({way}): {', '.join(map(repr, targets[:4]))}."
        for way, targets in ways.items()
    ]
    return found, notes
