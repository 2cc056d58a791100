"""Whether an opened model takes its sequences samples first or time first: seen in the model, or asked."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from explain_core.jobs.tasks.opening import ModelSource
from explain_core.jobs.tasks.trying import Trial, try_made_up
from explain_core.models import ExpectedInput, ModelSummary
from explain_core.sequences.roles import Role, main_input, roles_of, samples_first
from ui.beside import in_words
from ui.errors import plain
from ui.model import source_key
from ui.session import Outcome, Session

_LAYOUTS = {False: "Samples first", True: "Time first"}


def try_layout(session: Session, source: ModelSource) -> Outcome:
    """The job that finds out what the model takes; its value is a `Trial`."""
    return session.outcome(("layout", *source_key(source)), source, try_made_up, source)


def choose_layout(trial: Trial, summary: ModelSummary, model: str) -> frozenset[str]:
    """Names of the inputs that are given to the model as (time, sample, ...).

    Asked where the model says that it reads time first, and where it does not say along which axis it reads.
    """
    roles = roles_of(summary.inputs)
    may_be = [
        spec.name
        for spec, role in zip(summary.inputs, roles, strict=True)
        if role in (Role.SEQUENCE, Role.TOKENS, Role.GRID) and (spec.shape is None or len(spec.shape) > 1)
    ]
    said = frozenset(trial.time_first) & frozenset(may_be)
    if not may_be or (trial.tells_time and not said):
        return said
    if said:
        st.caption(
            ":material/swap_vert: The model takes **time first** (time, sample, feature). Your file stays as it is: a "
            "row for each timestep."
        )
    with st.expander("Order of the model's axes", icon=":material/swap_vert:"):
        first = st.radio(
            "The model takes",
            [False, True],
            int(bool(said)),
            format_func=_LAYOUTS.get,
            key=f"layout {model}",
            captions=["(sample, time, feature), batch_first=True", "(time, sample, feature), batch_first=False"],
            help="Found in the model where a recurrent layer says it.",
        )
    if not first:
        return frozenset()
    return said or frozenset(may_be)


@dataclass(frozen=True)
class Inputs:
    """What a model takes, as the app asks for it.

    ``specs`` are samples first; ``main`` is the place of the sequence; ``time_first`` names those that the model takes
    as (time, sample, ...).
    """

    specs: tuple[ExpectedInput, ...]
    main: int
    time_first: frozenset[str]


def take_inputs(trial: Trial, summary: ModelSummary, source: ModelSource) -> Inputs:
    """What an opened model takes, said in the sidebar; asks for the order of its axes where that is not clear."""
    time_first = choose_layout(trial, summary, source.path.parent.name)
    specs, main = samples_first(summary.inputs, time_first), main_input(summary.inputs)
    if len(specs) > 1:
        role = roles_of(specs)[main]
        st.markdown(
            f"The model takes {len(specs)} inputs. Its sequence is **{plain(specs[main].name)}**: "
            f"{in_words(specs[main], role)}. Give the others below."
        )
    return Inputs(specs, main, time_first)
