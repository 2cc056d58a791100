"""What a report says of a result that is not in the result itself."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from explain_core.explanation import Explanation, by_name
from explain_core.installed import versions_of
from explain_core.report.asked import Asked
from explain_core.stage import Words

_FRAMEWORKS = {"torch": "torch", "tensorflow": "tensorflow"}


@dataclass(frozen=True)
class Facts:
    """All plain text, none of it trusted.

    Attributes:
        words: what is said around the stage, by output; these outputs are in the report, the first one shown at first.
        units: of the features, by name.
        model: the file's name.
        architecture: what it does not say and a person did, see `explain_core.load_model`.
        code: the name of the file with its class; empty where it needs none.
        model_sha256, data_sha256: fingerprints, see `data_fingerprint`; empty where not known.
        made: when, e.g. "28 November 2026, 14:05 UTC".
        versions: of packages by name, see `versions`.
        asked: what was asked; None where not known, and then there are no lines to get it again.
        theme: "light", "dark" or "auto", which is what the reader's browser prefers.
    """

    words: Mapping[str, Words]
    units: Mapping[str, str] = field(default_factory=dict)
    model: str = ""
    architecture: Mapping[str, str] = field(default_factory=dict)
    code: str = ""
    model_sha256: str = ""
    data_sha256: str = ""
    made: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    asked: Asked | None = None
    theme: str = "auto"


def versions(explanation: Explanation) -> dict[str, str]:
    """Versions of what computed a result, as far as it is installed here."""
    import explain_core

    framework = _FRAMEWORKS.get(str(explanation.attrs.get("framework", "")))
    return {"PairLift": explain_core.__version__} | versions_of(
        ["numpy", "xarray", *([framework] if framework else [])]
    )


def data_fingerprint(explanation: Explanation) -> str:
    """SHA-256 of the explained inputs: of each its name, dtype and shape as text, and its values little-endian."""
    found = hashlib.sha256()
    for name, array in by_name(explanation.inputs).items():
        values: np.ndarray[Any, Any] = np.ascontiguousarray(array.values)
        little = values.astype(values.dtype.newbyteorder("<"))
        found.update(f"{name} {little.dtype.str} {little.shape}\n".encode("utf-8", "backslashreplace"))
        found.update(little.tobytes())
    return found.hexdigest()
