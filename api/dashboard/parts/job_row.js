// SPDX-License-Identifier: Apache-2.0
/* One job of a list. Its elements stay as the job goes on, so that focus and selection do too. */
import { el, setAttribute, setText, show } from "../lib/dom.js";
import { bits, fraction, hasEnded, method, perplexities, standing, title } from "../lib/job.js";
import { Bar, Status } from "./progress.js";
import { format } from "../lib/router.js";
import { ago, between, change, fixed, moment, percent, perplexity, seconds } from "../lib/units.js";

export class JobRow {
  #job;
  #link = el("a", {});
  #model = el("span", { class: "sub" });
  #labels = el("span", { class: "sub labels" });
  #labelsKey = "";
  #method = el("span", {});
  #owner = el("td", { class: "owner", "data-label": "Owner" });
  #bar;
  #state = el("span", { class: "sub" });
  #bits = el("td", { class: "number", "data-label": "Bits" });
  #perplexity = el("span", {});
  #change = el("span", { class: "sub" });
  #when = el("span", {});
  #took = el("span", { class: "sub" });
  #status;
  #box;
  node;

  /* @onPick(id, checked): it is to be compared, or not. */
  constructor(job, onPick) {
    this.#bar = new Bar(`Progress of job ${job.id}`);
    this.#status = new Status(job);
    this.#box = el("input", { type: "checkbox", "aria-label": `Compare job ${job.id}`,
      onchange: () => onPick(String(job.id), this.#box.checked) });
    this.#link.href = format("job", job.id);
    this.node = el("tr", { "data-job": job.id },
      el("td", { class: "pick" }, this.#box),
      el("td", { class: "number id" }, `${job.id}`),
      el("th", { scope: "row", class: "title" }, this.#link, this.#model, this.#labels),
      el("td", { "data-label": "Method" }, this.#method),
      this.#owner,
      el("td", { class: "state" }, this.#status.node, this.#bar.node, this.#state),
      this.#bits,
      el("td", { class: "number", "data-label": "Perplexity" }, this.#perplexity, this.#change),
      el("td", { class: "when", "data-label": "Submitted" }, this.#when, this.#took));
    this.update(job);
  }

  get job() {
    return this.#job;
  }

  set picked(on) {
    this.#box.checked = on;
  }

  update(job) {
    this.#job = job;
    const measured = perplexities(job);
    const first = measured[0];
    setText(this.#link, title(job));
    setText(this.#model, job.name ? job.params?.model : "");
    this.#drawLabels(job.labels || {}, job.group ?? null);
    setText(this.#method, method(job));
    setText(this.#owner, job.private ? `${job.owner}, private` : job.owner);
    this.#status.update(job);
    this.#updateState(job);
    setText(this.#bits, measured.length ? fixed(bits(job), 2) : "–");
    setText(this.#perplexity, first ? perplexity(first.value) : "–");
    const more = measured.length > 1 ? ` +${measured.length - 1} set${measured.length > 2 ? "s" : ""}` : "";
    const changed = first?.baseline && first.baseline !== first.value;
    setText(this.#change, first ? (changed ? change(first.value, first.baseline) : "") + more : "");
    setAttribute(this.#perplexity, "title", first ? first.set : null);
    this.#box.disabled = !measured.length;
    this.tick();
  }

  /* Each leads to the jobs that have it too, the group to its page. */
  #drawLabels(labels, group) {
    const words = Object.entries(labels).map(([name, value]) => `${name}=${value}`);
    const key = JSON.stringify([words, group]);
    if (key === this.#labelsKey) return;
    this.#labelsKey = key;
    show(this.#labels, group ? el("a", { href: format("group", group.id) }, `group ${group.id}`,
      group.name ? `: ${group.name}` : "") : null, words.map((label) => el("a", { href: format("jobs", null, { label }),
      "aria-label": `Jobs with the label ${label}` }, label)));
  }

  #updateState(job) {
    const share = fraction(job);
    this.#bar.node.hidden = hasEnded(job) || job.status === "queued" && share === null;
    this.#bar.update(share, standing(job));
    const eta = job.status === "running" ? job.progress?.eta_seconds : null;
    let text = "";
    if (job.error) text = job.error.title || job.error.code;
    else if (!hasEnded(job))
      text = [share === null ? "" : percent(share), standing(job),
        typeof eta === "number" ? `${seconds(eta)} left` : ""].filter(Boolean).join(" · ");
    setText(this.#state, text);
  }

  /* The times that pass by themselves. */
  tick() {
    const job = this.#job;
    setText(this.#when, ago(job.created_at));
    setAttribute(this.#when, "title", moment(job.created_at));
    const took = job.started_at && hasEnded(job)
      ? `took ${seconds(between(job.started_at, job.finished_at))}` : "";
    setText(this.#took, took);
  }
}
