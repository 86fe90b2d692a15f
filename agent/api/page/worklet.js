// Runs on the browser's audio thread: any rate to 16 kHz, one channel, 16-bit, in pieces of 100 ms.

const RATE_HZ = 16000;
const PIECE = RATE_HZ / 10;
const ZERO_CROSSINGS = 12;
const ROLL_OFF = 0.92;

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.piece = new Int16Array(PIECE);
    this.filled = 0;
    this.peak = 0;
    const divisor = gcd(RATE_HZ, sampleRate);
    // Output sample n lies at input position n * step / phases: windowed-sinc filters, one for each fraction there is.
    this.phases = RATE_HZ / divisor;
    this.step = sampleRate / divisor;
    const slower = Math.max(1, sampleRate / RATE_HZ);
    this.half = Math.ceil(ZERO_CROSSINGS * slower);
    this.filters = this.step === this.phases ? null : filters(this.phases, this.half, ROLL_OFF / slower);
    this.kept = new Float32Array(2 * this.half);
    this.at = 0;
  }

  process([input]) {
    if (input.length) this.take(mixed(input));
    return true;
  }

  take(sound) {
    if (!this.filters) {
      for (const sample of sound) this.put(sample);
      return;
    }
    const { half, phases, step } = this;
    const all = new Float32Array(this.kept.length + sound.length);
    all.set(this.kept);
    all.set(sound, this.kept.length);
    // `at` counts in 1/phases of an input sample from the beginning of `all`, plus half a filter.
    for (; Math.floor(this.at / phases) + 2 * half <= all.length; this.at += step) {
      const filter = this.filters[this.at % phases];
      const first = Math.floor(this.at / phases);
      let sum = 0;
      for (let index = 0; index < filter.length; index += 1) sum += filter[index] * all[first + index];
      this.put(sum);
    }
    const done = Math.min(Math.floor(this.at / phases), all.length);
    this.kept = all.slice(done);
    this.at -= done * phases;
  }

  put(sample) {
    this.peak = Math.max(this.peak, Math.abs(sample));
    this.piece[this.filled] = Math.max(-32768, Math.min(32767, Math.round(sample * 32768)));
    this.filled += 1;
    if (this.filled < PIECE) return;
    const { piece, peak } = this;
    this.port.postMessage({ pcm: piece.buffer, peak }, [piece.buffer]);
    this.piece = new Int16Array(PIECE);
    this.filled = 0;
    this.peak = 0;
  }
}

function mixed(channels) {
  if (channels.length === 1) return channels[0];
  return channels[0].map((_, index) => channels.reduce((sum, one) => sum + one[index], 0) / channels.length);
}

/** For each phase 2 * half weights with a gain of 1. `cutoff` is a share of the input's Nyquist frequency. */
function filters(phases, half, cutoff) {
  return Array.from({ length: phases }, (_, phase) => {
    const weights = new Float32Array(2 * half);
    let sum = 0;
    for (let index = 0; index < weights.length; index += 1) {
      const x = index - (half - 1) - phase / phases;
      const window = 0.5 + 0.5 * Math.cos((Math.PI * x) / half);
      const sinc = x === 0 ? 1 : Math.sin(Math.PI * cutoff * x) / (Math.PI * cutoff * x);
      weights[index] = Math.abs(x) < half ? sinc * window : 0;
      sum += weights[index];
    }
    return weights.map((weight) => weight / sum);
  });
}

function gcd(a, b) {
  return b ? gcd(b, a % b) : a;
}

registerProcessor("capture", Capture);
