// The whole sequence in small, with a window that is dragged, stretched and moved by keys.

import { part, sized } from "./parts.js";
import { within } from "./view.js";

/** Make the brush; `now()` is what is visible, `go({first, last})` asks for another. Returns its element and `draw`. */
export function brushOf(data, overview, now, go) {
  const T = data.steps;
  const canvas = part("canvas", { "aria-hidden": "true" });
  const shades = [part("div", { name: "shade" }), part("div", { name: "shade" })];
  const pane = part("div", { name: "pane" });
  const handles = ["First visible timestep", "Last visible timestep"].map((label, i) =>
    part("div", {
      name: `handle ${i ? "end" : "start"}`, role: "slider", tabindex: "0", "aria-label": label,
      "aria-valuemin": "1", "aria-valuemax": String(T), "aria-orientation": "horizontal", "data-testid": `brush-${i ? "end" : "start"}`,
    }),
  );
  const box = part("div", { name: "brush", "data-testid": "brush" }, canvas, ...shades, pane, ...handles);
  let [width, begun] = [1, null];

  const stepOf = (event) => ((event.clientX - box.getBoundingClientRect().left) / width) * T;
  box.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    const [view, at] = [now(), stepOf(event)];
    const handle = handles.indexOf(event.target);
    const kind = handle >= 0 ? ["start", "end"][handle] : event.target === pane && view.last - view.first + 1 < T ? "pan" : "new";
    begun = { kind, at, first: view.first, last: view.last };
    box.setPointerCapture(event.pointerId);
    if (handle >= 0) handles[handle].focus();
    event.preventDefault();
  });
  box.addEventListener("pointermove", (event) => {
    if (!begun) return;
    const at = Math.max(0, Math.min(T, stepOf(event)));
    const by = Math.round(at - begun.at);
    if (begun.kind === "pan") go(within(begun.first + by, begun.last + by, T));
    else if (begun.kind === "start") go({ first: Math.min(Math.max(0, begun.first + by), begun.last), last: begun.last });
    else if (begun.kind === "end") go({ first: begun.first, last: Math.max(Math.min(T - 1, begun.last + by), begun.first) });
    else if (Math.abs(at - begun.at) * (width / T) > 4) {
      const [from, to] = [Math.min(at, begun.at), Math.max(at, begun.at)];
      go({ first: Math.floor(from), last: Math.min(T - 1, Math.max(Math.floor(from), Math.ceil(to) - 1)) });
    }
  });
  const ended = () => (begun = null);
  box.addEventListener("pointerup", ended);
  box.addEventListener("pointercancel", ended);
  box.addEventListener("dblclick", () => go({ first: 0, last: T - 1 }));

  handles.forEach((handle, i) =>
    handle.addEventListener("keydown", (event) => {
      const view = now();
      const far = Math.max(1, Math.round(T / 10));
      const by = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -far, PageUp: far, Home: -T, End: T }[event.key];
      if (by === undefined) return;
      event.preventDefault();
      if (event.shiftKey) go(within(view.first + by, view.last + by, T));
      else if (i) go({ first: view.first, last: Math.max(view.first, Math.min(T - 1, view.last + by)) });
      else go({ first: Math.min(view.last, Math.max(0, view.first + by)), last: view.last });
    }),
  );

  const draw = (first, last, wide, height, ink) => {
    width = wide;
    const pen = sized(canvas, wide, height);
    const run = Math.max(1, Math.ceil(T / wide));
    let most = 0;
    const tall = [];
    for (let t = 0; t < T; t += run) {
      let high = 0;
      for (let i = t; i < Math.min(T, t + run); i++) high = Math.max(high, overview[i]);
      tall.push(high);
      most = Math.max(most, high);
    }
    pen.fillStyle = ink.muted; // heights by their square root, so that small ones are seen as well
    const one = (wide * run) / T;
    const gap = one > 4 ? 1 : 0;
    tall.forEach((size, i) => {
      const h = most ? Math.max(size ? 1 : 0, Math.sqrt(size / most) * (height - 6)) : 0;
      pen.fillRect(i * one + gap / 2, height - h, one - gap, h);
    });
    const [left, right] = [(first / T) * wide, ((last + 1) / T) * wide];
    Object.assign(shades[0].style, { left: "0", width: `${left}px` });
    Object.assign(shades[1].style, { left: `${right}px`, width: `${wide - right}px` });
    Object.assign(pane.style, { left: `${left}px`, width: `${right - left}px` });
    pane.classList.toggle("whole", last - first + 1 === T);
    handles[0].style.left = `${left}px`;
    handles[1].style.left = `${right}px`;
    [first, last].forEach((t, i) => {
      handles[i].setAttribute("aria-valuenow", String(t + 1));
      handles[i].setAttribute("aria-valuetext", data.time.texts[t]);
    });
  };
  return { box, draw };
}
