"""A report holds the numbers of its explanation, asks nothing of a network, runs nothing of others, and is true."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from browser_tools import browser
from stage_page import scene_from
from test_explanation import large
from test_figures import DAYS, explanation, small, with_gates

from explain_core import contrast
from explain_core.errors import InputError
from explain_core.report import Asked, Facts, asked_in, data_fingerprint, report_html, versions
from explain_core.report.asked import MOST_BYTES
from explain_core.report.lines import python_lines
from explain_core.report.numbers import tables
from explain_core.stage import Words, scene_of

__all__ = ["browser"]  # the fixture

ROOT = Path(__file__).parents[1]
HOSTILE = "</script><script>window.ran = 1</script><img src=x onerror='window.ran = 2'>\"&<!--"
WORDS = Words(title="Load", sequence="one day", headline="It is **10**.", baseline="an average day", unit="kW")


def report(ex=None, **options) -> str:
    ex = small() if ex is None else ex
    words = options.pop("words", dict.fromkeys(ex.outputs, WORDS))
    return report_html(ex, Facts(words=words, versions=versions(ex), **options))


def data_in(html: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)[1])


def test_a_report_has_every_output_and_input_as_the_stage_draws_them():
    ex = explanation(np.ones((1, 3, 2)), K=2)
    data = data_in(report(ex))
    assert data["names"] == ["class 0", "class 1"]
    for output, found in zip(ex.outputs, data["scenes"], strict=True):
        assert found == json.loads(json.dumps(scene_of(ex, output=output, words=WORDS).as_data()))


def test_a_report_begins_with_the_input_that_is_looked_at():
    ex = large()
    facts = Facts(words=dict.fromkeys(ex.outputs, WORDS), versions=versions(ex))
    for first in (*ex.input_names, None):
        scenes = data_in(report_html(ex, facts, input=first))["scenes"]
        names = [scene["input"] for scene in scenes[: len(ex.input_names)]]
        assert names[0] == (first or ex.input_names[0])
        assert sorted(names) == sorted(ex.input_names)


def test_a_report_says_what_it_is_about():
    html = report(
        with_gates(N=1),
        model="load.pt2",
        model_sha256="ab" * 32,
        data_sha256="cd" * 32,
        made="28 November 2026, 14:05 UTC",
    )
    for part in ("an average day", "load.pt2", "ab" * 32, "cd" * 32, "14:05 UTC", "PairLift ", "numpy ", "gru (GRU)"):
        assert part in html
    alts = re.findall(r'<img class="[^"]*" alt="([^"]+)"', html)
    assert len(alts) == 3  # stage, waterfall, gates
    assert "8 features" not in html


def test_tables_have_the_numbers():
    html = report()
    assert re.search(r"<th scope=\"row\">Wind</th><td>\+2\N{NO-BREAK SPACE}kW</td>", html)
    assert re.search(r"<th scope=\"row\">2 Jan 2024</th><td>−3\N{NO-BREAK SPACE}kW</td>", html)


def test_the_tables_of_one_feature_say_each_share_once():
    made = scene_from(np.ones((3, 1)))
    assert "Totals per" not in tables(made)
    assert "Every value" in tables(made)


def test_only_the_own_script_may_run_and_nothing_may_be_loaded():
    html = report()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', html)[1]
    code = re.search(r'<script type="module">(.*?)</script>', html, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'")
    assert f"script-src 'sha256-{digest}';" in policy
    assert html.count("<script") == 2
    assert not re.search(r"""(?:src|href)=["'](?!data:)""", html)
    assert "url(" not in html


def hostile_report() -> str:
    ex = explanation(np.ones((1, 3, 2)), coords={"time": DAYS, "feature": [HOSTILE, "Sun"]})
    ex.notes.append(HOSTILE)
    words = Words(HOSTILE, HOSTILE, unit=HOSTILE, headline=HOSTILE, baseline=HOSTILE, observed=HOSTILE)
    asked = Asked(xr.DataArray(np.ones((1, 3)), name=HOSTILE, dims=("sample", "time")))
    facts = {"model": HOSTILE, "made": HOSTILE, "units": {"Sun": HOSTILE}, "asked": asked}
    return report(ex, words={"load": words}, **facts)


def test_names_are_only_text():
    html = hostile_report()
    assert "<img src=x" not in html
    assert html.count("<script") == html.count("</script") == 3
    assert "<!--" not in html
    assert data_in(html)["scenes"][0]["title"] == HOSTILE


def asked_again(asked: Asked, folder: Path) -> Asked:
    (folder / "report.html").write_text(report(asked=asked), encoding="utf-8")
    return asked_in(folder / "report.html")


def test_what_was_asked_comes_back_bit_for_bit(tmp_path):
    series = xr.DataArray(
        np.random.default_rng(0).normal(size=(1, 3, 2)).astype(np.float32),
        {"sample": [HOSTILE], "time": DAYS, "feature": ["Wind", "Söñ"], "length": ("sample", [3])},
        ("sample", "time", "feature"),
        "x",
    )
    asked = Asked({"x": series, "lengths": np.array([3])}, np.zeros((4, 3, 2)), ["a", 1, (2, 0)], True, ("a", "b"))
    back = asked_again(asked, tmp_path)
    xr.testing.assert_identical(back.inputs["x"], series)
    assert back.inputs["x"].dtype == np.float32
    np.testing.assert_array_equal(back.inputs["lengths"], [3])
    np.testing.assert_array_equal(back.baselines, asked.baselines)
    assert back.target == asked.target
    assert back.options["output_names"] == ["a", "b"]
    assert asked_again(Asked(series, "mean", contrast("a", "b")), tmp_path).target == contrast("a", "b")


