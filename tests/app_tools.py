"""The app in Streamlit's own test runner: opened on a demo, and run until no job is under way."""

import json
import time
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from explain_core.jobs.worker import Worker

ROOT = Path(__file__).parents[1]
SOON = 180  # seconds in which every job of these tests surely ends


@pytest.fixture(scope="module")
def workers():
    """By framework, what does the jobs of all tests in a file: importing a framework takes longer than most jobs."""
    workers = {}
    yield workers
    for worker in workers.values():
        worker.close()


@pytest.fixture
def app(monkeypatch, workers):
    """The app, in a session of its own that does its jobs where the sessions before have done theirs."""

    def worker_of(framework, *, scheduler):
        if framework not in workers:
            workers[framework] = Worker(framework, scheduler=scheduler)
        return workers[framework]

    monkeypatch.setattr("ui.session.Worker", worker_of)
    monkeypatch.chdir(ROOT)
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=SOON)
    yield app
    if "session" in app.session_state:
        app.session_state["session"].workers.clear()
        app.session_state["session"].close()


def wait(app):
    """Run until no job is under way, as the browser does through the polling fragment.

    Runs of the script while nothing has ended would take the processor from the jobs that they wait for.
    """
    deadline = time.monotonic() + SOON
    ended = _ended(app)
    app.run()
    while any(button.key == "cancel" for button in app.button):
        asked = [each for each in _outcomes(app) if each.running and id(each) not in ended]
        while True:
            time.sleep(0.05)
            assert time.monotonic() < deadline
            if not asked or any(each.job.done for each in asked):
                break
        ended = _ended(app)
        app.run()
    assert not app.exception
    return app


def _outcomes(app):
    return [*app.session_state["session"]._outcomes.values()] if "session" in app.session_state else []


def _ended(app):
    """Which outcomes' jobs have ended; what a run leaves unsettled of those is not on its page."""
    return {id(each) for each in _outcomes(app) if each.job.done}


def stage(app):
    """The data of the stage on the page; none while the page has none, or an old one."""
    found = [json.loads(component.proto.json) for component in app.get("bidi_component")]
    return next((data for data in found if not data["dimmed"]), None)


def press_explain(app):
    """Press the button where there is one: where nothing is to be confirmed, own files are explained by themselves."""
    for button in app.button:
        if button.key == "explain":
            button.click()
