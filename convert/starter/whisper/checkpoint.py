"""The trained network in Hugging Face's layout, which `edge-convert whisper` reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from tokenizers import Tokenizer
from transformers import WhisperForConditionalGeneration

from convert.starter.whisper.model import MELS
from convert.starter.whisper.tokens import END, ENGLISH, NO_SPEECH, NO_TIMESTAMPS, SPACE, SPECIAL, START

CONTEXT: Final = 448


def save(whisper: WhisperForConditionalGeneration, tokenizer: Tokenizer, folder: Path) -> None:
    """Write the folder; files that are there are replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    whisper.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    for name, content in {
        "generation_config.json": generation_config(tokenizer),
        "preprocessor_config.json": {
            "feature_extractor_type": "WhisperFeatureExtractor",
            "feature_size": MELS,
            "sampling_rate": 16_000,
            "n_fft": 400,
            "hop_length": 160,
            "chunk_length": 30,
        },
    }.items():
        (folder / name).write_text(json.dumps(content, indent=1), "utf-8")


def generation_config(tokenizer: Tokenizer) -> dict[str, Any]:
    """A transcript may end at once, so that silence has a transcript: the end is not suppressed at the beginning."""
    ids = tokenizer.token_to_id
    end = ids(END)
    never = [name for name in SPECIAL[1:8] if name != NO_SPEECH]
    return {
        "begin_suppress_tokens": [ids(SPACE)],
        "suppress_tokens": [ids(name) for name in never],
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
        "decoder_start_token_id": ids(START),
        "is_multilingual": True,
        "lang_to_id": {ENGLISH: ids(ENGLISH)},
        "task_to_id": {"transcribe": ids("<|transcribe|>"), "translate": ids("<|translate|>")},
        "no_timestamps_token_id": ids(NO_TIMESTAMPS),
        "prev_sot_token_id": ids("<|startofprev|>"),
        "max_initial_timestamp_index": 50,
        "max_length": CONTEXT,
        "return_timestamps": False,
    }
