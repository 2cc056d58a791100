"""Random calls of every row of the PyTorch rule table."""

from rows.computing import COMPUTING
from rows.draws import Draw, Explained, Sample
from rows.moving import MOVING

__all__ = ["SAMPLES", "Draw", "Explained", "Sample"]

SAMPLES = {**MOVING, **COMPUTING}
"""By row of the table: a function from a `Draw` to a `Sample`."""
