"""Word timestamps of the segments of one window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from agent.engines.onnx.whisper.alignment import token_starts
from agent.engines.onnx.whisper.artifact import WhisperSpec
from agent.engines.onnx.whisper.decode import Hypothesis
from agent.engines.onnx.whisper.encoder import CrossAttention
from agent.engines.onnx.whisper.prompt import Task, start_sequence
from agent.engines.onnx.whisper.segments import STEP_S, Piece
from agent.engines.onnx.whisper.steps import StepDecoder
from agent.engines.onnx.whisper.tokenizer import WhisperTokenizer
from agent.engines.onnx.whisper.words import TimedWord, join_punctuation, shorten_pauses, split_words
from agent.errors import RequestError

_FAR_S: Final = 0.5
"""By how much a word must pass the segment's own timestamp before that one is believed (openai/whisper)."""


def check_aligns(decoder: StepDecoder) -> None:
    """Raises `RequestError` for a model whose graph gives no attention."""
    if not decoder.aligns:
        raise RequestError(
            "This model has no word timestamps: its graph does not give the attention to the audio.",
            hint="Convert the checkpoint with `edge-convert whisper`, or ask for segments.",
            param="timestamps",
        )


class WordTimer:
    """Runs the decoder once more over a finished text, for its attention."""

    def __init__(self, decoder: StepDecoder, spec: WhisperSpec, tokenizer: WhisperTokenizer) -> None:
        self._decoder = decoder
        self._spec = spec
        self._tokenizer = tokenizer

    def times(
        self,
        cross: CrossAttention,
        heard: Hypothesis,
        pieces: Sequence[Piece],
        *,
        task: Task,
        duration_s: float,
        spoken_until_s: float,
    ) -> list[list[TimedWord]]:
        """The words of each of `pieces`, which `heard` was cut into; seconds from the start of the window.

        `spoken_until_s` is where the window's last word before ended, in the window's time. Words that run far beyond
        their segment's own timestamps, or over a pause, are drawn in as openai/whisper does it.
        """
        texts = [[token for token in piece.tokens if token < self._spec.tokens.eot] for piece in pieces]
        tokens = [token for text in texts for token in text]
        if not tokens:
            return [[] for _ in pieces]
        words = self._aligned(cross, heard, tokens, task, duration_s)
        median_s = shorten_pauses(words)
        join_punctuation(words)
        timed = []
        index = 0
        for piece, text in zip(pieces, texts, strict=True):
            taken, found = 0, []
            while index < len(words) and taken < len(text):
                taken += words[index].tokens
                if words[index].text:
                    found.append(words[index])
                index += 1
            _fit(found, piece, median_s, spoken_until_s)
            spoken_until_s = found[-1].end_s if found else spoken_until_s
            timed.append(found)
        return timed

    def _aligned(
        self, cross: CrossAttention, heard: Hypothesis, tokens: list[int], task: Task, duration_s: float
    ) -> list[TimedWord]:
        start = start_sequence(self._spec, language=heard.language, task=task, timestamps=False)
        fed = [*start, *tokens][: self._decoder.capacity]
        self._decoder.begin(cross)
        weights = self._decoder.attend([fed])[0]
        # A token is chosen where the one before it is fed: from the last of the start on.
        positions = min(cross.positions, max(1, round(duration_s / STEP_S)))
        starts_s = STEP_S * token_starts(
            weights[:, len(start) - 1 :, :positions], filter_width=self._spec.median_filter_width
        )
        chosen = dict(enumerate(_text_logprobs(heard, self._spec.tokens.eot)))
        words = []
        first = 0
        for text, part in split_words(tokens, self._tokenizer.decode, heard.language):
            end = min(first + len(part), len(starts_s) - 1)
            first = min(first, end)
            shares = [np.exp(chosen[index]) for index in range(first, end) if index in chosen]
            words.append(
                TimedWord(
                    text=text,
                    tokens=len(part),
                    start_s=float(starts_s[first]),
                    end_s=float(starts_s[end]),
                    probability=float(np.mean(shares)) if shares else 0.0,
                )
            )
            first = end
        return words


def _text_logprobs(heard: Hypothesis, eot: int) -> list[float]:
    return [logprob for token, logprob in zip(heard.tokens, heard.logprobs, strict=True) if token < eot]


def _fit(words: list[TimedWord], piece: Piece, median_s: float, spoken_until_s: float) -> None:
    """Draws in the first words after a pause and the last of a segment, in place."""
    if not words:
        return
    longest_s = 2 * median_s
    first, last = words[0], words[-1]
    if first.end_s - spoken_until_s > 4 * median_s:
        long_pair = len(words) > 1 and words[1].end_s - first.start_s > 2 * longest_s
        if first.end_s - first.start_s > longest_s or long_pair:
            if len(words) > 1 and words[1].end_s - words[1].start_s > longest_s:
                boundary = max(words[1].end_s / 2, words[1].end_s - longest_s)
                first.end_s = words[1].start_s = boundary
            first.start_s = max(0.0, first.end_s - longest_s)
    if first.start_s + _FAR_S < piece.start_s < first.end_s:
        first.start_s = max(0.0, min(first.end_s - median_s, piece.start_s))
    if last.start_s < piece.end_s < last.end_s - _FAR_S:
        last.end_s = max(last.start_s + median_s, piece.end_s)
