"""What an explanation is: labelled arrays with their labels, files, tables and words."""

from explain_core.explanation.arrays import by_name
from explain_core.explanation.gates import conservation, own_steps
from explain_core.explanation.result import TOLERANCE, Explanation

__all__ = ["TOLERANCE", "Explanation", "by_name", "conservation", "own_steps"]
