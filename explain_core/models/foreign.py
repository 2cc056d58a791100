"""What a file is that no opener knows, in words, with what to do. Nothing in it is loaded."""

from __future__ import annotations

import bz2
import io
import lzma
import re
import zlib
from collections.abc import Callable
from pathlib import Path

from explain_core.errors import ModelFileError
from explain_core.models.hints import EXPORT_HINT
from explain_core.models.pickles import describe, imported_names

_UNPACKED = 2**20  # as much of a compressed file as is looked into, and of what it unpacks to
_MOST_WORKSPACE = 64 * 2**20  # that unpacking may ask for
_PICKLED = 2**17  # as much of a pickle as is looked through: what it is made of is named at its beginning
_SHOWN = 4
_SSTABLE_END = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"  # of the index of a TensorFlow checkpoint
_TAR_MARK = slice(257, 262)
_TEXT_PICKLE = re.compile(rb"(\(?[dl]p\d+\n|\(lp|\(dp|c[a-z_.]+\n\w+\n)")
_CSV_LINE = re.compile(r"^[^\n]*[,;\t][^\n]*$")

_DOWNLOAD = 'Use the "raw" or "download" link of the file.'
_GIVE_MODEL = "Give the model file itself (.pt2, .pt, .pth, .ckpt, .safetensors, .keras, .h5). "
_KERAS_SAVE = 'Save the model in Python with model.save("model.keras").'

# How a file begins, what it is, and what to do.
_BEGINNINGS: tuple[tuple[bytes, str, str], ...] = (
    (
        b"version https://git-lfs",
        "This is a git-LFS pointer: a few lines of text that stand for the model, not the model.",
        'Run "git lfs pull" in the repository it came from, then give the file again.',
    ),
    (b"\x93NUMPY", "This is a NumPy array: numbers, and no model.", "Give it as the sequence. " + _GIVE_MODEL),
    (b"PAR1", "This is a Parquet table: data, and no model.", "Give it as the sequence. " + _GIVE_MODEL),
    (b"GGUF", "This is a GGUF file, of a language model for llama.cpp.", EXPORT_HINT),
    (b"7z\xbc\xaf\x27\x1c", "This is a 7z archive.", "Unpack it. " + _GIVE_MODEL),
    (b"Rar!", "This is a RAR archive.", "Unpack it. " + _GIVE_MODEL),
    (b"%PDF", "This is a PDF document.", _GIVE_MODEL),
    (b"\x89PNG", "This is an image.", _GIVE_MODEL),
    (b"\xff\xd8\xff", "This is an image.", _GIVE_MODEL),
    (b"\x7fELF", "This is a program or a native library, which could run any code.", _GIVE_MODEL + EXPORT_HINT),
    (b"MZ", "This is a program or a native library, which could run any code.", _GIVE_MODEL + EXPORT_HINT),
    (
        b"model_checkpoint_path:",
        "This is the table of contents of a TensorFlow checkpoint, which names other files.",
        "Restore the model in Python. " + _KERAS_SAVE,
    ),
)
_OF_GZIP = zlib.MAX_WBITS + 16
_ZLIB = tuple(b"\x78" + second for second in (b"\x01", b"\x5e", b"\x9c", b"\xda"))
# How compressed files begin, by the name of the compression, and what unpacks their first part.
_COMPRESSIONS: dict[str, tuple[tuple[bytes, ...], Callable[[bytes], bytes] | None]] = {
    "gzip": ((b"\x1f\x8b",), lambda data: zlib.decompressobj(_OF_GZIP).decompress(data, _UNPACKED)),
    "zlib": (_ZLIB, lambda data: zlib.decompressobj().decompress(data, _UNPACKED)),
    "xz": (
        (b"\xfd7zXZ\x00", b"\x5d\x00\x00"),
        lambda data: lzma.LZMADecompressor(memlimit=_MOST_WORKSPACE).decompress(data, _UNPACKED),
    ),
    "bzip2": ((b"BZh",), lambda data: bz2.BZ2Decompressor().decompress(data, _UNPACKED)),
    "lz4": ((b"\x04\x22\x4d\x18",), None),
}
_MODEL_ENDINGS = (".pt", ".pth", ".pt2", ".ckpt", ".safetensors", ".keras", ".h5")


