// The input as lines, with its baseline dotted behind, a strip for each feature.

import { sized } from "./parts.js";

/** The smallest and largest of values and baselines that are visible. */
export function rangeOf(arrays, feature, first, last) {
  let [low, high] = [Infinity, -Infinity];
  for (let t = first; t <= last; t++) {
    for (const each of [arrays.value[t * arrays.F + feature], arrays.baseline[t * arrays.F + feature]]) {
      if (each < low) low = each;
      if (each > high) high = each;
    }
  }
  return low <= high ? { low, high } : null;
}

/** Draw one strip; with more steps than pixels a column shows its smallest and largest value. */
export function drawStrip(canvas, arrays, feature, view, scale, range, width, height, ink) {
  const pen = sized(canvas, width, height);
  if (!range) return;
  const pad = 6;
  const span = range.high - range.low;
  const y = (value) => (span ? pad + ((range.high - value) / span) * (height - 2 * pad) : height / 2);
  const [first, last] = [view.first[0], view.last[view.last.length - 1]];
  pen.lineJoin = "round";
  pen.strokeStyle = ink.muted;
  pen.lineWidth = 1.25;
  pen.setLineDash([2, 3]);
  line(pen, arrays.baseline, arrays.F, feature, first, last, scale, y);
  pen.setLineDash([]);
  pen.strokeStyle = ink.text;
  pen.lineWidth = scale.step < 2 ? 1 : 1.5;
  line(pen, arrays.value, arrays.F, feature, first, last, scale, y);
  if (last - first < 1 || scale.step > 26) {
    pen.fillStyle = ink.text;
    for (let t = first; t <= last; t++) dot(pen, scale.middle(t), y(arrays.value[t * arrays.F + feature]));
  }
}

function line(pen, values, F, feature, first, last, scale, y) {
  pen.beginPath();
  if (scale.step >= 0.5) {
    let drawing = false;
    for (let t = first; t <= last; t++) {
      const value = values[t * F + feature];
      if (!Number.isFinite(value)) drawing = false;
      else if (drawing) pen.lineTo(scale.middle(t), y(value));
      else {
        drawing = true;
        if (t === first) pen.moveTo(scale.left(t), y(value));
        else pen.moveTo(scale.middle(t), y(value));
        pen.lineTo(scale.middle(t), y(value));
      }
    }
    const end = values[last * F + feature];
    if (Number.isFinite(end)) pen.lineTo(scale.left(last + 1), y(end));
  } else {
    const run = Math.ceil(1 / scale.step);
    for (let start = first; start <= last; start += run) {
      let [low, high] = [Infinity, -Infinity];
      for (let t = start; t < Math.min(start + run, last + 1); t++) {
        low = Math.min(low, values[t * F + feature]);
        high = Math.max(high, values[t * F + feature]);
      }
      if (!Number.isFinite(low + high)) continue;
      const x = scale.middle(start + run / 2 - 0.5);
      pen.lineTo(x, y(high));
      pen.lineTo(x, y(low));
    }
  }
  pen.stroke();
}

function dot(pen, x, y) {
  if (!Number.isFinite(y)) return;
  pen.beginPath();
  pen.arc(x, y, 2.2, 0, 2 * Math.PI);
  pen.fill();
}
