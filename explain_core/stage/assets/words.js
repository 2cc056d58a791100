// Words in reading order, each on the colour of what it moved.

import { cssOf, inkOn, placeOf, shadeAt } from "./colours.js";
import { part } from "./parts.js";

/** Fill a box with the visible words. */
export function showWords(box, data, arrays, first, last, shades, contrast) {
  box.replaceChildren();
  for (let t = first; t <= last; t++) {
    const at = shadeAt(placeOf(arrays.attribution[t], contrast));
    const word = part("span", { name: "word", text: data.tokens[t], "data-step": String(t) });
    Object.assign(word.style, { backgroundColor: cssOf(shades, at), color: inkOn(shades, at) });
    box.append(word, " ");
  }
}
