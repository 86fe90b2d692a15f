"""Whether a text is good enough, or is to be decoded again at a higher temperature: openai/whisper's thresholds."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent.engines.onnx.whisper.decode import Hypothesis


@dataclass(frozen=True)
class Thresholds:
    """`compression_ratio` is at most that of text that does not repeat itself; `logprob` at least the average of a good
    one; `no_speech` the probability above which a poor text counts as silence.
    """

    compression_ratio: float = 2.4
    logprob: float = -1.0
    no_speech: float = 0.6


@dataclass(frozen=True)
class Attempt:
    """One decoding and how it compresses."""

    heard: Hypothesis
    text: str
    compression_ratio: float


def compression_ratio(text: str) -> float:
    """UTF-8 bytes by their size after zlib: above 2.4 a text repeats itself. 0 where there is no text."""
    data = text.encode()
    return len(data) / len(zlib.compress(data)) if data else 0.0


def is_silence(heard: Hypothesis, thresholds: Thresholds) -> bool:
    """Probably no speech, and the text is a poor one."""
    probability = heard.no_speech_probability or 0.0
    return probability > thresholds.no_speech and heard.average_logprob < thresholds.logprob


def is_good(attempt: Attempt, thresholds: Thresholds) -> bool:
    """No other temperature is needed: it is a good text, or silence, of which there is none better."""
    if is_silence(attempt.heard, thresholds):
        return True
    repeats = attempt.compression_ratio > thresholds.compression_ratio
    return not repeats and attempt.heard.average_logprob >= thresholds.logprob


def best_attempt(temperatures: Sequence[float], decode: Callable[[float], Attempt], thresholds: Thresholds) -> Attempt:
    """The first that is good; where none is, the likeliest of those that do not repeat themselves, as faster-whisper
    chooses (openai/whisper takes the last).
    """
    attempts: list[Attempt] = []
    for temperature in temperatures:
        attempt = decode(temperature)
        if is_good(attempt, thresholds):
            return attempt
        attempts.append(attempt)
    plain = [attempt for attempt in attempts if attempt.compression_ratio <= thresholds.compression_ratio]
    return max(plain or attempts, key=lambda attempt: attempt.heard.average_logprob)
