// What is pointed at, chosen or dragged over: frames in the picture, and its facts in the inspector.

import { factsOf } from "./facts.js";
import { showFacts, showWhole } from "./inspector.js";
import { strongestOf, sumOf } from "./view.js";

/** What is pointed at, chosen or dragged over: lines and frames in the picture, facts in the inspector. */
export function mark(stage) {
  const { data, state, parts, view } = stage;
  if (!view) return;
  const hot = state.dragged ?? state.hovered ?? (state.cursor && stage.placeOf(state.cursor));
  const place = isSame(hot, state.chosen) ? state.chosen : (hot ?? state.chosen);
  frameOf(stage, ".band", state.dragged ?? state.chosen, true);
  frameOf(stage, ".spot", state.hovered, false);
  frameOf(stage, ".cursor", state.cursor && stage.placeOf(state.cursor), false);
  const hair = parts.over.querySelector(".hair");
  const line = state.hovered && state.hovered.last - state.hovered.first < Math.max(1, view.steps) && data.steps > 1 && !data.tokens;
  hair.style.display = line ? "" : "none";
  if (line) Object.assign(hair.style, { top: `${stage.size.linesTop}px`, height: `${stage.size.heatTop + stage.size.heat - stage.size.linesTop}px` });
  if (line) hair.style.left = `${(stage.scale.left(state.hovered.first) + stage.scale.left(state.hovered.last + 1)) / 2}px`;
  for (const [i, label] of [...parts.labels.children].entries()) {
    const row = view.rows[i * Math.ceil(13 / stage.size.row)];
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
  if (print === stage.inspected) return;
  stage.inspected = print;
  const onPart = ({ first, last, features }) => stage.choose({ first, last, row: features.length === data.features.length ? null : stage.rowOf(features[0]) });
  if (place) {
    const facts = factsOf(data, stage.arrays, place);
    const isAll = place.first === state.first && place.last === state.last;
    const pinned = place === state.chosen;
    showFacts(parts.inspector, data, facts, {
      kicker: state.dragged ? (state.dragged.zooms ? "Zoom to" : "Choose") : pinned ? "Chosen" : state.hovered ? "Under the pointer" : "Under the cursor",
      onPart,
      onZoom: pinned && !isAll && data.steps > 1 ? () => stage.go(place) : null,
      onClear: pinned ? () => stage.choose(null) : null,
    });
  } else {
    const sums = data.features.map((_, f) => sumOf(stage.arrays, state.first, state.last, [f]));
    const parts4 = data.tokens
      ? strongestOf(stage.arrays.attribution.subarray(state.first, state.last + 1), 5).map(({ key, amount }) => ({
          label: data.tokens[state.first + key], amount, first: state.first + key, last: state.first + key, features: [0],
        }))
      : strongestOf(sums, 5).map(({ key, amount }) => ({ label: data.features[key].name, amount, first: state.first, last: state.last, features: [key] }));
    showWhole(parts.inspector, data, { visible: view.total, first: state.first, last: state.last, parts: data.features.length > 1 || data.tokens ? parts4 : [], onPart });
  }
}

function isSame(a, b) {
  return Boolean(a && b) && a.first === b.first && a.last === b.last && a.row === b.row;
}

function frameOf(stage, name, place, isBand) {
  const { data, parts, size, view } = stage;
  const box = parts.over.querySelector(name);
  const out = !place || data.tokens || place.last < stage.state.first || place.first > stage.state.last;
  box.style.display = out ? "none" : "";
  if (out) return;
  const [r, to] = rowsWithin(view, place.row);
  const left = Math.max(0, stage.scale.left(place.first));
  const right = Math.min(size.plot, stage.scale.left(place.last + 1));
  const top = r < 0 ? (isBand ? size.linesTop : size.totalsTop) : size.heatTop + r * size.row;
  const bottom = r < 0 ? size.heatTop + size.heat : size.heatTop + (to + 1) * size.row;
  Object.assign(box.style, { left: `${left}px`, width: `${right - left}px`, top: `${top}px`, height: `${bottom - top}px` });
}

/** The first and the last row of what was chosen, also of a group that was opened since; [-1, -1] for all features. */
function rowsWithin(view, row) {
  if (!row) return [-1, -1];
  const of = new Set(row.features);
  const inside = view.rows.flatMap((each, r) => (each.features.every((f) => of.has(f)) ? [r] : []));
  const [first, last] = [inside[0] ?? -1, inside[inside.length - 1] ?? -1];
  return last - first + 1 === inside.length ? [first, last] : [-1, -1];
}
