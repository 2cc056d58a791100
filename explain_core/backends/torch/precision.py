"""PyTorch's switches that make numbers coarser or different from run to run: off during a run, put back after it.

- TensorFloat-32 keeps 10 of the 23 binary digits of what goes into a product, and cuDNN's recurrent layers and
  convolutions use it by default; bfloat16, which oneDNN may use, keeps 7. Hidden states that were rounded so are not
  those that the gates come from, and the sum over all of time does not close.
- cuDNN's benchmark chooses an algorithm by the clock, so the two members of a pair may go through different ones.
- On a GPU, operations that add to one place from many threads do it in any order, so equal members would differ.
- Autocast around a call reaches the engine's own products as well as the model's.

There is a precision for everything, for each backend, and for each kind of operation of one, and each goes by the level
above where nothing is written at it. What PyTorch tells is what is gone by. So what is written is found by moving the
level above, and only that is written again: cuDNN's default, which follows the levels above, cannot be written at all.
Beside these stands an older switch of matrix products, which is kept in step, as PyTorch raises where both are used
and disagree.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch

COARSE = ("tf32", "bf16")
"""Precisions that round what goes into a product of single-precision numbers."""

_EVERYTHING = ("generic", "all")
_BACKENDS = ("mkldnn", "cuda")  # oneDNN; cuBLAS and cuDNN
_KINDS = ("matmul", "conv", "rnn")


def _read(backend: str, kind: str) -> str:
    return torch._C._get_fp32_precision_getter(backend, kind)


def _write(backend: str, kind: str, precision: str) -> None:
    torch._C._set_fp32_precision_setter(backend, kind, precision)


@dataclass(frozen=True)
class Settings:
    """What a process has set, as far as it makes answers coarser.

    Attributes:
        coarse: by backend ("mkldnn", "cuda") and kind of operation ("matmul", "conv", "rnn"), "tf32" or "bf16".
        autocast: by type of device ("cpu", "cuda"), the type that autocast around the call computes in.
        benchmark, deterministic: cuDNN's.
        written: what is written at each switch itself, "none" where it goes by the level above.
        older: the older switch of matrix products; None where the precisions need no change.
    """

    coarse: dict[tuple[str, str], str]
    autocast: dict[str, torch.dtype]
    benchmark: bool
    deterministic: bool
    written: dict[tuple[str, str], str]
    older: str | None

    @staticmethod
    def read() -> Settings:
        """Those of now."""
        read = {(backend, kind): _read(backend, kind) for backend in _BACKENDS for kind in _KINDS}
        coarse = {key: precision for key, precision in read.items() if precision in COARSE}
        if not torch.cuda.is_available():
            coarse = {key: precision for key, precision in coarse.items() if key[0] != "cuda"}
        return Settings(
            coarse,
            {kind: torch.get_autocast_dtype(kind) for kind in ("cpu", "cuda") if torch.is_autocast_enabled(kind)},
            torch.backends.cudnn.benchmark,
            torch.backends.cudnn.deterministic,
            *(_written_and_older() if coarse else ({}, None)),
        )

    def make_exact(self) -> None:
        """Single precision as it is written, and one algorithm for equal shapes."""
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
        if self.older is not None:
            _write_exact(self.written)
            torch.set_float32_matmul_precision("highest")

    def put_back(self) -> None:
        """As they were."""
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = self.benchmark, self.deterministic
        if self.older is not None:
            torch.set_float32_matmul_precision(self.older)  # writes to the newer switches of matrix products too
            _write_again(self.written)

    def in_words(self, device: str) -> str:
        """What makes answers on a type of device coarser, such as "TF32 in cuDNN's recurrent layers"."""
        backend = "cuda" if device == "cuda" else "mkldnn"
        kinds = {precision: [] for precision in self.coarse.values()}
        for (of, kind), precision in self.coarse.items():
            if of == backend:
                kinds[precision].append(_IN_WORDS[kind])
        said = [f"{precision.upper()} in {' and '.join(of)}" for precision, of in kinds.items() if of]
        if device in self.autocast:
            said.append(f"autocast to {str(self.autocast[device]).removeprefix('torch.')}")
        return ", ".join(said)


_IN_WORDS = {"matmul": "matrix products", "conv": "convolutions", "rnn": "recurrent layers"}


def _write_exact(written: dict[tuple[str, str], str]) -> None:
    _write(*_EVERYTHING, "ieee")
    for key, precision in written.items():
        if precision != "none":
            _write(*key, "ieee")


def _write_again(written: dict[tuple[str, str], str]) -> None:
    for (backend, kind), precision in written.items():
        if precision != "none" or kind in ("all", "matmul"):  # cuDNN's default is no "none"
            _write(backend, kind, precision)


def _written_and_older() -> tuple[dict[tuple[str, str], str], str]:
    """What is written at each switch, and at the older one, which can be read where nothing contradicts it."""
    written = {_EVERYTHING: _read(*_EVERYTHING)}
    for backend in _BACKENDS:
        whole = _under(_EVERYTHING, [(backend, "all")])
        written |= whole | _under((backend, "all"), [(backend, kind) for kind in _KINDS])
        _write(backend, "all", whole[backend, "all"])
    _write_exact(written)
    older = torch.get_float32_matmul_precision()
    _write_again(written)
    return written, older


def _under(above: tuple[str, str], keys: list[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """What is written at each key: what it goes by whatever is written above it, which ends at "none"."""
    found = []
    for precision in ("ieee", "none"):
        _write(*above, precision)
        found.append([_read(*key) for key in keys])
    return {key: one if one == other else "none" for key, one, other in zip(keys, *found, strict=True)}


_GIVEN: list[Settings] = []
"""The settings of the process while a run has its own; of runs inside a run, those of the outermost are first."""


@contextmanager
def full_precision() -> Generator[None]:
    """Products of single-precision numbers in single precision, equal for equal numbers, and no autocast around.

    To be used inside the engine's lock, since the switches belong to the process.
    """
    given = Settings.read()
    given.make_exact()
    _GIVEN.append(given)
    try:
        with ExitStack() as stack:
            for device in given.autocast:
                stack.enter_context(torch.autocast(device, enabled=False))
            yield
    finally:
        _GIVEN.pop()
        given.put_back()


def given_settings() -> Settings:
    """What the process had set before the run that is going on."""
    return _GIVEN[0]


@contextmanager
def as_given() -> Generator[None]:
    """Within a run, what the process had set before it."""
    given = given_settings()
    given.put_back()
    try:
        with ExitStack() as stack:
            for device, dtype in given.autocast.items():
                stack.enter_context(torch.autocast(device, dtype=dtype))
            yield
    finally:
        given.make_exact()


_IN_ANY_ORDER = frozenset(
    ["index_add", "index_put", "index_reduce", "scatter", "scatter_add", "scatter_reduce", "put", "cumsum"]
)
"""Operations by which a GPU adds up to one place from many threads, unless it is asked for one order."""


@contextmanager
def in_one_order(op: torch._ops.OpOverload, device: torch.device) -> Generator[None]:
    """For one operation on a device: additions in one order, where that is not so anyway.

    Not for a whole run: PyTorch would then warn of every matrix product, for which one stream is enough.
    """
    name = op._schema.name.removeprefix("aten::").removesuffix("_")
    if device.type != "cuda" or name not in _IN_ANY_ORDER:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch._C._set_deterministic_algorithms(True, warn_only=True)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*does not have a deterministic implementation")
            yield
    finally:
        torch._C._set_deterministic_algorithms(before[0], warn_only=before[1])
