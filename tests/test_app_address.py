"""The address holds the view, whatever stands in it, and a kept run is shown without its model."""

import pytest
from app_tools import ROOT, SOON, app, press_explain, wait, workers
from streamlit.testing.v1 import AppTest
from test_app import CSV, stage, state_dict, text, upload
from test_runs import ABOUT

from explain_core.demos import list_demos, load_demo
from explain_core.errors import RunError
from ui.address import ignored
from ui.demo_jobs import DemoJobs
from ui.own_runs import shared_store
from ui.session import Session

__all__ = ["app", "workers"]  # the fixtures


@pytest.fixture
def another(app):
    """The app in another browser."""
    another = AppTest.from_file(str(ROOT / "app.py"), default_timeout=SOON)
    yield another
    if "session" in another.session_state:
        another.session_state["session"].close()


def address(app):
    return {name: value if isinstance(value, str) else value[0] for name, value in app.query_params.items()}


def run_of(app):
    wait(app)
    return address(app)["run"]


def names(app):
    return next(each for each in app.text_input if each.label == "Names of the outputs")


def output_of(app):
    return next(each for each in app.selectbox if each.label == "Output")


def explained(app):
    """An own model with two outputs, explained; its run."""
    wait(app)
    upload(app, ("walk.pth", state_dict(outputs=2)), ("walk.csv", CSV))
    names(app).set_value("rising, falling")
    wait(app)
    press_explain(app)
    return run_of(app)


def test_a_demo_does_not_stand_in_the_address_while_own_files_are_given(app):
    assert run_of(app)
    app.segmented_control(key="source").set_value("files")
    wait(app)
    assert address(app) == {}
    assert not app.error


def test_a_result_does_not_stand_in_the_address_while_other_files_do_not_fit(app):
    explained(app)
    app.query_params["from"], app.query_params["to"] = "1", "2"
    upload(app, data=("other.csv", b"a\nword\n"))
    wait(app)
    assert app.error
    assert address(app) == {}


def test_what_is_shown_stands_in_the_address_and_the_way_back_leads_there(app):
    first = run_of(app)
    words = text(app)
    slug = app.selectbox(key="demo").value
    sequence = app.selectbox(key=f"sequence {slug}").value
    app.selectbox(key=f"sequence {slug}").select_index(0)
    assert run_of(app) != first
    app.query_params.clear()
    app.query_params["run"] = first
    wait(app)
    assert app.selectbox(key=f"sequence {slug}").value == sequence
    assert text(app) == words
    assert address(app) == {"run": first}


def test_a_message_that_was_on_its_way_does_not_lead_back(app):
    first = run_of(app)
    slug = app.selectbox(key="demo").value
    app.selectbox(key=f"sequence {slug}").select_index(0)
    assert run_of(app) != first
    app.query_params["run"] = first  # the browser's, as it was when this was chosen:
    app.selectbox(key=f"sequence {slug}").select_index(1)
    wait(app)
    assert app.selectbox(key=f"sequence {slug}").value == load_demo(slug).names[1]
    assert address(app)["run"] != first


def test_a_link_shows_a_demo_in_another_browser_without_computing(app, another, monkeypatch):
    wait(app)
    app.selectbox(key="demo").set_value(list_demos()[0].slug)
    wait(app)
    slug = app.selectbox(key="demo").value
    app.selectbox(key=f"baseline {slug}").set_value("Zeros")
    run = run_of(app)
    monkeypatch.setattr(DemoJobs, "explanation", None)
    another.query_params["run"] = run
    wait(another)
    assert another.selectbox(key=f"baseline {slug}").value == "Zeros"
    assert address(another) == {"run": run}
    assert text(another) == text(app)


def test_an_own_result_is_shown_by_its_link_without_its_model(app, another):
    run = explained(app)
    output = output_of(app).value
    other = next(name for name in ("rising", "falling") if name != output)
    output_of(app).set_value(other)
    wait(app)
    assert address(app) == {"run": run, "output": other}
    for name, value in address(app).items():
        another.query_params[name] = value
    wait(another)
    assert stage(another)["title"].startswith("Walk")
    assert output_of(another).value == other
    assert stage(another) == stage(app)
    assert address(another) == {"run": run, "output": other}
    assert "Somebody shared this run with you" in "\n".join(caption.value for caption in another.sidebar.caption)
    assert not [button for button in another.sidebar.button if "run" in (button.key or "")]
    another.switch_page("pages/layers.py")
    wait(another)
    assert len(another.get("plotly_chart")) == 2
    for page in ("methods", "diagnostics", "steps", "parity", "model"):
        another.switch_page(f"pages/{page}.py")
        wait(another)
        assert "of a kept run only the result is here" in text(another)


