// SPDX-License-Identifier: Apache-2.0
/* A job beside others, on its page: their main figures. The page of comparisons has the rest. */
import { columnsOf, isMain } from "./columns.js";
import { el } from "../lib/dom.js";
import { format } from "../lib/router.js";
import { CompareTable } from "./table.js";
import { JobAdder } from "./adder.js";
import { ParetoPlot } from "./plot.js";

export class Comparison {
  #own;
  #jobs = [];
  #onChange;
  #sort = null;
  #plotted = { x: null, y: null, colour: null, log: { x: null, y: null } };
  #adder;
  #more = el("a", {}, "Compare in full");
  #table = new CompareTable({ sort: (sort) => this.#changed({ sort }), leave: (id) => this.#leave(id) });
  #plot = new ParetoPlot({ heading: "Perplexity and size" }, (change) => {
    Object.assign(this.#plotted, change);
    this.#draw();
  });
  node;

  /* @onChange(ids): other jobs are to stand beside @own, whose number it is. */
  constructor(api, own, onChange) {
    this.#own = own;
    this.#onChange = onChange;
    this.#adder = new JobAdder(api, "Compare with", (id) => onChange([...this.#others(), id]));
    this.node = el("div", {}, el("section", { class: "card", "aria-labelledby": "comparison-title" },
      el("div", { class: "spread" }, el("h2", { id: "comparison-title" }, "Perplexity"), this.#adder.node),
      this.#table.node, el("p", {}, this.#more)), this.#plot.node);
  }

  close() {
    this.#plot.close();
  }

  #others() {
    return this.#jobs.map((job) => String(job.id)).filter((id) => id !== this.#own);
  }

  #leave(id) {
    this.#onChange(this.#others().filter((other) => other !== id));
  }

  #changed({ sort }) {
    this.#sort = sort;
    this.#draw();
  }

  /* Shows @jobs, the own one among them. */
  update(jobs) {
    this.#jobs = jobs;
    this.#adder.update(jobs);
    this.#more.hidden = jobs.length < 2;
    this.#more.href = format("compare", null, { jobs: jobs.map((job) => job.id).join(",") });
    this.#draw();
  }

  #draw() {
    const all = columnsOf(this.#jobs);
    const columns = all.filter(isMain);
    this.#table.update({ jobs: this.#jobs, columns, sort: this.#sort, base: null, own: this.#own });
    this.#plot.update({ jobs: this.#jobs, columns: all, state: this.#plotted, own: this.#own });
  }
}
