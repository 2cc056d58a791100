// Small parts that the stage is put together from. Texts always go in as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element with a class, text, attributes and children. */
export function part(tag, { name = "", text, ...attributes } = {}, ...children) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter(Boolean));
  return made;
}

const PATHS = {
  focus: "M3 8V4a1 1 0 0 1 1-1h4M16 3h4a1 1 0 0 1 1 1v4M21 16v4a1 1 0 0 1-1 1h-4M8 21H4a1 1 0 0 1-1-1v-4M8 12h8M12 8v8",
  whole: "M3 5v14M21 5v14M7 12h10M10 8l-4 4 4 4M14 8l4 4-4 4",
  table: "M4 5h16v14H4zM4 10h16M4 14.5h16M10 5v14",
  picture: "M4 5h16v14H4zM4 10h5V5M9 10h6v5H9zM15 15h5",
  download: "M12 4v11M7 10.5l5 5 5-5M4 20h16",
  check: "M5 12.5l4.5 4.5L19 7.5",
  warning: "M12 4l9 16H3zM12 10v4M12 17v.5",
  close: "M6 6l12 12M18 6L6 18",
  drag: "M4 8v8M20 8v8M8 12h8M8 12l2-2M8 12l2 2M16 12l-2-2M16 12l-2 2",
};

/** A small drawing beside a label. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

export function button(label, { name = "quiet", drawing, title, pressed, testid, onclick } = {}) {
  const made = part("button", { name, type: "button", title, "data-testid": testid, "aria-pressed": pressed });
  if (drawing) made.append(icon(drawing));
  made.append(part("span", { text: label }));
  made.addEventListener("click", onclick);
  return made;
}

/** Choices of which one holds, as a menu with its label. */
export function menu(label, choices, value, { testid, onchange }) {
  const select = part("select", { "aria-label": label, "data-testid": testid });
  for (const [key, text] of choices) select.append(part("option", { value: key, text }));
  select.value = value;
  select.addEventListener("change", () => onchange(select.value));
  return part("label", { name: "menu" }, part("span", { text: label }), select);
}

/** Text with **strong** parts. */
export function marked(text) {
  return text.split("**").map((piece, i) => (i % 2 ? part("strong", { text: piece }) : document.createTextNode(piece)));
}

/** Make a canvas so large on the screen, sharp at every density; returns what to draw with, cleared. */
export function sized(canvas, width, height) {
  const density = window.devicePixelRatio || 1;
  const [w, h] = [Math.max(1, Math.round(width * density)), Math.max(1, Math.round(height * density))];
  if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const pen = canvas.getContext("2d");
  pen.setTransform(density, 0, 0, density, 0, 0);
  pen.globalAlpha = 1;
  pen.clearRect(0, 0, width, height);
  return pen;
}

/** Put off until calls have stopped for a while; `.now()` does not wait. */
export function patient(act, milliseconds) {
  let timer = null;
  let given = null;
  const run = () => {
    if (timer === null) return;
    clearTimeout(timer);
    timer = null;
    act(...given);
  };
  const wait = (...args) => {
    clearTimeout(timer);
    given = args;
    timer = setTimeout(run, milliseconds);
  };
  wait.now = run;
  wait.stop = () => clearTimeout(timer);
  return wait;
}
