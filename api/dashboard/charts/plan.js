// SPDX-License-Identifier: Apache-2.0
/* What was planned for target_bits: what each unit minds, and what each size costs. */
import { LineChart, available, style } from "./charts.js";
import { el, pair, setText, show } from "../lib/dom.js";
import { bytes } from "../lib/units.js";
import { rulesOptions } from "../lib/values.js";

const UNITS = {
  module: "What loaders hold in one module is alike.",
  kind: "Each kind of matrix of a layer is by itself.",
  expert: "Each expert is by itself.",
};
const kl = (value) => value.toPrecision(3);
const number = (text) => el("td", { class: "number" }, text);

/* A table with the titles of @columns; those after the first @words have numbers. */
function table(columns, words, rows) {
  return el("table", { class: "figures" },
    el("thead", {}, el("tr", {}, columns.map((title, i) =>
      el("th", { scope: "col", class: i < words ? null : "number" }, title)))),
    el("tbody", {}, rows.map((cells) => el("tr", {}, cells))));
}

/* "4", or, where each expert has its own, "2: 10, 3: 6". */
function bitsOf(unit) {
  if (unit.wbits !== null) return String(unit.wbits);
  return Object.entries(unit.experts ?? {}).filter(([, n]) => n > 0)
    .map(([bits, n]) => `${bits}: ${n}`).join(", ");
}

export class Plan {
  #plan = null;
  #said = el("p", {});
  #measured = el("p", { hidden: true });
  #warning = el("p", { class: "help", hidden: true });
  #options = el("dl", { class: "facts" });
  #units = el("div", {});
  #points = el("div", {});
  #canvas = el("canvas");
  #chart = null;
  node = el("section", { class: "card", "aria-labelledby": "plan-title", hidden: true },
    el("h2", { id: "plan-title" }, "Plan"), this.#said, this.#measured, this.#warning, this.#options,
    available() ? el("div", { class: "chart" }, this.#canvas) : null,
    el("div", { class: "scroll tall", tabindex: "0", role: "region", "aria-label": "Plan of bits" },
      this.#points, this.#units));

  /* @wbits: of the matrices that no rule names. */
  update(plan, wbits) {
    this.#plan = plan;
    setText(this.#said, `${plan.chosen.bits.toFixed(2)} bits on average, predicted KL divergence ` +
      `${kl(plan.chosen.kl)}. ${UNITS[plan.unit] ?? ""} Each unit alone was quantized and compared ` +
      `with the original on ${plan.tokens} tokens.`);
    setText(this.#warning, plan.warning ?? "");
    this.#warning.hidden = !plan.warning;
    this.#drawOptions(wbits);
    this.#drawPoints();
    this.#drawUnits();
    this.node.hidden = false;
    this.#chart ??= new LineChart(this.#canvas, () => this.#describe());
    this.#chart.update();
  }

  /* @difference of the job's result, a set each; undefined: not measured yet. */
  measured(difference) {
    const sets = Object.entries(difference ?? {}).map(([set, one]) => `${kl(one.kl_mean)} on ${set}`);
    setText(this.#measured, `Measured: ${sets.join(", ")}.`);
    this.#measured.hidden = sets.length === 0;
  }

  close() {
    this.#chart?.close();
  }

  /* The choice of each target, as quantctl quantize takes it. */
  #drawOptions(wbits) {
    const { targets = [], chosen } = this.#plan;
    show(this.#options, (targets.length ? targets : [chosen]).map((point) =>
      pair(point.target_bits ? `for ${point.target_bits} bits` : "options",
        el("code", {}, rulesOptions(wbits, point.rules ?? [])))));
  }

  #drawPoints() {
    const { targets = [], curve } = this.#plan;
    show(this.#points, table(["Target", "Mean bits", "Size", "Predicted KL"], 0,
      [...targets, ...curve].map((point) => [number(point.target_bits ? String(point.target_bits) : ""),
        number(point.bits.toFixed(2)), number(bytes(point.size_bytes)), number(kl(point.kl))])));
  }

  #drawUnits() {
    const { units } = this.#plan;
    const bits = Object.keys(units[0]?.kl ?? {});
    show(this.#units, table(["Layer", "Matrices", "Bits", ...bits.map((b) => `KL at ${b}`)], 2,
      units.map((unit) => [el("td", {}, String(unit.layer)), el("td", {}, unit.modules.join(", ")),
        number(bitsOf(unit)), ...bits.map((b) => number(kl(unit.kl[b])))])));
  }

  #describe() {
    const { targets = [], curve } = this.#plan;
    const line = (i, label, points, more) => {
      const { colour, shape } = style(i);
      return { label, borderColor: colour, backgroundColor: colour, borderWidth: 1.5, clip: 8,
        pointStyle: shape, pointRadius: 3.5, ...more,
        data: points.filter((p) => p.kl > 0).map((p) => ({ x: p.bits, y: p.kl })) };
    };
    return {
      label: "Line chart of the predicted divergence over mean bits. The table below has the figures.",
      x: { type: "linear", title: "mean bits" },
      y: { type: "logarithmic", title: "predicted KL divergence, nats",
        ticks: { callback: (value) => (/^[125]/.test(value.toExponential()) ? kl(value) : "") } },
      datasets: [line(0, "best choices", curve, {}),
        line(1, "targets", targets, { showLine: false, pointRadius: 6 })],
      tooltip: {
        title: ([item]) => (item ? `${item.raw.x.toFixed(2)} bits` : ""),
        label: (item) => `${item.dataset.label}: ${kl(item.raw.y)}`,
      },
    };
  }
}
