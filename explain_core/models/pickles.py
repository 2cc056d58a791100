"""Looking at pickles without loading them: which names one would import."""

from __future__ import annotations

import io
import pickletools
from typing import Any

MAX_OPERATIONS = 2_000_000
MAX_BYTES = 64 * 2**20

DEEPEST = 1000  # real checkpoints are about 50 deep

#: What Python's own look at the operations of a pickle raises where it is damaged.
BROKEN = (ValueError, EOFError, UnicodeDecodeError, IndexError, KeyError, OverflowError)

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
        memo: dict[Any, str] = {}
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
        except BROKEN:
            break
    return tuple(found)


def too_large(data: bytes, pickles: int = 1) -> str:
    """Why a pickle must not be given to a reader: what it has too much of, in words; empty for one that may be.

    Readers fall over values in values in values: Python's own ends the process where it hashes such a tuple.

    Args:
        data: one pickle, or several in a row.
        pickles: how many in a row to look through.
    """
    if len(data) > MAX_BYTES:
        return f"is larger than {MAX_BYTES // 2**20} MiB without its tensors"
    stream, left = io.BytesIO(data), MAX_OPERATIONS
    for _ in range(pickles):
        depths = _Depths()
        try:
            for opcode, argument, _ in pickletools.genops(stream):
                left -= 1
                if left < 0:
                    return f"has more than {MAX_OPERATIONS:,} operations"
                if depths.after(opcode, argument) > DEEPEST:
                    return f"holds values nested more than {DEEPEST:,} times"
        except BROKEN:
            break  # the reader says so
    return ""


class _Depths:
    """How deep the values are that a pickle puts on its stack, without making them."""

    def __init__(self) -> None:
        self._stack: list[int] = []
        self._marks: list[int] = []
        self._memo: dict[int, int] = {}

    def after(self, opcode: pickletools.OpcodeInfo, argument: Any) -> int:
        """The depth of what an operation leaves on top of the stack."""
        name, stack = opcode.name, self._stack
        if name == "MARK":
            self._marks.append(len(stack))
        elif name == "MEMOIZE" or name.endswith("PUT"):
            self._memo[len(self._memo) if name == "MEMOIZE" else int(argument)] = stack[-1]
        elif name.endswith("GET"):
            stack.append(self._memo[int(argument)])
        elif name == "DUP":
            stack.append(stack[-1])
        elif pickletools.markobject in opcode.stack_before:
            self._gather(stack[self._marks[-1] :], len(stack) - self._marks.pop(), opcode)
        elif opcode.stack_before:
            count = len(opcode.stack_before)
            self._gather(stack[-count:], count, opcode)
        else:
            stack.append(0)
        return stack[-1] if stack else 0

    def _gather(self, values: list[int], count: int, opcode: pickletools.OpcodeInfo) -> None:
        """Take the values off the stack; what is made of them is deeper by one, what takes them is where it was."""
        if opcode.name in ("APPENDS", "SETITEMS", "ADDITEMS"):  # the taker stands under the mark
            values, count = [self._stack[-count - 1] - 1, *values], count + 1
        elif opcode.name in ("APPEND", "SETITEM", "BUILD"):
            values = [values[0] - 1, *values[1:]]
        del self._stack[len(self._stack) - count :]
        if opcode.stack_after:
            self._stack.append(max(values, default=-1) + 1)


def describe(names: tuple[str, ...]) -> str:
    """What was pickled, in words, going by what it imports; empty where that says nothing."""
    packages = [name.partition(".")[0] for name in names]
    return next((words for package, words in _COMMENTS.items() if package in packages), "")
