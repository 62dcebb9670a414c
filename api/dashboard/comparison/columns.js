// SPDX-License-Identifier: Apache-2.0
/*
 * What jobs are compared by. A column is {key, title, group, number, value(job), text(value)}. A
 * measured one also has set and spread(job), the standard error of its value, and spreadText(), how
 * that is written; amount: a share of another's amount says something; tick(value): the text beside
 * an axis, where it is another.
 */
import { bits, method, perplexities } from "../lib/job.js";
import { bytes, error, fixed, moment, perplexity, seconds } from "../lib/units.js";
import { valueText } from "../lib/values.js";

export const GROUPS = ["Figures", "Parameters", "Labels", "Job"];

const NONE = "–";
const plain = (value) => value;

function measured(job, set) {
  return perplexities(job).find((entry) => entry.set === set);
}

/* A parameter as a text that sorts and compares; numbers stay numbers. */
function parameter(value) {
  return typeof value === "number" ? value : valueText(value, null);
}

function finite(value) {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

function figure(key, title, value, text, more = {}) {
  return { key, title, group: "Figures", number: true, value: (job) => finite(value(job)), text, ...more };
}

function fact(key, title, group, value, text = plain) {
  return { key, title, group, number: false, value, text };
}

/* Sets that any of @jobs measured. */
export function setsOf(jobs) {
  return [...new Set(jobs.flatMap((job) => perplexities(job).map((entry) => entry.set)))];
}

/* What is said of the difference from the original: [name in result.difference, title, text, its error, main]. */
const DIFFERENCES = [
  ["kl_mean", "Divergence", error, "kl_stderr", true],
  ["same_top", "Same top token", share, "same_top_stderr", false],
  ["kl_p50", "Median divergence", error], ["kl_p99", "Divergence, 99 %", error],
  ["kl_max", "Largest divergence", error],
  ["rms_dp", "Change of probability, rms", error],
];

function share(value) {
  return `${fixed(value * 100, 2)} %`;
}

function differencesOf(set) {
  const entry = (job) => job.result?.difference?.[set];
  return DIFFERENCES.map(([name, title, text, spread, main]) => figure(`${name}:${set}`, `${title} on ${set}`,
    (job) => entry(job)?.[name], text, { set, main, tick: text === error ? String : undefined,
      spreadText: text === error ? (value) => String(Number(value.toPrecision(2))) : text,
      ...(spread ? { spread: (job) => finite(entry(job)?.[spread]) } : {}) }));
}

function figuresOf(jobs) {
  return [
    ...setsOf(jobs).map((set) => figure(`perplexity:${set}`, `Perplexity on ${set}`,
      (job) => measured(job, set)?.value, perplexity,
      { set, measures: "perplexity", tick: String, spread: (job) => finite(measured(job, set)?.stderr) })),
    ...setsOf(jobs).flatMap(differencesOf),
    figure("bits", "Bits per weight", bits, (value) => fixed(value, 2), { amount: true, tick: String }),
    figure("size", "Size", (job) => job.result?.size_bytes, bytes, { amount: true }),
    figure("took", "Took", (job) => job.result?.seconds?.total, seconds, { amount: true }),
    figure("device-memory", "Device memory", (job) => job.result?.peak_memory?.device, bytes, { amount: true }),
    figure("host-memory", "Host memory", (job) => job.result?.peak_memory?.host, bytes, { amount: true }),
  ];
}

function parametersOf(jobs) {
  const names = [...new Set(jobs.flatMap((job) => Object.keys(job.params || {})))];
  return names.map((name) => ({
    ...fact(`params:${name}`, name, "Parameters", (job) => parameter(job.params?.[name]), String),
    number: jobs.some((job) => typeof job.params?.[name] === "number"),
  }));
}

function labelsOf(jobs) {
  const names = [...new Set(jobs.flatMap((job) => Object.keys(job.labels || {})))];
  return names.map((name) =>
    fact(`labels:${name}`, name, "Labels", (job) => job.labels?.[name] ?? null));
}

const FACTS = [
  fact("summary", "Summary", "Job", method),
  fact("owner", "Owner", "Job", (job) => job.owner),
  fact("status", "Status", "Job", (job) => job.status),
  fact("created", "Submitted", "Job", (job) => job.created_at ?? null, moment),
];

/* Every column that says anything of one of @jobs. */
export function columnsOf(jobs) {
  const all = [...figuresOf(jobs), ...parametersOf(jobs), ...labelsOf(jobs), ...FACTS];
  return all.filter((column) => jobs.some((job) => column.value(job) !== null));
}

/* Do @jobs have more than one value in @column? */
export function differs(jobs, column) {
  return new Set(jobs.map((job) => column.value(job))).size > 1;
}

const USUAL = ["bits", "size", "took"];

/* Is it one of the figures that most look at? */
export function isMain(column) {
  return column.measures === "perplexity" || column.main === true || USUAL.includes(column.key);
}

/* The columns that are shown unless others are chosen: main figures, and what differs of the request. */
export function usual(jobs, columns) {
  return columns.filter((column) => {
    if (column.group === "Figures") return isMain(column);
    const telling = ["Parameters", "Labels"].includes(column.group) || column.key === "status";
    return telling && differs(jobs, column) && !column.key.endsWith("sha256");
  });
}

/* A value as it is shown. */
export function textOf(column, job) {
  const value = column.value(job);
  return value === null ? NONE : column.text(value);
}

/* @jobs by @column, what has no value last in either direction; equal ones stay as they are. */
export function sorted(jobs, column, down) {
  if (!column) return [...jobs];
  const words = new Intl.Collator(undefined, { numeric: true });
  const order = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b
    : words.compare(String(a), String(b)));
  return jobs.map((job) => ({ job, value: column.value(job) })).sort((a, b) => {
    if (a.value === null || b.value === null) return (a.value === null) - (b.value === null);
    return down ? order(b.value, a.value) : order(a.value, b.value);
  }).map(({ job }) => job);
}

