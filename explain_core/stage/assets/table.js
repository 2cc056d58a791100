// The visible numbers as a table, for those who would rather read than look.

import { counted, number, signed } from "./numbers.js";
import { part } from "./parts.js";

const MOST_ROWS = 240;
const MOST_COLUMNS = 24;

/** A table of what is visible: a line for each column of the picture, a column for each of its rows. */
export function tableOf(data, arrays, view) {
  const lines = Math.min(view.first.length, MOST_ROWS);
  const rows = view.rows.slice(0, MOST_COLUMNS);
  const unit = data.unit ? ` (${data.unit})` : "";
  const left = [];
  if (lines < view.first.length) left.push(`the first ${lines} of ${counted(view.first.length, "line")}; zoom in for the others`);
  if (rows.length < view.rows.length) left.push(`the first ${rows.length} of ${counted(view.rows.length, "row")} of the picture`);
  if (view.steps > 1) left.push(`each line is the sum of ${counted(view.steps, "timestep")}`);
  const caption = `How much each value moved the ${data.noun}${unit}${left.length ? `: ${left.join("; ")}` : ""}.`;
  const single = rows.length === 1 && rows[0].features.length === 1 && !data.tokens;
  const named = data.tokens ? "Word" : data.time.label || "Input";
  const heads = single ? ["Value", "Baseline", rows[0].label] : data.tokens ? ["Moved by"] : ["All features", ...rows.map((row) => row.label)];
  const body = [];
  for (let c = 0; c < lines; c++) {
    const [a, b] = [view.first[c], view.last[c]];
    const texts = data.tokens ?? data.time.texts;
    const amounts = rows.map((_, r) => signed(view.cells[r * view.first.length + c]));
    const f = single ? rows[0].features[0] : 0;
    const cells = single
      ? [number(arrays.value[a * arrays.F + f]), number(arrays.baseline[a * arrays.F + f]), ...amounts]
      : data.tokens ? amounts : [signed(view.columnTotals[c]), ...amounts];
    body.push(
      part("tr", {}, part("th", { scope: "row", text: (a === b ? texts[a] : `${texts[a]} to ${texts[b]}`) || "All" }), ...cells.map((text) => part("td", { text }))),
    );
  }
  const totals = single ? ["", "", signed(view.total)] : data.tokens ? [signed(view.total)] : [signed(view.total), ...[...view.rowTotals].slice(0, rows.length).map((total) => signed(total))];
  return part(
    "div",
    { name: "tableview", tabindex: "0", role: "region", "aria-label": "Table of the visible numbers", "data-testid": "table" },
    part(
      "table",
      {},
      part("caption", { text: caption }),
      part("thead", {}, part("tr", {}, part("th", { scope: "col", text: named }), ...heads.map((text) => part("th", { scope: "col", text, title: text })))),
      part("tbody", {}, ...body),
      part("tfoot", {}, part("tr", {}, part("th", { scope: "row", text: "Total visible" }), ...totals.map((text) => part("td", { text })))),
    ),
  );
}
