"""Ways to spoil a valid file: bytes, archive entries, JSON values, pickle opcodes, NPY headers, HDF5 attributes.

What is odd in its structure and not in its bytes is in `structures`.

Every mutation takes the content and a random generator and returns content. Some put in what would leave a trace if it
were run or followed: shell commands, Python expressions and paths, all naming the canary file.
"""

from __future__ import annotations

import io
import json
import pickletools
import random
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
from fuzzing import structures

from explain_core.models.keras.hdf5 import opened

Mutation = Callable[[bytes, random.Random], bytes]


class Mutator:
    """Mutations of whatever format a content has.

    Args:
        canary: a path that nothing may ever make or read.
    """

    def __init__(self, canary: Path) -> None:
        self.canary = str(canary)
        self.commands = [
            f"__import__('os').system('touch {canary}')",
            f"$(touch {canary})",
            f"file://{canary}",
            self.canary,
            "../" * 9 + self.canary.lstrip("/"),
        ]

    def mutate(self, content: bytes, rng: random.Random) -> bytes:
        """One to three mutations, most of them of the content's own format."""
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            own = self._of_format(content)
            content = rng.choice(own if own and rng.random() < 0.8 else BYTES)(content, rng)
        return content

    def _of_format(self, content: bytes) -> list[Mutation]:
        if content.startswith(b"PK\x03\x04"):
            return [self.archive, self.archive, structures.zip_field]
        if content.startswith(b"\x89HDF"):
            return [self.hdf5]
        if content.startswith(b"\x93NUMPY"):
            return [numpy_header, structures.npy_header]
        if content.startswith(b"PAR1"):
            return [self.parquet]
        if content[:1] == b"\x80":
            return [self.pickle]
        if content.startswith(b"\x08\x01\x12"):
            return [self.graph]
        if content.lstrip()[:1] in (b"{", b"["):
            return [self.json]
        if b"\0" not in content[:1000] and b"\n" in content:
            return [self.text]
        return []

    # Archives.

    def archive(self, content: bytes, rng: random.Random) -> bytes:
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                entries = [(info.filename, archive.read(info)) for info in archive.infolist()]
        except Exception:  # spoiled by the mutation before
            return bit_flips(content, rng)
        if not entries:
            return content
        change = rng.choice([self._change_entry] * 6 + [_drop, _double, self._rename, _empty, _swap, _wrong_sum])
        if change is _wrong_sum:
            return _wrong_sum(content, rng)
        change(entries, rng)
        buffer = io.BytesIO()
        how = rng.choice([zipfile.ZIP_STORED] * 5 + [zipfile.ZIP_DEFLATED])
        with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", how) as archive:
            warnings.simplefilter("ignore")  # of names given twice
            for name, data in entries:
                archive.writestr(zipfile.ZipInfo(name), data, how)
        return buffer.getvalue()

    def _change_entry(self, entries: list[tuple[str, bytes]], rng: random.Random) -> None:
        at = rng.randrange(len(entries))
        entries[at] = entries[at][0], self.mutate(entries[at][1], rng)

    def _rename(self, entries: list[tuple[str, bytes]], rng: random.Random) -> None:
        at = rng.randrange(len(entries))
        name = entries[at][0]
        names = [self.canary, "../" * 9 + self.canary.lstrip("/"), name.upper(), f"{name}/x", "assets/words.txt"]
        entries[at] = rng.choice([*names, name.partition("/")[2] or "x", "a\\b", "é" * 80]), entries[at][1]

    # JSON.

    def json(self, content: bytes, rng: random.Random) -> bytes:
        try:
            tree = json.loads(content)
        except (ValueError, RecursionError):
            return bit_flips(content, rng)
        if rng.random() < 0.3:
            return structures.odd_json(rng, _places(tree), tree)
        return json.dumps(self._change_json(tree, rng)).encode()

    def _change_json(self, tree: Any, rng: random.Random) -> Any:
        places = [*_places(tree)]
        if not places:
            return tree
        holder, key = rng.choice(places)
        action = rng.random()
        if action < 0.15:
            del holder[key]
        elif action < 0.25 and isinstance(holder, dict):
            holder[rng.choice(["class_name", "module", "registered_name", "config", "function", "x", ""])] = holder.pop(
                key
            )
        elif action < 0.35:
            other, elsewhere = rng.choice(places)
            holder[key] = json.loads(json.dumps(other[elsewhere])) if elsewhere in _keys(other) else None
        else:
            holder[key] = self._value(holder[key], rng)
        return tree

    def _value(self, before: Any, rng: random.Random) -> Any:
        if isinstance(before, str) and rng.random() < 0.6:
            names = [
                "Lambda",
                "TextVectorization",
                "os",
                "system",
                "builtins",
                "eval",
                "LSTM",
                "GRU",
                "float16",
                "string",
            ]
            return rng.choice([*names, *self.commands, "", before * 2, before[:-1], "x" * 70_000])
        if isinstance(before, int | float) and rng.random() < 0.6:
            return rng.choice([0, -1, 1, 2**31, 2**63, 2**70, 1e308, -0.5, float("nan"), float("inf"), before + 1])
        return rng.choice([None, True, [], {}, [[]], "", 7, [before], {"class_name": before}, *self.commands[:1]])

    # Pickles.

    def pickle(self, content: bytes, rng: random.Random) -> bytes:
        if rng.random() < 0.5:
            return self._other_global(content, rng)
        positions = []
        with suppress(Exception):  # spoiled, or several pickles one after the other
            positions.extend(position for _, _, position in pickletools.genops(content))
        if len(positions) < 3:
            return bit_flips(content, rng)
        at = rng.choice(positions[1:])
        end = positions[positions.index(at) + 1] if at != positions[-1] else len(content)
        call = b"cos\nsystem\n(X" + self._text(f"touch {self.canary}") + b"tR"
        read = b"cbuiltins\nopen\n(X" + self._text(self.canary) + b"X\x01\x00\x00\x00wtR"
        inserted = rng.choice(
            [call + b"0", read + b"0", call, b"N", b"K\xff", b"]", b"}", b"(", b"0", b"t", b"b", b"R", b"."]
        )
        return rng.choice([content[:at] + inserted + content[at:], content[:at] + content[end:], content[:at] + b"."])

    def _other_global(self, content: bytes, rng: random.Random) -> bytes:
        names = [b"os\nsystem", b"builtins\neval", b"builtins\ngetattr", b"torch\nload", b"subprocess\nPopen", b"x\ny"]
        marks = [position for position in range(len(content)) if content[position : position + 1] == b"c"]
        rng.shuffle(marks)
        for mark in marks[:50]:
            end = content.find(b"\n", content.find(b"\n", mark) + 1)
            if (
                0 < end - mark < 100
                and content[mark + 1 : end].replace(b"\n", b"").replace(b".", b"").replace(b"_", b"").isalnum()
            ):
                return content[: mark + 1] + rng.choice(names) + content[end:]
        return bit_flips(content, rng)

    @staticmethod
    def _text(text: str) -> bytes:
        return len(text).to_bytes(4, "little") + text.encode()

    # Graphs of TensorFlow, HDF5, Parquet and text.

    def graph(self, content: bytes, rng: random.Random) -> bytes:
        try:
            return structures.graph_node(content, rng)
        except Exception:  # spoiled by the mutation before, or the change is of another type
            return bit_flips(content, rng)

    def parquet(self, content: bytes, rng: random.Random) -> bytes:
        try:
            return structures.parquet_column(content, rng)
        except Exception:  # spoiled by the mutation before, or the writer refuses it
            return bit_flips(content, rng)

    def hdf5(self, content: bytes, rng: random.Random) -> bytes:
        buffer = io.BytesIO(content)
        try:
            with opened(content, "a file that may be spoiled already"):
                pass  # or the HDF5 library might look through it forever
            with h5py.File(buffer, "r+") as file:
                self._change_hdf5(file, rng)
        except Exception:  # h5py cannot do it to this file
            return bit_flips(content, rng)
        return buffer.getvalue()

    def _change_hdf5(self, file: h5py.File, rng: random.Random) -> None:
        names = [""]
        file.visit(names.append)
        item = file[rng.choice(names) or "/"]
        if rng.random() < 0.25:
            structures.hdf5_attribute(file, rng)
            return
        if "model_config" in file.attrs and rng.random() < 0.5:
            text = file.attrs["model_config"]
            text = text.encode() if isinstance(text, str) else bytes(text)
            file.attrs["model_config"] = self.json(text, rng).decode(errors="replace")
        elif len(item.attrs) and rng.random() < 0.6:
            name = rng.choice([*item.attrs])
            if rng.random() < 0.3:
                del item.attrs[name]
            else:
                item.attrs[name] = rng.choice([b"", 7, -1.5, "x", self.canary, [1, 2], [b"a", b"b"], b"\xff\xfe"])
        elif isinstance(item, h5py.Dataset):
            name, shape = item.name, rng.choice([(), (0,), (1,), (2, 2), (1, 1, 7)])
            del file[name]
            file.create_dataset(name, shape, rng.choice(["f4", "f8", "i4", "S5", "f2"]))
        elif item.name != "/":
            rng.choice([lambda: file.__delitem__(item.name), lambda: self._link(file, item.name)])()

    def _link(self, file: h5py.File, name: str) -> None:
        del file[name]
        file[name] = h5py.ExternalLink(self.canary, "/")

    def text(self, content: bytes, rng: random.Random) -> bytes:
        lines = content.split(b"\n")
        at = rng.randrange(len(lines))
        cells = lines[at].split(b",")
        odd = [
            b"nan",
            b"1e999",
            b'"',
            b"\0",
            b"",
            b"x",
            b"0x10",
            b"1,2",
            b"=1+1",
            b"\xff",
            "é".encode(),
            b"-inf",
            b"9" * 400,
        ]
        cells[rng.randrange(len(cells))] = rng.choice([*odd, *(command.encode() for command in self.commands)])
        lines[at] = rng.choice([b",".join(cells), b"", lines[at] * 3, b"," * 3000, lines[0]])
        return b"\n".join(lines)


