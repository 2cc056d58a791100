"""PairLift's dashboard: `streamlit run app.py`."""


def main() -> None:
    """Draw the page that was asked for, when it is its turn."""
    # Imported here, since the server imports this file as well, before there is a script to run.
    from ui.turns import turn

    with turn():
        draw()


def draw() -> None:
    """Draw the page that was asked for."""
    import streamlit as st

    from ui import frame

    st.set_page_config("PairLift", "assets/icon.svg", layout="wide")
    st.logo("assets/logo.svg", size="large")
    # One flat row, since a group of links does not show which of them is open; the pages' titles say more.
    page = st.navigation(
        [
            st.Page("pages/explanation.py", title="Explanation", default=True),
            st.Page("pages/layers.py", title="Layers"),
            st.Page("pages/model.py", title="Model"),
            st.Page("pages/diagnostics.py", title="Errors"),
            st.Page("pages/steps.py", title="Steps"),
            st.Page("pages/methods.py", title="Methods"),
            st.Page("pages/parity.py", title="Frameworks"),
            st.Page("pages/how.py", title="How it works"),
            st.Page("pages/settings.py", title="Server"),
        ],
        position="top",
    )
    frame.run(page)


if __name__ == "__main__":  # a run of the script
    main()
elif __name__ == "app":  # the server, which `streamlit run` looks for in this file and starts
    from streamlit.starlette import App

    from ui import serving

    app = App(__file__, **serving.parts())
