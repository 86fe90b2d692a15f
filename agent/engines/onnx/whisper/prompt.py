"""What a decoder is told before it writes: language, task, timestamps or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from agent.engines.onnx.whisper.artifact import WhisperSpec
from agent.errors import RequestError

Task = Literal["transcribe", "translate"]
Encode = Callable[[str], list[int]]
"""Text to token ids, none of them special."""


def check_request(spec: WhisperSpec, *, language: str | None, task: Task, timestamps: bool) -> None:
    """Raises `RequestError` naming the parameter, for what the model cannot do. Language None is to be detected."""
    if task == "translate" and (not spec.multilingual or spec.tokens.translate is None):
        raise RequestError("This model cannot translate.", hint="Use a multilingual Whisper model.", param="task")
    if timestamps and spec.tokens.timestamp_begin is None:
        raise RequestError("This model has no timestamps.", hint="Ask for the text alone.", param="timestamps")
    if language is None:
        return
    known = spec.languages if spec.multilingual else (spec.languages or {"en": 0})
    if language not in known:
        raise RequestError(
            f"This model does not know the language {language[:40]!a}.",
            hint=f"It knows {', '.join(sorted(known))}.",
            param="language",
        )


def start_sequence(spec: WhisperSpec, *, language: str, task: Task, timestamps: bool) -> list[int]:
    """The tokens that open a transcript: start, language and task (multilingual models), `no_timestamps`."""
    tokens = [spec.tokens.sot]
    if spec.multilingual:
        task_token = spec.tokens.translate if task == "translate" else spec.tokens.transcribe
        assert task_token is not None  # `check_request` and `decode_spec` made sure
        tokens += [spec.languages[language], task_token]
    if not timestamps and spec.tokens.no_timestamps is not None:
        tokens.append(spec.tokens.no_timestamps)
    return tokens


def previous_tokens(spec: WhisperSpec, encode: Encode, *, prompt: str, hotwords: str) -> tuple[int, ...]:
    """What stands between `<|startofprev|>` and the start: the hotwords, then the end of the text that came before.

    Together less than half of the context, as in openai/whisper; the hotwords go first and are cut at their end, as
    faster-whisper has them. Raises `RequestError` for a model whose vocabulary has no place for it.
    """
    if not prompt.strip() and not hotwords.strip():
        return ()
    if spec.tokens.sot_prev is None:
        name = "prompt" if prompt.strip() else "hotwords"
        raise RequestError("This model takes no text that came before.", hint=f"Leave {name} out.", param=name)
    room = spec.max_target_positions // 2 - 1
    words = encode(f" {hotwords.strip()}")[:room] if hotwords.strip() else []
    before = encode(f" {prompt.strip()}") if prompt.strip() else []
    left = room - len(words)
    return (*words, *(before[-left:] if left else ()))
