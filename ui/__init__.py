"""What the Streamlit pages share: the session's jobs, the choices in the sidebar, words and errors."""
