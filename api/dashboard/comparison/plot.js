// SPDX-License-Identifier: Apache-2.0
/* Jobs by two of their figures, with the Pareto front: what to choose from, and the picture to save. */
import { Scatter, png } from "../charts/scatter.js";
import { differs, front, textOf } from "./columns.js";
import { announce, el, setText, show } from "../lib/dom.js";
import { bits, perplexities, title } from "../lib/job.js";
import { format } from "../lib/router.js";
import { save } from "../lib/save.js";

const SERIES_MAX = 7; // as many as there are shapes
const LOG_FROM = 3; // a logarithmic axis suits values this far apart
const METHOD = "params:method";

function values(jobs, column) {
  return jobs.map((job) => column.value(job)).filter((value) => value !== null);
}

/* Does a logarithmic axis suit @found? */
function spans(found) {
  const least = Math.min(...found);
  return found.length > 0 && least > 0 && Math.max(...found) > LOG_FROM * least;
}

/* The perplexity of the unquantized model on the set of @column, when all @jobs have the same. */
function levelOf(jobs, column) {
  if (column.measures !== "perplexity") return null;
  const found = jobs.flatMap(perplexities)
    .filter((entry) => entry.set === column.set && Number.isFinite(entry.baseline));
  const all = new Set(found.map((entry) => entry.baseline));
  return all.size === 1 ? [...all][0] : null;
}

export class ParetoPlot {
  #on;
  #id;
  #file;
  #wants;
  #scatter = new Scatter();
  #selects = {};
  #boxes = {};
  #note = el("p", { class: "help" });
  #tools;
  node;

