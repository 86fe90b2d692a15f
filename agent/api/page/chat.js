// The chat: what is asked, the answer as it comes, and what it cost.

import { ApiError, call, events, request } from "./api.js";
import { Conversation } from "./conversation.js";
import { device } from "./device.js";
import { button, byId, setIcon, setOptions, tell } from "./element.js";
import { showMarkdown } from "./markdown.js";
import { drawMessage, finishMessage, noModels, welcome } from "./message.js";
import { startOptions } from "./options.js";

const SAVE_EVERY_MS = 2000;
const NEAR_THE_END_PX = 60;

const talk = new Conversation();
let running = null;
let cleared = null;
let following = true;

export function startChat() {
  const prompt = byId("prompt");
  byId("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    if (running) running.abort();
    else send(prompt.value);
  });
  prompt.addEventListener("keydown", (event) => {
    // On a touch screen Enter is the only way to a new line, and the button is near.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || !matchMedia("(pointer: fine)").matches) return;
    event.preventDefault();
    if (!running) send(prompt.value);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && running && !document.querySelector("dialog[open]")) running.abort();
  });
  prompt.addEventListener("input", fit);
  byId("log").addEventListener("scroll", noticeScrolling, { passive: true });
  byId("clear").addEventListener("click", clear);
  addEventListener("pagehide", () => {
    // What ends an answer from now on is that the page is left: it stays marked as open.
    talk.save();
    talk.closed = true;
  });
  addEventListener("pageshow", () => (talk.closed = false));
  device.addEventListener("change", showDevice);
  startOptions(talk);
  showAll();
}

/** Puts text into the message, at its end; `sources` also chooses a collection to answer from. */
export function offer(text, sources) {
  const prompt = byId("prompt");
  prompt.value = [prompt.value.trimEnd(), text].filter(Boolean).join(" ");
  if (sources !== undefined) {
    keep({ sources });
    byId("sources").value = sources;
  }
  fit();
}

/** Asks for the collections, to answer from one; null if they cannot be had. */
export async function loadCollections() {
  try {
    const { data } = await call("/v1/collections", { quiet: true });
    const names = data.filter(({ state }) => state !== "broken").map(({ name }) => name);
    if (talk.sources && !names.includes(talk.sources)) keep({ sources: "" });
    setOptions(byId("sources"), [["", "no collection"], ...names.map((name) => [name, `from ${name}`])], talk.sources);
    byId("sources").hidden = names.length === 0;
    return data;
  } catch (error) {
    if (error instanceof ApiError) return null;
    throw error;
  }
}

function keep(changes) {
  Object.assign(talk, changes);
  talk.save();
}

function fit() {
  const prompt = byId("prompt");
  prompt.style.height = "auto";
  prompt.style.height = `${Math.min(prompt.scrollHeight, innerHeight * 0.35)}px`;
}

function showDevice() {
  const names = device.modelsFor("generate").map(({ name }) => [name, name]);
  setOptions(byId("model"), names, talk.model || undefined);
  byId("model").hidden = names.length === 0;
  if (!talk.messages.length) showAll();
  if (running?.waiting) tell(running.waiting, waitingFor());
}

/** What an answer that has not begun is waiting for. */
function waitingFor() {
  if (!device.online) return "The connection is lost. Waiting …";
  const model = device.models.find(({ name }) => name === byId("model").value);
  if (model?.state === "loading") return `Loading ${model.name} …`;
  if (device.status?.runtime.queue.waiting) return "Waiting for its turn …";
  return "Reading …";
}

function showAll() {
  const list = byId("messages");
  byId("clear").hidden = !talk.messages.length;
  if (talk.messages.length) {
    list.replaceChildren(...talk.messages.map((message, index) => drawMessage(message, againAt(index))));
    scrollDown();
    return;
  }
  const empty = device.status && !device.modelsFor("generate").length ? noModels() : welcome(send);
  if (list.textContent !== empty.textContent) list.replaceChildren(empty);
}

const againAt = (index) => (index === talk.messages.length - 1 ? repeat : null);

async function repeat() {
  if (running) return;
  const from = talk.messages.findLastIndex(({ role }) => role === "user");
  if (from < 0) return;
  const [question] = talk.messages.splice(from);
  await send(question.content);
}

