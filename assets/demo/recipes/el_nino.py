"""The sea surface temperature of the Niño 3.4 region three months ahead: a Keras GRU."""

from __future__ import annotations

import io
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from recipes import data, folder

STEPS = 12
LEAD = 3
# Chosen out of five settings, trained on 1950-1986 and judged on 1987-1994.
UNITS = 8
DROPOUT = 0.1
NOISE = 0.1  # standard deviation added to the standardised inputs while training
EPOCHS = 30
BATCH = 32
RATE = 1e-2
DECAY = 0.1
REGIONS = {
    "nino_12": "Niño 1+2, off Peru",
    "nino_3": "Niño 3, eastern Pacific",
    "nino_4": "Niño 4, western Pacific",
    "nino_34": "Niño 3.4, central Pacific",
}
TARGET = list(REGIONS).index("nino_34")
TEXT = {
    "position": 3,
    "title": "El Niño: the Pacific three months ahead",
    "description": (
        "From the sea surface temperatures of four regions of the equatorial Pacific over the last 12 "
        "months, and the time of year, the model forecasts the temperature of the central region (Niño 3.4) "
        "three months ahead. That temperature tells El Niño years from La Niña years. The explanation shows "
        "which region and which month made the forecast warmer or colder than 12 months of average "
        "temperatures would have made it."
    ),
    "task": "regression",
    "framework": "tensorflow",
    "model": "model.keras",
    "inputs": {
        "name": "x",
        "features": [
            *({"name": name, "label": label, "unit": "°C"} for name, label in REGIONS.items()),
            {"name": "season_sin", "label": "Season (sine)", "unit": ""},
            {"name": "season_cos", "label": "Season (cosine)", "unit": ""},
        ],
        "steps": STEPS,
        "time": {"label": "Month", "unit": "month"},
        "lengths": None,
    },
    "outputs": {
        "label": "Sea surface temperature of Niño 3.4 three months ahead",
        "names": ["nino_34_in_three_months"],
        "unit": "°C",
    },
    "default_target": 0,
    "default_baseline": "mean",
    "default_sequence": "forecast for 1997-10",
    "source": (
        "NOAA Climate Prediction Center, monthly Niño indices of ERSST.V3B, 1950-2010, in the file "
        "elnino.dat of the PyPI package statsmodels 0.15.0"
    ),
    "url": "https://www.cpc.ncep.noaa.gov/data/indices/",
    "licence": "Public domain (United States Government data)",
    "citation": (
        "National Oceanic and Atmospheric Administration, National Weather Service, Climate Prediction "
        "Center: ERSST.V3B sea surface temperatures of the Niño regions, 1950-2010."
    ),
}


def make(wheels: Path, out: Path) -> None:
    """Trains on 1950-1994, measures on 1995-2010, and writes the demo into `out`."""
    years, months, temperatures = _series(wheels)
    x, observed, targets = windows(years, months, temperatures)
    held_out = years[targets] >= 1995
    model = train(x[~held_out], observed[~held_out], seed=0)
    model.save(out / "model.keras")
    loaded = keras.saving.load_model(out / "model.keras")
    predicted = loaded.predict(x[held_out], verbose=0)
    np.testing.assert_array_equal(predicted, model.predict(x[held_out], verbose=0))

    truth, targets = observed[held_out], targets[held_out]
    references = _references(years, months, temperatures, targets, truth)
    chosen = _chosen(truth, predicted[:, 0])
    label = np.array([f"{year}-{month + 1:02d}" for year, month in zip(years, months, strict=True)])
    sequences = [
        folder.Sequence(
            name=f"forecast for {label[targets[i]]}",
            times=list(label[targets[i] - LEAD - STEPS + 1 : targets[i] - LEAD + 1]),
            values=x[held_out][i],
            observed=round(float(truth[i]), 2),
            predicted=predicted[i],
            note=note,
        )
        for i, note in chosen.items()
    ]
    metrics = folder.rmse_metrics("°C", "every month of 1995-2010; trained on 1950-1994", predicted, truth, chosen)
    background = x[~held_out][folder.evenly(int((~held_out).sum()), 32)]
    folder.write(out, TEXT, metrics, references, sequences, background, x[~held_out].mean((0, 1)))


