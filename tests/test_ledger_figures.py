"""What the page about ledgers draws and says, from made-up ledgers whose answer is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from explain_core.diagnostics.growth import compounded
from explain_core.diagnostics.in_words import headline, seed_of
from explain_core.errors import InputError
from explain_core.figures.growth import compounding_figure, conservation_figure
from explain_core.figures.ledger import ledger_figure, ledger_totals_figure, ledger_waterfall_figure

STEPS = 60


def made_up(steps: int = STEPS) -> pd.DataFrame:
    """The forget gate loses 3 at timesteps 40 to 44; the head gives back 0.2."""
    rows = []
    for part in ("input", "forget", "linear"):
        defect = np.zeros(steps)
        if part == "forget":
            defect[40:45] = 0.6
        rows.append(
            pd.DataFrame({"sample": 0, "layer": "lstm", "time": np.arange(steps), "part": part, "defect": defect})
        )
    rows.append(pd.DataFrame({"sample": 0, "layer": ["head"], "time": [np.nan], "part": "exp", "defect": [-0.2]}))
    return pd.concat(rows, ignore_index=True)


TOTALS = pd.Series({"difference": 10.0, "attributed": 7.2, "error": 2.8, "booked": 2.8})


def test_the_headline_says_by_how_much_and_where():
    words = headline("shap", made_up(), TOTALS, "°C")
    assert words == (
        "**shap** is off by **28\N{NO-BREAK SPACE}%** of the prediction difference (+2.8\N{NO-BREAK SPACE}°C). "
        "Most of it is made in **the forget gate** of `lstm`, mainly at timesteps **40 to 42**."
    )


def test_the_seed_is_the_shortest_run_with_half_of_the_share():
    seed = seed_of(made_up(), 2.8)
    assert (seed.layer, seed.part, seed.first, seed.last) == ("lstm", "forget", 40, 42)
    np.testing.assert_allclose(seed.share, 3 / 2.8)
    assert seed_of(made_up(), 0.0) is None


def test_an_error_outside_recurrent_layers_has_no_time():
    seed = seed_of(made_up(), -0.2)
    assert (seed.layer, seed.part, seed.first) == ("head", "exp", None)


def test_a_method_that_adds_up():
    exact = made_up().assign(defect=0.0)
    words = headline("PairLift", exact, TOTALS.replace({2.8: 1e-8}), "")
    assert words == "**PairLift** adds up: off by +1e−8, which is rounding."


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("steps", [STEPS, 5000])
def test_the_heatmap_keeps_every_total(theme, steps):
    (heat,) = ledger_figure(made_up(steps), "lstm", theme=theme).data
    np.testing.assert_allclose(np.asarray(heat.z).sum(axis=1), [0, 3, 0], rtol=1e-6)
    assert list(heat.y) == ["Input gate", "Forget gate", "Matrix products and sums"]


def test_bars_and_waterfall_have_the_whole_error():
    (bars,) = ledger_totals_figure(made_up()).data
    np.testing.assert_allclose(np.sum(bars.x), 2.8, rtol=1e-6)
    assert bars.y[0] == "lstm · forget gate"
    (fall,) = ledger_waterfall_figure(made_up(), TOTALS).data
    np.testing.assert_allclose(sum(fall.x[:-1]), fall.x[-1], rtol=1e-6)
    assert (fall.measure[0], fall.measure[-1]) == ("absolute", "total")


def test_parts_that_are_only_rounding_are_one_bar():
    noise = pd.DataFrame(
        {"sample": 0, "layer": "", "time": np.nan, "part": ["a", "b", "c"], "defect": [1e-9, -4e-8, 0]}
    )
    (bars,) = ledger_totals_figure(pd.concat([made_up(), noise])).data
    assert list(bars.y) == ["lstm · forget gate", "head · exp", "5 others together"]
    np.testing.assert_allclose(np.sum(bars.x), 2.8, rtol=1e-6)


def test_layers_that_are_not_there_are_named():
    with pytest.raises(InputError, match="no recurrent layer 'gru'"):
        ledger_figure(made_up(), "gru")


def test_how_it_builds_up():
    steps = pd.DataFrame(
        {
            "sample": 0,
            "layer": "lstm",
            "time": np.arange(STEPS),
            "multiplier": 0.9 ** np.arange(STEPS)[::-1],
            "change": 2.0,
            "backwards": False,
        }
    )
    table = compounded(made_up(), steps)
    np.testing.assert_allclose(table["amplification"], steps["multiplier"])
    np.testing.assert_allclose(table["local"] * steps["multiplier"], table["defect"])
    np.testing.assert_allclose(table["relative"], table["local"].abs() / 2)
    backwards = compounded(made_up(), steps.assign(backwards=True))
    np.testing.assert_allclose(backwards["amplification"].iloc[0], 1)
    figure = compounding_figure(table, "lstm", 2.8, theme="dark")
    np.testing.assert_allclose(figure.data[-1].y[-1], 3, rtol=1e-6)
    assert figure.layout.yaxis2.type == "log"


def test_what_is_conserved():
    mass = np.linspace(0, 1, STEPS)
    table = pd.DataFrame({"layer": "lstm", "time": np.arange(STEPS), "mass": mass, "accounted": mass - 0.1})
    table = table.assign(residual=0.1, leaked=0.1 * np.arange(1, STEPS + 1))
    figure = conservation_figure(table, "lstm")
    np.testing.assert_allclose(figure.data[0].y - figure.data[1].y, 0.1)
    np.testing.assert_allclose(figure.data[3].y[-1], 6)
