"""What a decoder must know of a Whisper's vocabulary: the ids of its special tokens, and what it must never say.

Ids come from tokenizer.json and generation_config.json; none is a constant, because English-only models, large-v3 and
fine-tuned ones each number them differently.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agent.engines.onnx.whisper.special_tokens import (
    LANGUAGE,
    MAX_INITIAL_TIMESTAMP_INDEX,
    MULTILINGUAL_VOCABULARY,
    SPELLINGS,
    special_tokens,
)
from agent.errors import ArtifactError
from convert.config import read_json
from convert.whisper.shape import WhisperShape

TOKENIZER_FILE: Final = "tokenizer.json"
GENERATION_FILE: Final = "generation_config.json"


@dataclass(frozen=True)
class WhisperTokens:
    """`special` maps whisper.json's names to ids, or None for what the vocabulary lacks; `languages` codes to ids."""

    special: dict[str, int | None]
    languages: dict[str, int]
    multilingual: bool
    suppress: tuple[int, ...]
    begin_suppress: tuple[int, ...]
    max_initial_timestamp_index: int


def read_tokens(folder: Path, config: Mapping[str, Any], shape: WhisperShape) -> WhisperTokens:
    """From the files in `folder`. `config` is its config.json: it counts where generation_config.json says nothing.

    Raises `ArtifactError` where the tokenizer is missing, lacks the start or the end of a transcript, or is not the
    model's.
    """
    if not (folder / TOKENIZER_FILE).is_file():
        raise ArtifactError(
            f"{TOKENIZER_FILE} is missing from {folder}.",
            hint="Download the whole repository; transformers can save older tokenizers in this format.",
        )
    ids = _vocabulary(read_json(folder / TOKENIZER_FILE), shape.vocab_size)
    settings = {**config, **generation_settings(folder)}
    special = special_tokens(ids, shape.vocab_size)
    for name in ("eot", "sot"):
        if special[name] is None:
            raise ArtifactError(
                f"{TOKENIZER_FILE} has no {SPELLINGS[name][0]}: it is not the tokenizer of a Whisper model.",
                hint="Download the checkpoint again.",
            )
    _check_agreement(special, settings)
    languages = _languages(ids, settings, shape.vocab_size)
    multilingual = _multilingual(settings, shape.vocab_size)
    if multilingual and not languages:
        raise ArtifactError(
            f"The model is multilingual, but {TOKENIZER_FILE} has no languages such as <|en|>.",
            hint=f"Set is_multilingual to false in {GENERATION_FILE}, or take the right tokenizer.",
        )
    return WhisperTokens(
        special=special,
        languages=languages if multilingual else {},
        multilingual=multilingual,
        suppress=_token_list(settings, "suppress_tokens", shape.vocab_size),
        begin_suppress=_token_list(settings, "begin_suppress_tokens", shape.vocab_size),
        max_initial_timestamp_index=_index(settings, "max_initial_timestamp_index", MAX_INITIAL_TIMESTAMP_INDEX),
    )


