// A live transcription, from the browser's microphone (WebSocket) or the device's (server-sent events). Both tell
// `onEvent(event)` what docs/speech.md lists, and `onEnd(message)` once, with a sentence where something went wrong.

import { ApiError, call, events, request, socket } from "./api.js";
import { Recorder, RecorderError } from "./recorder.js";

const BYTES_PER_SECOND = 32000;
const MOST_BEHIND_BYTES = 60 * BYTES_PER_SECOND;
const PATIENCE_MS = 60000;

const queryOf = (options) => new URLSearchParams(Object.entries(options).filter(([, value]) => value)).toString();

class Live {
  ended = false;

  constructor(onEvent, onEnd) {
    this.onEvent = onEvent;
    this.onEnd = onEnd;
  }

  /** Once; also stops what still runs. */
  end(message = "") {
    if (this.ended) return;
    this.ended = true;
    this.close();
    this.onEnd(message);
  }
}

export class BrowserLive extends Live {
  #recorder = new Recorder();
  #socket = null;
  #early = [];
  #lost = 0;
  #finishing = 0;
  #failure = "";

  /** `options`: model, language. Resolves when sound is taken; the socket may still be opening. */
  async start(options) {
    try {
      await this.#recorder.start(
        (pcm) => this.#send(pcm),
        (message) => this.stop(message),
      );
    } catch (error) {
      if (error instanceof RecorderError) return this.end(error.message);
      throw error;
    }
    if (this.ended) return this.#recorder.stop();
    const path = `/v1/audio/stream?${queryOf(options)}`;
    const line = (this.#socket = socket(path));
    let opened = false;
    line.onopen = () => {
      opened = true;
      for (const pcm of this.#early.splice(0)) line.send(pcm);
      if (this.#finishing) line.send('{"type":"finish"}');
    };
    line.onmessage = ({ data }) => {
      const event = JSON.parse(data);
      if (event.type === "end") this.end();
      else if (event.type === "error" && event.start_s === undefined) {
        // Not about one segment: it is why the stream ends.
        this.#failure = [event.message, event.hint].filter(Boolean).join(" ");
      } else this.onEvent(event);
    };
    line.onclose = async ({ code, reason }) => {
      if (this.ended) return;
      if (opened) this.end(this.#failure || (code === 1000 ? "" : reason || "The connection was lost."));
      else this.end(await refusal(path));
    };
  }

  /** No more sound; what was said so far still becomes text. */
  stop(message = "") {
    if (this.#finishing || this.ended) return;
    this.#recorder.stop();
    if (!this.#socket) return this.end(message);
    if (message) this.onEvent({ type: "notice", message });
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send('{"type":"finish"}');
    this.#finishing = setTimeout(() => this.end("The last words did not come."), PATIENCE_MS);
  }

  close() {
    clearTimeout(this.#finishing);
    this.#recorder.stop();
    this.#socket?.close();
  }

  /** What a slow device leaves unread waits here for a minute; then the newest is left out, and told. */
  #send(pcm) {
    if (this.ended || this.#finishing) return;
    const open = this.#socket?.readyState === WebSocket.OPEN;
    const behind = open ? this.#socket.bufferedAmount : this.#early.length * pcm.byteLength;
    if (behind > MOST_BEHIND_BYTES) {
      this.#lost += pcm.byteLength / 2;
      return;
    }
    if (this.#lost) {
      this.onEvent({ type: "lost", samples: this.#lost, reason: "overrun" });
      this.#lost = 0;
    }
    if (open) this.#socket.send(pcm);
    else this.#early.push(pcm);
  }
}

/** A browser does not say why a WebSocket was refused; the same question as plain HTTP mostly does. */
async function refusal(path) {
  try {
    await request(path);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    // That it is no WebSocket is true of this question only.
    if (!error.message.includes("WebSocket")) return error.message;
  }
  return "The device takes no further stream of sound now. Try again in a moment.";
}

export class DeviceLive extends Live {
  #leaving = new AbortController();

  /** `options`: device, model, language. The device opens its microphone for the first listener, and closes it after
   * the last one; it says so where it listens already with something else. */
  async start(options) {
    try {
      const response = await request(`/v1/audio/live?${queryOf(options)}`, { signal: this.#leaving.signal });
      for await (const data of events(response)) {
        const event = JSON.parse(data);
        if (event.error) throw new ApiError(event.error.message, event.error);
        this.onEvent(event);
      }
      this.end("The device has closed its microphone.");
    } catch (error) {
      if (error.name === "AbortError") this.end();
      else if (error instanceof ApiError) this.end(error.message);
      else throw error;
    }
  }

  stop() {
    this.end();
  }

  close() {
    this.#leaving.abort();
  }
}

/** Closes the device's microphone for everyone. Raises `ApiError`. */
export const closeMicrophone = () => call("/v1/audio/live/stop", { method: "POST", body: {} });
