// Building elements. Text only ever becomes text: nothing in this page turns a string into markup.

const SVG = "http://www.w3.org/2000/svg";

/** The element with this id. */
export const byId = (id) => document.getElementById(id);

/** A new element: `properties` are set as attributes, functions as listeners; strings among `children` become text. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

/** A new small button; `name` is for who cannot see where it belongs. */
export function button(text, click, name = null, kind = "small") {
  return element("button", { type: "button", class: kind, "aria-label": name, click }, text);
}

/** A new SVG element with attributes. */
export function drawing(tag, attributes = {}) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

/** Shows one of the symbols of index.html in a button. */
export function setIcon(button, name, label) {
  button.querySelector("use").setAttribute("href", `#i-${name}`);
  button.setAttribute("aria-label", label);
  button.title = label;
}

/** Shows or takes back a message in an element that is hidden while it is empty. */
export function tell(target, text) {
  target.textContent = text;
  target.hidden = !text;
}

/** Fills a `<select>` from [value, text] pairs, keeping what was chosen where it is still there. */
export function setOptions(select, pairs, wanted = select.value) {
  const now = JSON.stringify(pairs);
  if (select.dataset.pairs === now) return;
  select.dataset.pairs = now;
  select.replaceChildren(...pairs.map(([value, text]) => element("option", { value }, text)));
  if (pairs.some(([value]) => value === wanted)) select.value = wanted;
}

/** Copies text, and says so on the button. Without HTTPS there is no clipboard: the text is selected then. */
export async function copy(text, button, shown) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(shown);
    button.textContent = "Selected";
  }
  setTimeout(() => (button.textContent = before), 1500);
}

/** Asks before something that is not easily taken back. */
export function sure(title, text, yes) {
  const dialog = byId("sure");
  byId("sure-title").textContent = title;
  byId("sure-text").textContent = text;
  byId("sure-yes").textContent = yes;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
