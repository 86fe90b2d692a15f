"""Text and token ids through tokenizer.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.engines.onnx.whisper.tokenizer import WhisperTokenizer
from agent.errors import ArtifactError
from tests.engines.onnx.whisper.tiny import EN, EOT, LETTERS, NO_TIMESTAMPS, SOT, TIMESTAMP_BEGIN, letters


@pytest.fixture
def tokenizer(tmp_path: Path) -> WhisperTokenizer:
    (tmp_path / "tokenizer.json").write_text(json.dumps(letters()))
    return WhisperTokenizer(tmp_path, EOT)


@pytest.mark.parametrize("text", ["", "abc", " turn the light on.", "a  b", "caf\u00e9 9!"])
def test_text_comes_back_as_it_was(tokenizer: WhisperTokenizer, text: str) -> None:
    tokens = tokenizer.encode(text)
    assert len(tokens) == len(text.encode())
    assert tokenizer.decode(tokens) == text


def test_special_tokens_and_timestamps_say_nothing(tokenizer: WhisperTokenizer) -> None:
    a, b = LETTERS.index("a"), LETTERS.index("b")
    assert tokenizer.decode([SOT, EN, NO_TIMESTAMPS, TIMESTAMP_BEGIN, a, TIMESTAMP_BEGIN + 3, b, EOT]) == "ab"


def test_what_looks_like_a_special_token_in_a_text_is_not_added_to_it(tokenizer: WhisperTokenizer) -> None:
    assert EOT not in tokenizer.encode("ab")


def test_half_of_a_character_is_shown_as_such(tokenizer: WhisperTokenizer) -> None:
    assert tokenizer.decode([LETTERS.index("a"), LETTERS.index("\u00c3")]) == "a\ufffd"


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(letters()))
    with pytest.raises(ArtifactError, match="no token 5000") as caught:
        WhisperTokenizer(tmp_path, 5_000)
    assert caught.value.param == "tokens.eot"


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", '{"model": {"type": "BPE"}}'])
def test_what_is_no_tokenizer_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ArtifactError, match=r"tokenizer\.json cannot be read"):
        WhisperTokenizer(tmp_path, EOT)
