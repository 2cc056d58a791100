// Colours of cells: a diverging scale whose middle is zero, and how an amount becomes a place on it.

const SHADES = 512;

function rgbOf(colour) {
  const hex = colour.slice(1);
  return [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16));
}

/** A table of 2 * SHADES + 1 colours, from the one that lowers most to the one that raises most. */
export function shadesOf(scale) {
  const table = new Uint8ClampedArray(4 * (2 * SHADES + 1));
  const stops = scale.map(([at, colour]) => [at, rgbOf(colour)]);
  for (let i = 0; i <= 2 * SHADES; i++) {
    const at = i / (2 * SHADES);
    let k = 1;
    while (k < stops.length - 1 && stops[k][0] < at) k++;
    const [from, a] = stops[k - 1];
    const [to, b] = stops[k];
    const part = Math.min(1, Math.max(0, (at - from) / (to - from)));
    for (let c = 0; c < 3; c++) table[4 * i + c] = a[c] + part * (b[c] - a[c]);
    table[4 * i + 3] = 255;
  }
  return table;
}

/** Where an amount stands on the scale, from -1 to 1. */
export function placeOf(amount, contrast) {
  const part = Math.min(1, Math.abs(amount) / contrast.limit);
  return Math.sign(amount) * (contrast.kind === "root" ? Math.sqrt(part) : part);
}

export function shadeAt(place) {
  return Math.round((place + 1) * SHADES);
}

export function cssOf(shades, at) {
  return `rgb(${shades[4 * at]},${shades[4 * at + 1]},${shades[4 * at + 2]})`;
}

/** How much light a colour gives, from 0 to 1. */
function lightOf(rgb) {
  const [r, g, b] = rgb.map((value) => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** Whether a page of this colour, "#rrggbb" or "rgb(...)", is a dark one. */
export function isDark(colour) {
  return lightOf(colour.startsWith("#") ? rgbOf(colour) : colour.match(/[\d.]+/g).slice(0, 3).map(Number)) < 0.179;
}

/** Black or white, whichever is read better on the colour: at least 4.5 to 1. */
export function inkOn(shades, at) {
  return lightOf([0, 1, 2].map((c) => shades[4 * at + c])) > 0.179 ? "#000000" : "#ffffff";
}
