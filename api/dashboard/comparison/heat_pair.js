// SPDX-License-Identifier: Apache-2.0
/* The heat maps of two jobs side by side, in the same colours. */
import { HeatChoice, HeatMap } from "../charts/heatmap.js";
import { el, show } from "../lib/dom.js";
import { method, title } from "../lib/job.js";
import { Layers } from "../lib/layers.js";

const SIDES = ["Left", "Right"];

/* Jobs that may have reports of layers. */
function hasLayers(job) {
  return job.kind === "quantize" && job.params?.wbits < 16;
}

export class HeatPair {
  #api;
  #on;
  #jobs = [];
  #chosen = null; // nothing is drawn yet
  #maps = [];
  #asked = 0;
  #choice = new HeatChoice(() => {
    this.#on({ shows: this.#choice.name });
    this.#draw();
  });
  #selects;
  #choiceNode;
  #pair = el("div", { class: "pair" });
  node;

  /* @on({heat, shows}): what is to change: the numbers of the two jobs, or what the colours show. */
  constructor(api, on) {
    this.#api = api;
    this.#on = on;
    this.#selects = SIDES.map((side) => el("select", { id: `pair-${side}`, onchange: () => this.#choose() }));
    this.#choiceNode = el("div", {}, this.#choice.node);
    this.node = el("section", { class: "card", "aria-labelledby": "pair-title" },
      el("div", { class: "spread" }, el("h2", { id: "pair-title" }, "Layers and experts of two jobs"),
        el("div", { class: "inline" }, SIDES.map((side, i) =>
          [el("label", { for: `pair-${side}` }, side), this.#selects[i]]))),
      this.#choiceNode, this.#pair);
  }

  close() {
    for (const map of this.#maps) map.close();
  }

  /* @chosen: numbers of the two jobs, or fewer: none are drawn then. @shows: what the colours show. */
  update(jobs, chosen, shows) {
    this.#jobs = jobs.filter(hasLayers);
    this.node.hidden = this.#jobs.length < 2;
    const known = chosen.filter((id) => this.#jobs.some((job) => String(job.id) === id));
    SIDES.forEach((side, i) => show(this.#selects[i], el("option", { value: "" }, "choose a job"),
      this.#jobs.map((job) => el("option", { value: job.id, selected: String(job.id) === known[i] },
        `${job.id}: ${title(job)}`))));
    const others = (shows ?? "worst") !== this.#choice.name;
    if (others) this.#choice.name = shows;
    if (known.join() === this.#chosen?.join()) {
      if (others) this.#draw();
      return;
    }
    this.#chosen = known;
    this.#load();
  }

  #choose() {
    this.#on({ heat: this.#selects.map((select) => select.value).filter(Boolean) });
  }

  async #load() {
    const asked = ++this.#asked;
    this.close();
    this.#maps = [];
    const both = this.#chosen.length === 2;
    this.#choiceNode.hidden = !both;
    show(this.#pair, both ? "" : el("p", { class: "help" }, "Choose two jobs to see their errors beside each other."));
    if (!both) return;
    try {
      const reports = await Promise.all(this.#chosen.map((id) => this.#api.get(`/v1/jobs/${id}/layers`)));
      if (asked === this.#asked) this.#build(reports.map(({ data }) => data.data));
    } catch (error) {
      if (asked === this.#asked) show(this.#pair, el("p", { class: "problem", role: "alert" }, error.message));
    }
  }

  #build(reports) {
    this.#maps = this.#chosen.map((id, i) => {
      const job = this.#jobs.find((other) => String(other.id) === id);
      const layers = new Layers();
      if (job.model) layers.setModel(job.model);
      for (const report of reports[i]) layers.add(report);
      return new HeatMap(layers, { choice: this.#choice, id: `heat-${i}`,
        heading: `Job ${id}, ${job.name ? title(job) : method(job)}` });
    });
    const empty = this.#chosen.filter((_, i) => !reports[i].length);
    show(this.#pair, this.#maps.map((map) => map.node),
      empty.length ? el("p", { class: "help" }, `No layer of job ${empty.join(" and ")} is reported.`) : null);
    this.#draw();
  }

  #draw() {
    const values = this.#maps.flatMap((map) => map.values);
    for (const map of this.#maps) map.drawAmong(values);
  }
}
