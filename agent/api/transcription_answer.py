"""What a file's pieces add up to, in each of the formats that a client may ask for."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, Literal

import msgspec
from aiohttp import web

from agent.api.transcription_form import TranscriptionForm
from agent.runtime.wire.transcription import Segment
from agent.speech.decode_messages import AudioEnd, AudioInfo
from agent.speech.files import TranscribedPiece
from agent.speech.languages import name_of
from agent.speech.pcm import SAMPLE_RATE_HZ
from agent.speech.subtitles import continuation, srt, vtt

Task = Literal["transcribe", "translate"]

DAMAGE_HEADER = "X-Audio-Damage"
REPAIRED_HEADER = "X-Audio-Repaired-Samples"
FRAMES_PER_SECOND = 100
"""Unit of a segment's `seek`: log-mel frames, as openai/whisper counts."""


class Transcript:
    """`add` each piece, then `end`; then the answer. Segments are kept only for formats that show them."""

    def __init__(self, form: TranscriptionForm, task: Task) -> None:
        self._form = form
        self._task = task
        self._keeps = form.response_format in ("srt", "vtt", "verbose_json")
        self._text: list[str] = []
        self._tail = ""
        self._segments: list[Segment] = []
        self._seeks: list[int] = []
        self._languages: Counter[str] = Counter()
        self._end = AudioEnd(samples=0)
        self._expected_s: float | None = None
        self._joules: float | None = None

    def begin(self, info: AudioInfo) -> None:
        self._expected_s = info.duration_s

    @property
    def tells_progress(self) -> bool:
        """Whether each event of a stream says how far the file is: OpenAI's own have no room for it."""
        return self._form.response_format == "verbose_json"

    def progress(self, piece: TranscribedPiece) -> dict[str, Any]:
        """The piece that was added last: its place, its segments, how much of the file was read by then, and how long
        the file says it is."""
        if not self.tells_progress:
            return {}
        segments = piece.transcribed.segments
        first = len(self._segments) - len(segments)
        return {
            "start": piece.start_s,
            "end": piece.end_s,
            "position": round(piece.decoded_s, 3),
            "duration": self._expected_s,
            "segments": [_segment(first + n, self._seeks[first + n], one) for n, one in enumerate(segments)],
        }

    def add(self, piece: TranscribedPiece) -> str:
        """The text that is new, as it follows what was there."""
        new = ""
        for segment in piece.transcribed.segments:
            new += continuation(new or self._tail, segment.text)
            if self._keeps:
                self._segments.append(segment)
                self._seeks.append(math.floor(piece.start_s * FRAMES_PER_SECOND))
        if new:
            self._tail = new[-1]
            self._text.append(new)
        if piece.transcribed.language is not None:
            self._languages[piece.transcribed.language] += math.ceil(piece.end_s - piece.start_s)
        return new

    def end(self, end: AudioEnd, *, joules: float | None = None) -> None:
        """`joules` is what it cost, where that was measured."""
        self._end, self._joules = end, joules

    def response(self) -> web.Response:
        headers = {}
        if self._end.damage:
            headers[DAMAGE_HEADER] = "".join(sign if " " <= sign <= "~" else "?" for sign in self._end.damage)
        if self._end.repaired_samples:
            headers[REPAIRED_HEADER] = str(self._end.repaired_samples)
        match self._form.response_format:
            case "text":
                return web.Response(text=f"{self.text}\n", headers=headers)
            case "srt":
                return web.Response(text=srt(self._segments), headers=headers)
            case "vtt":
                return web.Response(text=vtt(self._segments), content_type="text/vtt", headers=headers)
        body = msgspec.json.encode(self.as_json())
        return web.Response(body=body, content_type="application/json", headers=headers)

    @property
    def text(self) -> str:
        return "".join(self._text)

    def as_json(self) -> dict[str, Any]:
        usage = {"type": "duration", "seconds": math.ceil(self._duration_s)}
        if self._form.response_format != "verbose_json":
            return {"text": self.text, "usage": usage, **self._energy()}
        answer: dict[str, Any] = {
            "task": self._task,
            "language": self._language,
            "duration": round(self._duration_s, 3),
            "text": self.text,
        }
        if self._form.wants_segments:
            answer["segments"] = [
                _segment(number, seek, segment)
                for number, (seek, segment) in enumerate(zip(self._seeks, self._segments, strict=True))
            ]
        if self._form.wants_words:
            answer["words"] = [
                {"word": word.text.strip(), "start": word.start_s, "end": word.end_s}
                for segment in self._segments
                for word in segment.words
            ]
        return {**answer, "usage": usage, **self._energy(), **self.faults()}

    def _energy(self) -> dict[str, Any]:
        """As the other answers have it; by the sound's length, silence included."""
        if self._joules is None:
            return {}
        timings = {"joules": round(self._joules, 3)}
        if self._duration_s > 0:
            timings["joules_per_audio_second"] = round(self._joules / self._duration_s, 6)
        return {"timings": timings}

    def faults(self) -> dict[str, Any]:
        """What was wrong with the file; nothing for a sound one."""
        faults: dict[str, Any] = {}
        if self._end.damage:
            faults["damage"] = self._end.damage
        if self._end.repaired_samples:
            faults["repaired_samples"] = self._end.repaired_samples
        return faults

    @property
    def _duration_s(self) -> float:
        return self._end.samples / SAMPLE_RATE_HZ

    @property
    def _language(self) -> str:
        """Of most of the speech; a translation is in English."""
        if self._task == "translate":
            return name_of("en")
        return name_of(next((language for language, _ in self._languages.most_common(1)), None))


def _segment(number: int, seek: int, segment: Segment) -> dict[str, Any]:
    return {
        "id": number,
        "seek": seek,
        "start": segment.start_s,
        "end": segment.end_s,
        "text": segment.text,
        "tokens": segment.tokens,
        "temperature": segment.temperature,
        "avg_logprob": segment.avg_logprob,
        "compression_ratio": segment.compression_ratio,
        "no_speech_prob": segment.no_speech_prob,
    }