def _series(wheels: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The years, the months from 0 to 11, and the temperatures (months, 4) in °C, month by month."""
    content = data.read(
        wheels,
        "statsmodels",
        "statsmodels/datasets/elnino/src/elnino.dat",
        "334b52745a1434c677fadeed0991dc8144b7ee2058cd9af335a0ee8b8696a11e",
    )
    # Columns: year, month, then temperature and anomaly of each region. The anomalies are left out: they are
    # measured against a climate of which the held-out years are a part.
    table = np.loadtxt(io.BytesIO(content), skiprows=1, dtype=np.float32)
    return table[:, 0].astype(int), table[:, 1].astype(int) - 1, table[:, [2, 4, 6, 8]]


def windows(
    years: np.ndarray, months: np.ndarray, temperatures: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All forecasts that the series allows.

    Args:
        years: (months,) the calendar year of each month of the series.
        months: (months,) from 0 to 11.
        temperatures: (months, 4) in °C.

    Returns:
        x (n, 12, 6) float32; what is observed three months later (n,), in °C; that month's index (n,).
    """
    season = 2 * np.pi * months / 12
    waves = np.stack([np.sin(season), np.cos(season)], axis=1).round(4)
    features = np.concatenate([temperatures, waves], axis=1).astype(np.float32)
    targets = np.arange(STEPS - 1 + LEAD, len(years))
    x = np.stack([features[target - LEAD - STEPS + 1 : target - LEAD + 1] for target in targets])
    return x, temperatures[targets, TARGET], targets


def train(x: np.ndarray, y: np.ndarray, seed: int) -> keras.Model:
    """A GRU and a linear layer on its last output: (batch, 12, 6) in the features' units to (batch, 1) in °C.

    The standardisation of the inputs and of the output is part of the model. Noise and dropout are layers of
    the model that is trained, and not of the one that is returned; both share their weights.
    """
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    inputs = keras.Input((STEPS, x.shape[2]), name="x")
    normalise = keras.layers.Normalization(mean=x.mean((0, 1)), variance=x.var((0, 1)), name="normalise")
    gru = keras.layers.GRU(UNITS, name="gru")
    head = keras.layers.Dense(1, name="head")
    to_celsius = keras.layers.Rescaling(float(y.std()), float(y.mean()), name="to_celsius")
    noisy = keras.layers.GaussianNoise(NOISE)(normalise(inputs))
    trained = keras.Model(inputs, head(keras.layers.Dropout(DROPOUT)(gru(noisy))))
    steps = EPOCHS * -(-len(x) // BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(RATE, steps)
    trained.compile(keras.optimizers.AdamW(schedule, weight_decay=DECAY), loss="mse")
    trained.fit(x, (y - y.mean()) / y.std(), epochs=EPOCHS, batch_size=BATCH, verbose=0)
    return keras.Model(inputs, to_celsius(head(gru(normalise(inputs)))), name="nino_34_in_three_months")


def _references(
    years: np.ndarray, months: np.ndarray, temperatures: np.ndarray, targets: np.ndarray, truth: np.ndarray
) -> list[folder.Reference]:
    """What needs no network, fitted to 1950-1994."""
    known = years < 1995
    usual = np.stack([temperatures[known & (months == month)].mean(0) for month in range(12)])[months]
    anomaly = temperatures - usual
    fitted = np.flatnonzero(known)[LEAD:]
    now = np.concatenate([anomaly, np.ones((len(years), 1))], axis=1)
    linear = np.linalg.lstsq(now[fitted - LEAD], anomaly[fitted, TARGET])[0]
    seasonal, origin = usual[targets, TARGET], targets - LEAD
    forecasts = {
        ("persistence", "like the temperature now", True): temperatures[origin, TARGET],
        ("climatology", "the mean of the month in 1950-1994", True): seasonal,
        ("persistent anomaly", "as far from the month's mean as now", True): seasonal + anomaly[origin, TARGET],
        ("linear regression", "on the four regions' anomalies now, fitted to 1950-1994", False): (
            seasonal + now[origin] @ linear
        ),
    }
    return [
        folder.Reference(name, description, folder.rmse(forecast, truth), naive)
        for (name, description, naive), forecast in forecasts.items()
    ]


def _chosen(truth: np.ndarray, predicted: np.ndarray) -> dict[int, str]:
    """Which held-out months to ship, by position, and why: every eighth, and remarkable ones."""
    chosen = dict.fromkeys(range(0, len(truth), 8), "")
    remarkable = {
        "the warmest month: the El Niño of 1997-98": truth.argmax(),
        "the coldest month: the La Niña of 1999-2000": truth.argmin(),
        "the model's largest error": np.abs(predicted - truth).argmax(),
    }
    for note, i in remarkable.items():
        chosen[int(i)] = "; ".join(part for part in (chosen.get(int(i)), note) if part)
    return dict(sorted(chosen.items()))
