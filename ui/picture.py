"""A drawing of how a difference is carried through time and shared out, in the colours of the page."""

from __future__ import annotations

from explain_core.figures.style import Theme, theme_of
from explain_core.words import number, signed

_SIZE = (880, 330)
_STEPS, _ANSWER = (200, 390, 580), 770  # where the timesteps and the answer stand, from the left
_SEQUENCE, _BASELINE, _WAY_BACK, _SHARES = 50, 150, 215, 300  # and from the top
_EXAMPLE = (1.5, -0.5, 13.5)  # degrees; of the three timesteps
_BASELINE_ANSWER = 15.8


def pair_picture(theme: str) -> str:
    """An SVG: a sequence and its baseline side by side through three timesteps, and below the share of each.

    Args:
        theme: "light" or "dark".
    """
    colours = theme_of(theme)
    total = sum(_EXAMPLE)
    parts = [
        *_run("Your sequence", _SEQUENCE, number(_BASELINE_ANSWER + total, "°C"), colours.text, ""),
        *_run("The baseline", _BASELINE, number(_BASELINE_ANSWER, "°C"), colours.muted, "4 5"),
    ]
    for x in (*_STEPS, _ANSWER):
        parts += [
            _line(f"M{x} {_SEQUENCE + 24} V{_BASELINE - 24}", colours.muted, "2 4"),
            _text(x + 14, (_SEQUENCE + _BASELINE) / 2 + 5, "Δ", colours.text),
        ]
    parts += [
        _line(f"M{_ANSWER} {_WAY_BACK} H{_STEPS[0] - 60}", colours.text, arrow=True),
        _text(
            (_STEPS[0] + _ANSWER) / 2,
            _WAY_BACK + 20,
            "back through every step: whose difference was it?",
            colours.muted,
        ),
        _line(f"M{_STEPS[0] - 60} {_SHARES} H{_ANSWER + 70}", colours.muted),
        _text(20, _SHARES - 6, "Its share", colours.text, "start"),
        _text(_ANSWER, _SHARES - 8, f"= {signed(total, '°C')}", colours.text),
    ]
    for x, share in zip(_STEPS, _EXAMPLE, strict=True):
        parts += _share(x, share, colours)
    width, height = _SIZE
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'fill="none" font-family="sans-serif" font-size="15"><defs>'
        '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        f'<path d="M0 0 L8 4 L0 8" stroke="{colours.text}" stroke-width="1.5"/></marker></defs>'
        f"{''.join(parts)}</svg>"
    )


def _run(name: str, y: float, answer: str, colour: str, dashes: str) -> list[str]:
    """One run of the model from left to right, and what it answers."""
    parts = [_text(20, y + 5, name, colour, "start")]
    ends = (122, *(x + 55 for x in _STEPS))
    for start, x in zip(ends, (*_STEPS, _ANSWER), strict=True):
        parts.append(_line(f"M{start} {y} H{x - 58}", colour, dashes, arrow=True))
    for place, x in enumerate(_STEPS, 1):
        parts.append(
            f'<rect x="{x - 52}" y="{y - 20}" width="104" height="40" rx="8" stroke="{colour}" stroke-width="1.5" '
            f'stroke-dasharray="{dashes}"/>'
        )
        parts.append(_text(x, y + 5, f"timestep {place}", colour))
    return [*parts, _text(_ANSWER, y + 5, answer, colour)]


def _share(x: float, share: float, colours: Theme) -> list[str]:
    """A bar on the line of shares, up or down."""
    height = max(4 * abs(share), 3)
    colour = colours.positive if share > 0 else colours.negative
    top = _SHARES - height if share > 0 else _SHARES
    return [
        f'<rect x="{x - 24}" y="{top}" width="48" height="{height}" rx="2" fill="{colour}"/>',
        _text(x + 56, _SHARES - 8, signed(share), colours.text),
    ]


def _line(path: str, colour: str, dashes: str = "", *, arrow: bool = False) -> str:
    end = ' marker-end="url(#head)"' if arrow else ""
    return f'<path d="{path}" stroke="{colour}" stroke-width="1.5" stroke-dasharray="{dashes}"{end}/>'


def _text(x: float, y: float, text: str, colour: str, anchor: str = "middle") -> str:
    return f'<text x="{x}" y="{y}" fill="{colour}" text-anchor="{anchor}">{text}</text>'