# Bytes of any format.


def bit_flips(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 4, 20]) if changed else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def truncate(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def splice(content: bytes, rng: random.Random) -> bytes:
    if len(content) < 4:
        return content
    size = rng.randrange(1, len(content) // 2)
    source, target = rng.randrange(len(content) - size), rng.randrange(len(content))
    return content[:target] + content[source : source + size] + content[target + rng.choice([0, size]) :]


def fill(content: bytes, rng: random.Random) -> bytes:
    if not content:
        return content
    start, size = rng.randrange(len(content)), rng.randrange(1, 64)
    block = rng.choice([b"\0" * size, b"\xff" * size, rng.randbytes(size)])
    return content[:start] + block + content[start + rng.choice([0, size]) :]


BYTES: list[Mutation] = [bit_flips, truncate, splice, fill]


def numpy_header(content: bytes, rng: random.Random) -> bytes:
    replacements = [
        (b"'<f4'", b"'|O' "), (b"'<f8'", b"'|O' "), (b"'<f4'", b"'<c8'"), (b"'<f4'", b"'|S4"), (b"False", b"True "),
        (b"(", b"(9"), (b"(", b"(-"), (b"shape", b"shapf"), (b"{", b"["), (b"\x01\x00", b"\x03\x00"), (b"<", b">"),
        (b"'descr'", b"'x'    "), (b", ", b",9999999999, "), (b"'<f8'", b"'<M8'"),
    ]  # fmt: skip
    old, new = rng.choice(replacements)
    return content.replace(old, new, 1) if old in content[:128] else bit_flips(content[:128], rng) + content[128:]


def _drop(entries: list, rng: random.Random) -> None:
    entries.pop(rng.randrange(len(entries)))


def _double(entries: list, rng: random.Random) -> None:
    name, data = rng.choice(entries)
    entries.append((rng.choice([name, name.upper()]), rng.choice([data, b"", data[::-1]])))


def _empty(entries: list, rng: random.Random) -> None:
    at = rng.randrange(len(entries))
    entries[at] = entries[at][0], b""


def _swap(entries: list, rng: random.Random) -> None:
    one, other = rng.randrange(len(entries)), rng.randrange(len(entries))
    entries[one], entries[other] = (entries[one][0], entries[other][1]), (entries[other][0], entries[one][1])


def _wrong_sum(content: bytes, rng: random.Random) -> bytes:
    at = content.rfind(b"PK\x01\x02")
    changed = bytearray(content)
    changed[at + rng.choice([8, 10, 16, 20, 24, 28, 42])] ^= 1 << rng.randrange(8)  # flags, method, sum, sizes, offset
    return bytes(changed)


def _keys(holder: Any) -> Any:
    return holder.keys() if isinstance(holder, dict) else range(len(holder))


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Every (list or dict, index or key) in a tree."""
    found, open_ends = [], [tree]
    while open_ends:
        holder = open_ends.pop()
        if isinstance(holder, dict | list):
            for key in _keys(holder):
                found.append((holder, key))
                open_ends.append(holder[key])
    return found
