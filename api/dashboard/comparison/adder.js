// SPDX-License-Identifier: Apache-2.0
/* A choice of jobs that have a perplexity, to be compared with others. */
import { el, show } from "../lib/dom.js";
import { method, perplexities, title } from "../lib/job.js";

const CHOICES_MAX = 200;
const ANY = 1e-9; // a perplexity below all: jobs that have one

export class JobAdder {
  #api;
  #select;
  #choices = [];
  #older = false; // there are more than are offered
  #shown = [];
  node;

  /* @onAdd(id): the number of the chosen job, a text. */
  constructor(api, label, onAdd) {
    this.#api = api;
    this.#select = el("select", { id: "comparison-add",
      onchange: () => this.#select.value && onAdd(this.#select.value) });
    this.node = el("div", { class: "inline" }, el("label", { for: "comparison-add" }, label), this.#select);
    this.#load();
  }

  async #load() {
    try {
      const { data } = await this.#api.get(`/v1/jobs?status=succeeded&perplexity_min=${ANY}&limit=${CHOICES_MAX}`);
      this.#choices = data.data.filter((job) => perplexities(job).length);
      this.#older = data.has_more;
    } catch {
      this.#choices = [];
    }
    this.update(this.#shown);
  }

  /* @jobs are compared already. */
  update(jobs) {
    this.#shown = jobs;
    const shown = new Set(jobs.map((job) => job.id));
    const model = jobs[0]?.model?.fingerprint;
    const left = this.#choices.filter((job) => !shown.has(job.id));
    const same = left.filter((job) => !model || job.model?.fingerprint === model);
    const others = left.filter((job) => !same.includes(job));
    const option = (job) => el("option", { value: job.id },
      `${job.id}: ${title(job)}${job.name ? ` (${method(job)})` : `, ${method(job)}`}`);
    show(this.#select, el("option", { value: "" }, left.length ? "choose a job" : "no other job"),
      same.map(option),
      others.length ? el("optgroup", { label: "Other models" }, others.map(option)) : null,
      this.#older ? el("option", { disabled: true }, "older jobs: choose them in the list of jobs") : null);
    this.#select.disabled = left.length === 0;
  }
}
