"""aeon: its Keras networks with a head of one unit, on (sample, time, channel)."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.conformance.zoo import Case

STEPS, CHANNELS = 16, 2


def build(name: str, channels: int = CHANNELS, **options: Any) -> tuple[Any, np.ndarray]:
    import aeon.networks
    import keras

    layers = getattr(aeon.networks, name)(**options).build_network((STEPS, channels))
    if isinstance(layers[0], keras.Model):  # an encoder and a decoder
        encoder, decoder = layers
        model = keras.Model(encoder.inputs, decoder(encoder.outputs[0]))
    else:
        start, end = layers
        end = end[-1] if isinstance(end, (list, tuple)) else end  # N-BEATS: the backcast, then the forecast
        model = keras.Model(start, keras.layers.Dense(1)(keras.layers.Flatten()(end)))
    return model, np.random.default_rng(0).normal(size=(2, STEPS, channels)).astype(np.float32)


def case(name: str, label: str = "", **options: Any) -> Case:
    return Case(f"aeon {name.removesuffix('Network')}{label}", lambda: build(name, **options))


CASES = (
    case("TimeCNNNetwork", n_filters=4, kernel_size=3, avg_pool_size=2),
    case("DCNNNetwork", n_layers=2, n_filters=4, kernel_size=3),
    case("DisjointCNNNetwork", n_layers=2, n_filters=4, kernel_size=3),
    case("EncoderNetwork", kernel_size=[3, 3], n_filters=[4, 4], fc_units=4),
    case("FCNNetwork", n_layers=2, n_filters=4, kernel_size=3),
    case("InceptionNetwork", depth=3, n_filters=4, kernel_size=4, bottleneck_size=2),
    case("LITENetwork", n_filters=4, kernel_size=8),
    case("LITENetwork", ", multivariate", use_litemv=True, n_filters=4, kernel_size=8),
    case("MLPNetwork", n_layers=2, n_units=8),
    case("ResNetNetwork", n_residual_blocks=1, n_conv_per_residual_block=2, n_filters=4, kernel_size=3),
    case("RecurrentNetwork", ", LSTM", rnn_type="lstm", n_layers=1, n_units=4),
    case("RecurrentNetwork", ", GRU both ways", rnn_type="gru", n_layers=1, n_units=4, bidirectional=True),
    case("TCNNetwork", n_blocks=[4, 4], kernel_size=2),
    case("NBeatsNetwork", channels=1, num_blocks_per_stack=1, units=8),
    case("DeepARNetwork", lstm_units=4, dense_units=4),
    case("AEDCNNNetwork", latent_space_dim=4, n_layers=2, n_filters=4),
    case(
        "AEDRNNNetwork",
        latent_space_dim=4,
        n_layers_encoder=2,
        n_layers_decoder=2,
        n_units_encoder=[4, 4],
        n_units_decoder=[4, 4],
    ),
    case("AEBiGRUNetwork", latent_space_dim=4, n_layers=1, n_units=[4]),
    case("AEAttentionBiGRUNetwork", latent_space_dim=4, n_layers_encoder=1, n_layers_decoder=1),
    case("AEFCNNetwork", latent_space_dim=4, n_layers=2, n_filters=4, kernel_size=3),
    case(
        "AEResNetNetwork",
        latent_space_dim=4,
        n_residual_blocks=1,
        n_conv_per_residual_block=2,
        n_filters=4,
        kernel_size=3,
    ),
)
