// SPDX-License-Identifier: Apache-2.0
/* How far a job is: the marks of its state, a bar, the line of phases. */
import { el, setAttribute, setText, show, svg } from "../lib/dom.js";
import { PHASES, fraction, hasEnded, standing } from "../lib/job.js";
import { between, bytes, count, percent, seconds } from "../lib/units.js";

/* A shape for each state, so that it does not depend on colour. */
const SHAPES = {
  queued: [["circle", { cx: 6, cy: 6, r: 4.5, fill: "none" }]],
  running: [["circle", { cx: 6, cy: 6, r: 4.5, fill: "none" }],
    ["path", { d: "M6 1.500A4.500 4.500 0 0 1 6 10.500Z", class: "solid" }]],
  cancelling: [["circle", { cx: 6, cy: 6, r: 4.5, fill: "none" }], ["path", { d: "M3.500 6H8.500" }]],
  succeeded: [["path", { d: "M1.500 6.500L4.500 9.500L10.500 2.500", fill: "none" }]],
  failed: [["path", { d: "M2 2L10 10M10 2L2 10" }]],
  cancelled: [["circle", { cx: 6, cy: 6, r: 4.5, fill: "none" }], ["path", { d: "M3 9L9 3" }]],
  paused: [["path", { d: "M4 2V10M8 2V10" }]],
  held: [["path", { d: "M2 2.500H10V9.500H2Z" }]],
};

/* Its status, or what keeps it from starting. */
function stateOf(job) {
  if (job.held && job.status === "queued") return "held";
  return job.paused && !hasEnded(job) ? "paused" : job.status;
}

/* A job's state as text, with its shape; update() follows the job. */
export class Status {
  #shown = null;
  node = el("span", { class: "status" });

  constructor(job) {
    this.update(job);
  }

  update(job) {
    const state = stateOf(job);
    if (state === this.#shown) return;
    this.#shown = state;
    setAttribute(this.node, "data-status", state);
    const shapes = (SHAPES[state] || []).map(([tag, attributes]) => svg(tag, attributes));
    show(this.node, svg("svg", { viewBox: "0 0 12 12", "aria-hidden": "true" }, shapes), state);
  }
}

/* A bar with its share; it has a name for screen readers. */
export class Bar {
  #fill = el("span", {});
  node = el("span", { class: "meter", role: "progressbar", "aria-valuemin": "0",
    "aria-valuemax": "100" }, this.#fill);

  constructor(label) {
    this.node.setAttribute("aria-label", label);
  }

  /* @share: 0 to 1; null: it is not known. */
  update(share, text) {
    const known = typeof share === "number" && Number.isFinite(share);
    const value = known ? Math.min(100, Math.max(0, Math.round(share * 100))) : null;
    setAttribute(this.node, "aria-valuenow", value);
    setAttribute(this.node, "aria-valuetext", text);
    this.node.classList.toggle("unknown", !known);
    this.#fill.style.width = `${value ?? 0}%`;
  }
}

/* The panel of a job that waits or runs: bar, phase, layer, time. */
export class ProgressPanel {
  #bar = new Bar("Progress of the job");
  #share = el("strong", { class: "share" });
  #where = el("span", {});
  #time = el("span", { class: "help" });
  #phases = el("ol", { class: "phases", "aria-label": "Phases" });
  node = el("section", { class: "card progress", "aria-label": "Progress" },
    el("div", { class: "spread" }, el("span", { class: "where" }, this.#share, " ", this.#where),
      this.#time), this.#bar.node, this.#phases);

  update(job, seconds_of_phases) {
    const share = fraction(job);
    const place = standing(job);
    this.node.hidden = hasEnded(job);
    if (this.node.hidden) return;
    setText(this.#share, share === null ? "" : percent(share));
    setText(this.#where, place);
    this.#bar.node.hidden = share === null && job.status === "queued";
    this.#bar.update(share, share === null ? place : `${percent(share)}, ${place}`);
    setText(this.#time, this.#times(job));
    this.#drawPhases(job, seconds_of_phases);
  }

  #times(job) {
    const p = job.progress;
    const words = [];
    if (p?.phase === "pull" && p.bytes_total > 0)
      words.push(`${bytes(p.bytes)} of ${bytes(p.bytes_total)}, ${bytes(p.rate)}/s`);
    if (job.status === "running") words.push(`${seconds(between(job.started_at))} so far`);
    if (job.status === "running" && typeof p?.eta_seconds === "number")
      words.push(`about ${seconds(p.eta_seconds)} to go`);
    if (job.status === "running" && p?.tokens_per_second > 0)
      words.push(`${count(p.tokens_per_second)} tokens/s`);
    if (job.attempt > 1) words.push(`attempt ${job.attempt}`);
    return words.join(" · ");
  }

  #drawPhases(job, done) {
    const now = PHASES.indexOf(job.progress?.phase);
    const known = PHASES.filter((phase) => !["pull", "plan"].includes(phase) || done.has(phase) ||
      now === PHASES.indexOf(phase));
    const key = `${now} ${known.join()}`;
    if (this.#phases.dataset.key === key) return;
    this.#phases.dataset.key = key;
    show(this.#phases, known.map((phase) => {
      const at = PHASES.indexOf(phase);
      return el("li", { class: at < now ? "done" : at === now ? "now" : null,
        "aria-current": at === now ? "step" : null }, phase);
    }));
  }
}
