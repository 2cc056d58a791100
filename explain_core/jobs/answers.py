"""What a worker process and the app agree on besides the values (`wire`), which the scheduler can do without at first.

An answer is one letter and what follows it: `BEGUN`, `SAID` (progress), `DONE`, `FAILED` (an error that was raised on
purpose) or `BROKE` (the text of any other).
"""

from __future__ import annotations

from explain_core.errors import JobError
from explain_core.jobs.limits import in_gb

BEGUN, SAID, DONE, FAILED, BROKE = b"b", b"s", b"d", b"f", b"x"

LENGTH = 8  # bytes that say how many a job has


def too_much_memory(limit: int) -> JobError:
    """What a job that needs more memory than it may have ends in."""
    return JobError(
        f"The job needed more than the {in_gb(limit)} of memory that one job may use, and was stopped.",
        hint="Explain fewer samples, timesteps, outputs or background sequences at once. Nothing else was affected.",
    )
