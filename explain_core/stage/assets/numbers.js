// Numbers as people read them; the same rules as explain_core/words.py.

function general(value, digits) {
  if (value === 0) return "0";
  const exponent = Number(Math.abs(value).toExponential(digits - 1).split("e")[1]);
  if (exponent < -4 || exponent >= digits) {
    const [mantissa, power] = value.toExponential(digits - 1).split("e");
    return `${trimmed(mantissa)}e${power.replace("+", "")}`;
  }
  const [whole, part] = trimmed(value.toFixed(Math.max(0, digits - 1 - exponent))).split(".");
  const apart = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  return part ? `${apart}.${part}` : apart;
}

function trimmed(text) {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

function readable(digits, unit) {
  return digits.replaceAll("-", "\u2212") + (unit ? `\u00a0${unit}` : "");
}

/** A number, e.g. `1,234 °C`; `unknown` where it is none. */
export function number(value, unit = "", digits = 4) {
  return Number.isFinite(value) ? readable(general(value, digits), unit) : "unknown";
}

/** A number with its sign, e.g. `+2.68 °C`. */
export function signed(value, unit = "", digits = 3) {
  if (!Number.isFinite(value)) return "unknown";
  const text = general(value, digits);
  return readable(value > 0 ? `+${text}` : text, unit);
}

/** The ends of an axis, each with no more digits than can be seen on it: `0` rather than `0.000231` beside `\u22121`. */
export function ends(high, low, text) {
  const seen = 0.005 * Math.max(high - low, 0);
  return [high, low].map((end) => text(Math.abs(end) < seen ? 0 : end));
}

/** A part of the whole in percent. */
export function share(fraction) {
  const percent = 100 * Math.abs(fraction);
  if (!Number.isFinite(percent)) return "unknown";
  const less = percent > 0 && percent < 0.1;
  const digits = less ? "less than 0.1" : percent < 10 ? general(percent, 2) : percent.toFixed(0);
  return `${digits}\u00a0%`;
}

/** `1 timestep`, `3 timesteps`. */
export function counted(count, noun) {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}
