"""Choosing which output of an uploaded model to explain."""

from __future__ import annotations

from math import prod
from typing import Any

import streamlit as st

from explain_core.backends.protocol import ModelOutput
from explain_core.errors import InputError
from explain_core.preparation.targets import select_targets
from ui.errors import plain

MOST_TOGETHER = 12  # up to so many outputs are explained at once, so that switching between them is instant


def choose_output(outputs: tuple[ModelOutput, ...]) -> tuple[Any, tuple[str, ...] | None]:
    """Ask for what is not clear; returns the target for `explain_core.explain` and the names of the outputs.

    Names are None where the engine's own serve: of one step of a sequence output, say.
    """
    if not outputs:
        raise InputError("The model returned no numbers to explain.", where="the model")
    position = 0
    if len(outputs) > 1:
        words = [_in_words(i, output) for i, output in enumerate(outputs)]
        position = words.index(st.selectbox("Output", words, key="output tensor"))
    shape = outputs[position].shape
    prefix = (outputs[position].name,) if len(outputs) > 1 else ()
    if len(outputs) == 1 and len(shape) <= 1 and prod(shape) <= MOST_TOGETHER:
        return None, _names(prod(shape))
    target = (*prefix, *_index(shape))
    (chosen,), _ = select_targets(target, outputs, None)
    st.caption(f"“{plain(chosen.label)}” in charts and files, which count from 0 as Python does.")
    return target, None


def _in_words(position: int, output: ModelOutput) -> str:
    """An output by its name, or where that is only its place (such as "1.0") by a number; and its shape."""
    name = f"Output {position + 1}" if output.name.replace(".", "").isdigit() else output.name
    return f"{name} ({' × '.join(map(str, output.shape)) or 'one number'})"


def _names(count: int) -> tuple[str, ...]:
    usual = ["Output"] if count == 1 else [f"Output {i + 1}" for i in range(count)]
    given = st.text_input(
        "Names of the outputs",
        placeholder=", ".join(usual[:4]) + (", ..." if count > 4 else ""),
        key="output names",
        help=f"Separated by commas; there {'is 1' if count == 1 else f'are {count}'}.",
    )
    names = [name.strip() for name in given.split(",") if name.strip()]
    if names and (len(names) != count or len(set(names)) != count):
        st.caption(f":material/warning: Give {count} different names.")
        return tuple(usual)
    return tuple(names or usual)


def _index(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Ask for one number of an output: unit, or timestep and unit."""
    *steps, units = shape
    index = []
    for axis, size in enumerate(steps):
        label = "Output timestep" if axis == len(steps) - 1 else f"Output axis {axis + 1}"
        index.append(st.number_input(label, 1, size, size, key=f"output step {axis}") - 1)
    unit = st.number_input("Output number", 1, units, key="output unit") - 1 if units > 1 else 0
    return (*index, unit)
