"""The report: one HTML file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from explain_core.explanation import Explanation
from explain_core.figures import gate_figure, prediction_figure
from explain_core.figures.style import THEMES
from explain_core.pictures import picture
from explain_core.report.asked import ELEMENT
from explain_core.report.facts import Facts
from explain_core.report.lines import python_lines
from explain_core.report.numbers import tables
from explain_core.report.parts import facts as fact_list
from explain_core.report.parts import image, json_script, json_text, script_hash, text
from explain_core.stage import Scene, scene_of
from explain_core.stage.bundle import bundle, style
from explain_core.words import number, signed

_ASSETS = Path(__file__).parent / "assets"
_MOST_LAYERS = 4
METHODS = {
    "DeepLIFT": "The model ran twice side by side: once on the sequence, and once on the baseline. The difference of "
    "the two answers was followed back through every step of the model, exactly and not by trying out, until each "
    "value of the sequence had its share of it (DeepLIFT, Shrikumar et al. 2017).",
    "DeepSHAP": "The model ran on the sequence, and beside it on every sequence of the background. Each difference of "
    "two answers was followed back through every step of the model, until each value of the sequence had its share of "
    "it; what is shown is the average over the background (DeepSHAP, Lundberg and Lee 2017).",
}


def report_html(explanation: Explanation, facts: Facts, sample: Any = None, input: str | None = None) -> str:
    """One self-contained HTML page about one sample. It asks nothing of a network, and says so to the browser.

    Args:
        facts: what the explanation does not know of itself; ``facts.words`` has the outputs that are in the report.
        sample: label, or position where labels are text; None is the first.
        input: of several, the one that the report begins with; None is the model's first.

    Raises:
        InputError, TargetError: no such sample or output.
    """
    inputs = sorted(explanation.input_names, key=lambda name: name != input)
    scenes = {
        output: [scene_of(explanation, sample, output, name, units=facts.units, words=words) for name in inputs]
        for output, words in facts.words.items()
    }
    first = next(iter(scenes.values()))
    code = f"{bundle()}\n{_asset('report.js')}"
    data = {
        "scenes": [scene.as_data() for several in scenes.values() for scene in several],
        "names": [_scene_name(scene, several=len(scenes) > 1) for several in scenes.values() for scene in several],
        "theme": facts.theme,
        "colours": {name: asdict(theme) for name, theme in THEMES.items()},
    }
    policy = (
        f"default-src 'none'; script-src {script_hash(code)}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    title = " · ".join(part for part in (first[0].words.title, first[0].words.sequence) if part) or first[0].output
    about = f"<p>For {text(first[0].output)}.</p>" if len(scenes) > 1 else ""
    asked = facts.asked.to_json() if facts.asked is not None else None
    sections = [
        ("How it was computed", _method(explanation, first[0])),
        ("From the baseline to the prediction", about + _waterfall(explanation, first[0], facts, sample)),
        ("Inside the memory", _gates(explanation, first[0], sample)),
        ("The numbers", "".join(tables(scene) for scene in first)),
        ("Notes", _notes(explanation)),
        ("Where it comes from", _origin(explanation, facts)),
        ("Get the same numbers again", _again(explanation, facts) if asked is not None else ""),
    ]
    body = "".join(_section(heading, content) for heading, content in sections if content)
    return f"""<!DOCTYPE html>
