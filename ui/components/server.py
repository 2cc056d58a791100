"""What a server is and what it allows, in words and tables."""

from __future__ import annotations

import platform

import pandas as pd
import streamlit as st
from streamlit import config

import explain_core
from explain_core.installed import versions_of
from explain_core.jobs.limits import Limits, in_gb
from explain_core.jobs.sandbox import status
from explain_core.models.permission import FLAG, code_is_trusted
from explain_core.words import counted
from ui.errors import plain
from ui.own_runs import shared_store

_PACKAGES = {
    "torch": "PyTorch",
    "tensorflow": "TensorFlow",
    "keras": "Keras",
    "shap": "shap",
    "captum": "captum",
    "streamlit": "Streamlit",
    "numpy": "NumPy",
}


def draw_files() -> None:
    """What is done with files that people give."""
    st.subheader("Your files")
    trusted = code_is_trusted()
    if trusted:
        st.warning(
            f"**Code is trusted.** The server was started with `{FLAG}`: whoever reaches this page may give it a model "
            "with Python code of its own, which then runs here.",
            icon=":material/code:",
        )
    else:
        st.markdown(
            ":material/code_off: **Code is not trusted.** Files are checked before they are opened, and nothing in "
            f"them is run. Custom layers need a server that was started with `{FLAG}`."
        )
    sandbox = status()
    if sandbox.active:
        st.markdown(f":material/shield: **Files are opened in a sandbox.** {plain(sandbox.words)}")
        st.markdown("Denied there:\n\n" + "\n".join(f"- {plain(what)}" for what in sandbox.denied))
        return
    data = "state dicts, `.safetensors`, `.keras`, `.h5` and `.pt2`"
    if trusted:
        follows = f"Safe without one are formats that are data: {data}. Others are opened too, since code is trusted."
    else:
        follows = f"So only formats that are data are opened: {data}. TorchScript files and SavedModels need `{FLAG}`."
    st.warning(f"**There is no sandbox here.** {plain(sandbox.words)}\n\n{follows}", icon=":material/remove_moderator:")


def draw_runs() -> None:
    """Where results are kept, and how much of them there is."""
    st.subheader("Kept runs")
    store, note = shared_store()
    runs, size = store.usage()
    st.markdown(
        f":material/inventory_2: **{counted(runs, 'run')}, {in_gb(size)}.** Results are kept in a folder of the "
        "server, and are there again after a restart. Visitors see their own, and whoever has a link sees that run."
    )
    if note:
        st.warning(plain(note), icon=":material/folder_off:")


def limits_table(limits: Limits) -> pd.DataFrame:
    """Each limit in words, as it is here, and what sets it."""
    rows = [
        ("Memory of one worker process", in_gb(limits.memory), "PAIRLIFT_JOB_MEMORY_GB"),
        ("Time of one job", f"{limits.seconds:g} seconds", "PAIRLIFT_JOB_SECONDS"),
        ("Worker processes at once", f"{limits.processes}", "PAIRLIFT_PROCESSES"),
        ("Jobs at once", f"{limits.jobs}", "PAIRLIFT_JOBS"),
        ("A process without a job ends after", f"{limits.idle_seconds / 60:g} minutes", "PAIRLIFT_IDLE_MINUTES"),
        ("Processes that wait for whoever comes next", "yes" if limits.spares else "no", "PAIRLIFT_SPARES"),
        ("Tabs open at once", f"{limits.sessions:,}", "PAIRLIFT_SESSIONS"),
        ("Of one address", f"{limits.sessions_of_address:,}", "PAIRLIFT_SESSIONS_PER_ADDRESS"),
        ("Uploads kept for one session", f"{limits.upload_files} files", "PAIRLIFT_UPLOAD_FILES"),
        ("Their size together", in_gb(limits.upload_bytes), "PAIRLIFT_UPLOAD_GB"),
        ("Uploads of all on their way at once", in_gb(limits.uploads_in_memory), "PAIRLIFT_UPLOADS_TOTAL_GB"),
        ("Results kept for one session", in_gb(limits.result_bytes), "PAIRLIFT_RESULT_GB"),
        ("Runs kept on disk", f"{limits.runs:,}", "PAIRLIFT_RUNS"),
        ("Of one visitor", f"{limits.runs_of_visitor:,}", "PAIRLIFT_RUNS_OF_VISITOR"),
        ("Their size together, of all visitors", in_gb(limits.runs_bytes), "PAIRLIFT_RUNS_GB"),
        ("Of one visitor", in_gb(limits.runs_bytes_of_visitor), "PAIRLIFT_RUNS_OF_VISITOR_GB"),
        ("Size of one result", in_gb(limits.answer_bytes), "PAIRLIFT_ANSWER_GB"),
        ("Size of one upload", f"{config.get_option('server.maxUploadSize')} MB", "maxUploadSize"),
        ("Files of a closed tab stay for", _ttl(), "disconnectedSessionTTL"),
        ("Size of one file that a job writes", in_gb(limits.file_bytes), "not settable"),
    ]
    return _table(rows, ["Limit", "Here", "Set by"])


def versions_table() -> pd.DataFrame:
    """What is installed; nothing is imported for it."""
    rows = [("PairLift", explain_core.__version__), ("Python", platform.python_version())]
    found = versions_of(_PACKAGES)
    rows += [(title, found.get(package, "not installed")) for package, title in _PACKAGES.items()]
    rows.append(("Operating system", f"{platform.system()} {platform.release()}"))
    return _table(rows, ["What", "Version"])


def _table(rows: list[tuple], columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=columns).set_index(columns[0])


def _ttl() -> str:
    return f"{config.get_option('server.disconnectedSessionTTL')} seconds"
