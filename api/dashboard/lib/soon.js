// SPDX-License-Identifier: Apache-2.0
/* Work that many events ask for: done once for several of them, never twice at a time. */

const GATHER_MS = 30; // events of one change come together

export class Soon {
  #work;
  #period;
  #began = -Infinity; // when the work was begun last
  #timer = 0;
  #running = false;
  #again = false;
  #stopped = false;

  /* @work(): a promise, which may fail. @period: ms from one beginning of it to the next, at least. */
  constructor(work, period) {
    this.#work = work;
    this.#period = period;
  }

  /*
   * Asks for the work. It begins at once when there was none for a while, else a @period after the
   * last, or when the work that still runs is done. More events do not put it off.
   */
  ask() {
    if (this.#stopped) return;
    if (this.#running) this.#again = true;
    else if (!this.#timer) {
      const wait = Math.max(GATHER_MS, this.#began + this.#period - performance.now());
      this.#timer = setTimeout(() => this.#run(), wait);
    }
  }

  stop() {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  async #run() {
    this.#timer = 0;
    this.#began = performance.now();
    this.#running = true;
    try {
      await this.#work();
    } catch {
      /* Whoever listens to the events sees that the daemon does not answer. */
    }
    this.#running = false;
    if (!this.#again) return;
    this.#again = false;
    this.ask();
  }
}
