// SPDX-License-Identifier: Apache-2.0
/*
 * Layers by experts: how wrong each expert is, or how many tokens it saw. A grid for the keyboard
 * (one stop, then arrows); marks, not colour alone, say where another method stood in.
 */
import { el, setAttribute, setText, show } from "../lib/dom.js";
import { EXPERT_PARTS, Layers, edges, step } from "../lib/layers.js";
import { count, error } from "../lib/units.js";

const STEPS = 7;
const narrow = matchMedia("(max-width: 700px)");
const MOVES = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

function radio(name, value, text, checked, onchange) {
  const id = `${name}-${value}`;
  return [el("input", { type: "radio", name, id, value, checked, onchange }),
    el("label", { for: id }, text)];
}

const PARTS = ["worst", ...EXPERT_PARTS];

/* What the colours of heat maps show: the metric, and of which matrix. */
export class HeatChoice {
  metric = "error";
  part = "worst";
  #part;
  #parts;
  node;

  constructor(onChange) {
    this.#part = el("select", { id: "heat-part", onchange: () => {
      this.part = this.#part.value;
      onChange();
    } }, PARTS.map((p) => el("option", { value: p }, p === "worst" ? "the worst of the three" : p)));
    const choose = (metric) => () => {
      this.metric = metric;
      this.#parts.hidden = metric !== "error";
      onChange();
    };
    this.#parts = el("div", { class: "inline" }, el("label", { for: "heat-part" }, "Matrix"), this.#part);
    this.node = el("div", { class: "inline" },
      el("fieldset", { class: "choice" }, el("legend", { class: "unseen" }, "Colour shows"),
        radio("heat-metric", "error", "Relative error", true, choose("error")),
        radio("heat-metric", "tokens", "Tokens seen", false, choose("tokens"))),
      this.#parts);
  }

  /* In one word: "tokens", or the matrix whose errors are shown. */
  get name() {
    return this.metric === "tokens" ? "tokens" : this.part;
  }

  /* Takes what name() said once; another text is the errors of the worst. */
  set name(text) {
    this.metric = text === "tokens" ? "tokens" : "error";
    this.part = PARTS.includes(text) ? text : "worst";
    this.#part.value = this.part;
    this.#parts.hidden = this.metric !== "error";
    this.node.querySelector(`[value=${this.metric}]`).checked = true;
  }
}

export class HeatMap {
  #layers;
  #choice;
  #at = [0, 0]; // row and column that the keyboard stops at
  #cells = [];
  #clipped = [false, false]; // are there values below and above the scale?
  #grid;
  #told = el("p", { class: "told", "aria-hidden": "true" });
  #legend = el("div", { class: "scale" });
  #table;
  #details;
  #summary;
  #scale = undefined; // that of several maps, or undefined: its own
  #onNarrow = () => this.update();
  node;

