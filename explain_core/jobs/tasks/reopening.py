"""Opening a kept explanation in a worker."""

from __future__ import annotations

from pathlib import Path

from explain_core.explanation import Explanation
from explain_core.jobs.job import Report


def explanation_of_upload(report: Report, path: Path) -> Explanation:
    """The explanation in a NetCDF file that somebody gives: one of the app's own downloads, or of `Explanation.save`.

    The file is read here, in the sandbox, since HDF5's reader is a large parser in C. The app makes of it what pages
    show with `ui.reopened.shown_again(explanation, path.name)`: a result without a model.

    Raises:
        ExplanationFileError: it is damaged, or something else.
    """
    report(0.2, f"Reading {path.name}")
    return Explanation.load(path)
