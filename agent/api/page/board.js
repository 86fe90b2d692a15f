// The board: speed, queue, heat, power, memory by model, and the models with what can be done to them.

import { attempt, call } from "./api.js";
import { Chart } from "./chart.js";
import { device } from "./device.js";
import { button, byId, element, sure } from "./element.js";

const TASKS = { generate: "text", embed: "embeddings", transcribe: "speech" };
const PATTERNS = 4;

const charts = {
  speed: new Chart("Speed", (value) => `${value.toFixed(1)} tokens/s`, 5),
  queue: new Chart("Requests", (value) => String(value), 2),
  heat: new Chart("Temperature", (value) => `${value.toFixed(1)} °C`, 60),
  power: new Chart("Power", (value) => `${value.toFixed(1)} W`, 5),
  memory: new Chart("Memory", bytes, 1),
};
const busy = new Set();
let before = null;

export function startBoard() {
  byId("charts").append(...Object.values(charts).map(({ row }) => row));
  const body = `{"messages": [{"role": "user", "content": "Hello"}]}`;
  byId("base-url").textContent = `${location.origin}/v1`;
  byId("curl").textContent = `curl ${location.origin}/v1/chat/completions \\\n  -d '${body}'`;
  device.addEventListener("change", show);
}

function show() {
  const { status } = device;
  if (!status || !device.online) return;
  const { board = {}, profile = {}, runtime } = status;
  byId("board-name").textContent = board.model ?? "";
  const parts = [
    board.model,
    board.usable_cores && `${board.usable_cores} ${board.usable_cores === 1 ? "core" : "cores"}`,
    board.memory_bytes && bytes(board.memory_bytes),
    board.gpu,
    profile.name && `profile ${profile.name}`,
    `up ${duration(status.uptime_s)}`,
    `version ${status.version}`,
  ];
  byId("board-about").textContent = parts.filter(Boolean).join(" · ");
  byId("updates").textContent = status.updates?.lines.join("; ") ?? "";
  plot(status, board, runtime);
  showLedger(runtime.ledger);
  showModels(runtime);
}

function plot(status, board, { running, queue, ledger }) {
  const now_s = performance.now() / 1000;
  const [tokens, daemon] = [device.tokens, status.pid];
  const rate = before?.daemon === daemon ? Math.max(0, (tokens - before.tokens) / (now_s - before.now_s)) : 0;
  before = { tokens, now_s, daemon };
  charts.speed.add(now_s, rate);
  charts.queue.add(now_s, running + queue.waiting, queue.waiting ? `${queue.waiting} waiting` : "");
  charts.heat.add(now_s, board.temperature_celsius);
  charts.power.add(now_s, board.power_watts);
  charts.memory.least = ledger.budget_bytes;
  charts.memory.add(now_s, ledger.held_bytes, `of ${bytes(ledger.budget_bytes)}`);
}

/** What the ledger has promised to each model, as parts of what all may have together. */
function showLedger({ budget_bytes: budget, charged_bytes: charged, held_bytes: held, accounts }) {
  const whole = Math.max(budget, charged, 1);
  const free = Math.max(0, budget - charged);
  const bar = byId("ledger");
  const sizes = [...accounts.map((account) => account.charged_bytes), free];
  while (bar.children.length > sizes.length) bar.lastChild.remove();
  while (bar.children.length < sizes.length) bar.append(element("i"));
  sizes.forEach((size, index) => {
    const part = bar.children[index];
    part.className = index === accounts.length ? "free" : `part-${index % PATTERNS}`;
    part.style.flexGrow = size / whole;
  });
  const lines = accounts.map((one) => `${one.name} ${bytes(one.charged_bytes)}${one.measured ? "" : " (estimated)"}`);
  bar.setAttribute("aria-label", `${[...lines, `free ${bytes(free)}`].join(", ")}; the budget is ${bytes(budget)}`);
  const shown = [...lines, `free ${bytes(free)} of ${bytes(budget)}`];
  const legend = byId("ledger-legend");
  if (legend.dataset.shown !== shown.join("\n")) {
    legend.dataset.shown = shown.join("\n");
    legend.replaceChildren(
      ...shown.map((line, index) => element("li", {}, element("i", { class: bar.children[index].className }), line)),
    );
  }
  bar.title = `Promised ${bytes(charged)}, held now ${bytes(held)}`;
}

