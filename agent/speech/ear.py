"""Blocks of sound in, segments out, with the sound that belongs to them: frames, VAD, segmenter, and a bounded past."""

from __future__ import annotations

from collections.abc import Iterator

from agent.speech.pcm import BYTES_PER_INT16, FRAME_SAMPLES, SAMPLE_RATE_HZ, Frames, Recent, float_bytes, level_of
from agent.speech.segmenter import Cut, Segmentation, Segmenter
from agent.speech.source import Block
from agent.speech.vad import VoiceActivity


class Ear:
    """One stream of sound. Positions are samples since it began; lost ones count."""

    def __init__(self, settings: Segmentation, voice: VoiceActivity) -> None:
        self._voice = voice
        self._segmenter = Segmenter(settings)
        self._frames = Frames()
        self._recent = Recent()
        self._last_block_at: float | None = None
        self.heard_at = 0.0
        """monotonic time of the newest frame"""
        self.voiced_at = 0.0
        """monotonic time of the last voiced frame"""
        self.square_sum = 0.0
        self.peak = 0.0
        self.measured_samples = 0

    @property
    def position(self) -> int:
        return self._segmenter.position

    @property
    def voiced_end(self) -> int:
        return self._segmenter.voiced_end

    @property
    def settled_end(self) -> int:
        """Where the open segment would end if nothing more were said."""
        return self._segmenter.settled_end

    @property
    def speaking(self) -> bool:
        return self._segmenter.speaking_from is not None

    @property
    def idle(self) -> bool:
        """Nothing that could be speech, or the pause in it."""
        return self._segmenter.idle

    @property
    def held_samples(self) -> int:
        return self._recent.samples

    def hear(self, block: Block) -> Iterator[list[Cut]]:
        """What each frame that the block completes leads to. Raises `RequestError` for half a sample."""
        after = len(block.pcm) // BYTES_PER_INT16
        earliest = block.heard_at if self._last_block_at is None else self._last_block_at
        self._last_block_at = block.heard_at
        for samples in self._frames.feed(block.pcm):
            after -= FRAME_SAMPLES
            yield self._frame(samples, max(earliest, block.heard_at - max(0, after) / SAMPLE_RATE_HZ))

    def lose(self, samples: int) -> list[Cut]:
        """Sound is missing from here on; an open segment ends."""
        cuts, padded = self._complete()
        cuts += self._segmenter.lost(max(0, samples - padded))
        self._voice.reset()
        return cuts

    def resume(self) -> None:
        """After `lose`, when its segments have been taken: forget what came before."""
        self._recent.restart(self.position)

    def end(self) -> list[Cut]:
        cuts, _ = self._complete()
        return cuts + self._segmenter.flush()

    def sound(self, start: int, end: int) -> bytes:
        """float32 samples; of an open or a just ended segment."""
        return self._recent.cut(start, end)

    def forget(self) -> None:
        """Drop what no segment can ask for any more: call it when the segments of a frame have been taken."""
        self._recent.forget_before(self._segmenter.keep_from)

    def take_loudness(self) -> tuple[float, float]:
        """Root mean square and peak, from 0 to 1, since the last call."""
        mean = self.square_sum / self.measured_samples if self.measured_samples else 0.0
        peak = self.peak
        self.square_sum, self.peak, self.measured_samples = 0.0, 0.0, 0
        return float(mean**0.5), peak

    def _complete(self) -> tuple[list[Cut], int]:
        samples, padded = self._frames.pad()
        return ([] if samples is None else self._frame(samples, self.heard_at)), padded

    def _frame(self, samples: list[float], heard_at: float) -> list[Cut]:
        level = level_of(samples)
        self.square_sum += level * level * len(samples)
        self.measured_samples += len(samples)
        self.peak = max(self.peak, max(samples), -min(samples))
        self._recent.append(float_bytes(samples))
        self.heard_at = heard_at
        cuts = self._segmenter.feed(self._voice(samples, level), level)
        if self._segmenter.voiced_end == self._segmenter.position:
            self.voiced_at = heard_at
        return cuts
