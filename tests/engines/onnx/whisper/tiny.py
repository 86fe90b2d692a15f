"""A Whisper of a few thousand random numbers as an artifact, made by the converter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from convert.onnx.layers import Precision
from tests.convert.whisper.onnx_whisper import convert
from tests.convert.whisper.small_whisper import FIRST_SPECIAL, config, generation_config, tokenizer, write_whisper

EOT, SOT, EN, DE, TRANSLATE, TRANSCRIBE = range(FIRST_SPECIAL, FIRST_SPECIAL + 6)
NO_TIMESTAMPS, TIMESTAMP_BEGIN = FIRST_SPECIAL + 9, FIRST_SPECIAL + 10
CAPACITY = 24
LETTERS = "\u0120abcdefghijklmnopqrstuvwxyz0123456789.,!\u00c3\u00a9"
"""As byte-level BPE writes them: the first is a space, the last two are the bytes of an é."""


def write_artifact(folder: Path, precision: Precision = "fp32", **generation: Any) -> Path:
    """The artifact's files in `folder / precision`; `generation` changes generation_config.json."""
    source = write_whisper(
        folder / "source" / precision,
        settings=config(num_mel_bins=80, max_source_positions=50, max_target_positions=CAPACITY),
        files={"tokenizer.json": letters(), "generation_config.json": generation_config(**generation)},
    )
    return convert(source, folder / precision, precision)


def letters() -> dict[str, Any]:
    """A tokenizer.json in which a letter is a token; the rest of the ids are filled up."""
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    words = [*LETTERS, *(f"word{index}" for index in range(len(LETTERS), FIRST_SPECIAL))]
    vocabulary = {word: index for index, word in enumerate(words)}
    return tokenizer(pre_tokenizer=level, decoder=level, model={"type": "BPE", "vocab": vocabulary, "merges": []})
