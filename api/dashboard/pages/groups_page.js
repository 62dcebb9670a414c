// SPDX-License-Identifier: Apache-2.0
/* The groups, the newest first. */
import { Problem } from "../lib/api.js";
import { el, show } from "../lib/dom.js";
import { refreshedFeed } from "../lib/feed.js";
import { refusal } from "../lib/job.js";
import { format } from "../lib/router.js";
import { Soon } from "../lib/soon.js";
import { ago, moment } from "../lib/units.js";
import { countsText, shareOf } from "../parts/members.js";
import { Bar, Status } from "../parts/progress.js";

const PAGE_SIZE = 50;
const REFRESH_MS = 1000;
const OF_STATES = ["job.queued", "job.started", "job.cancelling", "job.succeeded", "job.failed", "job.cancelled"];
const COLUMNS = [["Group", "number id"], ["Name and model", "title"], ["What differs", ""], ["Owner", "owner"],
  ["Status", "state"], ["Submitted", "when"]];

function row(group) {
  const counts = countsText(group.counts);
  const bar = new Bar(`Progress of group ${group.id}`);
  const share = shareOf(group.counts);
  bar.node.hidden = share === 1;
  bar.update(share, counts);
  return el("tr", {},
    el("td", { class: "number id" }, `${group.id}`),
    el("th", { scope: "row", class: "title" },
      el("a", { href: format("group", group.id) }, group.name || `group ${group.id}`),
      el("span", { class: "sub" }, group.model ?? "several models")),
    el("td", { "data-label": "Differs" }, group.varies.join(", ")),
    el("td", { class: "owner", "data-label": "Owner" }, group.owner, group.private ? " (private)" : ""),
    el("td", { class: "state" }, new Status(group).node, bar.node, el("span", { class: "sub" }, counts)),
    el("td", { class: "when", "data-label": "Submitted", title: moment(group.created_at) }, ago(group.created_at)));
}

class GroupsPage {
  #context;
  #pages = 1;
  #asked = 0;
  #feed;
  #refreshing = new Soon(() => this.#load(), REFRESH_MS);
  #body = el("tbody");
  #empty = el("p", { class: "empty", hidden: true },
    "No group yet. Lists in the form for a job make one: bits 3, 4 and groups of 64, 128 are four jobs.");
  #table = el("table", { class: "jobs groups", "aria-label": "Groups", hidden: true },
    el("thead", {}, el("tr", {}, COLUMNS.map(([text, kind]) => el("th", { scope: "col", class: kind || null }, text)))),
    this.#body);
  #more = el("button", { type: "button", hidden: true, onclick: () => {
    this.#pages++;
    this.#load().catch(() => {});
  } }, "Show older groups");
  #problem = el("p", { class: "problem", role: "alert", hidden: true });
  title = "Groups";
  node;

  constructor(context) {
    this.#context = context;
    const refused = refusal(context.session.caller, "submit", null);
    this.node = el("div", {},
      el("div", { class: "head" }, el("h1", { tabindex: "-1" }, "Groups"),
        refused ? null : el("a", { class: "button main", href: format("submit", null, { lists: "yes" }) },
          "Submit a group")),
      this.#problem, el("section", { class: "card", "aria-label": "Groups" }, this.#empty, this.#table),
      el("div", { class: "actions" }, this.#more));
    this.#feed = refreshedFeed(context, { load: () => this.#load(), refreshing: this.#refreshing,
      concerns: (event) => OF_STATES.includes(event.type) });
  }

  close() {
    this.#feed.stop();
    this.#refreshing.stop();
  }

  async #load() {
    const asked = ++this.#asked;
    const groups = [];
    let more = true;
    try {
      for (let i = 0; i < this.#pages && more; i++) {
        const after = groups.length ? `&after=${groups.at(-1).id}` : "";
        const { data: list } = await this.#context.api.get(`/v1/groups?limit=${PAGE_SIZE}${after}`);
        groups.push(...list.data);
        more = list.has_more;
      }
    } catch (error) {
      if (!(error instanceof Problem) || error.status === 401) throw error;
      show(this.#problem, error.message, error.hint ? `: ${error.hint}` : "");
      this.#problem.hidden = false;
      return;
    }
    if (asked !== this.#asked) return;
    this.#problem.hidden = true;
    this.#draw(groups, more);
  }

  /* A link that has the focus keeps it. */
  #draw(groups, more) {
    const at = this.#body.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    show(this.#body, groups.map(row));
    if (at) this.#body.querySelector(`[href="${CSS.escape(at)}"]`)?.focus({ preventScroll: true });
    this.#empty.hidden = groups.length > 0;
    this.#table.hidden = groups.length === 0;
    this.#more.hidden = !more;
  }
}

export function groupsPage(context) {
  return new GroupsPage(context);
}
