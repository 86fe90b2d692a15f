// The API key: kept for this tab, or on wish in this browser; asked for when the device wants one.

import { byId } from "./element.js";

const NAME = "edge-agent.key";
let held = "";
let asking = null;

for (const place of ["sessionStorage", "localStorage"]) {
  try {
    held ||= window[place].getItem(NAME) || "";
  } catch {
    // Storage is not allowed: the key lives as long as the page.
  }
}

export const key = () => held;

/** The key's UTF-8, one character for each byte: what headers and base64 take. */
export const keyBytes = () => String.fromCharCode(...new TextEncoder().encode(held));

function keep(value, always) {
  held = value;
  for (const place of ["sessionStorage", "localStorage"]) {
    try {
      if (value && always === (place === "localStorage")) window[place].setItem(NAME, value);
      else window[place].removeItem(NAME);
    } catch {
      // As above.
    }
  }
}

/** Shows the dialog; resolves to whether there is a key to use. A second call waits for the same dialog. */
export function askForKey(reason) {
  asking ??= show(reason).finally(() => (asking = null));
  return asking;
}

function show(reason) {
  const dialog = byId("key-dialog");
  const input = byId("key");
  byId("key-reason").textContent = reason;
  byId("key-forget").hidden = !held;
  input.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  input.focus();
  return new Promise((resolve) => {
    dialog.addEventListener(
      "close",
      () => {
        const given = input.value.trim();
        input.value = "";
        const used = dialog.returnValue === "use" && given !== "";
        if (used) keep(given, byId("key-kept").checked);
        resolve(used);
      },
      { once: true },
    );
  });
}

export function startKeyDialog() {
  const dialog = byId("key-dialog");
  byId("key-cancel").addEventListener("click", () => dialog.close(""));
  byId("key-forget").addEventListener("click", () => {
    keep("", false);
    dialog.close("");
  });
  byId("key-shown").addEventListener("change", (event) => {
    byId("key").type = event.target.checked ? "text" : "password";
  });
}
