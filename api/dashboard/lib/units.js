// SPDX-License-Identifier: Apache-2.0
/* Numbers as people read them. What is not a number is a dash. */

const NONE = "–";

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

/* Bytes in powers of 1000, as quantctl has them, with three figures: "1.50 GB". */
export function bytes(value) {
  if (!isNumber(value)) return NONE;
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let i = 0;
  while (Math.abs(value) >= 999.5 && i < units.length - 1) {
    value /= 1000;
    i++;
  }
  if (i === 0) return `${Math.round(value)} B`;
  return `${value.toFixed(value < 9.995 ? 2 : value < 99.95 ? 1 : 0)} ${units[i]}`;
}

/* Seconds as "0.4 s", "12 s", "3 min 05 s", "2 h 07 min", "3 d 4 h". */
export function seconds(value) {
  if (!isNumber(value) || value < 0) return NONE;
  if (value < 9.95) return `${value.toFixed(1)} s`;
  const s = Math.round(value);
  const two = (n) => String(n).padStart(2, "0");
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${two(s % 60)} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${two(Math.floor((s % 3600) / 60))} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

/* A share of one: "7 %". */
export function percent(fraction) {
  return isNumber(fraction) ? `${Math.round(fraction * 100)} %` : NONE;
}

/* A change against a base: "+2.91 %". */
export function change(value, base) {
  if (!isNumber(value) || !isNumber(base) || base <= 0) return NONE;
  const text = ((value / base - 1) * 100).toFixed(2);
  if (Number(text) === 0) return "0.00 %";
  return `${text.startsWith("-") ? "−" + text.slice(1) : "+" + text} %`;
}

export function fixed(value, digits) {
  return isNumber(value) ? value.toFixed(digits) : NONE;
}

/* A perplexity: four decimals, fewer when it is large. */
export function perplexity(value) {
  if (!isNumber(value)) return NONE;
  return value < 1000 ? value.toFixed(4) : value.toPrecision(5);
}

/* A relative error: "0.0028", "3.1e-7". */
export function error(value) {
  if (!isNumber(value)) return NONE;
  if (value === 0) return "0";
  return value >= 0.0001 ? value.toPrecision(3) : value.toExponential(1);
}

/* A count with thin groups: "65 536". */
export function count(value) {
  if (!isNumber(value)) return NONE;
  return String(Math.round(value)).replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");
}

/* A moment as it is on the clock here. */
export function moment(text) {
  const date = new Date(text || NaN);
  return isNaN(date) ? NONE : date.toLocaleString(undefined, { hour12: false });
}

export function clock(text) {
  const date = new Date(text || NaN);
  return isNaN(date) ? NONE : date.toLocaleTimeString(undefined, { hour12: false });
}

/* How long ago: "just now", "5 min ago"; the date when it is more than a week. */
export function ago(text, now = Date.now()) {
  const date = new Date(text || NaN);
  if (isNaN(date)) return NONE;
  const s = (now - date) / 1000;
  if (s < 45) return "just now";
  if (s < 3570) return `${Math.max(1, Math.round(s / 60))} min ago`;
  if (s < 86400) return `${Math.round(s / 3600)} h ago`;
  if (s < 7 * 86400) return `${Math.round(s / 86400)} d ago`;
  return date.toLocaleDateString();
}

/* Seconds between two moments; up to now without the second. */
export function between(from, to, now = Date.now()) {
  const start = new Date(from || NaN);
  const end = to ? new Date(to) : now;
  return isNaN(start) ? NaN : Math.max(0, (end - start) / 1000);
}
