// SPDX-License-Identifier: Apache-2.0
/* The files of a checkpoint: sizes, hashes, and ways to get them. */
import { announce, copyButton, el, setText } from "../lib/dom.js";
import { save } from "../lib/save.js";
import { bytes } from "../lib/units.js";

/* A browser has to hold a file that it fetches with a token before it can save it. */
const HELD_MAX = 256 << 20;

const quoted = (text) => `'${String(text).replace(/'/g, "'\\''")}'`;

export class Artifacts {
  #api;
  #session;
  #key = "";
  #body = el("div", {});
  node = el("section", { class: "card", "aria-labelledby": "files-title", hidden: true },
    el("h2", { id: "files-title" }, "Files"), this.#body);

  constructor(api, session) {
    this.#api = api;
    this.#session = session;
  }

  update(job) {
    const files = job.artifacts || [];
    const key = files.map((file) => file.sha256).join();
    this.node.hidden = files.length === 0;
    if (key === this.#key) return;
    this.#key = key;
    const total = files.reduce((n, file) => n + file.bytes, 0);
    const all = `quantctl download ${job.id} DIR`;
    this.#body.replaceChildren(
      el("p", { class: "help" }, `${files.length} files, ${bytes(total)}. `,
        "This command downloads all files, checks them, and can be resumed:"),
      el("p", { class: "command" }, el("code", {}, all), copyButton(all, "Copy the command for all files")),
      el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Files of the checkpoint" },
        el("table", { class: "figures stack" },
          el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Name"),
            el("th", { scope: "col", class: "number" }, "Size"),
            el("th", { scope: "col" }, "SHA-256"), el("td", {}))),
          el("tbody", {}, files.map((file) => this.#row(file))))));
  }

  #row(file) {
    return el("tr", {}, el("th", { scope: "row" }, file.name),
      el("td", { class: "number", "data-label": "Size" }, bytes(file.bytes)),
      el("td", { "data-label": "SHA-256" }, el("code", { title: file.sha256, class: "hash" }, file.sha256)),
      el("td", { class: "end" }, this.#getter(file)));
  }

  /* Without a token the browser gets the file itself; with one, this page does when it is small. */
  #getter(file) {
    if (!this.#session.token)
      return el("a", { href: file.url, download: file.name, "aria-label": `Download ${file.name}` },
        "Download");
    if (file.bytes > HELD_MAX) {
      const command = `curl -H "Authorization: Bearer $QUANTD_TOKEN" -C - -O ${quoted(location.origin + file.url)}`;
      return copyButton(command, `Copy the curl command for ${file.name}, too large for this page`);
    }
    const button = el("button", { type: "button", class: "small",
      "aria-label": `Download ${file.name}` }, "Download");
    button.addEventListener("click", async () => {
      button.disabled = true;
      setText(button, "Fetching");
      try {
        const response = await this.#api.fetch(file.url);
        save(await response.blob(), file.name);
        setText(button, "Download");
      } catch (error) {
        setText(button, "Try again");
        announce(`Cannot download ${file.name}: ${error.message}`);
      }
      button.disabled = false;
    });
    return button;
  }
}