def read_alignment_heads(folder: Path, shape: WhisperShape) -> list[tuple[int, int]]:
    """(layer, head) of the decoder's cross-attention that follows the words, sorted.

    From generation_config.json; where it names none, all heads of the upper half of the layers, as openai/whisper has
    it. Raises `ArtifactError` for a head that does not exist.
    """
    given = generation_settings(folder).get("alignment_heads") or []
    heads = set()
    for entry in given if isinstance(given, list) else [given]:
        good = isinstance(entry, list) and len(entry) == 2 and all(type(n) is int for n in entry)
        if not good or not (0 <= entry[0] < shape.decoder_layers and 0 <= entry[1] < shape.decoder_heads):
            raise ArtifactError(
                f"{GENERATION_FILE}: alignment_heads: {ascii(entry)[:60]} is not a [layer, head] of a decoder with "
                f"{shape.decoder_layers} layers of {shape.decoder_heads} heads.",
                hint="Remove alignment_heads: a default is used then.",
                param="alignment_heads",
            )
        heads.add((entry[0], entry[1]))
    upper = range(shape.decoder_layers // 2, shape.decoder_layers)
    return sorted(heads) or [(layer, head) for layer in upper for head in range(shape.decoder_heads)]


def generation_settings(folder: Path) -> dict[str, Any]:
    """generation_config.json without what is null; empty where the file is missing, as in the oldest checkpoints."""
    path = folder / GENERATION_FILE
    return {key: value for key, value in read_json(path).items() if value is not None} if path.is_file() else {}


def _vocabulary(tokenizer: Mapping[str, Any], vocab_size: int) -> dict[str, int]:
    """Id of every token, those added later included."""
    model = tokenizer.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    added = tokenizer.get("added_tokens", [])
    if not isinstance(vocabulary, dict) or not isinstance(added, list):
        raise ArtifactError(
            f"{TOKENIZER_FILE}: model.vocab: expected an object of tokens.", hint="Download the checkpoint again."
        )
    ids = dict(vocabulary)
    for entry in added:
        if not isinstance(entry, dict) or not isinstance(entry.get("content"), str):
            raise ArtifactError(f"{TOKENIZER_FILE}: added_tokens: {ascii(entry)[:80]} is not a token.")
        ids[entry["content"]] = entry.get("id")
    for token, index in ids.items():
        if type(index) is not int or not 0 <= index < vocab_size:
            raise ArtifactError(
                f"{TOKENIZER_FILE}: the token {ascii(token)[:60]} has the id {ascii(index)[:20]}, and the model's "
                f"vocabulary ends at {vocab_size - 1}.",
                hint="The tokenizer is not the model's.",
            )
    return ids


def _check_agreement(special: Mapping[str, int | None], settings: Mapping[str, Any]) -> None:
    """An English-only tokenizer beside multilingual weights differs by one in every special id: catch it here."""
    for key, name in (("decoder_start_token_id", "sot"), ("eos_token_id", "eot")):
        if type(settings.get(key)) is int and settings[key] != special[name]:
            raise ArtifactError(
                f"{SPELLINGS[name][0]} is {special[name]} in {TOKENIZER_FILE}, but {key} is {settings[key]}.",
                hint="The tokenizer is not the model's.",
                param=key,
            )


def _languages(ids: Mapping[str, int], settings: Mapping[str, Any], vocab_size: int) -> dict[str, int]:
    """By code, in the order of their ids."""
    named = settings.get("lang_to_id")
    found = named if isinstance(named, dict) and named else ids
    languages = {}
    for token, index in found.items():
        if match := LANGUAGE.fullmatch(token):
            if type(index) is not int or not 0 <= index < vocab_size:
                raise ArtifactError(
                    f"{GENERATION_FILE}: lang_to_id: {token} has the id {ascii(index)[:20]}.", param="lang_to_id"
                )
            languages[match[1]] = index
    return dict(sorted(languages.items(), key=lambda pair: pair[1]))


def _multilingual(settings: Mapping[str, Any], vocab_size: int) -> bool:
    given = settings.get("is_multilingual")
    if isinstance(given, bool):
        return given
    return bool(settings.get("lang_to_id")) or vocab_size >= MULTILINGUAL_VOCABULARY


def _token_list(settings: Mapping[str, Any], key: str, vocab_size: int) -> tuple[int, ...]:
    given = settings.get(key)
    if given is None:
        return ()
    if not isinstance(given, list) or any(type(token) is not int or not 0 <= token < vocab_size for token in given):
        raise ArtifactError(
            f"{key}: expected a list of token ids from 0 to {vocab_size - 1}, got {ascii(given)[:80]}.", param=key
        )
    return tuple(sorted(set(given)))


def _index(settings: Mapping[str, Any], key: str, default: int) -> int:
    given = settings.get(key, default)
    if type(given) is not int or given < 0:
        raise ArtifactError(f"{key}: expected a whole number of timestamps, got {ascii(given)[:40]}.", param=key)
    return given
