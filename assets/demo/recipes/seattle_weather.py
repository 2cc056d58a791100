"""Tomorrow's maximum temperature in Seattle from the last 30 days: a PyTorch LSTM."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from recipes import data, folder, torch_models

STEPS = 30
HIDDEN = 32
DROPOUT = 0.2
# Chosen with hidden size and dropout out of 14 settings, trained on 2012-2013 and judged on 2014.
TRAINING = {"epochs": 25, "batch": 32, "rate": 5e-3, "decay": 0.1}
FEATURES = [
    {"name": "precipitation", "label": "Precipitation", "unit": "mm"},
    {"name": "temp_max", "label": "Maximum temperature", "unit": "°C"},
    {"name": "temp_min", "label": "Minimum temperature", "unit": "°C"},
    {"name": "wind", "label": "Wind speed", "unit": "m/s"},
    {"name": "season_sin", "label": "Season (sine)", "unit": ""},
    {"name": "season_cos", "label": "Season (cosine)", "unit": ""},
]
TEXT = {
    "position": 1,
    "title": "Seattle weather: tomorrow's maximum temperature",
    "description": (
        "From the last 30 days of rain, maximum and minimum temperature and wind at one weather station, and "
        "the time of year, the model forecasts the maximum temperature of the next day. The explanation "
        "shows which days and which measurements made the forecast warmer or colder than 30 days of average "
        "weather would have made it."
    ),
    "task": "regression",
    "framework": "torch",
    "model": "model.pt2",
    "inputs": {
        "name": "x",
        "features": FEATURES,
        "steps": STEPS,
        "time": {"label": "Date", "unit": "day"},
        "lengths": None,
    },
    "outputs": {
        "label": "Maximum temperature of the next day",
        "names": ["temp_max_next_day"],
        "unit": "°C",
    },
    "default_target": 0,
    "default_baseline": "mean",
    "default_sequence": "forecast for 2015-07-19",
    "source": (
        "NOAA daily observations in Seattle, 2012-2015, in the file seattle-weather.csv of the PyPI package "
        "vega_datasets 0.9.0"
    ),
    "url": "https://github.com/vega/vega-datasets",
    "licence": "Public domain (United States Government data)",
    "citation": (
        "National Oceanic and Atmospheric Administration, National Centers for Environmental Information: "
        "daily weather observations, Seattle, 2012-2015."
    ),
}


class WeatherLSTM(torch.nn.Module):
    """LSTM over the days, and a linear layer on the last state.

    Takes x (batch, 30, 6) in the features' own units and returns (batch, 1) in °C: the standardisation of the
    inputs and of the output is part of the model.
    """

    def __init__(self, mean: np.ndarray, std: np.ndarray, target_mean: float, target_std: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))
        self.register_buffer("target_mean", torch.tensor(target_mean, dtype=torch.float32))
        self.register_buffer("target_std", torch.tensor(target_std, dtype=torch.float32))
        self.lstm = torch.nn.LSTM(len(mean), HIDDEN, batch_first=True)
        self.head = torch.nn.Linear(HIDDEN, 1)

    def last_state(self, x: torch.Tensor) -> torch.Tensor:
        """The LSTM's output after the last day, (batch, hidden)."""
        states, _ = self.lstm((x - self.mean) / self.std)
        return states[:, -1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.last_state(x)) * self.target_std + self.target_mean


