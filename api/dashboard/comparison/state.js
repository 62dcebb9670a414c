// SPDX-License-Identifier: Apache-2.0
/* What a comparison shows, as the address says it: a link shows the same to whoever opens it. */
import { ids } from "../lib/router.js";

/* The parts of the address that choose jobs instead of a list of numbers, as GET /v1/jobs has them. */
export const FILTERS = ["group", "label", "owner", "kind", "text"];

export const PLOTS_MAX = 2; // the parts of the address of the second end in 2

const KEYS_MAX = 200;

/* Keys of columns have commas when a set or a label has. */
function keys(text) {
  return String(text).split(",").slice(0, KEYS_MAX).map((key) => {
    try {
      return decodeURIComponent(key);
    } catch {
      return key;
    }
  }).filter(Boolean);
}

function readPlot(query, end) {
  const log = query[`log${end}`] === undefined ? null : String(query[`log${end}`]);
  return { x: query[`x${end}`] || null, y: query[`y${end}`] || null, colour: query[`colour${end}`] || null,
    log: { x: log === null ? null : log.includes("x"), y: log === null ? null : log.includes("y") } };
}

function writePlot({ x, y, colour, log }, end) {
  const named = log.x === null && log.y === null ? null : `${log.x ? "x" : ""}${log.y ? "y" : ""}` || "none";
  return { [`x${end}`]: x, [`y${end}`]: y, [`colour${end}`]: colour, [`log${end}`]: named };
}

const endOf = (i) => (i ? String(i + 1) : "");

/*
 * {jobs: numbers or null, filter, columns: keys or null for the usual ones, sort: {key, down} or null, base: number or
 * null, plots: of each {x, y, colour: keys or null, log: {x, y} of true, false, or null for what suits}, heat: numbers,
 * shows: what the heat maps show, or null}.
 */
export function readState(query) {
  const down = String(query.sort || "").startsWith("-");
  const [base] = ids(query.base, 1);
  const filter = Object.fromEntries(FILTERS.filter((name) => query[name]).map((name) => [name, query[name]]));
  return {
    jobs: Object.keys(filter).length ? null : ids(query.jobs, Infinity), filter,
    columns: query.columns ? keys(query.columns) : null,
    sort: query.sort ? { key: down ? query.sort.slice(1) : query.sort, down } : null,
    base: base ?? null, plots: Array.from({ length: PLOTS_MAX }, (_, i) => readPlot(query, endOf(i))),
    heat: ids(query.heat, 2), shows: query.shows || null,
  };
}

/* The query of readState(): what is as it is without it is left out. */
export function writeState(state) {
  const { sort } = state;
  return {
    ...state.filter, jobs: state.jobs?.join(",") ?? null,
    columns: state.columns?.map(encodeURIComponent).join(",") ?? null,
    sort: sort ? `${sort.down ? "-" : ""}${sort.key}` : null, base: state.base,
    ...Object.assign({}, ...state.plots.map((plot, i) => writePlot(plot, endOf(i)))),
    heat: state.heat.join(","), shows: state.shows,
  };
}
