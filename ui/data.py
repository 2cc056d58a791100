"""The data half of the sidebar: a file is read in a worker, and options appear where they matter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import streamlit as st
import xarray as xr

from explain_core.errors import ExplainError, Fix, InputError, SequenceFileError
from explain_core.jobs.tasks.sequences import (
    WordOptions,
    read_arrays,
    read_scaling,
    read_sequences,
    read_text,
)
from explain_core.models import ModelSummary
from explain_core.sequences import Options, Reading, Scaling
from explain_core.sequences.cutting import cut
from explain_core.sequences.fitting import ids_in_a_row
from explain_core.sequences.grids import grid_dims
from explain_core.sequences.labelled import lengths_of, time_first_turned
from explain_core.sequences.loading import chosen_columns, last_tokens
from explain_core.sequences.roles import Role, main_input, roles_of
from explain_core.words import counted
from ui.data_options import choices, choose, widget_key
from ui.grids import in_words as grid_words
from ui.session import Outcome, Session
from ui.vocabulary import draw_vocabulary

Upload = Callable[[Session, str, str, str], Path | None]

_MOST_COLUMNS = 60  # to choose among by name
SCALING_WORDS = "CSV or JSON: feature, mean, scale; or min and max; or the attributes of a scikit-learn scaler"
_SCALINGS = {
    "none": "No scaling",
    "file": "From a file",
    "standard": "This file's mean, deviation",
    "minmax": "This file's range, 0 to 1",
}


@dataclass(frozen=True)
class Data:
    """An uploaded file, read and cut as chosen.

    ``sequences`` are in the person's own units, or token ids; None where they could not be cut, and ``error`` says why.
    """

    path: Path
    reading: Reading
    sequences: xr.DataArray | None
    scaling: Scaling | None = None
    pad_tokens: tuple[int, str] = (0, "end")
    error: ExplainError | None = None
    words: WordOptions | None = None  # how texts became ids

    @property
    def is_grid(self) -> bool:
        """Whether it has arrays of more axes than a sequence, such as images."""
        return "feature" not in self.reading.sequences.dims and self.reading.sequences.ndim > 2

    @property
    def is_text(self) -> bool:
        return self.reading.sequences.ndim == 2

    @property
    def fixes(self) -> tuple[Fix, ...]:
        return self.reading.fixes


def draw_data(
    session: Session,
    upload: Upload,
    path: Path,
    summary: ModelSummary | None,
    *,
    time_first: bool = False,
    in_time: bool = True,
) -> Data | Outcome:
    """Read the file and draw what can be chosen about it; the job while that is not done.

    Args:
        time_first: whether the model takes time before the samples, as arrays of its data then do.
        in_time: whether arrays of more axes than a sequence has, have time as their second.

    Raises:
        InputError: the file has words, and there is no vocabulary.
    """
    takes_tokens = False
    if summary is not None and summary.inputs:
        main = main_input(summary.inputs)
        role = roles_of(summary.inputs)[main]
        if role is Role.GRID:
            axes = len(summary.inputs[main].shape or ())
            return _grid(session, path, grid_dims(axes, in_time=in_time, channels_last=summary.framework != "torch"))
        takes_tokens = role is Role.TOKENS
    words, pad_where = draw_vocabulary(session, upload) if takes_tokens else (None, "end")
    if isinstance(words, Outcome):
        return words
    chosen = choices().of(path)
    wanted = reading_options(chosen)
    if words is None:
        reading = session.outcome(("read", path, wanted), None, read_sequences, path, wanted)
    else:
        reading = session.outcome(("read", path, words), None, read_text, path, words)
    if takes_tokens and words is None and isinstance(reading.error, SequenceFileError):
        raise InputError(
            "The model takes token ids, and the file has no numbers that could be.",
            where=reading.error.where,
            hint="For words, give the model's vocabulary in the sidebar: the words and ids that it was trained with. "
            f"Read as numbers, the file is faulty: {reading.error.what}",
            fixes=reading.error.fixes,
        )
    if reading.value is None:
        if chosen.given:
            _undo("Undo my choices for this file", "data undo", path)
        return reading
    found: Reading = reading.value
    if found.sequences.ndim == 2:
        sequences = found.sequences if chosen.last is None else last_tokens(found.sequences, chosen.last)
        st.caption(in_words(sequences))
        return Data(path, found, sequences, pad_tokens=(found.sequences.attrs["padding"], pad_where), words=words)
    if time_first and "array" in found.format.lower() and found.sequences.sizes["sample"] > 1:
        found = replace(found, sequences=_in_order(path, found.sequences))
    slot = st.empty()
    scaling = draw_options(session, upload, path, found, takes_tokens)
    if isinstance(scaling, Outcome):
        return scaling
    try:
        sequences = chosen_columns(found, chosen)
        sequences = cut(ids_in_a_row(sequences) if takes_tokens and not chosen.unfold else sequences, chosen)
    except ExplainError as error:
        return Data(path, found, None, error=error)
    is_ids = takes_tokens and sequences.sizes["feature"] == 1
    slot.caption(in_words(sequences.isel(feature=0, drop=True) if is_ids else sequences))
    made = Scaling.of(sequences, scaling) if isinstance(scaling, str) else scaling
    return Data(path, found, sequences, made, (0, pad_where))


def reading_options(chosen: Options) -> Options:
    """The part of the options that decides how a file is read; the rest is done to what was read."""
    names = (
        "id_column",
        "time_column",
        "columns",
        "array",
        "header",
        "decimal",
        "day_first",
        "fill",
        "sort",
        "padding",
    )
    return Options(**{name: value for name, value in chosen.given.items() if name in names})


def in_words(sequences: xr.DataArray) -> str:
    """How many sequences, timesteps and features, e.g. "3 sequences · 12 timesteps · 4 features"."""
    lengths = lengths_of(sequences)
    count, shortest, longest = sequences.sizes["sample"], int(lengths.min()), int(lengths.max())
    parts = [f"{count:,} sequences"] if count > 1 else []
    steps = counted(longest, "token" if sequences.ndim == 2 else "timestep")
    parts.append(f"{shortest:,} to {steps}" if shortest < longest else steps)
    if "feature" in sequences.dims:
        parts.append(counted(sequences.sizes["feature"], "feature"))
    return " · ".join(parts)


def draw_options(
    session: Session, upload: Upload, path: Path, reading: Reading, takes_tokens: bool, slot: str = ""
) -> Scaling | Outcome | str | None:
    """What can be chosen about a file of numbers, folded away; returns the scaling, or how to make it.

    Args:
        slot: tells the file of another input from that of the sequence.
    """
    chosen = choices().of(path)
    with st.expander("How the file is read", icon=":material/table_rows:"):
        if len(reading.choices) > 1:
            names = [None, *reading.choices]
            _select("Array", names, chosen.array, path, "array", lambda name: name or "the likeliest")
        _draw_columns(path, reading, chosen)
        _draw_cutting(path, reading, chosen)
        if chosen.given:
            _undo("As the file shows", f"data reset{slot}", path)
    if takes_tokens:
        return None
    with st.expander("Units and scaling", icon=":material/straighten:"):
        kinds = list(_SCALINGS)
        kind = st.selectbox(
            "Scaling",
            kinds,
            kinds.index(st.session_state.get(f"scaling{slot}", "none")),
            format_func=_SCALINGS.get,
            key=f"scaling kind{slot}",
            label_visibility="collapsed",
            help="Models are often trained on scaled values. Give the file in its own units and the scaling of the "
            "training: the model gets scaled values, and charts show yours. Attributions are the same in either.",
        )
        st.session_state[f"scaling{slot}"] = kind  # a widget forgets while the sidebar shows something else
        if kind in ("standard", "minmax"):
            st.caption("Right only if this file is the training data: the model was scaled with that.")
        scaler = upload(session, "Scaling", f"scaling{slot}", SCALING_WORDS) if kind == "file" else None
    if kind != "file":
        return None if kind == "none" else kind
    if scaler is None:
        return None
    outcome = session.outcome(("scaling", scaler), None, read_scaling, scaler)
    return outcome if outcome.value is None else outcome.value


def _grid(session: Session, path: Path, dims: tuple[str, ...]) -> Data | Outcome:
    """The arrays of a file for a model of images and the like."""
    wanted = choices().of(path).array
    reading = session.outcome(("read grid", path, dims, wanted), None, read_arrays, path, dims, wanted)
    if reading.value is None:
        return reading
    st.caption(grid_words(reading.value.sequences))
    return Data(path, reading.value, reading.value.sequences)


def _in_order(path: Path, sequences: xr.DataArray) -> xr.DataArray:
    """The sequences of an array whose first axis may be the time, as the model takes it."""
    orders = {True: "(time, sequence, feature), as the model takes it", False: "(sequence, time, feature)"}
    key = widget_key("data order", path)
    turned = st.selectbox("Axes of the array", list(orders), format_func=orders.get, key=key)
    return time_first_turned(sequences) if turned else sequences


def _undo(label: str, key: str, path: Path) -> None:
    st.button(label, key=key, icon=":material/undo:", on_click=choices().forget, args=(path,))


def _draw_columns(path: Path, reading: Reading, chosen: Options) -> None:
    features = [str(name) for name in reading.sequences["feature"].values]
    names = list(reading.columns or features)
    if chosen.columns is not None:  # arrays are read whole
        features = [name for name in chosen.columns if name in features]

    def role(label: str, field: str, found: str | None) -> None:
        def words(name: str | None) -> str:
            return "none" if name in ("", None) else name

        _select(label, ["", *names], found or "", path, field, words)

    if reading.columns:
        role("Column that tells sequences apart", "id_column", reading.id_column)
        role("Column of times", "time_column", reading.time_column)
    others = [name for name in names if name not in (reading.id_column, reading.time_column)]
    if len(others) > _MOST_COLUMNS:
        st.caption(f"All {len(features)} columns are features, in the order of the file.")
        return
    default = [name for name in features if name in others]
    picked = st.multiselect(
        "Features, in the order of the model's inputs",
        others,
        default=default,
        key=widget_key("data columns", path),
        help="Models know their inputs by position. Take columns out, and put them back in the order of the training.",
    )
    if picked != default:
        choose(path, {"columns": tuple(picked) or None})


def _draw_cutting(path: Path, reading: Reading, chosen: Options) -> None:
    longest = int(lengths_of(reading.sequences).max())
    if longest < 2 and chosen.window is None:
        return

    def number(label: str, field: str, words: str, blank: str, default: int | None) -> None:
        value, key = getattr(chosen, field), widget_key(f"data {field}", path)
        given = st.number_input(label, 1, None, value, key=key, help=words, placeholder=blank)
        if given != value:
            choose(path, {field: default if given is None else int(given)})

    number("Window length", "window", "Cut long sequences into windows of so many timesteps", "whole", None)
    if chosen.window is not None:
        number("A window every", "stride", "Timesteps from the start of one window to the next", "1", 1)


def _select(label: str, names: list, value: Any, path: Path, field: str, words: Callable[[Any], str]) -> None:
    index = names.index(value) if value in names else 0
    given = st.selectbox(label, names, index, format_func=words, key=widget_key(f"data {field}", path))
    if given != names[index]:
        choose(path, {field: given})
