"""One file's transcription as it arrives, and as it is written down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from agent.runtime.wire.transcription import Segment
from agent.speech import subtitles

Format = Literal["txt", "srt", "vtt", "json"]


class Transcription:
    """Fed with the events of `POST /v1/audio/transcriptions` and its sister, `response_format` verbose_json.

    What came so far can be written down at any time. `position_s` is how much of the file is done, `duration_s` how
    long it is, where its header tells.
    """

    def __init__(self) -> None:
        self.finished = False
        self.position_s = 0.0
        self.duration_s: float | None = None
        self._lines: list[str] = []
        self._segments: list[Mapping[str, Any]] = []
        self._answer: dict[str, Any] = {}

    def feed(self, event: Mapping[str, Any]) -> str:
        """The new line of text; empty where the event brings none."""
        self.duration_s = event.get("duration") or self.duration_s
        if event.get("type") == "transcript.text.done":
            self._answer = {key: value for key, value in event.items() if key not in ("type", "logprobs")}
            self._segments = list(event.get("segments") or self._segments)
            self.position_s = self.duration_s or self.position_s
            self.finished = True
            return self._add(str(event.get("text") or "")) if not self._lines else ""
        self.position_s = max(self.position_s, event.get("position") or event.get("end") or 0.0)
        self._segments += event.get("segments") or ()
        return self._add(str(event.get("delta") or ""))

    @property
    def damage(self) -> str:
        """Where a damaged file broke off."""
        return str(self._answer.get("damage") or "")

    @property
    def audio_s(self) -> float:
        return self.duration_s if self.finished and self.duration_s else self.position_s

    def written(self, format: Format, *, words: bool = False) -> str:
        """The whole text; for `words` one line or one cue for each."""
        if format == "txt" and not words:
            return "".join(f"{line}\n" for line in self._lines)
        pieces = self._words() if words else [_segment(one, "text") for one in self._segments]
        if format == "txt":
            return "".join(f"{one.start_s:.2f}\t{one.end_s:.2f}\t{one.text.strip()}\n" for one in pieces)
        return subtitles.vtt(pieces) if format == "vtt" else subtitles.srt(pieces)

    def value(self) -> dict[str, Any]:
        """For JSON: the daemon's answer; what there is of it, if it did not end."""
        if self.finished:
            return self._answer
        return {"text": " ".join(self._lines), "segments": self._segments, "unfinished_at_s": self.position_s}

    def _add(self, text: str) -> str:
        line = " ".join(text.split())
        self._lines += [line] if line else []
        return line

    def _words(self) -> list[Segment]:
        found = self._answer.get("words") or [one for segment in self._segments for one in segment.get("words") or ()]
        return [_segment(one, "word") for one in found]


def _segment(found: Mapping[str, Any], text: str) -> Segment:
    return Segment(start_s=found["start"], end_s=found["end"], text=str(found[text]))
