// SPDX-License-Identifier: Apache-2.0
/* Jobs side by side, as the address names them. */
import { Comparison } from "../charts/comparison.js";
import { el, setText, show } from "../lib/dom.js";
import { COMPARED_MAX, format, ids } from "../lib/router.js";

class ComparePage {
  #context;
  #comparison;
  #problem = el("p", { class: "problem", role: "alert", hidden: true });
  #hint = el("p", { class: "help" }, "Choose jobs here, or tick them in the list of jobs.");
  #asked = 0;
  #cut = el("p", { class: "problem", role: "alert", hidden: true });
  title = "Compare";
  node;

  constructor(context, route) {
    this.#context = context;
    this.#comparison = new Comparison(context.api, null, "Perplexity and size", (list) => {
      history.replaceState(null, "", format("compare", null, { jobs: list.join(",") }));
      this.#load(list);
    });
    this.node = el("div", {}, el("div", { class: "head" }, el("h1", { tabindex: "-1" }, "Compare jobs")),
      this.#problem, this.#cut, this.#hint, this.#comparison.node);
    this.#loadRoute(route);
  }

  close() {
    this.#comparison.close();
  }

  change(route) {
    if (route.page !== "compare") return false;
    this.#loadRoute(route);
    return true;
  }

  #loadRoute(route) {
    const all = ids(route.query.jobs, Infinity);
    this.#cut.hidden = all.length <= COMPARED_MAX;
    setText(this.#cut, `The first ${COMPARED_MAX} of ${all.length} jobs are shown.`);
    this.#load(all.slice(0, COMPARED_MAX));
  }

  async #load(list) {
    const asked = ++this.#asked;
    const answers = await Promise.allSettled(list.map((id) => this.#context.api.get(`/v1/jobs/${id}`)));
    if (asked !== this.#asked) return;
    const jobs = answers.filter((a) => a.status === "fulfilled").map((a) => a.value.data);
    const failed = answers.find((a) => a.status === "rejected");
    show(this.#problem, failed ? failed.reason.message : "");
    this.#problem.hidden = !failed;
    this.#hint.hidden = jobs.length > 1;
    this.#comparison.update(jobs);
  }
}

export function comparePage(context, route) {
  return new ComparePage(context, route);
}
