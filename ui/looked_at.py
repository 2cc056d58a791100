"""What a person looks at on the stage: what a picture of it is to show. No Streamlit here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import plotly.graph_objects as go

from explain_core.stage import Scene
from explain_core.stage.still import still_figure

View = tuple[int, int]  # first and last visible timestep, counted from 0, both included


@dataclass(frozen=True)
class Looked:
    """A scene as it is looked at.

    Attributes:
        view: the visible timesteps; None is all of them.
        open_groups, unfolded: which rows there are, as in `explain_core.stage.view`.
    """

    scene: Scene
    view: View | None = None
    open_groups: frozenset[str] = frozenset()
    unfolded: bool = False

    @classmethod
    def told(cls, scene: Scene, said: Any) -> Looked:
        """What a browser says of a scene. It may be anything; what does not fit is left out."""
        if not isinstance(said, dict):
            return cls(scene)
        kinds = {each.kind: each for each in scene.contrasts}
        contrast = kinds.get(said.get("contrast")) if isinstance(said.get("contrast"), str) else None
        groups = said.get("groups") if isinstance(said.get("groups"), list) else []
        return cls(
            scene if contrast is None else replace(scene, contrast=contrast),
            checked((said.get("first"), said.get("last")), len(scene.attribution)),
            frozenset(group for group in scene.groups if group is not None and group in groups),
            said.get("unfolded") is True,
        )

    def figure(self, theme: str) -> go.Figure:
        """All of it as a chart that stands still, on a page of the theme "light" or "dark"."""
        first, last = self.view or (0, None)
        return still_figure(self.scene, first, last, self.open_groups, unfolded=self.unfolded, theme=theme)


def checked(view: tuple[Any, ...] | None, T: int) -> View | None:
    """A view of some of T timesteps; None is all of them, also for what is no view."""
    if view is None or len(view) != 2 or not all(type(step) is int for step in view):
        return None
    first, last = view
    return (first, last) if 0 <= first <= last < T and (first, last) != (0, T - 1) else None
