// The stage: one result on one screen. `mount` puts it into an element and keeps it up to date.

import { scaleOf, ticksOf, whenOf } from "./axis.js";
import { drawColumnTotals, drawRowTotals } from "./bars.js";
import { brushOf } from "./brush.js";
import { shadesOf } from "./colours.js";
import { factsOf, spoken } from "./facts.js";
import { drawCells } from "./heatmap.js";
import { showFacts, showWhole } from "./inspector.js";
import { measured } from "./layout.js";
import { counted, number, signed } from "./numbers.js";
import { part, patient } from "./parts.js";
import { keyed, pointing, wheeling } from "./reach.js";
import { drawStrip, rangeOf } from "./series.js";
import { skeletonOf } from "./skeleton.js";
import { tableOf } from "./table.js";
import { arraysOf, columnsOf, limitOf, overviewOf, rowsOf, strongestOf, sumOf, viewOf, within } from "./view.js";
import { showWords } from "./words.js";

const SETTLED = 300; // milliseconds after the last change until Python hears of it

class Stage {
  constructor(root) {
    this.root = root;
    this.tell = { view: () => {}, chosen: () => {} };
    this.tellView = patient((view) => this.tell("view", { ...view, of: this.data.key }), SETTLED);
    this.tellChosen = patient((chosen) => this.tell("chosen", chosen), SETTLED);
    this.frame = 0;
    this.resized = new ResizeObserver(() => this.redraw());
    this.resized.observe(root);
    this.onWindow = () => this.redraw();
    window.addEventListener("resize", this.onWindow);
    this.dark = window.matchMedia("(prefers-color-scheme: dark)");
    this.onDark = () => this.data && this.dress();
    this.dark.addEventListener("change", this.onDark);
  }

  /** Take data from Python: another scene is built anew, the same one only changes its colours. */
  take({ data, setStateValue }) {
    this.tell = setStateValue;
    const print = JSON.stringify({ ...data, theme: 0, colours: 0, dimmed: 0, view: 0 });
    const isNew = print !== this.print;
    const before = this.data;
    this.data = data;
    this.print = print;
    if (isNew) this.build(before);
    const given = JSON.stringify(data.view ?? null);
    if (given !== (this.given ?? "null")) Object.assign(this.state, this.fitting(data.view ?? {}));
    this.given = given;
    if (isNew && before) this.tellView({ first: this.state.first, last: this.state.last });
    this.root.classList.toggle("paged", Boolean(data.paged));
    this.root.classList.toggle("dimmed", Boolean(data.dimmed));
    this.root.setAttribute("aria-busy", String(Boolean(data.dimmed)));
    this.dress();
  }

  fitting({ first, last }) {
    const T = this.data.steps;
    return Number.isInteger(first) && Number.isInteger(last) && first <= last ? within(first, last, T) : { first: 0, last: T - 1 };
  }

  build(before) {
    const { data } = this;
    const same = before && before.steps === data.steps && before.time.texts.join() === data.time.texts.join() ? this.state : null;
    this.arrays = arraysOf(data);
    this.overview = overviewOf(this.arrays);
    this.limits = new Map();
    this.inspected = "";
    this.state = {
      first: same?.first ?? 0, last: same?.last ?? data.steps - 1, contrast: data.contrast.kind, rows: "fold", open: new Set(),
      dragZooms: false, table: false, hovered: null, chosen: null, cursor: null, dragged: null, lines: "strongest",
    };
    this.brush = data.steps > 1 ? brushOf(data, this.overview, (view) => this.go(view)) : null;
    this.parts = skeletonOf(this.root, data, this.state, {
      range: (range) => this.showRange(range),
      matters: () => this.go({ first: data.matters[0], last: data.matters[1] }),
      whole: () => this.whole(),
      drag: () => this.toggle("dragZooms", "tool-drag"),
      contrast: (kind) => this.set({ contrast: kind }),
      rows: (rows) => this.arrange(rows),
      table: () => this.toggle("table", "tool-as-table"),
    }, this.brush);
    this.root.classList.toggle("flat", data.steps === 1 && !data.tokens);
    this.root.classList.toggle("wordy", Boolean(data.tokens));
    const { parts } = this;
    this.arrange("fold");
    const cell = (event) => this.under(event, parts.heat);
    const column = (panel) => (event) => this.under(event, panel, null);
    pointing(data.tokens ? parts.words : parts.heat, this, data.tokens ? (event) => this.wordUnder(event) : cell);
    pointing(parts.totals, this, column(parts.totals));
    for (const side of [parts.labels, parts.right]) pointing(side, this, (event) => this.rowUnder(event, side), { drags: false });
    for (const panel of [parts.grid, parts.totals, parts.lines]) {
      wheeling(panel, this, (event) => this.scale.at(event.clientX - parts.grid.getBoundingClientRect().left));
    }
    parts.grid.addEventListener("dblclick", () => this.whole());
    keyed(parts.grid, this);
  }

