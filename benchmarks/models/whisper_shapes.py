"""Hugging Face folders with published Whisper shapes, random float16 weights and a generated tokenizer.

How long a conversion takes, what memory it needs and how fast the result is depends on the shape, not on what the model
learned: such a folder stands in for the published checkpoint wherever only that is measured, and needs no download.

    python -m benchmarks.models.whisper_shapes tiny DIR

A folder is a function of shape and seed. Memory stays bounded: tensors are drawn and written a few rows at a time.
"""

from __future__ import annotations

import argparse
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class WhisperShape:
    """Heads are 64 wide and the feed-forward four times the model, in all of them."""

    d_model: int
    encoder_layers: int
    decoder_layers: int
    vocabulary: int
    mels: int = 80
    alignment_heads: tuple[tuple[int, int], ...] | None = None


# Sources: config.json of openai/whisper-{tiny,tiny.en,base,small,medium,large-v3,large-v3-turbo} and
# distil-whisper/distil-large-v3; the alignment heads are `_ALIGNMENT_HEADS` of openai/whisper's whisper/__init__.py.
# `nano` is ours, for tests.
SHAPES: dict[str, WhisperShape] = {
    "tiny": WhisperShape(384, 4, 4, 51_865, alignment_heads=((2, 2), (3, 0), (3, 2), (3, 3), (3, 4), (3, 5))),
    "tiny.en": WhisperShape(
        384, 4, 4, 51_864,
        alignment_heads=((1, 0), (2, 0), (2, 5), (3, 0), (3, 1), (3, 2), (3, 3), (3, 4)),
    ),
    "base": WhisperShape(
        512, 6, 6, 51_865,
        alignment_heads=((3, 1), (4, 2), (4, 3), (4, 7), (5, 1), (5, 2), (5, 4), (5, 6)),
    ),
    "small": WhisperShape(
        768, 12, 12, 51_865,
        alignment_heads=((5, 3), (5, 9), (8, 0), (8, 4), (8, 7), (8, 8), (9, 0), (9, 7), (9, 9), (10, 5)),
    ),
    "medium": WhisperShape(
        1024, 24, 24, 51_865,
        alignment_heads=((13, 15), (15, 4), (15, 15), (16, 1), (20, 0), (23, 4)),
    ),
    "large-v3": WhisperShape(
        1280, 32, 32, 51_866, 128,
        ((7, 0), (10, 17), (12, 18), (13, 12), (16, 1), (17, 14), (19, 11), (21, 4), (24, 1), (25, 6)),
    ),
    "large-v3-turbo": WhisperShape(
        1280, 32, 4, 51_866, 128, ((2, 4), (2, 11), (3, 3), (3, 6), (3, 11), (3, 14)),
    ),
    "distil-large-v3": WhisperShape(1280, 32, 2, 51_866, 128),
    "nano": WhisperShape(64, 2, 2, 1_000, 80),
}  # fmt: skip

SOURCE_POSITIONS = 1500
TARGET_POSITIONS = 448
TIMESTAMPS = 1501
_CODES = (
    "en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th ur hr bg lt la mi ml "
    "cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km sn yo so af oc ka be tg sd gu am "
    "yi lo uz fo ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su yue"
)
LANGUAGES = _CODES.split()
"""In the order of their ids; `yue` came with large-v3."""

_CHUNK_VALUES = 2**20
_HEADS_WIDTH = 64
_SPREAD = 0.02


def write_checkpoint(shape: WhisperShape, folder: Path, *, seed: int = 0) -> Path:
    """config.json, model.safetensors (float16), tokenizer.json and the two configurations beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = Vocabulary(shape.vocabulary)
    files: dict[str, Any] = {
        "config.json": _config(shape, vocabulary),
        "generation_config.json": _generation_config(shape, vocabulary),
        "preprocessor_config.json": {
            "feature_extractor_type": "WhisperFeatureExtractor",
            "feature_size": shape.mels,
            "hop_length": 160,
            "n_fft": 400,
            "sampling_rate": 16_000,
        },
        "tokenizer.json": vocabulary.tokenizer(),
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    _write_weights(shape, folder / "model.safetensors", seed)
    return folder


def tensors(shape: WhisperShape) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of every tensor, as transformers saves `WhisperForConditionalGeneration`."""
    d = shape.d_model
    yield "model.encoder.conv1.weight", (d, shape.mels, 3)
    yield "model.encoder.conv1.bias", (d,)
    yield "model.encoder.conv2.weight", (d, d, 3)
    yield "model.encoder.conv2.bias", (d,)
    yield "model.encoder.embed_positions.weight", (SOURCE_POSITIONS, d)
    yield "model.decoder.embed_tokens.weight", (shape.vocabulary, d)
    yield "model.decoder.embed_positions.weight", (TARGET_POSITIONS, d)
    for part, count, attentions in (
        ("encoder", shape.encoder_layers, ("self_attn",)),
        ("decoder", shape.decoder_layers, ("self_attn", "encoder_attn")),
    ):
        for layer in range(count):
            prefix = f"model.{part}.layers.{layer}"
            for attention in attentions:
                for projection in "qkv":
                    yield f"{prefix}.{attention}.{projection}_proj.weight", (d, d)
                    if projection != "k":
                        yield f"{prefix}.{attention}.{projection}_proj.bias", (d,)
                yield f"{prefix}.{attention}.out_proj.weight", (d, d)
                yield f"{prefix}.{attention}.out_proj.bias", (d,)
                yield f"{prefix}.{attention}_layer_norm.weight", (d,)
                yield f"{prefix}.{attention}_layer_norm.bias", (d,)
            yield f"{prefix}.fc1.weight", (4 * d, d)
            yield f"{prefix}.fc1.bias", (4 * d,)
            yield f"{prefix}.fc2.weight", (d, 4 * d)
            yield f"{prefix}.fc2.bias", (d,)
            yield f"{prefix}.final_layer_norm.weight", (d,)
            yield f"{prefix}.final_layer_norm.bias", (d,)
        yield f"model.{part}.layer_norm.weight", (d,)
        yield f"model.{part}.layer_norm.bias", (d,)


