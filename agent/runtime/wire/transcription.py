"""Speech: what is asked for, and what comes."""

from __future__ import annotations

from typing import Literal

import msgspec


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


class Started(msgspec.Struct, frozen=True, kw_only=True, tag="started"):
    """The engine has begun with this request, at `at_s` by the machine's monotonic clock. Until then it was on its way,
    or waited in the worker for another one to end."""

    id: int
    at_s: float


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
    """What was said; no segments where nothing was. Times of the engine are in seconds. It was done at `ended_s` by the
    machine's monotonic clock; None where nobody looked."""

    id: int
    language: str | None
    language_probability: float
    audio_s: float
    segments: tuple[Segment, ...]
    completion_tokens: int
    encode_s: float
    decode_s: float
    ended_s: float | None = None
