"""A file of words where a sequence belongs: a vocabulary, which many people give in the wrong place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from explain_core.errors import SequenceFileError

_FEWEST = 5  # words; fewer may be anything


def is_vocabulary(words: Sequence[object], ids: Sequence[object] | None = None) -> bool:
    """Whether there are words only, each once, and their numbers, where there are some, are one after the other."""
    if len(words) < _FEWEST or not all(isinstance(word, str) and len(word.split()) == 1 for word in words):
        return False
    if len(set(words)) < len(words):
        return False
    if ids is None:
        return True
    try:
        numbers = np.sort(np.array(ids, dtype=float))
    except (TypeError, ValueError):
        return False
    return bool((np.diff(numbers) == 1).all() and numbers[0] in (*range(5),))  # after the ids of padding and the like


def vocabulary_given(where: str, words: Sequence[object]) -> SequenceFileError:
    """The error for one, with the first of its words."""
    return SequenceFileError(
        f"This looks like a vocabulary: words such as {str(words[0])[:40]!r}, each once, and no values of a sequence.",
        where=where,
        hint="Here goes what is to be explained: a text, or a table of numbers with a row for each timestep. For a "
        "model of words, give this file as its vocabulary, and the text here.",
    )
