"""What a live transcription says. `type` tags each; `at_s`, `start_s` and `end_s` are seconds of sound since the
session began (lost sound counts), `time` is the wall clock at that sound, in seconds since 1970."""

from __future__ import annotations

from typing import Literal

import msgspec

from agent.runtime.wire.transcription import Segment
from agent.speech.source import DeviceState, LossReason


class Level(msgspec.Struct, frozen=True, kw_only=True, tag="level"):
    """How loud it is, in dB below full scale (-120: digital silence), over the time since the last one."""

    at_s: float
    time: float
    rms_dbfs: float
    peak_dbfs: float
    speech: bool


class SpeechStart(msgspec.Struct, frozen=True, kw_only=True, tag="speech_start"):
    segment: int
    at_s: float
    time: float


class SpeechEnd(msgspec.Struct, frozen=True, kw_only=True, tag="speech_end"):
    """Where the last voice was; the final text of the segment follows."""

    segment: int
    at_s: float
    time: float


class Partial(msgspec.Struct, frozen=True, kw_only=True, tag="partial"):
    """`text` begins with `committed`, which stays. `latency_s` is from the last sound seen to this event."""

    segment: int
    text: str
    committed: str
    start_s: float
    end_s: float
    time: float
    latency_s: float


class Final(msgspec.Struct, frozen=True, kw_only=True, tag="final"):
    """`latency_s` is from the end of speech to this event, `pass_s` what the last pass took of it. `segments` as the
    model divides them, in the session's time. An empty `text` takes back the partials of this segment."""

    segment: int
    text: str
    start_s: float
    end_s: float
    time: float
    latency_s: float
    pass_s: float
    language: str | None
    segments: tuple[Segment, ...]
    reason: Literal["silence", "cap", "lost", "end"]


class Device(msgspec.Struct, frozen=True, kw_only=True, tag="device"):
    """The microphone is in another state. `retry_s` is when it is tried again, from now."""

    at_s: float
    time: float
    state: DeviceState
    name: str | None
    reason: str
    hint: str
    retry_s: float | None


class Lost(msgspec.Struct, frozen=True, kw_only=True, tag="lost"):
    """Sound that never arrived, at 16 kHz."""

    at_s: float
    time: float
    samples: int
    reason: LossReason


class Overload(msgspec.Struct, frozen=True, kw_only=True, tag="overload"):
    """A segment was not transcribed because `queued_s` of speech were waiting already."""

    segment: int
    start_s: float
    end_s: float
    time: float
    queued_s: float


class Failure(msgspec.Struct, frozen=True, kw_only=True, tag="error"):
    """A segment could not be transcribed; the session goes on. `segment` is None where it is about no single one."""

    segment: int | None
    start_s: float
    end_s: float
    time: float
    code: str
    message: str
    hint: str


LiveEvent = Level | SpeechStart | SpeechEnd | Partial | Final | Device | Lost | Overload | Failure
