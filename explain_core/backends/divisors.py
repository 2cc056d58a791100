"""Where a baseline is divided by next to nothing, as both engines look for it."""

from __future__ import annotations

from dataclasses import replace

from explain_core.backends.protocol import Divisor

NEXT_TO_NOTHING = 0.03
"""A divisor of the baseline that is less, as a part of what the input is divided by, is worth saying."""


class WorstDivisors:
    """Of each place and operation, the divisor that is least in the baseline beside the input.

    Attributes:
        found: by place and operation.
    """

    def __init__(self) -> None:
        self.found: dict[tuple[str, str], Divisor] = {}

    def add(self, divisor: Divisor) -> None:
        """Keep it if it is the worst; a statistic is bounded only where all divisors there are."""
        key = divisor.where, divisor.operation
        before = self.found.get(key)
        if before is None or divisor.baseline / divisor.test < before.baseline / before.test:
            bounded = divisor.is_statistic and (before is None or before.is_statistic)
            self.found[key] = replace(divisor, is_statistic=bounded)
