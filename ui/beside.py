"""The inputs of a model beside its sequence: a file, columns of the sequence's file or typed numbers for each."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import streamlit as st
import xarray as xr

from explain_core.errors import ExplainError, InputError
from explain_core.jobs.tasks.sequences import read_arrays, read_sequences
from explain_core.models import ExpectedInput
from explain_core.sequences import Scaling
from explain_core.sequences.cutting import cut
from explain_core.sequences.fitting import fit_beside, is_made
from explain_core.sequences.grids import grid_dims
from explain_core.sequences.loading import chosen_columns
from explain_core.sequences.matching import belonging, how_matched, in_their_order, rows_as_samples
from explain_core.sequences.roles import Role, roles_of
from explain_core.words import counted
from ui.baselines import Material
from ui.beside_table import Table
from ui.data import Data, draw_options, reading_options
from ui.data_options import choices
from ui.errors import plain
from ui.session import Outcome, Session

Upload = Callable[[Session, str, str, str], Path | None]

_SOURCES = {
    "made": "From the sequence",
    "zeros": "Zeros",
    "file": "A file",
    "columns": "Columns of the sequence's file",
    "numbers": "Typed numbers",
}
_WORDS = "Of the same kinds as the sequence's; sequences are matched by their names"


@dataclass(frozen=True)
class Side:
    """What was given for an input beside the sequence.

    Attributes:
        sequences: of all samples, (sample, time, feature), in the person's own units.
        columns: those of the sequence's file that it takes, which the sequence does without.
    """

    spec: ExpectedInput
    role: Role
    where: str
    sequences: xr.DataArray
    scaling: Scaling | None = None
    columns: tuple[str, ...] = ()

    def fitted(self, name: str, names: list[str]) -> xr.DataArray:
        """Of one of the sequences called ``names``, as the model takes it.

        Raises:
            InputError: there is nothing for it, or it does not fit.
        """
        one = belonging(self.sequences, name, names, self.where)
        return fit_beside(one, self.spec, self.role, self.where, self.scaling)

    @property
    def is_compared(self) -> bool:
        """Whether a person chooses what it is compared with; a length, for instance, stays what it is."""
        return self.role in (Role.STATIC, Role.SEQUENCE, Role.GRID, Role.TOKENS)

    def material(self, name: str, names: list[str], fitted: xr.DataArray) -> Material:
        """What its baselines are made from, where ``fitted`` is explained: of the sequence called ``name``."""
        sequences = in_their_order(self.sequences, names)
        if self.role is Role.STATIC:  # the same at all steps
            sequences = sequences.isel(time=[0]).drop_vars(["length", "times"], errors="ignore")
        own = [str(each) for each in sequences["sample"].values]

        def fit(one: xr.DataArray) -> np.ndarray:
            return fit_beside(one, self.spec, self.role, self.where, self.scaling).values

        return Material(fitted, sequences, own.index(name) if name in own else 0, fit)


def in_words(spec: ExpectedInput, role: Role) -> str:
    """What an input is, e.g. "3 features at each timestep"."""
    shape = spec.shape or ()
    last = shape[-1] if shape else None
    if role is Role.STATIC:
        return f"{counted(last, 'number') if last else 'numbers'} for each sequence, without timesteps"
    if role is Role.LENGTH:
        return "how many timesteps are real"
    if role is Role.MASK:
        return "which timesteps are real"
    if role is Role.STATE:
        return "the state that a recurrent layer starts from"
    if role is Role.TOKENS:
        return "a token id for each timestep"
    if role is Role.GRID:
        return f"arrays of {' × '.join('any' if size is None else str(size) for size in shape[1:])}"
    if role is Role.NOTHING:
        return f"{spec.dtype}, which no file can give"
    steps = f"at each of {counted(spec.timesteps, 'timestep')}" if spec.timesteps else "at each timestep"
    return f"{counted(last, 'feature') if last else 'features'} {steps}"


def draw_side(
    session: Session, upload: Upload, place: int, spec: ExpectedInput, role: Role, table: Table | None
) -> Side | Outcome | None:
    """Ask for one input; a job to wait for, or None where nothing is given or needed.

    Args:
        place: of the input among the model's.
        table: the sequence's file, where it is read and has columns.

    Raises:
        InputError: what was given cannot be read so.
    """
    st.markdown(f"**{plain(spec.name)}**: {in_words(spec, role)}")
    kinds = _sources(role, table)
    kind = kinds[0]
    if len(kinds) > 1:
        kind = st.selectbox(
            f"Where {spec.name} comes from",
            kinds,
            format_func=_SOURCES.get,
            key=f"input source {place} {spec.name} {kinds[0]}",
            label_visibility="collapsed",
        )
    if kind in ("made", "zeros"):
        return None
    if kind == "numbers":
        return _typed(place, spec, role)
    if kind == "columns":
        assert table is not None
        return _columns(place, spec, role, table)
    path = upload(session, f"File of {spec.name}", f"input {place}", _WORDS)
    return None if path is None else _read(session, upload, place, path, spec, role, table and table.data)


def _sources(role: Role, table: Table | None) -> list[str]:
    """Where an input may come from, the likeliest first."""
    kinds = ["file"]
    if is_made(role):
        kinds.insert(0, "zeros" if role is Role.STATE else "made")
    if role is Role.STATIC:
        kinds.append("numbers")
    if role in (Role.STATIC, Role.SEQUENCE) and table is not None:
        kinds.insert(0 if role in table.whole else 1, "columns")
    return kinds


def _typed(place: int, spec: ExpectedInput, role: Role) -> Side | None:
    wanted = spec.shape[-1] if spec.shape else None
    text = st.text_input(
        f"{counted(wanted, 'number') if wanted else 'Numbers'}, separated by commas",
        key=f"input numbers {place}",
        placeholder=", ".join(["0"] * (wanted or 3))[:40],
    )
    parts = [part for part in re.split(r"[,;\s]+", text.strip()) if part]
    if not parts:
        return None
    try:
        values = np.array([float(part) for part in parts])
        if not np.isfinite(values).all():
            raise ValueError
    except ValueError:
        raise InputError(
            "What was typed is not all numbers.", where=spec.name, hint="Write them as 0.5, 12, -3."
        ) from None
    if wanted is not None and len(values) != wanted:
        raise InputError(
            f"It takes {counted(wanted, 'number')}, and {len(values)} were typed.",
            where=spec.name,
            hint="Write one for each, in the order of the training data.",
        )
    names = [f"{spec.name} {i + 1}" for i in range(len(values))]
    one = xr.DataArray(
        values[None, None], {"sample": ["typed"], "time": [1], "feature": names}, ("sample", "time", "feature")
    )
    return Side(spec, role, spec.name, one)


def _columns(place: int, spec: ExpectedInput, role: Role, table: Table) -> Side | None:
    """Columns of the table that has the sequence: the likeliest at first."""
    data, wanted = table.data, spec.shape[-1] if spec.shape else None
    reading = data.reading.sequences
    names = [str(name) for name in reading["feature"].values]
    picked = st.multiselect(
        f"Columns of {spec.name}, in the order of the model's",
        names,
        table.likely(wanted, role),
        key=f"input columns {place} {data.path.parent.name}",
        placeholder=f"Choose {wanted}" if wanted else "Choose",
    )
    if not picked:
        return None
    sequences = cut(reading.isel(feature=[names.index(name) for name in picked]), choices().of(data.path))
    return Side(spec, role, data.path.name, sequences, data.scaling, tuple(picked))


def _read(
    session: Session, upload: Upload, place: int, path: Path, spec: ExpectedInput, role: Role, data: Data | None
) -> Side | Outcome:
    chosen = choices().of(path)
    wanted = reading_options(chosen)
    if role is Role.GRID:
        dims = grid_dims(len(spec.shape or ()), in_time=True, channels_last=False)
        reading = session.outcome(("read grid", path, dims, None), None, read_arrays, path, dims, None)
    else:
        reading = session.outcome(("read", path, wanted), None, read_sequences, path, wanted)
    if reading.value is None:
        if reading.error is not None:
            choices().faulty = path
        return reading
    scaling = None
    if role in (Role.STATIC, Role.SEQUENCE):
        scaling = draw_options(session, upload, path, reading.value, False, f" {place}")
    if isinstance(scaling, Outcome):
        return scaling
    try:
        if role is Role.GRID:
            return Side(spec, role, path.name, reading.value.sequences)
        sequences = cut(chosen_columns(reading.value, chosen), chosen)
    except ExplainError:
        choices().faulty = path
        raise
    if data is not None and data.sequences is not None:
        count = data.sequences.sizes["sample"]
        sequences = sequences if role is Role.SEQUENCE else rows_as_samples(sequences, count)
        if words := how_matched(sequences, [str(name) for name in data.sequences["sample"].values]):
            st.caption(words)
    made = Scaling.of(sequences, scaling) if isinstance(scaling, str) else scaling
    return Side(spec, role, path.name, sequences, made)


@dataclass(frozen=True)
class Beside:
    """All that was given beside the sequence; ``waiting`` is a job that must end before the rest is known."""

    sides: tuple[Side, ...] = ()
    waiting: Outcome | None = None
    missing: tuple[str, ...] = ()

    def of(self, name: str, names: list[str]) -> dict[str, xr.DataArray]:
        """The inputs beside one of the sequences called ``names``, by input name.

        Raises:
            InputError: something does not fit.
        """
        return {side.spec.name: side.fitted(name, names) for side in self.sides}

    def unchanged(self, fitted: Mapping[str, xr.DataArray]) -> dict[str, np.ndarray]:
        """Baselines of those for which nobody chooses one, by input name: what they are."""
        return {side.spec.name: fitted[side.spec.name].values for side in self.sides if not side.is_compared}

    def materials(self, name: str, names: list[str], fitted: Mapping[str, xr.DataArray]) -> dict[str, Material]:
        """What the baselines of the others are made from, by input name; see `Side.material`."""
        compared = [side for side in self.sides if side.is_compared]
        return {side.spec.name: side.material(name, names, fitted[side.spec.name]) for side in compared}

    def without_columns(self, data: Data) -> Data:
        """The sequence's file without the columns that other inputs take."""
        taken = {column for side in self.sides for column in side.columns}
        if not taken or data.sequences is None or "feature" not in data.sequences.dims:
            return data
        kept = [i for i, name in enumerate(data.sequences["feature"].values) if str(name) not in taken]
        return replace(data, sequences=data.sequences.isel(feature=kept)) if kept else data


def draw_beside(
    session: Session, upload: Upload, inputs: Sequence[ExpectedInput], main: int, data: Data | None
) -> Beside:
    """Ask for every input of a model but the sequence.

    Args:
        inputs: samples first.
        main: the place of the sequence among them.

    Raises:
        InputError: what was given for one cannot be read so.
    """
    sides: list[Side] = []
    missing, waiting = [], None
    for place, (spec, role) in enumerate(zip(inputs, roles_of(inputs), strict=True)):
        if place == main:
            continue
        taken = {column for side in sides for column in side.columns}
        found = draw_side(session, upload, place, spec, role, Table.of(data, inputs, main, taken))
        if isinstance(found, Outcome):
            waiting = waiting or found
        elif found is not None:
            sides.append(found)
        elif not is_made(role):
            missing.append(spec.name)
    return Beside(tuple(sides), waiting, tuple(missing))
