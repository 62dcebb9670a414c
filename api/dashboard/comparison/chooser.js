// SPDX-License-Identifier: Apache-2.0
/* Which columns a comparison has: those that differ, all, or the ticked ones. */
import { GROUPS } from "./columns.js";
import { el, setText, show } from "../lib/dom.js";

export class ColumnChooser {
  #onChoose;
  #columns = [];
  #boxes = new Map();
  #key = "";
  #count = el("span", { class: "count" });
  #body = el("div", { class: "chooser" });
  node = el("details", {}, el("summary", {}, "Columns", this.#count), this.#body);

  /* @onChoose(keys): null for the usual ones. */
  constructor(onChoose) {
    this.#onChoose = onChoose;
  }

  update(columns, shown) {
    const key = JSON.stringify(columns.map((column) => column.key));
    this.#columns = columns;
    if (key !== this.#key) {
      this.#key = key;
      this.#draw();
    }
    const on = new Set(shown.map((column) => column.key));
    for (const [name, box] of this.#boxes) box.checked = on.has(name);
    setText(this.#count, `${shown.length} of ${columns.length}`);
  }

  #draw() {
    this.#boxes.clear();
    const groups = GROUPS.map((name) => [name, this.#columns.filter((column) => column.group === name)]);
    show(this.#body,
      el("div", { class: "actions" },
        el("button", { type: "button", onclick: () => this.#onChoose(null) }, "Only what differs"),
        el("button", { type: "button", onclick: () => this.#onChoose(this.#columns.map((c) => c.key)) },
          "All columns")),
      groups.filter(([, columns]) => columns.length).map(([name, columns]) => el("fieldset", {},
        el("legend", {}, name), columns.map((column, i) => this.#box(column, `column-${name}-${i}`)))));
  }

  #box(column, id) {
    const box = el("input", { type: "checkbox", id, onchange: () => this.#chosen() });
    this.#boxes.set(column.key, box);
    return el("div", { class: "check" }, box, el("label", { for: id }, column.title));
  }

  #chosen() {
    this.#onChoose(this.#columns.map((column) => column.key).filter((key) => this.#boxes.get(key).checked));
  }
}
