"""Reading sequences from files, with their names and time labels.

The result is one labelled array that `explain_core.explain` takes as it is: dims (sample, time, feature), and
where sequences differ in length a coordinate ``length`` along ``sample``, with zeros after each one's end. Texts become
token ids (sample, time), with their words in the coordinate ``token``.
"""

from __future__ import annotations

from explain_core.errors import Fix
from explain_core.explanation.own_units import in_own_units
from explain_core.sequences.formats import read_file
from explain_core.sequences.labelled import single
from explain_core.sequences.loading import load_sequences
from explain_core.sequences.options import Options
from explain_core.sequences.reading import Reading
from explain_core.sequences.scaling import Scaling
from explain_core.sequences.vocabulary import Vocabulary

__all__ = [
    "Fix",
    "Options",
    "Reading",
    "Scaling",
    "Vocabulary",
    "in_own_units",
    "load_sequences",
    "read_file",
    "single",
]
