"""A Whisper folder as people download it (onnx-community, Optimum): where its graphs are, and what its files say.

Every file is anyone's. What comes out is checked as whisper.json is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from agent.engines.onnx.whisper.artifact import WhisperSpec, decode_spec
from agent.engines.onnx.whisper.special_tokens import (
    LANGUAGE,
    MAX_INITIAL_TIMESTAMP_INDEX,
    MULTILINGUAL_VOCABULARY,
    special_tokens,
)
from agent.errors import ArtifactError

CONFIG_FILE: Final = "config.json"
GENERATION_FILE: Final = "generation_config.json"
FEATURES_FILE: Final = "preprocessor_config.json"
TOKENIZER_FILE: Final = "tokenizer.json"
MANIFEST_FILE: Final = "manifest.json"
ENCODER_GRAPH: Final = "encoder_model"
DECODER_GRAPH: Final = "decoder_model_merged"
LIMIT_BYTES: Final = 64 * 1024 * 1024
"""A tokenizer.json of 51,866 tokens has 4 MB."""

# Suffixes of a graph's name, the preferred first: INT8 is what a small CPU runs fastest. As agent/store has them.
_PRECISIONS: Final = ("_quantized", "_int8", "", "_fp16")
_FOLDERS: Final = ("onnx/", "")
_HINT: Final = "Import the whole repository, or convert the checkpoint with `edge-convert whisper`."

Values = Mapping[str, Any]


@dataclass(frozen=True)
class ImportedGraphs:
    encoder: Path
    decoder: Path


def find_graphs(folder: Path) -> ImportedGraphs:
    """The pair that the manifest of the import names; in a folder without one, INT8 before others.

    Raises `ArtifactError`.
    """
    manifest = _read(folder, MANIFEST_FILE) if (folder / MANIFEST_FILE).is_file() else {}
    metadata = manifest.get("metadata")
    named = metadata.get("graphs") if isinstance(metadata, dict) else None
    pairs = [(named.get(ENCODER_GRAPH), named.get(DECODER_GRAPH))] if isinstance(named, dict) else []
    pairs += [
        (f"{place}{ENCODER_GRAPH}{suffix}.onnx", f"{place}{DECODER_GRAPH}{suffix}.onnx")
        for suffix in _PRECISIONS
        for place in _FOLDERS
    ]
    for pair in pairs:
        paths = [folder / name for name in pair if isinstance(name, str) and ".." not in Path(name).parts]
        if len(paths) == 2 and all(path.is_file() and path.is_relative_to(folder) for path in paths):
            return ImportedGraphs(*paths)
    raise ArtifactError(
        f"{folder.name} has neither whisper.json nor onnx/{ENCODER_GRAPH}_quantized.onnx and "
        f"onnx/{DECODER_GRAPH}_quantized.onnx, nor another precision of them.",
        hint=_HINT,
    )


def read_imported_spec(folder: Path) -> WhisperSpec:
    """From config.json, generation_config.json, preprocessor_config.json and tokenizer.json.

    There are no alignment heads: these graphs do not give the attention. Raises `ArtifactError` naming file and key.
    """
    config = _read(folder, CONFIG_FILE)
    generation = _read(folder, GENERATION_FILE) if (folder / GENERATION_FILE).is_file() else {}
    features = _read(folder, FEATURES_FILE) if (folder / FEATURES_FILE).is_file() else {}
    settings = {**config, **{key: value for key, value in generation.items() if value is not None}}
    ids = _vocabulary(_read(folder, TOKENIZER_FILE))
    vocab_size = config.get("vocab_size")
    multilingual = settings.get("is_multilingual")
    if not isinstance(multilingual, bool):
        multilingual = isinstance(vocab_size, int) and vocab_size >= MULTILINGUAL_VOCABULARY
    said = {
        "n_mels": features.get("feature_size", config.get("num_mel_bins", 80)),
        "d_model": config.get("d_model"),
        "encoder_layers": config.get("encoder_layers"),
        "decoder_layers": config.get("decoder_layers"),
        "decoder_heads": config.get("decoder_attention_heads"),
        "vocab_size": vocab_size,
        "max_source_positions": config.get("max_source_positions"),
        "max_target_positions": config.get("max_target_positions"),
        "multilingual": multilingual,
        "tokens": special_tokens(ids, vocab_size if isinstance(vocab_size, int) else None),
        "languages": _languages(ids, settings) if multilingual else {},
        "suppress_tokens": settings.get("suppress_tokens") or [],
        "begin_suppress_tokens": settings.get("begin_suppress_tokens") or [],
        "max_initial_timestamp_index": settings.get("max_initial_timestamp_index", MAX_INITIAL_TIMESTAMP_INDEX),
        "alignment_heads": [],
        "median_filter_width": config.get("median_filter_width", 7),
    }
    return decode_spec(msgspec.json.encode(said), file=CONFIG_FILE)


def _languages(ids: Mapping[str, int], settings: Values) -> dict[str, int]:
    """`lang_to_id` of generation_config.json; else every token between the start and the tasks that looks like one."""
    listed = settings.get("lang_to_id")
    if isinstance(listed, dict):
        found = {match[1]: token for name, token in listed.items() if (match := LANGUAGE.fullmatch(str(name)))}
    else:
        found = {match[1]: token for name, token in ids.items() if (match := LANGUAGE.fullmatch(name))}
    return dict(sorted(found.items()))


def _vocabulary(tokenizer: Values) -> dict[str, int]:
    model = tokenizer.get("model")
    words = model.get("vocab") if isinstance(model, dict) else None
    added = tokenizer.get("added_tokens", [])
    if not isinstance(words, dict) or not isinstance(added, list):
        raise ArtifactError(f"{TOKENIZER_FILE}: model.vocab: expected an object of tokens.", hint=_HINT)
    ids = {name: index for name, index in words.items() if type(index) is int}
    for entry in added:
        if isinstance(entry, dict) and type(entry.get("id")) is int and isinstance(entry.get("content"), str):
            ids[entry["content"]] = entry["id"]
    return ids


def _read(folder: Path, name: str) -> dict[str, Any]:
    try:
        with (folder / name).open("rb") as file:
            data = file.read(LIMIT_BYTES + 1)
    except OSError as error:
        reason = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        raise ArtifactError(f"{name} {reason}.", hint=_HINT) from None
    if len(data) > LIMIT_BYTES:
        raise ArtifactError(f"{name} is larger than {LIMIT_BYTES} bytes.")
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ArtifactError(f"{name} is not a JSON object: {error}.", hint=_HINT) from None
