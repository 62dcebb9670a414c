// SPDX-License-Identifier: Apache-2.0
/* One field of the form: its label, its help, and what is wrong with it. */
import { el, setAttribute, setText } from "../lib/dom.js";
import { examplesOf, fromText, isDefault, kindOf, startOf, toText } from "../lib/schema.js";
import { Suggestions } from "./suggestions.js";

const textInput = (schema, id, more) => el("input", { type: "text", id, autocomplete: "off",
  spellcheck: "false", maxlength: schema.maxLength ?? null, ...more });

/* By kind; others are a line of text. */
const INPUTS = {
  choice: (schema, id) =>
    el("select", { id }, schema.enum.map((v) => el("option", { value: v ?? "" }, String(v ?? "none")))),
  switch: (schema, id) => el("input", { type: "checkbox", id }),
  lines: (schema, id) => el("textarea", { id, rows: 2, spellcheck: "false", placeholder:
    `${schema.examples?.flat().find((one) => typeof one === "string") ?? ""}\none on a line`.trim() }),
  pairs: (schema, id) =>
    el("textarea", { id, rows: 2, spellcheck: "false", placeholder: "name=value, one on a line" }),
  number: (schema, id) =>
    textInput(schema, id, { inputmode: schema.minimum >= 0 ? "decimal" : null, class: "short" }),
};

export class Field {
  #schema;
  #required;
  #input;
  #problem;
  #kind;
  #suggestions = null;
  touched = false; // by whoever fills the form in
  name;
  node;

  constructor({ name, schema, required }) {
    const id = `field-${name}`;
    const kind = kindOf(schema);
    this.name = name;
    this.#schema = schema;
    this.#required = required;
    this.#kind = kind;
    this.#input = (INPUTS[kind] ?? textInput)(schema, id);
    this.#problem = el("p", { class: "problem", id: `${id}-problem`, hidden: true });
    const label = el("label", { for: id }, schema.title || name,
      required ? el("span", { class: "muted" }, " (required)") : null);
    const help = el("p", { class: "help", id: `${id}-help` }, schema.description);
    setAttribute(this.#input, "aria-describedby", `${id}-help ${id}-problem`);
    setAttribute(this.#input, "aria-required", required ? "true" : null);
    this.node = kind === "switch"
      ? el("div", { class: "field" }, el("div", { class: "check" }, this.#input, label), help, this.#problem)
      : el("div", { class: "field" }, label, this.#input, this.#suggestionsNode(), help, this.#problem);
    this.set(startOf(schema));
    this.suggest(examplesOf(schema).map((value) => ({ value })));
    this.#input.addEventListener("input", () => {
      this.touched = true;
      this.complain(null);
    });
  }

  #suggestionsNode() {
    if (!["text", "number", "list"].includes(this.#kind)) return null;
    this.#suggestions = new Suggestions(this.#input, this.#kind === "list", this.title);
    return this.#suggestions.node;
  }

  get title() {
    return this.#schema.title || this.name;
  }

  /* Does it hold what it held at first? */
  get isAsAtFirst() {
    const { value } = this.read();
    return isDefault(this.#schema, value) ||
      JSON.stringify(value) === JSON.stringify(this.#schema["x-start"]);
  }

  /* Offers @values, [{value, label}], instead of those before. */
  suggest(values) {
    this.#suggestions?.update(values);
  }

  get schema() {
    return this.#schema;
  }

  /* {value} or {problem}. */
  read() {
    return fromText(this.#schema, this.#kind === "switch" ? this.#input.checked : this.#input.value,
      this.#required);
  }

  set(value) {
    if (this.#kind === "switch") this.#input.checked = value;
    else this.#input.value = value;
    this.#suggestions?.mark();
  }

  /* Puts the value of a job into it. */
  fill(value) {
    this.set(toText(this.#schema, value));
  }

  /* A message of the daemon without the name of the field, which stands beside it. */
  short(message) {
    return message.startsWith(`${this.name}: `) ? message.slice(this.name.length + 2) : message;
  }

  /* Says what is wrong; null: nothing is. */
  complain(problem, hint) {
    setText(this.#problem, problem ? `${this.short(problem)}${hint ? `: ${hint}` : ""}` : "");
    this.#problem.hidden = !problem;
    setAttribute(this.#input, "aria-invalid", problem ? "true" : null);
  }

  focus() {
    this.#input.focus();
  }
}