def make(wheels: Path, out: Path) -> None:
    """Trains on 2012-2014, measures on 2015, and writes the demo into `out`."""
    days = _days(wheels)
    features = days[[feature["name"] for feature in FEATURES]].to_numpy(np.float32)
    observed = days["temp_max"].to_numpy(np.float32)
    target_days = np.arange(STEPS, len(days))
    windows = np.stack([features[day - STEPS : day] for day in target_days])
    targets = observed[target_days]
    years = days["date"].dt.year.to_numpy()
    held_out = years[target_days] == 2015
    in_training_years = years < 2015

    torch_models.reproducible(seed=0)
    train_x, train_y = torch.tensor(windows[~held_out]), torch.tensor(targets[~held_out])[:, None]
    known = features[in_training_years]
    model = WeatherLSTM(known.mean(0), known.std(0), float(train_y.mean()), float(train_y.std()))

    def batch_loss(indices: torch.Tensor) -> torch.Tensor:
        state = torch.nn.functional.dropout(model.last_state(train_x[indices]), DROPOUT)
        target = (train_y[indices] - model.target_mean) / model.target_std
        return torch.nn.functional.mse_loss(model.head(state), target)

    torch_models.fit(list(model.parameters()), batch_loss, len(train_x), **TRAINING)
    model.eval()
    test_x = torch.tensor(windows[held_out])
    torch_models.export(model, (test_x[:3],), out / "model.pt2")
    torch_models.check_export(model, (test_x,), out / "model.pt2")
    with torch.no_grad():
        predicted = model(test_x).numpy()

    truth, target_days = targets[held_out], target_days[held_out]
    yesterday = observed[target_days - 1]
    climatology, regression = _references(days, features, observed, target_days)
    references = [
        folder.Reference("persistence", "tomorrow is like today", folder.rmse(yesterday, truth), True),
        folder.Reference(
            "climatology",
            "the usual value for the day of the year: two harmonics fitted to 2012-2014",
            folder.rmse(climatology, truth),
            True,
        ),
        folder.Reference(
            "linear regression",
            "least squares on the features of the last day, fitted to 2012-2014",
            folder.rmse(regression, truth),
            False,
        ),
    ]
    dates = days["date"].dt.strftime("%Y-%m-%d").to_numpy()
    chosen = _chosen(days["date"].dt.day.to_numpy()[target_days], truth, yesterday, predicted[:, 0])
    sequences = [
        folder.Sequence(
            name=f"forecast for {dates[target_days[i]]}",
            times=list(dates[target_days[i] - STEPS : target_days[i]]),
            values=windows[held_out][i],
            observed=round(float(truth[i]), 1),
            predicted=predicted[i],
            note=note,
        )
        for i, note in chosen.items()
    ]
    metrics = folder.rmse_metrics("°C", "every day of 2015; trained on 2012-2014", predicted, truth, chosen)
    background = windows[~held_out][folder.evenly(len(train_x), 32)]
    folder.write(out, TEXT, metrics, references, sequences, background, known.mean(0))


def _days(wheels: Path) -> pd.DataFrame:
    """One row per day, with the features; the season is rounded as it is written to the CSV file."""
    content = data.read(
        wheels,
        "vega_datasets",
        "vega_datasets/_data/seattle-weather.csv",
        "62f0609f787158128aa2bd102967173a4953122dd4f872bf1d502cae1037df0b",
    )
    days = pd.read_csv(io.BytesIO(content), parse_dates=["date"])
    angle = 2 * np.pi * (days["date"].dt.day_of_year - 1) / 365.25
    return days.assign(season_sin=np.sin(angle).round(4), season_cos=np.cos(angle).round(4))


def _chosen(
    day_of_month: np.ndarray, truth: np.ndarray, yesterday: np.ndarray, predicted: np.ndarray
) -> dict[int, str]:
    """Which held-out days to ship, by position, and why: two of each month, and the remarkable ones."""
    chosen = {int(i): "" for i in np.flatnonzero(np.isin(day_of_month, [1, 15]))}
    remarkable = {
        "the hottest day of the year": truth.argmax(),
        "the coldest day of the year": truth.argmin(),
        "the largest rise from one day to the next": (truth - yesterday).argmax(),
        "the largest fall from one day to the next": (truth - yesterday).argmin(),
        "the model's largest error": np.abs(predicted - truth).argmax(),
    }
    for note, i in remarkable.items():
        chosen[int(i)] = "; ".join(part for part in (chosen.get(int(i)), note) if part)
    return dict(sorted(chosen.items()))


def _references(
    days: pd.DataFrame, features: np.ndarray, observed: np.ndarray, target_days: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What climatology and a linear regression, both fitted to 2012-2014, say for each target day."""
    known = np.flatnonzero(days["date"].dt.year < 2015)
    angle = 2 * np.pi * days["date"].dt.day_of_year.to_numpy() / 365.25
    waves = [wave(k * angle) for k in (1, 2) for wave in (np.sin, np.cos)]
    harmonics = np.stack([np.ones(len(days)), *waves], axis=1)
    seasonal = np.linalg.lstsq(harmonics[known], observed[known])[0]
    today = np.concatenate([features, np.ones((len(days), 1))], axis=1)
    linear = np.linalg.lstsq(today[known[:-1]], observed[known[1:]])[0]
    return harmonics[target_days] @ seasonal, today[target_days - 1] @ linear
