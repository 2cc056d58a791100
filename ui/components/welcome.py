"""What to give, for people who have given nothing yet."""

from __future__ import annotations

import streamlit as st

from explain_core.models.hints import EXPORT_HINT
from ui.errors import code_in

EXPORT_CODE = "import torch\n\n" + code_in(EXPORT_HINT)


def draw_welcome() -> None:
    """What can be given, and how to make it."""
    st.markdown(
        "Give a model and a sequence in the sidebar. PairLift says how much each value of the sequence moved "
        "the model's prediction, and the parts add up to the whole.\n\n"
        "**Model.** PyTorch: `.pt2` from `torch.export`, TorchScript, or the weights of a plain stack (embedding, "
        "LSTM, GRU or RNN layers, Linear layers) from `torch.save` or as `.safetensors`. Keras: `.keras`, `.h5` or a "
        "SavedModel, of Keras's own layers.\n\n"
        "**Sequence.** CSV, TSV, Parquet or JSON with one row per timestep; several sequences have a column "
        "`sequence` with their names. Or NumPy's `.npy` and `.npz`. For a model of words plain text, with the "
        "model's vocabulary."
    )
    with st.expander("How do I make a model file?", icon=":material/code:"):
        st.code(EXPORT_CODE, language="python")