  /** Which rows there are. */
  arrange(rows) {
    const groups = this.data.features.map((feature) => feature.group).filter((group) => group !== null);
    if (rows === "open") this.state.open = new Set(groups);
    else if (rows !== "given") this.state.open = new Set();
    this.rows = rowsOf(this.data, {
      openGroups: rows === "given" ? new Set(groups) : this.state.open, unfolded: rows !== "fold", given: rows === "given",
    });
    this.set({ rows, hovered: null, cursor: null });
  }

  openRow(row) {
    if (row.kind === "rest") {
      this.parts["tool-rows"].value = "all";
      this.arrange("all");
    } else {
      this.state.open.add(row.group);
      this.rows = rowsOf(this.data, { openGroups: this.state.open, unfolded: this.state.rows !== "fold" });
      this.set({ hovered: null, cursor: null });
    }
  }

  set(changes) {
    Object.assign(this.state, changes);
    this.redraw();
  }

  toggle(name, tool) {
    this.set({ [name]: !this.state[name] });
    this.parts[tool].setAttribute("aria-pressed", String(this.state[name]));
  }

  /** Another view of the sequence. */
  go({ first, last }) {
    const view = this.fitting({ first, last });
    if (view.first === this.state.first && view.last === this.state.last) return;
    this.set({ ...view, hovered: null });
    this.tellView(view);
  }

  whole() {
    this.go({ first: 0, last: this.data.steps - 1 });
  }

  zoomTo({ first, last }) {
    this.go({ first, last });
  }

  /** Show `factor` as many steps, with one step staying where it is. */
  zoomBy(factor, around) {
    const { first, last } = this.state;
    const now = last - first + 1;
    let length = Math.round(now * factor);
    if (length === now) length += factor > 1 ? 1 : -1;
    length = Math.max(1, Math.min(this.data.steps, length));
    const start = around - ((around - first + 0.5) / now) * length + 0.5;
    this.go(within(start, start + length - 1, this.data.steps));
  }

  showRange({ first, last, feature }) {
    const margin = Math.max(2, Math.round(0.4 * (last - first + 1)));
    if (this.data.steps > 1) this.go({ first: Math.max(0, first - margin), last: Math.min(this.data.steps - 1, last + margin) });
    this.choose({ first, last, row: feature === null ? null : this.rowOf(feature) });
  }

  rowOf(feature) {
    const own = this.rows.find((row) => row.features.length === 1 && row.features[0] === feature);
    return own ?? { label: this.data.features[feature].name, features: [feature], kind: "feature", group: null };
  }

  hover(place) {
    if (place?.first === this.state.hovered?.first && place?.last === this.state.hovered?.last && place?.row === this.state.hovered?.row) return;
    this.state.hovered = place;
    this.redraw(false);
  }

  drag(place, zooms = false) {
    this.state.dragged = place && { ...place, zooms };
    this.redraw(false);
  }

  choose(place) {
    this.state.chosen = place;
    this.state.hovered = null;
    this.redraw();
    const feature = place?.row?.features.length === 1 ? place.row.features[0] : null;
    this.tellChosen(place && { first: place.first, last: place.last, feature });
    this.say(place ? `Chosen: ${spoken(this.data, factsOf(this.data, this.arrays, place))}` : "Nothing chosen.");
  }

