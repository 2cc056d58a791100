"""How much water a river in Maine carries today, from the weather of the last 180 days: a PyTorch LSTM."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from recipes import data, folder, torch_models

STEPS = 180
HIDDEN = 32
DROPOUT = 0.2
FORGET_BIAS = 3.0  # so that the memory lasts for a winter from the start of the training
AREA = 771.486538  # km², from the third line of the weather file
FIRST, LAST = "1980-10-01", "2014-09-30"  # the river's years begin in October; later flows have gaps
HELD_OUT_FROM = "2004-10-01"
DRY, HIGH = 10.0, 20.0  # mm in a week, m³/s: what is called hardly any rain, and a river in spate
# Chosen with the features and dropout out of four settings, trained until 2000-09 and judged on 2000-10 to 2004-09.
TRAINING = {"epochs": 20, "batch": 128, "rate": 5e-3, "decay": 1e-2}
RIVER = (
    "https://raw.githubusercontent.com/kratzert/RRMPG/7de78c25acc1c255d2acaf739d65e9ce7bbd60c3/rrmpg/data/data/camels"
)
FEATURES = [
    {"name": "precipitation", "label": "Rain and snow", "unit": "mm"},
    {"name": "radiation", "label": "Sunshine", "unit": "W/m²"},
    {"name": "temp_max", "label": "Maximum temperature", "unit": "°C"},
    {"name": "temp_min", "label": "Minimum temperature", "unit": "°C"},
]
COLUMNS = {"prcp(mm/day)": "precipitation", "srad(W/m2)": "radiation", "tmax(C)": "temp_max", "tmin(C)": "temp_min"}
TEXT = {
    "position": 4,
    "title": "Snowmelt: a river in spring",
    "description": (
        "From 180 days of weather the model says how much water the Piscataquis River in Maine carries on the last of "
        "them. It is told neither how much the river carried before nor whether snow lies: that it has to remember. "
        "The explanation shows how a winter's snow comes down the river in April, and how a day's rain does in "
        "October."
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
    "outputs": {"label": "River flow", "names": ["flow"], "unit": "m³/s"},
    "default_target": 0,
    "default_baseline": "mean",
    "default_sequence": "flow on 2008-04-19",
    "source": (
        "Daily flow of the United States Geological Survey at gauge 01031500 (Piscataquis River near Dover-Foxcroft, "
        "Maine), and the weather of its basin from Daymet (NASA), 1980-2014, both in the data set CAMELS, in the "
        "files 01031500_05_model_output.txt and 01031500_lump_cida_forcing_leap.txt of the repository kratzert/RRMPG"
    ),
    "url": "https://zenodo.org/records/15529996",
    "licence": "Creative Commons Attribution 4.0 International (CC BY 4.0)",
    "citation": (
        "Newman, A., Sampson, K., Clark, M. P., Bock, A., Viger, R. J. and Blodgett, D. (2014). A large-sample "
        "watershed-scale hydrometeorological dataset for the contiguous USA. UCAR/NCAR, doi:10.5065/D6MW2F4D. "
        "Described in: Newman and others (2015). Hydrology and Earth System Sciences 19, 209-223."
    ),
}


class RiverLSTM(torch.nn.Module):
    """LSTM over the days, a linear layer on the last state, and a softplus, since no river carries less than nothing.

    Takes x (batch, 180, 4) in the features' own units and returns (batch, 1) in m³/s: the standardisation of the
    inputs and the scale of the output are part of the model.
    """

    def __init__(self, mean: np.ndarray, std: np.ndarray, scale: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32))
        self.lstm = torch.nn.LSTM(len(mean), HIDDEN, batch_first=True)
        self.head = torch.nn.Linear(HIDDEN, 1)
        with torch.no_grad():
            self.lstm.bias_hh_l0[HIDDEN : 2 * HIDDEN] = FORGET_BIAS

    def last_state(self, x: torch.Tensor) -> torch.Tensor:
        """The LSTM's output after the last day, (batch, hidden)."""
        states, _ = self.lstm((x - self.mean) / self.std)
        return states[:, -1]

    def flow(self, state: torch.Tensor) -> torch.Tensor:
        """What the river carries, (batch, 1), in units of `scale`."""
        return torch.nn.functional.softplus(self.head(state))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.flow(self.last_state(x)) * self.scale


