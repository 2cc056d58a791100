"""Words and their ids, as the model was trained with them; never made up from the text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from explain_core.errors import InputError, SequenceFileError
from explain_core.sequences.contents import read_bytes
from explain_core.sequences.json_file import parse_json
from explain_core.sequences.options import MAX_TEXT_CELLS
from explain_core.sequences.text import decode
from explain_core.untrusted.last_boundary import ending_typed

KERAS_FILTERS = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'
_UNKNOWN = ("<unk>", "[UNK]", "<UNK>", "<OOV>", "<oov>", "UNK", "unk", "[unk]")
_PADDING = ("<pad>", "[PAD]", "<PAD>", "[pad]", "PAD")
_MOST_WORDS = 2_000_000
_LONGEST_SHOWN = 60  # letters; every cell of an array takes as much as the longest
_MAX_BYTES = 128 * 2**20
_MOST_VALUES = 5 * _MOST_WORDS  # of JSON: a Keras tokenizer has its words four times
_ID = re.compile(r"-?\d{1,10}", re.ASCII)
_WORD_AND_ID = re.compile(r"(\S+)[\t ,;]+(\d{1,10})", re.ASCII)
_HINT = "Give JSON of word and id, a JSON list, a word on each line, or a Keras tokenizer's to_json()."


@dataclass(frozen=True)
class Vocabulary:
    """Ids by word, and how a text is taken apart.

    Attributes:
        ids: by word.
        unknown: the id of words that are not in it; None leaves such words out, as Keras's tokenizer does.
        padding: the id that fills up to the model's length.
        lower: whether texts are lower-cased first.
        filters: characters that count as spaces.
        offset: added to every word's id; Keras's IMDB data has 3.
        characters: whether the words are single characters.
        most: ids of this and above count as unknown (``num_words`` of Keras); None is no limit.
    """

    ids: dict[str, int] = field(repr=False)
    unknown: int | None = None
    padding: int = 0
    lower: bool = False
    filters: str = ""
    offset: int = 0
    characters: bool = False
    most: int | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Vocabulary:
        """From a JSON object (word to id), a JSON list, a file with a word on each line, or a Keras tokenizer's JSON.

        Raises:
            SequenceFileError: it is none of these, or two words share an id.
        """
        path = Path(path)
        with ending_typed(SequenceFileError, "a vocabulary", path.name):
            return _read(path)

    def words(self, text: str) -> list[str]:
        """The words of a text, before they are looked up."""
        text = text.lower() if self.lower else text
        if self.filters:
            text = text.translate({ord(character): " " for character in self.filters})
        return list(text) if self.characters else text.split()

    def encode(self, text: str) -> tuple[list[int], list[str], list[str]]:
        """Ids of a text, the word that each one stands for, and the words that are not in the vocabulary."""
        ids, kept, missing = [], [], []
        for word in self.words(text):
            number = self.ids.get(word)
            if number is not None and (self.most is None or number < self.most):
                ids.append(number + self.offset)
                kept.append(word)
                continue
            missing.append(word)
            if self.unknown is not None:
                ids.append(self.unknown)
                kept.append(word)
        return ids, kept, missing


def encode_texts(texts: Sequence[str], vocabulary: Vocabulary, names: Sequence[str] | None = None) -> xr.DataArray:
    """Texts as sequences of ids (sample, time), with the words in the coordinate ``token``.

    Words of more than 60 letters are cut off there. Unequal lengths are filled with the padding id and have the
    coordinate ``length``. ``attrs["unknown"]`` lists the words that are not in the vocabulary, the most frequent first.

    Raises:
        InputError: a text has no word that the vocabulary knows, or there are too many words.
    """
    names = [f"text {i + 1}" for i in range(len(texts))] if names is None else [str(name) for name in names]
    encoded = [vocabulary.encode(text) for text in texts]
    for name, (ids, _, missing) in zip(names, encoded, strict=True):
        if not ids:
            listed = f" Its words are {', '.join(repr(word) for word in missing[:5])}." if missing else ""
            raise InputError(
                f"No word of the text is in the vocabulary.{listed}",
                where=name,
                hint="Look at upper and lower case and at punctuation, or give the id of unknown words.",
            )
    lengths = np.array([len(ids) for ids, _, _ in encoded])
    if len(texts) * int(lengths.max()) > MAX_TEXT_CELLS:
        raise InputError(
            f"Padded to the longest, the {len(texts):,} texts have more than {MAX_TEXT_CELLS:,} words.",
            hint="Give the texts that you want to explain, not the whole data set.",
        )
    values = np.full((len(texts), int(lengths.max())), vocabulary.padding, dtype=np.int64)
    tokens = np.full(values.shape, "", dtype=object)
    for i, (ids, words, _) in enumerate(encoded):
        values[i, : len(ids)] = ids
        tokens[i, : len(ids)] = [word[:_LONGEST_SHOWN] for word in words]
    coords: dict[str, Any] = {
        "sample": names,
        "time": np.arange(1, values.shape[1] + 1),
        "token": (("sample", "time"), tokens.astype(str)),
    }
    if (lengths != values.shape[1]).any():
        coords["length"] = ("sample", lengths)
    missing = Counter(word for _, _, words in encoded for word in words)
    attrs = {
        "unknown": [word for word, _ in missing.most_common()],
        "unknown_count": missing.total(),
        "padding": vocabulary.padding,
    }
    return xr.DataArray(values, coords, ("sample", "time"), "x", attrs)


def _read(path: Path) -> Vocabulary:
    notes: list[str] = []
    text = decode(read_bytes(path, _MAX_BYTES), path.name, notes)
    if not text.lstrip("\ufeff \t\r\n").startswith(("{", "[", '"')):
        return _from_lines(text, path.name, notes)
    try:
        value = parse_json(text, path.name, _MOST_VALUES)
    except SequenceFileError:
        if text.lstrip().startswith("{"):
            raise
        return _from_lines(text, path.name, notes)  # a list of words that begins with "[PAD]"
    if isinstance(value, str):  # to_json() dumped once more
        value = parse_json(value, path.name, _MOST_VALUES)
    return _from_json(value, path.name, notes)


def _from_lines(text: str, where: str, notes: list[str]) -> Vocabulary:
    lines = [line.rstrip("\r") for line in text.removeprefix("\ufeff").split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    pairs = [_WORD_AND_ID.fullmatch(line) for line in lines[:50]]
    if lines and all(pairs):  # a word and its id; counts are refused later, since ids all differ
        ids: dict[str, int] = {}
        for row, line in enumerate(lines):
            pair = _WORD_AND_ID.fullmatch(line)
            if pair is None:
                raise SequenceFileError("The row is no word with its id.", where=f"{where}, row {row + 1}", hint=_HINT)
            ids[pair[1]] = int(pair[2])
        return _made(ids, where, notes)
    twice = _first_twice(lines)
    if twice is not None:
        raise SequenceFileError(
            f"{lines[twice]!r} is there twice.", where=f"{where}, row {twice + 1}", hint="Each word has one id."
        )
    return _made({word: i for i, word in enumerate(lines)}, where, notes)


def _first_twice(words: list[str]) -> int | None:
    seen: set[str] = set()
    for i, word in enumerate(words):
        if word in seen:
            return i
        seen.add(word)
    return None


def _from_json(value: Any, where: str, notes: list[str]) -> Vocabulary:
    if isinstance(value, list):
        if not all(isinstance(word, str) for word in value):
            raise SequenceFileError("The list has something other than words.", where=where, hint=_HINT)
        twice = _first_twice(value)
        if twice is not None:
            raise SequenceFileError(f"{value[twice]!r} is there twice.", where=f"{where}, item {twice + 1}", hint=_HINT)
        return _made({word: i for i, word in enumerate(value)}, where, notes)
    if isinstance(value, dict) and isinstance(value.get("config"), dict):
        return _from_keras(value["config"], where, notes)
    if isinstance(value, dict) and isinstance(value.get("model"), dict):
        raise SequenceFileError(
            "This is a tokenizer that splits words into pieces, which PairLift does not do.",
            where=where,
            hint="Give the token ids themselves: one whole number per timestep.",
        )
    for key in ("word_index", "vocab", "vocabulary", "word2idx", "stoi", "token_to_id"):
        if isinstance(value, dict) and isinstance(value.get(key), dict | list):
            return _from_json(value[key], where, notes)
    if not isinstance(value, dict) or not value:
        raise SequenceFileError("This is not a vocabulary.", where=where, hint=_HINT)
    if all(isinstance(word, str) and _ID.fullmatch(key) for key, word in value.items()):
        value = {word: int(key) for key, word in value.items()}  # id to word
    return _made(value, where, notes)


def _from_keras(config: dict[str, Any], where: str, notes: list[str]) -> Vocabulary:
    """``keras.preprocessing.text.Tokenizer.to_json()``: its index is JSON inside JSON."""
    index = config.get("word_index")
    index = parse_json(index, where, _MOST_VALUES) if isinstance(index, str) else index
    if not isinstance(index, dict):
        raise SequenceFileError("The tokenizer has no word_index.", where=where, hint=_HINT)
    oov, most = config.get("oov_token"), config.get("num_words")
    made = _made(index, where, notes)
    return Vocabulary(
        made.ids,
        unknown=index.get(oov) if isinstance(oov, str) else None,
        lower=bool(config.get("lower", True)),
        filters=str(config.get("filters", KERAS_FILTERS)),
        characters=bool(config.get("char_level", False)),
        most=most if isinstance(most, int) else None,
        notes=(*made.notes, "Texts are taken apart as the Keras tokenizer does it."),
    )


def _made(ids: dict[str, Any], where: str, notes: list[str]) -> Vocabulary:
    if len(ids) > _MOST_WORDS:
        raise SequenceFileError(f"It has {len(ids):,} words; the limit is {_MOST_WORDS:,}.", where=where)
    for word, number in ids.items():
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 2**31:
            raise SequenceFileError(f"The id of {word[:40]!r} is {str(number)[:40]}.", where=where, hint=_HINT)
    numbers = [str(number) for number in ids.values()]
    twice = _first_twice(numbers)
    if twice is not None:
        raise SequenceFileError(
            f"Two words have the id {numbers[twice]}.",
            where=where,
            hint="A list of words with their counts is no vocabulary. " + _HINT,
        )
    unknown = next((ids[word] for word in _UNKNOWN if word in ids), None)
    padding = next((ids[word] for word in _PADDING if word in ids), 0)
    characters = all(len(word) == 1 for word in ids if word not in _UNKNOWN + _PADDING)
    own = list(notes)
    if characters:
        own.append("The vocabulary is of single characters.")
    return Vocabulary(ids, unknown, padding, characters=characters, notes=tuple(own))
