"""The model half of the sidebar: opening the file, and what a person says about it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import streamlit as st

from explain_core.errors import JobError
from explain_core.jobs.frameworks import FRAMEWORKS
from explain_core.jobs.tasks.opening import ModelSource, framework_of_file, open_model
from explain_core.models.permission import code_is_trusted
from ui.session import Outcome, Session

MODEL_WORDS = (
    "PyTorch: .pt2 from torch.export, TorchScript, a state dict or checkpoint (.pt, .pth, .ckpt), .safetensors. "
    "Keras: .keras, .h5, or a SavedModel as a zip archive. What a file is, is told from its content"
)
_OPTION_WORDS = {
    "read": "The last layers read",
    "nonlinearity": "Activation in the recurrent layer",
    "input_activation": "Activation before the recurrent layers",
    "read_activation": "Activation of what the last layers read",
    "head_activation": "Activation between the last layers",
    "output_activation": "Activation of the output",
    "initial_state": "What the recurrent layer starts from",
    "positions": "The table with a row for each timestep",
}
_NO_MATTER = {"squeeze"}  # the same numbers in another shape: they are explained alike
_ARGUMENT = re.compile(r"(\w+)\s*=\s*([^,\n]+)")

Upload = Callable[[Session, str, str, str], Path | None]


def choose_model(session: Session, upload: Upload, path: Path) -> tuple[Outcome, ModelSource]:
    """Open the model; a state dict once more with what the person says about it.

    Args:
        upload: draws a file uploader with a label, a key and a help text.
        path: the uploaded file.
    """
    code, arguments = _code(session, upload) if code_is_trusted() else (None, {})
    found = session.outcome(("framework", path), None, framework_of_file, path, keep=_known)
    source = ModelSource(path, arguments, code, found.value or "")
    if found.value is None:
        return found, source
    opening = _opening(session, source)
    if opening.value is None or not opening.value.summary.options:
        return opening, source
    confirmed = is_confirmed(source)
    title = "Confirmed: what the file does not say" if confirmed else "Please confirm: what the file does not say"
    icon = ":material/check:" if confirmed else ":material/help:"
    with st.expander(title, expanded=not confirmed, icon=icon):
        source = ModelSource(path, _options(path, opening.value.summary.options), framework=source.framework)
        st.checkbox("This is how the model was trained", key=f"confirmed {path.parent.name}")
    return _opening(session, source), source


def _known(framework: object) -> object:
    """What a worker says opens the file, which has to be one of the two."""
    if framework not in list(FRAMEWORKS):
        raise JobError("The process that looked at the file answered with something else.", hint="Try another file.")
    return framework


def is_confirmed(source: ModelSource | None) -> bool:
    """Whether the person has said that what was assumed about the file is right."""
    return source is not None and bool(st.session_state.get(f"confirmed {source.path.parent.name}"))


def source_key(source: ModelSource) -> tuple:
    """What makes a model another one, for jobs to be known by."""
    return source.path, tuple(source.architecture.items()), source.code


def _opening(session: Session, source: ModelSource) -> Outcome:
    return session.outcome(("open", *source_key(source)), source, open_model, source)


def _options(path: Path, options: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """A choice for each option; what was chosen for another file does not count."""
    if st.session_state.get("options of") != path:
        st.session_state["options of"] = path
        for key in [key for key in st.session_state if str(key).startswith("option ")]:
            del st.session_state[key]
    return {
        name: st.selectbox(_OPTION_WORDS.get(name, name.capitalize()), values, key=f"option {name}")
        for name, values in options.items()
        if name not in _NO_MATTER
    }


def _code(session: Session, upload: Upload) -> tuple[Path | None, dict[str, str]]:
    """On a server that trusts code: the file with the model's class, and the arguments of the class."""
    with st.expander("Python code of the model", icon=":material/code:"):
        code = upload(session, "Code", "code", "A .py file with the class of a pickled model or state dict. It is run")
        text = st.text_input(
            "Arguments of the class",
            key="code arguments",
            placeholder="hidden_size=64, num_layers=2",
            help="For a state dict, where the checkpoint does not have them. class=Name chooses one of several classes",
        )
    return code, {name: value.strip() for name, value in _ARGUMENT.findall(text)} if code else {}
