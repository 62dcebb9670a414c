// SPDX-License-Identifier: Apache-2.0
/* What the job of the form would take, by the daemon; it follows the form. */
import { el, pair, setText, show } from "../lib/dom.js";
import { bytes, count, fixed, seconds } from "../lib/units.js";
import { valuesText } from "./members.js";

const isNumber = (value) => typeof value === "number";

const HINT = "Choose a model, and what the job takes is estimated here.";

export class EstimatePanel {
  #figures = el("dl", { class: "facts" });
  #text = el("p", { class: "help", role: "status" }, HINT);
  brief = el("span", { class: "help brief", "aria-hidden": "true" }); // the panel again, beside a button
  node = el("section", { class: "card", "aria-labelledby": "estimate-title" },
    el("h2", { id: "estimate-title" }, "Estimate"), this.#text, this.#figures);

  /* @text: why there is none; null: the form says too little for one. */
  clear(text) {
    setText(this.#text, text ?? HINT);
    this.#text.className = "help";
    setText(this.brief, "");
    show(this.#figures);
  }

  /* Another is asked for; what is shown may be of a form before. */
  wait() {
    this.node.setAttribute("aria-busy", "true");
  }

  /* The answer came, whatever it was. */
  done() {
    this.node.removeAttribute("aria-busy");
  }

  update(estimate) {
    const { device, disk, fits, memory, reasons } = estimate;
    const why = (name) => (reasons?.[name] ? el("span", { class: "sub" }, reasons[name]) : null);
    const rows = [
      ["Time", seconds(estimate.seconds), this.#history(estimate), why("seconds")],
      ["Memory", this.#memory(memory?.device, device), why("memory")],
      ["Host memory", bytes(memory?.host)],
      ["Size", bytes(estimate.size_bytes), why("size_bytes")],
      ["Bits per weight", fixed(estimate.bits_per_weight, 2)],
      ["Disk", `${bytes(disk?.needed)} of ${bytes(disk?.free)} free`],
      ...Object.entries(estimate.windows || {}).map(([set, n]) =>
        [set, n === null ? "not here yet" : `${count(n)} windows`]),
    ];
    const wrong = [fits === false ? reasons?.fits || "It does not fit into the memory of the device." : "",
      disk?.needed > disk?.free ? "The disk has no room for it." : ""].filter(Boolean);
    setText(this.#text, wrong.length ? wrong.join(" ") : device ? `On ${device.name || device.id}.` : "");
    this.#text.className = wrong.length ? "problem" : "help";
    setText(this.brief, [[estimate.seconds, seconds, "about "], [memory?.device, bytes, "memory "],
      [estimate.size_bytes, bytes, "size "]].filter(([value]) => isNumber(value))
      .map(([value, text, name]) => name + text(value)).join(" · "));
    show(this.#figures, rows.filter(([, text, ...more]) => text !== "–" || more.some(Boolean))
      .map(([name, ...texts]) => pair(name, ...texts)));
  }

  /* Of the members of a group: all of them in time and disk, the largest in memory. */
  updateGroup({ members, seconds: all }) {
    const figures = (value) => members.map(({ estimate }) => value(estimate)).filter(isNumber);
    const most = (value) => Math.max(...figures(value));
    const sizes = figures((estimate) => estimate.size_bytes);
    const large = members.find(({ estimate }) => estimate.fits === false);
    const needed = figures((estimate) => estimate.disk?.needed).reduce((sum, bytes) => sum + bytes, 0);
    const free = members[0]?.estimate.disk?.free;
    const wrong = [large ? `${valuesText(large.values)}: ${large.estimate.reasons?.fits ||
      "it does not fit into the memory of the device."}` : "",
    needed > free ? "The disk has no room for all of them." : ""].filter(Boolean);
    const time = all ?? NaN;
    const rows = [["Jobs", String(members.length)], ["Time of all", seconds(time)],
      ["Memory, most", bytes(most((estimate) => estimate.memory?.device))],
      ["Host memory, most", bytes(most((estimate) => estimate.memory?.host))],
      ["Sizes", sizes.length ? `${bytes(Math.min(...sizes))} to ${bytes(Math.max(...sizes))}` : "–"],
      ["Disk", needed ? `${bytes(needed)} of ${bytes(free)} free` : "–"]];
    setText(this.#text, wrong.join(" "));
    this.#text.className = wrong.length ? "problem" : "help";
    setText(this.brief, isNumber(all) ? `about ${seconds(all)} for all` : "");
    show(this.#figures, rows.filter(([, text]) => text !== "–").map(([name, text]) => pair(name, text)));
  }

  #memory(needed, device) {
    if (!isNumber(device?.memory_free)) return bytes(needed);
    return `${bytes(needed)} of ${bytes(device.memory_free)} free`;
  }

  #history(estimate) {
    if (estimate.seconds === null || !estimate.history_jobs) return null;
    const jobs = estimate.history_jobs === 1 ? "1 job" : `${count(estimate.history_jobs)} jobs`;
    return el("span", { class: "sub" }, `by ${jobs}${estimate.same_model ? "" : " of other models"}`);
  }
}
