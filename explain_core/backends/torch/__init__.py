"""The PyTorch backend: capture, paired interpreter, rule table, paired recurrent operations."""

from explain_core.backends.torch.formulas import secants
from explain_core.backends.torch.kinds import (
    Bilinear,
    Comparison,
    Composed,
    Linear,
    Lookup,
    Maximum,
    Position,
    Refused,
    Rescale,
    Same,
    TwoPlayers,
)
from explain_core.backends.torch.rules import register_rule
from explain_core.backends.torch.runner import accepts, open_runner
from explain_core.backends.torch.writes import Overwrite

TAKES_SHARED = True  # an input may be one for all samples: sample_axis={name: None}
REPLACES_MISSING = True  # a value that is missing (NaN) may be explained, where the model itself replaces it

__all__ = [
    "REPLACES_MISSING",
    "TAKES_SHARED",
    "Bilinear",
    "Comparison",
    "Composed",
    "Linear",
    "Lookup",
    "Maximum",
    "Overwrite",
    "Position",
    "Refused",
    "Rescale",
    "Same",
    "TwoPlayers",
    "accepts",
    "open_runner",
    "register_rule",
    "secants",
]
