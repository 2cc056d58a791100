"""The pickles in a TorchScript archive: the tensors, objects and plain values of a model.

PyTorch reads them with a reader of its own in C++, which believes what they say: a tensor larger than its bytes, a list
of other things than it is declared to hold, a class that runs code when it is filled. So each pickle is worked out here
with no object made of it; what a class, a tensor or a container may be is checked, and the same operations are written
anew, each in the one form that ``torch.jit.save`` gives it.
"""

from __future__ import annotations

import ast
import io
import pickletools
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from explain_core.errors import ModelFileError
from explain_core.models.pickles import too_large
from explain_core.models.torch_programs.operators import is_device
from explain_core.models.torch_programs.program_check import refuse_code
from explain_core.models.torch_programs.script_types import (
    PLAIN,
    DeviceValue,
    DictValue,
    GlobalName,
    ListValue,
    ObjectValue,
    StorageValue,
    TensorValue,
    Types,
)

_BROKEN = (ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError, struct.error, RecursionError)

_MOST_PARTS = 100_000
_SIZES = {
    "DoubleStorage": 8, "FloatStorage": 4, "HalfStorage": 2, "BFloat16Storage": 2, "LongStorage": 8, "IntStorage": 4,
    "ShortStorage": 2, "CharStorage": 1, "ByteStorage": 1, "BoolStorage": 1, "ComplexFloatStorage": 8,
    "ComplexDoubleStorage": 16,
}  # fmt: skip
_LISTS = {
    "build_intlist": "int",
    "build_doublelist": "float",
    "build_boollist": "bool",
    "build_tensorlist": "Tensor",
}
_FUNCTIONS = {
    "torch._utils _rebuild_tensor_v2",
    "torch.jit._pickle restore_type_tag",
    "torch device",
    "collections OrderedDict",
    *(f"torch.jit._pickle {name}" for name in _LISTS),
}


_MARK = object()


@dataclass(frozen=True)
class Checked:
    """A pickle that was checked.

    Attributes:
        data: it, written anew.
        attributes: by class and attribute, the plain values of its objects.
    """

    data: bytes
    attributes: dict[tuple[str, str], set[Any]]


def check_pickle(
    data: bytes,
    storages: Mapping[str, bytes],
    classes: Mapping[str, Mapping[str, ast.expr]],
    where: str,
) -> Checked:
    """The pickle, when it holds nothing but the values of a model.

    Args:
        data: the pickle.
        storages: the bytes of its tensors, by their names.
        classes: of the archive, by full name, each with the types of its attributes.
        where: for errors.

    Raises:
        ModelFileError: names what ordinary models do not have.
    """
    reader = _Reader(storages, classes, where)
    try:
        if why := too_large(data):
            raise ValueError(f"the pickle {why}")
        return Checked(reader.rewrite(data), reader.attributes)
    except _BROKEN as error:
        said = str(error) if isinstance(error, (ValueError, EOFError)) else "they are damaged"
        raise ModelFileError(
            f"The values in the archive cannot be read: {said}.",
            where=where,
            hint="The file may be damaged; copy it again, or save it again with torch.jit.save.",
        ) from None


