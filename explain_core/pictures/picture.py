"""A chart or a scene as the bytes of a file."""

from __future__ import annotations

import plotly.graph_objects as go

from explain_core.errors import InputError
from explain_core.figures.style import THEMES
from explain_core.pictures.canvas import drawn, without_tags
from explain_core.pictures.charts import draw_chart
from explain_core.pictures.fonts import letters_without_glyph
from explain_core.stage.scene import Scene
from explain_core.stage.still import still_figure

FORMATS = {"png": "image/png", "svg": "image/svg+xml"}
WIDTH = 1100


def boxed_letters(figure: go.Figure) -> list[str]:
    """Letters of a figure that no font installed here has: a PNG has boxes for them, an SVG has them as text."""
    drawn_texts = [figure.layout.to_plotly_json()]
    for trace in figure.data:
        drawn_texts.append([trace.name, *(trace[part] for part in ("x", "y", "text") if part in trace)])
    return letters_without_glyph(drawn_texts)


def picture(what: go.Figure | Scene, format: str = "png", *, theme: str | None = None, width: int = WIDTH) -> bytes:
    """A picture of a figure of `explain_core.figures`, or of a whole scene, without a browser.

    Args:
        format: "png" (twice as sharp as a page) or "svg" (text stays text).
        theme: the page that is drawn behind it; None is the one that the figure was made for, and "light" for a scene.
        width: in pixels of a page.

    Raises:
        InputError: no such format or theme.
    """
    if format not in FORMATS:
        raise InputError(f"There is no picture as {format!r}.", hint=f"Choose one of {', '.join(FORMATS)}.")
    if isinstance(what, Scene):
        what = still_figure(what, theme=theme or "light")
    theme = theme or next((name for name, each in THEMES.items() if each.text == what.layout.font.color), "light")
    height = int(what.layout.height or 450)
    title = without_tags(what.layout.title.text)
    return drawn(lambda sheet, colours: draw_chart(sheet, colours, what), width, height, theme, format, title)
