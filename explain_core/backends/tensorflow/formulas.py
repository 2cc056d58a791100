"""The formulas of `explain_core.rules` on TensorFlow's tensors: ``secants.tanh(a, b)``."""

from explain_core.backends.tensorflow import arrays
from explain_core.rules import activations, circular, quotients, special
from explain_core.rules import secants as plain
from explain_core.rules import two_players as two_arguments
from explain_core.rules.arrays import Bound

secants = Bound(arrays, plain, activations, circular, special, quotients)
two_players = Bound(arrays, two_arguments)
