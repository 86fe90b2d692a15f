"""The messages between the daemon and a worker, and how they travel.

A frame is a 4-byte little-endian length and that many bytes of msgpack: one tagged struct, or a list of them. A worker
sends one frame per decode step, so that the daemon wakes once however many streams run.

Life of a worker, seen from the daemon (-> to the worker, <- from it):

    -> LoadModel   <- Predicted   -> Proceed   <- Loaded            (or <- LoadFailed at any point)
    -> Generate    <- Delta* then one of Finished, Failed           (per choice; Failed ends the whole request)
    -> Embed       <- one of Embedded, Failed
    -> Transcribe  <- one of Transcribed, Failed
    -> Cancel      <- Finished(reason="cancelled") per choice still open
    -> Ping        <- Pong
    -> Shutdown    the worker exits with status 0
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

HEADER = struct.Struct("<I")
MAX_FRAME_BYTES = 256 * 1024 * 1024

PoolingName = Literal["none", "mean", "cls", "last", "rank"]
FinishReason = Literal["stop", "length", "cancelled"]


class WireError(msgspec.Struct, frozen=True, kw_only=True):
    """An `EdgeAgentError` on the wire: `code` finds the class again (`agent.errors.by_code`)."""

    code: str
    message: str
    hint: str = ""
    param: str | None = None


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """What a model takes, in bytes. `resident_bytes` is what the operating system measured (0 in a prediction)."""

    weights_bytes: int
    kv_bytes: int
    compute_bytes: int
    overhead_bytes: int
    prefix_cache_bytes: int = 0
    gpu_bytes: int = 0
    resident_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        """Everything the model will need at its fullest, host and device memory together."""
        return self.weights_bytes + self.kv_bytes + self.compute_bytes + self.overhead_bytes + self.prefix_cache_bytes


class Lora(msgspec.Struct, frozen=True):
    """A LoRA adapter in GGUF format, applied to every request of the model."""

    path: str
    scale: float = 1.0


class LlamaOptions(msgspec.Struct, frozen=True, kw_only=True, tag="llama"):
    """How a GGUF model is run. Counts are in tokens."""

    context_tokens: int = 4096
    slots: int = 4
    batch_tokens: int = 512
    micro_batch_tokens: int = 512
    threads: int = 1
    threads_batch: int = 1
    gpu_layers: int = 0
    kv_type: Literal["f32", "f16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"] = "f16"
    flash_attention: Literal["auto", "on", "off"] = "auto"
    mmap: bool = False
    mlock: bool = False
    prefix_cache_bytes: int = 0
    lora: tuple[Lora, ...] = ()
    embedding: bool = False
    chat_template: str | None = None


class OnnxOptions(msgspec.Struct, frozen=True, kw_only=True, tag="onnx"):
    """How an ONNX model is run. `slots` is how many requests the worker holds at once, to batch them together.

    To embed: `max_tokens` is the longest input, where it shall be shorter than the model's own; `batch_tokens` what one
    run computes at most, padding included. To transcribe: the encoder sees the audio and `window_margin_s` more, at
    least `window_floor_s`.
    """

    transcribe: bool = False
    slots: int = 64
    threads: int = 1
    spinning: bool = False
    arena: bool = False
    providers: tuple[str, ...] = ("CPUExecutionProvider",)
    max_tokens: int | None = None
    batch_tokens: int = 1024
    window_floor_s: float = 10.0
    window_margin_s: float = 2.0

    @property
    def mmap(self) -> bool:
        """Whether weights may be shared with the page cache: ONNX Runtime copies what it packs for its kernels."""
        return False


Options = LlamaOptions | OnnxOptions


class LoadModel(msgspec.Struct, frozen=True, kw_only=True, tag="load"):
    """First message to a worker. `path` is a GGUF file (the first of a split one), or an ONNX artifact's folder."""

    name: str
    path: str
    options: Options


class Proceed(msgspec.Struct, frozen=True, tag="proceed"):
    """The ledger has room for what the worker predicted: load for real."""


