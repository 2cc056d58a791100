"""The vocabulary of a model of words: how words become the ids that it takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from explain_core.jobs.tasks.sequences import WordOptions, describe_vocabulary
from explain_core.sequences import Vocabulary
from ui.errors import plain
from ui.session import Outcome, Session

Upload = Callable[[Session, str, str, str], Path | None]

VOCABULARY_WORDS = "JSON of word and id, a JSON list, a word on each line, or a Keras tokenizer's to_json()"


def draw_vocabulary(session: Session, upload: Upload) -> tuple[WordOptions | Outcome | None, str]:
    """The vocabulary of a model of token ids, and where short texts are filled up."""
    path = upload(session, "Vocabulary", "vocabulary", VOCABULARY_WORDS)
    pad_where = "end"
    if path is None:
        st.caption("For files of words. Files of token ids need none.")
        return None, pad_where
    outcome = session.outcome(("vocabulary", path), None, describe_vocabulary, path)
    if outcome.value is None:
        return outcome, pad_where
    known: Vocabulary = outcome.value
    for note in known.notes:
        st.caption(f":material/info: {plain(note)}")
    with st.expander("How words become ids", icon=":material/spellcheck:"):
        lower = st.toggle("Lower-case first", known.lower, key=f"words lower {path}")
        kept = st.toggle("Keep punctuation", not known.filters, key=f"words punctuation {path}")
        unknown = st.number_input(
            "Id of unknown words", 0, None, known.unknown, key=f"words unknown {path}", placeholder="leave them out"
        )
        padding = st.number_input("Id of padding", 0, None, known.padding, key=f"words padding {path}")
        offset = st.number_input(
            "Added to every id", 0, None, known.offset, key=f"words offset {path}", help="Keras's IMDB data has 3"
        )
        pad_where = st.segmented_control(
            "Fill up short texts",
            ["end", "start"],
            format_func={"end": "at the end", "start": "at the start"}.get,
            default="end",
            required=True,
            key=f"words where {path}",
        )
    return WordOptions(path, lower, kept, unknown, padding or 0, offset or 0), pad_where