class Vocabulary:
    """Bytes, as many made-up words as it takes, then the special tokens in Whisper's order.

    English-only models (51,864 tokens) have 99 languages too, and every id one less; the smallest have one language.
    """

    def __init__(self, size: int) -> None:
        languages = LANGUAGES[: 100 if size >= 51_866 else 99] if size >= 51_864 else LANGUAGES[:1]
        timestamps = TIMESTAMPS if size >= 51_864 else 51
        self.multilingual = size != 51_864
        names = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{code}|>" for code in languages)]
        names += ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>"]
        names += ["<|notimestamps|>", *(f"<|{index * 0.02:.2f}|>" for index in range(timestamps))]
        self.words = size - len(names)
        self.special = {name: self.words + index for index, name in enumerate(names)}

    def tokenizer(self) -> dict[str, Any]:
        """tokenizer.json: byte-level BPE without merges."""
        words = dict(zip(_byte_letters(), range(256), strict=True))
        words |= {f"word{index}": index for index in range(256, self.words)}
        plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        return {
            "version": "1.0",
            "added_tokens": [{"id": index, "content": name, **plain} for name, index in self.special.items()],
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
            "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            "model": {"type": "BPE", "vocab": words, "merges": []},
        }


def _byte_letters() -> list[str]:
    """GPT-2's letters for the 256 bytes: printable Latin-1 as it is, the others from U+0100."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def _config(shape: WhisperShape, vocabulary: Vocabulary) -> dict[str, Any]:
    heads = shape.d_model // _HEADS_WIDTH
    return {
        "architectures": ["WhisperForConditionalGeneration"],
        "activation_function": "gelu",
        "d_model": shape.d_model,
        "decoder_attention_heads": heads,
        "decoder_ffn_dim": 4 * shape.d_model,
        "decoder_layers": shape.decoder_layers,
        "decoder_start_token_id": vocabulary.special["<|startoftranscript|>"],
        "encoder_attention_heads": heads,
        "encoder_ffn_dim": 4 * shape.d_model,
        "encoder_layers": shape.encoder_layers,
        "eos_token_id": vocabulary.special["<|endoftext|>"],
        "max_source_positions": SOURCE_POSITIONS,
        "max_target_positions": TARGET_POSITIONS,
        "model_type": "whisper",
        "num_mel_bins": shape.mels,
        "scale_embedding": False,
        "torch_dtype": "float16",
        "vocab_size": shape.vocabulary,
    }


def _generation_config(shape: WhisperShape, vocabulary: Vocabulary) -> dict[str, Any]:
    special = vocabulary.special
    found: dict[str, Any] = {
        "begin_suppress_tokens": [32, special["<|endoftext|>"]],
        "is_multilingual": vocabulary.multilingual,
        "max_initial_timestamp_index": 50,
        "no_timestamps_token_id": special["<|notimestamps|>"],
        "suppress_tokens": [1, 2, 7, special["<|startofprev|>"]],
    }
    if shape.alignment_heads is not None:
        found["alignment_heads"] = [list(head) for head in shape.alignment_heads]
    return found


def _write_weights(shape: WhisperShape, path: Path, seed: int) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, dims in tensors(shape):
        size_bytes = 2 * int(np.prod(dims))
        header[name] = {"dtype": "F16", "shape": list(dims), "data_offsets": [offset, offset + size_bytes]}
        offset += size_bytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    generator = np.random.default_rng(seed)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, dims in tensors(shape):
            values = int(np.prod(dims))
            for start in range(0, values, _CHUNK_VALUES):
                count = min(_CHUNK_VALUES, values - start)
                drawn = generator.standard_normal(count, dtype=np.float32) * np.float32(_SPREAD)
                if name.endswith("norm.weight"):
                    drawn += 1  # a norm that scales by nothing would silence the layer
                file.write(drawn.astype("<f2").tobytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=sorted(SHAPES))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(write_checkpoint(SHAPES[given.shape], given.folder, seed=given.seed))


if __name__ == "__main__":
    main()
