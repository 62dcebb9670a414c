// SPDX-License-Identifier: Apache-2.0
/* Queue and history, with filters that are part of the address. */
import { Problem } from "../lib/api.js";
import { announce, el, setText, show } from "../lib/dom.js";
import { FILTERS as COMPARED } from "../comparison/state.js";
import { Devices } from "../parts/devices.js";
import { Feed } from "../lib/feed.js";
import { hasEnded, refusal } from "../lib/job.js";
import { JobRow } from "../parts/job_row.js";
import { format, ids } from "../lib/router.js";
import { Soon } from "../lib/soon.js";

const PAGE_SIZE = 50;
const ROWS_MAX = 1000; // as many as are kept when more and more are asked for
const REFRESH_MS = 200; // several events, one question
const FILTERS = ["text", "status", "kind", "group", "label", "owner"];
const GROUPS_OFFERED = 50;
const TICK_MS = 20000;
const TYPING_MS = 300;
const ACTIVE = "running,cancelling,queued";
const PAST = "succeeded,failed,cancelled";
/* What a screen reader says when a job ends. */
const ANNOUNCED = { "job.failed": "failed", "job.succeeded": "succeeded" };
const COLUMNS = [["", "pick"], ["Job", "number id"], ["Name and model", "title"],
  ["Method", "method"], ["Owner", "owner"], ["Status", "state"], ["Bits", "number bits"],
  ["Perplexity", "number ppl"], ["Submitted", "when"]];

/* A table of jobs under a heading. */
class JobTable {
  #rows = new Map();
  #body = el("tbody");
  #count = el("span", { class: "count" });
  #empty;
  #table;
  #pick;
  node;

  constructor(name, title, pick) {
    this.#pick = pick;
    this.#empty = el("p", { class: "empty" });
    this.#table = el("table", { class: "jobs", "aria-labelledby": `${name}-title` },
      el("thead", {}, el("tr", {}, COLUMNS.map(([text, kind]) => text
        ? el("th", { scope: "col", class: kind }, text)
        : el("td", { class: kind })))),
      this.#body);
    this.node = el("section", { class: "card", id: name },
      el("h2", { id: `${name}-title` }, title, " ", this.#count), this.#empty, this.#table);
  }

  /* What it says when it has no jobs. */
  set empty(text) {
    setText(this.#empty, text);
  }

  update(jobs, picked, more) {
    const rows = jobs.map((job) => {
      const row = this.#rows.get(job.id) || new JobRow(job, this.#pick);
      row.update(job);
      row.picked = picked.has(String(job.id));
      return [job.id, row];
    });
    this.#rows = new Map(rows);
    rows.forEach(([, row], i) => {
      if (this.#body.children[i] !== row.node)
        this.#body.insertBefore(row.node, this.#body.children[i] || null);
    });
    while (this.#body.children.length > rows.length) this.#body.lastChild.remove();
    setText(this.#count, rows.length ? `${rows.length}${more ? "+" : ""}` : "");
    this.#empty.hidden = rows.length > 0;
    this.#table.hidden = rows.length === 0;
  }

  row(id) {
    return this.#rows.get(id);
  }

  tick() {
    for (const row of this.#rows.values()) row.tick();
  }
}

class JobsPage {
  #context;
  #query;
  #pages = 1; // of the history
  #picked;
  #refreshing = new Soon(() => this.#load(), REFRESH_MS);
  #ticking = 0;
  #typing = 0;
  #asked = 0; // number of the newest question
  #running = 0; // jobs that devices run
  #feed;
  #devices;
  #queue;
  #history;
  #more = el("button", { type: "button", hidden: true }, "Show older jobs");
  #compare = el("a", { class: "button main" });
  #compareAll = el("a", { class: "button" }, "Compare all that match");
  #picker = el("div", { class: "picker", hidden: true }, this.#compare);
  #problem = el("p", { class: "problem", role: "alert", hidden: true });
  #filters = {};
  title = "Jobs";
  node;

  constructor(context, route) {
    this.#context = context;
    this.#query = route.query;
    this.#picked = new Set(ids(route.query.compare));
    const pick = (id, on) => this.#pick(id, on);
    this.#queue = new JobTable("queue", "Queue", pick);
    this.#history = new JobTable("history", "History", pick);
    this.#devices = new Devices(context.api, null, (running) => {
      this.#running = running.length;
      this.#sayEmpty();
    });
    const refused = refusal(context.session.caller, "submit", null);
    this.node = el("div", {},
      el("div", { class: "head" }, el("h1", { tabindex: "-1" }, "Jobs"),
        refused ? el("span", { class: "help" }, `Submitting ${refused}`)
          : el("a", { class: "button main", href: format("submit") }, "Submit a job")),
      this.#devices.node, this.#filterForm(), this.#problem, this.#queue.node, this.#history.node,
      el("div", { class: "actions" }, this.#more, this.#compareAll), this.#picker);
    this.#more.addEventListener("click", () => {
      this.#pages++;
      this.#refresh();
    });
    this.#showPicked();
    this.#start();
  }

  #start() {
    this.#feed = new Feed(this.#context.api, "/v1/events", null, {
      event: (event) => this.#event(event),
      poll: () => this.#load(),
      state: (state) => this.#context.connection(state),
      refused: () => {},
    });
    this.#load().catch(() => {});
    this.#feed.start();
    this.#devices.start();
    this.#ticking = setInterval(() => {
      this.#queue.tick();
      this.#history.tick();
    }, TICK_MS);
  }

