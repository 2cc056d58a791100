"""Getting a process ready for whoever comes next, by doing once what they will ask for."""

from __future__ import annotations

from explain_core.demos import list_demos, load_demo
from explain_core.jobs.frameworks import warm_up
from explain_core.jobs.job import Report
from explain_core.jobs.tasks.explaining import Request, explain
from explain_core.jobs.tasks.opening import ModelSource


def rehearse(report: Report, framework: str) -> None:
    """Import the framework, and explain a sequence of a demo: a first explanation imports as much again, and loads the
    compiled kernels."""
    warm_up(report, framework)
    slug = next((demo.slug for demo in list_demos() if demo.framework == framework), None)
    if slug is not None:
        demo = load_demo(slug)
        explain(report, Request(ModelSource(demo.model_path, framework=framework), demo.x[:1], "zeros", None))
