// SPDX-License-Identifier: Apache-2.0
/* The REST API. What it refuses is a Problem; what does not get there is Unreachable. */

const CACHED_MAX = 64; // answers that are kept for their entity tags

/* application/problem+json: status, code, detail, hint, field. */
export class Problem extends Error {
  constructor(status, body) {
    super(body?.detail || `the daemon answered with status ${status}`);
    this.status = status;
    this.code = body?.code || "";
    this.hint = body?.hint || "";
    this.field = body?.field || "";
    this.requestId = body?.request_id || "";
  }
}

/* A new Idempotency-Key. */
export function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0"))
    .join("");
}

class Unreachable extends Error {
  constructor() {
    super("the daemon does not answer");
  }
}

export class Api {
  #session;
  #cached = new Map(); // path: {tag, data}

  /* @onUnauthorized is called when the daemon asks for a token. */
  constructor(session, onUnauthorized) {
    this.#session = session;
    this.onUnauthorized = onUnauthorized;
  }

  headers(more) {
    const token = this.#session.token;
    return token ? { ...more, Authorization: `Bearer ${token}` } : { ...more };
  }

  /* A response that is fine or 304; else throws. */
  async fetch(path, { method = "GET", headers = {}, body, signal } = {}) {
    const token = this.#session.token;
    let response;
    try {
      response = await fetch(path, {
        method, body, signal, headers: this.headers(headers), cache: "no-store",
        credentials: "omit", redirect: "error", referrerPolicy: "no-referrer",
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Unreachable();
    }
    if (response.ok || response.status === 304) return response;
    const problem = new Problem(response.status, await response.json().catch(() => null));
    // An answer to a token that was replaced meanwhile says nothing of the new one.
    if (response.status === 401 && token === this.#session.token) this.onUnauthorized(problem);
    throw problem;
  }

  /* {data, fresh}: JSON at @path; fresh is false when it is what was got last time. */
  async get(path, options = {}) {
    const known = this.#cached.get(path);
    const headers = { Accept: "application/json" };
    if (known) headers["If-None-Match"] = known.tag;
    const response = await this.fetch(path, { ...options, headers });
    if (response.status === 304) return { data: known.data, fresh: false };
    const data = await this.#json(response);
    const tag = response.headers.get("ETag");
    this.#cached.delete(path);
    if (tag) this.#cached.set(path, { tag, data });
    if (this.#cached.size > CACHED_MAX) this.#cached.delete(this.#cached.keys().next().value);
    return { data, fresh: true };
  }

  async post(path, body = {}, headers = {}) {
    const response = await this.fetch(path, {
      method: "POST", body: JSON.stringify(body),
      headers: { "Content-Type": "application/json", Accept: "application/json", ...headers },
    });
    return this.#json(response);
  }

  async delete(path) {
    await this.fetch(path, { method: "DELETE" });
  }

  forget() {
    this.#cached.clear();
  }

  async #json(response) {
    try {
      return await response.json();
    } catch {
      throw new Unreachable(); // it broke off in the middle
    }
  }
}
