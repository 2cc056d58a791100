"""Looking at pickles without loading them: which names one would import."""

from __future__ import annotations

import io
import pickletools
from pathlib import Path

MAX_OPERATIONS = 2_000_000
MAX_BYTES = 64 * 2**20

_STRINGS = ("UNICODE", "STRING", "BINSTRING")  # what the names of opcodes that push a string end in
_COMMENTS = {
    "sklearn": "a scikit-learn model",
    "gensim": "a gensim model",
    "xgboost": "an XGBoost model",
    "lightgbm": "a LightGBM model",
    "catboost": "a CatBoost model",
    "pandas": "a pandas table",
    "keras": "a pickled Keras model",
    "tensorflow": "a pickled TensorFlow model",
    "torch": "pickled PyTorch objects",
    "numpy": "numpy arrays",
}


def imported_names(data: bytes, pickles: int = 1) -> tuple[str, ...]:
    """The names ("module.name") that unpickling would import, in order of appearance, each once.

    Reads opcodes only; a damaged pickle gives what came before the damage.

    Args:
        data: one pickle, or several in a row.
        pickles: how many in a row to look through.
    """
    found: dict[str, None] = {}
    stream = io.BytesIO(data[:MAX_BYTES])
    left = MAX_OPERATIONS
    for _ in range(pickles):
        strings: list[str] = []  # what STACK_GLOBAL takes its two names from
        memo: dict[int, str] = {}
        try:
            for opcode, argument, _ in pickletools.genops(stream):
                left -= 1
                if left < 0:
                    return tuple(found)
                name = opcode.name
                if name in ("GLOBAL", "INST"):
                    found[str(argument).replace(" ", ".", 1)] = None
                elif name == "STACK_GLOBAL":
                    found[".".join(strings[-2:])] = None
                elif name.endswith(_STRINGS) and isinstance(argument, str):
                    strings = [*strings[-3:], argument]
                elif name == "MEMOIZE" and strings:
                    memo[len(memo)] = strings[-1]
                elif name.endswith("BINPUT") and strings:
                    memo[argument] = strings[-1]
                elif name.endswith("BINGET") and argument in memo:
                    strings = [*strings[-3:], memo[argument]]
        except (ValueError, EOFError, UnicodeDecodeError, IndexError, OverflowError):
            break
    return tuple(found)


def names_in_file(path: Path) -> tuple[str, ...]:
    """`imported_names` of a file that is one pickle."""
    with path.open("rb") as file:
        return imported_names(file.read(MAX_BYTES))


def describe(names: tuple[str, ...]) -> str:
    """What was pickled, in words, going by what it imports; empty where that says nothing."""
    packages = [name.partition(".")[0] for name in names]
    return next((words for package, words in _COMMENTS.items() if package in packages), "")
