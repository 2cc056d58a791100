"""neuralforecast: its models on the history of a series, without exogenous variables."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.conformance.zoo import Case

HORIZON, HISTORY, SERIES = 4, 16, 3


class OnHistory(nn.Module):
    """A model of neuralforecast, which takes a dict of windows, as a function of the history (sample, time, series)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, history: Tensor) -> Tensor:
        nothing = dict.fromkeys(("futr_exog", "hist_exog", "stat_exog"))
        mask = torch.ones_like(history)
        return self.model({"insample_y": history, "insample_mask": mask, **nothing})


def build(name: str, **options: Any) -> tuple[nn.Module, Tensor]:
    import neuralforecast.models

    series = options.get("n_series", 1)
    model = getattr(neuralforecast.models, name)(h=HORIZON, input_size=HISTORY, max_steps=1, **options)
    return OnHistory(model), torch.randn(2, HISTORY, series)


def case(name: str, label: str = "", **options: Any) -> Case:
    return Case(f"neuralforecast {name}{label}", lambda: build(name, **options))


RECURRENT = {"encoder_hidden_size": 6, "decoder_hidden_size": 6}
ATTENTION = {"hidden_size": 8, "n_head": 2}
SMALL = {"hidden_size": 8}
MANY = {"n_series": SERIES}

CASES = (
    case("RNN", **RECURRENT),
    case("GRU", **RECURRENT),
    case("LSTM", **RECURRENT),
    case("LSTM", ", recurrent", recurrent=True, **RECURRENT),
    case("TCN", encoder_hidden_size=6, decoder_hidden_size=6, dilations=[1, 2]),
    case("DilatedRNN", **RECURRENT, dilations=[[1, 2]]),
    case("DeepAR", lstm_hidden_size=6, decoder_hidden_size=6, trajectory_samples=2),
    case("DeepNPTS", **SMALL),
    case("MLP", **SMALL),
    case("NHITS", mlp_units=[[8, 8]] * 3),
    case("NBEATS", mlp_units=[[8, 8]] * 3),
    case("NBEATSx", mlp_units=[[8, 8]] * 3),
    case("DLinear", moving_avg_window=3),
    case("NLinear"),
    case("TiDE", hidden_size=8, decoder_output_dim=4, temporal_decoder_dim=8),
    case("TFT", **ATTENTION),
    case("VanillaTransformer", **ATTENTION, conv_hidden_size=8),
    case("Informer", **ATTENTION, conv_hidden_size=8),
    case("Autoformer", **ATTENTION, conv_hidden_size=8, MovingAvg_window=3),
    case("FEDformer", hidden_size=8, conv_hidden_size=8, n_head=8, modes=4, MovingAvg_window=3),
    case("PatchTST", hidden_size=8, n_heads=2, patch_len=4, stride=2, linear_hidden_size=8, encoder_layers=1),
    case("TimesNet", hidden_size=8, conv_hidden_size=8, encoder_layers=1, top_k=2, num_kernels=2),
    case("BiTCN", hidden_size=8),
    case("KAN", hidden_size=4),
    case("xLSTM", encoder_hidden_size=8, decoder_hidden_size=8, encoder_n_blocks=1),
    case("XLinear", **MANY, hidden_size=8, temporal_ff=8, channel_ff=8),
    case("TSMixer", **MANY, ff_dim=8, n_block=1),
    case("TSMixerx", **MANY, ff_dim=8, n_block=1),
    case("MLPMultivariate", **MANY, **SMALL),
    case("iTransformer", **MANY, hidden_size=8, n_heads=2, d_ff=8, e_layers=1),
    case("SOFTS", **MANY, hidden_size=8, d_core=4, d_ff=8, e_layers=1),
    case("StemGNN", **MANY, n_stacks=2, multi_layer=2),
    case(
        "TimeMixer",
        **MANY,
        d_model=8,
        d_ff=8,
        e_layers=1,
        down_sampling_layers=1,
        decomp_method="moving_avg",
        moving_avg=3,
    ),
    case("RMoK", **MANY, taylor_order=2, jacobi_degree=2),
    case("TimeXer", **MANY, patch_len=4, hidden_size=8, n_heads=2, d_ff=8, e_layers=1),
)
