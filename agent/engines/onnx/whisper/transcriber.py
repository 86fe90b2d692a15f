"""One request: audio in, segments out. Windows, temperatures and timestamps come together here."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from agent.engines.onnx.whisper.decode import DecodingOptions, Hypothesis, decode
from agent.engines.onnx.whisper.encoder import CrossAttention
from agent.engines.onnx.whisper.fallback import Attempt, Thresholds, best_attempt, compression_ratio, is_silence
from agent.engines.onnx.whisper.log_mel import fitted_frames
from agent.engines.onnx.whisper.mel_filters import SAMPLE_RATE_HZ
from agent.engines.onnx.whisper.model import WhisperModel
from agent.engines.onnx.whisper.prompt import previous_tokens
from agent.engines.onnx.whisper.segments import Cut, Piece, cut
from agent.engines.onnx.whisper.stillness import is_still
from agent.engines.onnx.whisper.watched import WatchedDecoder
from agent.engines.onnx.whisper.word_times import Spoken, WordTimer
from agent.runtime.wire.transcription import Segment, Transcribe, Transcribed, Word

Samples = npt.NDArray[np.float32]

_LEAST_S: Final = 0.1
"""What is left of a window after its last timestamp is not decoded again when it is shorter: no word is."""


_TEXT_CHARACTERS: Final = 8192
"""More than half of a context of tokens ever has: a longer prompt is not tokenized whole."""


@dataclass(frozen=True)
class WindowPolicy:
    """How long an encoder window is, in seconds: the audio and `margin_s` of silence after it, at least `floor_s`.

    Whisper was trained on 30 s and guesses badly at what ends where its window ends. `fits` is False for a graph that
    takes nothing but the whole window.
    """

    floor_s: float = 10.0
    margin_s: float = 2.0
    fits: bool = True

    def frames(self, samples: int, max_frames: int, *, full: bool) -> int:
        """An even number of frames of 10 ms, from what the audio needs to `max_frames`."""
        if full or not self.fits:
            return max_frames
        wanted = max(round(self.floor_s * SAMPLE_RATE_HZ), samples + round(self.margin_s * SAMPLE_RATE_HZ))
        return min(max_frames, fitted_frames(wanted))


@dataclass
class _Progress:
    """Of one request. Times of the engine in seconds."""

    segments: list[Segment] = field(default_factory=list)
    language: str | None = None
    language_probability: float | None = None
    tokens: int = 0
    encode_s: float = 0.0
    decode_s: float = 0.0


class Transcriber:
    """`before_run` is called before each run of a graph: it may raise to end the request."""

    def __init__(self, model: WhisperModel, policy: WindowPolicy, before_run: Callable[[], None]) -> None:
        self._model = model
        self._policy = policy
        self._before_run = before_run
        self._decoder = WatchedDecoder(model.decoder, before_run)
        self._timer = WordTimer(self._decoder, model.spec, model.tokenizer)

    def transcribe(self, request: Transcribe, audio: Samples) -> Transcribed:
        """`audio` is float32 [samples], of at most one window, checked. Raises `RequestError`, `EngineError`."""
        try:
            return self._transcribe(request, audio)
        finally:
            self._decoder.end()

    def _transcribe(self, request: Transcribe, audio: Samples) -> Transcribed:
        progress = _Progress(language=request.language)
        samples = 0
        while (rest := audio[samples:]).size and not is_still(rest):
            heard_s = self._window(request, rest, samples / SAMPLE_RATE_HZ, progress)
            if heard_s is None or heard_s <= 0 or rest.size - heard_s * SAMPLE_RATE_HZ < _LEAST_S * SAMPLE_RATE_HZ:
                break
            samples += round(heard_s * SAMPLE_RATE_HZ)
        return Transcribed(
            id=request.id,
            language=progress.language,
            language_probability=progress.language_probability or 0.0,
            audio_s=audio.size / SAMPLE_RATE_HZ,
            segments=tuple(progress.segments),
            completion_tokens=progress.tokens,
            encode_s=progress.encode_s,
            decode_s=progress.decode_s,
        )

    def _window(self, request: Transcribe, audio: Samples, offset_s: float, progress: _Progress) -> float | None:
        """Adds the segments of what is left of the audio; how far the text reaches, or None for all of it."""
        spec = self._model.spec
        frames = self._policy.frames(audio.size, spec.max_frames, full=request.window == "full")
        started = time.perf_counter()
        self._before_run()
        cross = self._model.encode(audio, frames)
        encoded = time.perf_counter()
        progress.encode_s += encoded - started
        attempt = self._decode(request, cross, progress)
        duration_s = audio.size / SAMPLE_RATE_HZ
        heard = attempt.heard
        parts = Cut((), None)
        if attempt.text.strip() and not is_silence(heard, _thresholds(request)):
            parts = self._cut(request, heard, duration_s)
        words: list[tuple[Word, ...]] = [()] * len(parts.pieces)
        if request.timestamps == "word" and parts.pieces:
            words = self._words(Spoken(audio, cross, heard, request.task), parts.pieces, offset_s)
        for piece, of_piece in zip(parts.pieces, words, strict=True):
            self._add(progress, piece, of_piece, attempt, offset_s)
        progress.decode_s += time.perf_counter() - encoded
        return parts.heard_s

    def _decode(self, request: Transcribe, cross: CrossAttention, progress: _Progress) -> Attempt:
        model = self._model
        previous = previous_tokens(
            model.spec,
            model.tokenizer.encode,
            prompt=request.prompt[-_TEXT_CHARACTERS:],
            hotwords=request.hotwords[:_TEXT_CHARACTERS],
        )

        def attempt(temperature: float) -> Attempt:
            heard = decode(
                self._decoder,
                model.spec,
                cross,
                DecodingOptions(
                    language=progress.language,
                    task=request.task,
                    timestamps=request.timestamps != "none",
                    max_tokens=request.max_tokens,
                    previous=previous,
                    temperature=temperature,
                    beam_size=request.beam_size,
                ),
            )
            progress.tokens += len(heard.tokens)
            if progress.language is None:  # found once, for all that follows
                progress.language, progress.language_probability = heard.language, heard.language_probability
            text = model.tokenizer.decode(heard.tokens)
            return Attempt(heard, text, compression_ratio(text.strip()))

        return best_attempt(request.temperatures, attempt, _thresholds(request))

    def _cut(self, request: Transcribe, heard: Hypothesis, duration_s: float) -> Cut:
        begin = self._model.spec.tokens.timestamp_begin
        if request.timestamps == "none" or begin is None:
            return Cut((Piece(0.0, duration_s, heard.tokens),), None)
        return cut(heard.tokens, timestamp_begin=begin, duration_s=duration_s)

    def _words(self, spoken: Spoken, pieces: tuple[Piece, ...], offset_s: float) -> list[tuple[Word, ...]]:
        return [
            tuple(
                Word(
                    text=word.text,
                    start_s=round(offset_s + word.start_s, 2),
                    end_s=round(offset_s + word.end_s, 2),
                    probability=round(word.probability, 4),
                )
                for word in words
            )
            for words in self._timer.times(spoken, pieces)
        ]

    def _add(
        self, progress: _Progress, piece: Piece, words: tuple[Word, ...], attempt: Attempt, offset_s: float
    ) -> None:
        """Nothing for a piece without text, which is a pause. Words know better than timestamps when speech is."""
        text = self._model.tokenizer.decode(piece.tokens)
        if not text.strip():
            return
        start_s, end_s = offset_s + piece.start_s, offset_s + piece.end_s
        if words:
            start_s, end_s = words[0].start_s, words[-1].end_s
        progress.segments.append(
            Segment(
                start_s=round(start_s, 2),
                end_s=round(end_s, 2),
                text=text,
                tokens=tuple(token for token in piece.tokens if token < self._model.spec.tokens.eot),
                temperature=attempt.heard.temperature,
                avg_logprob=attempt.heard.average_logprob,
                compression_ratio=attempt.compression_ratio,
                no_speech_prob=attempt.heard.no_speech_probability or 0.0,
                words=words,
            )
        )


def _thresholds(request: Transcribe) -> Thresholds:
    return Thresholds(
        compression_ratio=request.compression_ratio_limit,
        logprob=request.logprob_limit,
        no_speech=request.no_speech_limit,
    )