def make(raw: Path, out: Path) -> None:
    """Trains until 2004-09, measures on the ten years after, and writes the demo into `out`."""
    days = _days(raw)
    features = days[[feature["name"] for feature in FEATURES]].to_numpy(np.float32)
    flow = days["flow"].to_numpy(np.float32)
    target_days = np.arange(STEPS - 1, len(days))
    windows = np.lib.stride_tricks.sliding_window_view(features, STEPS, axis=0).transpose(0, 2, 1)
    dates = days["date"]
    held_out = (dates >= HELD_OUT_FROM).to_numpy()[target_days]
    known = (dates < HELD_OUT_FROM).to_numpy()

    torch_models.reproducible(seed=0)
    train_x, train_y = torch.tensor(windows[~held_out]), torch.tensor(flow[target_days[~held_out]])[:, None]
    model = RiverLSTM(features[known].mean(0), features[known].std(0), float(train_y.std()))

    def batch_loss(indices: torch.Tensor) -> torch.Tensor:
        state = torch.nn.functional.dropout(model.last_state(train_x[indices]), DROPOUT)
        return torch.nn.functional.mse_loss(model.flow(state), train_y[indices] / model.scale)

    torch_models.fit(list(model.parameters()), batch_loss, len(train_x), **TRAINING, clip=1.0)
    model.eval()
    test_x = torch.tensor(windows[held_out])
    torch_models.export(model, (test_x[:3],), out / "model.pt2")
    torch_models.check_export(model, (test_x,), out / "model.pt2")
    with torch.no_grad():
        predicted = torch.cat([model(part) for part in test_x.split(512)]).numpy()

    target_days = target_days[held_out]
    truth = flow[target_days]
    climatology, regression = _references(days, features, flow, target_days)
    references = [
        folder.Reference(
            "mean", "always the mean of 1980-2004", folder.rmse(np.full(len(truth), flow[known].mean()), truth), True
        ),
        folder.Reference(
            "climatology",
            "the usual flow for the day of the year: its mean over 1980-2004 and 15 days around it",
            folder.rmse(climatology, truth),
            True,
        ),
        folder.Reference(
            "linear regression",
            "least squares on rain and snow, sunshine and temperatures of the last 1, 3, 7, 30, 90 and 180 days, "
            "fitted to 1980-2004",
            folder.rmse(regression, truth),
            False,
        ),
        folder.Reference(
            "persistence",
            "like yesterday, which a gauge in the river knows and the model does not",
            folder.rmse(flow[target_days - 1], truth),
            True,
        ),
    ]
    texts = dates.dt.strftime("%Y-%m-%d").to_numpy()
    week = windows[held_out][:, -7:, 0].sum(axis=1)
    chosen = _chosen(dates.iloc[target_days].reset_index(drop=True), week, truth, predicted[:, 0])
    sequences = [
        folder.Sequence(
            name=f"flow on {texts[target_days[i]]}",
            times=list(texts[target_days[i] - STEPS + 1 : target_days[i] + 1]),
            values=windows[held_out][i],
            observed=round(float(truth[i]), 1),
            predicted=predicted[i],
            note=note,
        )
        for i, note in chosen.items()
    ]
    metrics = folder.rmse_metrics(
        "m³/s",
        "every day from October 2004 to September 2014; trained on the 24 years before",
        predicted,
        truth,
        chosen,
    )
    background = windows[~held_out][folder.evenly(len(train_x), 32)]
    folder.write(out, TEXT, metrics, references, sequences, background, features[known].mean(0))


