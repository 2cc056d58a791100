// What is visible of a scene, as pure functions; explain_core/stage/view.py says the same in Python.

import { counted } from "./numbers.js";

/** Little-endian float64 from base64. */
export function decoded(text) {
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
  const view = new DataView(bytes.buffer);
  const numbers = new Float64Array(bytes.length / 8);
  for (let i = 0; i < numbers.length; i++) numbers[i] = view.getFloat64(8 * i, true);
  return numbers;
}

/** The arrays of a scene, (T, F) row by row, and running sums of the attribution over time, (T + 1, F). */
export function arraysOf(data) {
  const [T, F] = [data.steps, data.features.length];
  const attribution = decoded(data.attribution);
  const running = new Float64Array((T + 1) * F);
  for (let i = 0; i < T * F; i++) running[i + F] = running[i] + attribution[i];
  return { T, F, attribution, running, value: decoded(data.value), baseline: decoded(data.baseline) };
}

/**
 * The rows from top to bottom: `{label, features, kind, group}` with kind "feature", "group" or "rest".
 *
 * `openGroups` is a Set of names; `unfolded` gives every feature a row; `given` keeps the features in the file's order.
 */
export function rowsOf(data, { openGroups = new Set(), unfolded = false, given = false } = {}) {
  const order = given ? data.features.map((_, i) => i) : data.order;
  const named = (i) => data.features[i].name;
  const rows = [];
  const placed = new Set();
  for (const feature of unfolded || given ? order : order.slice(0, data.fold_after)) {
    if (placed.has(feature)) continue;
    const group = data.features[feature].group;
    const together = group === null ? [feature] : order.filter((i) => data.features[i].group === group);
    for (const each of together) placed.add(each);
    if (group !== null && !openGroups.has(group)) {
      rows.push({ label: group, features: together, kind: "group", group });
    } else {
      for (const each of together) rows.push({ label: named(each), features: [each], kind: "feature", group });
    }
  }
  const rest = order.filter((i) => !placed.has(i));
  if (rest.length > 1) {
    rows.push({ label: counted(rest.length, "more feature"), features: rest, kind: "rest", group: null });
  } else if (rest.length) {
    rows.push({ label: named(rest[0]), features: rest, kind: "feature", group: null });
  }
  return rows;
}

/** First and last step of each column, runs of ceil(steps / columns) counted from `first`; `steps` is that of a run. */
export function columnsOf(first, last, columns) {
  const steps = Math.ceil((last - first + 1) / columns);
  const count = Math.ceil((last - first + 1) / steps);
  const starts = Int32Array.from({ length: count }, (_, i) => first + i * steps);
  const ends = starts.map((start) => Math.min(start + steps - 1, last));
  return { first: starts, last: ends, steps };
}

/** The sum of a run of steps of some features. */
export function sumOf(arrays, first, last, features) {
  let sum = 0;
  for (const f of features) {
    sum += first === last ? arrays.attribution[first * arrays.F + f] : runOf(arrays, first, last, f);
  }
  return sum;
}

function runOf({ running, F }, first, last, f) {
  return running[(last + 1) * F + f] - running[first * F + f];
}

/** `cells` (R, C) row by row, `rowTotals` (R), `columnTotals` (C) and `total` of what is visible. */
export function viewOf(arrays, rows, first, last, columns) {
  const at = columnsOf(first, last, columns);
  const [C, R] = [at.first.length, rows.length];
  const cells = new Float64Array(R * C);
  const rowTotals = new Float64Array(R);
  const columnTotals = new Float64Array(C);
  let total = 0;
  for (let r = 0; r < R; r++) {
    for (let c = 0; c < C; c++) {
      const sum = sumOf(arrays, at.first[c], at.last[c], rows[r].features);
      cells[r * C + c] = sum;
      columnTotals[c] += sum;
      rowTotals[r] += sum;
    }
    total += rowTotals[r];
  }
  return { rows, first: at.first, last: at.last, steps: at.steps, cells, rowTotals, columnTotals, total };
}

/** The mean over a run of steps of one feature's values or baselines; NaN where any is not known. */
export function meanOf(values, F, first, last, feature) {
  let sum = 0;
  for (let t = first; t <= last; t++) sum += values[t * F + feature];
  return sum / (last - first + 1);
}

/** |total| of every step, (T). */
export function overviewOf({ attribution, T, F }) {
  const found = new Float64Array(T);
  for (let t = 0; t < T; t++) {
    let sum = 0;
    for (let f = 0; f < F; f++) sum += attribution[t * F + f];
    found[t] = Math.abs(sum);
  }
  return found;
}

/** The amount of the full colour: the largest, or for "robust" the 99th percentile of those that are not zero. */
export function limitOf(cells, kind) {
  const amounts = cells.map(Math.abs).filter((amount) => amount > 0);
  if (!amounts.length) return 1;
  if (kind !== "robust") return amounts.reduce((most, amount) => Math.max(most, amount), 0);
  amounts.sort();
  return amounts[Math.floor(0.99 * (amounts.length - 1))];
}

/** Features (or steps) by the size of what they moved within a run: `[{key, amount}]`, strongest first. */
export function strongestOf(amounts, most) {
  const order = Array.from(amounts, (amount, key) => ({ key, amount }));
  order.sort((a, b) => Math.abs(b.amount) - Math.abs(a.amount));
  return order.slice(0, most).filter((each) => each.amount !== 0);
}

/** A view within the sequence, at least one step long. */
export function within(first, last, T) {
  const length = Math.max(1, Math.min(T, Math.round(last) - Math.round(first) + 1));
  const start = Math.max(0, Math.min(T - length, Math.round(first)));
  return { first: start, last: start + length - 1 };
}
