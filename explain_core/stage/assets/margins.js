// On a Streamlit page, what stands below is as wide as the stage: both go into the wide margins that it leaves around.

const MARGIN = "36px";
const WINDOW = 800; // pixels of it, from which on the margins are wide

/** The column of the page that a stage stands in; none in a file of its own. */
export function columnAround(root) {
  return root.getRootNode().host?.closest?.("[data-testid=stMainBlockContainer]") ?? root.closest("[data-testid=stMainBlockContainer]");
}

/** Take up the margins of the page's column, or give them back. */
export function widen(column, isPaged) {
  if (column) column.style.paddingInline = isPaged && window.innerWidth > WINDOW ? MARGIN : "";
}
