"""The model as a user runs it: llama.cpp in a worker process, asked for actions and for words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agent.runtime.wire.generation import Generate, Sampling
from agent.runtime.wire.options import LlamaOptions
from convert.worker import Worker, text_of

_ANSWER_TOKENS: Final = 96
GREEDY: Final = Sampling(temperature=0.0)


@dataclass(frozen=True)
class Ask:
    """`messages` as the HTTP API hands them on; `schema` None for an answer in words, `{}` for any JSON object."""

    messages: tuple[dict[str, Any], ...]
    schema: dict[str, Any] | None = None
    sampling: Sampling = GREEDY


class ChatWorker(Worker):
    """A worker with the GGUF file `path` loaded. A context manager. Raises `ModelLoadError`."""

    def __init__(self, path: Path, *, slots: int = 8, context_tokens: int = 512) -> None:
        super().__init__(path, LlamaOptions(context_tokens=context_tokens * slots, slots=slots))

    def answers(self, asks: Sequence[Ask]) -> list[str]:
        """One answer to each, as the worker's slots allow at once. Raises `EngineError` for one that fails."""
        return [text_of(events) for events in self.ask_all([_generate(ask) for ask in asks])]


def _generate(ask: Ask) -> Generate:
    return Generate(messages=ask.messages, json_schema=ask.schema, sampling=ask.sampling, max_tokens=_ANSWER_TOKENS)
