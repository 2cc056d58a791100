"""A function of tensors as a PyTorch model, for the small models of other packages' tests."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn


class Of(nn.Module):
    """``function(self, x)``, with the modules it uses as its own."""

    def __init__(self, function: Callable[..., Tensor], **modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)