function clear() {
  running?.abort();
  if (!talk.messages.length) return;
  cleared = talk.messages;
  keep({ messages: [] });
  showAll();
  byId("note").replaceChildren("The conversation was cleared. ", button("Undo", bringBack));
  byId("prompt").focus();
}

function bringBack() {
  keep({ messages: cleared });
  byId("note").textContent = "";
  showAll();
  byId("prompt").focus();
}

async function send(given) {
  const content = given.trim();
  if (!content || running) return;
  const model = byId("model").value;
  if (!model) {
    byId("note").textContent = device.status ? "There is no model to talk to yet." : "The device has not answered yet.";
    return;
  }
  running = new AbortController();
  byId("note").textContent = "";
  byId("prompt").value = "";
  fit();
  setIcon(byId("send"), "stop", "Stop");
  const answer = { role: "assistant", content: "", open: true };
  const { messages } = talk;
  messages.push({ role: "user", content });
  const body = talk.body(model);
  messages.push(answer);
  talk.save();
  showAll();
  const article = byId("messages").lastChild;
  running.waiting = article.querySelector("footer");
  tell(running.waiting, waitingFor());
  device.watch("chat", true);
  try {
    await receive(body, answer, article.querySelector(".text"));
  } catch (error) {
    if (error.name === "AbortError") answer.about = ["stopped", answer.about].filter(Boolean).join(" · ");
    else if (error instanceof ApiError) answer.error = error.message;
    else throw error;
  } finally {
    running = null;
    device.watch("chat", false);
    setIcon(byId("send"), "send", "Send");
    delete answer.open;
    finishMessage(article, answer, againAt(messages.indexOf(answer)));
    byId("said").textContent = answer.error ?? (answer.content || "Nothing was answered.");
    talk.save();
    scrollDown(true);
  }
}

/** Fills `answer` as its text comes, and draws it once a frame. */
async function receive(body, answer, text) {
  const clock = new Clock();
  let [drawing, saved, ended] = [0, performance.now(), false];
  const { signal } = running;
  const response = await request("/v1/chat/completions", { body, signal });
  for await (const data of events(response)) {
    if (data === "[DONE]") return;
    const { error, choices, timings, retrieved } = JSON.parse(data);
    if (error) throw new ApiError(error.message, error);
    const [choice] = choices;
    if (choice?.delta.content) {
      if (running.waiting) tell(running.waiting, "");
      running.waiting = null;
      clock.piece();
      answer.content += choice.delta.content;
      answer.about = clock.text();
      drawing ||= requestAnimationFrame(() => {
        drawing = 0;
        showMarkdown(text, answer.content);
        scrollDown(true);
      });
      if (performance.now() - saved > SAVE_EVERY_MS) {
        saved = performance.now();
        talk.save();
      }
    }
    if (choice?.finish_reason) {
      ended = true;
      answer.retrieved = retrieved;
      answer.about = clock.text(timings?.predicted_per_second ?? undefined, timings?.predicted_n);
      if (choice.finish_reason === "length") answer.about += " · cut off at the limit";
    }
  }
  if (!ended) throw new ApiError("The connection was lost in the middle of the answer.");
}

/** What an answer took, as this browser saw it; the device's own speed, where it came to say it. */
class Clock {
  #asked = performance.now();
  #first = null;
  #last = null;
  #pieces = 0;

  piece() {
    this.#last = performance.now();
    this.#first ??= this.#last;
    this.#pieces += 1;
  }

  text(rate = (this.#pieces - 1) / ((this.#last - this.#first) / 1000), count = null) {
    const parts = [];
    if (rate > 0 && Number.isFinite(rate)) parts.push(`${rate.toFixed(1)} tokens/s`);
    if (this.#first !== null) parts.push(`first token after ${((this.#first - this.#asked) / 1000).toFixed(2)} s`);
    if (count) parts.push(count === 1 ? "1 token" : `${count} tokens`);
    return parts.join(" · ");
  }
}

function noticeScrolling() {
  const log = byId("log");
  following = log.scrollHeight - log.scrollTop - log.clientHeight < NEAR_THE_END_PX;
}

/** To the end of the conversation; `gently` only where the reader has not scrolled away from it. */
function scrollDown(gently = false) {
  const log = byId("log");
  if (!gently || following) log.scrollTop = log.scrollHeight;
}
