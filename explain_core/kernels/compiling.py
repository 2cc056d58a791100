"""How kernels are compiled, and loaded from their `store`.

Stored code goes by its signature, the processor, and a hash over all sources that it may hold. numba's own way of
storing knows the source file of the outermost function only, and refuses folders that it cannot write.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba import njit, types
from numba.core.caching import CompileResultCacheImpl, FunctionCache
from numba.core.compiler import Compiler

from explain_core.kernels import store

# A product and a sum may become one operation, which rounds once. No other freedom: infinity and NaN keep their
# meaning, and no sum is reordered, so that equal rows give equal results.
MATH = {"contract"}
_COMMON = {"fastmath": MATH, "error_model": "numpy", "nogil": True}
_INNER = {**_COMMON, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
INLINE = {**_INNER, "forceinline": True}

_KINDS = {"r": True, "w": False}


class _Disjoint(Compiler):
    """Compiles a function whose array arguments, those that it writes, overlap with no other."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.state.flags.noalias = True


def loop(function: Callable) -> Callable:
    """Compile an inner loop over the units of rows. No array that it writes may overlap with another argument.

    Without that promise LLVM would compare all pairs of some twenty addresses before it may use vectors, or not use
    them.
    """
    return njit(pipeline_class=_Disjoint, **_INNER)(function)


def part(function: Callable) -> Callable:
    """Compile a function that only other compiled functions call."""
    return njit(**_INNER)(function)


class Kernel:
    """A function that Python calls, compiled when it is first called with a precision, or loaded.

    Args:
        function: what to compile.
        parameters: the kind of each of its parameters: ``int``, ``bool``, or ``r`` (reads) or ``w`` (writes) with a
            number of axes for arrays of the precision, ``rows`` for (n,) int64 and ``flags`` for (T, n) bool.
    """

    def __init__(self, function: Callable, parameters: str) -> None:
        self._parameters = parameters.split()
        self._dispatcher = njit(no_cfunc_wrapper=True, **_COMMON)(function)
        self._dispatcher._cache = _Stored(function)
        self._entries: dict[np.dtype, Callable[..., None]] = {}

    def prepare(self, dtype: np.dtype) -> Callable[..., None]:
        """The kernel for one precision, which checks none of its arguments: finding out what they are takes longer than
        a short sequence.

        Raises:
            store.NotCompiledError: it is not stored, and may not be compiled here.
        """
        if dtype not in self._entries:
            signature = tuple(_type(kind, numba.from_dtype(dtype)) for kind in self._parameters)
            self._dispatcher.compile(signature)
            self._entries[dtype] = self._dispatcher.overloads[signature].entry_point
        return self._entries[dtype]


def kernel(parameters: str) -> Callable[[Callable], Kernel]:
    """Make a `Kernel` of the function that follows."""
    return lambda function: Kernel(function, parameters)


def _type(kind: str, number: types.Type) -> types.Type:
    if kind in ("int", "bool"):
        return {"int": types.int64, "bool": types.boolean}[kind]
    if kind in ("rows", "flags"):
        return types.Array(types.int64 if kind == "rows" else types.boolean, 1 + (kind == "flags"), "C", readonly=True)
    return types.Array(number, int(kind[1:]), "C", readonly=_KINDS[kind[0]])


class _Locator:
    """What numba asks about the place of stored code."""

    def __init__(self, function: Callable) -> None:
        self._py_file = function.__code__.co_filename

    @classmethod
    def from_function(cls, function: Callable, file: str) -> _Locator:
        return cls(function)

    def get_cache_path(self) -> str:
        return str(store.folder())

    def get_source_stamp(self) -> str:
        return store.stamp()

    def get_disambiguator(self) -> str:
        return "pairlift"

    def ensure_cache_path(self) -> None:
        store.folder().mkdir(parents=True, exist_ok=True)


class _Implementation(CompileResultCacheImpl):
    _locator_classes = (_Locator,)


class _Files:
    """A file for each kernel and precision, in place of numba's index, of which processes that compile at the same time
    overwrite one another's entries."""

    def __init__(self, name: str) -> None:
        self._name = name

    def load(self, key: tuple) -> Any:
        """What was stored, or None."""
        try:
            return pickle.loads(self._path(key).read_bytes())
        except FileNotFoundError:
            return None

    def save(self, key: tuple, data: Any) -> None:
        """Store it, whole or not at all."""
        path = self._path(key)
        part = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.part")
        part.write_bytes(pickle.dumps(data))
        part.replace(path)

    def flush(self) -> None:
        for path in store.folder().glob(f"{self._name}-*.kernel"):
            path.unlink(missing_ok=True)

    def _path(self, key: tuple) -> Path:
        digest = hashlib.sha256(repr((store.stamp(), numba.__version__, key)).encode()).hexdigest()
        return store.folder() / f"{self._name}-{digest[:32]}.kernel"


class _Stored(FunctionCache):
    """numba's store of compiled functions, in a folder that may be read-only."""

    _impl_class = _Implementation

    def __init__(self, function: Callable) -> None:
        super().__init__(function)
        self._cache_file = _Files(f"{function.__module__.rpartition('.')[2]}.{function.__name__}")

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            found = super().load_overload(sig, target_context)
        except OSError:  # a folder that may not be read
            found = None
        if found is None and os.environ.get(store.ONLY_STORED):
            raise store.NotCompiledError(self._name)
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError:  # no place to keep it: it is compiled again by the next process
            self.disable()
