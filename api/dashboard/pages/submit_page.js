// SPDX-License-Identifier: Apache-2.0
/*
 * The form that a job is asked for with: what most need first, the rest folded. The daemon checks it
 * and estimates the job as one types. Several values of a parameter make a group of jobs.
 */
import { Problem, newKey } from "../lib/api.js";
import { announce, el, setText, show } from "../lib/dom.js";
import { EstimatePanel } from "../parts/estimate.js";
import { Field } from "../parts/field.js";
import { Lists } from "../parts/lists.js";
import { method, refusal, title } from "../lib/job.js";
import { format } from "../lib/router.js";
import { countOf } from "../lib/lists.js";
import { belongsTo, groupsOf, isDefault, presetOf, presetValues } from "../lib/schema.js";
import { bytes } from "../lib/units.js";

const TYPING_MS = 400;
const JOBS_OFFERED = 20; // whose checkpoints are suggested as models

class SubmitPage {
  #context;
  #from;
  #fields = new Map();
  #groups = [];
  #lists = null;
  #listsFirst; // the form was opened for a group
  #key = newKey(); // the same until the form changes: pressing twice makes one job
  #problem = el("p", { class: "problem", role: "alert", hidden: true });
  #preview = el("pre", { class: "command", tabindex: "0", "aria-label": "The request as JSON" });
  #send = el("button", { type: "submit", class: "main" }, "Submit the job");
  #form = el("form", { novalidate: true, class: "request" });
  #estimate = new EstimatePanel();
  #typing = 0;
  #asked = 0; // number of the newest question for an estimate
  title = "Submit";
  node;

  constructor(context, route) {
    this.#context = context;
    this.#from = /^[1-9][0-9]*$/.test(route.query.from || "") ? route.query.from : null;
    this.#listsFirst = Boolean(route.query.lists);
    this.node = el("div", {}, el("div", { class: "head" }, el("h1", { tabindex: "-1" },
      this.#from ? `Submit a variant of job ${this.#from}` : "Submit a job")), this.#form);
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.#form.addEventListener("input", () => this.#changed());
    this.#build();
  }

  close() {
    clearTimeout(this.#typing);
    this.#asked++;
  }

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
    this.#groups = groupsOf(schema).map((group) => ({ ...group,
      fields: group.fields.map((field) => new Field(field)) }));
    for (const group of this.#groups)
      for (const field of group.fields) this.#fields.set(field.name, field);
    this.#lists = new Lists([...this.#fields.values()], () => this.#changed());
    this.#lists.node.open = this.#listsFirst;
    if (job) this.#fill(job);
    this.#fields.get("preset")?.node.addEventListener("input", () => this.#preset());
    this.#draw();
    this.#changed();
    this.#suggest();
  }

  /* Offers what is there. A daemon that does not say leaves the examples. */
  async #suggest() {
    const of = async (path, option) => {
      try {
        return (await this.#context.api.get(path)).data.data.map(option);
      } catch {
        return [];
      }
    };
    const offer = (name, values) => values.length && this.#fields.get(name)?.suggest(values);
    const [models, texts, jobs] = await Promise.all([
      of("/v1/models", (model) => ({ value: model.id, label: bytes(model.bytes) })),
      of("/v1/datasets", (text) => ({ value: text.id, label: text.bytes === null ? "public set" : bytes(text.bytes) })),
      of(`/v1/jobs?status=succeeded&kind=quantize&limit=${JOBS_OFFERED}`,
        (job) => ({ value: `job:${job.id}`, label: `${title(job)}, ${method(job)}` })),
    ]);
    offer("model", [...models, ...jobs]);
    offer("dataset", texts);
    offer("eval", texts);
  }

  #fill(job) {
    const values = { ...job.params, kind: job.kind, labels: job.labels, priority: job.priority,
      private: job.private };
    for (const [name, field] of this.#fields)
      if (values[name] !== undefined) field.fill(values[name]);
  }

  /* Shows what the chosen preset stands for; a field that others name has its default. */
  #preset() {
    const preset = this.#fields.get("preset");
    for (const [name, value] of Object.entries(presetValues(preset.schema, preset.read().value)))
      this.#fields.get(name)?.fill(value ?? this.#fields.get(name).schema.default);
  }

