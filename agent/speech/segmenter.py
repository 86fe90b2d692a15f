"""Probabilities of speech in, segments out. Pure: positions are counted in samples, and no sound is held here.

idle --voice--> candidate --enough voice--> speech --silence--> idle          (a segment)
                    |                          |
                    +--silence--> idle         +--hard cap--> speech          (a segment; the next one abuts)
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

from agent.speech.pcm import FRAME_SAMPLES, samples_in

Reason = Literal["silence", "cap", "lost", "end"]
"""Why a segment ended: the speaker paused, it reached the hard cap, sound was lost, or the stream is over."""


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """Thresholds are probabilities. Above `on_threshold` speech begins; it goes on while above `off_threshold`.

    `preroll_s` and `postroll_s` of sound are kept around a segment. Speech shorter than `min_speech_s` is taken for a
    click. `end_silence_s` ends a segment; `max_segment_s` is its hard cap, where it is cut at its quietest place in
    the second half. 0.5 and 0.35 are Silero's own (snakers4/silero-vad, `get_speech_timestamps`).

    A model mishears words that begin right where its sound does: of 60 commands heard through a sound server, in the
    mean of four offsets, WER 6.1% with 0.3 and 0.2 s around them, 4.7% with 0.5 and 0.2, 4.3% with 0.5 and 0.4
    (benchmarks.speech.live_replay).
    """

    on_threshold: float = 0.5
    off_threshold: float = 0.35
    preroll_s: float = 0.5
    postroll_s: float = 0.4
    min_speech_s: float = 0.15
    end_silence_s: float = 0.5
    max_segment_s: float = 28.0

    def __post_init__(self) -> None:
        if not 0 < self.off_threshold <= self.on_threshold <= 1:
            raise ValueError("thresholds: 0 < off <= on <= 1")
        if min(self.preroll_s, self.postroll_s, self.min_speech_s) < 0 or self.end_silence_s <= 0:
            raise ValueError("times must not be negative, and end_silence_s must be more than 0")
        if not 1 <= self.max_segment_s <= 30:
            raise ValueError("max_segment_s: 1 to 30, which is what Whisper's encoder sees")
        if self.preroll_s + self.min_speech_s + self.end_silence_s > self.max_segment_s / 2:
            raise ValueError("max_segment_s must be more than twice preroll, minimum speech and end silence together")


@dataclass(frozen=True, slots=True)
class SpeechStart:
    at: int
    """where the segment's sound begins, the preroll included"""


@dataclass(frozen=True, slots=True)
class Piece:
    """A segment from `start` to `end`; its last voiced frame ends at `voiced_end`."""

    start: int
    end: int
    voiced_end: int
    reason: Reason


@dataclass(frozen=True, slots=True)
class SpeechEnd:
    at: int


Cut = SpeechStart | Piece | SpeechEnd


class Segmenter:
    """Call `feed` once for each frame of 512 samples."""

    def __init__(self, settings: Segmentation) -> None:
        self._settings = settings
        self._preroll = samples_in(settings.preroll_s)
        self._postroll = samples_in(settings.postroll_s)
        self._min_speech = samples_in(settings.min_speech_s)
        self._end_silence = samples_in(settings.end_silence_s)
        self._cap = samples_in(settings.max_segment_s)
        self._state: Literal["idle", "candidate", "speech"] = "idle"
        self._start = 0
        self._voiced = 0
        self._used_to = 0
        self._levels: deque[tuple[int, float]] = deque()
        self.position = 0
        """samples heard, and lost, so far"""
        self.voiced_end = 0
        """where the last voiced frame ended"""

    @property
    def speaking_from(self) -> int | None:
        """Where the open segment begins; None outside of speech."""
        return self._start if self._state == "speech" else None

    @property
    def settled_end(self) -> int:
        """Where the open segment would end if nothing more were said."""
        return min(self.voiced_end + self._postroll, self.position, self._start + self._cap)

    @property
    def keep_from(self) -> int:
        """The oldest sample that a segment can still ask for."""
        if self._state == "idle":
            return max(self._used_to, self.position - self._preroll)
        return self._start

    @property
    def idle(self) -> bool:
        return self._state == "idle"

    def feed(self, probability: float, level: float) -> list[Cut]:
        """One frame: how likely it is speech, and its root mean square."""
        frame_start, self.position = self.position, self.position + FRAME_SAMPLES
        if self._state == "idle":
            if probability < self._settings.on_threshold:
                return []
            self._begin(frame_start)
        voiced = probability >= self._settings.off_threshold
        self._levels.append((frame_start, level))
        if voiced:
            self.voiced_end = self.position
            self._voiced += FRAME_SAMPLES
        cuts: list[Cut] = []
        if self._state == "candidate" and self._voiced >= self._min_speech:
            self._state = "speech"
            cuts.append(SpeechStart(self._start))
        if self.position - self.voiced_end >= self._end_silence:
            return cuts + self._finish("silence")
        if self.position - self._start >= self._cap:
            cuts += self._cap_reached()
        return cuts

    def lost(self, samples: int) -> list[Cut]:
        """Sound is missing here: what is open ends before it, and positions go on after it."""
        cuts = self._finish("lost")
        self.position += samples
        self._used_to = self.voiced_end = self.position
        return cuts

    def flush(self) -> list[Cut]:
        """The stream is over."""
        return self._finish("end")

    def _begin(self, frame_start: int) -> None:
        self._state = "candidate"
        self._start = max(frame_start - self._preroll, self._used_to)
        self._voiced = 0
        self._levels.clear()

    def _finish(self, reason: Reason) -> list[Cut]:
        cuts: list[Cut] = []
        if self._state == "speech":
            if self.voiced_end > self._start:
                cuts.append(Piece(self._start, self.settled_end, self.voiced_end, reason))
                self._used_to = self.settled_end
            cuts.append(SpeechEnd(min(self.voiced_end, self.position)))
        self._state = "idle"
        return cuts

    def _cap_reached(self) -> list[Cut]:
        if self._state == "candidate":  # isolated clicks that never became speech
            self._state = "idle"
            return []
        cut = self._quietest()
        piece = Piece(self._start, cut, min(self.voiced_end, cut), "cap")
        self._start = self._used_to = cut
        while self._levels and self._levels[0][0] < cut:
            self._levels.popleft()
        return [piece]

    def _quietest(self) -> int:
        """The middle of the three quietest frames in a row, in the second half of what the cap allows."""
        earliest, latest = self._start + self._cap // 2, self._start + self._cap
        levels = list(self._levels)
        found = latest - latest % FRAME_SAMPLES
        least = float("inf")
        for before, (position, level), after in zip(levels, levels[1:], levels[2:], strict=False):
            middle = position + FRAME_SAMPLES // 2
            around = before[1] + level + after[1]
            if earliest <= middle <= latest and around <= least:
                found, least = middle, around
        return min(found, latest)