class Sampling(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Sampler settings; defaults are llama-server's. `temperature` 0 is greedy; `seed` None draws one at random."""

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    typical_p: float = 1.0
    top_n_sigma: float = -1.0
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = -1
    dry_sequence_breakers: tuple[str, ...] = ("\n", ":", '"', "*")
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    logit_bias: tuple[tuple[int, float], ...] = ()
    seed: int | None = None


class Generate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="generate"):
    """One generation request: either `messages` (rendered through the model's chat template) or `prompt`.

    `grammar` (GBNF) and `json_schema` (a JSON Schema; `{}` is any JSON object) exclude each other.
    `logprobs` is the number of alternatives per token to report, or None for no log-probabilities at all.
    `id` is given by the runtime.
    """

    id: int = 0
    messages: tuple[dict[str, Any], ...] | None = None
    tools: tuple[dict[str, Any], ...] | None = None
    template_arguments: dict[str, Any] = msgspec.field(default_factory=dict)
    prompt: str | tuple[int, ...] | None = None
    max_tokens: int | None = None
    sampling: Sampling = Sampling()
    stop: tuple[str, ...] = ()
    n: int = 1
    logprobs: int | None = None
    grammar: str | None = None
    json_schema: dict[str, Any] | None = None
    echo: bool = False
    cache_prompt: bool = True
    context_shift: bool = False
    ignore_eos: bool = False


class Embed(msgspec.Struct, frozen=True, kw_only=True, tag="embed"):
    """Texts or token lists to embed. A too long input is an error unless `truncate`.

    `prompt_name` is the name of a prompt that the artifact brings ("query", "passage"), put before each text.
    """

    id: int = 0
    inputs: tuple[str | tuple[int, ...], ...]
    prompt_name: str | None = None
    truncate: bool = False
    normalize: bool = True


class Transcribe(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="transcribe"):
    """At most 30 s of speech. `audio` is float32, little-endian, mono, 16 kHz, from -1 to 1.

    `language` None is detected by models that know several. `prompt` is text that came before, `hotwords` are words to
    expect. `temperatures` are tried in turn while the outcome is poor (openai/whisper's thresholds); a live pass gives
    one. `window` is what the encoder sees: as much as the audio needs, or always 30 s. `max_tokens` None is the
    model's own limit.
    """

    id: int = 0
    audio: bytes
    language: str | None = None
    task: Literal["transcribe", "translate"] = "transcribe"
    prompt: str = ""
    hotwords: str = ""
    timestamps: Literal["none", "segment", "word"] = "none"
    temperatures: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    beam_size: int = 1
    window: Literal["fitted", "full"] = "fitted"
    compression_ratio_limit: float = 2.4
    logprob_limit: float = -1.0
    no_speech_limit: float = 0.6
    max_tokens: int | None = None


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    id: int


class SetThreads(msgspec.Struct, frozen=True, tag="threads"):
    """Takes effect at the next decode step."""

    threads: int
    threads_batch: int


class SetPace(msgspec.Struct, frozen=True, tag="pace"):
    """From the next step on: rest `pause_ratio` times as long as a step took, with at most `batch_tokens` in one."""

    pause_ratio: float
    batch_tokens: int


class Ping(msgspec.Struct, frozen=True, tag="ping"):
    seq: int


class Shutdown(msgspec.Struct, frozen=True, tag="shutdown"):
    pass


class Predicted(msgspec.Struct, frozen=True, tag="predicted"):
    """What loading would take, found without allocating it. The worker waits for `Proceed`."""

    memory: Memory


class Loaded(msgspec.Struct, frozen=True, kw_only=True, tag="loaded"):
    """The model is ready. `embedding_dim` is 0 for a model that only generates."""

    memory: Memory
    context_tokens: int
    train_context_tokens: int
    slots: int
    vocab_tokens: int
    embedding_dim: int
    has_chat_template: bool
    description: str
    load_s: float


class LoadFailed(msgspec.Struct, frozen=True, tag="load_failed"):
    error: WireError


class TokenLogprob(msgspec.Struct, frozen=True, kw_only=True):
    """`piece` is the token's bytes, which need not be valid UTF-8 alone; `top` holds the alternatives, best first."""

    token: int
    piece: bytes
    logprob: float
    top: tuple[tuple[int, bytes, float], ...] = ()


