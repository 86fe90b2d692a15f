"""Word timestamps of the segments of one window."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agent.engines.onnx.whisper.alignment import Matrix, attention_matrix, token_starts
from agent.engines.onnx.whisper.artifact import WhisperSpec
from agent.engines.onnx.whisper.boundaries import POSITION_SAMPLES, Span, loudness, word_spans
from agent.engines.onnx.whisper.decode import Hypothesis
from agent.engines.onnx.whisper.encoder import CrossAttention
from agent.engines.onnx.whisper.prompt import Task, start_sequence
from agent.engines.onnx.whisper.segments import STEP_S, Piece
from agent.engines.onnx.whisper.steps import StepDecoder
from agent.engines.onnx.whisper.tokenizer import WhisperTokenizer
from agent.engines.onnx.whisper.words import (
    WITHOUT_SPACES,
    TimedWord,
    join_punctuation,
    letters,
    shorten_pauses,
    split_words,
)
from agent.errors import RequestError


def check_aligns(decoder: StepDecoder) -> None:
    """Raises `RequestError` for a model whose graph gives no attention."""
    if not decoder.aligns:
        raise RequestError(
            "This model has no word timestamps: its graph does not give the attention to the audio.",
            hint="Convert the checkpoint with `edge-convert whisper`, or ask for segments.",
            param="timestamps",
        )


@dataclass(frozen=True)
class Spoken:
    """One window: its `audio`, float32 [samples] without padding, what the encoder made of it, and what it says."""

    audio: npt.NDArray[np.float32]
    cross: CrossAttention
    heard: Hypothesis
    task: Task


class WordTimer:
    """Runs the decoder once more over a finished text, for its attention."""

    def __init__(self, decoder: StepDecoder, spec: WhisperSpec, tokenizer: WhisperTokenizer) -> None:
        self._decoder = decoder
        self._spec = spec
        self._tokenizer = tokenizer

    def times(self, spoken: Spoken, pieces: Sequence[Piece]) -> list[list[TimedWord]]:
        """The words of each of `pieces`, which the text was cut into; seconds from the start of the window."""
        eot = self._spec.tokens.eot
        texts = [[token for token in piece.tokens if token < eot] for piece in pieces]
        tokens = [token for text in texts for token in text]
        if not tokens:
            return [[] for _ in pieces]
        words = self._words(spoken, tokens)
        join_punctuation(words)
        timed = []
        index = 0
        for text in texts:
            taken, found = 0, []
            while index < len(words) and taken < len(text):
                taken += words[index].tokens
                if words[index].text:
                    found.append(words[index])
                index += 1
            timed.append(found)
        return timed

    def _words(self, spoken: Spoken, tokens: list[int]) -> list[TimedWord]:
        language = spoken.heard.language
        parts = split_words(tokens, self._tokenizer.decode, language)
        matrix = self._attention(spoken, tokens)
        sizes = [len(part) for _, part in parts]
        if language in WITHOUT_SPACES:
            spans = _by_path(matrix, sizes)
        else:
            loud = loudness(spoken.audio, matrix.shape[1])
            spans = _by_pauses(matrix, [text for text, _ in parts], sizes, loud)
        shares = np.exp([logprob for token, logprob in _scored(spoken.heard) if token < self._spec.tokens.eot])
        words = []
        first = 0
        for (text, part), (start, end) in zip(parts, spans, strict=True):
            of_word = shares[first : first + len(part)]
            probability = float(of_word.mean()) if len(of_word) else 0.0
            words.append(TimedWord(text, len(part), start * STEP_S, end * STEP_S, probability))
            first += len(part)
        if language in WITHOUT_SPACES:
            shorten_pauses(words)
        return words

    def _attention(self, spoken: Spoken, tokens: list[int]) -> Matrix:
        """[tokens + 1, positions]: where each token was chosen, and the end of the text."""
        start = start_sequence(self._spec, language=spoken.heard.language, task=spoken.task, timestamps=False)
        self._decoder.begin(spoken.cross)
        weights = self._decoder.attend([[*start, *tokens][: self._decoder.capacity]])[0]
        # A token is chosen where the one before it is fed: from the last of the start on.
        positions = min(spoken.cross.positions, max(1, round(len(spoken.audio) / POSITION_SAMPLES)))
        return attention_matrix(weights[:, len(start) - 1 :, :positions], filter_width=self._spec.median_filter_width)


def _scored(heard: Hypothesis) -> list[tuple[int, float]]:
    return list(zip(heard.tokens, heard.logprobs, strict=True))


def _by_path(matrix: Matrix, sizes: Sequence[int]) -> list[Span]:
    """As openai/whisper: from where a word's first token begins to where the next word's does."""
    starts = token_starts(matrix)
    edges = np.minimum(np.concatenate(([0], np.cumsum(sizes))), len(starts) - 1)
    return [(int(starts[first]), int(starts[end])) for first, end in itertools.pairwise(edges)]


def _by_pauses(matrix: Matrix, texts: Sequence[str], sizes: Sequence[int], loud: npt.NDArray[np.float64]) -> list[Span]:
    """Marks that stand alone are not spoken: they take no time, at the end of the word before."""
    edges = np.minimum(np.concatenate(([0], np.cumsum(sizes))), len(matrix) - 1)
    counts = [letters(text) for text in texts]
    spoken = [index for index, count in enumerate(counts) if count]
    if not spoken:
        return [(0, matrix.shape[1])] * len(texts)
    rows = [matrix[edges[index] : max(edges[index + 1], edges[index] + 1)].max(axis=0) for index in spoken]
    found = iter(word_spans(np.stack(rows), [counts[index] for index in spoken], loud))
    spans: list[Span] = []
    for count in counts:
        end = spans[-1][1] if spans else 0
        spans.append(next(found) if count else (end, end))
    return spans
