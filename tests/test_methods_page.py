"""The page that compares methods: rows as they come, failures as rows, tables that are kept."""

import pytest
from app_tools import SOON, app, wait, workers

from explain_core.diagnostics import comparison, horizons
from ui.subjects import request_key

__all__ = ["app", "workers"]  # the fixtures


def wait_without_error(app):
    wait(app)
    assert not app.error
    return app


def kept_with(app, name):
    """The tables of the explanation that is looked at, read from its file again; one of them has this name."""
    session = app.session_state["session"]
    session._loaded.clear()
    kept = session.load(request_key(app.session_state["choice"].request)).diagnostics
    assert name in kept
    return kept


def rows(app):
    return app.dataframe[0].value.set_index("Method")


@pytest.mark.parametrize("ended", [False, True], ids=["at once", "as it ends"])
def test_cancel_stops_all_methods_and_again_goes_on(app, monkeypatch, ended):
    monkeypatch.setattr(comparison, "DEFAULT", ("pairlift", "deep_lift"))
    wait_without_error(app)
    app.switch_page("pages/methods.py")
    app.run()
    if ended:
        _, first = app.session_state["method running"]
        first.job.result(SOON)
    app.button(key="cancel").click()
    app.run()
    assert app.button(key="again")
    assert any("Cancelled" in info.value for info in app.info)
    if ended:
        assert rows(app).index.tolist() == ["PairLift"]  # what was done before stays
    app.button(key="again").click()
    wait_without_error(app)
    assert rows(app).index.tolist() == ["PairLift", "captum DeepLift"]


def test_methods_come_one_by_one_and_a_failing_one_is_a_row(app, monkeypatch):
    monkeypatch.setattr(comparison, "DEFAULT", ("pairlift", "deep_lift"))
    wait_without_error(app)
    app.switch_page("pages/methods.py")
    wait_without_error(app)
    table = rows(app)
    assert table.loc["PairLift", "Adds up"] == "yes"
    assert table.loc["PairLift", "Off by"] == "under 0.01\N{NO-BREAK SPACE}%"
    assert table.loc["captum DeepLift", "Adds up"] == "no"
    assert len(app.get("plotly_chart")) == 2
    app.multiselect(key="methods torch").set_value(["exact_shapley"])
    wait_without_error(app)
    table = rows(app)
    assert table.index.tolist() == ["PairLift", "Shapley values, exact"]
    assert table.loc["Shapley values, exact", "Adds up"] == "no result"
    said = next(note.value for note in app.caption if "Shapley values, exact: " in note.value)
    assert "180 values need 2^180 runs" in said.replace("\\", "")


def test_what_relevance_propagation_loses_stands_beside_its_sum(app, monkeypatch):
    monkeypatch.setattr(comparison, "DEFAULT", ("pairlift", "lrp"))
    wait_without_error(app)
    app.switch_page("pages/methods.py")
    wait_without_error(app)
    assert not app.exception
    assert any(text.value.startswith("Relevance propagation shares out the prediction of") for text in app.markdown)
    kept = kept_with(app, "methods_absorbed")
    inputs = kept["methods_attributions"]["lrp"].sum()
    prediction = app.session_state["session"].load(request_key(app.session_state["choice"].request)).prediction
    assert inputs + kept["methods_absorbed"]["value"].sum() == pytest.approx(float(prediction[0, 0]), rel=1e-5)


def test_a_keras_model_the_crash_of_shap_on_it_and_the_tables_that_are_kept(app, monkeypatch):
    monkeypatch.setattr(comparison, "DEFAULT", ("pairlift", "deep_explainer", "integrated_gradients"))
    monkeypatch.setattr(horizons, "DEFAULT", ("pairlift", "deep_explainer"))
    wait_without_error(app)
    app.selectbox(key="demo").set_value("el-nino")
    app.switch_page("pages/methods.py")
    wait_without_error(app)
    table = rows(app)
    assert table.loc["PairLift", "Adds up"] == "yes"
    assert table.loc["Integrated gradients, 50 steps", "Adds up"] == "yes"
    assert any("shap DeepExplainer: " in note.value and "TensorListStack" in note.value for note in app.caption)
    assert "captum DeepLift" not in table.index
    app.button(key="horizon").click()
    wait_without_error(app)
    assert len(app.get("plotly_chart")) == 3
    kept = kept_with(app, "horizon")
    assert kept["methods"]["method"].tolist() == ["pairlift", "deep_explainer", "integrated_gradients"]
    horizon = kept["horizon"]
    assert (horizon[horizon["method"] == "pairlift"]["relative_error"] < 1e-3).all()
    assert horizon["steps"].max() == 12


def test_the_ledgers_of_all_methods_go_into_the_saved_explanation(app):
    wait_without_error(app)
    app.switch_page("pages/diagnostics.py")
    wait_without_error(app)
    kept = kept_with(app, "ledger")
    totals = kept["ledger totals"].set_index("method")
    booked = kept["ledger"].groupby("method")["defect"].sum()
    assert abs(totals.loc["shap", "error"]) > 0.1
    assert (abs(booked - totals["error"]) < 1e-5).all()  # of a difference of 14 degrees; measured: at most 4e-7


def test_two_jobs_may_be_waited_for_on_one_page(app):
    app.switch_page("pages/steps.py")
    app.run()
    app.button(key="run published").click()
    app.run()
    assert not app.error
    assert not app.exception
    assert {"cancel", "cancel published"} <= {button.key for button in app.button}
