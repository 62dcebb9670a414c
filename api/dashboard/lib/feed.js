// SPDX-License-Identifier: Apache-2.0
/*
 * What happens, as it happens: server-sent events, and questions from time to time where they do
 * not come through. It goes on after the last event it had when the daemon was away.
 */
import { Problem } from "./api.js";
import { SseParser } from "./sse.js";

const POLL_MS = 3000;
const HIDDEN_POLL_MS = 30000;
const HIDDEN_GRACE_MS = 5000; // a glance at another tab keeps the stream
const SILENCE_MS = 45000; // three heartbeats
const RETRY_FIRST_MS = 500;
const RETRY_MOST_MS = 5000;
const STREAM_RETRY_MOST_MS = 60000; // while polling works
const LIST_LIMIT = 500;

/*
 * A feed that runs, of a page that asks again for all it shows: by @load() now and when the feed
 * polls, by @refreshing of lib/soon.js after an event that @concerns it and when some were missed.
 */
export function refreshedFeed(context, { load, refreshing, concerns }) {
  const feed = new Feed(context.api, "/v1/events", null, {
    event: (event) => (event.type === "reset" || concerns(event)) && refreshing.ask(),
    poll: load,
    state: (state) => context.connection(state),
    refused: () => {},
  });
  load().catch(() => {});
  feed.start();
  return feed;
}

export class Feed {
  #api;
  #path;
  #on;
  #cursor;
  #stopped = false;
  #abort = null;
  #wake = null;
  #hiddenTimer = 0;
  #ended = false;
  #onVisible = () => this.#visibilityChanged();
  /* A page that was left may be kept by the browser, with one of its six connections. */
  #onLeave = () => this.#abort?.abort();

  /*
   * @cursor: the last event that is known, null: begin now and ask for no earlier ones.
   * @on.event({type, seq, data}): an event of the stream. @on.poll(): ask for what may have
   * changed; rejects when the daemon does not answer. @on.state("live" | "polling" | "idle" | "offline" | "ended").
   * @on.refused(problem): the daemon refuses the events.
   */
  constructor(api, path, cursor, on) {
    this.#api = api;
    this.#path = path;
    this.#cursor = cursor;
    this.#on = on;
  }

  start() {
    document.addEventListener("visibilitychange", this.#onVisible);
    window.addEventListener("pagehide", this.#onLeave);
    this.#run();
  }

  stop() {
    this.#stopped = true;
    document.removeEventListener("visibilitychange", this.#onVisible);
    window.removeEventListener("pagehide", this.#onLeave);
    clearTimeout(this.#hiddenTimer);
    this.#abort?.abort();
    this.#wake?.();
  }

  /* No event will follow: it stops when the stream does. */
  end() {
    this.#ended = true;
  }

  async #run() {
    let failures = 0;
    let nextStream = 0;
    while (!this.#stopped) {
      let streamed = false;
      if (!document.hidden && Date.now() >= nextStream) {
        try {
          await this.#stream(() => {
            streamed = true;
            failures = 0;
          });
        } catch (error) {
          if (this.#mustGiveUp(error)) return;
        }
        if (this.#stopped) return;
        failures += streamed ? 0 : 1;
        nextStream = Date.now() + Math.min(STREAM_RETRY_MOST_MS, POLL_MS * 2 ** failures);
      }
      if (this.#ended) return this.#finish();
      const answered = await this.#poll();
      if (this.#stopped) return;
      if (this.#ended) return this.#finish();
      if (answered === "refused") return;
      if (streamed && answered) nextStream = 0; // it worked, and will again
      if (!answered) {
        failures++;
        nextStream = 0;
      }
      const listens = nextStream ? "polling" : "live";
      this.#on.state(!answered ? "offline" : document.hidden ? "idle" : listens);
      await this.#sleep(this.#delay(answered, streamed, failures));
    }
  }

  #delay(answered, streamed, failures) {
    if (!answered) return Math.min(RETRY_MOST_MS, RETRY_FIRST_MS * 2 ** Math.min(failures, 8));
    if (document.hidden) return HIDDEN_POLL_MS;
    return streamed ? RETRY_FIRST_MS : POLL_MS;
  }

  #finish() {
    this.#on.state("ended");
    this.stop();
  }

  #mustGiveUp(error) {
    const refused = error instanceof Problem && [401, 403, 404].includes(error.status);
    if (refused) {
      this.#on.refused(error);
      this.stop();
    }
    return refused || this.#stopped;
  }

  /* Reads the stream to its end; @began is called when it stands. */
  async #stream(began) {
    const abort = (this.#abort = new AbortController());
    const headers = { Accept: "text/event-stream" };
    if (this.#cursor !== null) headers["Last-Event-ID"] = String(this.#cursor);
    let silence = setTimeout(() => abort.abort(), SILENCE_MS);
    try {
      const response = await this.#api.fetch(this.#path, { headers, signal: abort.signal });
      began();
      this.#on.state("live");
      if (response.status === 204) return this.end(); // the job has ended, and all is here
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      const parser = new SseParser();
      for (;;) {
        const { done, value } = await reader.read();
        if (done || this.#stopped) return;
        clearTimeout(silence);
        silence = setTimeout(() => abort.abort(), SILENCE_MS);
        for (const event of parser.feed(value)) this.#take(event);
      }
    } finally {
      clearTimeout(silence);
      abort.abort(); // gives the connection back, whatever happened
      this.#abort = null;
    }
  }

  #take(event) {
    let body;
    try {
      body = JSON.parse(event.data);
    } catch {
      return;
    }
    if (event.type === "start") {
      this.#cursor ??= body.last_seq ?? null;
      return;
    }
    if (event.type === "reset") {
      this.#cursor = body.last_seq ?? this.#cursor;
      this.#on.event({ type: "reset", seq: null, data: body });
      return;
    }
    if (body.seq) this.#cursor = body.seq;
    this.#on.event({ ...body, type: event.type, seq: body.seq ?? null,
      data: event.type === "job" ? body : body.data });
  }

  /* Asks instead of listening: true; false when the daemon does not answer; "refused". */
  async #poll() {
    try {
      if (this.#cursor !== null) await this.#pollEvents();
      await this.#on.poll();
      return true;
    } catch (error) {
      if (this.#mustGiveUp(error)) return "refused";
      return error instanceof Problem; // it answers, if with an error
    }
  }

  async #pollEvents() {
    for (let more = true; more && !this.#stopped; ) {
      const path = `${this.#path}?after=${this.#cursor}&limit=${LIST_LIMIT}`;
      const { data: list } = await this.#api.get(path);
      for (const event of list.data) {
        this.#cursor = event.seq;
        this.#on.event(event);
      }
      more = list.has_more && list.data.length > 0;
    }
  }

  #visibilityChanged() {
    clearTimeout(this.#hiddenTimer);
    if (document.hidden) this.#hiddenTimer = setTimeout(() => this.#abort?.abort(), HIDDEN_GRACE_MS);
    else this.#wake?.();
  }

  #sleep(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
