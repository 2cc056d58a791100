// The stage: one result on one screen. `mount` puts it into an element and keeps it up to date.

import { brushOf } from "./brush.js";
import { isDark, shadesOf } from "./colours.js";
import { factsOf, spoken } from "./facts.js";
import { columnAround, widen } from "./margins.js";
import { mark } from "./marking.js";
import { paint } from "./painting.js";
import { part, patient } from "./parts.js";
import { keyed, pointing, wheeling } from "./reach.js";
import { skeletonOf } from "./skeleton.js";
import { arraysOf, columnsOf, limitOf, overviewOf, rowsOf, strongestOf, viewOf, within } from "./view.js";

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
    this.onWindow = () => {
      widen(this.column, this.data?.paged);
      this.redraw();
    };
    window.addEventListener("resize", this.onWindow);
    this.dark = window.matchMedia("(prefers-color-scheme: dark)");
    const redress = () => this.data && this.themed() !== root.dataset.theme && this.dress();
    this.onDark = () => setTimeout(redress, SETTLED); // when the page around has changed
    this.dark.addEventListener("change", this.onDark);
    root.addEventListener("pointerenter", redress);
  }

  /** Take data from Python: another scene is built anew, the same one only changes its colours. */
  take({ data, setStateValue, setTriggerValue }) {
    this.tell = setStateValue;
    this.ask = setTriggerValue;
    const before = this.data;
    const arrays = ["attribution", "value", "baseline"]; // megabytes, which are compared and not copied
    const print = JSON.stringify({ ...data, theme: 0, colours: 0, dimmed: 0, below: 0, view: 0, attribution: 0, value: 0, baseline: 0 });
    const isNew = print !== this.print || arrays.some((name) => data[name] !== before[name]);
    this.data = data;
    this.print = print;
    if (isNew) this.build(before);
    if (!data.dimmed) {
      const given = JSON.stringify(data.view ?? null);
      if (given !== (this.given ?? "null")) Object.assign(this.state, this.fitting(data.view ?? {}));
      this.given = given;
    }
    if (isNew && before) this.tellView({ first: this.state.first, last: this.state.last });
    this.root.classList.toggle("paged", Boolean(data.paged));
    this.column = columnAround(this.root);
    widen(this.column, data.paged);
    this.root.classList.toggle("below", Boolean(data.below));
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
    this.brush = data.steps > 1 ? brushOf(data, this.overview, () => this.state, (view) => this.go(view)) : null;
    this.parts = skeletonOf(this.root, data, this.state, {
      range: (range) => this.showRange(range),
      matters: () => this.go({ first: data.matters[0], last: data.matters[1] }),
      whole: () => this.whole(),
      drag: () => this.toggle("dragZooms", "tool-drag"),
      contrast: (kind) => this.set({ contrast: kind }),
      rows: (rows) => this.arrange(rows),
      table: () => this.toggle("table", "tool-as-table"),
      takeAway: () => this.ask("take_away", this.lookedAt()),
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

  /** What a picture of it is to show. */
  lookedAt() {
    const { first, last, contrast, rows, open } = this.state;
    const groups = rows === "given" ? this.data.features.map((feature) => feature.group) : [...open];
    return { first, last, contrast, groups, unfolded: rows !== "fold" };
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

  /** Another view of the sequence; the cursor stays on its step, or at the end next to it. */
  go({ first, last }) {
    const view = this.fitting({ first, last });
    if (view.first === this.state.first && view.last === this.state.last) return;
    this.settle();
    const { cursor } = this.state;
    const step = cursor && this.view.first[cursor.column];
    this.set({ ...view, hovered: null });
    if (cursor) this.state.cursor = { row: cursor.row, column: this.columnOf(step) };
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

  /** The visible column that has a step, or the one next to it. */
  columnOf(step) {
    const { first } = columnsOf(this.state.first, this.state.last, this.most);
    return Math.max(0, first.findLastIndex((start) => start <= step));
  }

  /** The visible cell that moved most. */
  strongest() {
    const [{ key }] = [...strongestOf(this.view.cells, 1), { key: 0 }];
    return { row: Math.floor(key / this.view.first.length), column: key % this.view.first.length };
  }

  moveTo(cursor) {
    this.state.cursor = cursor;
    paint(this);
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

  /** The theme of the page around, which may have changed since Python was asked; "auto" has no such page. */
  themed() {
    const page = getComputedStyle(this.root).getPropertyValue("--st-background-color").trim();
    if (page) return isDark(page) ? "dark" : "light";
    return this.data.theme === "auto" ? (this.dark.matches ? "dark" : "light") : this.data.theme;
  }

  /** Colours of the theme. */
  dress() {
    const { data } = this;
    const theme = this.themed();
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
      if (this.stale) paint(this);
      else mark(this);
    });
  }

  /** Draw now what waits for the next frame: a key acts on what the keys before it made. */
  settle() {
    if (this.stale) paint(this);
  }

  leave() {
    this.tellView.stop();
    this.tellChosen.stop();
    widen(this.column, false);
    this.resized.disconnect();
    window.removeEventListener("resize", this.onWindow);
    this.dark.removeEventListener("change", this.onDark);
    cancelAnimationFrame(this.frame);
  }
}

const stages = new WeakMap();

/** Show a scene in an element; called again with other data, the stage there changes. Returns how it is taken away. */
export default function mount({ data, parentElement, setStateValue, setTriggerValue }) {
  let stage = stages.get(parentElement);
  if (!stage) {
    const root = part("section", { name: "stage", "data-testid": "stage" });
    parentElement.append(root);
    stage = new Stage(root);
    stages.set(parentElement, stage);
  }
  stage.take({ data, setStateValue, setTriggerValue });
  return () => {
    stage.leave();
    stage.root.remove();
    stages.delete(parentElement);
  };
}
