"""Reading files for the app, in a process of its own: parsers of other people's files may crash or fill the memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from explain_core.jobs.job import Report
from explain_core.sequences.formats import read_file
from explain_core.sequences.grids import read_grid
from explain_core.sequences.loading import read_words
from explain_core.sequences.options import Options
from explain_core.sequences.reading import Reading
from explain_core.sequences.scaling import Scaling
from explain_core.sequences.vocabulary import KERAS_FILTERS, Vocabulary


@dataclass(frozen=True)
class WordOptions:
    """A vocabulary's file, and what it does not say. None is "as the file says"."""

    path: Path
    lower: bool | None = None
    punctuation: bool | None = None  # whether punctuation is kept
    unknown: int | None = None
    padding: int | None = None
    offset: int | None = None


def read_sequences(report: Report, path: Path, options: Options) -> Reading:
    """Read a file of sequences."""
    report(0.2, f"Reading {path.name}")
    return read_file(path, options)


def read_arrays(report: Report, path: Path, dims: tuple[str, ...], array: str | None = None) -> Reading:
    """Read a file of arrays with more axes than a sequence has."""
    report(0.2, f"Reading {path.name}")
    return read_grid(path, dims, array)


def read_text(report: Report, path: Path, words: WordOptions, text_column: str | None = None) -> Reading:
    """Read a file of texts as token ids."""
    report(0.1, f"Reading {words.path.name}")
    vocabulary = with_options(Vocabulary.load(words.path), words)
    report(0.5, f"Reading {path.name}")
    return read_words(path, vocabulary, text_column)


def describe_vocabulary(report: Report, path: Path) -> Vocabulary:
    """What a vocabulary's file says, without its words."""
    report(0.2, f"Reading {path.name}")
    vocabulary = Vocabulary.load(path)
    some = dict(list(vocabulary.ids.items())[:50])
    return replace(vocabulary, ids=some, notes=(f"{len(vocabulary.ids):,} words.", *vocabulary.notes))


def read_scaling(report: Report, path: Path) -> Scaling:
    """Read a file of means and scales."""
    report(0.2, f"Reading {path.name}")
    return Scaling.load(path)


def with_options(vocabulary: Vocabulary, words: WordOptions) -> Vocabulary:
    """The vocabulary with what a person says about it."""
    given: dict[str, Any] = {
        "lower": words.lower,
        "unknown": words.unknown,
        "padding": words.padding,
        "offset": words.offset,
        "filters": None if words.punctuation is None else "" if words.punctuation else KERAS_FILTERS,
    }
    return replace(vocabulary, **{name: value for name, value in given.items() if value is not None})
