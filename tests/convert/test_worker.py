"""An artifact asked through a worker process."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.errors import EngineError, ModelLoadError
from agent.runtime.wire.generation import Generate, Sampling
from agent.runtime.wire.options import LlamaOptions
from convert.worker import Worker, text_of

OPTIONS = LlamaOptions(context_tokens=512, slots=2)


def question(prompt: str) -> Generate:
    return Generate(prompt=prompt, max_tokens=6, sampling=Sampling(temperature=0.0))


def test_more_questions_than_slots_are_answered_in_their_order(tiny_model: Path) -> None:
    questions = [question(text) for text in ("one", "two", "three", "four", "five")]
    with Worker(tiny_model, OPTIONS) as worker:
        together = [text_of(events) for events in worker.ask_all(questions)]
        assert together == [text_of(worker.ask(each)) for each in questions]
    assert len(set(together)) > 1


def test_a_question_that_fails_is_an_error(tiny_model: Path) -> None:
    with Worker(tiny_model, OPTIONS) as worker, pytest.raises(EngineError, match="tokens"):
        worker.ask(question("word " * 2000))


def test_what_is_no_model_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF, or not")
    with pytest.raises(ModelLoadError):
        Worker(tmp_path / "model.gguf", OPTIONS)
