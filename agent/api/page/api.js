// Talking to the device: JSON, server-sent events, WebSocket. Every failure is an `ApiError` with a sentence.

import { tell } from "./element.js";
import { askForKey, key, keyBytes } from "./key.js";

export class ApiError extends Error {
  /** `status` is HTTP's, 0 where no answer came at all; `retryAfter` is in seconds. */
  constructor(message, { status = 0, code = "", retryAfter = null } = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }

  get gone() {
    return this.status === 0;
  }
}

const UNREACHABLE = "The device does not answer.";

async function errorOf(response) {
  let error = {};
  try {
    error = (await response.json()).error ?? {};
  } catch {
    // Not ours: a proxy's page, or cut off.
  }
  return new ApiError(error.message || `The device answered ${response.status}.`, {
    status: response.status,
    code: error.code ?? "",
    retryAfter: Number(response.headers.get("Retry-After")) || null,
  });
}

/** The response to a request that went well. Asks for the key where it is needed, unless `quiet`. */
export async function request(path, { method, body, signal, quiet = false } = {}) {
  for (;;) {
    const used = key();
    const headers = used ? { Authorization: `Bearer ${keyBytes()}` } : {};
    let response;
    try {
      response = await fetch(path, {
        method: method ?? (body === undefined ? "GET" : "POST"),
        headers: body === undefined ? headers : { ...headers, "Content-Type": "application/json" },
        body: body === undefined ? undefined : JSON.stringify(body),
        signal,
        cache: "no-store",
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError(UNREACHABLE);
    }
    if (response.ok) return response;
    const error = await errorOf(response);
    // Another request may have brought a key meanwhile.
    if (error.status === 401 && !quiet && (key() !== used || (await askForKey(error.message)))) continue;
    throw error;
  }
}

export async function call(path, options) {
  const response = await request(path, options);
  try {
    return await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(UNREACHABLE);
  }
}

/** Does `work`; where the device refuses, its sentence is shown in `target`. Resolves to whether it went well. */
export async function attempt(target, work) {
  tell(target, "");
  try {
    await work();
    return true;
  } catch (error) {
    if (error instanceof ApiError) tell(target, error.message);
    else if (error.name !== "AbortError") throw error;
    return false;
  }
}

/** The data of server-sent events, as they come. Leaving the loop closes the connection. */
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      rest += value;
      const whole = rest.split("\n\n");
      rest = whole.pop();
      for (const one of whole) {
        const data = one
          .split("\n")
          .filter((line) => line.startsWith("data:"))
          .map((line) => line.slice(5).trimStart())
          .join("\n");
        if (data) yield data;
      }
    }
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The connection was lost.");
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** A WebSocket. Browsers let a page set no header there, so that the key goes as a subprotocol. */
export function socket(path) {
  const address = new URL(path, location.href);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  const protocols = ["edge-agent"];
  if (key()) {
    const text = btoa(keyBytes()).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
    protocols.push(`edge-agent.key.${text}`);
  }
  const made = new WebSocket(address, protocols);
  made.binaryType = "arraybuffer";
  return made;
}
