"""The special tokens of Whisper's vocabularies: how tokenizer.json spells them. None has the same id in all models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

SPELLINGS: Final[dict[str, tuple[str, ...]]] = {
    "eot": ("<|endoftext|>",),
    "sot": ("<|startoftranscript|>",),
    "translate": ("<|translate|>",),
    "transcribe": ("<|transcribe|>",),
    "sot_lm": ("<|startoflm|>",),
    "sot_prev": ("<|startofprev|>",),
    # transformers called it so before large-v3.
    "no_speech": ("<|nospeech|>", "<|nocaptions|>"),
    "no_timestamps": ("<|notimestamps|>",),
    "timestamp_begin": ("<|0.00|>",),
}
"""By whisper.json's names."""
LANGUAGE: Final = re.compile(r"<\|([a-z]{2,3})\|>")
MULTILINGUAL_VOCABULARY: Final = 51_865
"""openai/whisper tells its multilingual models by a vocabulary of at least this size (`Whisper.is_multilingual`)."""
MAX_INITIAL_TIMESTAMP_INDEX: Final = 50
"""1 s in steps of 20 ms: `DecodingOptions.max_initial_timestamp` of openai/whisper."""


def special_tokens(ids: Mapping[str, int], vocab_size: int | None) -> dict[str, int | None]:
    """By whisper.json's names; None for what the vocabulary lacks. `vocab_size` None where it is not known."""
    found = {name: next((ids[one] for one in spelled if one in ids), None) for name, spelled in SPELLINGS.items()}
    if found["timestamp_begin"] is None and found["no_timestamps"] is not None:
        # Tokenizers of the first models leave the timestamps out; they follow this token in every vocabulary.
        after = found["no_timestamps"] + 1
        found["timestamp_begin"] = after if vocab_size is not None and after < vocab_size else None
    return found
