// What is known of a cell, a run of steps or a row: the numbers that the inspector, the live region and tests read.

import { whenOf } from "./axis.js";
import { counted, number, share, signed } from "./numbers.js";
import { meanOf, strongestOf, sumOf } from "./view.js";

/**
 * Facts of `{first, last, row}`, where `row` is a row of the view or null for all features.
 *
 * Values and baselines are those of one feature, means over a run; `parts` are the strongest features or steps within.
 */
export function factsOf(data, arrays, { first, last, row }) {
  const all = row === null || row === undefined;
  const features = all ? data.features.map((_, i) => i) : row.features;
  const amount = sumOf(arrays, first, last, features);
  const alone = features.length === 1 ? features[0] : null;
  const isRun = last > first;
  const facts = {
    what: data.tokens ? (isRun ? counted(last - first + 1, "word") : data.tokens[first]) : all && data.features.length > 1 ? "All features" : row?.label ?? data.features[0].name,
    when: whenOf(data, first, last),
    isRun,
    amount,
    moved: signed(amount, data.unit),
    share: share(data.size ? amount / data.size : 0),
    values: [],
    parts: [],
    partsAre: "",
  };
  if (alone !== null && !data.tokens) {
    const unit = data.features[alone].unit;
    const of = isRun ? "Mean " : "";
    const [value, baseline] = [arrays.value, arrays.baseline].map((each) => meanOf(each, arrays.F, first, last, alone));
    facts.values.push([isRun ? "Mean value" : "Value", number(value, unit)], [isRun ? "Mean baseline" : "Baseline", number(baseline, unit)]);
    if (Number.isFinite(value - baseline)) facts.values.push([`${of ? "Mean d" : "D"}ifference`, signed(value - baseline, unit)]);
  }
  if (features.length > 1) {
    facts.partsAre = "Strongest features";
    const sums = features.map((f) => sumOf(arrays, first, last, [f]));
    facts.parts = strongestOf(sums, 4).map(({ key, amount: size }) => ({
      label: data.features[features[key]].name, amount: size, first, last, features: [features[key]],
    }));
  } else if (isRun) {
    facts.partsAre = data.tokens ? "Strongest words" : "Strongest timesteps";
    const sums = Float64Array.from({ length: last - first + 1 }, (_, i) => sumOf(arrays, first + i, first + i, features));
    facts.parts = strongestOf(sums, 4).map(({ key, amount: size }) => ({
      label: data.tokens ? data.tokens[first + key] : whenOf(data, first + key, first + key), amount: size, first: first + key, last: first + key, features,
    }));
  }
  return facts;
}

/** The same in one sentence, for those who listen. */
export function spoken(data, facts) {
  const where = [data.tokens ? `\u201c${facts.what}\u201d` : facts.what, facts.when].filter(Boolean).join(", ");
  const values = facts.values.slice(0, 2).map(([word, value]) => `${word.toLowerCase()} ${value}`);
  return `${where}: ${[...values, `moved the ${data.noun} by ${facts.moved}`, `${facts.share} of all movement`].join(", ")}.`;
}
