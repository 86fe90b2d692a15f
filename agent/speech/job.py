"""A segment that ended and waits for its final pass."""

from __future__ import annotations

from dataclasses import dataclass

from agent.speech.pcm import seconds
from agent.speech.policy import Utterance
from agent.speech.segmenter import Piece


@dataclass(frozen=True, slots=True)
class Job:
    """`audio` is its sound as float32 samples; `voiced_at` the monotonic time of its last voiced frame."""

    utterance: Utterance
    piece: Piece
    audio: bytes
    voiced_at: float

    @property
    def seconds(self) -> float:
        return seconds(self.piece.end - self.piece.start)
