"""The formulas of `explain_core.rules` on PyTorch's tensors: ``secants.tanh(a, b)``."""

from explain_core.backends.torch import arrays
from explain_core.rules.bound import bind

secants, two_players, maximum, softmax, reductions, statistics = bind(arrays)
