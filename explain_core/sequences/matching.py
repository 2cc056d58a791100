"""Sequences of one file that belong to those of another: by their names, else by their order."""

from __future__ import annotations

import xarray as xr

from explain_core.errors import InputError
from explain_core.explanation.labels import listed
from explain_core.sequences.labelled import single
from explain_core.words import counted


def rows_as_samples(sequences: xr.DataArray, count: int) -> xr.DataArray:
    """A table without names whose rows are one for each of ``count`` sequences, as so many of one timestep.

    Anything else stays as it is.
    """
    is_table = sequences.sizes["sample"] == 1 and sequences.sizes["time"] == count > 1
    if not is_table or "feature" not in sequences.dims:
        return sequences
    names = [f"row {i + 1}" for i in range(count)]
    return xr.DataArray(
        sequences.values.transpose(1, 0, 2),
        {"sample": names, "time": [1], "feature": sequences["feature"].values},
        ("sample", "time", "feature"),
        sequences.name,
    )


def belonging(sequences: xr.DataArray, name: str, names: list[str], where: str) -> xr.DataArray:
    """What a file has for one of the sequences of another.

    Args:
        sequences: of this file, (sample, time, feature).
        name: of the sequence, and ``names`` of all that stand beside it, in their order.
        where: this file, for errors.

    Returns:
        One sample, called ``name``: that of this name; the only one there is; or where no name is shared and both have
        as many, the one in the same place.

    Raises:
        InputError: none of these.
    """
    own = [str(each) for each in sequences["sample"].values]
    if name in own:
        found = single(sequences, own.index(name))
    elif len(own) == 1:
        found = single(sequences, 0)
    elif not set(own) & set(names) and len(own) == len(names):
        found = single(sequences, names.index(name))
    else:
        raise InputError(
            f"There is no sequence {name!r} in it; it has {counted(len(own), 'sequence')}: {listed(own)}.",
            where=where,
            hint="Give a file with the same names of sequences, with one sequence for all, or with as many without "
            "names, in the same order.",
        )
    return found.assign_coords(sample=[name])


def in_their_order(sequences: xr.DataArray, names: list[str]) -> xr.DataArray:
    """A file's sequences in the order of those that they belong to, see `belonging`, and with their names.

    Those that belong to none come last; the only one there is, and what belongs to nothing, stays as it is.
    """
    own = [str(each) for each in sequences["sample"].values]
    if shared := [own.index(name) for name in names if name in own]:
        return sequences.isel(sample=[*shared, *(i for i in range(len(own)) if i not in shared)])
    return sequences.assign_coords(sample=names) if len(own) == len(names) > 1 else sequences


def how_matched(sequences: xr.DataArray, names: list[str]) -> str:
    """In words, how `belonging` finds the sample; empty where it is by name."""
    own = [str(each) for each in sequences["sample"].values]
    if set(own) & set(names):
        return ""
    if len(own) == 1:
        return "Its one row is used for every sequence." if len(names) > 1 else ""
    return "Its sequences belong to the others by their order." if len(own) == len(names) else ""
