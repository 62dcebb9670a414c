// SPDX-License-Identifier: Apache-2.0
/* One job, as it goes on. */
import { Problem, newKey } from "../lib/api.js";
import { Artifacts } from "../parts/artifacts.js";
import { Comparison } from "../comparison/panel.js";
import { DepthChart } from "../charts/depth_chart.js";
import { Devices } from "../parts/devices.js";
import { confirmed } from "../lib/dialog.js";
import { announce, el, pair, setText, show, whenDrawn } from "../lib/dom.js";
import { EventLog } from "../parts/event_log.js";
import { Feed } from "../lib/feed.js";
import { HeatMap } from "../charts/heatmap.js";
import { hasEnded, method, perplexities, refusal, title } from "../lib/job.js";
import { Layers } from "../lib/layers.js";
import { Plan } from "../charts/plan.js";
import { ProgressPanel, Status } from "../parts/progress.js";
import { showRefused } from "../parts/refused.js";
import { format, ids } from "../lib/router.js";
import { Soon } from "../lib/soon.js";
import { ago, between, bytes, count, fixed, moment, seconds } from "../lib/units.js";
import { valueText } from "../lib/values.js";

const ASK_MS = 200; // several events, one question
const TICK_MS = 1000;

class JobPage {
  #context;
  #id;
  #with;
  #job = null;
  #others = new Map(); // jobs to compare with
  #layers = new Layers();
  #drawnLayers = 0;
  #phases = new Set(); // that were seen
  #feed = null;
  #closed = false;
  #asking = new Soon(() => this.#load(), ASK_MS);
  #ticking = 0;
  #draw = whenDrawn(() => this.#drawAll());
  #heading = el("h1", { tabindex: "-1" });
  #status = null;
  #under = el("p", { class: "help" });
  #actions = el("div", { class: "actions" });
  #actionsKey = ""; // what is shown now, here and there: drawn anew when it differs
  #comparisonKey = "";
  #error = el("div", { class: "problem-box", role: "alert", hidden: true });
  #facts = el("dl", { class: "facts" });
  #figures = el("dl", { class: "facts" });
  #figuresCard = el("section", { class: "card", "aria-labelledby": "figures-title" },
    el("h2", { id: "figures-title" }, "Model and cost"), this.#figures);
  #panel = new ProgressPanel();
  #devices;
  #comparison;
  #heat;
  #depth;
  #files;
  #unmeasured = el("p", { class: "card help", hidden: true },
    "This method needs no calibration, so no errors of layers were measured.");
  #plan = new Plan();
  #log = new EventLog();
  #body = el("div", { class: "job", hidden: true });
  #message = el("div", { class: "empty" }, "Loading");
  title;
  node;

  constructor(context, route) {
    this.#context = context;
    this.#id = route.id;
    this.#with = ids(route.query.with);
    this.title = `Job ${route.id}`;
    this.#devices = new Devices(context.api, route.id);
    this.#heat = new HeatMap(this.#layers);
    this.#depth = new DepthChart(this.#layers);
    this.#files = new Artifacts(context.api, context.session);
    this.#comparison = new Comparison(context.api, route.id, (list) => this.#compare(list));
    this.node = el("div", {}, this.#message, this.#body);
    this.#open();
  }

  /* The same job with others beside it; false: @route is another page. */
  change(route) {
    if (route.page !== "job" || route.id !== this.#id) return false;
    this.#with = ids(route.query.with);
    this.#loadOthers();
    return true;
  }

  close() {
    this.#closed = true;
    this.#feed?.stop();
    this.#devices.stop();
    this.#heat.close();
    this.#depth.close();
    this.#plan.close();
    this.#comparison.close();
    this.#asking.stop();
    clearInterval(this.#ticking);
  }

  async #open() {
    try {
      await this.#load();
    } catch (error) {
      if (error instanceof Problem) return this.#refused(error);
      show(this.#message, "Waiting for the daemon.");
    }
    if (this.#closed) return;
    this.#feed = new Feed(this.#context.api, `/v1/jobs/${this.#id}/events`, 0, {
      event: (event) => this.#event(event),
      poll: () => this.#load(),
      state: (state) => this.#context.connection(state),
      refused: (problem) => this.#refused(problem),
    });
    this.#feed.start();
    this.#devices.start();
    this.#ticking = setInterval(() => this.#tick(), TICK_MS);
  }

  async #load() {
    const { data, fresh } = await this.#context.api.get(`/v1/jobs/${this.#id}`);
    if (fresh || !this.#job) this.#take(data);
  }

  #take(job) {
    const before = this.#job?.status;
    this.#job = job;
    if (hasEnded(job) && before && before !== job.status) announce(`The job ${job.status}.`);
    this.#draw();
  }

  /* What an event does beside its line in the log, by its type; others only change the job. */
  static #handlers = {
    "job": (page, job) => {
      if (hasEnded(job)) page.#feed.end();
      page.#take(job);
    },
    "reset": (page) => {
      page.#log.clear();
      page.#asking.ask();
    },
    "progress": (page, progress) => {
      if (page.#job && !hasEnded(page.#job)) page.#job = { ...page.#job, progress };
      page.#draw();
    },
    "plan.finished": (page, plan) => {
      page.#plan.update(plan, page.#job?.params?.wbits);
      page.#changed();
    },
    "layer.finished": (page, layer) => {
      page.#layers.add(layer);
      page.#changed();
    },
    "job.succeeded": (page) => page.#end(),
    "job.failed": (page) => page.#end(),
    "job.cancelled": (page) => page.#end(),
  };

  #event(event) {
    const handle = JobPage.#handlers[event.type] ?? ((page) => page.#changed());
    this.#log.add(event);
    if (event.data?.phase) this.#phases.add(event.data.phase);
    handle(this, event.data);
  }

  #changed() {
    if (this.#job && !hasEnded(this.#job)) this.#asking.ask();
    this.#draw();
  }

  #end() {
    this.#feed.end();
    this.#changed();
  }

  #tick() {
    if (document.hidden || !this.#job) return;
    if (!hasEnded(this.#job)) this.#panel.update(this.#job, this.#phases);
    this.#drawUnder();
  }

  /* ---- what is on the page ---- */

  #build() {
    this.#status = new Status(this.#job);
    show(this.#body,
      el("p", { class: "crumbs" }, el("a", { href: format("jobs") }, "Jobs"), ` / ${this.#id}`, this.#group()),
      el("div", { class: "head" }, el("div", {}, el("div", { class: "titled" }, this.#heading,
        this.#status.node), this.#under), this.#actions),
      this.#error, this.#panel.node,
      el("div", { class: "columns" },
        el("div", { class: "wide" }, this.#comparison.node, this.#heat.node, this.#depth.node,
          this.#unmeasured, this.#plan.node, this.#log.node),
        el("div", { class: "side" }, this.#devices.node,
          el("section", { class: "card", "aria-labelledby": "facts-title" },
            el("h2", { id: "facts-title" }, "Parameters"), this.#facts),
          this.#figuresCard)),
      this.#files.node);
    this.#message.hidden = true;
    this.#body.hidden = false;
    this.#loadOthers();
  }

  /* The group that it is of. */
  #group() {
    const group = this.#job.group;
    return group ? [" of group ", el("a", { href: format("group", group.id) }, group.name || `${group.id}`)] : null;
  }

  #drawAll() {
    if (!this.#job || this.#closed) return;
    const job = this.#job;
    if (!this.#status) this.#build();
    setText(this.#heading, title(job));
    this.#status.update(job);
    this.#plan.measured(job.result?.difference);
    this.#context.title(this.#titleText());
    this.#drawUnder();
    this.#drawActions();
    this.#drawError();
    this.#panel.update(job, this.#phases);
    this.#devices.node.classList.toggle("gone", hasEnded(job));
    this.#drawFacts();
    this.#files.update(job);
    this.#drawComparison();
    if (job.model) this.#layers.setModel(job.model);
    if (this.#drawnLayers !== this.#layers.version) {
      this.#drawnLayers = this.#layers.version;
      this.#heat.update();
      this.#depth.update();
    }
    const measured = this.#layers.hasErrors || this.#layers.hasTokens;
    this.#heat.node.hidden = this.#layers.nExperts === 0 || !measured;
    this.#depth.node.hidden = !this.#layers.hasErrors;
    this.#unmeasured.hidden = measured || this.#layers.list.length === 0;
  }

  #titleText() {
    const share = this.#job.progress?.fraction;
    const running = this.#job.status === "running" && typeof share === "number";
    return `${running ? `${Math.round(share * 100)} % ` : ""}Job ${this.#id} ${this.#job.status}`;
  }

  #drawUnder() {
    const job = this.#job;
    const words = [job.name ? job.params?.model : "", method(job), `by ${job.owner}`,
      job.engine ? `${job.engine.name} job ${job.engine.id ?? ""}` : "",
      job.engine?.node ? `on ${job.engine.node}` : "",
      job.private ? "private" : "", `submitted ${ago(job.created_at)}`,
      hasEnded(job) && job.started_at ? `took ${seconds(between(job.started_at, job.finished_at))}` : ""];
    setText(this.#under, words.filter(Boolean).join(" · "));
    this.#under.title = moment(job.created_at);
  }

  #drawActions() {
    const job = this.#job;
    const caller = this.#context.session.caller;
    const key = `${job.status} ${job.held} ${caller?.owner} ${caller?.role}`;
    if (key === this.#actionsKey) return;
    this.#actionsKey = key;
    const button = (text, no, onclick) => el("span", {},
      el("button", { type: "button", disabled: Boolean(no), title: no, onclick,
        "aria-describedby": no ? "why-not" : null }, text));
    const mine = refusal(caller, "submit", job);
    const may = refusal(caller, "submit", null);
    const again = job.status === "failed" || job.status === "cancelled";
    const live = job.status === "queued" || job.status === "running";
    const reason = live || again ? mine : null;
    show(this.#actions,
      live ? button("Cancel", mine, () => this.#cancel()) : null,
      job.status === "queued" && !mine
        ? button(job.held ? "Release" : "Hold", null, () => this.#hold(!job.held)) : null,
      again ? button("Retry", mine, () => this.#retry()) : null,
      may ? null : el("a", { class: "button", href: format("submit", null, { from: this.#id }) },
        "Submit a variant"),
      hasEnded(job) && !mine ? button("Delete", null, () => this.#delete()) : null,
      reason ? el("span", { class: "help", id: "why-not" },
        `${live ? "Cancelling" : "Retrying"} ${reason}`) : null);
  }

  /* Why it failed, or what it waits for. */
  #drawError() {
    const paused = hasEnded(this.#job) ? null : this.#job.paused;
    const error = this.#job.error || paused;
    this.#error.hidden = !error;
    this.#error.classList.toggle("waits", Boolean(paused));
    if (error && this.#error.dataset.code !== error.code) {
      this.#error.dataset.code = error.code;
      show(this.#error, el("strong", {}, paused ? "Paused" : error.title || error.code),
        el("p", {}, error.detail),
        error.hint ? el("p", {}, `What to do: ${error.hint}.`) : null,
        paused ? el("p", {}, "It continues by itself where it stopped.") : null,
        error.retryable ? el("p", {}, "The same job may succeed later.") : null);
    }
  }

  #drawFacts() {
    const job = this.#job;
    const key = JSON.stringify([job.params, job.result, job.model, job.labels, job.notify]);
    if (this.#facts.dataset.key === key) return;
    this.#facts.dataset.key = key;
    const hash = (value) => el("code", { class: "hash", title: value }, value);
    show(this.#facts,
      Object.entries(job.params || {}).map(([name, value]) =>
        pair(name, name.endsWith("sha256") && value ? hash(value) : valueText(value, "–"))),
      pair("priority", String(job.priority)), job.notify ? pair("notify", job.notify) : null,
      Object.entries(job.labels || {}).map(([name, value]) => pair(`label ${name}`, value)));
    this.#drawFigures(job.model, job.result || {});
  }

  #drawFigures(model, result) {
    const memory = result.peak_memory || {};
    const geometry = model
      ? [["parameters", count(model.parameters)], ["layers", count(model.layers)],
        ["experts", `${count(model.experts)}, ${count(model.experts_per_token)} per token`],
        ["hidden size", count(model.hidden_size)]] : [];
    const measured = [["bits per weight", result.bits_per_weight, (v) => fixed(v, 3)],
      ["size", result.size_bytes, bytes], ["device memory", memory.device, bytes],
      ["host memory", memory.host, bytes],
      ...Object.entries(result.seconds || {}).map(([phase, s]) => [`${phase} time`, s, seconds])];
    show(this.#figures, geometry.map(([name, text]) => pair(name, text)),
      measured.filter(([, v]) => typeof v === "number").map(([name, v, text]) => pair(name, text(v))));
    this.#figuresCard.hidden = !this.#figures.children.length;
  }

  /* ---- beside other jobs ---- */

  #compare(list) {
    this.#with = list;
    history.replaceState(null, "", format("job", this.#id, { with: list.join(",") }));
    this.#loadOthers();
  }

  async #loadOthers() {
    const wanted = this.#with.filter((id) => id !== this.#id);
    const missing = wanted.filter((id) => !this.#others.has(id));
    const answers = await Promise.allSettled(missing.map((id) => this.#context.api.get(`/v1/jobs/${id}`)));
    for (const answer of answers)
      if (answer.status === "fulfilled")
        this.#others.set(String(answer.value.data.id), answer.value.data);
    this.#comparisonKey = "";
    this.#draw();
  }

  #drawComparison() {
    const others = this.#with.map((id) => this.#others.get(id)).filter(Boolean);
    const key = `${JSON.stringify(this.#job.result)} ${this.#with}`;
    this.#comparison.node.hidden = !perplexities(this.#job).length;
    if (this.#comparison.node.hidden || key === this.#comparisonKey) return;
    this.#comparisonKey = key;
    this.#comparison.update([this.#job, ...others]);
  }

  /* ---- what can be done to it ---- */

  #cancel() {
    confirmed({
      title: `Cancel job ${this.#id}?`, yes: "Cancel the job", no: "Let it run",
      text: "It stops after what it is doing now. What it has made so far is lost, unless it is retried.",
      work: async () => this.#take(await this.#context.api.post(`/v1/jobs/${this.#id}/cancel`)),
    });
  }

  /* It waits beside the queue, or comes back into it. */
  async #hold(on) {
    try {
      this.#take(await this.#context.api.post(`/v1/jobs/${this.#id}/${on ? "hold" : "release"}`));
      announce(on ? "The job is held." : "The job is in the queue.");
    } catch (error) {
      announce(error.message);
      this.#asking.ask(); // it may have started meanwhile
    }
  }

  async #retry() {
    let made = null;
    const done = await confirmed({
      title: `Retry job ${this.#id}?`, yes: "Retry", no: "Not now",
      text: "A new job with the same parameters goes to the end of the queue.",
      work: async () => (made = await this.#context.api.post(`/v1/jobs/${this.#id}/retry`, {},
        { "Idempotency-Key": newKey() })),
    });
    if (done) location.hash = format("job", made.id);
  }

  async #delete() {
    const done = await confirmed({
      title: `Delete job ${this.#id}?`, yes: "Delete for good", no: "Keep it",
      text: "Its events, reports and files are deleted, too. This cannot be undone.",
      work: () => this.#context.api.delete(`/v1/jobs/${this.#id}`),
    });
    if (done) location.hash = format("jobs");
  }

  #refused(problem) {
    if (problem.status === 401) return; // the frame asks for a token
    this.#body.hidden = true;
    showRefused(this.#message, problem, { what: "job", id: this.#id, gone: "It never existed, or it was deleted." });
    this.#devices.stop();
    this.#feed?.stop();
  }
}

export function jobPage(context, route) {
  return new JobPage(context, route);
}
