// Where timesteps stand from left to right, and which of them are named below.

/** Steps `first` to `last` side by side on a width: one scale for every panel. */
export function scaleOf(first, last, width) {
  const step = width / (last - first + 1);
  return {
    step,
    left: (t) => (t - first) * step,
    middle: (t) => (t - first + 0.5) * step,
    at: (x) => Math.max(first, Math.min(last, first + Math.floor(x / step))),
  };
}

const PER_LETTER = 6.6;

/** Texts for the axis that do not touch: `[{t, text}]`; of dates the year is left out where it is the one before. */
export function ticksOf(texts, first, last, width, isDate) {
  const steps = last - first + 1;
  const short = (t, before) => (isDate && before !== null && yearOf(texts[before]) === yearOf(texts[t]) ? withoutYear(texts[t]) : texts[t]);
  let longest = 0;
  for (let t = first; t <= last; t += Math.max(1, Math.floor(steps / 200))) {
    longest = Math.max(longest, short(t, isDate ? t : null).length);
  }
  const room = Math.min(120, longest * PER_LETTER + 14);
  const every = rounded(Math.max(1, Math.ceil((room * steps) / width)));
  const found = [];
  let before = null;
  for (let t = first + ((every - 1 - (first % every) + every) % every) * (every > 1 && !isDate); t <= last; t += every) {
    found.push({ t, text: short(t, before) });
    before = t;
  }
  return found.length ? found : [{ t: first, text: texts[first] }];
}

function rounded(every) {
  const power = 10 ** Math.floor(Math.log10(every));
  return [1, 2, 5, 10].map((digit) => digit * power).find((step) => step >= every);
}

function yearOf(text) {
  return text.match(/\b\d{4}\b/)?.[0];
}

function withoutYear(text) {
  return text.replace(/\s*\b\d{4}\b,?/, "").trim() || text;
}

/** A run of steps in words: "18 Jul 2015", "timesteps 3 to 7". */
export function whenOf(data, first, last) {
  const { texts, label, is_date: isDate } = data.time;
  if (data.steps === 1 && !texts[0]) return "";
  const named = !isDate && /^[\d\u2212.,-]+$/.test(texts[first]) && label ? `${label.toLowerCase()}${first === last ? "" : "s"} ` : "";
  return first === last ? `${named}${texts[first]}` : `${named}${texts[first]} to ${texts[last]}`;
}
