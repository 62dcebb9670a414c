// SPDX-License-Identifier: Apache-2.0
/* The frame around the pages: which one is shown, who looks at it, whether the daemon answers. */
import { Api, Problem } from "./lib/api.js";
import { announce, el, setAttribute, setText, show } from "./lib/dom.js";
import { Session } from "./lib/session.js";
import { parse } from "./lib/router.js";
import { startTheme } from "./lib/theme.js";
import { comparePage } from "./pages/compare_page.js";
import { groupPage } from "./pages/group_page.js";
import { groupsPage } from "./pages/groups_page.js";
import { jobPage } from "./pages/job_page.js";
import { jobsPage } from "./pages/jobs_page.js";
import { signInPage } from "./pages/sign_in.js";
import { submitPage } from "./pages/submit_page.js";

const PAGES = { jobs: jobsPage, job: jobPage, groups: groupsPage, group: groupPage, submit: submitPage,
  compare: comparePage };
const RETRY_MS = 2000;

const CONNECTIONS = {
  live: ["Live", ""],
  polling: ["Polling", "Events do not arrive. The page polls every few seconds instead."],
  offline: ["Offline", "The daemon does not answer. Reconnecting. " +
    "If it was stopped, jobs wait until it runs again."],
  ended: ["", ""],
  idle: ["", ""],
};

class Frame {
  #main = document.getElementById("main");
  #page = null;
  #version = null;
  #refused = false; // the token that was sent
  #connection = "idle";

  session = new Session();
  api = new Api(this.session, () => this.#askForToken());

  async start() {
    startTheme(document.getElementById("theme"));
    document.getElementById("too-old")?.remove();
    document.getElementById("sign-out").addEventListener("click", () => this.#signOut());
    document.querySelector(".skip").addEventListener("click", (event) => {
      event.preventDefault(); // the part after '#' is the view
      this.#main.focus();
    });
    addEventListener("hashchange", () => this.#open(true));
    await this.#enter(false);
  }

  /* What the pages may use. */
  get context() {
    return {
      api: this.api,
      session: this.session,
      connection: (state) => this.connection(state),
      title: (text) => (document.title = `${text} · quantd`),
    };
  }

  /* Whether events come; a daemon that was away may be another one now. */
  connection(state) {
    if (state === this.#connection) return;
    if (this.#connection === "offline") this.#lookAtVersion();
    const back = this.#connection === "offline" && state !== "idle";
    this.#connection = state;
    const [word, text] = CONNECTIONS[state];
    const place = document.getElementById("connection");
    setText(place, word);
    setAttribute(place, "data-state", state);
    this.#banner(text);
    if (back) announce("The daemon answers again.");
  }

  #banner(text) {
    const banner = document.getElementById("banner");
    setText(banner, text);
    banner.hidden = !text;
  }

  async #lookAtVersion() {
    try {
      const { data } = await this.api.get("/v1/version");
      if (this.#version && data.version !== this.#version)
        this.#banner(`quantd is ${data.version} now. Reload the page to use its dashboard.`);
      this.#version ??= data.version;
    } catch {
      /* It is asked again when the daemon is back. */
    }
  }

  /* Asks who we are, then opens the view. */
  async #enter(focus) {
    try {
      const { data } = await this.api.get("/v1/whoami");
      this.session.caller = data;
    } catch (error) {
      if (error instanceof Problem && error.status === 401) return;
      if (!(error instanceof Problem)) {
        this.connection("offline");
        if (!this.#page) show(this.#main, el("p", { class: "empty" }, "Waiting for the daemon."));
        setTimeout(() => this.#enter(focus), RETRY_MS);
        return;
      }
    }
    this.connection("idle");
    this.#refused = false;
    this.#who();
    this.#lookAtVersion();
    this.#open(focus);
  }

  #who() {
    const caller = this.session.caller;
    setText(document.getElementById("who"), caller ? `${caller.owner} (${caller.role})` : "");
    document.getElementById("sign-out").hidden = !this.session.token;
  }

  #askForToken() {
    const wrong = Boolean(this.session.token) || this.#refused;
    if (this.#page?.title === "Sign in" && !this.session.token) return;
    this.#refused = wrong;
    this.session.signOut();
    this.api.forget();
    this.connection("idle");
    this.#who();
    this.#show(signInPage(wrong, (token, remember) => {
      this.session.signIn(token, remember);
      this.#enter(true);
    }), true);
  }

  #signOut() {
    this.#refused = false;
    this.session.signOut();
    this.api.forget();
    this.#page?.close();
    this.#page = null;
    this.#enter(true);
  }

  #open(focus) {
    const route = parse(location.hash);
    for (const link of document.querySelectorAll(".bar nav a")) {
      const page = parse(link.getAttribute("href")).page;
      setAttribute(link, "aria-current", page === route.page ? "page" : null);
    }
    if (this.#page?.change?.(route)) return; // the same page, with other filters
    const make = PAGES[route.page];
    this.#page?.close();
    this.#page = null;
    this.connection("idle"); // until the next page listens, if it does
    this.#show(make ? make(this.context, route) : unknownPage(), focus);
  }

  #show(page, focus) {
    this.#page?.close();
    this.#page = page;
    show(this.#main, page.node);
    document.title = `${page.title} · quantd`;
    if (!focus) return;
    scrollTo(0, 0);
    (page.focus || this.#main.querySelector("h1") || this.#main).focus({ preventScroll: true });
  }
}

function unknownPage() {
  return {
    title: "Not found", close() {},
    node: el("div", { class: "empty" }, el("h1", { tabindex: "-1" }, "No such page"),
      el("p", {}, "There is no page at this address. ", el("a", { href: "#/" }, "All jobs"))),
  };
}

new Frame().start();