  say(text) {
    this.parts.live.textContent = text;
  }

  placeOf(cursor) {
    return { first: this.view.first[cursor.column], last: this.view.last[cursor.column], row: this.view.rows[cursor.row] };
  }

  /** The visible cell that moved most. */
  strongest() {
    const [{ key }] = [...strongestOf(this.view.cells, 1), { key: 0 }];
    return { row: Math.floor(key / this.view.first.length), column: key % this.view.first.length };
  }

  moveTo(cursor) {
    this.state.cursor = cursor;
    this.paint();
    if (!cursor) return;
    const text = spoken(this.data, factsOf(this.data, this.arrays, this.placeOf(cursor)));
    this.parts.active.textContent = text;
    this.parts.active.setAttribute("aria-colindex", String(cursor.column + 1));
    this.parts.activeRow.setAttribute("aria-rowindex", String(cursor.row + 1));
    this.say(text);
  }

  under(event, panel, row) {
    const box = panel.getBoundingClientRect();
    const at = this.scale.at(event.clientX - box.left);
    const column = Math.min(this.view.first.length - 1, Math.floor((at - this.state.first) / this.view.steps));
    const r = Math.max(0, Math.min(this.view.rows.length - 1, Math.floor((event.clientY - box.top) / this.size.row)));
    return { first: this.view.first[column], last: this.view.last[column], row: row === undefined ? this.view.rows[r] : row };
  }

  wordUnder(event) {
    const spot = this.root.getRootNode().elementFromPoint(event.clientX, event.clientY)?.closest?.("[data-step]");
    return spot ? { first: Number(spot.dataset.step), last: Number(spot.dataset.step), row: this.view.rows[0] } : null;
  }

  rowUnder(event, panel) {
    const r = Math.floor((event.clientY - panel.getBoundingClientRect().top) / this.size.row);
    const row = this.view.rows[Math.max(0, Math.min(this.view.rows.length - 1, r))];
    return { first: this.state.first, last: this.state.last, row };
  }

  /** Colours of the theme. */
  dress() {
    const { data } = this;
    const theme = data.theme === "auto" ? (this.dark.matches ? "dark" : "light") : data.theme;
    this.ink = data.colours[theme] ?? data.colours;
    this.shades = shadesOf(this.ink.scale);
    this.root.dataset.theme = theme;
    for (const name of ["text", "muted", "grid", "negative", "positive"]) this.root.style.setProperty(`--${name}`, this.ink[name]);
    this.root.style.setProperty("--lowers", this.ink.scale[0][1]);
    this.root.style.setProperty("--raises", this.ink.scale[this.ink.scale.length - 1][1]);
    this.root.style.setProperty("--page", this.ink.scale[2][1]);
    this.root.style.setProperty("--fade", `linear-gradient(to right, ${this.ink.scale.map(([at, colour]) => `${colour} ${100 * at}%`).join(", ")})`);
    this.redraw();
  }

  /** The scale of colours: the scene's own, wider where sums of runs or of features go beyond it. */
  get contrast() {
    const base = this.data.contrasts.find((each) => each.kind === this.state.contrast) ?? this.data.contrast;
    const run = this.view?.steps ?? 1;
    const key = `${base.kind} ${run} ${this.rows.length}`;
    if (!this.limits.has(key)) {
      const T = this.data.steps;
      const whole = viewOf(this.arrays, this.rows, 0, T - 1, Math.ceil(T / run));
      this.limits.set(key, run === 1 && base.kind === "robust" ? base.limit : Math.max(limitOf(whole.cells, base.kind), run === 1 ? base.limit : 0));
    }
    return { ...base, limit: this.limits.get(key) };
  }

