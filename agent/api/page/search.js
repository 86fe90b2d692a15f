// The Search view: passages of a collection.

import { attempt, call } from "./api.js";
import { loadCollections, offer } from "./chat.js";
import { device } from "./device.js";
import { byId, element, setOptions, tell } from "./element.js";
import { goTo } from "./view.js";

let asked = "";
let running = null;

export function startSearch() {
  byId("search-form").addEventListener("submit", (event) => {
    event.preventDefault();
    search();
  });
  byId("search-ask").addEventListener("click", () => {
    offer(asked, byId("collection").value);
    goTo("chat");
    byId("prompt").focus();
  });
  addEventListener("view", ({ detail }) => {
    if (detail === "search" && device.status) showCollections();
  });
  let daemon = null;
  device.addEventListener("change", () => {
    if (!device.status || device.status.pid === daemon) return;
    daemon = device.status.pid;
    showCollections();
  });
}

/** Also when the view is opened: collections are made elsewhere. */
export async function showCollections() {
  const collections = await loadCollections();
  if (collections === null) return;
  const usable = collections.filter(({ state }) => state !== "broken");
  setOptions(byId("collection"), usable.map(({ name }) => [name, name]));
  byId("search-form").querySelector("button").disabled = usable.length === 0;
  if (!collections.length) {
    byId("search-state").replaceChildren(
      "There is no collection yet. On the device, in a terminal: ",
      element("code", {}, "edge-agent search create NAME FILE --text COLUMN"),
    );
  } else if (!asked) byId("search-state").textContent = collections.map(stateOf).join(" ");
}

function stateOf({ name, state, passages, waiting, error }) {
  if (state === "broken") return `${name} cannot be opened: ${error?.message ?? ""}`;
  const indexing = waiting ? `, ${waiting} still without a vector` : "";
  return `${name}: ${passages} ${passages === 1 ? "passage" : "passages"}${indexing}.`;
}

async function search() {
  const query = byId("query").value.trim();
  if (!query) return;
  running?.abort();
  const { signal } = (running = new AbortController());
  byId("search-state").textContent = "Searching …";
  const [collection, mode] = [byId("collection").value, byId("mode").value];
  const found = await attempt(byId("search-trouble"), async () => {
    const answer = await call("/v1/search", { body: { collection, query, mode }, signal });
    asked = query;
    showHits(answer);
  });
  if (!found && !signal.aborted) byId("search-state").textContent = "";
}

function showHits({ hits, waiting, timings }) {
  const count = hits.length === 1 ? "1 passage" : `${hits.length} passages`;
  const took = `${(timings.embedding_ms + timings.search_ms).toFixed(timings.search_ms < 10 ? 1 : 0)} ms`;
  const late = waiting ? ` ${waiting} passages have no vector yet and are found by words only.` : "";
  byId("search-state").textContent = `${count} in ${took}.${late}`;
  byId("hits").replaceChildren(...hits.map(drawHit));
  byId("search-ask").hidden = hits.length === 0;
}

function drawHit({ id, score, text, metadata }) {
  const tags = Object.entries(metadata ?? {}).map(([name, value]) =>
    element("span", { class: "tag" }, `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`),
  );
  return element(
    "li",
    {},
    element("p", { class: "passage" }, text),
    element("footer", { class: "muted" }, element("span", {}, id), element("span", {}, `score ${Number(score).toFixed(3)}`), ...tags),
  );
}
