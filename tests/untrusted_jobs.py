"""Jobs that open files with the checks and without, in a module that itself imports no framework."""

import warnings


def open_each(report, paths):
    """What opening and explaining each file says, by its name."""
    import torch

    import explain_core as xc

    said = {}
    for path in paths:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                xc.explain(xc.load_model(path), torch.randn(2, 5, 2), baselines="zeros", target=0)
            said[path.name] = "explained"
        except xc.errors.ExplainError as error:
            said[path.name] = type(error).__name__
    return said


def run_unchecked(report, paths):
    """Have PyTorch open and run each file as it is."""
    import torch

    said = {}
    for path in paths:
        try:
            torch.jit.load(str(path))(torch.randn(2, 5, 2))
            said[path.name] = "ran"
        except Exception as error:  # of whatever kind: it is PyTorch that is tried
            said[path.name] = str(error)
    return said
