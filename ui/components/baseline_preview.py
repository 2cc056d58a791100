"""The sequence with its baseline behind it, small: what a choice looks like before anything is explained."""

from __future__ import annotations

import html

import numpy as np
import streamlit as st

from explain_core.figures.style import Theme, shortened, theme_of
from explain_core.words import number
from ui.baselines import Baseline, Material
from ui.baselines_given import own_table
from ui.errors import plain

_MOST_LINES = 3
_MOST_POINTS = 200
_WIDTH, _HEIGHT, _TOP = 300, 58, 18  # of one line, with room for its name


def draw_preview(material: Material, baseline: Baseline, name: str = "") -> None:
    """The features that differ most, the baseline dashed behind them; nothing for a single step or for words.

    Args:
        name: of the input, where it is to be said.
    """
    if not material.is_numbers or material.steps < 2:
        return
    own = own_table(Baseline("", "", material.fitted.values), material)
    base = own_table(baseline, material)
    picture, words = preview(own, base, material.features, theme_of(st.context.theme.type or "light"))
    if name:
        st.markdown(f"**{plain(name)}**")
    st.image(picture, width="stretch", alt=words)
    more = own.shape[1] - _MOST_LINES
    if more > 0:
        st.caption(f"The {_MOST_LINES} of {own.shape[1]:,} features that differ most; dashed is the baseline.")
    else:
        st.caption("Dashed is the baseline.")


def preview(own: np.ndarray, base: np.ndarray, features: list[str], theme: Theme) -> tuple[str, str]:
    """An SVG of up to three features (steps, feature) in the person's units, and the same in words.

    Of each feature the difference counts in spans of what it goes through, so that no unit outweighs another.
    """
    together = np.concatenate([own, base])
    span = np.ptp(together, axis=0)
    far = np.abs(own - base).mean(axis=0) / np.where(span > 0, span, 1)
    chosen = np.argsort(-far, kind="stable")[:_MOST_LINES]
    at = np.unique(np.linspace(0, len(own) - 1, min(len(own), _MOST_POINTS)).astype(int))
    parts, words = [], []
    for row, feature in enumerate(chosen.tolist()):
        top = row * (_HEIGHT + _TOP)
        low, size = together[:, feature].min(), span[feature] or 1.0
        name = html.escape(shortened(features[feature], 28))
        ends = f"{number(own[:, feature].min())} to {number(own[:, feature].max())}"
        parts.append(f'<text x="0" y="{top + 13}" fill="{theme.text}">{name}</text>')
        parts.append(f'<text x="{_WIDTH}" y="{top + 13}" fill="{theme.muted}" text-anchor="end">{ends}</text>')
        for values, colour, dashes in ((base, theme.muted, "4 3"), (own, theme.text, "")):
            heights = top + _TOP + (_HEIGHT - 8) * (1 - (values[at, feature] - low) / size)
            places = at / max(len(own) - 1, 1) * _WIDTH
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(places, heights, strict=True))
            parts.append(f'<polyline points="{points}" stroke="{colour}" stroke-dasharray="{dashes}"/>')
        is_held = np.ptp(base[:, feature]) == 0
        compared = number(base[0, feature]) if is_held else f"{number(base[:, feature].min())} and more"
        words.append(f"{features[feature]} goes from {ends}, the baseline is {compared}")
    height = len(chosen) * (_HEIGHT + _TOP)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        f'fill="none" stroke-width="1.5"><g font-family="sans-serif" font-size="11" stroke-width="0">'
        f"{''.join(part for part in parts if part.startswith('<text'))}</g>"
        f"{''.join(part for part in parts if part.startswith('<poly'))}</svg>",
        "; ".join(words) + ".",
    )
