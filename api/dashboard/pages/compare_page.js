// SPDX-License-Identifier: Apache-2.0
/* Jobs side by side: those that the address names by their numbers, or by a label and the like. */
import { JobAdder } from "../comparison/adder.js";
import { FILTERS, readState, writeState } from "../comparison/state.js";
import { ComparisonView } from "../comparison/view.js";
import { Problem } from "../lib/api.js";
import { el, setText } from "../lib/dom.js";
import { refreshedFeed } from "../lib/feed.js";
import { hasEnded } from "../lib/job.js";
import { format } from "../lib/router.js";
import { Soon } from "../lib/soon.js";

const JOBS_MAX = 500; // of one comparison
const AT_ONCE = 6; // requests
const REFRESH_MS = 1000;
const OF_RESULTS = ["job.succeeded", "job.failed", "job.cancelled", "job.started"];

class ComparePage {
  #context;
  #state;
  #jobs = [];
  #asked = 0;
  #feed;
  #refreshing = new Soon(() => this.#load(), REFRESH_MS);
  #heading = el("h1", { tabindex: "-1" });
  #count = el("p", { class: "help" });
  #problem = el("p", { class: "problem", role: "alert", hidden: true });
  #cut = el("p", { class: "problem", role: "alert", hidden: true });
  #hint = el("p", { class: "help" }, "Choose jobs here, or tick them in the list of jobs.");
  #adder;
  #view;
  title = "Compare";
  node;

  constructor(context, route) {
    this.#context = context;
    this.#state = readState(route.query);
    this.#adder = new JobAdder(context.api, "Add", (id) => this.#choose([...this.#numbers(), id]));
    this.#view = new ComparisonView(context.api, { file: "comparison", plots: [{ heading: "Pareto front" }],
      on: { change: (change) => this.#set(change), leave: (id) => this.#leave(id) } });
    this.node = el("div", {},
      el("div", { class: "head" }, el("div", {}, this.#heading, this.#count), this.#adder.node),
      this.#problem, this.#cut, this.#hint, this.#view.node);
    this.#feed = refreshedFeed(context, { load: () => this.#load(), refreshing: this.#refreshing,
      concerns: (event) => OF_RESULTS.includes(event.type) && this.#concerns(event.job) });
  }

  close() {
    this.#feed.stop();
    this.#refreshing.stop();
    this.#view.close();
  }

  change(route) {
    if (route.page !== "compare") return false;
    this.#state = readState(route.query);
    this.#load().catch(() => {});
    return true;
  }

  #numbers() {
    return this.#jobs.map((job) => String(job.id));
  }

  /* May the end of job @id change what is shown? */
  #concerns(id) {
    return this.#state.jobs === null || this.#state.jobs.includes(String(id));
  }

  /* The same jobs, shown otherwise; the address follows. */
  #set(change) {
    Object.assign(this.#state, change);
    this.#show();
    history.replaceState(null, "", format("compare", null, writeState(this.#state)));
  }

  /* Other jobs. */
  #choose(jobs) {
    Object.assign(this.#state, { jobs, filter: {} });
    history.replaceState(null, "", format("compare", null, writeState(this.#state)));
    this.#load().catch(() => {});
  }

  #leave(id) {
    this.#choose(this.#numbers().filter((other) => other !== id));
  }

  async #load() {
    const asked = ++this.#asked;
    const { jobs, more, failed } = this.#state.jobs === null ? await this.#matching() : await this.#named();
    if (asked !== this.#asked) return;
    this.#jobs = jobs;
    setText(this.#problem, failed ? failed.message : "");
    this.#problem.hidden = !failed;
    setText(this.#cut, more);
    this.#cut.hidden = !more;
    this.#show();
  }

  /* The jobs of the filter, the oldest first, as they were submitted. */
  async #matching() {
    const query = new URLSearchParams({ ...this.#state.filter, limit: JOBS_MAX });
    try {
      const { data: list } = await this.#context.api.get(`/v1/jobs?${query}`);
      return { jobs: [...list.data].reverse(), failed: null,
        more: list.has_more ? `There are more jobs. The newest ${JOBS_MAX} are compared.` : "" };
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      return { jobs: [], failed: error, more: "" };
    }
  }

  /* The jobs by their numbers, in that order. */
  async #named() {
    const wanted = this.#state.jobs.slice(0, JOBS_MAX);
    const found = new Map();
    let failed = null;
    const left = [...wanted];
    const ask = async () => {
      for (let id = left.shift(); id; id = left.shift()) {
        try {
          found.set(id, (await this.#context.api.get(`/v1/jobs/${id}`)).data);
        } catch (error) {
          failed ??= error;
        }
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, ask));
    const all = this.#state.jobs.length;
    return { jobs: wanted.map((id) => found.get(id)).filter(Boolean), failed,
      more: all > JOBS_MAX ? `The first ${JOBS_MAX} of ${all} jobs are compared.` : "" };
  }

  #show() {
    this.#drawHeading();
    this.#hint.hidden = this.#jobs.length > 1;
    this.#adder.update(this.#jobs);
    this.#view.update(this.#jobs, this.#state);
  }

  #drawHeading() {
    const chosen = FILTERS.filter((name) => this.#state.filter[name])
      .map((name) => `${name} ${this.#state.filter[name]}`).join(", ");
    setText(this.#heading, chosen ? `Compare jobs of ${chosen}` : "Compare jobs");
    const open = this.#jobs.filter((job) => !hasEnded(job)).length;
    const words = [`${this.#jobs.length} jobs`, open ? `${open} of them have not ended` : ""];
    setText(this.#count, this.#jobs.length ? words.filter(Boolean).join(", ") : "");
  }
}

export function comparePage(context, route) {
  return new ComparePage(context, route);
}
