"""mambapy, minGRU-pytorch, s5-pytorch and torchcde.

mambapy's language model is left out: it cannot be imported without a GPU package.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.conformance.zoo import Case


def sequences(steps: int = 8, features: int = 8) -> Tensor:
    return torch.randn(2, steps, features)


def mamba(parallel: bool) -> tuple[nn.Module, Tensor]:
    from mambapy.mamba import Mamba, MambaConfig

    return Mamba(MambaConfig(d_model=8, n_layers=2, d_state=4, pscan=parallel)), sequences()


def mamba_normalised() -> tuple[nn.Module, Tensor]:
    from mambapy.mamba import Mamba, MambaConfig

    return Mamba(MambaConfig(d_model=8, n_layers=1, d_state=4, inner_layernorms=True)), sequences()


def jamba() -> tuple[nn.Module, Tensor]:
    from mambapy.jamba import Jamba, JambaLMConfig

    config = JambaLMConfig(
        d_model=8,
        n_layers=2,
        mlp_size=16,
        d_state=4,
        num_attention_heads=2,
        num_key_value_heads=1,
        num_experts=2,
        num_experts_per_tok=1,
        attn_layer_offset=1,
        attn_layer_period=2,
        vocab_size=17,
    )
    return Jamba(config), sequences()


def min_gru(**options) -> tuple[nn.Module, Tensor]:
    from minGRU_pytorch.minGRU import minGRU

    return minGRU(8, **options), sequences()


def min_lstm() -> tuple[nn.Module, Tensor]:
    from minGRU_pytorch.minLSTM import minLSTM

    return minLSTM(8), sequences()


def min_language_model(lstm: bool) -> tuple[nn.Module, Tensor]:
    from minGRU_pytorch.minLM import minLM

    return minLM(num_tokens=17, dim=8, depth=1, use_lstm=lstm, enable_conv=True), torch.randint(0, 17, (2, 6))


def s5(block: bool) -> tuple[nn.Module, Tensor]:
    from s5 import S5, S5Block

    return (S5Block(8, 8, bidir=False) if block else S5(8, 8)), sequences()


class ControlledEquation(nn.Module):
    """A neural controlled differential equation over natural cubic splines, as torchcde's own example has it."""

    def __init__(self, channels: int = 3, hidden: int = 4) -> None:
        super().__init__()
        self.start, self.field = nn.Linear(channels, hidden), nn.Linear(hidden, hidden * channels)
        self.head = nn.Linear(hidden, 1)
        self.shape = (hidden, channels)

    def vector_field(self, t: Tensor, z: Tensor) -> Tensor:
        return self.field(z).tanh().view(*z.shape[:-1], *self.shape)

    def forward(self, x: Tensor) -> Tensor:
        import torchcde

        coefficients = torchcde.hermite_cubic_coefficients_with_backward_differences(x)
        path = torchcde.CubicSpline(coefficients)
        start = self.start(path.evaluate(path.interval[0]))
        states = torchcde.cdeint(
            X=path,
            func=self.vector_field,
            z0=start,
            t=path.interval,
            method="rk4",
            adjoint=False,
            options={"step_size": 1},
        )
        return self.head(states[:, -1])


def controlled_equation() -> tuple[nn.Module, Tensor]:
    return ControlledEquation(), sequences(6, 3)


CASES = (
    Case("mambapy Mamba, parallel scan", lambda: mamba(True)),
    Case("mambapy Mamba, sequential", lambda: mamba(False)),
    Case("mambapy Mamba, inner norms", mamba_normalised),
    Case("mambapy Jamba", jamba),
    Case("minGRU-pytorch minGRU", min_gru),
    Case("minGRU-pytorch minGRU, expanded", lambda: min_gru(expansion_factor=1.5)),
    Case("minGRU-pytorch minLSTM", min_lstm),
    Case("minGRU-pytorch minLM, GRU", lambda: min_language_model(False)),
    Case("minGRU-pytorch minLM, LSTM", lambda: min_language_model(True)),
    Case("s5-pytorch S5", lambda: s5(False)),
    Case("s5-pytorch S5Block", lambda: s5(True)),
    Case("torchcde neural CDE", controlled_equation),
)
