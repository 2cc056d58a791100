"""A sheet to draw on, and its bytes. Matplotlib is imported here and within functions, since it is large."""

from __future__ import annotations

import html
import io
import re
import threading
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from explain_core.figures.style import Theme, theme_of
from explain_core.pictures.fonts import families
from explain_core.words import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGES = {"light": "#ffffff", "dark": "#14181f"}
_SHARPNESS = 2  # pixels of a PNG for one of the page
_INCH = 100.0  # pixels of the page
#: Matplotlib's settings and fonts belong to the process.
_ONE_AT_A_TIME = threading.RLock()
_SETTINGS: dict[str, Any] = {
    "text.parse_math": False,  # a $ in somebody's name is a $
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "pairlift",  # the same picture has the same bytes
    "axes.unicode_minus": True,
}


def points(pixels: float) -> float:
    """Matplotlib's unit of fonts and lines."""
    return 72 * pixels / _INCH


@contextmanager
def drawing() -> Generator[None]:
    """What is drawn in here is drawn with our settings, by one thread at a time."""
    import matplotlib

    # "sans-serif" is for whoever looks at an SVG and has none of the others
    settings = {**_SETTINGS, "font.family": [*families(), "sans-serif"]}
    with _ONE_AT_A_TIME, matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)  # see `letters_without_glyph`
        yield


def drawn(draw: Callable[[Figure, Theme], None], width: int, height: int, theme: str, format: str, title: str) -> bytes:
    """The bytes of a picture.

    Args:
        draw: puts everything on an empty sheet.
        width, height: in pixels of a page; a PNG has twice as many each way.
        format: "png" or "svg".
        title: kept in the file.
    """
    colours = theme_of(theme)
    with drawing():
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure

        figure = Figure((width / _INCH, height / _INCH), dpi=_INCH, facecolor=PAGES[theme])
        canvas = FigureCanvasAgg(figure)
        draw(figure, colours)
        data = io.BytesIO()
        figure.dpi = _INCH * _SHARPNESS  # also of images within an SVG
        if format == "svg":
            FigureCanvasSVG(figure).print_svg(data, metadata={"Date": None, "Title": title, "Creator": "PairLift"})
        else:
            canvas.print_png(data, metadata={"Title": title, "Software": "PairLift"})
        return data.getvalue()


def colour(value: Any, fallback: str = "#000000") -> tuple[float, ...]:
    """A CSS colour, as matplotlib takes it."""
    from matplotlib.colors import to_rgba

    text = str(value or fallback)
    if match := re.fullmatch(r"rgba?\(([^)]*)\)", text):
        parts = [float(part) for part in match[1].split(",")]
        return (*(part / 255 for part in parts[:3]), parts[3] if len(parts) > 3 else 1.0)
    return to_rgba(text)


def colour_map(scale: Any) -> Any:
    """Colours of values from 0 to 1."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("scale", [(float(at), colour(c)) for at, c in scale])


def without_tags(text: Any) -> str:
    """Text of a plotly figure, which is read as HTML there, as it is seen."""
    lines = re.sub(r"<br\s*/?>", "\n", str(text or ""))
    return html.unescape(re.sub(r"</?(?:b|i|sub|sup|span)\b[^<>]*>", "", lines))


def numbers() -> Any:
    """Writes the ticks of an axis as the page writes numbers."""
    from matplotlib.ticker import FuncFormatter

    return FuncFormatter(lambda value, _: number(0.0 if abs(value) < 1e-300 else value))


def edges(middles: np.ndarray) -> np.ndarray:
    """Where the cells of a heatmap end: half way to the neighbours."""
    if len(middles) == 1:
        return middles[0] + np.array([-0.5, 0.5])
    between = (middles[1:] + middles[:-1]) / 2
    return np.concatenate([[2 * middles[0] - between[0]], between, [2 * middles[-1] - between[-1]]])
