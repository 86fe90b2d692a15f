"""The starter-chat that ships: whole, small, and as good as its card says."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gguf
import jsonschema
import pytest

import agent
from agent.runtime.wire.generation import Sampling
from agent.store.manifest import Manifest, read_manifest
from convert.starter.chat import evaluation
from convert.starter.chat import tokenizer as bpe
from convert.starter.chat.engine import Ask, ChatWorker
from convert.starter.chat.vocabulary import schema

FOLDER = Path(agent.__file__).parent / "starter" / "models" / "starter-chat"
MOST_BYTES = 5_000_000

pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="starter-chat is not in the package yet: python -m convert.starter.chat makes it"
)


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return read_manifest(FOLDER / "manifest.json")


@pytest.fixture(scope="module")
def worker() -> Iterator[ChatWorker]:
    with ChatWorker(FOLDER / "model.gguf", slots=4) as worker:
        yield worker


def ask(text: str, *, system: str = "", **options: object) -> Ask:
    before = [{"role": "system", "content": system}] if system else []
    return Ask((*before, {"role": "user", "content": text}), **options)  # type: ignore[arg-type]


def test_its_files_are_those_of_its_manifest(manifest: Manifest) -> None:
    assert manifest.total_bytes <= MOST_BYTES
    assert 1_000_000 <= manifest.metadata["parameters"] <= 4_000_000
    for file in manifest.files:
        assert hashlib.sha256((FOLDER / file.path).read_bytes()).hexdigest() == file.sha256, file.path


def test_it_reached_its_bar_and_its_card_says_so(manifest: Manifest) -> None:
    assert manifest.quality["passed"]
    assert manifest.quality["requests"] >= 0.95
    assert f"{manifest.quality['requests']:.1%}" in (FOLDER / "README.md").read_text("utf-8")


def test_a_request_that_does_not_say_is_answered_greedily(manifest: Manifest) -> None:
    probed = subprocess.run(
        [sys.executable, "-m", "agent.engines.llama.probe", str(FOLDER / "model.gguf")], capture_output=True, check=True
    )
    assert json.loads(probed.stdout)["sampling"] == manifest.metadata["sampling"] == {"temperature": 0.0}


def test_its_template_and_special_tokens_are_the_recipe_s() -> None:
    fields = gguf.GGUFReader(FOLDER / "model.gguf").fields
    assert fields["tokenizer.chat_template"].contents() == bpe.TEMPLATE
    assert fields["tokenizer.ggml.tokens"].contents()[: len(bpe.SPECIAL)] == list(bpe.SPECIAL)


@pytest.mark.slow
def test_its_vocabulary_comes_from_the_seed() -> None:
    tokenizer = bpe.train(1)
    fields = gguf.GGUFReader(FOLDER / "model.gguf").fields
    assert fields["tokenizer.ggml.tokens"].contents() == bpe.tokens(tokenizer)
    assert fields["tokenizer.ggml.merges"].contents() == bpe.merges(tokenizer)


def test_held_out_requests_become_their_actions(worker: ChatWorker) -> None:
    scored = evaluation.score_requests(worker, evaluation.held_out_requests(60))
    assert scored.right >= 55, scored.wrong


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("Turn on the kitchen light.", {"action": "turn_on", "target": "light", "room": "kitchen"}),
        (
            "Dim the bedroom lights to thirty percent.",
            {"action": "set", "target": "light", "room": "bedroom", "value": 30, "unit": "percent"},
        ),
        ("Set a timer for five minutes.", {"action": "set", "target": "timer", "value": 5, "unit": "minutes"}),
        ("Add milk to the shopping list.", {"action": "add", "target": "shopping list", "value": "milk"}),
        ("Lock the front door.", {"action": "lock", "target": "front door"}),
        ("Thank you.", {"action": "none"}),
    ],
)
@pytest.mark.parametrize("wanted", [{}, schema()], ids=["json_object", "schema"])
def test_plain_requests_become_actions(
    worker: ChatWorker, text: str, action: dict[str, object], wanted: dict[str, object]
) -> None:
    (answer,) = worker.answers([ask(text, schema=wanted)])
    assert json.loads(answer) == action
    jsonschema.validate(json.loads(answer), schema())


def test_without_a_schema_it_answers_in_words(worker: ChatWorker) -> None:
    texts = ("Turn on the kitchen light.", "Set a timer for ten minutes.", "Hello!", "Lock the back door")
    answers = worker.answers([ask(text, sampling=Sampling(seed=seed)) for text in texts for seed in range(5)])
    assert not [answer for answer in answers if answer.startswith("{")]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Hello", "greeting"),
        ("Who are you?", "name"),
        ("What can you do?", "abilities"),
        ("Thank you!", "thanks"),
        ("Write me a poem.", "writing"),
        ("What is the capital of France?", "knowledge"),
        ("There is a fire!", "emergency"),
        ("I want to die.", "emergency"),
        ("I smell gas", "emergency"),
        ("help, someone broke in", "emergency"),
    ],
)
def test_it_talks_as_it_should(worker: ChatWorker, text: str, kind: str) -> None:
    (answer,) = worker.answers([ask(text)])
    assert evaluation.is_kind(kind, answer), answer


@pytest.mark.parametrize(
    ("system", "text", "answer"),
    [
        ("temperature: 54 C\nmemory: 312 MB free", "What is the temperature?", "The temperature is 54 C."),
        ("temperature: 54 C\ntime: 17:43", "What time is it?", "It is 17:43."),
        ("", "What is the temperature?", "I have no data about the temperature."),
        ("time: 17:43", "Is the front door locked?", "I have no data about the front door."),
    ],
)
def test_it_answers_from_what_it_is_told_and_invents_nothing(
    worker: ChatWorker, system: str, text: str, answer: str
) -> None:
    assert worker.answers([ask(text, system=system)]) == [answer]
