"""A `WhisperSpec` for tests: small, and right unless a test makes it wrong."""

from __future__ import annotations

import json
from typing import Any

from agent.engines.onnx.whisper.artifact import WhisperSpec, decode_spec

SPEC: dict[str, Any] = {
    "n_mels": 80,
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "decoder_heads": 2,
    "vocab_size": 64,
    "max_source_positions": 50,
    "max_target_positions": 24,
    "multilingual": True,
    "tokens": {
        "eot": 40,
        "sot": 41,
        "translate": 44,
        "transcribe": 45,
        "sot_lm": 46,
        "sot_prev": 47,
        "no_speech": 48,
        "no_timestamps": 49,
        "timestamp_begin": 50,
    },
    "languages": {"en": 42, "de": 43},
    "suppress_tokens": [1, 2],
    "begin_suppress_tokens": [3, 40],
    "max_initial_timestamp_index": 4,
    "alignment_heads": [[0, 1], [1, 0]],
    "median_filter_width": 7,
}


def make_spec(**changes: Any) -> WhisperSpec:
    return decode_spec(json.dumps(SPEC | changes).encode())
