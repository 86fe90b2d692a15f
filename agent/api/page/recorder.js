// The browser's microphone as 16-bit PCM at 16 kHz.

/** Why there is no sound, in a sentence. */
export class RecorderError extends Error {}

const RATE_HZ = 16000;

export class Recorder {
  #stream = null;
  #context = null;

  /** Opens the microphone and calls `onSound(ArrayBuffer)` every 100 ms. `onEnd` is told when it is taken away. */
  async start(onSound, onEnd) {
    if (!navigator.mediaDevices?.getUserMedia || typeof AudioWorkletNode === "undefined") {
      throw new RecorderError(
        "Browsers give the microphone only to pages that come over HTTPS or from this very machine. " +
          `Over the network: ssh -L ${location.port || 80}:127.0.0.1:${location.port || 80} DEVICE, then open localhost.`,
      );
    }
    try {
      this.#stream = await navigator.mediaDevices.getUserMedia({
        // Whisper copes better with noise than with what is left after a filter for telephones.
        audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: true },
      });
      for (const track of this.#stream.getAudioTracks()) {
        track.addEventListener("ended", () => onEnd("The browser’s microphone was taken away."));
      }
      const source = await this.#connect();
      const capture = new AudioWorkletNode(this.#context, "capture", { numberOfOutputs: 0 });
      capture.port.onmessage = ({ data }) => onSound(data.pcm);
      source.connect(capture);
      await this.#context.resume();
    } catch (error) {
      this.stop();
      throw new RecorderError(reasonOf(error));
    }
  }

  /** At 16 kHz where the browser converts by itself, else at the device's own rate: the worklet converts then. */
  async #connect() {
    for (const options of [{ sampleRate: RATE_HZ }, {}]) {
      const context = new AudioContext(options);
      try {
        await context.audioWorklet.addModule("/page/worklet.js");
        const source = context.createMediaStreamSource(this.#stream);
        this.#context = context;
        return source;
      } catch (error) {
        context.close();
        if (!("sampleRate" in options)) throw error;
      }
    }
    return null;
  }

  stop() {
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    this.#context?.close();
    this.#stream = this.#context = null;
  }
}

function reasonOf(error) {
  switch (error.name) {
    case "NotAllowedError":
      return "The browser does not let this page use the microphone. Allow it beside the address, and start again.";
    case "NotFoundError":
      return "This browser finds no microphone. Plug one in, or use the device’s.";
    case "NotReadableError":
      return "The microphone cannot be opened; another program may have it.";
    default:
      return `The microphone cannot be used: ${error.message}`;
  }
}
