"""xlstm: stacks of mLSTM and sLSTM blocks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.conformance.zoo import Case

STEPS, WIDTH, WORDS = 6, 8, 17


def mlstm_block():
    from xlstm import mLSTMBlockConfig, mLSTMLayerConfig

    return mLSTMBlockConfig(mlstm=mLSTMLayerConfig(conv1d_kernel_size=3, qkv_proj_blocksize=4, num_heads=2))


def slstm_block(fed: bool):
    from xlstm import FeedForwardConfig, sLSTMBlockConfig, sLSTMLayerConfig

    layer = sLSTMLayerConfig(backend="vanilla", num_heads=2, conv1d_kernel_size=3)
    return sLSTMBlockConfig(slstm=layer, feedforward=FeedForwardConfig(proj_factor=1.3, act_fn="gelu") if fed else None)


def stack(mlstm: bool, slstm_at: list[int] | str, blocks: int = 2, fed: bool = False) -> tuple[nn.Module, Tensor]:
    from xlstm import xLSTMBlockStack, xLSTMBlockStackConfig

    config = xLSTMBlockStackConfig(
        mlstm_block=mlstm_block() if mlstm else None,
        slstm_block=slstm_block(fed) if slstm_at else None,
        context_length=STEPS,
        num_blocks=blocks,
        embedding_dim=WIDTH,
        slstm_at=slstm_at,
    )
    return randomised(xLSTMBlockStack(config)), torch.randn(2, STEPS, WIDTH)


def language_model() -> tuple[nn.Module, Tensor]:
    from xlstm import xLSTMLMModel, xLSTMLMModelConfig

    config = xLSTMLMModelConfig(
        mlstm_block=mlstm_block(), vocab_size=WORDS, context_length=STEPS, num_blocks=1, embedding_dim=WIDTH
    )
    return randomised(xLSTMLMModel(config)), torch.randint(0, WORDS, (2, STEPS))


def randomised(model: nn.Module) -> nn.Module:
    """Some of its weights start at zero, which would explain less."""
    model.reset_parameters()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return model


CASES = (
    Case("xlstm mLSTM stack", lambda: stack(True, [])),
    Case("xlstm sLSTM stack", lambda: stack(False, "all", 1)),
    Case("xlstm sLSTM and mLSTM stack", lambda: stack(True, [1], fed=True)),
    Case("xlstm xLSTMLMModel", language_model),
)
