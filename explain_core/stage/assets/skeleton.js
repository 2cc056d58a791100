// The parts of the stage as elements, put together once for each scene.

import { hasTotals } from "./layout.js";
import { button, icon, marked, menu, part } from "./parts.js";

let made = 0; // stages in this document, for ids that differ

const CONTRASTS = { linear: "In proportion", robust: "Robust", root: "Root" };

/** Title, sentence, badge, what follows, and tools. `acts` are the functions that they call. */
function headOf(data, state, acts) {
  const badge = part(
    "span",
    { name: `badge ${data.residual.fine ? "fine" : "off"}`, "data-testid": "residual" },
    icon(data.residual.fine ? "check" : "warning"),
    part("span", { text: data.residual.words }),
  );
  const ranges = data.ranges.map((range, i) =>
    button(range.text, { name: `so ${range.amount < 0 ? "lowers" : "raises"}`, title: "Zoom to it", testid: `so-${i}`, onclick: () => acts.range(range) }),
  );
  return [
    part(
      "header",
      {},
      part("div", { name: "heading" }, part("h1", { text: data.title, title: data.title }), data.sequence && part("span", { name: "sequence", text: data.sequence, title: data.sequence })),
      badge,
    ),
    part("p", { name: "headline", "data-testid": "headline" }, ...marked(data.headline)),
    ranges.length ? part("div", { name: "sowhat", role: "group", "aria-label": "What moved it most" }, ...ranges) : null,
    toolsOf(data, state, acts),
  ];
}

function toolsOf(data, state, acts) {
  const hasTime = data.steps > 1;
  const hasGroups = data.features.some((feature) => feature.group !== null);
  const rows = [["fold", "Largest total first"]];
  if (data.fold_after < data.features.length) rows.push(["all", "All, largest total first"]);
  if (hasGroups) rows.push(["open", "All, groups open"]);
  if (data.features.length > 1) rows.push(["given", "As in the file"]);
  return part(
    "div",
    { name: "tools", role: "group", "aria-label": "How it is drawn" },
    hasTime && data.matters && button("Where it matters", { drawing: "focus", title: "Zoom to where nine tenths of all movement is", testid: "matters", onclick: acts.matters }),
    hasTime && button("Whole sequence", { drawing: "whole", testid: "whole", onclick: acts.whole }),
    hasTime && !data.tokens && button("Drag zooms", { drawing: "drag", pressed: "false", title: "Whether dragging over the picture zooms in, or chooses a range. With Shift it always zooms.", testid: "drag", onclick: acts.drag }),
    data.contrasts.length > 1 && (hasTime || data.tokens) && menu("Contrast", data.contrasts.map((each) => [each.kind, CONTRASTS[each.kind]]), state.contrast, { testid: "contrast", onchange: acts.contrast }),
    rows.length > 1 && menu("Rows", rows, state.rows, { testid: "rows", onchange: acts.rows }),
    data.takes_away && button("Take away", { drawing: "download", title: "A report, pictures and tables as files", testid: "take-away", onclick: acts.takeAway }),
    button("Table", { drawing: "table", title: "The visible numbers as a table", pressed: "false", testid: "as-table", onclick: acts.table }),
  );
}

/** Everything, in `root`; returns the parts by name. */
export function skeletonOf(root, data, state, acts, brush) {
  const id = (made += 1);
  const canvas = (testid) => part("canvas", { "data-testid": testid, "aria-hidden": "true" });
  const parts = {
    tag: id,
    caption: part("p", { name: "caption" }),
    lines: part("div", { name: "lines", "data-testid": "series" }),
    totals: canvas("totals"),
    totalsLabel: part("div", { name: "label", text: data.tokens ? "Each word" : "All features" }),
    totalsRange: part("div", { name: "ends" }),
    heat: canvas("heatmap"),
    words: part("div", { name: "words", "data-testid": "words" }),
    labels: part("div", { name: "labels", "aria-hidden": "true" }),
    rowBars: canvas("row-bars"),
    rowTotals: part("div", { name: "amounts", "aria-hidden": "true" }),
    ticks: part("div", { name: "ticks", "aria-hidden": "true", "data-testid": "ticks" }),
    note: part("p", { name: "note", "data-testid": "note" }),
    legend: part("div", { name: "legend", "data-testid": "legend" }),
    over: part("div", { name: "over" }, ...["band", "hair", "spot", "cursor"].map((name) => part("div", { name }))),
    active: part("div", { role: "gridcell", id: `cell-${id}`, "aria-selected": "false" }),
    inspector: part("aside", { name: "inspector", "aria-label": "Inspector", "data-testid": "inspector", tabindex: "0" }),
    live: part("div", { name: "unseen", "aria-live": "polite", "data-testid": "live" }),
    few: part("div", { name: "few", "data-testid": "few" }, button("", { drawing: "focus", onclick: acts.matters })),
    brush: brush?.box,
  };
  parts.activeRow = part("div", { role: "row" }, parts.active);
  parts.grid = part(
    "div",
    {
      name: "grid", role: "grid", tabindex: "0", "aria-label": `What moved the ${data.noun}`, "aria-describedby": `alt-${id}`,
      "aria-activedescendant": `cell-${id}`, "data-testid": "grid", "aria-readonly": "true",
    },
    part("div", { name: "unseen" }, parts.activeRow),
    data.tokens ? parts.words : parts.heat,
  );
  parts.right = part("div", { name: "right" }, parts.rowBars, parts.rowTotals);
  parts.figure = part(
    "div",
    { name: "figure", "data-testid": "figure" },
    parts.caption,
    parts.lines,
    ...(hasTotals(data) ? [parts.totalsLabel, parts.totals, parts.totalsRange] : []),
    parts.labels,
    parts.grid,
    parts.right,
    part("div", { name: "label axis", text: data.tokens ? "" : data.time.label }),
    parts.ticks,
    parts.brush,
    part("div", { name: "foot" }, parts.legend, parts.note),
    parts.over,
  );
  parts.over.append(parts.few);
  parts.body = part("div", { name: "body" }, parts.figure, parts.inspector);
  const alt = part(
    "p",
    { name: "unseen", id: `alt-${id}` },
    `${data.alt} Arrow keys move from cell to cell, with Shift over a range; Enter chooses, Shift and Enter the row, Escape clears; plus and minus zoom, 0 shows all; O opens a row of several features.`,
  );
  root.replaceChildren(...headOf(data, state, acts).filter(Boolean), parts.body, alt, parts.live);
  for (const tool of root.querySelectorAll(".tools [data-testid]")) parts[`tool-${tool.dataset.testid}`] = tool;
  return parts;
}