/* Standard error of the logarithm of a perplexity over @base's: {error, most}. */
function errorOf(job, base, set) {
  const own = job.result.difference?.[set]?.log_ratio_stderr;
  const other = base?.result?.difference?.[set]?.log_ratio_stderr;
  // Token by token against the original; two jobs were not paired with each other.
  if (!base && Number.isFinite(own)) return { error: own, most: false };
  if (Number.isFinite(own) && Number.isFinite(other)) return { error: Math.hypot(own, other), most: true };
  const spread = (entry) => entry.stderr / entry.value;
  const mine = spread(measured(job, set));
  // Of the unquantized model only the value is known.
  return { error: Math.hypot(mine, base ? spread(measured(base, set)) : mine), most: true };
}

/*
 * The change of the perplexity of @column from the base to @job: {share, error, most}; null without
 * one. @base: a job, or null for the unquantized model. error is the standard error of the share. With
 * most, errors of both were added as if of different texts: jobs on the same text differ by less.
 */
export function changeOf(column, job, base) {
  const entry = measured(job, column.set);
  const from = base ? measured(base, column.set) : { value: entry?.baseline };
  if (!entry || !(from?.value > 0) || (base ? base.id === job.id : entry.baseline === entry.value))
    return null;
  const ratio = entry.value / from.value;
  const { error: spread, most } = errorOf(job, base, column.set);
  return { share: ratio - 1, error: Number.isFinite(spread) ? ratio * spread : null, most };
}

/* The jobs that no other beats or equals in both columns: the Pareto front, by the first of them. */
export function front(jobs, across, down) {
  const points = jobs.map((job) => ({ job, x: across.value(job), y: down.value(job) }))
    .filter(({ x, y }) => x !== null && y !== null).sort((a, b) => a.x - b.x || a.y - b.y);
  let least = Infinity;
  return points.filter(({ y }) => {
    if (y >= least) return false;
    least = y;
    return true;
  }).map(({ job }) => job);
}

/* The comparison as rows for a program: heads first, numbers in full, errors in columns of their own. */
export function rowsOf(jobs, columns, base) {
  const heads = columns.flatMap((column) => [column.title,
    ...(column.spread ? [`${column.title}, standard error`] : []),
    ...(column.measures ? [`${column.title}, change`, `${column.title}, error of the change`] : [])]);
  const cells = (column, job) => {
    const found = column.measures ? changeOf(column, job, base) : null;
    return [column.value(job), ...(column.spread ? [column.spread(job)] : []),
      ...(column.measures ? [found?.share ?? null, found?.error ?? null] : [])];
  };
  return [["Job", "Name", ...heads],
    ...jobs.map((job) => [job.id, job.name, ...columns.flatMap((column) => cells(column, job))])];
}
