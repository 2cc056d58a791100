"""A result as one HTML file that works without a network: stage, gates, numbers, and how to get them again."""

from explain_core.report.asked import Asked, asked_in
from explain_core.report.facts import Facts, data_fingerprint, versions
from explain_core.report.page import report_html

__all__ = ["Asked", "Facts", "asked_in", "data_fingerprint", "report_html", "versions"]
