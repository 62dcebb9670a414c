// SPDX-License-Identifier: Apache-2.0
/* Jobs side by side: a row each, by columns that can be sorted. */
import { changeOf, sorted, textOf } from "./columns.js";
import { el, show } from "../lib/dom.js";
import { method, perplexities, title } from "../lib/job.js";
import { format } from "../lib/router.js";
import { change, fixed } from "../lib/units.js";

const ARROWS = { ascending: " ▲", descending: " ▼" };

/* "+3.20 % ± 0.11", of the perplexity of @column. */
export function changeText(found) {
  if (!found) return "";
  const text = change(1 + found.share, 1);
  if (found.error === null) return text;
  const error = fixed(found.error * 100, 2);
  return found.most ? `${text} (± ${error} at most)` : `${text} ± ${error}`;
}

/*
 * The unquantized model as a job among @jobs, from the baselines that they were compared with; null
 * when one of them is it, or they are of several models.
 */
export function unquantized(jobs) {
  const models = new Set(jobs.map((job) => job.model?.fingerprint).filter(Boolean));
  if (models.size !== 1 || jobs.some((job) => job.params?.wbits === 16 || job.kind === "eval")) return null;
  const found = new Map();
  for (const entry of jobs.flatMap(perplexities))
    if (Number.isFinite(entry.baseline)) found.set(entry.set, entry.baseline);
  if (!found.size) return null;
  const parameters = jobs.find((job) => job.model)?.model.parameters;
  const perplexity = Object.fromEntries([...found].map(([set, value]) => [set, { value }]));
  return { id: null, params: { wbits: 16 }, name: "unquantized",
    result: { size_bytes: parameters ? parameters * 2 : null, perplexity } };
}

export class CompareTable {
  #on;
  #node = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Jobs side by side" });
  #note = el("p", { class: "help" });
  node = el("div", {}, this.#node, this.#note);

  /* @on.sort({key, down} or null), @on.leave(id), or none: what the buttons ask for. */
  constructor(on) {
    this.#on = on;
  }

  /* @own: the number of a job that stays, or null. @sort: {key, down} or null. @base: a job or null. */
  update({ jobs, columns, sort, base, own = null }) {
    const at = document.activeElement;
    const focused = this.#node.contains(at) ? at.dataset.key : null;
    const by = sort && columns.find((column) => column.key === sort.key);
    const baseline = unquantized(jobs);
    const rows = sorted(jobs, by, sort?.down);
    show(this.#node, el("table", { class: "figures compare" },
      el("caption", { class: "unseen" },
        `${jobs.length} jobs by ${columns.length} columns. Buttons in the heads sort.`),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Job"),
        columns.map((column) => this.#head(column, sort)))),
      el("tbody", {}, rows.map((job) => this.#row(job, columns, base, own)),
        baseline ? this.#row(baseline, columns, base, own) : null)));
    if (focused)
      this.#node.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
    const loose = columns.some((column) =>
      column.measures && jobs.some((job) => changeOf(column, job, base)?.most));
    this.#note.textContent = !loose ? ""
      : "± after a change: the standard error as if both were measured on different texts. " +
        "Jobs on the same text differ by less.";
    this.#note.hidden = !loose;
  }

  #head(column, sort) {
    const state = sort?.key !== column.key ? null : sort.down ? "descending" : "ascending";
    const next = state === null ? { key: column.key, down: false }
      : state === "ascending" ? { key: column.key, down: true } : null;
    return el("th", { scope: "col", class: column.number ? "number" : null, "aria-sort": state },
      el("button", { type: "button", class: "head-button", "data-key": column.key,
        onclick: () => this.#on.sort(next) },
        column.title, el("span", { "aria-hidden": "true" }, ARROWS[state])));
  }

  #row(job, columns, base, own) {
    const stays = own !== null && String(job.id) === own;
    const name = job.id === null || stays ? el("span", {}, title(job))
      : el("a", { href: format("job", job.id) }, title(job));
    const may = this.#on.leave && job.id !== null && !stays;
    const leave = !may ? "" : el("button", { type: "button", class: "small leave",
      "data-key": `leave ${job.id}`, "aria-label": `Leave job ${job.id} out`, title: "Leave it out",
      onclick: () => this.#on.leave(String(job.id)) }, "×");
    const under = job.id === null ? "the baseline" : stays ? `${method(job)} (this job)` : method(job);
    return el("tr", { class: stays ? "own" : job.id === null ? "baseline" : null },
      el("th", { scope: "row" }, leave, el("span", { class: "muted" }, job.id === null ? "" : `${job.id} `), name,
        el("span", { class: "sub" }, under)),
      columns.map((column) => this.#cell(column, job, base)));
  }

  #cell(column, job, base) {
    const spread = column.spread?.(job) ?? null;
    return el("td", { class: column.number ? "number" : null }, textOf(column, job),
      spread === null ? null : el("span", { class: "muted" },
        ` ± ${column.spreadText ? column.spreadText(spread) : fixed(spread, 3)}`),
      el("span", { class: "sub" }, this.#change(column, job, base)));
  }

  #change(column, job, base) {
    if (job.id === null || column.value(job) === null) return "";
    if (column.measures === "perplexity") {
      if (base && base.id === job.id) return "the base";
      const found = changeOf(column, job, base);
      return found ? changeText(found) : base ? "" : "no baseline yet";
    }
    return column.amount && base && base.id !== job.id ? change(column.value(job), column.value(base)) : "";
  }
}
