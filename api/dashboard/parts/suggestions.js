// SPDX-License-Identifier: Apache-2.0
/* What a field may hold, to be picked: of a line of text as one types, of a list by buttons. */
import { el, setAttribute, show } from "../lib/dom.js";

const BUTTONS_MAX = 12;

export class Suggestions {
  #input;
  #isList;
  node;

  /* @isList: the text of @input is a list with commas. @title: the name of the field. */
  constructor(input, isList, title) {
    this.#input = input;
    this.#isList = isList;
    this.node = isList
      ? el("div", { class: "chips", role: "group", "aria-label": `Suggestions for ${title}`, hidden: true })
      : el("datalist", { id: `${input.id}-examples` });
    for (const type of isList ? ["input", "change"] : []) input.addEventListener(type, () => this.mark());
  }

  /* @values: [{value, label}]. */
  update(values) {
    if (!this.#isList) {
      show(this.node, values.map(({ value, label }) => el("option", { value, label: label || null })));
      setAttribute(this.#input, "list", values.length ? this.node.id : null);
      return;
    }
    this.node.hidden = values.length === 0;
    show(this.node, values.slice(0, BUTTONS_MAX).map(({ value, label }) => el("button", { type: "button",
      class: "small", "data-value": value, title: label || null, onclick: () => this.#toggle(value) }, value)));
    this.mark();
  }

  get #chosen() {
    return this.#input.value.split(",").map((text) => text.trim()).filter(Boolean);
  }

  #toggle(value) {
    const chosen = this.#chosen;
    const left = chosen.filter((one) => one !== value);
    this.#input.value = (left.length < chosen.length ? left : [...chosen, value]).join(", ");
    this.#input.dispatchEvent(new Event("input", { bubbles: true }));
  }

  /* Presses the buttons whose values the text has, after the page has set it. */
  mark() {
    if (!this.#isList) return;
    const chosen = this.#chosen;
    for (const button of this.node.children)
      button.setAttribute("aria-pressed", String(chosen.includes(button.dataset.value)));
  }
}
