// SPDX-License-Identifier: Apache-2.0
/* Jobs side by side: perplexity, size, time; and perplexity against bits per weight. */
import { LineChart, available, style } from "./charts.js";
import { el, setAttribute, show } from "../lib/dom.js";
import { bits, method, perplexities, title } from "../lib/job.js";
import { format } from "../lib/router.js";
import { bytes, change, fixed, perplexity, seconds } from "../lib/units.js";

const CHOICES_MAX = 200;
const ANY = 1e-9; // a perplexity below all: jobs that have one

/* Data sets that any of @jobs measured. */
function setsOf(jobs) {
  return [...new Set(jobs.flatMap((job) => perplexities(job).map((p) => p.set)))];
}

function measured(job, set) {
  return perplexities(job).find((p) => p.set === set);
}

/* A cell; on a phone it says itself what its column is. */
function figure(label, ...content) {
  return el("td", { class: "number", "data-label": label }, ...content);
}

/*
 * @onChange(ids): other jobs are to be compared. @fixed: the id of a job that is always among them,
 * or null.
 */
export class Comparison {
  #api;
  #fixed;
  #onChange;
  #jobs = [];
  #choices = [];
  #older = false; // there are more than are offered
  #set = null;
  #canvas = el("canvas");
  #table = el("div", { class: "scroll", tabindex: "0", role: "region",
    "aria-label": "Perplexity, bits and size" });
  #chart;
  #chartBox;
  #sets = el("select", { id: "comparison-set" });
  #setBox;
  #add = el("select", { id: "comparison-add" });
  node;

  constructor(api, fixed, heading, onChange) {
    this.#api = api;
    this.#fixed = fixed;
    this.#onChange = onChange;
    this.#setBox = el("div", { class: "inline" }, el("label", { for: "comparison-set" }, "Plot"),
      this.#sets);
    this.#chartBox = el("div", { class: "chart" }, this.#canvas);
    this.node = el("section", { class: "card", "aria-labelledby": "comparison-title" },
      el("div", { class: "spread" }, el("h2", { id: "comparison-title" }, heading),
        el("div", { class: "inline" }, this.#setBox,
          el("label", { for: "comparison-add" }, fixed === null ? "Add" : "Compare with"), this.#add)),
      this.#table, available() ? this.#chartBox : null);
    this.#chart = new LineChart(this.#canvas, () => this.#describe());
    this.#sets.addEventListener("change", () => {
      this.#set = this.#sets.value;
      this.#chart.update();
    });
    this.#add.addEventListener("change", () => {
      const id = this.#add.value;
      if (id) this.#onChange([...this.#ids(), id]);
    });
    this.#offerMore();
  }

  close() {
    this.#chart.close();
  }

  #ids() {
    return this.#jobs.map((job) => String(job.id)).filter((id) => id !== String(this.#fixed));
  }

  /* Which jobs there are to choose from. */
  async #offerMore() {
    try {
      const { data } = await this.#api.get(`/v1/jobs?status=succeeded&perplexity_min=${ANY}&limit=${CHOICES_MAX}`);
      this.#choices = data.data.filter((job) => perplexities(job).length);
      this.#older = data.has_more;
    } catch {
      this.#choices = [];
    }
    this.#drawChoices();
  }

  #drawChoices() {
    const shown = new Set(this.#jobs.map((job) => job.id));
    const model = this.#jobs[0]?.model?.fingerprint;
    const left = this.#choices.filter((job) => !shown.has(job.id) && String(job.id) !== String(this.#fixed));
    const same = left.filter((job) => !model || job.model?.fingerprint === model);
    const others = left.filter((job) => !same.includes(job));
    const option = (job) => el("option", { value: job.id },
      `${job.id}: ${title(job)}${job.name ? ` (${method(job)})` : `, ${method(job)}`}`);
    show(this.#add, el("option", { value: "" }, left.length ? "choose a job" : "no other job"),
      same.map(option),
      others.length ? el("optgroup", { label: "Other models" }, others.map(option)) : null,
      this.#older ? el("option", { disabled: true }, "older jobs: choose them in the list of jobs") : null);
    this.#add.disabled = left.length === 0;
  }

  /* Shows @jobs, in their order. */
  update(jobs) {
    this.#jobs = jobs;
    const sets = setsOf(jobs);
    if (!sets.includes(this.#set)) this.#set = sets[0] ?? null;
    this.#setBox.hidden = sets.length < 2;
    show(this.#sets, sets.map((set) => el("option", { value: set, selected: set === this.#set }, set)));
    this.#drawChoices();
    this.#drawTable(sets);
    const points = jobs.filter((job) => bits(job) < 16 && measured(job, this.#set)).length;
    const plotted = points > 1 || points === 1 && Number.isFinite(this.#baseline(this.#set));
    setAttribute(this.#chartBox, "hidden", plotted ? null : "");
    if (plotted) this.#chart.update();
  }

  #drawTable(sets) {
    const heads = ["Job", ...sets, "Bits per weight", "Size", "Took", ""];
    show(this.#table, el("table", { class: "figures compare stack" },
      el("thead", {}, el("tr", {}, heads.map((text, i) => text === "" ? el("td", {})
        : el("th", { scope: "col", class: i ? "number" : null }, text)))),
      el("tbody", {}, this.#jobs.map((job) => this.#row(job, sets)), this.#baselineRow(sets))));
  }

  #row(job, sets) {
    const own = String(job.id) === String(this.#fixed);
    const remove = own ? "" : el("button", { type: "button", class: "small",
      "aria-label": `Leave job ${job.id} out`,
      onclick: () => this.#onChange(this.#ids().filter((id) => id !== String(job.id))) }, "Leave out");
    const name = own ? el("span", {}, title(job)) : el("a", { href: format("job", job.id) }, title(job));
    return el("tr", { class: own ? "own" : null },
      el("th", { scope: "row" }, el("span", { class: "muted" }, `${job.id} `), name,
        el("span", { class: "sub" }, own ? `${method(job)} (this job)` : method(job))),
      sets.map((set) => this.#value(set, measured(job, set))),
      figure("Bits per weight", fixed(bits(job), 2)),
      figure("Size", bytes(job.result?.size_bytes)),
      figure("Took", seconds(job.result?.seconds?.total)), el("td", { class: "end" }, remove));
  }

  #value(set, entry) {
    if (!entry) return figure(set, "–");
    const changed = entry.baseline !== null && entry.baseline !== entry.value;
    return figure(set, perplexity(entry.value),
      el("span", { class: "muted" }, ` ± ${fixed(entry.stderr, 3)}`),
      el("span", { class: "sub" }, changed ? change(entry.value, entry.baseline)
        : entry.baseline === null ? "no baseline yet" : "the baseline"));
  }

  /* What the model gives at 16 bits, where a job that measured it is not in the table itself. */
  #baselineRow(sets) {
    if (this.#jobs.some((job) => bits(job) === 16)) return null;
    const values = sets.map((set) => this.#baseline(set));
    if (!values.some((value) => Number.isFinite(value))) return null;
    const size = this.#jobs[0]?.model?.parameters;
    return el("tr", { class: "baseline" },
      el("th", { scope: "row" }, "unquantized", el("span", { class: "sub" }, "the baseline")),
      values.map((value, i) => figure(sets[i], perplexity(value))),
      figure("Bits per weight", "16.00"), figure("Size", bytes(size ? size * 2 : NaN)),
      figure("Took", "–"), el("td", {}));
  }

  #baseline(set) {
    const found = this.#jobs.map((job) => measured(job, set)?.baseline).filter(Number.isFinite);
    return new Set(found).size === 1 ? found[0] : NaN;
  }

  #describe() {
    const points = this.#jobs.filter((job) => bits(job) < 16 && measured(job, this.#set));
    const baseline = this.#baseline(this.#set);
    const xs = points.map(bits);
    const low = Math.floor(Math.min(...xs, 4) - 0.2);
    const high = Math.ceil(Math.max(...xs, 4) + 0.2);
    const own = style(1);
    const others = style(0);
    const line = { label: "unquantized", data: [{ x: low, y: baseline }, { x: high, y: baseline }],
      borderColor: style(5).colour, borderDash: [5, 4], borderWidth: 1.5, pointRadius: 0,
      words: ["unquantized"], wordsBelow: true };
    return {
      label: `Perplexity on ${this.#set} against bits per weight of ${points.length} jobs. ` +
        "The table above has the figures.",
      x: { type: "linear", title: "bits per weight", min: low, max: high },
      y: { type: "linear", title: `perplexity on ${this.#set}`, grace: "8%" },
      datasets: [
        ...(Number.isFinite(baseline) ? [line] : []),
        ...points.map((job) => {
          const look = String(job.id) === String(this.#fixed) ? own : others;
          return { label: `job ${job.id}`, showLine: false, clip: 12, pointRadius: 5, words: [`${job.id}`],
            pointStyle: look.shape, borderColor: look.colour, backgroundColor: look.colour,
            data: [{ x: bits(job), y: measured(job, this.#set).value }] };
        }),
      ],
      tooltip: {
        title: ([item]) => item?.dataset.label ?? "",
        label: (item) => `${fixed(item.raw.x, 2)} bits, perplexity ${perplexity(item.raw.y)}`,
      },
    };
  }
}
