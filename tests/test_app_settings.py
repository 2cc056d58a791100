"""The page of what the server is and allows."""

import sys

import pytest
from app_tools import app, workers  # noqa: F401 - fixtures
from streamlit import config

from explain_core.jobs.limits import Limits
from explain_core.jobs.sandbox import Status


@pytest.fixture
def settings(app, monkeypatch):  # noqa: F811
    """Draws the page for a sandbox and arguments of the server; what stands on it."""

    def draw(sandbox, *arguments):
        monkeypatch.setattr("ui.components.server.status", lambda: sandbox)
        monkeypatch.setattr(sys, "argv", ["app.py", *arguments])
        app.switch_page("pages/settings.py").run()
        assert not app.exception
        assert not app.error
        return app, "\n".join(each.value for each in (*app.markdown, *app.warning))

    return draw


def test_limits_stand_with_the_variables_that_set_them(settings):
    page, _ = settings(Status(True, "Landlock."))
    limits, versions = (table.value for table in page.table)
    here = dict(zip(limits["Set by"], limits["Here"], strict=True))
    own = Limits.of_this_machine()
    assert here["PAIRLIFT_JOBS"] == str(own.jobs)
    assert here["PAIRLIFT_UPLOAD_GB"] == "1.0 GB"
    assert here["maxUploadSize"] == "200 MB"
    assert versions["Version"]["Python"] == sys.version.split()[0]


def test_every_variable_of_the_limits_stands_there(settings):
    asked = {"PAIRLIFT_SPARES"}

    class Environment(dict):
        def get(self, name, default=None):
            asked.add(name)
            return default

    Limits.of_this_machine(Environment())
    page, _ = settings(Status(True, "Landlock."))
    assert asked <= set(page.table[0].value["Set by"])


def test_what_the_sandbox_denies_is_listed(settings):
    page, words = settings(Status(True, "Landlock 7.", ("writing outside", "the *network*")))
    assert "Files are opened in a sandbox.** Landlock 7." in words
    assert "- writing outside\n- the \\*network\\*" in words
    assert not page.warning


def test_what_follows_from_no_sandbox_is_said(settings):
    _, words = settings(Status(False, "This kernel has no Landlock."))
    assert "There is no sandbox here.** This kernel has no Landlock." in words
    assert "TorchScript files and SavedModels need `--trust-code`" in words
    assert "Code is not trusted" in words


def test_trusted_code_is_warned_of(settings):
    page, words = settings(Status(False, "This kernel has no Landlock."), "--trust-code")
    assert len(page.warning) == 2
    assert "Code is trusted" in words
    assert "need `--trust-code`" not in words


def test_browsers_keep_few_messages_and_for_long():
    """Else a run can refer to a message that the browser has just forgotten, and the page ends."""
    assert config.get_option("global.minCachedMessageSize") >= 100_000
    assert config.get_option("global.maxCachedMessageAge") >= 20
