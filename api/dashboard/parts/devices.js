// SPDX-License-Identifier: Apache-2.0
/* What jobs run on: memory in use and how busy it is, now. */
import { el, setText, show } from "../lib/dom.js";
import { Bar } from "./progress.js";
import { format } from "../lib/router.js";
import { bytes, percent } from "../lib/units.js";

const PERIOD_MS = 3000;

class Device {
  #memory;
  #memoryText = el("span", { class: "figure" });
  #load;
  #loadText = el("span", { class: "figure" });
  #loadGauge;
  #job = el("span", { class: "help" });
  node;

  constructor(device) {
    this.#memory = new Bar(`Memory of ${device.id}`);
    this.#load = new Bar(`Utilisation of ${device.id}`);
    this.#loadGauge = el("div", { class: "gauge" }, el("span", {}, "Busy"), this.#load.node,
      this.#loadText);
    this.node = el("div", { class: "device" },
      el("div", { class: "spread" }, el("strong", {}, device.name || String(device.id)), this.#job),
      el("div", { class: "gauge" }, el("span", {}, "Memory"), this.#memory.node, this.#memoryText),
      this.#loadGauge);
  }

  update(device) {
    const total = device.memory_total;
    const used = total ? total - device.memory_free : NaN;
    const text = total ? `${bytes(used)} of ${bytes(total)}` : "not known";
    this.#memory.update(total ? used / total : null, text);
    setText(this.#memoryText, text);
    const known = typeof device.utilization === "number";
    this.#loadGauge.hidden = !known;
    this.#load.update(known ? device.utilization : null, percent(device.utilization));
    setText(this.#loadText, percent(device.utilization));
    if (device.jobs)
      setText(this.#job, `${device.jobs.running} run, ${device.jobs.waiting} wait`);
    else if (device.job)
      show(this.#job, "runs ", el("a", { href: format("job", device.job) }, `job ${device.job}`));
    else show(this.#job, "idle");
  }
}

/*
 * Asks every few seconds while it can be seen; only the device of @job when that is given.
 * @onJobs(ids): the jobs that devices run, at each answer.
 */
export class Devices {
  #api;
  #job;
  #onJobs;
  #timer = 0;
  #shown = new Map();
  #list = el("div", { class: "devices" });
  node;

  constructor(api, job = null, onJobs = () => {}) {
    this.#api = api;
    this.#job = job;
    this.#onJobs = onJobs;
    this.node = el("section", { class: "card", "aria-labelledby": "devices-title", hidden: true },
      el("h2", { id: "devices-title" }, job ? "Device" : "Devices"), this.#list);
  }

  start() {
    this.stop();
    this.ask();
    this.#timer = setInterval(() => document.hidden || this.ask(), PERIOD_MS);
  }

  stop() {
    clearInterval(this.#timer);
  }

  /* Asks now. */
  async ask() {
    let list;
    try {
      ({ data: list } = await this.#api.get("/v1/devices"));
    } catch {
      return; // the feed of events reports that the daemon does not answer
    }
    const devices = list.data.filter((d) => !this.#job || String(d.job) === String(this.#job));
    this.node.hidden = devices.length === 0;
    for (const device of devices) {
      const key = String(device.id);
      if (!this.#shown.has(key)) {
        this.#shown.set(key, new Device(device));
        this.#list.append(this.#shown.get(key).node);
      }
      this.#shown.get(key).update(device);
    }
    this.#onJobs(devices.map((device) => device.job).filter(Boolean));
  }
}