<html lang="en" data-theme="{text(facts.theme)}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="{"light dark" if facts.theme == "auto" else text(facts.theme)}">
<meta name="generator" content="PairLift">
<title>{text(title)}</title>
<style>{style()}\n{_asset("report.css")}</style>
</head>
<body>
<main>
<div class="live">
<label class="which" hidden>Shown <select></select></label>
<div id="place"></div>
</div>
<div class="still">{_still(first)}</div>
<div class="rest">{body}</div>
</main>
{json_script("data", json_text(data))}
{json_script(ELEMENT, asked) if asked is not None else ""}
<script type="module">{code}</script>
</body>
</html>
"""


def _section(heading: str, content: str) -> str:
    return f'<section id="{heading.lower().replace(" ", "-")}"><h2>{text(heading)}</h2>{content}</section>'


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")


def _scene_name(scene: Scene, *, several: bool) -> str:
    parts = [scene.output if several else "", scene.input if len(scene.inputs) > 1 else ""]
    return ", ".join(part for part in parts if part) or scene.output


def _still(scenes: list[Scene]) -> str:
    """The same without scripts and on paper."""
    pictures = "".join(image(picture(scene, "svg"), scene.alt) for scene in scenes)
    return f"<h1>{text(scenes[0].words.title or scenes[0].output)}</h1>{pictures}"


def _method(explanation: Explanation, scene: Scene) -> str:
    words, unit = scene.words, scene.words.unit
    name = str(explanation.attrs.get("method", ""))
    method = METHODS.get(name, f"The method is {name}." if name else "")
    baseline = f"The baseline is {words.baseline}." if words.baseline else ""
    residual = (
        f"The shares should lead from the baseline's {words.noun}, {number(scene.baseline_prediction, unit)}, to "
        f"{number(scene.prediction, unit)}. That was checked for this result. {scene.residual}."
    )
    observed = f"What really happened: {words.observed}." if words.observed else ""
    said = [method, f"{baseline} {words.baseline_note}".strip(), residual, observed]
    return "".join(f"<p>{text(each)}</p>" for each in said if each)


def _waterfall(explanation: Explanation, scene: Scene, facts: Facts, sample: Any) -> str:
    chart = prediction_figure(explanation, sample, scene.output, unit=scene.words.unit, titled=False)
    ends = number(scene.baseline_prediction), signed(scene.change), number(scene.prediction)
    alt = f"Bars from the baseline's {scene.words.noun} of {ends[0]}, over totals of {ends[1]} together, to {ends[2]}"
    return image(picture(chart, "svg"), alt, "chart")


def _gates(explanation: Explanation, scene: Scene, sample: Any) -> str:
    layers = list(explanation.gates)
    pictures = []
    for layer in layers[:_MOST_LAYERS]:
        chart = gate_figure(explanation, layer, sample, scene.output, titled=False)
        kind = str(explanation.gates[layer].attrs.get("kind", "recurrent"))
        alt = f"Contribution of every gate of the {kind} layer {layer} to {scene.output} at each timestep"
        pictures.append(f"<h3>{text(layer)} ({text(kind)})</h3>{image(picture(chart, 'svg'), alt, 'chart')}")
    if not pictures:
        return ""
    more = len(layers) - _MOST_LAYERS
    rest = f"<p>{more} more {'layer is' if more == 1 else 'layers are'} left out here.</p>" if more > 0 else ""
    what = f"{scene.words.noun} of {scene.output}"
    intro = (
        "<p>The recurrent layers keep a memory. At each timestep the bars say what came into it through which gate and "
        f"reached the {text(what)}; the line below says how much of it there was, and how much was carried over.</p>"
    )
    return intro + "".join(pictures) + rest


def _notes(explanation: Explanation) -> str:
    return f"<ul>{''.join(f'<li>{text(note)}</li>' for note in explanation.notes)}</ul>" if explanation.notes else ""


def _origin(explanation: Explanation, facts: Facts) -> str:
    attrs = explanation.attrs
    return fact_list(
        [
            ("Made", facts.made),
            ("Model", facts.model),
            ("Fingerprint of the model (SHA-256)", facts.model_sha256),
            ("Fingerprint of the data (SHA-256)", facts.data_sha256),
            ("Precision", str(attrs.get("dtype", ""))),
            ("Device", str(attrs.get("device", ""))),
            ("Versions", ", ".join(f"{name} {version}" for name, version in facts.versions.items())),
        ]
    )


def _again(explanation: Explanation, facts: Facts) -> str:
    lines = python_lines(explanation, facts)
    if not lines:
        return ""
    return (
        "<p>This file holds the sequence and the baseline. Saved as report.html, with the model's file beside it, "
        f"these lines compute it all again:</p><pre><code>{text(lines)}</code></pre>"
    )