  /* @choice: a HeatChoice that several maps share; null: one of its own. @id: begins those of its elements. */
  constructor(layers, { choice = null, id = "heat", heading = "Layers and experts" } = {}) {
    this.#layers = layers;
    this.#choice = choice ?? new HeatChoice(() => this.update());
    this.#grid = el("table", { class: "heat", role: "grid", "aria-labelledby": `${id}-title`,
      "aria-describedby": `${id}-help` });
    this.#summary = el("p", { class: "help", id: `${id}-help` });
    this.#table = el("div", { class: "scroll", tabindex: "0", role: "region",
      "aria-label": `Figures of each expert${choice ? ` of ${heading}` : ""}` });
    this.#details = el("details", { ontoggle: () => this.#drawTable() },
      el("summary", {}, "As a table"), this.#table);
    this.node = el("section", { class: choice ? null : "card", "aria-labelledby": `${id}-title` },
      el("div", { class: "spread" }, el(choice ? "h3" : "h2", { id: `${id}-title` }, heading),
        choice ? null : this.#choice.node),
      this.#summary, el("div", {}, el("div", { class: "scroll heat-scroll" }, this.#grid), this.#told),
      this.#legend, this.#details);
    this.#grid.addEventListener("keydown", (event) => this.#key(event));
    this.#grid.addEventListener("focusin", (event) => this.#tell(event.target));
    this.#grid.addEventListener("mouseover", (event) => this.#tell(event.target));
    this.#grid.addEventListener("mouseleave", () => this.#tell(document.activeElement));
    this.#grid.addEventListener("click", (event) => this.#focus(event.target));
    narrow.addEventListener("change", this.#onNarrow);
  }

  close() {
    narrow.removeEventListener("change", this.#onNarrow);
  }

  update() {
    const list = this.#layers.list.filter((layer) => layer.experts.length);
    const n = this.#layers.nExperts;
    this.node.hidden = list.length === 0;
    if (this.node.hidden) return;
    const places = this.#layers.places;
    const values = this.values;
    const scale = this.#scale ?? edges(values, STEPS);
    this.#clipped = [values.some((v) => v < scale?.[0]), values.some((v) => v > scale?.at(-1))];
    this.#summarize(list);
    this.#drawGrid(places, n, scale);
    this.#drawLegend(scale, list);
    this.#drawTable();
  }

  /* What it shows, a number for each expert that is reported. */
  get values() {
    return this.#layers.list.flatMap((layer) => layer.experts.map((expert) => this.#value(expert)));
  }

  /* Draws with the colours of all @values, which are those of several maps. */
  drawAmong(values) {
    this.#scale = edges(values, STEPS);
    this.update();
  }

  #value(expert) {
    return Layers.value(expert, this.#choice.metric, this.#choice.part);
  }

  #text(value) {
    return this.#choice.metric === "tokens" ? count(value) : error(value);
  }

  #summarize(list) {
    const all = list.flatMap((layer) => layer.experts).filter(Boolean);
    const fallbacks = all.filter((expert) => expert.reason).length;
    const few = all.filter((expert) => expert.few).length;
    const n = this.#layers.places.length;
    const words = [list.length < n ? `${list.length} of ${n} layers are finished.`
      : `${n} layers of ${this.#layers.nExperts} experts.`];
    if (fallbacks) words.push(`${fallbacks} experts fell back to another method.`);
    if (few) words.push(`${few} saw fewer tokens than a matrix of theirs has inputs.`);
    if (!this.#layers.hasTokens) words.push("A method without calibration counts no tokens.");
    setText(this.#summary, words.join(" "));
  }

  /* Layers go down the side; on a phone experts do, as there are more of them. */
  #drawGrid(places, n, scale) {
    const flipped = narrow.matches;
    const rows = flipped ? n : places.length;
    const columns = flipped ? places.length : n;
    const head = el("tr", {}, el("td", { class: "corner" }, flipped ? "expert" : "layer"),
      Array.from({ length: columns }, (_, j) =>
        el("th", { scope: "col", "aria-label": `${flipped ? "layer" : "expert"} ${j}` },
          columns <= 16 || j % 4 === 0 ? `${j}` : "")));
    this.#grid.style.maxWidth = `${60 + columns * 36}px`;
    const hadFocus = this.#grid.contains(document.activeElement);
    this.#cells = Array.from({ length: rows }, (_, i) => Array.from({ length: columns }, (_, j) =>
      this.#cell(places, flipped ? j : i, flipped ? i : j, scale)));
    this.#at = [Math.min(this.#at[0], rows - 1), Math.min(this.#at[1], columns - 1)];
    show(this.#grid, el("thead", {}, head), el("tbody", {}, this.#cells.map((cells, i) =>
      el("tr", {}, el("th", { scope: "row" }, `${i}`), cells))));
    const stop = this.#cells[this.#at[0]][this.#at[1]];
    stop.tabIndex = 0;
    if (hadFocus) stop.focus({ preventScroll: true });
  }

  #cell(places, layer, i, scale) {
    const expert = places[layer]?.experts[i];
    const value = this.#value(expert);
    const words = [`layer ${layer}, expert ${i}`];
    if (!expert) words.push("not finished yet");
    else {
      words.push(`relative error ${error(Layers.value(expert, "error", this.#choice.part))}` +
        (this.#choice.part === "worst" ? "" : ` of ${this.#choice.part}`));
      if (this.#layers.hasTokens) words.push(`${count(expert.tokens)} tokens`);
      if (expert.few) words.push("few tokens");
      if (expert.reason) words.push(`fell back to another method: ${expert.reason}`);
    }
    return el("td", {
      role: "gridcell", tabindex: "-1", "aria-label": words.join(", "),
      "data-step": Number.isFinite(value) ? step(scale, value) : "none",
      "data-mark": expert?.reason ? "fallback" : expert?.few ? "few" : null,
    });
  }

  #tell(target) {
    const cell = target?.closest?.("[role=gridcell]");
    const inside = cell && this.#grid.contains(cell);
    setText(this.#told, inside ? cell.getAttribute("aria-label") : "Point at a cell, or use the arrow keys.");
  }

  #find(cell) {
    for (let i = 0; i < this.#cells.length; i++) {
      const j = this.#cells[i].indexOf(cell);
      if (j >= 0) return [i, j];
    }
    return null;
  }

  #focus(cell) {
    const at = this.#find(cell);
    if (!at) return;
    this.#cells[this.#at[0]][this.#at[1]].tabIndex = -1;
    this.#at = at;
    cell.tabIndex = 0;
    cell.focus();
  }

  #key(event) {
    const [i, j] = this.#at;
    const last = this.#cells[0].length - 1;
    let to = null;
    if (MOVES[event.key]) to = [i + MOVES[event.key][0], j + MOVES[event.key][1]];
    else if (event.key === "Home") to = [event.ctrlKey ? 0 : i, 0];
    else if (event.key === "End") to = [event.ctrlKey ? this.#cells.length - 1 : i, last];
    if (!to || event.altKey || event.metaKey) return;
    event.preventDefault();
    this.#focus(this.#cells[to[0]]?.[to[1]]);
  }

  #drawLegend(scale, list) {
    if (!scale) return show(this.#legend);
    const all = list.flatMap((layer) => layer.experts).filter(Boolean);
    const mark = (kind, text) => all.some((e) => (kind === "few" ? e.few && !e.reason : e.reason))
      ? el("span", { class: "key" }, el("i", { "data-mark": kind, "data-step": "0" }), text) : null;
    show(this.#legend,
      el("span", { class: "key" }, (this.#clipped[0] ? "≤ " : "") + this.#text(scale[0]),
        el("span", { class: "ramp", role: "img", "aria-label":
          `Colours from ${this.#text(scale[0])} to ${this.#text(scale.at(-1))}` },
        Array.from({ length: STEPS }, (_, i) =>
          el("i", { "data-step": i, title: `${this.#text(scale[i])} to ${this.#text(scale[i + 1])}` }))),
        (this.#clipped[1] ? "≥ " : "") + this.#text(scale.at(-1))),
      mark("fallback", "fell back to another method"),
      mark("few", "few tokens: fewer than a matrix has inputs"));
    this.#tell(document.activeElement);
    return null;
  }

  #drawTable() {
    if (!this.#details.open) return show(this.#table);
    return show(this.#table, el("table", { class: "figures" },
      el("thead", {}, el("tr", {}, ["Layer", "Expert", "Tokens", "Gate", "Up", "Down", "Note"]
        .map((text) => el("th", { scope: "col", class: text === "Note" ? null : "number" }, text)))),
      el("tbody", {}, this.#layers.list.flatMap((layer) => layer.experts.map((expert, i) =>
        el("tr", {}, [layer.layer, i, count(expert?.tokens),
          ...EXPERT_PARTS.map((part) => error(expert?.[part]?.error))]
          .map((text) => el("td", { class: "number" }, `${text}`)),
        el("td", {}, expert?.reason || (expert?.few ? "few tokens" : ""))))))));
  }
}
