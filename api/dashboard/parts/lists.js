// SPDX-License-Identifier: Apache-2.0
/* The part of the form where parameters get several values. */
import { MEMBERS_MAX, countOf, mayVary, valuesOf } from "../lib/lists.js";
import { el, setAttribute, setText, show } from "../lib/dom.js";

const FIRST = ["wbits", "groupsize"]; // what most vary
const EXAMPLES = { wbits: "3, 4", groupsize: "32, 64, 128" };

export class Lists {
  #fields;
  #onChange;
  #kind = "quantize";
  #rows = [];
  #made = 0;
  #list = el("div", { class: "fields" });
  #count = el("span", { class: "count" });
  #problem = el("p", { class: "problem", role: "alert", hidden: true });
  node;

  /* @fields: [{name, title, schema}] of the form. @onChange(): what the lists hold is another. */
  constructor(fields, onChange) {
    this.#fields = fields;
    this.#onChange = onChange;
    this.node = el("details", { class: "card", role: "group", "aria-label": "Several values" },
      el("summary", {}, "Several values: a group of jobs", this.#count),
      el("p", { class: "help" }, "Values with commas between them. There is a job for each combination, " +
        `at most ${MEMBERS_MAX}; the rest of the form is the same for all of them.`),
      this.#list, this.#problem,
      el("div", { class: "actions" },
        el("button", { type: "button", class: "small", onclick: () => this.#add() }, "Vary another")));
    for (const name of FIRST) if (this.#offered.some((field) => field.name === name)) this.#row(name);
  }

  get #offered() {
    return this.#fields.filter((field) => mayVary(field.name, field.schema, this.#kind));
  }

  /* Jobs of another kind take other parameters. */
  set kind(kind) {
    if (kind === this.#kind) return;
    this.#kind = kind;
    for (const row of this.#rows) this.#offer(row, row.select.value);
    this.node.hidden = kind !== "quantize";
  }

  /* {lists: {name: values}, wrong: [row, problem]}; a list without values is none. */
  read() {
    const lists = {};
    const wrong = [];
    for (const row of this.node.hidden ? [] : this.#rows) {
      const field = this.#fields.find((one) => one.name === row.select.value);
      const { values, problem } = field ? valuesOf(field.schema, row.input.value) : { values: [] };
      if (problem) wrong.push([row, problem]);
      else if (values.length && lists[field.name]) wrong.push([row, "is varied twice"]);
      else if (values.length) lists[field.name] = values;
    }
    return { lists, wrong };
  }

  /* Says how many jobs there will be, and what is wrong. */
  update() {
    const { lists, wrong } = this.read();
    const n = countOf(lists);
    setText(this.#count, Object.keys(lists).length ? ` ${n} jobs` : "");
    for (const row of this.#rows) this.#complain(row, null);
    for (const [row, problem] of wrong) this.#complain(row, problem);
    this.say(n > MEMBERS_MAX ? `${n} jobs are more than the ${MEMBERS_MAX} that a group may have.` : null);
    return { lists, wrong: wrong.length > 0 || n > MEMBERS_MAX };
  }

  /* The daemon's word on parameter @name; true: it has a row here. */
  complain(name, problem) {
    const row = this.#rows.find((one) => one.select.value === name && one.input.value.trim());
    if (row) this.#complain(row, problem);
    return Boolean(row);
  }

  say(problem) {
    setText(this.#problem, problem);
    this.#problem.hidden = !problem;
  }

  /* Puts the cursor where the first list is. */
  focus() {
    this.node.open = true;
    this.#rows[0]?.input.focus();
  }

  #add() {
    const used = this.#rows.map((row) => row.select.value);
    const next = this.#offered.find((field) => !used.includes(field.name));
    if (next) this.#row(next.name).select.focus();
  }

  #row(name) {
    const id = `lists-${this.#made++}`;
    const changed = () => this.#onChange();
    const row = {
      select: el("select", { id: `${id}-name`, "aria-label": "Parameter", onchange: () => {
        row.input.placeholder = EXAMPLES[row.select.value] ?? "";
        changed();
      } }),
      input: el("input", { type: "text", id, "aria-label": "Values", autocomplete: "off", spellcheck: "false",
        "aria-describedby": `${id}-problem` }),
      problem: el("p", { class: "problem", id: `${id}-problem`, hidden: true }),
    };
    this.#offer(row, name);
    row.input.placeholder = EXAMPLES[name] ?? "";
    this.#rows.push(row);
    this.#list.append(el("div", { class: "field" }, row.select, row.input, row.problem));
    return row;
  }

  #offer(row, chosen) {
    show(row.select, this.#offered.map((field) =>
      el("option", { value: field.name, selected: field.name === chosen }, field.title)));
  }

  #complain(row, problem) {
    setText(row.problem, problem);
    row.problem.hidden = !problem;
    setAttribute(row.input, "aria-invalid", problem ? "true" : null);
  }
}
