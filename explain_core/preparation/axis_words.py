"""What people call the columns, levels and axes of samples, of time and of features."""

from __future__ import annotations

from collections.abc import Hashable

SAMPLE = ("sample", "batch")
"""Names by which an axis of samples is found wherever it stands."""

ID_NAMES = (
    "sequence",
    "sequence_id",
    "sample",
    "sample_id",
    "series",
    "series_id",
    "id",
    "case",
    "subject",
    "unit",
)
TIME_NAMES = (
    "time",
    "t",
    "timestep",
    "time_step",
    "step",
    "date",
    "datetime",
    "date_time",
    "timestamp",
    "ts",
    "day",
    "month",
    "frame",
)
_PARTS_OF_TIME = ("hour", "minute", "second", "week", "quarter", "year", "lag")
_FEATURE_NAMES = ("feature", "features", "channel", "channels", "variable", "variables")


def role_of(name: Hashable) -> str | None:
    """Of a level or a column by its name: "sample", "time" or "feature"; None where the name tells nothing."""
    word = name.strip().lower() if isinstance(name, str) else None
    roles = {"sample": (*SAMPLE, *ID_NAMES), "time": (*TIME_NAMES, *_PARTS_OF_TIME), "feature": _FEATURE_NAMES}
    return next((role for role, words in roles.items() if word in words), None)
