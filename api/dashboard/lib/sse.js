// SPDX-License-Identifier: Apache-2.0
/* Server-sent events out of pieces of text, wherever they are cut. EventSource sends no token. */

const SIZE_MAX = 8 << 20; // characters of one event

export class SseParser {
  #rest = ""; // of a line that has not ended
  #data = [];
  #size = 0;
  #type = "";
  #first = true;
  lastId = ""; // of the newest event that had one

  /* The events that @text completes: [{id, type, data}]. Throws when one is far too long. */
  feed(text) {
    const events = [];
    if (this.#first && text) {
      this.#first = false;
      if (text.charCodeAt(0) === 0xfeff) text = text.slice(1);
    }
    text = this.#rest + text;
    // A CR at the end may be the first half of CRLF: it waits for what comes next.
    const lines = text.split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop();
    if (this.#rest.length + this.#size > SIZE_MAX) throw new Error("an event is too long");
    for (const line of lines) this.#line(line, events);
    return events;
  }

  #line(line, events) {
    if (line === "") {
      if (this.#data.length > 0)
        events.push({ id: this.lastId, type: this.#type || "message", data: this.#data.join("\n") });
      this.#data = [];
      this.#size = 0;
      this.#type = "";
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (field === "data") {
      this.#data.push(value);
      this.#size += value.length;
    } else if (field === "event") {
      this.#type = value;
    } else if (field === "id" && !value.includes("\0")) {
      this.lastId = value;
    }
  }
}
