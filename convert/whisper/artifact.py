"""The files of a Whisper artifact, and what its manifest says: docs/convert-whisper.md describes both."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from agent.engines.onnx.whisper.artifact import FILTERS_FILE, SPEC_FILE, decode_spec
from agent.engines.onnx.whisper.log_mel import FRAMES_PER_SECOND, HOP_SAMPLES
from agent.engines.onnx.whisper.mel_filters import FFT_SAMPLES, SAMPLE_RATE_HZ, mel_filters
from agent.errors import ArtifactError
from agent.store.manifest import TOKENS_PER_1K, MemoryNeed
from convert.checkpoint import Checkpoint
from convert.config import Config
from convert.onnx.graph import Graph
from convert.onnx.layers import Precision
from convert.whisper.decoder import decoder_graph
from convert.whisper.encoder import encoder_graph
from convert.whisper.shape import WhisperShape, WhisperTensors, check_tensors, expected_tensors, read_shape
from convert.whisper.tokens import GENERATION_FILE, TOKENIZER_FILE, WhisperTokens, read_alignment_heads, read_tokens

PREPROCESSOR_FILE: Final = "preprocessor_config.json"
COPIED_FILES: Final = ("config.json", GENERATION_FILE, PREPROCESSOR_FILE, TOKENIZER_FILE)
INLINE_LIMIT_BYTES: Final = 64 * 1024
"""Weights are beside the graph: ONNX Runtime maps that file, so they are no memory that a board could run out of."""
ALLOCATOR_FACTOR: Final = 2
"""What the allocator takes for the activations: 1.0 to 2.2 times measured for tiny, 0.8 to 1.4 for large-v3-turbo."""

Progress = Callable[[int, int], None]
"""Called with the bytes written and those there will be."""


@dataclass(frozen=True)
class WhisperModel:
    """A checkpoint that has all it needs, with its parts read but for the weights."""

    checkpoint: Checkpoint
    shape: WhisperShape
    tokens: WhisperTokens
    alignment_heads: list[tuple[int, int]]
    median_filter_width: int

    @property
    def parameters(self) -> int:
        """How many numbers the tensors hold; tied ones count once."""
        expected = expected_tensors(WhisperTensors(self.checkpoint), self.shape)
        return sum(int(np.prod(shape)) for shape in expected.values())


def read_model(checkpoint: Checkpoint) -> WhisperModel:
    """Check everything that can be checked without reading the weights. Raises `ArtifactError`."""
    folder = checkpoint.folder
    shape = read_shape(checkpoint.config)
    check_tensors(checkpoint, shape)
    _check_preprocessor(folder, shape)
    model = WhisperModel(
        checkpoint=checkpoint,
        shape=shape,
        tokens=read_tokens(folder, checkpoint.config.values, shape),
        alignment_heads=read_alignment_heads(folder, shape),
        median_filter_width=checkpoint.config.integer("median_filter_width", 7),
    )
    decode_spec(spec_json(model))  # what the engine would refuse is refused here
    return model


class WhisperGraphs:
    """Both graphs of one precision; no weight is read before they are written."""

    def __init__(self, model: WhisperModel, precision: Precision) -> None:
        self.model = model
        self.precision = precision
        self._graphs: dict[str, Graph] = {
            "encoder.onnx": encoder_graph(model.checkpoint, model.shape, precision),
            "decoder.onnx": decoder_graph(model.checkpoint, model.shape, precision, model.alignment_heads),
        }

    @property
    def weight_bytes(self) -> int:
        return sum(graph.weight_bytes for graph in self._graphs.values())

    def write(self, folder: Path, progress: Progress) -> None:
        """All files of the artifact but the manifest. Raises `ArtifactError` for weights that are not finite."""
        done = 0
        for name, graph in self._graphs.items():
            graph.save(folder / name, inline_limit_bytes=INLINE_LIMIT_BYTES)
            done += graph.weight_bytes
            progress(done, self.weight_bytes)
        (folder / SPEC_FILE).write_bytes(spec_json(self.model))
        (folder / FILTERS_FILE).write_bytes(_npy(mel_filters(self.model.shape.n_mels)))
        source = self.model.checkpoint.folder
        for name in COPIED_FILES:
            if (source / name).is_file():
                shutil.copyfile(source / name, folder / name)

    def memory(self, folder: Path) -> MemoryNeed:
        """What running the artifact written to `folder` takes.

        `weights` is the size of the graphs. `per_1k_context` is the decoder's own keys and values of 1,024 positions:
        float16 in fp16 artifacts, else float32, for the graph fixes their type. `compute` is one window of full length:
        the keys and values that the encoder hands to the decoder, and the activations.
        """
        shape = self.model.shape
        item_bytes = 2 if self.precision == "fp16" else 4
        position_bytes = 2 * shape.decoder_layers * shape.d_model * item_bytes
        return MemoryNeed(
            weights=sum(path.stat().st_size for path in folder.iterdir() if ".onnx" in path.suffixes),
            per_1k_context=TOKENS_PER_1K * position_bytes,
            compute=shape.max_source_positions * position_bytes + activation_bytes(shape),
        )


def activation_bytes(shape: WhisperShape) -> int:
    """The encoder's largest set of live activations for a full window, in float32: whichever of its two halves is more.

    The stem keeps the output of a convolution and of its activation, over all frames. A layer keeps the residual, Q, K,
    V (joined and apart), and attention's copies of them; or the residual and the feed-forward, before and after its
    activation.
    """
    frames, positions, d = shape.max_frames, shape.max_source_positions, shape.d_model
    stem = 2 * frames * d
    attention = positions * d * 12
    feed_forward = positions * (2 * d + 2 * shape.encoder_ffn)
    return 4 * ALLOCATOR_FACTOR * max(stem, attention, feed_forward)


def spec_json(model: WhisperModel) -> bytes:
    """whisper.json, always the same bytes for the same model."""
    shape, tokens = model.shape, model.tokens
    spec = {
        "n_mels": shape.n_mels,
        "d_model": shape.d_model,
        "encoder_layers": shape.encoder_layers,
        "decoder_layers": shape.decoder_layers,
        "decoder_heads": shape.decoder_heads,
        "vocab_size": shape.vocab_size,
        "max_source_positions": shape.max_source_positions,
        "max_target_positions": shape.max_target_positions,
        "multilingual": tokens.multilingual,
        "tokens": tokens.special,
        "languages": tokens.languages,
        "suppress_tokens": tokens.suppress,
        "begin_suppress_tokens": tokens.begin_suppress,
        "max_initial_timestamp_index": tokens.max_initial_timestamp_index,
        "alignment_heads": model.alignment_heads,
        "median_filter_width": model.median_filter_width,
    }
    return json.dumps(spec, indent=1, ensure_ascii=True).encode() + b"\n"


def manifest_fields(model: WhisperModel, precision: Precision) -> dict[str, Any]:
    """What a manifest says of every artifact of this model; name, memory and quality are the caller's."""
    shape = model.shape
    return {
        "task": "transcribe",
        "format": "onnx",
        "context": shape.max_target_positions,
        "quantization": precision,
        "metadata": {
            "architecture": "whisper",
            "layers": shape.encoder_layers + shape.decoder_layers,
            "vocab_tokens": shape.vocab_size,
            "mel_bins": shape.n_mels,
            "parameters": model.parameters,
            "multilingual": model.tokens.multilingual,
            "window_s": shape.max_frames / FRAMES_PER_SECOND,
            "graphs": {"encoder": "encoder.onnx", "decoder": "decoder.onnx"},
        },
    }


def _check_preprocessor(folder: Path, shape: WhisperShape) -> None:
    """The engine computes Whisper's own features: refuse a model that was trained on others."""
    if not (folder / PREPROCESSOR_FILE).is_file():
        return
    config = Config(folder / PREPROCESSOR_FILE)
    for key, expected in (
        ("feature_size", shape.n_mels),
        ("sampling_rate", SAMPLE_RATE_HZ),
        ("n_fft", FFT_SAMPLES),
        ("hop_length", HOP_SAMPLES),
    ):
        found = config.integer(key, expected)
        if found != expected:
            raise ArtifactError(
                f"{PREPROCESSOR_FILE}: {key} is {found}, and this model's features need {expected}.",
                hint="The files are not of the same model, or it is no standard Whisper.",
                param=key,
            )


def _npy(filters: np.ndarray[Any, np.dtype[np.float32]]) -> bytes:
    """float32 [n_mels, 201] in numpy's format 1.0, little-endian on every machine."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, filters.astype("<f4"), version=(1, 0), allow_pickle=False)
    return buffer.getvalue()
