"""Jobs for the app's worker processes, in a module that itself imports no framework."""

import sys


def imported_frameworks(report):
    """What this process has imported."""
    return sorted({"torch", "tensorflow", "keras"} & set(sys.modules))
