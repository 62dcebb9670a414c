// SPDX-License-Identifier: Apache-2.0
/* A group: jobs that were submitted together, side by side while they run and when they have ended. */
import { readState, writeState } from "../comparison/state.js";
import { ComparisonView } from "../comparison/view.js";
import { Problem } from "../lib/api.js";
import { confirmed } from "../lib/dialog.js";
import { announce, el, setText, show } from "../lib/dom.js";
import { Feed } from "../lib/feed.js";
import { refusal } from "../lib/job.js";
import { format } from "../lib/router.js";
import { Soon } from "../lib/soon.js";
import { ago, moment, seconds } from "../lib/units.js";
import { Members } from "../parts/members.js";
import { Status } from "../parts/progress.js";
import { showRefused } from "../parts/refused.js";

const MEMBERS_MAX = 500;
const REFRESH_MS = 500; // several events, one question
const ENDED = ["succeeded", "failed", "cancelled"];
/* What is drawn without asking again, or concerns no group. */
const QUIET = ["progress", "layer.finished", "eval.progress", "phase.started"];
const PLOTS = [{ heading: "Divergence and size", wants: { y: "kl_mean", x: "size" } },
  { heading: "Perplexity and size", wants: { y: "perplexity", x: "size" } }];

class GroupPage {
  #context;
  #id;
  #state;
  #group = null;
  #list = null; // the answer that has the jobs
  #jobs = [];
  #asked = 0;
  #feed = null;
  #closed = false;
  #refreshing = new Soon(() => this.#load(), REFRESH_MS);
  #heading = el("h1", { tabindex: "-1" });
  #status = null;
  #titled;
  #under = el("p", { class: "help" });
  #actions = el("div", { class: "actions" });
  #actionsKey = "";
  #members = new Members();
  #view;
  #body = el("div", { hidden: true });
  #message = el("div", { class: "empty" }, "Loading");
  title;
  node;

