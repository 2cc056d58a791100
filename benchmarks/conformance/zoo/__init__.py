"""Small models of public packages, built offline with seeded random weights: one module for each package.

Each module has ``CASES``, and imports its package when a case is made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

PACKAGES = (
    "darts_models",
    "neuralforecast_models",
    "pytorch_forecasting_models",
    "transformers_models",
    "xlstm_models",
    "state_space_models",
    "liquid_models",
    "aeon_models",
    "keras_tcn_models",
    "keras_liquid_models",
)
"""Modules of this folder, in the order of the table."""


@dataclass(frozen=True)
class Case:
    """A model as its package gives it, and inputs as people pass them.

    Args:
        name: package and model.
        make: gives (model, inputs); called after the random generators are seeded.
        target: what `explain` takes; None for the last number of the first output.
    """

    name: str
    make: Callable[[], tuple[Any, Any]]
    target: Any = None
