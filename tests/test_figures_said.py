"""What charts say to those who do not see them, from the numbers that they draw."""

import numpy as np
import pandas as pd
import pytest
from test_figures import explanation, with_gates
from test_ledger_figures import TOTALS, made_up

from explain_core import figures
from explain_core.figures import in_words
from explain_core.figures.comparison import comparison_figure
from explain_core.figures.ledger import ledger_totals_figure, ledger_waterfall_figure
from ui.parts import readable


def test_bars_are_read_with_their_numbers():
    way = figures.prediction_figure(explanation([[5.0, -4]], dims=("feature",)))
    assert in_words.bars_said(way) == "Baseline 10; feature 0 +5; feature 1 −4; Prediction 11."
    assert in_words.bars_said(way, most=1) == "Baseline 10; 2 more; Prediction 11."
    assert in_words.bars_said(ledger_totals_figure(made_up())).startswith("lstm · forget gate +3; head · exp −0.2; ")
    assert in_words.bars_said(ledger_waterfall_figure(made_up(), TOTALS)).endswith("Prediction difference +10.")


def test_names_are_read_as_they_are():
    named = explanation([[5.0, -4]], dims=("feature",), coords={"feature": ["a<b", "R&D"]})
    assert "R&D −4" in in_words.bars_said(figures.prediction_figure(named))


def test_gates_are_read_with_totals_and_the_strongest_timestep():
    gates = with_gates(K=2).gates["gru"].isel(sample=0, output=1)
    totals = gates["contribution"].sum(("time", "unit")).values
    said = in_words.contributions_said(gates, "°C")
    assert said.startswith(f"In all: reset gate {totals[0]:+,.3g}\N{NO-BREAK SPACE}°C, ".replace("-", "−"))
    strongest = int(np.abs(gates["contribution"].sum(("gate", "unit")).values).argmax())
    assert f"Most came in at {strongest}: " in said
    mean = float(gates["activation"][0].sel(gate="update").mean())
    assert f"update gate {mean:.4g} (baseline " in in_words.openness_said(gates)


def test_methods_are_read_with_their_errors():
    steps = pd.DataFrame({"method": ["PairLift", "shap"], "one_step": [1e-7, np.nan], "whole_sequence": [3e-7, 0.58]})
    assert in_words.steps_said(steps) == (
        "Largest relative errors. PairLift: one step 1e-7, whole sequence 3e-7; "
        "shap: one step without a result, whole sequence 0.6."
    )
    horizon = pd.DataFrame({"method": ["pairlift"] * 3, "steps": [1, 8, 16], "relative_error": [0, 1e-7, np.nan]})
    assert in_words.horizon_said(horizon) == "Relative error at the most timesteps: PairLift 1e-7 at 8."
    off = {
        "pairlift": explanation([[1.0, 2]], dims=("feature",)),
        "lrp": explanation([[1.0, 2]], dims=("feature",), off=0.5),
    }
    assert in_words.sums_said(off).startswith("PairLift adds up, ")
    assert in_words.sums_said(off).endswith(" is off by 0.5.")
    curves = pd.DataFrame({"name": ["PairLift", "other"], "deletion": [0.02, np.nan], "insertion": [0.6, np.nan]})
    assert in_words.curves_said(curves) == "Areas under the deletion and the insertion curve: PairLift 0.02 and 0.6."
    assert in_words.curves_said(curves[1:]) == ""


def test_a_few_strong_cells_do_not_whiten_the_others_and_the_words_say_so():
    cells = np.full((150, 2), 0.01)
    assert readable(comparison_figure({"pairlift": explanation([cells])})) == ""
    cells[-1] = 5.0, -4.0
    figure = comparison_figure({"pairlift": explanation([cells])})
    assert readable(figure) == "Colours end at ±0.01; 2 cells are stronger than their colour."
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == pytest.approx((-0.01, 0.01))
    assert figure.layout.coloraxis.colorbar.dtick == 0.005  # float32 has a little less than 0.01
    assert "lowers" in figure.layout.coloraxis.colorbar.title.text


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_colours_of_errors_are_not_those_of_sign(theme):
    colours = figures.style.theme_of(theme)
    assert not {colours.missing, colours.too_much} & {colours.positive, colours.negative}
