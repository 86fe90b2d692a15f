// One message of the conversation as it is shown, and what stands there before the first one.

import { button, copy, element } from "./element.js";
import { showMarkdown } from "./markdown.js";

const STARTERS = ["What can you do?", "Tell me a short story about a lighthouse.", "Write a haiku about small computers."];

/** The article of a message. `again` is called by the button that repeats the question; null leaves it out. */
export function drawMessage(message, again) {
  const text = element("div", { class: "text" });
  const foot = element("footer", { class: "muted" });
  const who = message.role === "user" ? "You" : "Answer";
  const article = element("article", { class: message.role }, element("h2", { class: "sr" }, who), text, foot);
  if (message.role === "user") text.textContent = message.content;
  else finishMessage(article, message, again);
  return article;
}

/** An answer that is all there will be: its text, and below it the numbers, the sources, the error. */
export function finishMessage(article, message, again) {
  const text = article.querySelector(".text");
  const foot = article.querySelector("footer");
  showMarkdown(text, message.content);
  if (message.error) foot.before(element("p", { class: "error" }, message.error));
  if (message.retrieved?.length) foot.before(drawSources(message.retrieved));
  foot.hidden = false;
  const about = [message.about, message.open && "interrupted"].filter(Boolean).join(" · ");
  foot.replaceChildren(...(about ? [element("span", {}, about)] : []));
  if (message.content) {
    const copying = button("Copy", () => copy(message.content, copying, text));
    foot.append(copying);
  }
  if (again) foot.append(button("Try again", again));
}

function drawSources(retrieved) {
  const items = retrieved.map(({ id, score }) => element("li", {}, `${id} (${Number(score).toFixed(2)})`));
  const count = items.length === 1 ? "1 source" : `${items.length} sources`;
  return element("details", { class: "sources" }, element("summary", {}, count), element("ol", {}, ...items));
}

/** `ask` is called with the text of a suggestion. */
export function welcome(ask) {
  const starters = STARTERS.map((text) => button(text, () => ask(text), null, ""));
  return element(
    "div",
    { class: "welcome" },
    element("h2", {}, "Ask this device"),
    element("p", { class: "muted" }, "The model runs right here. What you write does not leave the device."),
    element("div", { class: "starters" }, ...starters),
  );
}

export function noModels() {
  return element(
    "div",
    { class: "welcome" },
    element("h2", {}, "There is no model to talk to yet"),
    element("p", { class: "muted" }, "In a terminal on the device, see what fits this board, or bring a file that you have:"),
    element("pre", { tabindex: "0" }, element("code", {}, "edge-agent models suggest\nedge-agent models import FILE.gguf")),
    element("p", { class: "muted" }, "This page notices when one is there."),
  );
}
