"""Other ways to explain the same prediction, through the packages that own them: captum and shap.

All of them return the same `Explanation` as `explain_core.explain`, with the same labels and predictions and
a residual that says whether they add up. Importing this imports neither package, nor a framework.
"""

from explain_core.methods.registry import METHODS, Completeness, Cost, Method
from explain_core.methods.run import explain_with

__all__ = ["METHODS", "Completeness", "Cost", "Method", "explain_with"]
