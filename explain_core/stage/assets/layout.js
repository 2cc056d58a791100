// How large the parts of the picture are: everything on one screen, whatever its size.

const NARROW = 760; // pixels of width below which the inspector goes under the picture
const OPEN = 4; // letters that the button to open a row takes
const BESIDE = 20; // letters of a value and its baseline, under a name without time
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
  const longest = Math.max(...rows.map((row) => row.label.length + (row.kind === "feature" ? 0 : OPEN)), ...data.order.slice(0, 4).map((f) => data.features[f].name.length));
  const letters = data.steps > 1 ? longest : Math.max(longest, BESIDE);
  const label = data.tokens ? 84 : Math.round(Math.max(90, Math.min(0.24 * whole, 180, 14 + 6.7 * letters)));
  const right = Math.round(Math.max(92, Math.min(150, 0.17 * whole)));
  const plot = whole - label - right;
  const room = roomOf(root, parts, narrow);

  const hasTime = data.steps > 1;
  const flat = !hasTime && !data.tokens;
  const lines = flat || data.tokens ? 0 : Math.min(4, data.features.length);
  const fixed = (lines ? CAPTION : 0) + (hasTime ? AXIS + BRUSH + 2 * GAP : 0) + FOOT + GAP;
  const left = room - fixed;
  const totals = hasTime ? Math.round(Math.max(40, Math.min(72, 0.14 * left))) : 0;
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
    linesTop, totalsTop, heatTop: totalsTop + totals + (hasTime ? GAP : 0),
  };
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