def explain(path: Path, head: bytes) -> ModelFileError:
    """The error for a file that is no model of ours, with its real cause.

    Args:
        path: the file, of which a bounded part is read.
        head: its first bytes.
    """
    for look in (_by_beginning, _by_pickle, _by_compression, _by_structure, _by_text):
        if found := look(path, head):
            return ModelFileError(found[0], where=path.name, hint=found[1])
    if re.search(r"\.data-\d{5}-of-\d{5}$", path.name):
        return ModelFileError(
            "By its name this is the data of a TensorFlow checkpoint: numbers without names or a model.",
            where=path.name,
            hint="Restore the model in Python. " + _KERAS_SAVE,
        )
    return ModelFileError(
        "This is not a model file that PairLift knows.",
        where=path.name,
        hint="It opens .pt2 (torch.export), TorchScript, PyTorch state dicts and checkpoints, .safetensors, .keras, "
        ".h5, and SavedModels as a zip. " + EXPORT_HINT,
    )


def explain_zip(names: list[str], name: str) -> ModelFileError:
    """The error for a zip archive in which there is no model of ours."""
    models = [inner for inner in names if inner.endswith(_MODEL_ENDINGS)]
    if models:
        what = f"This is a zip archive around other files, among them {models[0]!r}."
        hint = "Unpack it, and give that file."
    elif any(inner.startswith("Data/com.apple.CoreML") for inner in names):
        what, hint = "This is a CoreML package, made for Apple devices from another model.", _from_original()
    elif names and all(inner.endswith(".npy") for inner in names):
        what, hint = "This is a NumPy archive: arrays, and no model.", "Give it as the sequence. " + _GIVE_MODEL
    elif "xl/workbook.xml" in names:
        what, hint = "This is an Excel workbook: data, and no model.", "Save it as CSV, and give that as the sequence."
    else:
        what, hint = "This is a zip archive, but no model that PairLift knows is in it.", _GIVE_MODEL + EXPORT_HINT
    return ModelFileError(what, where=name, hint=hint)


def _from_original() -> str:
    return "Give the model that it was made from. " + EXPORT_HINT


def _by_beginning(path: Path, head: bytes) -> tuple[str, str] | None:
    for beginning, what, hint in _BEGINNINGS:
        if head.startswith(beginning):
            return what, hint
    if head.lstrip().lower().startswith((b"<!doctype html", b"<html", b"<?xml")):
        return "This is a web page, not a model: the download probably saved the page around the file.", _DOWNLOAD
    return None


def _by_pickle(path: Path, head: bytes) -> tuple[str, str] | None:
    is_binary = head[0] == 0x80 and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")
    if not is_binary and not _TEXT_PICKLE.match(head):
        return None
    with path.open("rb") as file:
        return _pickled(imported_names(file.read(_PICKLED)), "")


def _pickled(names: tuple[str, ...], packed: str) -> tuple[str, str]:
    own = [name for name in names if not name.startswith(("joblib.", "numpy.", "copyreg", "copy_reg", "builtins."))]
    listed = ", ".join(map(repr, (own or list(names))[:_SHOWN]))
    is_joblib = bool(packed) or any(name.startswith("joblib.") for name in names)
    kind = f"a{packed} joblib file" if is_joblib else "a Python pickle"
    what = f"This is {kind}"
    if described := describe(names):
        what += f" of {described}"
    what += f" (it asks for {listed})" if listed else ""
    what += ". Opening a pickle can run any code that is in it, so PairLift does not."
    packages = {name.partition(".")[0] for name in names}
    if "torch" in packages:
        hint = "Load it where you trust it, and save the weights with torch.save(model.state_dict(), path). "
        return what, hint + EXPORT_HINT
    if packages & {"sklearn", "gensim", "xgboost", "lightgbm", "catboost"}:
        return what, "PairLift explains PyTorch and Keras models; give one of those."
    if packages & {"keras", "tensorflow"}:
        return what, "Load it where you trust it. " + _KERAS_SAVE
    return what, "Open it where you trust it. " + EXPORT_HINT


def _by_compression(path: Path, head: bytes) -> tuple[str, str] | None:
    name = next((name for name, (beginnings, _) in _COMPRESSIONS.items() if head.startswith(beginnings)), None)
    if name is None:
        return None
    unpack = _COMPRESSIONS[name][1]
    inside = b""
    if unpack is not None:
        with path.open("rb") as file:
            data = file.read(_UNPACKED)
        try:
            inside = unpack(data)
        except (OSError, ValueError, EOFError, zlib.error, lzma.LZMAError):
            inside = b""
    if name == "zlib" and not inside:  # two bytes alone are no proof
        return None
    if inside[:1] == b"\x80" or _TEXT_PICKLE.match(inside):
        return _pickled(imported_names(inside[:_PICKLED]), f" {name}-compressed")
    if inside[_TAR_MARK] == b"ustar":
        return f"This is a tar archive, compressed with {name}.", "Unpack it. " + _GIVE_MODEL
    unknown = " joblib writes such files; what is in this one is not looked into." if name == "lz4" else ""
    return f"This is a file compressed with {name}.{unknown}", "Unpack it. " + _GIVE_MODEL


