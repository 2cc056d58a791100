"""What every method of explaining begins with: arguments read, the model opened, baselines and targets resolved."""

from explain_core.preparation.prepared import Prepared, fixed_batch, open_on, prepare, refuse_missing

__all__ = ["Prepared", "fixed_batch", "open_on", "prepare", "refuse_missing"]
