// The cells of the heatmap.

import { placeOf, shadeAt } from "./colours.js";
import { sized } from "./parts.js";

const ROOMY = 5; // pixels of a cell from which on cells stand apart

/** Draw every cell; cells stand apart by a pixel where they are large enough. */
export function drawCells(canvas, view, scale, rowHeight, width, height, shades, contrast) {
  const pen = sized(canvas, width, height);
  const [C, R] = [view.first.length, view.rows.length];
  if (scale.step * view.steps >= ROOMY && rowHeight >= ROOMY) {
    for (let r = 0; r < R; r++) {
      for (let c = 0; c < C; c++) {
        const at = 4 * shadeAt(placeOf(view.cells[r * C + c], contrast));
        pen.fillStyle = `rgb(${shades[at]},${shades[at + 1]},${shades[at + 2]})`;
        const left = scale.left(view.first[c]);
        pen.fillRect(left + 0.5, r * rowHeight + 0.5, scale.left(view.last[c] + 1) - left - 1, rowHeight - 1);
      }
    }
    return;
  }
  const small = document.createElement("canvas");
  [small.width, small.height] = [C, R];
  const picture = new ImageData(C, R);
  for (let i = 0; i < R * C; i++) {
    const at = 4 * shadeAt(placeOf(view.cells[i], contrast));
    picture.data.set(shades.subarray(at, at + 4), 4 * i);
  }
  small.getContext("2d").putImageData(picture, 0, 0);
  pen.imageSmoothingEnabled = false;
  const full = scale.step * view.steps * C; // a last column of fewer steps goes on beyond the edge
  pen.drawImage(small, 0, 0, full, height);
}
