"""Numbers as people read them: few digits, thousands apart, a real minus sign, ``3e−7`` rather than ``3e-07``."""

from __future__ import annotations

import re
from collections.abc import Sequence


def number(value: float, unit: str = "") -> str:
    """A number, e.g. ``1,234 °C``."""
    return _readable(f"{value:,.4g}", unit)


def signed(value: float, unit: str = "") -> str:
    """A number with its sign, e.g. ``+2.68 °C``."""
    return _readable(f"{value:+,.3g}", unit)


def size(value: float, unit: str = "") -> str:
    """How large a number is that is only rounding, without its sign, e.g. ``3.3e−7 °C``."""
    return _readable(f"{abs(value):.1e}" if value else "0", unit)


def percent(fraction: float) -> str:
    """A part of the whole without its sign, e.g. ``3.3 %``, ``1,200 %`` or ``3e−7 %``."""
    value = 100 * abs(fraction)
    if 0 < value < 0.01:
        return _readable("under 0.01", "%")
    return _readable(f"{value:.2g}" if value < 10 else f"{value:,.0f}", "%")


def short(value: float) -> str:
    """A number with one significant digit that Python reads as well, e.g. ``3e-8`` or ``0.02``."""
    mantissa, _, power = f"{value:.0e}".partition("e")
    return f"{mantissa}e{int(power)}" if power and not -4 < int(power) < 4 else f"{float(f'{value:.0e}'):g}"


def listed_in_words(items: Sequence[str]) -> str:
    """Items in a sentence: ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def counted(count: int, word: str) -> str:
    """So many of something, e.g. ``1 column`` or ``1,200 columns``."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _readable(digits: str, unit: str) -> str:
    digits = re.sub(r"e([+-])0*(?=\d)", lambda match: "e" + match[1].replace("+", ""), digits)
    return digits.replace("-", "−") + (f"\N{NO-BREAK SPACE}{unit}" if unit else "")
