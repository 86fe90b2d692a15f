"""Greedy decoding of one window: at each step the most likely token that the rules allow."""

from __future__ import annotations

from dataclasses import dataclass

from agent.engines.onnx.whisper.artifact import WhisperSpec
from agent.engines.onnx.whisper.decode import DecodingOptions, Hypothesis, Stepping, decode
from agent.engines.onnx.whisper.encoder import CrossAttention
from agent.engines.onnx.whisper.prompt import Task


@dataclass(frozen=True)
class GreedyOptions:
    """As in `DecodingOptions`."""

    language: str | None = None
    task: Task = "transcribe"
    timestamps: bool = False
    max_tokens: int | None = None


def decode_greedy(decoder: Stepping, spec: WhisperSpec, cross: CrossAttention, options: GreedyOptions) -> Hypothesis:
    """Decodes the one window in `cross`. Raises `RequestError` for options that the model cannot do, `EngineError`."""
    chosen = DecodingOptions(
        language=options.language, task=options.task, timestamps=options.timestamps, max_tokens=options.max_tokens
    )
    return decode(decoder, spec, cross, chosen)
