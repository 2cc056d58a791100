"""Random calls of every row of the PyTorch rule table."""

from rows.complex_numbers import COMPLEX, COMPLEX_ROWS
from rows.computing import COMPUTING
from rows.draws import Draw, Explained, Sample
from rows.moving import MOVING

__all__ = ["COMPLEX", "SAMPLES", "Draw", "Explained", "Sample"]

SAMPLES = {**MOVING, **COMPUTING, **COMPLEX_ROWS}
"""By row of the table: a function from a `Draw` to a `Sample`."""