class _Reader:
    def __init__(
        self, storages: Mapping[str, bytes], classes: Mapping[str, Mapping[str, ast.expr]], where: str
    ) -> None:
        self._storages, self._classes, self._where = storages, classes, where
        self._stack: list[Any] = []
        self._memo: dict[int, tuple[int, Any]] = {}  # by the number in the file: the one written, and the value
        self._written = io.BytesIO()
        self._types = Types()
        self.attributes: dict[tuple[str, str], set[Any]] = {}

    def rewrite(self, data: bytes) -> bytes:
        stream = io.BytesIO(data)
        self._written.write(b"\x80\x02")
        for opcode, argument, place in pickletools.genops(stream):
            name = opcode.name
            if name == "PROTO":
                if place or argument != 2:
                    raise ValueError("it is of another protocol than TorchScript's")
                continue
            if name == "STOP":
                if stream.read(1) or len(self._stack) != 1:
                    raise ValueError("it does not end where it should")
                self._written.write(b".")
                return self._written.getvalue()
            step = getattr(self, f"_{name}", None)
            if step is None:
                raise self._refused(f"the operation {name} in a pickle")
            step(argument)
        raise EOFError("it is cut off")

    def _refused(self, what: str) -> ModelFileError:
        return refuse_code(what, self._where)

    def _push(self, value: Any, written: bytes) -> None:
        self._stack.append(value)
        self._written.write(written)

    def _values(self) -> list[Any]:
        """What stands above the last mark, which goes."""
        found = []
        while (value := self._stack.pop()) is not _MARK:
            found.append(value)
        return found[::-1]

    # Plain values.

    def _NONE(self, _: Any) -> None:  # noqa: N802 - named as its opcode, as are those below
        self._push(None, b"N")

    def _NEWTRUE(self, _: Any) -> None:  # noqa: N802
        self._push(True, b"\x88")

    def _NEWFALSE(self, _: Any) -> None:  # noqa: N802
        self._push(False, b"\x89")

    def _BININT(self, value: int) -> None:  # noqa: N802
        if -(2**31) <= value < 2**31:
            self._push(value, b"J" + value.to_bytes(4, "little", signed=True))
        else:
            self._push(value, b"\x8a\x08" + value.to_bytes(8, "little", signed=True))

    _BININT1 = _BININT2 = _LONG1 = _BININT

    def _BINFLOAT(self, value: float) -> None:  # noqa: N802
        self._push(value, b"G" + struct.pack(">d", value))

    def _BINUNICODE(self, value: str) -> None:  # noqa: N802
        data = value.encode("utf-8", "surrogatepass")
        self._push(value, b"X" + len(data).to_bytes(4, "little") + data)

    # Containers.

    def _MARK(self, _: Any) -> None:  # noqa: N802
        self._push(_MARK, b"(")

    def _EMPTY_TUPLE(self, _: Any) -> None:  # noqa: N802
        self._push((), b")")

    def _TUPLE(self, _: Any) -> None:  # noqa: N802
        self._push(tuple(self._values()), b"t")

    def _TUPLE1(self, _: Any, size: int = 1) -> None:  # noqa: N802
        values = [self._pop() for _ in range(size)]
        self._push(tuple(values[::-1]), bytes([0x84 + size]))

    def _TUPLE2(self, _: Any) -> None:  # noqa: N802
        self._TUPLE1(None, 2)

    def _TUPLE3(self, _: Any) -> None:  # noqa: N802
        self._TUPLE1(None, 3)

    def _EMPTY_LIST(self, _: Any) -> None:  # noqa: N802
        self._push(ListValue(), b"]")

    def _APPENDS(self, _: Any) -> None:  # noqa: N802
        values = self._values()
        self._top(ListValue).items += values
        self._written.write(b"e")

    def _EMPTY_DICT(self, _: Any) -> None:  # noqa: N802
        self._push(DictValue(), b"}")

    def _SETITEMS(self, _: Any) -> None:  # noqa: N802
        values = self._values()
        if len(values) % 2:
            raise ValueError("a dictionary with a key and no value")
        self._top(DictValue).items += zip(values[::2], values[1::2], strict=True)
        self._written.write(b"u")

    def _pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise ValueError("a value is missing")
        return value

    def _top(self, kind: type) -> Any:
        value = self._stack[-1]
        if not isinstance(value, kind) or getattr(value, "checked", False):
            raise ValueError("values are added to what holds none, or has all of its own")
        return value

    # What was seen before.

    def _BINPUT(self, place: int) -> None:  # noqa: N802
        value = self._stack[-1]
        if value is _MARK or (isinstance(value, ObjectValue) and not value.filled):  # PyTorch has no object there yet
            raise ValueError("it keeps what is not there yet")
        number = self._memo[place][0] if place in self._memo else len(self._memo)
        self._memo[place] = number, value
        self._written.write(b"r" + number.to_bytes(4, "little"))

    _LONG_BINPUT = _BINPUT

    def _BINGET(self, place: int) -> None:  # noqa: N802
        number, value = self._memo[place]
        self._push(value, b"j" + number.to_bytes(4, "little"))

    _LONG_BINGET = _BINGET

    # Objects, tensors and typed containers.

    def _GLOBAL(self, name: str) -> None:  # noqa: N802
        path = name.replace(" ", ".")
        if name not in _FUNCTIONS and path not in self._classes and name.removeprefix("torch ") not in _SIZES:
            raise self._refused(f"{path!r} in a pickle")
        self._push(GlobalName(name), f"c{name.replace(' ', chr(10))}\n".encode("ascii"))

    def _NEWOBJ(self, _: Any) -> None:  # noqa: N802
        nothing, kind = self._pop(), self._pop()
        path = kind.name.replace(" ", ".") if isinstance(kind, GlobalName) else ""
        if nothing != () or path not in self._classes:
            raise ValueError("an object of no class of the archive")
        self._push(ObjectValue(path), b"\x81")

    def _BUILD(self, _: Any) -> None:  # noqa: N802
        state, value = self._pop(), self._top(ObjectValue)
        if value.filled or not isinstance(state, DictValue):
            raise ValueError("an object that is filled twice, or with no dictionary")
        types = self._classes[value.path]
        if sorted(map(str, types)) != sorted(str(key) for key, _ in state.items):
            raise ValueError(f"an object of {value.path} with other attributes than its class has")
        for name, item in state.items:
            self._types.require(item, types[name], f"{value.path}.{name}")
            if item is None or type(item) in PLAIN.values():
                self.attributes.setdefault((value.path, name), set()).add(item)
        value.parts += sum(item.parts for _, item in state.items if isinstance(item, ObjectValue))
        if value.parts > _MOST_PARTS:
            raise ValueError(f"an object of {value.path} has more parts in parts than real models have")
        value.filled = True
        self._written.write(b"b")

    def _BINPERSID(self, _: Any) -> None:  # noqa: N802
        word, kind, name, device, elements = self._pop()
        size = _SIZES.get(kind.name.removeprefix("torch ")) if isinstance(kind, GlobalName) else None
        if word != "storage" or size is None or type(name) is not str or type(elements) is not int:
            raise ValueError("a tensor without its values")
        if not is_device(device):
            raise ValueError(f"a tensor on the device {str(device)[:20]!r}")
        if not 0 <= elements * size <= len(self._storages[name] if elements else b""):
            raise ValueError(f"the values {name!r} have fewer bytes than are claimed")
        self._push(StorageValue(elements), b"Q")

    def _REDUCE(self, _: Any) -> None:  # noqa: N802
        arguments, function = self._pop(), self._pop()
        if not isinstance(function, GlobalName) or not isinstance(arguments, tuple):
            raise ValueError("a call of what is no function")
        make: Callable[..., Any]
        if function.name == "torch._utils _rebuild_tensor_v2":
            make = self._tensor
        elif function.name == "torch.jit._pickle restore_type_tag":
            make = self._typed
        elif function.name == "torch device":
            make = self._device
        elif function.name == "collections OrderedDict":
            make = DictValue
        elif (kind := _LISTS.get(function.name.removeprefix("torch.jit._pickle "))) is not None:
            make = self._list_of(kind)
        else:
            raise self._refused(f"a call of {function.name.replace(' ', '.')!r} in a pickle")
        self._push(make(*arguments), b"R")

    def _tensor(self, storage: Any, offset: Any, sizes: Any, strides: Any, grad: Any, hooks: Any) -> TensorValue:
        whole = all(
            isinstance(part, tuple) and all(type(n) is int and n >= 0 for n in part) for part in (sizes, strides)
        )
        if not isinstance(storage, StorageValue) or not whole or type(offset) is not int or offset < 0:
            raise ValueError("a tensor without sizes, strides or values")
        if (
            len(sizes) != len(strides)
            or len(sizes) > 64
            or type(grad) is not bool
            or not isinstance(hooks, DictValue)
            or hooks.items
        ):
            raise ValueError("a tensor with hooks, or with other strides than sizes")
        last = offset + sum((n - 1) * step for n, step in zip(sizes, strides, strict=True))
        if prod(sizes) and last >= storage.elements:
            raise ValueError("a tensor that reaches beyond its values")
        if max((*sizes, *strides, offset, 0)) >= 2**40 or prod(max(n, 1) for n in sizes) >= 2**60:
            raise ValueError("a tensor with sizes that no memory has")
        return TensorValue()

    def _typed(self, value: Any, tag: Any) -> Any:
        """A container with the type that it is declared to have."""
        if type(tag) is not str or len(tag) > 10_000:
            raise ValueError("a container with a type that is no text")
        try:
            kind = ast.parse(tag, mode="eval").body
        except (SyntaxError, MemoryError):
            raise ValueError(f"a container with the type {tag[:60]!r}") from None
        if not tag.isascii() or ast.unparse(kind) != tag.strip():
            raise ValueError(f"a container with the type {tag[:60]!r}")
        self._types.require(value, kind, "a container")
        return value

    def _device(self, name: Any, *index: Any) -> DeviceValue:
        if not is_device(name) or [*map(type, index)] not in ([], [int]):
            raise ValueError("a device of no known kind")
        return DeviceValue()

    def _list_of(self, kind: str) -> Callable[[Any], Any]:
        def make(values: Any) -> Any:
            self._types.require(values, ast.Subscript(ast.Name("List"), ast.Name(kind)), "a list")
            return values

        return make
