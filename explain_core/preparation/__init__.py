"""What every method of explaining begins with: arguments read, the model opened, baselines and targets resolved."""

from explain_core.preparation.opening import framework_model, open_on, refuse_missing
from explain_core.preparation.prepared import Prepared, prepare

__all__ = ["Prepared", "framework_model", "open_on", "prepare", "refuse_missing"]