def _days(raw: Path) -> pd.DataFrame:
    """One row per day: its date, the features, and the flow in m³/s, which the file has in mm over the basin."""
    weather = pd.read_csv(
        io.BytesIO(
            data.read_file(
                raw,
                f"{RIVER}/01031500_lump_cida_forcing_leap.txt",
                "5700f71c078ee030fddd93373807588ed7baf0152f54767c36236db8e76ee4ed",
            )
        ),
        sep=r"\s+",
        skiprows=3,
    ).rename(columns=COLUMNS)
    river = pd.read_csv(
        io.BytesIO(
            data.read_file(
                raw,
                f"{RIVER}/01031500_05_model_output.txt",
                "95a36c95d10651ad77e3dbc2782e6bb163a46a1b0f5d1ca2d706927bb3a69465",
            )
        ),
        sep=r"\s+",
    )
    weather["date"] = pd.to_datetime(weather[["Year", "Mnth", "Day"]].set_axis(["year", "month", "day"], axis=1))
    river["date"] = pd.to_datetime(river[["YR", "MNTH", "DY"]].set_axis(["year", "month", "day"], axis=1))
    days = weather.merge(river[["date", "OBS_RUN"]], on="date", validate="one_to_one")
    days = days[days["date"].between(FIRST, LAST)].reset_index(drop=True)
    return days.assign(flow=days["OBS_RUN"] * AREA / 86.4)


def _chosen(dates: pd.Series, week: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> dict[int, str]:
    """Which held-out days to ship, by position, and why; `week` is the rain and snow of the last seven days in mm."""
    spring = dates.dt.month.between(3, 5).to_numpy()
    years = (dates + pd.DateOffset(months=3)).dt.year.to_numpy()  # from October
    chosen: dict[int, str] = {}

    def add(day: np.int64, note: str) -> None:
        chosen[int(day)] = "; ".join(part for part in (chosen.get(int(day)), note) if part)

    def highest(days: np.ndarray) -> np.int64:
        return np.where(days, truth, -1).argmax()

    for year in np.unique(years):
        one = years == year
        add(
            highest(one & spring & (week < DRY)), f"the highest flow of spring {year} after a week with hardly any rain"
        )
        if year % 2:
            add(highest(one & ~spring), f"the highest flow outside spring from October {year - 1} to September {year}")
        else:
            add(highest(one & spring), f"the highest flow of spring {year}")
    add(truth.argmin(), "the lowest flow of the ten years")
    add(np.abs(predicted - truth).argmax(), "the model's largest error")
    for day in np.flatnonzero((dates.dt.month == 2) & (dates.dt.day == 15) & dates.dt.year.isin([2008, 2009])):
        add(day, "deep winter: it snows, and the river stays low")
    return dict(sorted(chosen.items()))


def _references(
    days: pd.DataFrame, features: np.ndarray, flow: np.ndarray, target_days: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What climatology and a linear regression, both fitted to 1980-2004, say for each target day."""
    known = np.flatnonzero(days["date"] < HELD_OUT_FROM)
    year_day = days["date"].dt.dayofyear.to_numpy()
    by_day = pd.Series(flow[known]).groupby(year_day[known]).mean().reindex(range(1, 367)).to_numpy()
    padded = np.concatenate([by_day[-15:], by_day, by_day[:15]])
    usual = np.convolve(padded, np.ones(31) / 31, mode="valid")
    sums = np.concatenate([np.zeros((1, features.shape[1])), np.cumsum(features, axis=0, dtype=np.float64)])
    at = np.arange(STEPS - 1, len(days))
    means = [(sums[at + 1] - sums[at + 1 - span]) / span for span in (1, 3, 7, 30, 90, 180)]
    table = np.concatenate([*means, np.ones((len(at), 1))], axis=1)
    fit = np.linalg.lstsq(table[at < known[-1] + 1], flow[at[at < known[-1] + 1]])[0]
    return usual[year_day[target_days] - 1], table[target_days - STEPS + 1] @ fit
