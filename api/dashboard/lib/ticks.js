// SPDX-License-Identifier: Apache-2.0
/* Scales of a chart: from values to places, and the round numbers that an axis names. */

const MARGIN = 0.06; // of the length of the axis, on both sides
const STEPS = [1, 2, 5];

function linearTicks(low, high, most) {
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([...STEPS, 10].find((s) => s * power >= rough) ?? 10);
  const ticks = [];
  for (let i = Math.ceil(low / step); i * step <= high; i++) ticks.push(Number((i * step).toPrecision(12)));
  return ticks;
}

/* 1, 2 and 5 of each power of ten, or the powers alone when those are many. */
function logTicks(low, high, most) {
  const all = [];
  for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power++)
    for (const s of STEPS) all.push(Number((s * 10 ** power).toPrecision(12)));
  const inside = all.filter((tick) => tick >= low && tick <= high);
  if (inside.length < 3) return linearTicks(low, high, most);
  return inside.length <= most ? inside : inside.filter((tick) => Number.isInteger(Math.log10(tick)));
}

/*
 * A scale over @values, all above 0 when it is @log: {place(value), ticks}. place() is 0 at the low
 * end of the axis and 1 at the high one; @most: how many ticks there is room for.
 */
export function scaleOf(values, log, most = 8) {
  const to = log ? Math.log : (value) => value;
  const from = log ? Math.exp : (value) => value;
  let [low, high] = [to(Math.min(...values)), to(Math.max(...values))];
  const margin = (high - low) * MARGIN || (log ? 0.05 : Math.abs(high) * 0.05 || 1);
  [low, high] = [low - margin, high + margin];
  return {
    place: (value) => (to(value) - low) / (high - low),
    ticks: (log ? logTicks : linearTicks)(from(low), from(high), most),
  };
}
