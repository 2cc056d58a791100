"""PairLift's dashboard: `streamlit run app.py`."""


def main() -> None:
    # Imported here, since worker processes import this file by its name and need no Streamlit.
    import streamlit as st

    from ui import frame
    from ui.errors import boundary

    st.set_page_config("PairLift", "assets/icon.svg", layout="wide")
    st.logo("assets/logo.svg", size="large")
    # Paths unlike the file names: until it first meets st.navigation, Streamlit takes the name of a file in
    # pages/ for a page of its own kind, and runs it without this frame.
    page = st.navigation(
        {
            "": [
                st.Page(
                    "pages/explanation.py",
                    title="Explanation",
                    icon=":material/grid_on:",
                    url_path="explain",
                    default=True,
                ),
                st.Page(
                    "pages/layers.py",
                    title="Inside the layers",
                    icon=":material/memory:",
                    url_path="inside-the-layers",
                ),
                st.Page(
                    "pages/model.py",
                    title="Model and data",
                    icon=":material/schema:",
                    url_path="model-and-data",
                ),
                st.Page(
                    "pages/how.py",
                    title="How it works",
                    icon=":material/menu_book:",
                    url_path="how-it-works",
                ),
            ],
            "Check the methods": [
                st.Page(
                    "pages/diagnostics.py",
                    title="Where the error is made",
                    icon=":material/troubleshoot:",
                    url_path="where-the-error-is-made",
                ),
                st.Page(
                    "pages/steps.py",
                    title="Step by step",
                    icon=":material/stairs:",
                    url_path="one-step-and-the-sequence",
                ),
                st.Page(
                    "pages/methods.py",
                    title="Compare methods",
                    icon=":material/compare:",
                    url_path="compare-methods",
                ),
                st.Page(
                    "pages/parity.py",
                    title="Two frameworks",
                    icon=":material/compare_arrows:",
                    url_path="both-frameworks",
                ),
            ],
        },
        position="top",
    )
    frame.prepare()
    with boundary():
        page.run()


if __name__ == "__main__":
    main()
