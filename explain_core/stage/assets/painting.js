// Everything that is visible of a stage, drawn from its state.

import { scaleOf, ticksOf, whenOf } from "./axis.js";
import { drawColumnTotals, drawRowTotals } from "./bars.js";
import { drawCells } from "./heatmap.js";
import { measured } from "./layout.js";
import { mark } from "./marking.js";
import { counted, ends, number, signed } from "./numbers.js";
import { part } from "./parts.js";
import { pointing } from "./reach.js";
import { drawStrip, rangeOf } from "./series.js";
import { tableOf } from "./table.js";
import { viewOf } from "./view.js";
import { showWords } from "./words.js";

const FEW = 0.05; // of the timesteps
const TWO_LINES = 28; // pixels of a row whose name may take two

/** Draw everything that is visible. */
export function paint(stage) {
  stage.stale = false;
  const { data, parts, state, arrays } = stage;
  const size = (stage.size = measured(stage));
  if (!size) return;
  stage.most = Math.max(1, Math.floor(size.plot));
  stage.view = viewOf(arrays, stage.rows, state.first, state.last, stage.most);
  stage.scale = scaleOf(state.first, state.last, size.plot);
  const { view, scale, ink } = stage;
  if (state.cursor) state.cursor = { row: Math.min(state.cursor.row, view.rows.length - 1), column: Math.min(state.cursor.column, view.first.length - 1) };
  const contrast = stage.contrast;
  parts.grid.setAttribute("aria-rowcount", String(view.rows.length));
  parts.grid.setAttribute("aria-colcount", String(view.first.length));
  paintLines(stage);
  const isWhole = state.first === 0 && state.last === data.steps - 1;
  if (parts["tool-whole"]) parts["tool-whole"].disabled = isWhole;
  if (parts["tool-matters"]) parts["tool-matters"].disabled = state.first === data.matters[0] && state.last === data.matters[1];
  if (data.steps > 1) {
    if (size.totals) {
      const { high, low } = drawColumnTotals(parts.totals, view, scale, size.plot, size.totals, ink);
      parts.totalsRange.replaceChildren(...ends(high, low, (end) => part("span", { text: signed(end, data.unit) })));
    }
    paintTicks(stage);
    stage.brush.draw(state.first, state.last, size.plot, size.brush, ink);
  }
  if (data.tokens) showWords(parts.words, data, arrays, state.first, state.last, stage.shades, contrast);
  else if (data.steps > 1) drawCells(parts.heat, view, scale, size.row, size.plot, size.heat, stage.shades, contrast);
  else drawRowTotals(parts.heat, view, size.row, size.plot, size.heat, ink);
  paintRows(stage);
  paintFoot(stage, contrast);
  paintFew(stage, isWhole);
  paintTable(stage);
  mark(stage);
}

function paintLines(stage) {
  const { parts, state, size, arrays, data } = stage;
  const row = state.chosen?.row?.features.length === 1 ? state.chosen.row.features[0] : null;
  const isOne = state.lines === "chosen" && row !== null;
  const features = isOne ? [row] : data.order.slice(0, size.lines);
  if (!size.lines) return;
  const height = isOne ? size.line * size.lines : size.line;
  const strips = features.map((f) => {
    const canvas = part("canvas", { "aria-hidden": "true" });
    const range = rangeOf(arrays, f, state.first, state.last);
    drawStrip(canvas, arrays, f, stage.view, stage.scale, range, size.plot, height, stage.ink);
    const { name, unit } = data.features[f];
    const said = (end) => part("span", { text: number(end, unit, 3) });
    const found = range && range.high > range.low ? ends(range.high, range.low, said) : [said(range ? range.high : NaN)];
    const strip = part("div", { name: "strip" }, part("div", { name: "label" }, part("span", { name: height >= TWO_LINES ? "name tall" : "name", text: name, title: name })), canvas, part("div", { name: found.length > 1 ? "ends" : "ends one" }, ...found));
    strip.style.height = `${height}px`;
    pointing(canvas, stage, (event) => stage.under(event, canvas, stage.rowOf(f)));
    return strip;
  });
  parts.lines.replaceChildren(...strips);
  const whose = isOne ? "" : features.length < data.features.length ? `${features.length} of ${data.features.length.toLocaleString("en")} features` : "";
  parts.caption.replaceChildren(
    part("span", { text: ["Input", whose].filter(Boolean).join(": ") }),
    part("span", { name: "key solid", text: "sequence" }),
    part("span", { name: "key dotted", text: "baseline" }),
    features.length > 1 ? part("span", { text: "each to its own range" }) : "",
  );
  if (row !== null && data.features.length > 1) {
    const other = part("button", { name: "link", type: "button", text: isOne ? "Show the strongest" : "Show the chosen row alone", "data-testid": "lines" });
    other.addEventListener("click", () => stage.set({ lines: isOne ? "strongest" : "chosen" }));
    parts.caption.append(other);
  }
}