  #draw() {
    const refused = refusal(this.#context.session.caller, "submit", null);
    this.#send.disabled = Boolean(refused);
    for (const group of this.#groups) this.#drawGroup(group);
    show(this.#form, el("div", { class: "columns" },
      el("div", { class: "wide" }, this.#groups.map((group, i) => (i ? group.node : [group.node, this.#lists.node])),
        el("details", { class: "card" }, el("summary", {}, "The request as JSON"), this.#preview)),
      el("div", { class: "side follows" }, this.#estimate.node)),
    this.#problem, el("div", { class: "actions sticky" }, this.#send, this.#estimate.brief,
      refused ? el("span", { class: "help" }, `Submitting ${refused}`) : null));
  }

  #drawGroup(group) {
    const fields = el("div", { class: "fields" }, group.fields.map((field) => field.node));
    group.count = el("span", { class: "count" });
    group.node = group.folded
      ? el("details", { class: "card", role: "group", "aria-label": group.title },
        el("summary", {}, group.title, group.count), fields)
      : el("fieldset", { class: "card" }, el("legend", {}, group.title), fields);
    // A job that was copied shows what it has of its own.
    group.node.open = Boolean(this.#from) && group.fields.some((field) => !field.isAsAtFirst);
  }

  /* Makes @field one that can be seen. */
  #unfold(field) {
    const group = this.#groups.find((one) => one.fields.includes(field));
    if (group?.folded) group.node.open = true;
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
      const shown = group.fields.filter((field) => taken.has(field));
      group.node.hidden = shown.length === 0;
      const n = shown.filter((field) => !field.isAsAtFirst).length;
      setText(group.count, n ? ` ${n} changed` : "");
    }
    this.#lists.kind = this.#fields.get("kind")?.read().value || "quantize";
    this.#lists.update();
    const { request, group } = this.#read();
    setText(this.#preview, JSON.stringify(request, null, 2));
    setText(this.#send, group ? `Submit ${group} jobs` : "Submit the job");
    clearTimeout(this.#typing);
    this.#typing = setTimeout(() => this.#check(), TYPING_MS);
  }

  /* Asks the daemon what it thinks of the form; what is wrong is said at its field. */
  async #check() {
    const { request, wrong, group, lists } = this.#read();
    const asked = ++this.#asked;
    for (const [field, problem] of wrong) if (field.touched) field.complain(problem);
    if (lists) return this.#estimate.clear("A list has a mistake.");
    if (wrong.length || refusal(this.#context.session.caller, "submit", null))
      return this.#estimate.clear(wrong.some(([field]) => field.touched) ? "The form has a mistake." : null);
    this.#estimate.wait();
    try {
      const estimate = await this.#context.api.post(group ? "/v1/groups/estimate" : "/v1/estimate", request);
      if (asked === this.#asked) this.#estimate[group ? "updateGroup" : "update"](estimate);
    } catch (error) {
      if (asked === this.#asked) this.#doubt(error);
    }
    if (asked === this.#asked) this.#estimate.done();
    return null;
  }

  /* A mistake is said where it is; a field that was not come to yet is only what is missing. */
  #doubt(error) {
    const field = error instanceof Problem ? this.#fields.get(error.field) : null;
    if (field && this.#lists.complain(field.name, error.message)) return this.#estimate.clear("A list has a mistake.");
    if (!field) return this.#estimate.clear([error.message, error.hint].filter(Boolean).join(": "));
    if (field.touched) {
      field.complain(error.message, error.hint);
      this.#unfold(field);
    }
    return this.#estimate.clear(`${field.title}: ${field.short(error.message)}`);
  }

  /*
   * {request, wrong, group, lists}: what would be sent, the fields that cannot be, how many jobs it
   * asks for (0: one, which is no group), and whether a list is wrong.
   */
  #read() {
    const request = {};
    const wrong = [];
    const chosen = this.#fields.get("preset");
    const preset = presetOf(chosen?.schema, chosen?.read().value);
    for (const field of this.#taken()) {
      const { value, problem } = field.read();
      if (problem) wrong.push([field, problem]);
      else if (!isDefault(field.schema, value, preset[field.name])) request[field.name] = value;
    }
    const { lists, wrong: mistaken } = this.#lists.update();
    if (!Object.keys(lists).length) return { request, wrong, group: 0, lists: mistaken };
    const { name, ...job } = request;
    return { request: { ...(name ? { name } : {}), job, lists }, wrong, group: countOf(lists), lists: mistaken };
  }

  async #submit() {
    const { request, wrong, group, lists } = this.#read();
    for (const field of this.#fields.values()) field.complain(null);
    this.#say(null);
    for (const [field, problem] of wrong) field.complain(problem);
    if (wrong.length) {
      this.#unfold(wrong[0][0]);
      wrong[0][0].focus();
      return;
    }
    if (lists) return this.#lists.focus();
    this.#send.disabled = true;
    try {
      const made = await this.#context.api.post(group ? "/v1/groups" : "/v1/jobs", request,
        { "Idempotency-Key": this.#key });
      announce(group ? `${group} jobs are in the queue.` : `Job ${made.id} is in the queue.`);
      location.hash = format(group ? "group" : "job", made.id);
    } catch (error) {
      this.#refused(error);
    }
    this.#send.disabled = false;
  }

  #refused(error) {
    const field = error instanceof Problem ? this.#fields.get(error.field) : null;
    if (field && this.#lists.complain(field.name, error.message)) {
      this.#lists.focus();
      return;
    }
    if (field && !field.node.hidden) {
      field.complain(error.message, error.hint);
      this.#unfold(field);
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
