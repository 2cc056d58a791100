// How large the parts of the picture are: everything on one screen, whatever its size.

const NARROW = 760; // pixels of width below which the inspector goes under the picture
const OPEN = 30; // pixels that the button to open a row takes
const BESIDE = 134; // pixels of a value and its baseline, under a name without time
const LEAST = 380; // pixels of height that picture and brush need
const [CAPTION, AXIS, BRUSH, FOOT, GAP] = [18, 20, 34, 28, 6];

/** Widths and heights in pixels; null while the stage has no place on the page. */
export function measured({ root, parts, data, rows }) {
  const width = root.clientWidth;
  if (!width) return null;
  const narrow = width < NARROW;
  root.classList.toggle("narrow", narrow);
  const beside = narrow ? 0 : Math.round(Math.max(196, Math.min(270, 0.24 * width)));
  const whole = width - (beside ? beside + 20 : 0);
  const names = data.order.slice(0, 4).map((f) => data.features[f].name);
  const opened = rows.filter((row) => row.kind !== "feature").map((row) => row.label);
  const longest = Math.max(widest(root, [...rows.map((row) => row.label), ...names, data.time.label]), opened.length ? widest(root, opened) + OPEN : 0, data.steps > 1 ? 0 : BESIDE);
  const label = data.tokens ? 84 : Math.round(Math.max(90, Math.min(0.28 * whole, 260, 14 + longest)));
  const right = Math.round(Math.max(92, Math.min(150, 0.17 * whole)));
  const plot = whole - label - right;
  const room = roomOf(root, parts, narrow);

  const hasTime = data.steps > 1;
  const flat = !hasTime && !data.tokens;
  const lines = flat || data.tokens ? 0 : Math.min(4, data.features.length);
  const fixed = (lines ? CAPTION : 0) + (hasTime ? AXIS + BRUSH + 2 * GAP : 0) + FOOT + GAP;
  const left = room - fixed;
  const totals = hasTotals(data) ? Math.round(Math.max(40, Math.min(72, 0.14 * left))) : 0;
  const R = rows.length;
  const most = flat ? 46 : R < 4 ? 58 : Math.max(30, Math.min(46, (0.5 * left) / R));
  const forLines = lines ? Math.max(0.28 * left, Math.min(lines * (lines < 3 ? 110 : 60), left - totals - R * most - 2 * GAP)) : 0;
  const line = lines ? Math.floor(Math.min(lines === 1 ? 160 : 110, Math.max(20, forLines / lines))) : 0;
  const heatRoom = left - totals - lines * line - 2 * GAP;
  const row = data.tokens ? heatRoom : Math.max(1, Math.min(most, heatRoom / R));
  const rowFloor = row >= 6 ? Math.floor(row) : row;
  const heat = data.tokens ? heatRoom : rowFloor * R;

  const used = fixed + totals + lines * line + heat + 2 * GAP;
  const style = root.style;
  for (const [name, size] of Object.entries({ label, right, plot, beside, heat, brush: BRUSH, axis: AXIS, room: Math.max(LEAST, Math.min(room, used)) })) {
    style.setProperty(`--${name}`, `${Math.round(size)}px`);
  }
  const linesTop = lines ? CAPTION : 0;
  const totalsTop = linesTop + lines * line + (lines ? GAP : 0);
  return {
    plot, row: rowFloor, heat, totals, line, lines, brush: BRUSH, bars: Math.max(30, right - 70),
    linesTop, totalsTop, heatTop: totalsTop + totals + (totals ? GAP : 0),
  };
}

/** Whether each step has a bar of its own: for one feature it would say what the heatmap says. */
export function hasTotals(data) {
  return data.steps > 1 && (data.features.length > 1 || Boolean(data.tokens));
}

/** The width of the widest text as the label of a row, in the page's font: that of a report is another than the app's. */
function widest(root, texts) {
  const pen = document.createElement("canvas").getContext("2d");
  pen.font = `650 12px ${getComputedStyle(root).fontFamily}`;
  const long = [...texts].sort((a, b) => b.length - a.length).slice(0, 8); // of 1,000 others none is wider
  return Math.max(...long.map((text) => pen.measureText(text).width));
}

/** The height for picture and brush: what is left of the window, but not less than it needs. */
function roomOf(root, parts, narrow) {
  const above = parts.body.getBoundingClientRect().top - root.getBoundingClientRect().top;
  if (narrow) return 480;
  const top = root.getBoundingClientRect().top + scrolled(root);
  return Math.round(Math.max(LEAST, Math.min(900, window.innerHeight - top - above - 14)));
}

/** How far what holds the stage is scrolled, so that the room does not change with it. */
function scrolled(root) {
  let sum = 0;
  for (let each = root; each; each = each.parentNode ?? each.host) sum += each.scrollTop ?? 0;
  return sum;
}
