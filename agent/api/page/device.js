// What the device says of itself (/status) while the page is visible, and whether it is there.

import { ApiError, call, request } from "./api.js";
import { askForKey } from "./key.js";

const QUICK_MS = 1500;
const SLOW_MS = 5000;
const PATIENCE_MS = 10000;

class Device extends EventTarget {
  status = null;
  online = true;
  locked = false;
  /** Tokens made since the daemon started, as they are made; null before it is known. */
  tokens = null;
  #watchers = new Set();
  #timer = 0;
  #asking = null;
  #finished = -1;

  /** Someone is looking (`true`) or not: the board, an answer that is being waited for. */
  watch(who, looking) {
    const before = this.#watchers.size;
    if (looking) this.#watchers.add(who);
    else this.#watchers.delete(who);
    if (looking && before === 0) this.refresh();
  }

  get models() {
    return this.status?.runtime.models ?? [];
  }

  modelsFor(task) {
    return this.models.filter((model) => model.task === task);
  }

  start() {
    document.addEventListener("visibilitychange", () => this.refresh());
    addEventListener("online", () => this.refresh());
    return this.refresh();
  }

  /** Asks now; whoever calls while an answer is awaited gets that one. */
  refresh() {
    clearTimeout(this.#timer);
    if (document.hidden) return Promise.resolve();
    this.#asking ??= this.#round().finally(() => (this.#asking = null));
    return this.#asking;
  }

  /** There may be a key now, and if not, somebody wants to be asked for it. */
  async unlock() {
    await this.#asking;
    this.locked = false;
    await this.refresh();
  }

  async #round() {
    try {
      const status = await this.#status();
      await this.#countTokens(status);
      this.status = status;
      this.online = true;
      this.locked = false;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.online = !error.gone;
      this.locked = error.status === 401;
    } finally {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.refresh(), this.#watchers.size || !this.online ? QUICK_MS : SLOW_MS);
    }
    this.dispatchEvent(new Event("change"));
  }

  /** Brings the key dialog until the key is right; after a Cancel not before somebody asks for it. */
  async #status() {
    for (;;) {
      try {
        return await this.#ask("/status", call);
      } catch (error) {
        if (error.status !== 401 || this.locked || !(await askForKey(error.message))) throw error;
      }
    }
  }

  async #ask(path, how) {
    const patience = new AbortController();
    const timer = setTimeout(() => patience.abort(), PATIENCE_MS);
    try {
      return await how(path, { quiet: true, signal: patience.signal });
    } catch (error) {
      if (error.name === "AbortError") throw new ApiError("The device is slow to answer.");
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** /metrics counts tokens as they come; it is asked only while something runs. */
  async #countTokens(status) {
    const { running, counters } = status.runtime;
    const idle = running === 0 && counters.completion_tokens === this.#finished;
    this.#finished = counters.completion_tokens;
    if (idle && this.tokens !== null) return;
    const text = await (await this.#ask("/metrics", request)).text();
    const lines = text.split("\n").filter((line) => line.startsWith("llm_tokens_generated_total{"));
    this.tokens = lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0);
  }
}

export const device = new Device();