def test_the_way_back_to_an_own_model_has_the_model(app):
    run = explained(app)
    app.segmented_control(key="source").set_value("demo")
    assert run_of(app) != run
    app.query_params.clear()
    app.query_params["run"] = run
    wait(app)
    assert app.segmented_control(key="source").value == "files"
    assert stage(app)["title"].startswith("Walk")
    assert names(app).value == "rising, falling"
    app.switch_page("pages/model.py")
    wait(app)
    assert "of a kept run only the result" not in text(app)


def test_ones_own_runs_are_listed_renamed_and_deleted(app):
    run = explained(app)
    app.segmented_control(key="source").set_value("kept")
    wait(app)
    listed = app.selectbox(key="kept run")
    assert listed.value == run
    assert len(listed.options) == 2  # the demo's too
    app.text_input(key=f"name of run {run}").set_value("For Monday")
    wait(app)
    assert app.selectbox(key="kept run").options[0].endswith("· For Monday")
    app.button(key="delete run").click()
    wait(app)
    (left,) = (each for each in app.get("selectbox") if each.key == "kept run")
    assert len(left.options) == 1
    assert left.proto.set_value  # which a browser needs that shows the run that is gone
    app.button(key="delete run").click()
    wait(app)
    assert "Nothing is kept yet" in text(app)
    assert app.title[0].value == "Kept runs"
    assert address(app) == {}
    assert not app.toast


def test_a_run_that_another_tab_has_deleted_is_said(app):
    run = run_of(app)
    app.segmented_control(key="source").set_value("kept")
    wait(app)
    session = app.session_state["session"]
    shared_store()[0].delete(session.runs.owner, run)
    app.button(key="delete run").click()  # as this tab has it still
    wait(app)
    assert "may have been deleted in another tab" in app.toast[0].value
    app.segmented_control(key="source").set_value("demo")
    again = run_of(app)
    app.segmented_control(key="source").set_value("kept")
    wait(app)
    shared_store()[0].delete(session.runs.owner, again)
    wait(app)
    assert "it was deleted in another tab" in app.toast[0].value
    assert "Nothing is kept yet" in text(app)
    assert address(app) == {}
    wait(app)
    assert not app.toast  # said once


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({}, ""),
        ({"run": "r"}, ""),
        ({"run": "r", "output": "heat", "input": "static", "from": "2", "to": "8"}, ""),
        ({"run": "r", "from": "2", "to": "9"}, "timesteps after the last one"),
        ({"run": "r", "from": "9", "to": "10"}, "timesteps"),
        ({"run": "r", "from": "3", "to": "2"}, "timesteps"),
        ({"run": "r", "from": "-1", "to": "2"}, "timesteps"),
        ({"run": "r", "from": "nan"}, "timesteps"),
        ({"run": "r", "to": "3"}, "timesteps"),
        ({"run": "r", "output": "x" * 10_000}, "an output that"),
        ({"run": "r", "input": "heat"}, "an input that"),
        ({"from": "2", "to": "3"}, "a view without a run"),
        ({"run": "../../x", "from": "2", "to": "0"}, ""),  # which is said of the run
        ({"<b>utm": "<b>", "run": "r"}, "what is not run, output, input, from or to"),
    ],
)
def test_what_is_ignored_in_an_address_is_said_without_its_words(query, said):
    names = {"output": ["wear", "heat"], "input": ["x", "static"]}
    words = ignored({name: [value] for name, value in query.items()}, "r", names, 8)
    assert said in words
    assert bool(words) == bool(said)
    assert len(words) < 100
    assert "<b>" not in words
    assert "more than once" in ignored({"run": ["x", "r"]}, "r", names, 8)


