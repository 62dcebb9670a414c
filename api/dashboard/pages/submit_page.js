// SPDX-License-Identifier: Apache-2.0
/* The form that a job is asked for with. */
import { Problem, newKey } from "../lib/api.js";
import { announce, el, setText, show } from "../lib/dom.js";
import { Field } from "../parts/field.js";
import { refusal } from "../lib/job.js";
import { format } from "../lib/router.js";
import { belongsTo, groupsOf, isDefault } from "../lib/schema.js";

class SubmitPage {
  #context;
  #from;
  #fields = new Map();
  #groups = [];
  #key = newKey(); // the same until the form changes: pressing twice makes one job
  #problem = el("p", { class: "problem", role: "alert", hidden: true });
  #preview = el("pre", { class: "command", tabindex: "0", "aria-label": "The request as JSON" });
  #send = el("button", { type: "submit", class: "main" }, "Submit the job");
  #form = el("form", { novalidate: true, class: "request" });
  title = "Submit";
  node;

  constructor(context, route) {
    this.#context = context;
    this.#from = /^[1-9][0-9]*$/.test(route.query.from || "") ? route.query.from : null;
    this.node = el("div", {}, el("div", { class: "head" }, el("h1", { tabindex: "-1" },
      this.#from ? `Submit a variant of job ${this.#from}` : "Submit a job")), this.#form);
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.#form.addEventListener("input", () => this.#changed());
    this.#build();
  }

  close() {}

  async #build() {
    const api = this.#context.api;
    let schema;
    let job = null;
    try {
      ({ data: schema } = await api.get("/openapi.json"));
      if (this.#from) ({ data: job } = await api.get(`/v1/jobs/${this.#from}`));
    } catch (error) {
      show(this.#form, el("p", { class: "problem", role: "alert" }, error.message,
        ". Reload the page to try again."));
      return;
    }
    this.#groups = groupsOf(schema).map((group) => ({
      fields: group.fields.map((field) => new Field(field)), title: group.title,
    }));
    for (const group of this.#groups)
      for (const field of group.fields) this.#fields.set(field.name, field);
    if (job) this.#fill(job);
    this.#draw();
    this.#changed();
  }

  #fill(job) {
    const values = { ...job.params, kind: job.kind, labels: job.labels, priority: job.priority,
      private: job.private };
    for (const [name, field] of this.#fields)
      if (values[name] !== undefined) field.fill(values[name]);
  }

  #draw() {
    const refused = refusal(this.#context.session.caller, "submit", null);
    this.#send.disabled = Boolean(refused);
    for (const group of this.#groups)
      group.node = el("fieldset", { class: "card" }, el("legend", {}, group.title),
        el("div", { class: "fields" }, group.fields.map((field) => field.node)));
    show(this.#form, this.#groups.map((group) => group.node),
      el("details", { class: "card" }, el("summary", {}, "The request as JSON"), this.#preview),
      this.#problem, el("div", { class: "actions sticky" }, this.#send,
        refused ? el("span", { class: "help" }, `Submitting ${refused}`) : null));
  }

  /* The fields that a job of the chosen kind takes. */
  #taken() {
    const kind = this.#fields.get("kind")?.read().value || "quantize";
    return [...this.#fields.values()].filter((field) => belongsTo(field.schema, kind));
  }

  #changed() {
    const taken = new Set(this.#taken());
    this.#key = newKey();
    for (const group of this.#groups) {
      for (const field of group.fields) field.node.hidden = !taken.has(field);
      group.node.hidden = group.fields.every((field) => field.node.hidden);
    }
    setText(this.#preview, JSON.stringify(this.#read().request, null, 2));
  }

  /* {request, wrong}: what would be sent, and the fields that cannot be. */
  #read() {
    const request = {};
    const wrong = [];
    for (const field of this.#taken()) {
      const { value, problem } = field.read();
      if (problem) wrong.push([field, problem]);
      else if (!isDefault(field.schema, value)) request[field.name] = value;
    }
    return { request, wrong };
  }

  async #submit() {
    const { request, wrong } = this.#read();
    for (const field of this.#fields.values()) field.complain(null);
    this.#say(null);
    for (const [field, problem] of wrong) field.complain(problem);
    if (wrong.length) {
      wrong[0][0].focus();
      return;
    }
    this.#send.disabled = true;
    try {
      const job = await this.#context.api.post("/v1/jobs", request, { "Idempotency-Key": this.#key });
      announce(`Job ${job.id} is in the queue.`);
      location.hash = format("job", job.id);
    } catch (error) {
      this.#refused(error);
    }
    this.#send.disabled = false;
  }

  #refused(error) {
    const field = error instanceof Problem ? this.#fields.get(error.field) : null;
    if (field && !field.node.hidden) {
      field.complain(error.message, error.hint);
      field.focus();
      return;
    }
    this.#say([error.field, error.message, error.hint].filter(Boolean).join(": "));
  }

  #say(text) {
    setText(this.#problem, text);
    this.#problem.hidden = !text;
  }
}

export function submitPage(context, route) {
  return new SubmitPage(context, route);
}
