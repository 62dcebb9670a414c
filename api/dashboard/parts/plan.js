// SPDX-License-Identifier: Apache-2.0
/* What was planned for target_bits: what each unit minds, and what each size costs. */
import { el, setText, show } from "../lib/dom.js";
import { bytes } from "../lib/units.js";

const kl = (value) => value.toPrecision(3);

export class Plan {
  #said = el("p", {});
  #units = el("div", {});
  #curve = el("div", {});
  node = el("section", { class: "card", "aria-labelledby": "plan-title", hidden: true },
    el("h2", { id: "plan-title" }, "Plan"), this.#said,
    el("div", { class: "scroll tall", tabindex: "0", role: "region", "aria-label": "Plan of bits" },
      this.#units, this.#curve));

  update(plan) {
    const bits = Object.keys(plan.units[0]?.kl ?? {});
    setText(this.#said, `${plan.chosen.bits.toFixed(2)} bits on average, predicted KL divergence ` +
      `${kl(plan.chosen.kl)} (each unit alone rounded to nearest, ${plan.tokens} tokens, added up).`);
    show(this.#units, el("table", { class: "figures" },
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Layer"),
        el("th", { scope: "col" }, "Matrices"), el("th", { scope: "col", class: "number" }, "Bits"),
        bits.map((b) => el("th", { scope: "col", class: "number" }, `KL at ${b}`)))),
      el("tbody", {}, plan.units.map((unit) => el("tr", {}, el("td", {}, String(unit.layer)),
        el("td", {}, unit.modules.join(", ")), el("td", { class: "number" }, String(unit.wbits)),
        bits.map((b) => el("td", { class: "number" }, kl(unit.kl[b]))))))));
    show(this.#curve, el("table", { class: "figures" },
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Mean bits"),
        el("th", { scope: "col", class: "number" }, "Size"),
        el("th", { scope: "col", class: "number" }, "Predicted KL"))),
      el("tbody", {}, plan.curve.map((point) => el("tr", {}, el("td", {}, point.bits.toFixed(2)),
        el("td", { class: "number" }, bytes(point.size_bytes)), el("td", { class: "number" }, kl(point.kl)))))));
    this.node.hidden = false;
  }
}
