// SPDX-License-Identifier: Apache-2.0
/* Jobs side by side: the table with its columns to choose, plots, and two heat maps. */
import { ColumnChooser } from "./chooser.js";
import { columnsOf, rowsOf, sorted, usual } from "./columns.js";
import { HeatPair } from "./heat_pair.js";
import { ParetoPlot } from "./plot.js";
import { CompareTable } from "./table.js";
import { csv } from "../lib/csv.js";
import { el, show } from "../lib/dom.js";
import { title } from "../lib/job.js";
import { save } from "../lib/save.js";

export class ComparisonView {
  #on;
  #file;
  #jobs = [];
  #state = null;
  #base = el("select", { id: "comparison-base", onchange: () => this.#on.change({ base: this.#base.value || null }) });
  #chooser = new ColumnChooser((columns) => this.#on.change({ columns }));
  #table;
  #plots;
  #heat;
  node;

  /*
   * @on.change(parts): parts of the state of state.js that are to be others. @on.leave(id): a job is to
   * be left out; absent: none can be. @plots: [{heading, wants, prefers}] of plot.js, for each of the
   * state's plots. @file: the name of files that are saved, without its ending.
   */
  constructor(api, { on, plots, file }) {
    this.#on = on;
    this.#file = file;
    this.#table = new CompareTable({ sort: (sort) => on.change({ sort }), leave: on.leave });
    this.#plots = plots.map((plot, i) => new ParetoPlot({ ...plot, file, id: i ? `plot${i + 1}` : "plot" },
      (change) => on.change({ plots: this.#state.plots.map((one, k) => (k === i ? { ...one, ...change } : one)) })));
    this.#heat = new HeatPair(api, (change) => on.change(change));
    const tools = el("div", { class: "spread" },
      el("div", { class: "inline" }, el("label", { for: "comparison-base" }, "Changes from"), this.#base),
      el("button", { type: "button", class: "small", onclick: () => this.#saveCsv() }, "Save as CSV"));
    const drawn = this.#plots.map((plot) => plot.node);
    this.node = el("div", {},
      el("section", { class: "card", "aria-labelledby": "comparison-title" },
        el("div", { class: "spread" }, el("h2", { id: "comparison-title" }, "Figures and parameters"), tools),
        this.#chooser.node, this.#table.node),
      drawn.length > 1 ? el("div", { class: "plots" }, drawn) : drawn, this.#heat.node);
  }

  close() {
    for (const plot of this.#plots) plot.close();
    this.#heat.close();
  }

  update(jobs, state) {
    this.#jobs = jobs;
    this.#state = state;
    const all = columnsOf(jobs);
    const columns = this.#columns(all);
    const base = this.#from();
    show(this.#base, el("option", { value: "" }, "the unquantized model"), jobs.map((job) =>
      el("option", { value: job.id, selected: job === base }, `${job.id}: ${title(job)}`)));
    this.#chooser.update(all, columns);
    this.#table.update({ jobs, columns, sort: state.sort, base });
    this.#plots.forEach((plot, i) => plot.update({ jobs, columns: all, state: state.plots[i] }));
    this.#heat.update(jobs, state.heat, state.shows);
  }

  /* The job that changes are counted from; null: the unquantized model. */
  #from() {
    return this.#jobs.find((job) => String(job.id) === this.#state.base) ?? null;
  }

  #columns(all) {
    const { columns } = this.#state;
    return columns ? all.filter((column) => columns.includes(column.key)) : usual(this.#jobs, all);
  }

  #saveCsv() {
    const all = columnsOf(this.#jobs);
    const { sort } = this.#state;
    const jobs = sorted(this.#jobs, sort && all.find((column) => column.key === sort.key), sort?.down);
    save(new Blob([csv(rowsOf(jobs, this.#columns(all), this.#from()))], { type: "text/csv" }), `${this.#file}.csv`);
  }
}
