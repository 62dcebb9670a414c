// SPDX-License-Identifier: Apache-2.0
/* Jobs side by side, as the address names them. */
import { Comparison } from "../charts/comparison.js";
import { el, show } from "../lib/dom.js";
import { format, ids } from "../lib/router.js";

class ComparePage {
  #context;
  #comparison;
  #problem = el("p", { class: "problem", role: "alert", hidden: true });
  #hint = el("p", { class: "help" }, "Choose jobs here, or tick them in the list of jobs.");
  #asked = 0;
  title = "Compare";
  node;

  constructor(context, route) {
    this.#context = context;
    this.#comparison = new Comparison(context.api, null, "Perplexity and size", (list) => {
      history.replaceState(null, "", format("compare", null, { jobs: list.join(",") }));
      this.#load(list);
    });
    this.node = el("div", {}, el("div", { class: "head" }, el("h1", { tabindex: "-1" }, "Compare jobs")),
      this.#problem, this.#hint, this.#comparison.node);
    this.#load(ids(route.query.jobs));
  }

  close() {
    this.#comparison.close();
  }

  change(route) {
    if (route.page !== "compare") return false;
    this.#load(ids(route.query.jobs));
    return true;
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
