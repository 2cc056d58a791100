"""darts: the networks inside its forecasting models, fitted for one epoch on a short series."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.conformance.zoo import Case

HISTORY, HORIZON, SERIES = 12, 4, 2


class OnHistory(nn.Module):
    """A network of darts, which takes its package's own batch, as a function of (sample, time, series)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, history: Tensor) -> Tensor:
        from darts.utils.data.torch_datasets.utils import PLModuleInput

        return self.network(PLModuleInput(past_target=history)).prediction


class WithFuture(OnHistory):
    """The same with what is known of the future, which some networks need."""

    def forward(self, history: Tensor, historic: Tensor, future: Tensor) -> Tensor:
        from darts.utils.data.torch_datasets.utils import PLModuleInput

        batch = PLModuleInput(past_target=history, historic_future_covariates=historic, future_covariates=future)
        return self.network(batch).prediction


def build(name: str, future: bool = False, **options: Any) -> tuple[nn.Module, Any]:
    import darts.models
    from darts import TimeSeries

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    trainer = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
    model = getattr(darts.models, name)(
        input_chunk_length=HISTORY,
        n_epochs=1,
        random_state=0,
        pl_trainer_kwargs={**trainer, "enable_model_summary": False},
        **({} if name == "RNNModel" else {"output_chunk_length": HORIZON}),
        **options,
    )
    noise = np.random.default_rng(0).normal(size=(48, SERIES + 1)).astype(np.float32)
    series, known = TimeSeries.from_values(noise[:40, :SERIES]), TimeSeries.from_values(noise[:, SERIES:])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(series, future_covariates=known if future else None, verbose=False)
    network = model.model.cpu().float()
    history = torch.randn(2, HISTORY, SERIES)
    if not future:
        return OnHistory(network), history
    return WithFuture(network), (history, torch.randn(2, HISTORY, 1), torch.randn(2, HORIZON, 1))


def case(name: str, label: str = "", future: bool = False, **options: Any) -> Case:
    return Case(f"darts {name}{label}", lambda: build(name, future, **options))


STACKS = {"num_stacks": 2, "num_blocks": 1, "num_layers": 2, "layer_widths": 8}

CASES = (
    *(
        case("RNNModel", f", {kind}", model=kind, hidden_dim=6, training_length=HISTORY)
        for kind in ("RNN", "GRU", "LSTM")
    ),
    case("RNNModel", ", LSTM with covariates", future=True, model="LSTM", hidden_dim=6, training_length=HISTORY),
    *(case("BlockRNNModel", f", {kind}", model=kind, hidden_dim=6) for kind in ("RNN", "GRU", "LSTM")),
    case("NBEATSModel", **STACKS),
    case("NHiTSModel", **STACKS),
    case("TCNModel", kernel_size=3, num_filters=4),
    case("TransformerModel", d_model=8, nhead=2, num_encoder_layers=1, num_decoder_layers=1, dim_feedforward=8),
    case("TFTModel", hidden_size=8, num_attention_heads=2, add_relative_index=True),
    case("TFTModel", " with covariates", future=True, hidden_size=8, num_attention_heads=2),
    case("DLinearModel", kernel_size=3),
    case("NLinearModel"),
    case("NLinearModel", ", reversible norm", use_reversible_instance_norm=True),
    case("TiDEModel", hidden_size=8, temporal_decoder_hidden=8, decoder_output_dim=4),
    case("TSMixerModel", hidden_size=8, ff_size=8, num_blocks=1),
)