function paintTicks(stage) {
  const { data, parts, state, size, scale } = stage;
  let end = -Infinity;
  const ticks = ticksOf(data.time.texts, state.first, state.last, size.plot, data.time.is_date).flatMap(({ t, text }) => {
    const wide = 6.2 * text.length;
    const left = Math.max(0, Math.min(size.plot - wide, scale.middle(t) - wide / 2));
    if (left < end) return [];
    end = left + wide + 6;
    const tick = part("span", { text });
    tick.style.left = `${left + wide / 2}px`;
    return [tick];
  });
  parts.ticks.replaceChildren(...ticks);
}

function paintRows(stage) {
  const { data, parts, size, view } = stage;
  const every = Math.ceil(13 / size.row);
  const [labels, amounts] = [[], []];
  view.rows.forEach((row, r) => {
    if (r % every) return;
    const top = `${(r + 0.5) * size.row}px`;
    const label = part("div", { name: `row ${row.kind}${data.steps > 1 && size.row >= TWO_LINES ? " tall" : ""}`, title: row.label, "data-testid": "row" }, part("span", { name: "name", text: row.label }));
    if (row.kind !== "feature") {
      label.title = `${row.label}: ${row.features.map((f) => data.features[f].name).slice(0, 20).join(", ")}`;
      const open = part("button", { name: "open", type: "button", text: "open", tabindex: "-1", "data-testid": "open-row" });
      open.addEventListener("pointerdown", (event) => event.stopPropagation());
      open.addEventListener("click", () => stage.openRow(row));
      label.append(open);
    } else if (data.steps === 1 && size.row >= 30 && !data.tokens) {
      const [value, baseline] = [stage.arrays.value, stage.arrays.baseline].map((each) => number(each[row.features[0]], data.features[row.features[0]].unit));
      label.append(part("span", { name: "under", text: `${value}; baseline ${baseline}` }));
    }
    label.style.top = top;
    const amount = part("div", { name: "amountof", text: signed(view.rowTotals[r], data.unit.length > 5 ? "" : data.unit), "data-testid": "row-total" });
    amount.style.top = top;
    labels.push(label);
    amounts.push(amount);
  });
  parts.labels.replaceChildren(...labels);
  parts.rowTotals.replaceChildren(...amounts);
  if (data.steps > 1) drawRowTotals(parts.rowBars, view, size.row, size.bars, size.heat, stage.ink);
}

function paintFoot(stage, contrast) {
  const { data, parts, state, view } = stage;
  const isPart = state.first > 0 || state.last < data.steps - 1;
  const notes = [];
  if (view.steps > 1) notes.push(`Each column is the sum of ${counted(view.steps, "timestep")}.`);
  if (isPart) notes.push(`${counted(state.last - state.first + 1, data.tokens ? "word" : "timestep")} of ${data.steps.toLocaleString("en")}: totals are of what is visible${isRanked(stage) ? "" : ", rows ordered by the whole"}.`);
  if (!stage.root.classList.contains("flat") && contrast.limit === (data.contrasts.find((each) => each.kind === contrast.kind) ?? data.contrast).limit) notes.push(contrast.words);
  parts.note.textContent = notes.join(" ");
  parts.note.title = parts.note.textContent;
  const limit = number(contrast.limit, "", 2);
  parts.legend.replaceChildren(
    part("span", { name: "end", text: `\u2212${limit}` }), part("span", { name: "fade" }), part("span", { name: "end", text: `+${limit}` }),
    part("span", { name: "which" }, part("i", { name: "lowers" }), part("span", { text: data.legend.lowers }), part("i", { name: "raises" }), part("span", { text: data.legend.raises })),
  );
}

/** Whether the rows stand by what is visible of them, as their order may say of the whole sequence. */
function isRanked({ state, view }) {
  const sizes = [...view.rowTotals].filter((_, r) => view.rows[r].kind !== "rest").map(Math.abs);
  return state.rows === "given" || sizes.every((size, r) => !r || size <= sizes[r - 1] + 1e-12);
}

/** Where a few columns have nearly everything, the others are blank: say where to look, in the blank part. */
function paintFew({ data, parts, size, scale }, isWhole) {
  const [first, last] = data.matters ?? [0, data.steps - 1];
  const isFew = isWhole && !data.tokens && (last - first + 1) / data.steps < FEW;
  parts.few.style.display = isFew ? "" : "none";
  if (!isFew) return;
  const [left, right] = [scale.left(first), scale.left(last + 1)];
  const isBefore = left > size.plot - right;
  parts.few.querySelector("span").textContent = `Nine tenths of all movement: ${whenOf(data, first, last)}`;
  Object.assign(parts.few.style, {
    left: `${isBefore ? 0 : right}px`, width: `${isBefore ? left : size.plot - right}px`, top: `${size.heatTop}px`, height: `${size.heat}px`,
  });
}

function paintTable(stage) {
  const { parts, state } = stage;
  stage.root.classList.toggle("tabled", state.table);
  stage.root.querySelector(".tableview")?.remove();
  if (state.table) parts.body.prepend(tableOf(stage.data, stage.arrays, stage.view));
}
