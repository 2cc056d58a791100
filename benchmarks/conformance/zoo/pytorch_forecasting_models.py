"""pytorch-forecasting: its models made from a small data set, on a batch of its own loader."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from torch import nn

from benchmarks.conformance.zoo import Case

HISTORY, HORIZON = 8, 3
INPUTS = ("encoder_cat", "encoder_cont", "encoder_lengths", "decoder_cat", "decoder_cont", "decoder_lengths")


def data(only_target: bool, fixed_length: bool = True):
    import pandas as pd
    from pytorch_forecasting import TimeSeriesDataSet
    from pytorch_forecasting.data import EncoderNormalizer

    rng = np.random.default_rng(0)
    steps = 24
    frame = pd.DataFrame(
        {
            "time": np.tile(np.arange(steps), 2),
            "group": np.repeat(["a", "b"], steps),
            "value": rng.normal(size=2 * steps) + 5,
            "known": rng.normal(size=2 * steps),
        }
    )
    more = {} if only_target else {"time_varying_known_reals": ["known"], "static_categoricals": ["group"]}
    return TimeSeriesDataSet(
        frame,
        time_idx="time",
        target="value",
        group_ids=["group"],
        max_encoder_length=HISTORY,
        min_encoder_length=HISTORY if fixed_length else HISTORY // 2,
        max_prediction_length=HORIZON,
        time_varying_unknown_reals=["value"],
        target_normalizer=EncoderNormalizer(),
        **more,
    )


def build(name: str, only_target: bool = False, **options: Any) -> tuple[nn.Module, Any]:
    import pytorch_forecasting
    from pytorch_forecasting import models

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = data(only_target)
        kind = getattr(pytorch_forecasting, name, None) or getattr(models, name)
        model = kind.from_dataset(made, **options)
        batch, _ = next(iter(made.to_dataloader(train=False, batch_size=2, num_workers=0)))
    wanted = (*INPUTS, "target_scale")
    return model, {"x": {key: batch[key] for key in wanted if batch[key].numel()}}


def case(name: str, label: str = "", only_target: bool = False, **options: Any) -> Case:
    return Case(f"pytorch-forecasting {name}{label}", lambda: build(name, only_target, **options))


CASES = (
    case("RecurrentNetwork", ", LSTM", cell_type="LSTM", hidden_size=6, rnn_layers=1),
    case("RecurrentNetwork", ", GRU", cell_type="GRU", hidden_size=6, rnn_layers=1),
    case("DeepAR", hidden_size=6, rnn_layers=1),
    case("TemporalFusionTransformer", hidden_size=8, attention_head_size=2, hidden_continuous_size=4),
    case("NBeats", only_target=True, widths=[8, 8], backcast_loss_ratio=0.0),
    case("NHiTS", hidden_size=8),
    case("DecoderMLP", hidden_size=8),
    case("TiDEModel", hidden_size=8, decoder_output_dim=4, temporal_decoder_hidden=8),
)
