"""Special tokens come from the checkpoint's own files, however it numbers or spells them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.errors import ArtifactError
from convert.whisper.shape import WhisperShape
from convert.whisper.tokens import read_alignment_heads, read_tokens

PLAIN: dict[str, Any] = {"special": True}
SHAPE = WhisperShape(
    n_mels=80,
    d_model=64,
    vocab_size=51_865,
    encoder_layers=2,
    encoder_heads=4,
    encoder_ffn=128,
    decoder_layers=5,
    decoder_heads=4,
    decoder_ffn=128,
    max_source_positions=1500,
    max_target_positions=448,
    activation="gelu",
    tied=True,
)


def folder_with(
    folder: Path, names: dict[str, int] | None = None, generation: dict[str, Any] | None = None, words: Any = None
) -> Path:
    names = {"<|endoftext|>": 50_257, "<|startoftranscript|>": 50_258, "<|en|>": 50_259} if names is None else names
    added = [{"id": index, "content": name, **PLAIN} for name, index in names.items()]
    content = {"added_tokens": added, "model": {"vocab": {"a": 0} if words is None else words}}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    if generation is not None:
        (folder / "generation_config.json").write_text(json.dumps(generation))
    return folder


def test_every_special_token_of_a_multilingual_model(tmp_path: Path) -> None:
    names = ["endoftext", "startoftranscript", "en", "haw", "translate", "transcribe", "startoflm", "startofprev"]
    names += ["nospeech", "notimestamps", "0.00", "0.02"]
    ids = {f"<|{name}|>": 50_257 + index for index, name in enumerate(names)}
    tokens = read_tokens(folder_with(tmp_path, ids), {}, SHAPE)
    assert tokens.special == {
        "eot": 50_257,
        "sot": 50_258,
        "translate": 50_261,
        "transcribe": 50_262,
        "sot_lm": 50_263,
        "sot_prev": 50_264,
        "no_speech": 50_265,
        "no_timestamps": 50_266,
        "timestamp_begin": 50_267,
    }
    assert tokens.languages == {"en": 50_259, "haw": 50_260}
    assert tokens.multilingual  # by the size of the vocabulary, as openai/whisper tells it


def test_old_tokenizers_call_no_speech_no_captions_and_leave_the_timestamps_out(tmp_path: Path) -> None:
    ids = {"<|endoftext|>": 5, "<|startoftranscript|>": 6, "<|en|>": 7, "<|nocaptions|>": 8, "<|notimestamps|>": 9}
    special = read_tokens(folder_with(tmp_path, ids), {}, SHAPE).special
    assert (special["no_speech"], special["timestamp_begin"]) == (8, 10)


def test_a_vocabulary_that_ends_before_the_timestamps_has_none(tmp_path: Path) -> None:
    last = SHAPE.vocab_size - 1
    ids = {"<|endoftext|>": 5, "<|startoftranscript|>": 6, "<|en|>": 7, "<|notimestamps|>": last}
    assert read_tokens(folder_with(tmp_path, ids), {}, SHAPE).special["timestamp_begin"] is None


@pytest.mark.parametrize(
    ("generation", "multilingual", "languages"),
    [
        ({"is_multilingual": False}, False, {}),
        ({"is_multilingual": True}, True, {"en": 50_259}),
        ({"is_multilingual": True, "lang_to_id": {"<|sv|>": 3, "<|de|>": 2}}, True, {"de": 2, "sv": 3}),
    ],
)
def test_languages(tmp_path: Path, generation: Any, multilingual: bool, languages: Any) -> None:
    tokens = read_tokens(folder_with(tmp_path, generation=generation), {}, SHAPE)
    assert (tokens.multilingual, tokens.languages) == (multilingual, languages)


@pytest.mark.parametrize(
    ("generation", "config", "suppress"),
    [
        (None, {}, ()),
        (None, {"suppress_tokens": [9, 3, 9]}, (3, 9)),
        ({"suppress_tokens": None}, {"suppress_tokens": [3]}, (3,)),
        ({"suppress_tokens": [4]}, {"suppress_tokens": [3]}, (4,)),
        ({"suppress_tokens": []}, {"suppress_tokens": [3]}, ()),
    ],
)
def test_suppressed_tokens(tmp_path: Path, generation: Any, config: Any, suppress: Any) -> None:
    assert read_tokens(folder_with(tmp_path, generation=generation), config, SHAPE).suppress == suppress


@pytest.mark.parametrize(
    ("heads", "expected"),
    [
        ([[4, 1], [2, 3], [4, 1]], [(2, 3), (4, 1)]),
        (None, [(layer, head) for layer in (2, 3, 4) for head in range(4)]),
        ([], [(layer, head) for layer in (2, 3, 4) for head in range(4)]),
    ],
)
def test_alignment_heads_default_to_the_upper_half(tmp_path: Path, heads: Any, expected: Any) -> None:
    assert read_alignment_heads(folder_with(tmp_path, generation={"alignment_heads": heads}), SHAPE) == expected


@pytest.mark.parametrize("heads", [[[5, 0]], [[0, 4]], [[-1, 0]], [[0]], [0], {"a": 1}, [[True, 0]], "x"])
def test_alignment_heads_that_do_not_exist(tmp_path: Path, heads: Any) -> None:
    with pytest.raises(ArtifactError, match="alignment_heads"):
        read_alignment_heads(folder_with(tmp_path, generation={"alignment_heads": heads}), SHAPE)


BASIC = {"<|endoftext|>": 5, "<|startoftranscript|>": 6, "<|en|>": 7}


@pytest.mark.parametrize(
    ("names", "generation", "config", "words", "complaint"),
    [
        ({"<|endoftext|>": 5}, None, {}, None, "no <\\|startoftranscript\\|>"),
        ({"<|startoftranscript|>": 5}, None, {}, None, "no <\\|endoftext\\|>"),
        ({"<|endoftext|>": 5, "<|startoftranscript|>": 6}, None, {}, None, "no languages"),
        ({**BASIC, "x": 51_865}, None, {}, None, "'x' has the id 51865"),
        ({**BASIC, "x": -1}, None, {}, None, "'x' has the id -1"),
        (BASIC, None, {"decoder_start_token_id": 7}, None, "decoder_start_token_id is 7"),
        (BASIC, {"eos_token_id": 6}, {}, None, "eos_token_id is 6"),
        (BASIC, {"suppress_tokens": [51_865]}, {}, None, "suppress_tokens: expected"),
        (BASIC, {"begin_suppress_tokens": "none"}, {}, None, "begin_suppress_tokens: expected"),
        (BASIC, {"max_initial_timestamp_index": -1}, {}, None, "max_initial_timestamp_index"),
        (BASIC, {"is_multilingual": True, "lang_to_id": {"<|en|>": 99_999}}, {}, None, "lang_to_id: <\\|en\\|>"),
        (BASIC, None, {}, ["a"], "model.vocab"),
        (BASIC, None, {}, {"a": "0"}, "'a' has the id '0'"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, names: Any, generation: Any, config: Any, words: Any, complaint: str
) -> None:
    with pytest.raises(ArtifactError, match=complaint):
        read_tokens(folder_with(tmp_path, names, generation, words), config, SHAPE)
