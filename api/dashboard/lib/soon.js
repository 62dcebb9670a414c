// SPDX-License-Identifier: Apache-2.0
/* Work that many events ask for: done once for several of them, never twice at a time. */

export class Soon {
  #work;
  #delay;
  #timer = 0;
  #running = false;
  #again = false;
  #stopped = false;

  /* @work(): a promise, which may fail. @delay: ms from the first event to the work that it asks for. */
  constructor(work, delay) {
    this.#work = work;
    this.#delay = delay;
  }

  /*
   * Asks for the work. More events do not put it off: it begins @delay after the first, or when the
   * work that still runs is done.
   */
  ask() {
    if (this.#stopped) return;
    if (this.#running) this.#again = true;
    else if (!this.#timer) this.#timer = setTimeout(() => this.#run(), this.#delay);
  }

  stop() {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  async #run() {
    this.#timer = 0;
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
