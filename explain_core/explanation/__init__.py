"""What an explanation is: labelled arrays with their labels, files, tables and words."""

from explain_core.explanation.result import TOLERANCE, Explanation, by_name, conservation, own_steps

__all__ = ["TOLERANCE", "Explanation", "by_name", "conservation", "own_steps"]