  /*
   * @heading: of its region. @wants: {x, y} of keys of columns, or their beginnings, that it has at
   * first. @id: of its elements, when there are several. @file: the name of its pictures.
   * @on({x, y, log, colour}): what of the picture is to change.
   */
  constructor({ heading, wants = {}, id = "plot", file = "comparison" }, on) {
    this.#on = on;
    this.#id = id;
    this.#file = file;
    this.#wants = wants;
    const title = el("h2", { id: `${id}-title` }, heading);
    const together = (...nodes) => el("span", { class: "inline" }, nodes);
    this.#tools = el("div", { class: "inline" }, together(this.#select("y", "Plot"), this.#log("y")),
      together(this.#select("x", "against"), this.#log("x")), together(this.#select("colour", "Colours by")));
    this.node = el("section", { class: "card", "aria-labelledby": `${id}-title` },
      el("div", { class: "spread" }, title, el("div", { class: "inline" },
        el("button", { type: "button", class: "small", onclick: () => this.#saveSvg() }, "Save as SVG"),
        el("button", { type: "button", class: "small", onclick: () => this.#savePng() }, "Save as PNG"))),
      this.#tools, this.#scatter.node, this.#note);
  }

  close() {
    this.#scatter.close();
  }

  #select(name, label) {
    const select = el("select", { id: `${this.#id}-${name}`, onchange: () => this.#on({ [name]: select.value,
      ...(name === "colour" ? {} : { log: { x: null, y: null } }) }) });
    this.#selects[name] = select;
    return [el("label", { for: select.id }, label), select];
  }

  #log(name) {
    const box = el("input", { type: "checkbox", id: `${this.#id}-log-${name}`,
      onchange: () => this.#on({ log: { x: this.#boxes.x.checked, y: this.#boxes.y.checked } }) });
    this.#boxes[name] = box;
    return el("span", { class: "check" }, box, el("label", { for: box.id }, "log"));
  }

  /* @state: {x, y, log, colour} of state.js. @own: the number of a job to stand out, or null. */
  update({ jobs, columns, state, own = null }) {
    const figures = columns.filter((column) => column.group === "Figures");
    const named = (key) => key && figures.find((column) => column.key === key || column.key.startsWith(`${key}:`));
    const y = named(state.y) ?? named(this.#wants.y) ?? figures.find((column) => column.set);
    const x = named(state.x) ?? named(this.#wants.x) ?? named("bits") ?? figures.find((column) => column !== y);
    const drawable = x && y ? jobs.filter((job) => x.value(job) !== null && y.value(job) !== null) : [];
    const level = y ? levelOf(jobs, y) : null;
    // What is drawn as a line across needs no point beside it.
    const shown = drawable.filter((job) => level === null || bits(job) < 16);
    this.node.hidden = shown.length === 0 || (shown.length === 1 && level === null);
    if (this.node.hidden) return;
    const log = this.#logOf(state, shown, x, y);
    const seen = shown.filter((job) => !(log.x && x.value(job) <= 0) && !(log.y && y.value(job) <= 0));
    const by = this.#colours(columns, shown, state.colour);
    this.#offer(figures, x, y, log);
    this.#draw({ jobs: seen, x, y, log, by, level, own });
    const left = jobs.length - seen.length - (drawable.length - shown.length);
    setText(this.#note, left ? `${left} of ${jobs.length} jobs are not drawn: they have no such figures` +
      `${log.x || log.y ? ", or none above 0" : ""}.` : "");
  }

  #logOf(state, jobs, x, y) {
    return { x: state.log.x ?? spans(values(jobs, x)), y: state.log.y ?? spans(values(jobs, y)) };
  }

  /* The column whose values have colours; the methods unless another is chosen. */
  #colours(columns, jobs, wanted) {
    const few = columns.filter((column) => column.group !== "Figures" && (column.key === METHOD ||
      differs(jobs, column) && new Set(jobs.map((job) => column.value(job))).size <= SERIES_MAX));
    const by = few.find((column) => column.key === wanted) ?? few.find((column) => column.key === METHOD) ??
      few[0] ?? null;
    show(this.#selects.colour, few.map((column) =>
      el("option", { value: column.key, selected: column === by }, column.title)));
    this.#selects.colour.disabled = few.length < 2;
    return by;
  }

  #offer(figures, x, y, log) {
    for (const [name, chosen] of [["x", x], ["y", y]])
      show(this.#selects[name], figures.map((column) =>
        el("option", { value: column.key, selected: column === chosen }, column.title)));
    this.#boxes.x.checked = log.x;
    this.#boxes.y.checked = log.y;
  }

  #draw({ jobs, x, y, log, by, level, own }) {
    const best = new Set(front(jobs, x, y));
    const names = by ? [...new Set(jobs.map((job) => textOf(by, job)))].sort() : [""];
    const point = (job) => ({
      x: x.value(job), y: y.value(job), word: String(job.id), href: format("job", job.id),
      front: best.has(job), own: String(job.id) === own,
      series: by ? Math.min(SERIES_MAX - 1, names.indexOf(textOf(by, job))) : 0,
      label: [`job ${job.id}, ${title(job)}`, `${x.title} ${textOf(x, job)}`, `${y.title} ${textOf(y, job)}`,
        by ? `${by.title} ${textOf(by, job)}` : "", best.has(job) ? "on the Pareto front" : ""]
        .filter(Boolean).join(", "),
    });
    this.#scatter.update({
      label: `${y.title} against ${x.title} of ${jobs.length} jobs, ${best.size} of them on the Pareto front. ` +
        "The table has the figures.",
      x: { title: x.title, log: log.x, text: x.tick ?? x.text },
      y: { title: y.title, log: log.y, text: y.tick ?? y.text },
      points: jobs.map(point), series: names.slice(0, SERIES_MAX),
      level: level === null || log.y && level <= 0 ? null : { y: level, word: "unquantized" },
    });
  }

  /* Of a picture's file; several of a page have different ones. */
  #name() {
    return this.#id === "plot" ? this.#file : `${this.#file}-${this.#id}`;
  }

  #saveSvg() {
    save(new Blob([this.#scatter.text()], { type: "image/svg+xml" }), `${this.#name()}.svg`);
  }

  async #savePng() {
    try {
      save(await png(this.#scatter.text()), `${this.#name()}.png`);
    } catch {
      announce("This browser cannot make the picture. Save it as SVG instead.");
    }
  }
}
