// Which of the views is shown: the address says so, and back and forward work.

import { device } from "./device.js";

const VIEWS = ["chat", "listen", "search", "board"];
const WIDE = matchMedia("(min-width: 66rem)");

/** Shows what the address asks for. On a wide screen the board is always there. */
function show() {
  const { body } = document;
  const wanted = location.hash.slice(1);
  const known = VIEWS.includes(wanted) && !(wanted === "board" && WIDE.matches);
  const view = known ? wanted : body.dataset.view;
  const shown = view === "board" && WIDE.matches ? "chat" : view;
  body.dataset.view = shown;
  for (const link of document.querySelectorAll(".views a")) {
    if (link.hash === `#${shown}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  device.watch("board", shown === "board" || WIDE.matches);
  dispatchEvent(new CustomEvent("view", { detail: shown }));
}

/** Changes to a view at once, so that something in it can be focused. */
export function goTo(view) {
  history.pushState(null, "", `#${view}`);
  show();
}

export function startViews() {
  addEventListener("hashchange", show);
  addEventListener("popstate", show);
  WIDE.addEventListener("change", show);
  show();
}
