// Totals as bars: one for each column above the heatmap, one for each row beside it.

import { sized } from "./parts.js";

/** Bars from a zero line, up where they raise; returns the amounts at the top and the bottom. */
export function drawColumnTotals(canvas, view, scale, width, height, ink) {
  const pen = sized(canvas, width, height);
  let [high, low] = [0, 0];
  for (const total of view.columnTotals) [high, low] = [Math.max(high, total), Math.min(low, total)];
  const span = high - low || 1;
  const pad = 3;
  const zero = pad + ((high || (low ? 0 : 1)) / span) * (height - 2 * pad);
  const gap = Math.min(2, 0.2 * scale.step * view.steps);
  for (let c = 0; c < view.first.length; c++) {
    const left = scale.left(view.first[c]);
    const right = scale.left(view.last[c] + 1);
    const size = (view.columnTotals[c] / span) * (height - 2 * pad);
    pen.fillStyle = size < 0 ? ink.negative : ink.positive;
    const tall = size ? Math.max(Math.abs(size), 0.75) : 0;
    pen.fillRect(left + gap / 2, size < 0 ? zero : zero - tall, Math.max(right - left - gap, 0.75), tall);
  }
  pen.fillStyle = ink.muted;
  pen.globalAlpha = 0.5;
  pen.fillRect(0, Math.round(zero) - 0.5, width, 1);
  return { high, low };
}

/** Bars from a middle line, to the right where they raise. */
export function drawRowTotals(canvas, view, rowHeight, width, height, ink) {
  const pen = sized(canvas, width, height);
  let [high, low] = [0, 0];
  for (const total of view.rowTotals) [high, low] = [Math.max(high, total), Math.min(low, total)];
  const span = high - low || 1;
  const zero = 1 + (-low / span) * (width - 2);
  const tall = Math.max(1, Math.min(14, rowHeight - Math.min(6, 0.3 * rowHeight)));
  for (let r = 0; r < view.rows.length; r++) {
    const size = (view.rowTotals[r] / span) * (width - 2);
    pen.fillStyle = size < 0 ? ink.negative : ink.positive;
    const wide = size ? Math.max(Math.abs(size), 1) : 0;
    pen.fillRect(size < 0 ? zero - wide : zero, (r + 0.5) * rowHeight - tall / 2, wide, tall);
  }
  pen.fillStyle = ink.muted;
  pen.globalAlpha = 0.5;
  pen.fillRect(Math.round(zero) - 0.5, 0, 1, height);
}
