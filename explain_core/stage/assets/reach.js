// Pointer and keys on the picture: what is pointed at, chosen, dragged over, zoomed.

import { columnsOf, within } from "./view.js";

const FAR = 10; // columns that a page key goes

/** Let a panel answer the pointer. `placeAt(event)` is `{first, last, row}` under it or null. */
export function pointing(panel, stage, placeAt, { drags = true } = {}) {
  let begun = null;
  panel.addEventListener("pointermove", (event) => {
    const place = placeAt(event);
    if (begun && place) {
      if (Math.abs(event.clientX - begun.x) > 4) begun.moved = true;
      if (begun.moved) stage.drag(spanned(begun.place, place), begun.zooms);
    } else if (event.pointerType !== "touch") stage.hover(place);
  });
  panel.addEventListener("pointerleave", () => begun || stage.hover(null));
  panel.addEventListener("pointerdown", (event) => {
    const place = placeAt(event);
    if (event.button || !place) return;
    begun = { x: event.clientX, place, moved: false, zooms: event.shiftKey || stage.state.dragZooms };
    if (drags) panel.setPointerCapture(event.pointerId);
  });
  panel.addEventListener("pointerup", (event) => {
    if (!begun) return;
    const [{ place, moved, zooms }, end] = [begun, placeAt(event)];
    begun = null;
    if (!moved || !drags) stage.choose(place);
    else if (zooms) stage.zoomTo(spanned(place, end ?? place));
    else stage.choose(spanned(place, end ?? place));
    stage.drag(null);
  });
  panel.addEventListener("pointercancel", () => {
    begun = null;
    stage.drag(null);
  });
}

/** The run of steps from one place to another; of one row where both are in it. */
function spanned(a, b) {
  return { first: Math.min(a.first, b.first), last: Math.max(a.last, b.last), row: a.row && a.row === b.row ? a.row : null };
}

/** Zoom by wheel with Ctrl around the pointer; sideways wheel moves what is visible. */
export function wheeling(panel, stage, stepAt) {
  panel.addEventListener(
    "wheel",
    (event) => {
      const { first, last } = stage.state;
      const T = stage.data.steps;
      if (event.ctrlKey || event.metaKey) {
        event.preventDefault();
        stage.zoomBy(Math.exp(Math.max(-50, Math.min(50, event.deltaY)) * 0.01), stepAt(event));
      } else if ((event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) && last - first + 1 < T) {
        event.preventDefault();
        const by = ((event.deltaX || event.deltaY) / panel.clientWidth) * (last - first + 1);
        stage.go(within(first + (Math.abs(by) < 1 ? Math.sign(by) : by), last + (Math.abs(by) < 1 ? Math.sign(by) : by), T));
      }
    },
    { passive: false },
  );
}

/** Move the cell cursor by keys, choose, clear and zoom. */
export function keyed(grid, stage) {
  let anchor = null; // where a range by Shift began
  grid.addEventListener("keydown", (event) => {
    stage.settle();
    const { state, view } = stage;
    const [C, R] = [view.first.length, view.rows.length];
    const cursor = state.cursor ?? { row: 0, column: 0 };
    const jump = { ArrowLeft: -1, ArrowRight: 1, PageUp: -FAR, PageDown: FAR }[event.key];
    const climb = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    const place = stage.placeOf(cursor);
    let to = null;
    if (jump !== undefined) to = { row: cursor.row, column: cursor.column + jump };
    else if (climb !== undefined) to = { row: cursor.row + climb, column: cursor.column };
    else if (event.key === "Home") to = { row: event.ctrlKey ? 0 : cursor.row, column: 0 };
    else if (event.key === "End") to = { row: event.ctrlKey ? R - 1 : cursor.row, column: C - 1 };
    else if (event.key === "Enter") stage.choose(event.shiftKey ? { first: state.first, last: state.last, row: place.row } : place);
    else if (event.key === " ") stage.choose({ ...place, row: null });
    else if (event.key === "Escape") stage.choose(null);
    else if (event.key === "+" || event.key === "=") stage.zoomBy(0.5, view.first[cursor.column]);
    else if (event.key === "-") stage.zoomBy(2, view.first[cursor.column]);
    else if (event.key === "0") stage.whole();
    else if (event.key === "o" && place.row.kind !== "feature") stage.openRow(place.row);
    else return;
    event.preventDefault();
    if (to ? !event.shiftKey : ["Enter", " ", "Escape"].includes(event.key)) anchor = null; // a range begins anew
    if (!to) return;
    if (event.shiftKey) anchor ??= place;
    if (to.column < 0 && state.first > 0) stage.go(within(state.first - view.steps, state.last - view.steps, stage.data.steps));
    if (to.column >= C && state.last < stage.data.steps - 1) stage.go(within(state.first + view.steps, state.last + view.steps, stage.data.steps));
    const last = columnsOf(stage.state.first, stage.state.last, stage.most).first.length - 1;
    stage.moveTo({ row: Math.max(0, Math.min(R - 1, to.row)), column: Math.max(0, Math.min(last, to.column)) });
    if (anchor) stage.choose({ ...spanned(anchor, stage.placeOf(stage.state.cursor)), row: anchor.row });
  });
  grid.addEventListener("focus", () => grid.matches(":focus-visible") && stage.moveTo(stage.state.cursor ?? stage.strongest()));
  grid.addEventListener("blur", (event) => {
    anchor = null;
    if (stage.state.cursor && !stage.parts.inspector.contains(event.relatedTarget)) stage.moveTo(null);
  });
}