  /** Draw with the next frame, however often it is asked for: everything, or marks alone. */
  redraw(all = true) {
    this.stale ||= all;
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => {
      if (!this.data || !this.root.isConnected) return;
      if (this.stale) this.paint();
      else this.mark();
    });
  }

  paint() {
    this.stale = false;
    const { data, parts, state, arrays } = this;
    const size = (this.size = measured(this));
    if (!size) return;
    this.most = Math.max(1, Math.floor(size.plot));
    this.view = viewOf(arrays, this.rows, state.first, state.last, this.most);
    this.scale = scaleOf(state.first, state.last, size.plot);
    const { view, scale, ink } = this;
    const contrast = this.contrast;
    parts.grid.setAttribute("aria-rowcount", String(view.rows.length));
    parts.grid.setAttribute("aria-colcount", String(view.first.length));
    this.paintLines();
    const isWhole = state.first === 0 && state.last === data.steps - 1;
    if (parts["tool-whole"]) parts["tool-whole"].disabled = isWhole;
    if (parts["tool-matters"]) parts["tool-matters"].disabled = state.first === data.matters[0] && state.last === data.matters[1];
    if (data.steps > 1) {
      const ends = drawColumnTotals(parts.totals, view, scale, size.plot, size.totals, ink);
      parts.totalsRange.replaceChildren(
        part("span", { text: ends.high > 0 ? signed(ends.high, data.unit) : "" }),
        part("span", { text: ends.low < 0 ? signed(ends.low, data.unit) : "" }),
      );
      this.paintTicks();
      this.brush.draw(state.first, state.last, size.plot, size.brush, ink);
    }
    if (data.tokens) showWords(parts.words, data, arrays, state.first, state.last, this.shades, contrast);
    else if (data.steps > 1) drawCells(parts.heat, view, scale, size.row, size.plot, size.heat, this.shades, contrast);
    else drawRowTotals(parts.heat, view, size.row, size.plot, size.heat, ink);
    this.paintRows();
    this.paintFoot(contrast);
    this.paintTable();
    this.mark();
  }

  paintLines() {
    const { parts, state, size, arrays, data } = this;
    const row = state.chosen?.row?.features.length === 1 ? state.chosen.row.features[0] : null;
    const isOne = state.lines === "chosen" && row !== null;
    const features = isOne ? [row] : data.order.slice(0, size.lines);
    if (!size.lines) return;
    const height = isOne ? size.line * size.lines : size.line;
    const strips = features.map((f) => {
      const canvas = part("canvas", { "aria-hidden": "true" });
      const range = rangeOf(arrays, f, state.first, state.last);
      drawStrip(canvas, arrays, f, this.view, this.scale, range, size.plot, height, this.ink);
      const { name, unit } = data.features[f];
      const ends = range
        ? (range.high > range.low ? [range.high, range.low] : [range.high]).map((end) => part("span", { text: number(end, unit, 3) }))
        : [part("span", { text: "unknown" })];
      const strip = part("div", { name: "strip" }, part("div", { name: "label", text: name, title: name }), canvas, part("div", { name: ends.length > 1 ? "ends" : "ends one" }, ...ends));
      strip.style.height = `${height}px`;
      pointing(canvas, this, (event) => this.under(event, canvas, this.rowOf(f)));
      return strip;
    });
    parts.lines.replaceChildren(...strips);
    const whose = isOne ? "" : features.length < data.features.length ? `${features.length} strongest features` : "";
    parts.caption.replaceChildren(
      part("span", { text: ["Input", whose].filter(Boolean).join(": ") }),
      part("span", { name: "key solid", text: "sequence" }),
      part("span", { name: "key dotted", text: "baseline" }),
      features.length > 1 ? part("span", { text: "each to its own range" }) : "",
    );
    if (row !== null && data.features.length > 1) {
      const other = part("button", { name: "link", type: "button", text: isOne ? "Show the strongest" : "Show the chosen row alone", "data-testid": "lines" });
      other.addEventListener("click", () => this.set({ lines: isOne ? "strongest" : "chosen" }));
      parts.caption.append(other);
    }
  }

  paintTicks() {
    const { data, parts, state, size, scale } = this;
    const ticks = ticksOf(data.time.texts, state.first, state.last, size.plot, data.time.is_date).map(({ t, text }) => {
      const tick = part("span", { text });
      const x = scale.middle(t);
      const half = 3.3 * text.length;
      if (x + half > size.plot + 8) tick.className = "ending";
      else if (x < half - 4) tick.className = "starting";
      tick.style.left = `${tick.className === "ending" ? size.plot : tick.className ? 0 : x}px`;
      return tick;
    });
    parts.ticks.replaceChildren(...ticks);
  }

  paintRows() {
    const { data, parts, size, view } = this;
    const every = Math.ceil(13 / size.row);
    const [labels, amounts] = [[], []];
    view.rows.forEach((row, r) => {
      if (r % every) return;
      const top = `${(r + 0.5) * size.row}px`;
      const label = part("div", { name: `row ${row.kind}`, title: row.label, "data-testid": "row" }, part("span", { name: "name", text: row.label }));
      if (row.kind !== "feature") {
        label.title = `${row.label}: ${row.features.map((f) => data.features[f].name).slice(0, 20).join(", ")}`;
        const open = part("button", { name: "open", type: "button", text: "open", tabindex: "-1", "data-testid": "open-row" });
        open.addEventListener("pointerdown", (event) => event.stopPropagation());
        open.addEventListener("click", () => this.openRow(row));
        label.append(open);
      } else if (data.steps === 1 && size.row >= 30 && !data.tokens) {
        const [value, baseline] = [this.arrays.value, this.arrays.baseline].map((each) => number(each[row.features[0]], data.features[row.features[0]].unit));
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
    if (data.steps > 1) drawRowTotals(parts.rowBars, view, size.row, size.bars, size.heat, this.ink);
  }

  paintFoot(contrast) {
    const { data, parts, state, view } = this;
    const isPart = state.first > 0 || state.last < data.steps - 1;
    const notes = [];
    if (view.steps > 1) notes.push(`Each column is the sum of ${counted(view.steps, "timestep")}.`);
    if (isPart) notes.push(`${counted(state.last - state.first + 1, data.tokens ? "word" : "timestep")} of ${data.steps.toLocaleString("en")}: totals are of what is visible.`);
    if (!this.root.classList.contains("flat") && contrast.limit === (data.contrasts.find((each) => each.kind === contrast.kind) ?? data.contrast).limit) notes.push(contrast.words);
    parts.note.textContent = notes.join(" ");
    parts.note.title = parts.note.textContent;
    const limit = number(contrast.limit, "", 2);
    parts.legend.replaceChildren(
      part("span", { name: "end", text: `\u2212${limit}` }), part("span", { name: "fade" }), part("span", { name: "end", text: `+${limit}` }),
      part("span", { name: "which" }, part("i", { name: "lowers" }), part("span", { text: data.legend.lowers }), part("i", { name: "raises" }), part("span", { text: data.legend.raises })),
    );
  }

  paintTable() {
    const { parts, state } = this;
    this.root.classList.toggle("tabled", state.table);
    this.root.querySelector(".tableview")?.remove();
    if (state.table) parts.body.prepend(tableOf(this.data, this.arrays, this.view));
  }

  /** What is pointed at, chosen or dragged over: lines and frames in the picture, facts in the inspector. */
  mark() {
    const { data, state, parts, view } = this;
    if (!view) return;
    const hot = state.dragged ?? state.hovered ?? (state.cursor && this.placeOf(state.cursor));
    const place = hot ?? state.chosen;
    this.frameOf(".band", state.dragged ?? state.chosen, true);
    this.frameOf(".spot", state.hovered, false);
    this.frameOf(".cursor", state.cursor && this.placeOf(state.cursor), false);
    const hair = parts.over.querySelector(".hair");
    const line = state.hovered && state.hovered.last - state.hovered.first < Math.max(1, view.steps) && data.steps > 1 && !data.tokens;
    hair.style.display = line ? "" : "none";
    if (line) Object.assign(hair.style, { top: `${this.size.linesTop}px`, height: `${this.size.heatTop + this.size.heat - this.size.linesTop}px` });
    if (line) hair.style.left = `${(this.scale.left(state.hovered.first) + this.scale.left(state.hovered.last + 1)) / 2}px`;
    for (const [i, label] of [...parts.labels.children].entries()) {
      const row = view.rows[i * Math.ceil(13 / this.size.row)];
      label.classList.toggle("hot", place?.row === row);
    }
    if (data.tokens) {
      for (const word of parts.words.children) {
        const t = Number(word.dataset.step);
        word.classList.toggle("chosen", Boolean(place) && t >= place.first && t <= place.last);
      }
    }
    // What is the same stays, or a button would be gone between being pressed and let go.
    const print = JSON.stringify([place, place === state.chosen, Boolean(state.hovered), state.dragged, state.first, state.last, view.total]);
    if (print === this.inspected) return;
    this.inspected = print;
    const onPart = ({ first, last, features }) => this.choose({ first, last, row: features.length === data.features.length ? null : this.rowOf(features[0]) });
    if (place) {
      const facts = factsOf(data, this.arrays, place);
      const isAll = place.first === state.first && place.last === state.last;
      const pinned = place === state.chosen;
      showFacts(parts.inspector, data, facts, {
        kicker: state.dragged ? (state.dragged.zooms ? "Zoom to" : "Choose") : pinned ? "Chosen" : state.hovered ? "Under the pointer" : "Under the cursor",
        onPart,
        onZoom: pinned && !isAll && data.steps > 1 ? () => this.go(place) : null,
        onClear: pinned ? () => this.choose(null) : null,
      });
    } else {
      const sums = data.features.map((_, f) => sumOf(this.arrays, state.first, state.last, [f]));
      const parts4 = data.tokens
        ? strongestOf(this.arrays.attribution.subarray(state.first, state.last + 1), 5).map(({ key, amount }) => ({
            label: data.tokens[state.first + key], amount, first: state.first + key, last: state.first + key, features: [0],
          }))
        : strongestOf(sums, 5).map(({ key, amount }) => ({ label: data.features[key].name, amount, first: state.first, last: state.last, features: [key] }));
      showWhole(parts.inspector, data, { visible: view.total, first: state.first, last: state.last, parts: data.features.length > 1 || data.tokens ? parts4 : [], onPart });
    }
  }

  frameOf(name, place, isBand) {
    const { data, parts, size, view } = this;
    const box = parts.over.querySelector(name);
    const out = !place || data.tokens || place.last < this.state.first || place.first > this.state.last;
    box.style.display = out ? "none" : "";
    if (out) return;
    const r = place.row ? view.rows.findIndex((row) => row === place.row || (row.features.length === place.row.features.length && row.features[0] === place.row.features[0])) : -1;
    const left = Math.max(0, this.scale.left(place.first));
    const right = Math.min(size.plot, this.scale.left(place.last + 1));
    const top = r < 0 ? (isBand ? size.linesTop : size.totalsTop) : size.heatTop + r * size.row;
    const bottom = r < 0 ? size.heatTop + size.heat : top + size.row;
    Object.assign(box.style, { left: `${left}px`, width: `${right - left}px`, top: `${top}px`, height: `${bottom - top}px` });
  }

  leave() {
    this.tellView.stop();
    this.tellChosen.stop();
    this.resized.disconnect();
    window.removeEventListener("resize", this.onWindow);
    this.dark.removeEventListener("change", this.onDark);
    cancelAnimationFrame(this.frame);
  }
}

const stages = new WeakMap();

/** Show a scene in an element; called again with other data, the stage there changes. Returns how it is taken away. */
export default function mount({ data, parentElement, setStateValue }) {
  let stage = stages.get(parentElement);
  if (!stage) {
    const root = part("section", { name: "stage", "data-testid": "stage" });
    parentElement.append(root);
    stage = new Stage(root);
    stages.set(parentElement, stage);
  }
  stage.take({ data, setStateValue });
  return () => {
    stage.leave();
    stage.root.remove();
    stages.delete(parentElement);
  };
}
