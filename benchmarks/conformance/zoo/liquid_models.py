"""ncps on PyTorch: closed-form and liquid time-constant networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.conformance.zoo import Case

FEATURES, UNITS = 3, 8


def inputs() -> Tensor:
    return torch.randn(2, 5, FEATURES)


def closed_form(**options) -> tuple[nn.Module, Tensor]:
    from ncps.torch import CfC

    return CfC(FEATURES, UNITS, backbone_units=8, backbone_layers=1, **options), inputs()


def wired(layer: str, **options) -> tuple[nn.Module, Tensor]:
    import ncps.torch
    from ncps.wirings import AutoNCP

    return getattr(ncps.torch, layer)(FEATURES, AutoNCP(UNITS, 2), **options), inputs()


def liquid() -> tuple[nn.Module, Tensor]:
    from ncps.torch import LTC

    return LTC(FEATURES, UNITS), inputs()


CASES = (
    Case("ncps CfC", closed_form),
    Case("ncps CfC, pure", lambda: closed_form(mode="pure")),
    Case("ncps CfC, no gate", lambda: closed_form(mode="no_gate")),
    Case("ncps CfC, mixed memory", lambda: closed_form(mixed_memory=True)),
    Case("ncps CfC, wired", lambda: wired("CfC")),
    Case("ncps LTC", liquid),
    Case("ncps LTC, wired", lambda: wired("LTC")),
)
