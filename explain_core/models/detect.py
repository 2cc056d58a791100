"""What a file is, from its bytes alone."""

from __future__ import annotations

from pathlib import Path

from explain_core.errors import ModelFileError
from explain_core.models.archive import names_of
from explain_core.models.foreign import explain, explain_zip

_LEGACY_TORCH = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # torch.save before 1.6: a magic number, pickled
_HDF5 = b"\x89HDF\r\n\x1a\n"
_HEAD = 4096
_LONGEST_HEADER = 100_000_000  # of safetensors, by its specification


def detect_format(path: Path) -> str:
    """What opens the file, one of the names in `explain_core.models`; or an error that says what it is instead."""
    if (path / "saved_model.pb").is_file():  # a folder
        return "saved model"
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise ModelFileError(
            f"The model file cannot be read: {error.strerror}.",
            where=path.name,
            hint="Check the path, and that it is a file and not a folder.",
        ) from None
    if not head:
        raise ModelFileError("The model file is empty.", where=path.name, hint="Copy it again from where it was made.")
    if head.startswith(b"PK\x03\x04"):
        return _detect_zip(path)
    if head.startswith(_LEGACY_TORCH):
        return "state dict"
    if head.startswith(_HDF5):
        return "keras h5"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < _LONGEST_HEADER:
        return "safetensors"
    raise explain(path, head)


def _detect_zip(path: Path) -> str:
    names = names_of(path)
    inside = {name.partition("/")[2] for name in names} | set(names)
    if "archive_format" in inside or "serialized_exported_program.json" in inside:
        return "torch.export"
    if any(name.startswith("code/") for name in inside) and "constants.pkl" in inside:
        return "torchscript"
    if "data.pkl" in inside:
        return "state dict"
    if {"config.json", "metadata.json"} <= set(names):
        return "keras"
    if any(name.rpartition("/")[2] == "saved_model.pb" for name in names):
        return "saved model"
    raise explain_zip(names, path.name)
