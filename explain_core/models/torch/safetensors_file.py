"""`.safetensors` files: weights by name, and a few strings beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from explain_core.errors import ModelFileError
from explain_core.models.archive import MAX_UNPACKED_BYTES
from explain_core.models.loaded import LoadedModel
from explain_core.models.torch.checkpoint import find
from explain_core.models.torch.state_dict import open_weights
from explain_core.untrusted.json_reader import JsonError, read_json

_MOST_VALUES, _DEEPEST = 100_000, 50  # of the settings beside the weights; what has more is kept as text


def open_model(path: Path, architecture: Mapping[str, Any]) -> LoadedModel:
    """Open the weights of a plain stack; ``architecture`` completes what they cannot say.

    Raises:
        ModelFileError: damaged, too large, or not of a plain stack.
    """
    if path.stat().st_size > MAX_UNPACKED_BYTES:
        raise ModelFileError(
            f"The file is larger than {MAX_UNPACKED_BYTES / 2**30:.0f} GiB.",
            where=path.name,
            hint="PairLift is made for models that fit in memory several times over.",
        )
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = dict(file.metadata() or {})
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except (SafetensorError, OSError, ValueError, TypeError, RuntimeError) as error:
        raise ModelFileError(
            f"The safetensors file cannot be read: {error}.",
            where=path.name,
            hint="It may be damaged or cut off; copy it again.",
        ) from None
    tied = {name: kept for name, kept in metadata.items() if kept in weights and name not in weights}  # stored once
    weights |= {name: weights[kept] for name, kept in tied.items()}
    found = find({"state_dict": weights, "config": _settings(metadata)}, path.name)
    return open_weights(found, path, architecture, ordered=False)


def _settings(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The strings beside the weights, numbers and JSON in them read as such."""
    found: dict[str, Any] = {}
    for name, text in metadata.items():
        try:
            found[name] = read_json(text, most_values=_MOST_VALUES, deepest=_DEEPEST)
        except JsonError:
            found[name] = {"True": True, "False": False}.get(text, text)
    return found