class Delta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="delta"):
    """New text of one choice. `tokens` counts the sampled tokens it stands for (0 for an echoed prompt)."""

    id: int
    text: str
    choice: int = 0
    tokens: int = 0
    logprobs: tuple[TokenLogprob, ...] | None = None


class Finished(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="finished"):
    """One choice is complete. Times are what the engine spent: from admission to first token, and from there on."""

    id: int
    reason: FinishReason
    choice: int = 0
    stop_sequence: str | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    prefill_s: float = 0.0
    decode_s: float = 0.0


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """The request ends here, all its choices with it."""

    id: int
    error: WireError


class Embedded(msgspec.Struct, frozen=True, kw_only=True, tag="embedded"):
    """`vectors` is float32, little-endian, row-major: one row of `dim` per input."""

    id: int
    dim: int
    vectors: bytes
    prompt_tokens: int
    truncated: tuple[int, ...] = ()


class Word(msgspec.Struct, frozen=True, kw_only=True):
    """`text` with the space before it, where there is one. Times are seconds from the start of the audio sent."""

    text: str
    start_s: float
    end_s: float
    probability: float


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of speech as the model divides it. Times are seconds from the start of the audio sent."""

    start_s: float
    end_s: float
    text: str
    tokens: tuple[int, ...] = ()
    temperature: float = 0.0
    avg_logprob: float = 0.0
    compression_ratio: float = 0.0
    no_speech_prob: float = 0.0
    words: tuple[Word, ...] = ()


class Transcribed(msgspec.Struct, frozen=True, kw_only=True, tag="transcribed"):
    """What was said; no segments where nothing was. Times of the engine are in seconds."""

    id: int
    language: str | None
    language_probability: float
    audio_s: float
    segments: tuple[Segment, ...]
    completion_tokens: int
    encode_s: float
    decode_s: float


class Pong(msgspec.Struct, frozen=True, kw_only=True, tag="pong"):
    """`step_age_s` is how long the engine has been inside its current step; 0 when idle. Hangs show there."""

    seq: int
    step_age_s: float
    resident_bytes: int
    prefix_cache_bytes: int
    kv_used_tokens: int
    active_sequences: int
    waiting_sequences: int
    batch_tokens: int
    threads: int
    gpu_bytes: int = 0


Request = Generate | Embed | Transcribe
ToWorker = LoadModel | Proceed | Generate | Embed | Transcribe | Cancel | SetThreads | SetPace | Ping | Shutdown
Event = Delta | Finished | Failed | Embedded | Transcribed
FromWorker = Predicted | Loaded | LoadFailed | Delta | Finished | Failed | Embedded | Transcribed | Pong

_encoder = msgspec.msgpack.Encoder()
_to_worker = msgspec.msgpack.Decoder(list[ToWorker])
_from_worker = msgspec.msgpack.Decoder(list[FromWorker])


def encode(messages: Sequence[ToWorker] | Sequence[FromWorker]) -> bytes:
    """One frame with all `messages` in order."""
    body = _encoder.encode(messages)
    return HEADER.pack(len(body)) + body


class FrameReader:
    """Bytes in, frame bodies out. Raises `ValueError` for a frame longer than `MAX_FRAME_BYTES`."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._buffer += data
        while len(self._buffer) >= HEADER.size:
            (size,) = HEADER.unpack_from(self._buffer)
            if size > MAX_FRAME_BYTES:
                raise ValueError(f"a frame of {size} bytes; the limit is {MAX_FRAME_BYTES}")
            end = HEADER.size + size
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[HEADER.size : end])
            del self._buffer[:end]
            yield body


def decode_to_worker(body: bytes) -> list[ToWorker]:
    """Messages of one frame. Raises `msgspec.ValidationError` for anything that is not one of ours."""
    return _to_worker.decode(body)


def decode_from_worker(body: bytes) -> list[FromWorker]:
    """Messages of one frame. Raises `msgspec.ValidationError` for anything that is not one of ours."""
    return _from_worker.decode(body)
