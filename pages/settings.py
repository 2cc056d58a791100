"""What this server is and what it allows."""

import streamlit as st

from ui import frame
from ui.components.server import draw_files, draw_runs, limits_table, versions_table


def draw() -> None:
    st.title("Server settings")
    st.markdown(
        "What this server is and what it allows. Whoever runs it sets this, by environment variables and in "
        "`.streamlit/config.toml`; `docs/operations.md` says how."
    )
    draw_files()
    draw_runs()
    st.subheader("Limits")
    st.table(limits_table(frame.session().limits))
    st.subheader("Versions")
    st.table(versions_table())


frame.page(draw)
