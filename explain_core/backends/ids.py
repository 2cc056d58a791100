"""Ids that cannot be looked up, said in the words of who gave them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from explain_core.errors import InputError


class OutsideTableError(Exception):
    """A model looks up an id that its table has no row for."""

    def __init__(self, identity: int, rows: int) -> None:
        super().__init__(f"id {identity} of a table of {rows} rows")
        self.identity, self.rows = identity, rows

    def of(
        self,
        members: Mapping[str, Sequence[np.ndarray]],
        names: Sequence[str],
        explained: Sequence[bool] | None = None,
    ) -> InputError:
        """The error to show.

        Args:
            members: the arrays of the "input" and the "baseline", as far as the model was running on them.
            names: of the inputs.
            explained: which of them ids can be in; None where that is not known yet.
        """
        hint = f"Its rows are 0 to {self.rows - 1}: give ids of the vocabulary that the model was trained with."
        where = [
            (member, name, leaf)
            for member, leaves in members.items()
            for name, leaf, is_likely in zip(names, leaves, explained or [True] * len(names), strict=True)
            if is_likely
        ]
        for member, name, leaf in sorted(where, key=lambda one: (one[2].dtype.kind == "f", -one[2].ndim)):
            places = np.argwhere(leaf == self.identity)
            if len(places):
                place = tuple(map(int, places[0]))
                return InputError(
                    f"the {member} has the id {self.identity} at position {place}, and the table that the model "
                    f"looks it up in has {self.rows} rows",
                    where=name,
                    hint=hint,
                )
        return InputError(
            f"the model makes the id {self.identity} of its input, and the table that it looks it up in has "
            f"{self.rows} rows",
            hint=hint,
        )


def require_whole(values: np.ndarray, name: str, member: str) -> None:
    """Before floats are cut to ids: they are whole numbers.

    Raises:
        InputError: one has a fraction.
    """
    parts = values != np.trunc(values)
    if parts.any():
        raise InputError(
            f"the {member} has {values[parts][0]:g} where the model looks up ids: it cuts the floats of this input to "
            "whole numbers",
            where=name,
            hint="Ids have nothing in between: give whole numbers, and no average of them.",
        )


def require_in_type(values: np.ndarray, dtype: np.dtype, name: str, member: str) -> None:
    """Before numbers become ids of another type: it has them, where a cast would make others of them.

    Raises:
        InputError: it has not.
    """
    limits = np.iinfo(dtype)
    outside = (values < limits.min) | (values > limits.max)
    if outside.any():
        raise InputError(
            f"the {member} has {values[outside][0]:.0f} where the model looks up ids of type {dtype}, which has no "
            "such number",
            where=name,
            hint="Give ids of the vocabulary that the model was trained with.",
        )
