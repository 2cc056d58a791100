"""Choosing which outputs of an uploaded model to explain, and which of those to look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from explain_core.backends.protocol import ModelOutput
from explain_core.errors import InputError
from explain_core.explanation import by_name
from explain_core.words import counted, percent

if TYPE_CHECKING:
    from ui.in_words import Shown

MOST_TOGETHER = 12  # up to so many outputs are explained at once, so that switching between them is instant
MOST_STEPS = 200  # output steps that are explained together; each costs a pass through the model


@dataclass(frozen=True)
class Wanted:
    """What is to be explained of a model's outputs.

    Attributes:
        target: for `explain_core.explain`.
        names: of the units, in the place of ``output_names``; None where ``labels`` say it.
        labels: of the targets of a list, for people.
        steps: whether the targets are the steps of one output in time.
    """

    target: Any
    names: tuple[str, ...] | None = None
    labels: tuple[str, ...] | None = None
    steps: bool = False


def choose_output(outputs: tuple[ModelOutput, ...], model: str) -> Wanted:
    """Ask for what is not clear.

    Args:
        outputs: what the model returns.
        model: what tells this model from others; what was chosen for one does not count for another.

    Raises:
        InputError: it returned nothing that can be explained.
    """
    can = [output for output in outputs if not output.unexplained]
    if not can:
        raise InputError("The model returned no numbers to explain.", where="the model")
    head = can[0]
    if len(can) > 1:
        words = [_in_words(outputs.index(output) + 1, output) for output in can]
        head = can[words.index(_select("Head", words, f"output head {model}", "The model returns several results."))]
    prefix = (head.name,) if len(outputs) > 1 else ()
    shape = tuple(map(int, head.shape))
    key = f"{model} {outputs.index(head)}"
    if len(shape) >= 2:
        return _of_steps(prefix, head, shape, key)
    count = prod(shape)
    if count > MOST_TOGETHER:
        unit = _number(f"Output, 1 to {count:,}", count, f"output unit {key}")
        return Wanted([(*prefix, unit - 1)], labels=(f"Output {unit}",))
    usual = [head.name] if prefix and count == 1 else None
    names = _names(count, key, usual)
    if not prefix:
        return Wanted(None, names)
    index = [()] if not shape else [(i,) for i in range(count)]
    return Wanted([(*prefix, *place) for place in index], labels=names)


def _of_steps(prefix: tuple[str, ...], head: ModelOutput, shape: tuple[int, ...], key: str) -> Wanted:
    """All steps of one number of an output in time, or all rows of one that has names for them."""
    steps, *between, units = shape
    middle = [_number(f"Output axis {k + 2}", size, f"output axis {k} {key}") - 1 for k, size in enumerate(between)]
    unit = _number(f"Output number, 1 to {units:,}", units, f"output unit {key}") if units > 1 else 1
    first, last = 1, steps
    if steps > MOST_STEPS:
        kept = f"output range {key}"
        at = _kept().get(kept, (steps - MOST_STEPS + 1, steps))
        first, last = st.slider("Output steps", 1, steps, at, format="localized", key=kept)
        _kept()[kept] = first, last
        first = max(first, last - MOST_STEPS + 1)
        left = steps - (last - first + 1)
        st.caption(
            f"Explained are output steps {first:,} to {last:,}, at most {MOST_STEPS} at a time; "
            f"{counted(left, 'other')} of the model's {steps:,} left out."
        )
    of = f"Output {unit}, " if units > 1 else ""
    rows = head.rows or [f"{of}step {i + 1}" for i in range(steps)]
    labels = tuple(str(row)[0].upper() + str(row)[1:] for row in rows[first - 1 : last])
    targets = [(*prefix, i, *middle, unit - 1) for i in range(first - 1, last)]
    return Wanted(targets, labels=labels, steps=not head.rows)


def choose_shown(shown: Shown, wanted: str | None = None) -> str:
    """Ask which of the explained outputs to look at; one output needs no question. Other pages begin with it.

    Args:
        wanted: the one that somebody has asked for by other ways.
    """
    outputs = shown.explanation.outputs
    if len(outputs) == 1:
        return outputs[0]
    in_time = shown.subject.output_steps
    answer = outputs[-1] if in_time else shown.likeliest
    kept = f"shown {shown.subject.model.path}"
    start = _kept().get(kept, answer)
    widget = f"output {shown.key}"
    if wanted is not None:
        st.session_state[widget] = wanted
    st.session_state.setdefault(widget, start if start in outputs else answer)
    if in_time:
        chosen = st.select_slider("Output step", outputs, key=widget, width="stretch")
    else:
        chosen = st.selectbox(
            shown.subject.output_label,
            outputs,
            format_func=lambda name: f"{name} (largest)" if name == answer else name,
            key=widget,
            width=320,
        )
    _kept()[kept] = chosen
    return chosen


def choose_shown_input(shown: Shown, wanted: str | None = None) -> str:
    """Ask which of several inputs to look at; one needs no question. ``wanted`` is as in `choose_shown`."""
    names = shown.explanation.input_names
    if len(names) == 1:
        return names[0]
    key = f"output input {shown.subject.model.path.parent.name}"
    if wanted is not None:
        st.session_state[key] = wanted
    fits = _kept().get(key) in names
    return st.selectbox("Input to look at", names, key=_prefilled(key, fits), format_func=_totals_of(shown))


def _totals_of(shown: Shown) -> Callable[[str], str]:
    """An input by its name, with how much of all movement is its."""
    sizes = {
        name: float(np.abs(array.values.astype(float)).sum())
        for name, array in by_name(shown.explanation.attributions).items()
    }
    whole = sum(sizes.values()) or 1.0
    return lambda name: f"{name} ({percent(sizes[name] / whole)} of all movement)"


def remember() -> None:
    """Keep what the widgets hold at the start of a run: one that is not drawn in it, forgets."""
    _kept().update({key: value for key, value in st.session_state.items() if str(key).startswith(_WIDGETS)})


_WIDGETS = ("output head ", "output unit ", "output axis ", "output names ", "output input ")


def _kept() -> dict[Any, Any]:
    """What was chosen, by widget."""
    return st.session_state.setdefault("outputs chosen", {})


def _prefilled(key: str, fits: bool = True) -> str:
    """The key of a widget that shows what was chosen before, where that fits."""
    if key not in st.session_state and fits and key in _kept():
        st.session_state[key] = _kept()[key]
    return key


def _select(label: str, words: Sequence[str], key: str, about: str) -> str:
    return st.selectbox(label, words, key=_prefilled(key, _kept().get(key) in words), help=about)


def _number(label: str, most: int, key: str) -> int:
    before = _kept().get(key)
    return int(st.number_input(label, 1, most, key=_prefilled(key, isinstance(before, int) and before <= most)))


def _in_words(place: int, output: ModelOutput) -> str:
    """An output by its name, or where that is only its place (such as "1.0") by a number; and its shape."""
    name = f"Output {place}" if output.name.replace(".", "").isdigit() else output.name
    return f"{name} ({' × '.join(map(str, output.shape)) or 'one number'})"


def _names(count: int, key: str, usual: Sequence[str] | None = None) -> tuple[str, ...]:
    usual = usual or (["Output"] if count == 1 else [f"Output {i + 1}" for i in range(count)])
    key = f"output names {key}"
    given = st.text_input(
        "Name of the output" if count == 1 else "Names of the outputs",
        placeholder=", ".join(usual[:4]) + (", ..." if count > 4 else ""),
        key=_prefilled(key),
        help="What it is called in charts and files." if count == 1 else f"Separated by commas; there are {count}.",
    )
    names = [name.strip() for name in given.split(",") if name.strip()]
    if names and (len(names) != count or len(set(names)) != count):
        st.caption(f":material/warning: Give {counted(count, 'name')}{', all different' if count > 1 else ''}.")
        return tuple(usual)
    return tuple(names or usual)