def test_what_was_deleted_elsewhere_is_kept_again_once_it_is_chosen_again(app):
    run, session = run_of(app), app.session_state["session"]
    shared_store()[0].delete(session.runs.owner, run)
    wait(app)
    assert ["it was deleted in another tab" in each.value for each in app.toast] == [True]
    assert stage(app)
    for page in ("model", "explanation"):
        app.switch_page(f"pages/{page}.py")
        wait(app)
        assert address(app) == {}
        assert not app.toast
        assert not session.runs.all()
    app.segmented_control(key="source").set_value("kept")
    wait(app)
    app.segmented_control(key="source").set_value("demo")
    again = run_of(app)
    assert again != run
    assert shared_store()[0].run(again).id == again


def test_a_run_that_is_gone_is_said_once_to_whoever_pins_it():
    session = Session()
    run = shared_store()[0].add(session.runs.owner, ABOUT, 1)
    shared_store()[0].delete(session.runs.owner, run.id)
    session.pin_run(run, True)
    assert len(session.notices) == 1
    assert run.id in session.runs.deleted  # of which the sidebar says nothing more
    session.close()


@pytest.mark.parametrize(
    "query",
    [
        {"run": "x" * 22},
        {"run": "<script>alert(1)</script>"},
        {"run": ""},
        {"output": "nothing", "from": "1", "to": "2"},
        {"run": "../../runs.sqlite", "output": "\0" * 100, "from": "-1", "to": "9" * 400},
    ],
)
def test_an_address_that_somebody_made_up_is_said_or_ignored(app, query):
    for name, value in query.items():
        app.query_params[name] = value
    wait(app)
    said = [error.value for error in app.error]
    assert all("There is no run at this address" in each for each in said)
    assert bool(said) == bool(query.get("run"))
    assert stage(app)["below"] == bool(said)  # which the stage is not to cover
    assert "Adds up" in text(app)


@pytest.mark.parametrize(
    "view",
    [
        {"from": "5", "to": "2"},
        {"from": "0", "to": "3"},
        {"from": "1e3", "to": "x"},
        {"from": "999999999", "to": "999999999"},
        {"output": "no such output", "from": "２", "to": "4"},
        {"output": "x" * 10_000},
    ],
)
def test_a_view_that_there_cannot_be_is_ignored(app, view):
    run = run_of(app)
    words = text(app)
    for name, value in view.items():
        app.query_params[name] = value
    wait(app)
    assert not app.error
    assert text(app) == words
    assert address(app)["run"] == run
    assert "Ignored in the address" in app.toast[0].value


def test_a_run_whose_file_is_damaged_is_said(app, another):
    run = explained(app)
    store = shared_store()[0]
    (store.folder / "results" / store.run(run).result).write_bytes(b"\0" * 10)
    another.query_params["run"] = run
    wait(another)
    assert any("The file of this run is damaged" in error.value for error in another.error)


def test_what_could_not_be_kept_is_not_shown_under_the_address_of_something_else(app, monkeypatch):
    run_of(app)

    def full(*args, **kwargs):
        raise RunError("No space left.")

    monkeypatch.setattr(shared_store()[0], "add", full)
    slug = app.selectbox(key="demo").value
    app.selectbox(key=f"sequence {slug}").select_index(0)
    wait(app)
    assert stage(app)["sequence"] == load_demo(slug).names[0]
    assert address(app) == {}
    assert "No space left." in app.toast[0].value


def test_a_zoom_goes_on_where_the_timesteps_are_the_same(app):
    wait(app)
    demo = load_demo("japanese-vowels")
    app.selectbox(key="demo").set_value(demo.slug)
    wait(app)
    here = demo.index(app.selectbox(key=f"sequence {demo.slug}").value)
    as_long = next(i for i, length in enumerate(demo.lengths) if i != here and length == demo.lengths[here])
    other = next(i for i, length in enumerate(demo.lengths) if length != demo.lengths[here])
    app.query_params["from"], app.query_params["to"] = "2", "5"
    for place, zoomed in ((here, True), (as_long, True), (other, False)):
        app.selectbox(key=f"sequence {demo.slug}").select_index(place)
        run_of(app)
        assert ("from" in address(app)) == zoomed
        assert stage(app)["view"] == (
            {"first": 1, "last": 4} if zoomed else {"first": 0, "last": demo.lengths[place] - 1}
        )
