// The conversation and its options, kept in this browser's storage.

const NAME = "edge-agent.chat";
const SHORTEST = 20;

const EMPTY = { messages: [], system: "", temperature: null, maxTokens: null, model: "", sources: "" };

export class Conversation {
  closed = false;

  /** `messages` are {role, content}, answers also with `about` (the line below) and perhaps `error` and `retrieved`. */
  constructor() {
    Object.assign(this, structuredClone(EMPTY));
    try {
      const kept = JSON.parse(localStorage.getItem(NAME) ?? "{}");
      for (const [name, value] of Object.entries(EMPTY)) {
        if (value === null ? typeof kept[name] === "number" : typeof kept[name] === typeof value) this[name] = kept[name];
      }
      this.messages = Array.isArray(kept.messages) ? kept.messages.filter(isMessage) : [];
    } catch {
      // Not allowed, or not ours: begin afresh.
    }
  }

  /** Nothing is kept any more once `closed`. */
  save() {
    if (this.closed) return;
    const { messages, system, temperature, maxTokens, model, sources } = this;
    for (let first = 0; ; first += Math.ceil((messages.length - first) / 2)) {
      const kept = { messages: messages.slice(first), system, temperature, maxTokens, model, sources };
      try {
        localStorage.setItem(NAME, JSON.stringify(kept));
        return;
      } catch (error) {
        // Full: the older half goes, out of storage only. Not allowed at all: nothing is kept.
        if (error.name !== "QuotaExceededError" || messages.length - first < SHORTEST) return;
      }
    }
  }

  /** The body of the next request. */
  body(model) {
    const messages = this.messages.filter((one) => one.content).map(({ role, content }) => ({ role, content }));
    if (this.system.trim()) messages.unshift({ role: "system", content: this.system });
    const body = { model, messages, stream: true };
    if (this.temperature !== null) body.temperature = this.temperature;
    if (this.maxTokens !== null) body.max_tokens = this.maxTokens;
    if (this.sources) body.retrieve = { collection: this.sources };
    return body;
  }
}

const isMessage = (one) => (one?.role === "user" || one?.role === "assistant") && typeof one.content === "string";