def test_what_no_file_can_hold_is_left_out():
    assert Asked(np.ones(3), lambda x: x).to_json() is None
    assert Asked(np.ones(MOST_BYTES // 8)).to_json() is None
    assert "Get the same numbers" not in report(asked=Asked(np.ones(3), lambda x: x))


def test_other_files_hold_nothing_that_was_asked(tmp_path):
    file = tmp_path / "other.html"
    with pytest.raises(InputError, match="cannot be read"):
        asked_in(file)
    file.write_text("<html>", encoding="utf-8")
    with pytest.raises(InputError, match="does not hold"):
        asked_in(file)
    file.write_text('<script type="application/json" id="asked">{"inputs": {"kind": "array", "dtype": "O"}}</script>')
    with pytest.raises(InputError, match="cannot be read"):
        asked_in(file)


def test_fingerprints_are_those_of_the_values():
    one, other = small(), small(values=np.arange(12.0).reshape(2, 3, 2) + 1)
    assert data_fingerprint(one) == data_fingerprint(small())
    assert data_fingerprint(one) != data_fingerprint(other)


AGAIN = """
import html, re, shutil
from dataclasses import replace
from pathlib import Path
import numpy as np
import explain_core as xc
from explain_core.demos import load_demo
from explain_core.explanation.joining import with_input_first
from ui.baselines import Baseline
from ui.downloads import report_bytes
from ui.in_words import Shown
from ui.own_runs import OwnRuns
from ui.subjects import asked_of, demo_subject, request_key

demo = load_demo("japanese-vowels")
subject = demo_subject(demo, demo.index(demo.default_sequence))
baseline = Baseline("Training", "3 training sequences", demo.background[:3], True)
request = subject.request(baseline, ["Speaker 1", "Speaker 3"], "auto", "cpu")
asked = asked_of(request)
made = xc.explain(xc.load_model(demo.model_path), asked.inputs, asked.baselines, **request.options, target=asked.target)
key, runs = request_key(request), OwnRuns()
shown = Shown(subject, baseline, with_input_first(made, request.main), key, asked=asked)
shown = replace(shown, subject=replace(subject, model=replace(subject.model, architecture={"a": "b"})))
run = runs.run(runs.keep(shown, request, 1.0, {}))

kept = runs.shown(run)  # as another visitor opens it, without the model
assert kept.subject.model.architecture == {"a": "b"}
page = report_bytes(replace(kept, subject=replace(kept.subject, model=subject.model)), "Speaker 3")
assert page.count(b"Get the same numbers again") == 1
Path("report.html").write_bytes(page)
shutil.copy(demo.model_path, run.about.model)
lines = html.unescape(re.search(r"<pre><code>(.*?)</code></pre>", page.decode(), re.DOTALL)[1])
there = {}
exec(lines, there)
np.testing.assert_array_equal(there["explained"].attributions.values, made.attributions.values)
assert there["explained"].outputs == made.outputs == ["Speaker 1", "Speaker 3"]
assert made.attrs["method"] == "DeepSHAP"
print("the same")
"""


def test_the_lines_of_a_kept_runs_report_give_the_same_numbers(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PAIRLIFT_DATA": str(data)}
    done = subprocess.run([sys.executable, "-c", AGAIN], capture_output=True, text=True, cwd=tmp_path, env=env)
    assert done.stdout.endswith("the same\n"), done.stderr[-2000:]


def test_the_lines_say_how_the_model_is_opened():
    facts = Facts(words={}, model="a.pth", architecture={"cell": "GRU"}, code="net.py", asked=Asked(np.ones(3)))
    ex = small()
    ex.attrs["method"] = "DeepLIFT"
    lines = python_lines(ex, facts)
    assert "xc.load_model('a.pth', architecture={'cell': 'GRU'}, code='net.py')" in lines


def test_there_are_no_lines_for_what_explain_does_not_make():
    ex = small()
    ex.attrs["method"] = "Gradient x input"
    assert python_lines(ex, Facts(words={}, asked=Asked(np.ones(3)))) == ""


@pytest.mark.browser
def test_in_a_browser_nothing_of_others_runs_and_nothing_is_asked_for(browser, tmp_path):
    file = tmp_path / "report.html"
    file.write_text(hostile_report(), encoding="utf-8")
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    asked, said = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(file.as_uri())
    page.locator(".alive .stage").wait_for()
    assert page.evaluate("window.ran") is None
    assert asked == [file.as_uri()]
    assert said == []
    assert HOSTILE in page.locator(".stage").inner_text()


@pytest.mark.browser
def test_in_a_browser_another_output_takes_the_place(browser, tmp_path):
    file = tmp_path / "report.html"
    ex = explanation(np.ones((1, 3, 2)), K=2)
    words = {output: Words(title=f"About {output}") for output in ex.outputs}
    file.write_text(report(ex, words=words), encoding="utf-8")
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(file.as_uri())
    page.locator(".stage h1", has_text="About class 0").wait_for()
    page.get_by_label("Shown").select_option("class 1")
    page.locator(".stage h1", has_text="About class 1").wait_for()
    assert page.locator(".still").is_hidden()
    page.emulate_media(media="print")
    assert page.locator(".still").is_visible()
    assert page.locator(".live").is_hidden()
