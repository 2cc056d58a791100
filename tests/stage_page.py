"""The stage in a browser without an app: scenes are made here and mounted in a shadow root, as Streamlit does."""

import json
from dataclasses import asdict

import numpy as np

from explain_core.figures.style import THEMES
from explain_core.stage import Scene, Words
from explain_core.stage.bundle import ASSETS, style
from explain_core.stage.contrast import chosen, contrasts_of
from explain_core.stage.grouping import fold_after, groups_of, order_of
from explain_core.stage.ranges import strongest_ranges, where_it_matters

ADDRESS = "http://stage.test/"
MOUNT = """async ({scene, css}) => {
    const {default: mount} = await import("/stage.js");
    const host = document.body.appendChild(document.createElement("div"));
    const root = host.attachShadow({mode: "open"});
    const sheet = root.appendChild(document.createElement("style"));
    sheet.textContent = css;
    window.told = [];
    const setStateValue = (name, value) => window.told.push([name, value]);
    window.show = (data) => mount({data, parentElement: root, setStateValue});
    window.show(scene);
    await new Promise(requestAnimationFrame);
    await new Promise(requestAnimationFrame);
}"""


def scene_from(attribution, *, value=None, baseline=None, names=None, tokens=None, unit="°C") -> Scene:
    """A scene of made-up numbers, (T, F)."""
    T, F = attribution.shape
    names = names or [f"feature {i + 1}" for i in range(F)]
    value = np.random.default_rng(0).normal(size=(T, F)).cumsum(axis=0) if value is None else value
    baseline = np.broadcast_to(value.mean(axis=0), (T, F)) if baseline is None else baseline
    grouped = groups_of(names)
    order = order_of(attribution, grouped)
    contrasts = contrasts_of(attribution, unit)
    return Scene(
        words=Words(title="A model", sequence="a walk", unit=unit, headline="The model predicts **1**."),
        residual="Adds up: exactly",
        adds_up=True,
        prediction=1.0,
        baseline_prediction=1.0 - float(attribution.sum()),
        input="x",
        inputs=["x"],
        output="y",
        outputs=["y"],
        time=np.arange(T) if T > 1 else None,
        features=names,
        units=[""] * F,
        groups=grouped,
        attribution=attribution,
        value=value,
        baseline=np.asarray(baseline),
        size=float(np.abs(attribution).sum()),
        order=order,
        fold_after=fold_after(attribution, order, grouped),
        contrasts=contrasts,
        contrast=chosen(contrasts, attribution),
        matters=where_it_matters(attribution),
        ranges=[(run, f"from {run.first + 1} to {run.last + 1}") for run in strongest_ranges(attribution)],
        tokens=tokens,
    )


def data_of(scene: Scene, **more):
    """What the component gets."""
    colours = {name: asdict(theme) for name, theme in THEMES.items()}
    return json.loads(json.dumps(scene.as_data())) | {"key": "it", "theme": "light", "colours": colours} | more


def answer(route):
    """Serve an empty page, and the stage's modules as they are in the package."""
    name = route.request.url.removeprefix(ADDRESS)
    if name.endswith(".js"):
        route.fulfill(body=(ASSETS / name).read_text(encoding="utf-8"), content_type="text/javascript")
    else:
        route.fulfill(body="<!doctype html><body style='margin: 0'>", content_type="text/html")


def mount(page, scene: Scene, **more):
    """The stage of a scene on an empty page."""
    page.route(f"{ADDRESS}*", answer)
    page.goto(ADDRESS)
    page.evaluate(MOUNT, {"scene": data_of(scene, **more), "css": style()})
    return page
