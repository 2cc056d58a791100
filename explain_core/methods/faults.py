"""What other packages raise, as a `MethodError` in words; the causes that are known get theirs."""

from __future__ import annotations

import re
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from importlib.metadata import version

from explain_core.errors import ExplainError, MethodError

_RECURRENT_OPERATIONS = ("TensorListStack", "TensorListReserve", "TensorListFromTensor", "TensorListGetItem", "While")

_KNOWN = (
    (
        r"gradient registry has no entry for: shap_(?P<op>\w+)",
        "shap's DeepExplainer has no gradient rule for {op}{recurrent}.",
        "PairLift, integrated gradients and gradient SHAP explain such models.",
    ),
    (
        r"(?P<op>\w+) used in model but handling of op is not specified by shap",
        "shap's DeepExplainer has no rule for {op}{recurrent}.",
        "PairLift, integrated gradients and gradient SHAP explain such models.",
    ),
    (
        r"is a view and is being modified inplace|modified by an inplace operation",
        "{library} hooks the layers of the model, and one of them overwrites its input in place.",
        "Make its activations with inplace=False.",
    ),
    (
        r"does not contain some of the input/output attributes",
        "captum's DeepLift cannot follow a layer that the model uses twice.",
        "Give every use a layer of its own.",
    ),
    (
        r"DefaultCPUAllocator|out of memory|OutOfMemory|OOM when allocating",
        "There was not enough memory.",
        "Use fewer timesteps, fewer baselines or a cheaper method.",
    ),
)


@contextmanager
def library_at_work(method: str, library: str) -> Generator[None]:
    """Turn whatever a package raises into a `MethodError`.

    Raises:
        MethodError: with the cause in words.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what of it matters to people is in the model's notes
        try:
            yield
        except ExplainError:
            raise
        except Exception as error:  # what foreign code may raise is open; all of it is said
            raise _in_words(error, method, library) from error


def library_version(library: str) -> str:
    """Name and version of the package a method comes from."""
    return f"{library} {version(library)}" if library else "PairLift"


def _in_words(error: Exception, method: str, library: str) -> MethodError:
    text = str(error).strip()
    by = library_version(library)
    for pattern, what, hint in _KNOWN:
        if match := re.search(pattern, text):
            op = match.groupdict().get("op", "")
            recurrent = ", in which TensorFlow keeps the steps of a recurrent layer" if _is_recurrent(op) else ""
            return MethodError(what.format(op=op, recurrent=recurrent, library=library), where=by, hint=hint)
    last = text.splitlines()[0][:300] if text else ""
    return MethodError(
        f"{method} failed: {type(error).__name__}{': ' if last else ''}{last}",
        where=by,
        hint="Other methods may do; PairLift names what it cannot explain.",
    )


def _is_recurrent(operation: str) -> bool:
    return operation in _RECURRENT_OPERATIONS