  constructor(context, route) {
    this.#context = context;
    this.#id = route.id;
    this.#state = readState(route.query);
    this.title = `Group ${route.id}`;
    this.#view = new ComparisonView(context.api, { file: `group-${route.id}`, plots: PLOTS,
      on: { change: (change) => this.#set(change) } });
    this.#titled = el("div", { class: "titled" }, this.#heading);
    show(this.#body,
      el("p", { class: "crumbs" }, el("a", { href: format("groups") }, "Groups"), ` / ${this.#id}`),
      el("div", { class: "head" }, el("div", {}, this.#titled, this.#under), this.#actions),
      this.#members.node, this.#view.node);
    this.node = el("div", {}, this.#message, this.#body);
    this.#open();
  }

  close() {
    this.#closed = true;
    this.#feed?.stop();
    this.#refreshing.stop();
    this.#view.close();
  }

  /* The same group, shown otherwise; false: @route is another page. */
  change(route) {
    if (route.page !== "group" || route.id !== this.#id) return false;
    this.#state = readState(route.query);
    this.#draw();
    return true;
  }

  async #open() {
    try {
      await this.#load();
    } catch (error) {
      if (error instanceof Problem) return this.#refused(error);
      show(this.#message, "Waiting for the daemon.");
    }
    if (this.#closed) return;
    this.#feed = new Feed(this.#context.api, "/v1/events", null, {
      event: (event) => this.#event(event),
      poll: () => this.#load(),
      state: (state) => this.#context.connection(state),
      refused: (problem) => this.#refused(problem),
    });
    this.#feed.start();
  }

  async #load() {
    const asked = ++this.#asked;
    const api = this.#context.api;
    const [group, jobs] = await Promise.all([api.get(`/v1/groups/${this.#id}`),
      api.get(`/v1/jobs?group=${this.#id}&limit=${MEMBERS_MAX}`)]);
    if (asked !== this.#asked || this.#closed) return; // a newer question was asked meanwhile
    if (group.data === this.#group && jobs.data === this.#list) return;
    const before = this.#group?.status;
    this.#group = group.data;
    this.#list = jobs.data;
    this.#jobs = [...jobs.data.data].reverse(); // as they were submitted
    if (before && before !== group.data.status && this.#ended)
      announce(`The group ${group.data.status}.`);
    this.#draw();
  }

  #event(event) {
    if (event.type === "reset") this.#refreshing.ask();
    if (!this.#group?.members.some((member) => member.id === event.job)) return;
    if (event.type === "progress") this.#members.progress(event.job, event.data);
    else if (!QUIET.includes(event.type)) this.#refreshing.ask();
  }

  /* The address follows. */
  #set(change) {
    Object.assign(this.#state, change);
    this.#view.update(this.#jobs, this.#state);
    history.replaceState(null, "", format("group", this.#id, { ...writeState(this.#state), jobs: null }));
  }

  get #ended() {
    return ENDED.includes(this.#group.status);
  }

  /* ---- what is on the page ---- */

  #draw() {
    const group = this.#group;
    if (!group) return;
    this.#message.hidden = true;
    this.#body.hidden = false;
    setText(this.#heading, group.name || `Group ${group.id}`);
    this.#context.title(`${group.name || `Group ${group.id}`} ${group.status}`);
    if (!this.#status) this.#titled.append((this.#status = new Status(group)).node);
    this.#status.update(group);
    this.#drawUnder();
    this.#drawActions();
    this.#members.update(group, this.#jobs);
    this.#view.update(this.#jobs, this.#state);
  }

  #drawUnder() {
    const group = this.#group;
    const n = group.members.length;
    setText(this.#under, [group.model ?? "several models", n === 1 ? "1 job" : `${n} jobs`,
      group.varies.length ? `by ${group.varies.join(", ")}` : "", `of ${group.owner}`,
      group.private ? "private" : "", `submitted ${ago(group.created_at)}`,
      group.seconds > 0 ? `took ${seconds(group.seconds)}${this.#ended ? "" : " so far"}` : ""]
      .filter(Boolean).join(" · "));
    this.#under.title = moment(group.created_at);
  }

  #drawActions() {
    const group = this.#group;
    const caller = this.#context.session.caller;
    const waiting = this.#jobs.filter((job) => job.status === "queued");
    const held = waiting.filter((job) => job.held).length;
    const key = `${group.status} ${caller?.owner} ${caller?.role} ${waiting.length} ${held}`;
    if (key === this.#actionsKey) return;
    this.#actionsKey = key;
    const no = refusal(caller, "submit", group);
    const button = (text, onclick) => el("span", {},
      el("button", { type: "button", disabled: Boolean(no), title: no, onclick }, text));
    show(this.#actions,
      !this.#ended ? button("Cancel all", () => this.#cancel()) : null,
      waiting.length > held && !no ? button("Hold all", () => this.#hold(true)) : null,
      held && !no ? button("Release all", () => this.#hold(false)) : null,
      el("a", { class: "button", href: format("jobs", null, { group: group.id }) }, "In the list of jobs"));
  }

  #cancel() {
    confirmed({
      title: `Cancel group ${this.#id}?`, yes: "Cancel its jobs", no: "Let them run",
      text: "Each of its jobs that has not ended stops. What has been measured stays.",
      work: () => this.#context.api.post(`/v1/groups/${this.#id}/cancel`),
    }).then((done) => done && this.#refreshing.ask());
  }

  /* Its waiting jobs wait beside the queue, or come back into it. */
  async #hold(on) {
    try {
      await this.#context.api.post(`/v1/groups/${this.#id}/${on ? "hold" : "release"}`);
      announce(on ? "The waiting jobs are held." : "The jobs are in the queue.");
    } catch (error) {
      announce(error.message);
    }
    this.#refreshing.ask();
  }

  #refused(problem) {
    if (problem.status === 401) return; // the frame asks for a token
    this.#body.hidden = true;
    showRefused(this.#message, problem, { what: "group", id: this.#id,
      gone: "It never existed, or its last job was deleted." });
    this.#feed?.stop();
  }
}

export function groupPage(context, route) {
  return new GroupPage(context, route);
}
