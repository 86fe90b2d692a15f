// The page: starts its parts; the theme, the key, and whether the device is there.

import { startBoard } from "./board.js";
import { startChat } from "./chat.js";
import { device } from "./device.js";
import { byId, tell } from "./element.js";
import { askForKey, startKeyDialog } from "./key.js";
import { startListening } from "./listen.js";
import { showCollections, startSearch } from "./search.js";
import { startViews } from "./view.js";

const THEMES = ["system", "light", "dark"];

function startTheme() {
  const button = byId("theme-button");
  const root = document.documentElement;
  const show = () => {
    const theme = root.dataset.theme ?? "system";
    button.title = `Theme: ${theme}`;
    button.setAttribute("aria-label", `Theme: ${theme}. Change it`);
  };
  button.addEventListener("click", () => {
    const theme = THEMES[(THEMES.indexOf(root.dataset.theme ?? "system") + 1) % THEMES.length];
    if (theme === "system") delete root.dataset.theme;
    else root.dataset.theme = theme;
    try {
      localStorage.setItem("edge-agent.theme", theme);
    } catch {
      // Storage is not allowed: the choice holds until the page is closed.
    }
    show();
  });
  show();
}

function showConnection() {
  const { online, locked, status } = device;
  const state = locked ? "locked" : !online ? "lost" : status?.status === "ok" ? "ok" : "going";
  const words = { locked: "locked", lost: "no connection", ok: "connected", going: "shutting down" };
  if (byId("link").dataset.state === state) return;
  byId("link").dataset.state = state;
  byId("link-text").textContent = words[state];
  const troubles = {
    lost: "The device does not answer. Is it on, and is edge-agent running? This page goes on by itself when it is back.",
    locked: "This device wants an API key.",
  };
  byId("trouble-action").hidden = state !== "locked";
  byId("trouble-action").textContent = "Enter the key";
  tell(byId("trouble-text"), troubles[state] ?? "");
  byId("trouble").hidden = !troubles[state];
}

async function enterKey() {
  if (!(await askForKey("It is sent to this device only."))) return;
  await device.unlock();
  showCollections();
}

startKeyDialog();
startTheme();
startChat();
startListening();
startSearch();
startBoard();
device.addEventListener("change", showConnection);
byId("key-button").addEventListener("click", enterKey);
byId("trouble-action").addEventListener("click", enterKey);
startViews();
device.start();
