// The panel beside the picture: what is under the pointer or chosen, else the result as a whole.

import { number, share, signed } from "./numbers.js";
import { button, part } from "./parts.js";

/** Fill the inspector with the facts of a place in the picture. */
export function showFacts(box, data, facts, { kicker, onPart, onZoom, onClear }) {
  const sign = facts.amount < 0 ? "lowers" : facts.amount > 0 ? "raises" : "";
  box.replaceChildren(
    part("p", { name: "kicker", text: kicker }),
    part("h2", { text: data.tokens && !facts.isRun ? `\u201c${facts.what}\u201d` : facts.what, title: facts.what, "data-testid": "what" }),
    facts.when && part("p", { name: "when", text: facts.when, "data-testid": "when" }),
    part("p", { name: `amount ${sign}`, "data-testid": "moved" }, part("strong", { text: facts.moved })),
    part("p", { name: "share", text: `${facts.share} of all movement`, "data-testid": "share" }),
    pairs(facts.values),
    bars(facts.partsAre, facts.parts, data.unit, onPart),
    (onZoom || onClear) &&
      part(
        "div",
        { name: "actions" },
        onZoom && button("Zoom here", { name: "small", testid: "zoom-here", onclick: onZoom }),
        onClear && button("Clear", { name: "small", testid: "clear", onclick: onClear }),
      ),
  );
  tidy(box);
}

/** Fill the inspector with the result as a whole, and how much of it is visible. */
export function showWhole(box, data, { visible, first, last, parts, onPart }) {
  const change = data.prediction - data.baseline_prediction;
  const isPart = first > 0 || last < data.steps - 1;
  const noun = data.noun[0].toUpperCase() + data.noun.slice(1);
  const observed = typeof data.observed === "number" ? number(data.observed, data.unit) : data.observed;
  box.replaceChildren(
    part("p", { name: "kicker", text: noun }),
    part("p", { name: "amount", "data-testid": "prediction" }, part("strong", { text: number(data.prediction, data.unit) })),
    pairs(
      [
        [`Baseline ${data.noun}`, number(data.baseline_prediction, data.unit), "baseline-prediction"],
        ["Difference", signed(change, data.unit), "difference"],
        data.elsewhere ? ["From other inputs", signed(data.elsewhere, data.unit)] : null,
        observed ? ["What really happened", observed, "observed"] : null,
        isPart ? ["Visible here", `${signed(visible, data.unit)}${change ? ` (${share(visible / change)})` : ""}`, "visible"] : null,
      ].filter(Boolean),
    ),
    bars(data.tokens ? "Strongest words" : isPart ? "Strongest features here" : "Strongest features", parts, data.unit, onPart),
    data.note && part("p", { name: "hint", text: data.note, "data-testid": "baseline-note" }),
    part("p", { name: "hint", text: data.steps > 1 ? "Point at the picture, click a cell, or drag over a range." : "Point at a row, or click it." }),
  );
  tidy(box);
}

function pairs(list) {
  if (!list.length) return null;
  return part(
    "dl",
    {},
    ...list.map(([word, value, testid]) => part("div", {}, part("dt", { text: word }), part("dd", { text: value, "data-testid": testid }))),
  );
}

function bars(title, parts, unit, onPart) {
  if (!parts.length) return null;
  const most = Math.max(...parts.map((each) => Math.abs(each.amount)));
  const rows = parts.map((each) => {
    const bar = part("span", { name: `bar ${each.amount < 0 ? "lowers" : "raises"}` });
    bar.style.width = `${(100 * Math.abs(each.amount)) / most}%`;
    const row = part(
      "button",
      { name: "part", type: "button" },
      part("span", { name: "name", text: each.label, title: each.label }),
      part("span", { name: "size", text: signed(each.amount, unit) }),
      part("span", { name: "track" }, bar),
    );
    row.addEventListener("click", () => onPart(each));
    return part("li", {}, row);
  });
  return part("div", { name: "parts" }, part("h3", { text: title }), part("ul", {}, ...rows));
}

function tidy(box) {
  box.scrollTop = 0;
  for (const node of [...box.childNodes]) if (node.nodeType === 3) node.remove(); // "null" of what is not there
}
