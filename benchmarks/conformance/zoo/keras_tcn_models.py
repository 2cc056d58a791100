"""keras-tcn: its layer before a head of one unit."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.conformance.zoo import Case

STEPS, CHANNELS = 10, 2


def build(**options: Any) -> tuple[Any, np.ndarray]:
    import keras
    from tcn import TCN

    start = keras.Input((STEPS, CHANNELS))
    end = TCN(nb_filters=4, kernel_size=2, dilations=(1, 2), **options)(start)
    model = keras.Model(start, keras.layers.Dense(1)(end))
    return model, np.random.default_rng(0).normal(size=(2, STEPS, CHANNELS)).astype(np.float32)


CASES = (
    Case("keras-tcn TCN", build),
    Case("keras-tcn TCN, layer norm, all steps", lambda: build(use_layer_norm=True, return_sequences=True)),
    Case("keras-tcn TCN, batch norm, no skips", lambda: build(use_batch_norm=True, use_skip_connections=False)),
)
