"""The Python that gives the numbers of a report again."""

from __future__ import annotations

from explain_core.explanation import Explanation
from explain_core.report.facts import Facts


def python_lines(explanation: Explanation, facts: Facts, report: str = "report.html") -> str:
    """A program: from the report and the model's file to the same numbers.

    Args:
        report: the path of the report.
    """
    method = str(explanation.attrs.get("method", ""))
    if facts.asked is None or method not in ("DeepLIFT", "DeepSHAP"):
        return ""
    precision = '\n    precision="float64",' if explanation.attrs.get("dtype") == "float64" else ""
    return f"""\
import explain_core as xc
from explain_core.report import asked_in

asked = asked_in({report!r})  # the sequence, the baseline and the target, out of this file
model = xc.load_model({_model(facts)})
explained = xc.explain(
    model,
    asked.inputs,
    **asked.options,
    backend={_backend(explanation)!r},
    device="cpu",{precision}
)
print(explained)
print(explained.to_dataframe())
"""


def _model(facts: Facts) -> str:
    """The arguments that open the model."""
    options = f", architecture={dict(facts.architecture)!r}" if facts.architecture else ""
    return f"{facts.model!r}{options}" + (f", code={facts.code!r}" if facts.code else "")


def _backend(explanation: Explanation) -> str:
    framework = str(explanation.attrs.get("framework", "auto"))
    return framework if framework in ("torch", "tensorflow") else "auto"
