// The text of a live transcription: finals stay, the partial of the segment being spoken changes below them.

import { element } from "./element.js";

export class Transcript {
  #target;
  #open = new Map();

  constructor(target) {
    this.#target = target;
  }

  get text() {
    return [...this.#target.querySelectorAll("p.final .words")].map((one) => one.textContent).join("\n");
  }

  clear() {
    this.#open.clear();
    this.#target.replaceChildren();
  }

  /** What was being said can have no end any more. */
  settle() {
    for (const line of this.#open.values()) line.remove();
    this.#open.clear();
  }

  partial(event) {
    const line = this.#line(event.segment);
    line.querySelector(".words").replaceChildren(...partialText(event));
    this.#scroll();
  }

  final(event) {
    const partial = this.#line(event.segment);
    this.#open.delete(event.segment);
    if (!event.text.trim()) return partial.remove();
    // A new line, not the partial one changed: a screen reader reads what is added, and no partials.
    const line = lineOf("final");
    line.querySelector("time").textContent = clock(event);
    line.querySelector(".words").textContent = event.text.trim();
    partial.replaceWith(line);
    this.#scroll();
  }

  /** Something that happened, between the lines; once, however often it happens in a row. */
  notice(text) {
    if (this.#target.lastChild?.textContent === text) return;
    this.#target.append(element("p", { class: "notice" }, text));
    this.#scroll();
  }

  #line(segment) {
    let line = this.#open.get(segment);
    if (!line) {
      line = lineOf("partial");
      line.setAttribute("aria-hidden", "true");
      this.#target.append(line);
      this.#open.set(segment, line);
    }
    return line;
  }

  #scroll() {
    const { scrollHeight, scrollTop, clientHeight } = this.#target;
    if (scrollHeight - scrollTop - clientHeight < 120) this.#target.scrollTop = scrollHeight;
  }
}

const lineOf = (kind) => element("p", { class: kind }, element("time"), element("span", { class: "words" }));

/** The committed beginning, and the rest, which may still change. */
export function partialText({ text, committed }) {
  const settled = text.startsWith(committed) ? committed : "";
  return [settled.trimStart(), element("span", { class: "rest" }, settled ? text.slice(settled.length) : text.trimStart())];
}

function clock({ time }) {
  return new Date(time * 1000).toLocaleTimeString([], { hour12: false });
}

/** What to tell of an event that is not text; "" for the others. */
export function noticeOf(event) {
  switch (event.type) {
    case "lost":
      return `${(event.samples / 16000).toFixed(1)} s of sound were lost (${LOST[event.reason] ?? event.reason}).`;
    case "overload":
      return `${(event.end_s - event.start_s).toFixed(1)} s of speech were left out: the device cannot keep up.`;
    case "error":
    case "notice":
      return [event.message, event.hint].filter(Boolean).join(" ");
    case "device":
      return event.state === "lost" || event.state === "failed"
        ? [event.reason, event.hint, event.retry_s == null ? "" : "It is tried again."].filter(Boolean).join(" ")
        : "";
    default:
      return "";
  }
}

const LOST = {
  overrun: "it could not be taken in time",
  device: "the microphone did not deliver it",
  reopened: "while the microphone was being opened again",
};
