"""Reading what ``torch.save`` wrote without making any object of the classes named in it.

PyTorch's own ``weights_only`` reader makes the tensors. Every class and function on the lists below is given to it
as an inert stand-in that only keeps what it was handed, so that nothing of the file is ever called: no constructor,
no ``__setstate__``, no attribute of the real class. Names that are on no list are refused.
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch._weights_only_unpickler
from torch import nn

from explain_core.errors import ModelFileError
from explain_core.models.archive import pack, read_entries
from explain_core.models.hints import EXPORT_HINT, QUANTIZED, QUANTIZED_HINT, READER_ERRORS, first_line
from explain_core.models.pickles import MAX_BYTES, imported_names, too_large
from explain_core.models.torch.dialects import MODULE_CLASS, as_protocol_2, with_module_classes

STATE_DICT_HINT = "Save the weights alone with torch.save(model.state_dict(), path), or export the model. "

#: Stock modules that a pickled model may be made of.
STOCK_MODULES = {
    f"{kind.__module__}.{kind.__name__}": kind
    for kind in (*vars(nn).values(), nn.modules.linear.NonDynamicallyQuantizableLinear)
    if isinstance(kind, type) and issubclass(kind, nn.Module) and kind.__module__.startswith("torch.nn.")
}

#: Containers of settings, as checkpoints keep them beside the weights.
_SETTINGS = (
    "argparse.Namespace",
    "types.SimpleNamespace",
    "easydict.EasyDict",
    "omegaconf.base.ContainerMetadata",
    "omegaconf.base.Metadata",
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    "omegaconf.nodes.AnyNode",
    "omegaconf.nodes.BooleanNode",
    "omegaconf.nodes.FloatNode",
    "omegaconf.nodes.IntegerNode",
    "omegaconf.nodes.StringNode",
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "lightning.pytorch.utilities.parsing.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
)

#: Plain values and their types. "typing" and "builtins" are only ever referred to, as the types of settings.
_VALUES = (
    "collections.defaultdict",
    "typing.Any",
    "typing.Dict",
    "builtins.dict",
    "builtins.list",
    "builtins.int",
    "builtins.float",
    "builtins.str",
    "builtins.bool",
    "pathlib.Path",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "pathlib._local.PosixPath",
    "pathlib._local.WindowsPath",
    "pathlib._local.Path",
    "torch.torch_version.TorchVersion",
    "torch.nn.backends.thnn._get_thnn_function_backend",  # an attribute of every module before PyTorch 1.4
    "datetime.datetime",
    "datetime.date",
    "datetime.timedelta",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "numpy.ndarray",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
)

#: Functions that stock modules, and models in a trusted file, keep as attributes; only ever referred to.
FUNCTIONS = {
    **{f"torch.nn.functional.{name}": name for name in ("relu", "gelu", "elu", "selu", "leaky_relu", "silu", "mish")},
    **{f"torch.nn.functional.{name}": name for name in ("tanh", "sigmoid", "softplus", "softmax", "log_softmax")},
    **{f"torch._C._nn.{name}": name for name in ("gelu", "softplus")},
    **{f"torch._VF.{name}": name for name in ("relu", "tanh", "sigmoid")},
    **{f"torch._C._VariableFunctions.{name}": name for name in ("relu", "tanh", "sigmoid")},
    **{f"torch.{name}": name for name in ("relu", "tanh", "sigmoid")},
}

_ENTRY = re.compile(r"data\.pkl|version|byteorder|\.data/version|data/\d+")
_MOST_NAMES_SHOWN = 3
_PICKLES_BEFORE_1_6 = 4  # magic number, version, system, what was saved
_DEEPEST_SETTINGS, _MOST_SETTINGS = 20, 100_000
_READER_SAYS = "WeightsUnpickler error: "  # what stands before it is on other ways to open a file


class Recorded:
    """What a pickle said of one object: the name of its class, and what the class was to be handed."""

    path = ""  # of the class, "module.name"
    args: tuple[Any, ...]
    state: Any

    def __new__(cls, *args: Any) -> Recorded:
        made = super().__new__(cls)
        made.args, made.state = args, None
        return made

    def __init__(self, *args: Any) -> None:
        """Nothing: ``__new__`` has kept the arguments."""

    def __setstate__(self, state: Any) -> None:
        self.state = state

    @property
    def attributes(self) -> dict[str, Any]:
        """The object's own attributes; none for an object that has none."""
        return self.state if isinstance(self.state, dict) else {}


