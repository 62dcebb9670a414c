// SPDX-License-Identifier: Apache-2.0
/* What happened to a job, the newest first; the oldest lines go when there are too many. */
import { el, setText } from "../lib/dom.js";
import { shortName, worstOf } from "../lib/layers.js";
import { clock, error, moment, perplexity, seconds } from "../lib/units.js";

const LINES_MAX = 400;

const TEXTS = {
  "job.queued": () => "queued",
  "job.reordered": (d) => `${d.held ? "held" : "not held"}, priority ${d.priority}`,
  "job.started": (d) => `started on ${d.device}${d.attempt > 1 ? `, attempt ${d.attempt}` : ""}`,
  "job.resumed": (d) => (d.layer === undefined ? "goes on" : `goes on with layer ${d.layer}`),
  "job.paused": (d) => `paused: ${d.detail || d.code || ""}`,
  "job.interrupted": () => "interrupted; it will go on where it was",
  "job.warning": (d) => d.detail || d.code || "warning",
  "job.succeeded": () => "succeeded",
  "job.failed": (d) => `failed: ${d.detail || d.error?.detail || d.code || ""}`,
  "job.cancelling": () => "was asked to stop",
  "job.cancelled": () => "cancelled",
  "phase.started": (d) => `phase ${d.phase}`,
  "eval.finished": (d) => `${d.set}: perplexity ${perplexity(d.perplexity)}`,
  "plan.finished": (d) =>
    `plan: ${d.chosen.bits.toFixed(2)} bits on average, predicted KL ${d.chosen.kl.toFixed(4)}`,
  "layer.finished": (d) => {
    const worst = worstOf(d);
    return `layer ${d.layer} in ${seconds(d.seconds)}` +
      (worst ? `; worst ${shortName(worst.name)}, error ${error(worst.error)}` : "");
  },
};
const QUIET = ["progress", "eval.progress", "job", "start", "reset"];

export class EventLog {
  #lines = el("ol", { class: "log", reversed: true });
  #dropped = el("p", { class: "help", hidden: true });
  #n = 0;
  node = el("section", { class: "card", "aria-labelledby": "log-title" },
    el("h2", { id: "log-title" }, "Events"),
    el("div", { class: "scroll tall", tabindex: "0", role: "region", "aria-label": "List of events" },
      this.#lines, this.#dropped));

  add(event) {
    if (QUIET.includes(event.type)) return;
    const text = TEXTS[event.type]?.(event.data || {}) ?? event.type;
    this.#lines.prepend(el("li", { "data-type": event.type },
      el("time", { datetime: event.at, title: moment(event.at) }, clock(event.at)), text));
    this.#n++;
    if (this.#n <= LINES_MAX) return;
    this.#lines.lastChild.remove();
    this.#dropped.hidden = false;
    setText(this.#dropped, `${this.#n - LINES_MAX} earlier events are not shown.`);
  }

  clear() {
    this.#lines.replaceChildren();
    this.#n = 0;
    this.#dropped.hidden = true;
  }
}