def _by_structure(path: Path, head: bytes) -> tuple[str, str] | None:
    """Formats told from what stands at a place inside them."""
    if head[_TAR_MARK] == b"ustar":
        first = head[:100].rstrip(b"\x00").decode("ascii", "replace")
        if first in ("storages", "tensors", "pickle", "sys_info"):
            return (
                "This is a model file of PyTorch before 0.1.10 (a tar archive), which can only be read by running it.",
                "Load it where you trust it, and save the weights with torch.save(model.state_dict(), path).",
            )
        return f"This is a tar archive; its first entry is {first!r}.", "Unpack it. " + _GIVE_MODEL
    if head[4:8] == b"TFL3":
        return "This is a TensorFlow Lite model, made for phones from another model.", _KERAS_SAVE
    if _ends_with(path, _SSTABLE_END):
        return (
            "This is the index of a TensorFlow checkpoint: names of weights, without the model.",
            "Restore the model in Python. " + _KERAS_SAVE,
        )
    return _by_protobuf(head)


def _by_protobuf(head: bytes) -> tuple[str, str] | None:
    """ONNX, CoreML and TensorFlow graphs begin alike: a version number, then a part with its length."""
    if head[:1] != b"\x08" or len(head) < 8 or head[1] > 32:
        if head[:1] == b"\x0a" and any(name in head for name in (b"Placeholder", b"VarHandleOp", b"NoOp")):
            return "This is a TensorFlow graph without the Keras model around it.", _KERAS_SAVE
        return None
    if _begins_as_onnx(head) or b"onnx" in head:  # one made from a TensorFlow model has the names of that
        return "This is an ONNX model.", "PairLift explains PyTorch and Keras models. " + _from_original()
    if any(word in head for word in (b"Placeholder", b"VarHandleOp", b"StatefulPartitionedCall")):
        return (
            "This is the saved_model.pb of a TensorFlow SavedModel, without the folder around it.",
            "Give the whole folder as a zip archive.",
        )
    if head[2:3] == b"\x12":
        return "This is a CoreML model, made for Apple devices from another model.", _from_original()
    return None


def _begins_as_onnx(head: bytes) -> bool:
    """Whether a version is followed by the producer's name, or by what only ONNX has there.

    The others have a message in place of the name, which begins with the tag of its first field.
    """
    if head[2:3] != b"\x12":
        return head[2:3] in (b"\x1a", b"\x22", b"\x28", b"\x32", b"\x3a", b"\x42")
    length = head[3]  # of one byte: names of producers are short
    name = head[4 : 4 + length]
    return 0 < length < 128 and len(name) == length and name.isascii() and name.decode("ascii").isprintable()


def _ends_with(path: Path, end: bytes) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(max(0, size - len(end)))
        return file.read() == end


def _by_text(path: Path, head: bytes) -> tuple[str, str] | None:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # not just cut in the middle of a letter
            return None
        text = head[: error.start].decode("utf-8")
    if "\x00" in text:
        return None
    stripped = text.lstrip("\ufeff \t\r\n")
    if stripped.startswith("{") and ('"nbformat"' in text or '"cell_type"' in text):
        return "This is a Jupyter notebook, not the model that it trained.", EXPORT_HINT
    if stripped.startswith("{") and '"class_name"' in text:
        return "This is the architecture of a Keras model as JSON, without its weights.", _KERAS_SAVE
    if stripped.startswith(("{", "[")):
        return "This is a JSON text, not a model.", _GIVE_MODEL
    if re.search(r"^(import |from \w[\w.]* import |class \w+|def \w+\(|@\w+|#!.*python)", text, re.MULTILINE):
        return (
            "This is Python source code, not a model with its weights.",
            "Give the file that the code saves. " + EXPORT_HINT,
        )
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")][:20]
    if len(lines) > 1 and all(_CSV_LINE.match(line) for line in lines[:-1]):
        return "This is a table of text (CSV), not a model.", "Give it as the sequence. " + _GIVE_MODEL
    if text.strip():
        return "This is a text file, not a model.", _GIVE_MODEL + EXPORT_HINT
    return None
