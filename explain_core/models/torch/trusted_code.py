"""Models of a person's own Python classes, where running their code was allowed.

This is the only place that runs code which came with a model. From Python, giving ``code=`` is the permission; in the
app the server must have been started with ``--trust-code`` (`permission`).

The weights file is still read as inert data: only classes that the code file defines are made, and nothing else that
the weights file names is called.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from explain_core.errors import ModelFileError
from explain_core.models.hints import EXPORT_HINT
from explain_core.models.loaded import LoadedModel
from explain_core.models.torch import checkpoint, inert, stock_modules
from explain_core.models.torch.checkpoint import Checkpoint
from explain_core.models.torch.inert import FUNCTIONS, STOCK_MODULES, Recorded, is_module
from explain_core.models.torch.torch_file import describe_module

_ALL_SETTINGS = ("config", "cfg", "args", "hparams", "opt", "options", "params")  # one argument that has them all
_SHOWN = 5
# How torch.tanh and its like are pickled: by this call, which is read and not made, of an attribute of this class.
_GETATTR = "builtins.getattr"
_TORCH_FUNCTIONS = "torch._C._VariableFunctionsClass"


class _Settings(dict):
    """Settings by item and by attribute, as training scripts read them."""

    __getattr__ = dict.__getitem__


def open_model(path: Path, code: Path, arguments: Mapping[str, Any]) -> LoadedModel:
    """Open a pickled module of a class in a code file, or a state dict with a class in that file.

    Args:
        path: what ``torch.save`` wrote.
        code: a Python file. It is run.
        arguments: for a state dict, arguments of the class by name; ``class`` chooses one of several. Text is read as a
            Python literal where it is one.

    Raises:
        ModelFileError: the code does not run, or the class and the weights do not fit.
    """
    classes = _classes(_run(code), code.name)
    own = [name for name in inert.unknown_names(path) if name.rpartition(".")[2] in classes]
    own += [_GETATTR, _TORCH_FUNCTIONS]
    found = checkpoint.find(inert.read(path, classes=own), path.name)
    notes = [f"The code in {code.name} was run to make the model.", *found.notes]
    if found.module is not None:
        module = _Thawing(classes, path.name).thaw(found.module)
        return describe_module(module.eval(), notes)
    kind = _chosen(classes, arguments, code.name)
    given = {name: _literal(value) for name, value in arguments.items() if name != "class"}
    module = _make(kind, found.settings, given, code.name)
    _fill(module, found, path.name)
    loaded = describe_module(module.eval(), notes)
    return replace(loaded, format="state dict", summary=replace(loaded.summary, format="state dict with code"))


def _run(code: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("trusted_model_code", code)
    if spec is None or spec.loader is None:
        raise ModelFileError("The code is not a .py file.", where=code.name, hint="Give the file with the class.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # it is a person's own code, which may raise anything
        raise ModelFileError(
            f"The code does not run: {type(error).__name__}: {error}.",
            where=code.name,
            hint="Give a file with the model's class alone: no training, no files of its own.",
        ) from error
    return module


def _classes(module: ModuleType, where: str) -> dict[str, type[nn.Module]]:
    found = {
        name: kind
        for name, kind in vars(module).items()
        if isinstance(kind, type) and issubclass(kind, nn.Module) and kind.__module__ == module.__name__
    }
    if not found:
        raise ModelFileError(
            "No class in the file is a torch.nn.Module.", where=where, hint="Give the file that defines the model."
        )
    return found


def _chosen(classes: Mapping[str, type], arguments: Mapping[str, Any], where: str) -> type[nn.Module]:
    """The class that a state dict belongs to: the one named, or the one that no other in the file uses."""
    name = arguments.get("class")
    if name is None and len(classes) == 1:
        return next(iter(classes.values()))
    if name not in classes:
        what = "defines several models" if name is None else f"defines no class {name!r}"
        raise ModelFileError(
            f"The file {what}: {', '.join(classes)}.", where=where, hint="Say which one: class=" + list(classes)[-1]
        )
    return classes[name]


def _literal(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return value


def _make(kind: type[nn.Module], settings: Mapping[str, Any], given: Mapping[str, Any], where: str) -> nn.Module:
    parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]
    named = [p for p in parameters if p.kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)]
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)
    names = {p.name for p in named}
    if strange := [name for name in given if name not in names and not takes_any]:
        raise ModelFileError(
            f"{kind.__name__} takes no argument {strange[0]!r}.", where=where, hint=f"It takes: {', '.join(names)}."
        )
    arguments = {p.name: settings[p.name] for p in named if p.name in settings} | dict(given)
    for p in named:
        if p.name in _ALL_SETTINGS and p.name not in arguments and p.default is inspect.Parameter.empty:
            arguments[p.name] = _Settings(settings)
    missing = [p.name for p in named if p.default is inspect.Parameter.empty and p.name not in arguments]
    if missing:
        raise ModelFileError(
            f"{kind.__name__} needs {', '.join(missing)}, which the model file does not say.",
            where=where,
            hint="Give them as name=value, for example " + ", ".join(f"{name}=1" for name in missing) + ".",
        )
    try:
        return kind(**arguments)
    except Exception as error:  # a person's own code
        said = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        raise ModelFileError(
            f"{kind.__name__}({said[:200]}) fails: {type(error).__name__}: {error}.",
            where=where,
            hint="Give its arguments as name=value.",
        ) from error


def _fill(module: nn.Module, found: Checkpoint, where: str) -> None:
    """Give the module the weights of the file: all of them, of the same names and sizes."""
    own = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    weights = next((w for w in (found.raw, found.weights) if own.keys() <= w.keys()), found.weights)
    for name in own:
        if name not in weights or tuple(weights[name].shape) != own[name]:
            has = tuple(weights[name].shape) if name in weights else "not in the file"
            raise ModelFileError(
                f"The class and the weights do not fit: {name!r} is {own[name]} in the class, and {has} in the file.",
                where=where,
                hint="Give the class's arguments as they were in training, as name=value.",
            )
    if unused := [name for name in weights if name not in own and name in found.weights]:
        raise ModelFileError(
            f"The class has no place for {', '.join(map(repr, unused[:_SHOWN]))} of the file.",
            where=where,
            hint="Give the class's arguments as they were in training, as name=value.",
        )
    module.load_state_dict({name: weights[name] for name in own})


class _Thawing:
    """Modules made of recorded ones: stock ones anew, those of the code file from their attributes, as pickle does."""

    def __init__(self, classes: Mapping[str, type[nn.Module]], where: str) -> None:
        self._classes = classes
        self._where = where
        self._made: dict[int, Any] = {}  # so that what was shared stays shared

    def thaw(self, value: Any) -> Any:
        if id(value) in self._made:
            return self._made[id(value)]
        if isinstance(value, type) and issubclass(value, Recorded):
            return self._function(value)
        if is_module(value) or isinstance(value, Recorded):
            return self._object(value)
        if isinstance(value, dict):
            made = type(value)((key, self.thaw(item)) for key, item in value.items())
        elif isinstance(value, (list, tuple)):
            made = type(value)(self.thaw(item) for item in value)
        else:
            return value
        self._made[id(value)] = made
        return made

    def _object(self, value: Recorded) -> Any:
        if value.path in STOCK_MODULES:
            self._made[id(value)] = made = stock_modules.build(value, self._where)
            return made
        if value.path == _GETATTR:
            return self._attribute(*value.args)
        kind = self._classes.get(value.path.rpartition(".")[2])
        if kind is None:
            return inert.plain(value)
        made = kind.__new__(kind)
        self._made[id(value)] = made
        made.__setstate__({name: self.thaw(item) for name, item in value.attributes.items()})
        return made

    def _attribute(self, owner: Any, name: Any) -> Any:
        if getattr(owner, "path", None) != _TORCH_FUNCTIONS or name not in FUNCTIONS.values():
            raise ModelFileError(
                f"The pickled model keeps {name!r}, which could be any code.", where=self._where, hint=EXPORT_HINT
            )
        return getattr(nn.functional, name)

    def _function(self, value: type[Recorded]) -> Any:
        name = FUNCTIONS.get(value.path)
        if name is not None:
            return getattr(nn.functional, name)
        return self._classes.get(value.path.rpartition(".")[2], value)
