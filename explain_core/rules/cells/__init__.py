"""The recurrent cells as equations on array functions: one file a cell."""

from explain_core.rules.cells.cell import Cell, Members, Multipliers, Paired, Values, Weights
from explain_core.rules.cells.gru import GRU
from explain_core.rules.cells.lstm import LSTM
from explain_core.rules.cells.rnn import RNN

__all__ = ["GRU", "LSTM", "RNN", "Cell", "Members", "Multipliers", "Paired", "Values", "Weights"]
