// The Listen view, and dictating into the chat. One microphone is used at a time.

import { attempt, call } from "./api.js";
import { offer } from "./chat.js";
import { device } from "./device.js";
import { byId, copy, setOptions, sure, tell } from "./element.js";
import { BrowserLive, closeMicrophone, DeviceLive } from "./live.js";
import { noticeOf, partialText, Transcript } from "./transcript.js";
import { goTo } from "./view.js";

const FLOOR_DB = -60;
const STATES = {
  closed: "Closed",
  opening: "Opening the microphone …",
  open: "Listening",
  lost: "The microphone is gone; it is tried again",
  failed: "The microphone cannot be opened; it is tried again",
};

let transcript;
let live = null;
let dictating = false;

export function startListening() {
  transcript = new Transcript(byId("transcript"));
  byId("listen-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (live && !dictating) stop();
    else begin();
  });
  byId("listen-form").addEventListener("change", ({ target }) => {
    if (target.name === "source") showSource();
  });
  byId("transcript-clear").addEventListener("click", () => transcript.clear());
  byId("transcript-copy").addEventListener("click", ({ currentTarget }) => copy(transcript.text, currentTarget, byId("transcript")));
  byId("transcript-ask").addEventListener("click", () => {
    offer(transcript.text.replaceAll("\n", " "));
    goTo("chat");
    byId("prompt").focus();
  });
  byId("listen-close").addEventListener("click", closeForAll);
  byId("dictate").addEventListener("click", dictate);
  device.addEventListener("change", showDevice);
  addEventListener("pagehide", () => live?.end());
}

const source = () => new FormData(byId("listen-form")).get("source");

function showSource() {
  byId("listen-device-field").hidden = source() !== "device";
  if (source() === "device") loadDevices();
}

function loadDevices() {
  return attempt(byId("listen-trouble"), async () => {
    const { devices } = await call("/v1/audio/devices");
    const pairs = devices.map((one) => [String(one.index), one.default ? `${one.name} (default)` : one.name]);
    setOptions(byId("listen-device"), [["", "as configured"], ...pairs]);
  });
}

function showDevice() {
  const models = device.modelsFor("transcribe");
  const microphone = device.status?.microphone;
  setOptions(byId("listen-model"), [["", models.length > 1 ? "as configured" : (models[0]?.name ?? "none")], ...pairsOf(models)]);
  byId("dictate").hidden = device.status !== null && models.length === 0;
  byId("listen-button").disabled = device.status !== null && models.length === 0 && !live;
  if (device.status && !models.length) {
    show("There is no model for speech yet. Get one on the device: edge-agent models suggest");
  } else if (!live) show("Closed");
  byId("mic-open").hidden = !microphone || microphone.state === "closed";
  const mine = live instanceof DeviceLive ? 1 : 0;
  byId("listen-close").hidden = byId("mic-open").hidden || !(microphone.held || microphone.listeners > mine);
}

const pairsOf = (models) => (models.length > 1 ? models.map(({ name }) => [name, name]) : []);

function show(text) {
  if (byId("listen-state").textContent !== text) byId("listen-state").textContent = text;
}

function options() {
  return { model: byId("listen-model").value, language: byId("listen-language").value.trim() };
}

function begin() {
  live?.end();
  dictating = false;
  tell(byId("listen-trouble"), "");
  const fromDevice = source() === "device";
  live = new (fromDevice ? DeviceLive : BrowserLive)(hear, ended);
  byId("listen-button").textContent = "Stop";
  show(STATES.opening);
  live.start(fromDevice ? { ...options(), device: byId("listen-device").value } : options());
}

function stop() {
  if (live instanceof BrowserLive) show("Finishing …");
  live.stop();
}

function hear(event) {
  if (event.type === "level") showLevel(event);
  else if (event.type === "partial") transcript.partial(event);
  else if (event.type === "final") transcript.final(event);
  else if (event.type === "device") show(STATES[event.state] ?? event.state);
  const notice = noticeOf(event);
  if (notice) transcript.notice(notice);
}

function showLevel({ rms_dbfs: level, speech }) {
  if (byId("listen-state").textContent === STATES.opening) show(STATES.open);
  const shown = Math.max(FLOOR_DB, Math.min(0, level));
  const meter = byId("meter");
  meter.setAttribute("aria-valuenow", Math.round(shown));
  meter.classList.toggle("speech", speech);
  meter.firstElementChild.style.transform = `scaleX(${1 - shown / FLOOR_DB})`;
}

function ended(message) {
  live = null;
  transcript.settle();
  showLevel({ rms_dbfs: FLOOR_DB, speech: false });
  byId("listen-button").textContent = "Start";
  show("Closed");
  tell(byId("listen-trouble"), message);
  device.refresh();
}

async function closeForAll() {
  const listeners = device.status?.microphone?.listeners ?? 0;
  const others = listeners === 1 ? "One listener gets" : `${listeners} listeners get`;
  if (!(await sure("Close the device’s microphone?", `${others} nothing more then.`, "Close it"))) return;
  await attempt(byId("listen-trouble"), closeMicrophone);
  device.refresh();
}

/** Speaks into the chat's message. The line above it shows what is being understood. */
function dictate() {
  if (live && dictating) return live.stop();
  live?.end();
  dictating = true;
  const heard = byId("heard");
  const button = byId("dictate");
  const done = (message) => {
    live = null;
    dictating = false;
    button.setAttribute("aria-pressed", "false");
    button.style.removeProperty("--level");
    tell(heard, message);
    heard.classList.toggle("error", Boolean(message));
    byId("prompt").focus();
  };
  live = new BrowserLive((event) => {
    if (event.type === "partial") heard.replaceChildren(...partialText(event));
    else if (event.type === "final") {
      offer(event.text.trim());
      heard.textContent = "Listening …";
    } else if (event.type === "level") button.style.setProperty("--level", Math.max(0, 1 + event.rms_dbfs / 60).toFixed(2));
    else if (noticeOf(event)) heard.textContent = noticeOf(event);
  }, done);
  button.setAttribute("aria-pressed", "true");
  heard.classList.remove("error");
  tell(heard, "Listening …");
  live.start({});
}