  close() {
    this.#feed.stop();
    this.#devices.stop();
    clearInterval(this.#ticking);
    this.#refreshing.stop();
    clearTimeout(this.#typing);
  }

  /* Takes other filters; false: @route is another page. */
  change(route) {
    if (route.page !== "jobs") return false;
    this.#query = route.query;
    this.#pages = 1;
    this.#picked = new Set(ids(route.query.compare));
    for (const [name, field] of Object.entries(this.#filters))
      if (field !== document.activeElement) field.value = route.query[name] || "";
    this.#offerGroups();
    this.#showPicked();
    this.#refresh();
    return true;
  }

  #filterForm() {
    const select = (name, label, options) => {
      const field = el("select", { id: `filter-${name}` },
        options.map(([value, text]) => el("option", { value }, text)));
      return this.#filterField(name, label, field);
    };
    const input = (name, label) =>
      this.#filterField(name, label, el("input", { type: "search", id: `filter-${name}`,
        autocomplete: "off", spellcheck: "false", maxlength: name === "owner" ? "64" : "100" }));
    const states = ["queued", "running", "cancelling", "succeeded", "failed", "cancelled"];
    const form = el("form", { class: "filters", role: "search", "aria-label": "Filter the jobs" },
      input("text", "Name, model or number"),
      select("status", "Status", [["", "any"], ...states.map((s) => [s, s])]),
      select("kind", "Kind", [["", "any"], ["quantize", "quantize"], ["eval", "eval"],
        ["export", "export"]]),
      select("group", "Group", [["", "any"]]),
      input("label", "Label, name=value"),
      input("owner", "Owner"),
      el("button", { type: "button", class: "quiet", onclick: () => this.#clear() }, "Clear"));
    form.addEventListener("submit", (event) => event.preventDefault());
    this.#offerGroups();
    return form;
  }

  /* The newest groups, and the one that is chosen; without any there is nothing to choose. */
  async #offerGroups() {
    const field = this.#filters.group;
    const chosen = () => this.#query.group || "";
    let groups = [];
    try {
      groups = (await this.#context.api.get(`/v1/groups?limit=${GROUPS_OFFERED}`)).data.data;
    } catch {
      /* The list of jobs says what is wrong. */
    }
    const offered = groups.map((group) => [String(group.id), `${group.id}: ${group.name || group.model || ""}`]);
    if (chosen() && !offered.some(([id]) => id === chosen())) offered.push([chosen(), chosen()]);
    show(field, el("option", { value: "" }, "any"), offered.map(([value, text]) => el("option", { value }, text)));
    field.value = chosen();
    field.parentNode.hidden = offered.length === 0;
  }

  #filterField(name, label, field) {
    field.value = this.#query[name] || "";
    const changed = () => {
      clearTimeout(this.#typing);
      this.#typing = setTimeout(() => this.#go({ [name]: field.value.trim() }), TYPING_MS);
    };
    field.addEventListener("input", changed);
    field.addEventListener("change", changed);
    this.#filters[name] = field;
    return el("div", { class: "field" }, el("label", { for: field.id }, label), field);
  }

  #clear() {
    for (const field of Object.values(this.#filters)) field.value = "";
    this.#go(Object.fromEntries(FILTERS.map((name) => [name, ""])));
  }

  /* The same page with other parts of its address; no new entry in the history of the browser. */
  #go(change) {
    this.#query = { ...this.#query, ...change };
    history.replaceState(null, "", format("jobs", null, this.#query));
    this.#pages = 1;
    this.#refresh();
  }

  #pick(id, on) {
    if (on) this.#picked.add(id);
    else this.#picked.delete(id);
    this.#query = { ...this.#query, compare: [...this.#picked].join(",") };
    history.replaceState(null, "", format("jobs", null, this.#query));
    this.#showPicked();
  }

  #showPicked() {
    const n = this.#picked.size;
    this.#picker.hidden = n === 0;
    setText(this.#compare, n === 1 ? "Compare job with others" : `Compare ${n} jobs`);
    this.#compare.href = format("compare", null, { jobs: [...this.#picked].join(",") });
  }

  /* Other questions than before: answered at once. */
  #refresh() {
    this.#load().catch(() => {});
  }

  /* Why a table has no rows: what devices run may be of others, or not in the list yet. */
  #sayEmpty() {
    const filtered = FILTERS.some((name) => this.#query[name]);
    const chosen = Object.fromEntries(COMPARED.map((name) => [name, this.#query[name]]));
    this.#compareAll.hidden = !COMPARED.some((name) => chosen[name]) || Boolean(this.#query.status);
    this.#compareAll.href = format("compare", null, chosen);
    this.#queue.empty = filtered ? "No waiting or running job matches these filters."
      : this.#running ? "No job is waiting." : "No job is waiting or running.";
    this.#history.empty = filtered ? "No ended job matches these filters."
      : "No job has ended yet.";
  }

  #event(event) {
    const row = this.#queue.row(event.job) || this.#history.row(event.job);
    if (event.type !== "progress") {
      if (ANNOUNCED[event.type]) announce(`Job ${event.job} ${ANNOUNCED[event.type]}.`);
      this.#refreshing.ask();
    } else if (row && !hasEnded(row.job)) {
      row.update({ ...row.job, progress: event.data });
    }
  }

  #path(status, after) {
    const asked = status.split(",").filter((s) => !this.#query.status || s === this.#query.status);
    if (!asked.length) return null;
    const query = new URLSearchParams({ status: asked.join(","), limit: PAGE_SIZE });
    for (const name of FILTERS)
      if (name !== "status" && this.#query[name]) query.set(name, this.#query[name]);
    if (after) query.set("after", after);
    return `/v1/jobs?${query}`;
  }

  /* All pages of a list, up to @pages: {jobs, more}. */
  async #list(status, pages) {
    const jobs = [];
    let more = true;
    for (let i = 0; i < pages && more && jobs.length < ROWS_MAX; i++) {
      const path = this.#path(status, jobs.at(-1)?.id);
      if (!path) return { jobs, more: false };
      const { data: list } = await this.#context.api.get(path);
      jobs.push(...list.data);
      more = list.has_more;
    }
    return { jobs, more };
  }

  async #load() {
    const asked = ++this.#asked;
    try {
      const [queue, past] = await Promise.all([this.#list(ACTIVE, 10),
        this.#list(PAST, this.#pages), this.#devices.ask()]);
      if (asked !== this.#asked) return; // a newer question was asked meanwhile
      const place = (job) => (job.status === "queued" ? job.queue_position || Infinity : 0);
      queue.jobs.sort((a, b) => place(a) - place(b) || a.id - b.id);
      this.#sayEmpty();
      this.#queue.update(queue.jobs, this.#picked, queue.more);
      this.#history.update(past.jobs, this.#picked, past.more);
      this.#more.hidden = !past.more || past.jobs.length >= ROWS_MAX;
      this.#problem.hidden = true;
    } catch (error) {
      if (error instanceof Problem && error.status !== 401) {
        show(this.#problem, error.message, error.hint ? `: ${error.hint}` : "");
        this.#problem.hidden = false;
        return;
      }
      throw error;
    }
  }
}

export function jobsPage(context, route) {
  return new JobsPage(context, route);
}
