"""Segments as text and as subtitles. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from agent.runtime.wire.transcription import Segment

SHORTEST_S: Final = 0.02
"""A cue without a length is never shown; Whisper's own timestamps are multiples of this."""

# Written without spaces between words: Thai and Lao, Myanmar, Khmer, kana, Han, full-width signs.
_UNSPACED: Final = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3000, 0x9FFF), (0xF900, 0xFFEF))


def plain(segments: Iterable[Segment]) -> str:
    """The whole text, in one line."""
    text = ""
    for segment in segments:
        text += continuation(text, segment.text)
    return text


def continuation(before: str, text: str) -> str:
    """`text` as it follows `before`: one space between them where their script has spaces; "" for no text."""
    text = " ".join(text.split())
    if not text or not before or before[-1].isspace():
        return text
    return text if _unspaced(before[-1]) or _unspaced(text[0]) else f" {text}"


def srt(segments: Sequence[Segment]) -> str:
    """SubRip: numbered cues, a comma before the milliseconds."""
    return "".join(
        f"{number}\n{_clock(start_s, ',')} --> {_clock(end_s, ',')}\n{text}\n\n"
        for number, (start_s, end_s, text) in enumerate(_cues(segments), 1)
    )


def vtt(segments: Sequence[Segment]) -> str:
    """WebVTT."""
    return "WEBVTT\n\n" + "".join(
        f"{_clock(start_s, '.')} --> {_clock(end_s, '.')}\n{_escaped(text)}\n\n"
        for start_s, end_s, text in _cues(segments)
    )


def _cues(segments: Sequence[Segment]) -> Iterator[tuple[float, float, str]]:
    """Start, end and text of each cue, in one line: an empty one would end it. Every cue lasts, none begins before
    the one before it."""
    latest_s = 0.0
    for segment in segments:
        # An arrow in the text would be read as a cue's times.
        text = " ".join(segment.text.split()).replace("-->", "->")
        if not text:
            continue
        start_s = max(segment.start_s, latest_s)
        yield start_s, max(segment.end_s, start_s + SHORTEST_S), text
        latest_s = start_s


def _clock(seconds: float, point: str) -> str:
    whole_s, ms = divmod(round(seconds * 1000), 1000)
    minutes, s = divmod(whole_s, 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{s:02}{point}{ms:03}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _unspaced(sign: str) -> bool:
    return any(low <= ord(sign) <= high for low, high in _UNSPACED)
