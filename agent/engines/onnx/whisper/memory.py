"""What a Whisper takes in memory, from the sizes of its files and the shape of its model, before it is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from agent.engines.onnx.whisper.artifact import WhisperSpec, read_spec
from agent.engines.onnx.whisper.decoder import DECODER_FILE
from agent.engines.onnx.whisper.encoder import ENCODER_FILE
from agent.engines.onnx.whisper.imported import find_graphs, read_imported_spec
from agent.engines.onnx.whisper.model import is_artifact
from agent.engines.onnx.whisper.request import MOST_SEQUENCES
from agent.errors import EdgeAgentError, ModelLoadError
from agent.runtime.wire.memory import Memory

MIB: Final = 1024 * 1024
FLOAT_BYTES: Final = 4
OVERHEAD_BYTES: Final = 76 * MIB
"""Python, numpy, ONNX Runtime and two sessions, measured on x86-64 Linux."""
VOCABULARY_BYTES: Final = 360
"""Of a token in the tokenizer, measured."""
FEATURES_BYTES: Final = 8 * MIB
"""What the features of 30 s take while they are made."""
LAYER_COPIES: Final = 20
"""What the encoder's arena grows to, in multiples of [positions, d_model]; measured on three shapes, within 5%."""
ATTENTION_COPIES: Final = 3
"""The attention of the alignment heads as it is made, joined and read."""


def predict_memory(folder: Path) -> Memory:
    """At its fullest: a window of 30 s, `MOST_SEQUENCES` texts side by side, word timestamps.

    Weights are as large as the files that hold them. A text has half of the context at most. When texts are decoded,
    the encoder has given its memory back. Raises `ModelLoadError` where there is nothing to load.
    """
    try:
        spec = read_spec(folder) if is_artifact(folder) else read_imported_spec(folder)
        graphs = _graphs(folder)
    except EdgeAgentError as error:
        raise ModelLoadError(error.message, hint=error.hint, param=error.param) from None
    texts_bytes = _kv_bytes(spec, MOST_SEQUENCES * spec.max_target_positions // 2)
    windows = 1 if is_artifact(folder) else MOST_SEQUENCES
    return Memory(
        weights_bytes=sum(file.stat().st_size for graph in graphs for file in graph.parent.glob(f"{graph.stem}.*")),
        kv_bytes=texts_bytes + _kv_bytes(spec, windows * spec.max_source_positions),
        compute_bytes=max(_encoder_bytes(spec), _attention_bytes(spec) + texts_bytes) - texts_bytes,
        overhead_bytes=OVERHEAD_BYTES + spec.vocab_size * VOCABULARY_BYTES,
    )


def _graphs(folder: Path) -> list[Path]:
    if is_artifact(folder):
        return [folder / ENCODER_FILE, folder / DECODER_FILE]
    found = find_graphs(folder)
    return [found.encoder, found.decoder]


def _kv_bytes(spec: WhisperSpec, positions: int) -> int:
    return 2 * spec.decoder_layers * spec.d_model * positions * FLOAT_BYTES


def _encoder_bytes(spec: WhisperSpec) -> int:
    return FEATURES_BYTES + LAYER_COPIES * spec.max_source_positions * spec.d_model * FLOAT_BYTES


def _attention_bytes(spec: WhisperSpec) -> int:
    text = spec.max_target_positions // 2
    return ATTENTION_COPIES * len(spec.alignment_heads) * text * spec.max_source_positions * FLOAT_BYTES
