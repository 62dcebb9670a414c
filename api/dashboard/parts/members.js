// SPDX-License-Identifier: Apache-2.0
/* How far the jobs of a group are: all of them together, and each that has not succeeded. */
import { el, setText, show } from "../lib/dom.js";
import { fraction, hasEnded, standing } from "../lib/job.js";
import { Bar, Status } from "./progress.js";
import { format } from "../lib/router.js";
import { percent, seconds } from "../lib/units.js";
import { valueText } from "../lib/values.js";

/* "wbits 3, groupsize 64": what a member has of its own. */
export function valuesText(values) {
  return Object.entries(values).map(([name, value]) => `${name} ${valueText(value)}`).join(", ");
}

/* "2 succeeded, 1 running, 3 queued" */
export function countsText(counts) {
  const order = ["succeeded", "failed", "cancelled", "cancelling", "running", "queued"];
  return order.filter((name) => counts[name]).map((name) => `${counts[name]} ${name}`).join(", ");
}

/* How much of all members is done, 0 to 1; @shares: of those that have not ended. */
export function shareOf(counts, shares = []) {
  const n = Object.values(counts).reduce((sum, count) => sum + count, 0);
  const ended = counts.succeeded + counts.failed + counts.cancelled;
  return n ? (ended + shares.reduce((sum, share) => sum + (share ?? 0), 0)) / n : null;
}

class Member {
  #status;
  #bar;
  #state = el("span", { class: "help" });
  node;

  constructor(job, values) {
    this.#status = new Status(job);
    this.#bar = new Bar(`Progress of job ${job.id}`);
    this.node = el("li", {}, el("span", { class: "member" },
      el("a", { href: format("job", job.id) }, `${job.id}: ${values || job.name || "as it is"}`),
      this.#status.node), this.#bar.node, this.#state);
    this.update(job);
  }

  update(job) {
    const share = fraction(job);
    const eta = job.status === "running" ? job.progress?.eta_seconds : null;
    this.#status.update(job);
    this.#bar.node.hidden = hasEnded(job) || share === null;
    this.#bar.update(share, standing(job));
    setText(this.#state, job.error ? [job.error.detail, job.error.hint].filter(Boolean).join("; ")
      : [share === null ? "" : percent(share), hasEnded(job) ? "" : standing(job),
        typeof eta === "number" ? `${seconds(eta)} left` : ""].filter(Boolean).join(" · "));
  }
}

export class Members {
  #jobs = new Map();
  #group = null;
  #rows = new Map();
  #count = el("span", {});
  #share = el("strong", { class: "share" });
  #bar = new Bar("Progress of the group");
  #list = el("ul", { class: "members" });
  node = el("section", { class: "card progress", "aria-label": "Progress", hidden: true },
    el("div", { class: "spread" }, el("span", { class: "where" }, this.#share, " ", this.#count)),
    this.#bar.node, this.#list);

  /* @jobs: of the group, as jobs; those of @group.members have the values. */
  update(group, jobs) {
    this.#group = group;
    this.#jobs = new Map(jobs.map((job) => [job.id, job]));
    const values = new Map(group.members.map((member) => [member.id, valuesText(member.values)]));
    const left = jobs.filter((job) => job.status !== "succeeded");
    const rows = left.map((job) => {
      const row = this.#rows.get(job.id) ?? new Member(job, values.get(job.id));
      row.update(job);
      return [job.id, row];
    });
    this.#rows = new Map(rows);
    if (rows.some(([, row], i) => this.#list.children[i] !== row.node) || this.#list.children.length !== rows.length)
      show(this.#list, rows.map(([, row]) => row.node));
    this.node.hidden = left.length === 0;
    this.#drawAll();
  }

  /* A job reports how far it is. */
  progress(id, progress) {
    const job = this.#jobs.get(id);
    if (!job || hasEnded(job)) return;
    this.#jobs.set(id, { ...job, progress });
    this.#rows.get(id)?.update(this.#jobs.get(id));
    this.#drawAll();
  }

  #drawAll() {
    const { counts } = this.#group;
    const share = shareOf(counts, [...this.#jobs.values()].filter((job) => !hasEnded(job)).map(fraction));
    setText(this.#count, countsText(counts));
    setText(this.#share, percent(share));
    this.#bar.node.hidden = share === 1;
    this.#bar.update(share, countsText(counts));
  }
}