def _module_class(kind: str, named: Any, *source: Any) -> Any:
    """The class of a module, which old files keep with its source code beside it."""
    if not isinstance(named, type) or not issubclass(named, Recorded):
        raise pickle.UnpicklingError("a module of no class")
    return named


def _stand_in(path: str) -> tuple[type[Recorded], str]:
    return type(path.rpartition(".")[2], (Recorded,), {"path": path}), path


_STAND_INS = [_stand_in(path) for path in (*STOCK_MODULES, *_SETTINGS, *_VALUES, *FUNCTIONS)]


def is_module(value: Any) -> bool:
    """Whether a value was an ``nn.Module``."""
    return isinstance(value, Recorded) and "_modules" in value.attributes


def read(path: Path, classes: Iterable[str] = ()) -> Any:
    """The content of a file from ``torch.save``: tensors, plain values, and `Recorded` objects.

    Args:
        path: a file of the zip format, or of the one before PyTorch 1.6.
        classes: names of classes, besides the lists of this module, whose objects are recorded.

    Raises:
        ModelFileError: damaged, or asks for something that is on no list; the error names it.
    """
    classes = tuple(classes)
    stand_ins: list[Any] = [*_STAND_INS, (_module_class, MODULE_CLASS), *(_stand_in(name) for name in classes)]
    if zipfile.is_zipfile(path):
        entries = read_entries(path, rewrite="torch.save")
        _require_measure(entries.get("data.pkl", b""), 1, path)
        clean = {name: data for name, data in entries.items() if _ENTRY.fullmatch(name)}
        source: Any = pack(clean | {name: as_protocol_2(clean[name]) for name in ("data.pkl",) if name in clean})
    else:
        with path.open("rb") as file:
            _require_measure(file.read(MAX_BYTES), _PICKLES_BEFORE_1_6, path)
        source = with_module_classes(path) or path
    try:
        with torch.serialization.safe_globals(stand_ins), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on old storage classes and pickle protocols
            content = torch.load(source, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _refused(path, error, classes) from None
    except MemoryError:
        raise ModelFileError(
            "Reading the file would take more memory than there is.",
            where=path.name,
            hint="A file that was cut off or changed can ask for that; copy it again.",
        ) from None
    except READER_ERRORS as error:
        raise ModelFileError(
            f"PyTorch cannot read the file: {first_line(error)}",
            where=path.name,
            hint="It may be damaged or cut off; copy it again.",
        ) from None
    return content


def _require_measure(data: bytes, pickles: int, path: Path) -> None:
    if why := too_large(data, pickles):
        raise ModelFileError(
            f"The pickle in the file {why}, which no weights do.",
            where=path.name,
            hint=STATE_DICT_HINT + EXPORT_HINT,
        )


def required_names(path: Path) -> tuple[str, ...]:
    """The names that unpickling a file from ``torch.save`` would import, by looking only."""
    if zipfile.is_zipfile(path):
        return imported_names(read_entries(path, rewrite="torch.save").get("data.pkl", b""))
    with path.open("rb") as file:
        return imported_names(file.read(MAX_BYTES), _PICKLES_BEFORE_1_6)


def unknown_names(path: Path) -> list[str]:
    """Those of `required_names` that are on no list."""
    known = {name for _, name in _STAND_INS} | set(torch._weights_only_unpickler._get_allowed_globals())
    return [name for name in required_names(path) if _as_python_3(name) not in known]


def _as_python_3(name: str) -> str:
    """Pickles of PyTorch call what is built in as Python 2 did."""
    return name.replace("__builtin__.", "builtins.", 1)


def _refused(path: Path, error: pickle.UnpicklingError, classes: tuple[str, ...]) -> ModelFileError:
    names = [name for name in unknown_names(path) if _as_python_3(name) not in classes]
    modules = [name for name in required_names(path) if name in STOCK_MODULES]
    if any("quantized" in name for name in names) or "torch.ScriptObject" in names:  # how packed weights are kept
        return ModelFileError(QUANTIZED, where=path.name, hint=QUANTIZED_HINT + EXPORT_HINT)
    if not names:
        return ModelFileError(
            f"PyTorch's safe reader refuses the file: {_said(error)}",
            where=path.name,
            hint=STATE_DICT_HINT + EXPORT_HINT,
        )
    listed = ", ".join(map(repr, names[:_MOST_NAMES_SHOWN])) + (", ..." if len(names) > _MOST_NAMES_SHOWN else "")
    if modules:
        return ModelFileError(
            f"This is a whole pickled model, and it needs Python code that is not in the file: {listed}. Opening it "
            "could run any code.",
            where=path.name,
            hint="Save its weights with torch.save(model.state_dict(), path), or export it. On a server started with "
            "--trust-code, give the .py file that defines the class as well, under the model in the sidebar. "
            + EXPORT_HINT,
        )
    return ModelFileError(
        f"The file is a pickled Python object, not plain weights; opening it could run any code in it. "
        f"It asks for {listed}.",
        where=path.name,
        hint=STATE_DICT_HINT + EXPORT_HINT,
    )


def _said(error: pickle.UnpicklingError) -> str:
    """The reader's own words, without those on other ways to open a file."""
    lines = str(error).rpartition(_READER_SAYS)[2].strip().splitlines()
    return lines[0] if lines else "the pickle in it is damaged"


def plain(value: Any) -> Any:
    """Recorded settings and numbers as dicts, lists, numbers and strings; other objects as they are.

    Settings that hold themselves, or more than settings do, are cut off there: None stands for what is deeper.
    """
    return _Settings().plain(value, 0)


class _Settings:
    def __init__(self) -> None:
        self._left = _MOST_SETTINGS

    def plain(self, value: Any, depth: int) -> Any:
        self._left -= 1
        if self._left < 0 or depth > _DEEPEST_SETTINGS:
            return None
        if isinstance(value, Mapping):
            return {str(key): self.plain(item, depth + 1) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.plain(item, depth + 1) for item in value]
        return self._of_object(value, depth + 1) if isinstance(value, Recorded) else value

    def _of_object(self, value: Recorded, depth: int) -> Any:
        kind = value.path.rpartition(".")[2]
        if kind == "scalar" and len(value.args) == 2:
            return _numpy_scalar(*value.args)
        if kind in ("DictConfig", "ListConfig"):
            return self.plain(value.attributes.get("_content"), depth)
        if kind.endswith("Node"):
            return value.attributes.get("_val")
        if kind in ("Path", "PosixPath", "WindowsPath"):
            return "/".join(map(str, value.args))
        return self.plain(value.attributes, depth) if value.path in _SETTINGS else value


def _numpy_scalar(dtype: Any, data: Any) -> Any:
    """A number from numpy's own pickling of it: its dtype by name, and its bytes."""
    name = dtype.args[0] if isinstance(dtype, Recorded) and dtype.args else ""
    if isinstance(data, str):
        data = data.encode("latin1", "replace")
    if not isinstance(name, str) or not re.fullmatch(r"[biuf]\d", name) or not isinstance(data, bytes):
        return None
    kind = np.dtype(name)
    return np.frombuffer(data, kind)[0].item() if len(data) == kind.itemsize else None
