"""Segments and words moved to another start of time."""

from __future__ import annotations

from msgspec.structs import replace

from agent.runtime.wire.transcription import Segment


def shifted(segment: Segment, offset_s: float, *, end_s: float | None = None) -> Segment:
    """The segment `offset_s` later, and none of it after `end_s`: a model may put an end into its padding."""

    def moved(at_s: float) -> float:
        later = at_s + offset_s
        return round(later if end_s is None else min(later, end_s), 3)

    words = tuple(replace(word, start_s=moved(word.start_s), end_s=moved(word.end_s)) for word in segment.words)
    return replace(segment, start_s=moved(segment.start_s), end_s=moved(segment.end_s), words=words)
