"""Decoding one window: what is fed first, then one step after the other until the search is over."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from agent.engines.onnx.whisper.artifact import WhisperSpec
from agent.engines.onnx.whisper.encoder import CrossAttention
from agent.engines.onnx.whisper.prompt import Task, check_request, start_sequence
from agent.engines.onnx.whisper.rules import Row, Rules, log_probability, probabilities, rules_for
from agent.engines.onnx.whisper.search import Beams, Draws, Line, Search
from agent.engines.onnx.whisper.steps import Logits
from agent.errors import ContextOverflowError, EngineError


class Stepping(Protocol):
    """The part of `StepDecoder` that decoding needs."""

    @property
    def length(self) -> int: ...
    @property
    def capacity(self) -> int: ...
    def begin(self, cross: CrossAttention) -> None: ...
    def step(self, tokens: list[list[int]]) -> Logits: ...
    def rollback(self, length: int) -> None: ...
    def reorder(self, rows: list[int]) -> None: ...


@dataclass(frozen=True, kw_only=True)
class DecodingOptions:
    """`language` None is detected where the model is multilingual. `previous` are tokens of text that came before.

    `max_tokens` None is half of the model's context (224 tokens), openai/whisper's limit: a window of 30 s never needs
    more, a decoder that repeats itself always would. At temperature 0 there are `beam_size` beams, above it `best_of`
    texts are drawn from a generator that starts with `seed`, and the likeliest is kept; `patience` and
    `length_penalty` are those of `search.Beams`. The numbers are openai/whisper's and faster-whisper's defaults.
    """

    language: str | None = None
    task: Task = "transcribe"
    timestamps: bool = False
    max_tokens: int | None = None
    previous: tuple[int, ...] = ()
    temperature: float = 0.0
    beam_size: int = 1
    best_of: int = 5
    patience: float = 1.0
    length_penalty: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class Hypothesis:
    """What a window says. `tokens` may hold timestamps; start sequence and end of text are not among them.

    `average_logprob` is per token, end of text included, natural logarithm, of the distribution that the rules leave;
    `logprobs` are those of `tokens`. `language_probability` is among the languages of the model; None where it was
    given, or the model knows but English. `no_speech_probability` is None for a model without that token. `complete`:
    the text was ended, not cut.
    """

    tokens: tuple[int, ...]
    language: str
    language_probability: float | None
    no_speech_probability: float | None
    average_logprob: float
    complete: bool
    logprobs: tuple[float, ...] = ()
    temperature: float = 0.0


@dataclass(frozen=True)
class _Opening:
    logits: Logits
    language: str
    language_probability: float | None
    no_speech_probability: float | None


def decode(decoder: Stepping, spec: WhisperSpec, cross: CrossAttention, options: DecodingOptions) -> Hypothesis:
    """Decodes the one window in `cross`.

    Raises `RequestError` for options that the model cannot do, `ContextOverflowError` for `previous` that leaves no
    room, `EngineError`.
    """
    check_request(spec, language=options.language, task=options.task, timestamps=options.timestamps)
    decoder.begin(cross)
    opening = _open(decoder, spec, options)
    limit = min(options.max_tokens or spec.max_target_positions // 2, decoder.capacity - decoder.length)
    if limit < 1:
        raise ContextOverflowError("The prompt fills the model's context.", param="prompt")
    search = _search(spec, options, limit)
    rules = rules_for(spec, timestamps=options.timestamps)
    line = _drive(decoder, opening.logits, rules, search)
    return Hypothesis(
        tokens=line.tokens,
        language=opening.language,
        language_probability=opening.language_probability,
        no_speech_probability=opening.no_speech_probability,
        average_logprob=line.total / (len(line.tokens) + 1),
        complete=line.complete,
        logprobs=line.logprobs[: len(line.tokens)],
        temperature=options.temperature,
    )


def detect_language(spec: WhisperSpec, logits: Row) -> tuple[str, float]:
    """The most likely language and its probability among the model's, from the logits after the start token."""
    languages = sorted(spec.languages)
    shares = probabilities(logits, [spec.languages[language] for language in languages])
    best = int(shares.argmax())
    return languages[best], float(shares[best])


def _open(decoder: Stepping, spec: WhisperSpec, options: DecodingOptions) -> _Opening:
    """Feeds everything before the text."""
    language, probability = options.language or "en", None
    # The start token ends a step: what follows it tells the language and whether there is speech at all. The language
    # is told from it alone, as openai/whisper does: what was said before would weigh more than the sound.
    logits = None
    if spec.multilingual and options.language is None:
        logits = decoder.step([[spec.tokens.sot]])
        language, probability = detect_language(spec, logits[0])
    if options.previous and spec.tokens.sot_prev is not None:
        decoder.rollback(0)
        logits = decoder.step([[spec.tokens.sot_prev, *options.previous, spec.tokens.sot]])
    elif logits is None:
        logits = decoder.step([[spec.tokens.sot]])
    no_speech = None if spec.tokens.no_speech is None else math.exp(log_probability(logits[0], spec.tokens.no_speech))
    start = start_sequence(spec, language=language, task=options.task, timestamps=options.timestamps)
    if len(start) > 1:
        logits = decoder.step([start[1:]])
    return _Opening(logits, language, probability, no_speech)


def _search(spec: WhisperSpec, options: DecodingOptions, limit: int) -> Search:
    eot = spec.tokens.eot
    if options.temperature <= 0 and options.beam_size > 1:
        return Beams(
            eot=eot,
            limit=limit,
            size=options.beam_size,
            patience=options.patience,
            length_penalty=options.length_penalty,
        )
    return Draws(eot=eot, limit=limit, temperature=options.temperature, count=options.best_of, seed=options.seed)


def _drive(decoder: Stepping, logits: Logits, rules: Rules, search: Search) -> Line:
    """One step after the other. Raises `EngineError` where nothing that the rules leave has a finite logit."""
    rows = list(range(len(logits)))
    while True:
        for row, line in zip(logits, search.lines, strict=True):
            rules.apply(row, line.tokens)
            if not np.isfinite(row.max()):
                raise EngineError("The decoder's logits are not finite numbers.", hint="Convert the model again.")
        move = search.advance(logits)
        if move is None:
            return search.best()
        if move.sources != rows:
            decoder.reorder(move.sources)
            rows = list(range(len(move.sources)))
        logits = decoder.step([[token] for token in move.tokens])