function showModels({ models }) {
  const list = byId("models");
  const shown = new Map([...list.children].map((item) => [item.dataset.name, item]));
  models.forEach((model, index) => {
    const item = shown.get(model.name) ?? drawModel(model.name);
    shown.delete(model.name);
    // Moving it would take the focus away.
    if (list.children[index] !== item) list.insertBefore(item, list.children[index] ?? null);
    fill(item, model);
  });
  for (const gone of shown.values()) gone.remove();
  const none = models.length === 0;
  if (none && !list.nextElementSibling.matches(".none")) {
    list.after(element("p", { class: "none" }, "None yet. On the device, in a terminal: ", element("code", {}, "edge-agent models import FILE.gguf")));
  } else if (!none && list.nextElementSibling.matches(".none")) list.nextElementSibling.remove();
}

function drawModel(name) {
  const doing = (action, text) => button(text, () => act(name, action), `${text} ${name}`, `small ${action}`);
  const head = element("div", { class: "head" }, element("strong", {}, name), element("span", { class: "state" }));
  const buttons = element("div", { class: "row" }, doing("load", "Load"), doing("unload", "Unload"), doing("rollback", "Roll back"));
  return element("li", { "data-name": name }, head, element("p", { class: "muted" }), buttons);
}

function fill(item, model) {
  const set = (target, text) => target.textContent !== text && (target.textContent = text);
  const state = item.querySelector(".state");
  set(state, model.state);
  state.dataset.state = model.state;
  const parts = [
    TASKS[model.task] ?? model.task,
    model.version && `version ${model.version}`,
    model.charged_bytes > 0 && bytes(model.charged_bytes),
    model.loaded && model.task === "generate" && `${model.loaded.context_tokens} tokens of context`,
    model.running > 0 && `${model.running} running`,
    model.waiting > 0 && `${model.waiting} waiting`,
    model.pinned && "pinned",
    model.reason,
  ];
  set(item.querySelector("p"), parts.filter(Boolean).join(" · "));
  // While it is unloaded, too: a button in its place must always be there to take the focus.
  const loaded = ["ready", "loading", "backoff", "unloading"].includes(model.state);
  const focused = item.contains(document.activeElement) && document.activeElement;
  for (const [action, fits] of [["load", !loaded], ["unload", loaded], ["rollback", earlier(model.name)]]) {
    item.querySelector(`.${action}`).hidden = !fits;
  }
  if (focused?.hidden) item.querySelector("button:not([hidden])").focus();
  item.setAttribute("aria-busy", busy.has(model.name));
}

const earlier = (name) => device.status.rollback?.[name];

async function act(name, action) {
  if (busy.has(name)) return;
  if (action === "rollback") {
    const text = `Version ${earlier(name)} is served again. Running answers are finished first.`;
    if (!(await sure(`Roll back ${name}?`, text, "Roll back"))) return;
  }
  busy.add(name);
  device.watch(`model ${name}`, true);
  device.refresh();
  const path = name.split("/").map(encodeURIComponent).join("/");
  await attempt(byId("models-trouble"), () => call(`/models/${path}/${action}`, { method: "POST" }));
  busy.delete(name);
  device.watch(`model ${name}`, false);
  device.refresh();
}

function bytes(count) {
  for (const [unit, size] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) {
    if (count >= size) return `${(count / size).toFixed(count >= 100 * size || unit === "kB" ? 0 : 1)} ${unit}`;
  }
  return `${count} B`;
}

function duration(seconds) {
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = units.findIndex(([, size]) => seconds >= size);
  if (first < 0) return "0 s";
  const [unit, size] = units[first];
  const rest = units[first + 1];
  const more = rest && size > 60 ? ` ${Math.floor((seconds % size) / rest[1])} ${rest[0]}` : "";
  return `${Math.floor(seconds / size)} ${unit}${more}`;
}
