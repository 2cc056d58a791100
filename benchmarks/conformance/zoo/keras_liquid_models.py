"""ncps on Keras: closed-form and liquid time-constant networks."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.conformance.zoo import Case

STEPS, FEATURES, UNITS = 5, 3, 8


def build(name: str, wired: bool, **options: Any) -> tuple[Any, np.ndarray]:
    import keras
    from ncps import keras as liquid
    from ncps.wirings import AutoNCP

    start = keras.Input((STEPS, FEATURES))
    end = getattr(liquid, name)(AutoNCP(UNITS, 2) if wired else UNITS, **options)(start)
    model = keras.Model(start, keras.layers.Dense(1)(end))
    return model, np.random.default_rng(0).normal(size=(2, STEPS, FEATURES)).astype(np.float32)


CASES = (
    Case("ncps on Keras CfC", lambda: build("CfC", False, backbone_units=8, backbone_layers=1)),
    Case("ncps on Keras CfC, wired", lambda: build("CfC", True)),
    Case("ncps on Keras CfC, mixed memory", lambda: build("CfC", False, mixed_memory=True, backbone_units=8)),
    Case("ncps on Keras LTC, wired", lambda: build("LTC", True)),
)
