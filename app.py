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
    page = st.navigation(
        {
            "": [
                st.Page("pages/explanation.py", title="Explanation", icon=":material/grid_on:", default=True),
                st.Page("pages/layers.py", title="Inside the layers", icon=":material/memory:"),
                st.Page("pages/model.py", title="Model and data", icon=":material/schema:"),
            ],
            "Check the methods": [
                st.Page("pages/diagnostics.py", title="Where the error is made", icon=":material/troubleshoot:"),
                st.Page("pages/steps.py", title="Step by step", icon=":material/stairs:"),
                st.Page("pages/methods.py", title="Compare methods", icon=":material/compare:"),
                st.Page("pages/parity.py", title="Two frameworks", icon=":material/compare_arrows:"),
            ],
            "About": [
                st.Page("pages/how.py", title="How it works", icon=":material/menu_book:"),
                st.Page("pages/settings.py", title="Server settings", icon=":material/settings:"),
            ],
        },
        position="top",
    )
    frame.run(page)


if __name__ == "__main__":  # a run of the script
    main()
elif __name__ == "app":  # the server, which `streamlit run` looks for in this file and starts
    from streamlit.starlette import App

    from ui import serving

    app = App(__file__, **serving.parts())
