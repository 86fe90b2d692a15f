"""A Whisper of a few thousand random numbers, as a Hugging Face folder: the same on every machine.

`make_fixtures.py` gives the same numbers to transformers, whose answers are in `small_whisper.npz`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

FIXTURE = Path(__file__).with_name("small_whisper.npz")
PROMPT = ((200, 201, 203, 205, 17), (200, 202, 204, 205, 99))
"""Token ids, [2, 5]."""
SHORT_FRAMES = 26

SPECIAL = (
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|en|>",
    "<|de|>",
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
    *(f"<|{index * 0.02:.2f}|>" for index in range(11)),
)
FIRST_SPECIAL = 200


def config(**changes: Any) -> dict[str, Any]:
    """config.json. Encoder and decoder differ in layers, heads and feed-forward: neither is taken for the other."""
    return {
        "model_type": "whisper",
        "architectures": ["WhisperForConditionalGeneration"],
        "activation_function": "gelu",
        "d_model": 48,
        "encoder_layers": 3,
        "encoder_attention_heads": 6,
        "encoder_ffn_dim": 80,
        "decoder_layers": 2,
        "decoder_attention_heads": 3,
        "decoder_ffn_dim": 96,
        "max_source_positions": 20,
        "max_target_positions": 12,
        "num_mel_bins": 16,
        "vocab_size": 224,
        "bos_token_id": FIRST_SPECIAL,
        "eos_token_id": FIRST_SPECIAL,
        "pad_token_id": FIRST_SPECIAL,
        "decoder_start_token_id": FIRST_SPECIAL + 1,
        "scale_embedding": False,
        "tie_word_embeddings": True,
        **changes,
    }


def generation_config(**changes: Any) -> dict[str, Any]:
    return {
        "is_multilingual": True,
        "alignment_heads": [[1, 2], [0, 1], [1, 0]],
        "suppress_tokens": [5, 3, 206],
        "begin_suppress_tokens": [32, FIRST_SPECIAL],
        "max_initial_timestamp_index": 8,
        **changes,
    }


def tokenizer(**changes: Any) -> dict[str, Any]:
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    words = {f"word{index}": index for index in range(FIRST_SPECIAL)}
    added = [{"id": FIRST_SPECIAL + index, "content": name, **plain} for index, name in enumerate(SPECIAL)]
    return {"version": "1.0", "added_tokens": added, "model": {"type": "BPE", "vocab": words, "merges": []}, **changes}


def weights(settings: Mapping[str, Any], seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """Every tensor of a checkpoint with this config.json, in float32."""
    d, draw = settings["d_model"], np.random.default_rng(seed)
    made: dict[str, np.ndarray[Any, Any]] = {}

    def add(name: str, *shape: int, mean: float = 0.0, spread: float = 0.15) -> None:
        made[name] = (mean + spread * draw.standard_normal(shape)).astype(np.float32)

    def linear(name: str, out: int, into: int, *, bias: bool = True) -> None:
        add(f"{name}.weight", out, into)
        if bias:
            add(f"{name}.bias", out)

    def norm(name: str) -> None:
        add(f"{name}.weight", d, mean=1.0)
        add(f"{name}.bias", d)

    add("model.encoder.conv1.weight", d, settings["num_mel_bins"], 3)
    add("model.encoder.conv1.bias", d)
    add("model.encoder.conv2.weight", d, d, 3)
    add("model.encoder.conv2.bias", d)
    add("model.encoder.embed_positions.weight", settings["max_source_positions"], d)
    add("model.decoder.embed_tokens.weight", settings["vocab_size"], d)
    add("model.decoder.embed_positions.weight", settings["max_target_positions"], d)
    for part, attentions in (("encoder", ("self_attn",)), ("decoder", ("self_attn", "encoder_attn"))):
        for layer in range(settings[f"{part}_layers"]):
            prefix = f"model.{part}.layers.{layer}"
            for attention in attentions:
                for projection in ("q_proj", "k_proj", "v_proj", "out_proj"):
                    linear(f"{prefix}.{attention}.{projection}", d, d, bias=projection != "k_proj")
                norm(f"{prefix}.{attention}_layer_norm")
            linear(f"{prefix}.fc1", settings[f"{part}_ffn_dim"], d)
            linear(f"{prefix}.fc2", d, settings[f"{part}_ffn_dim"])
            norm(f"{prefix}.final_layer_norm")
        norm(f"model.{part}.layer_norm")
    if not settings["tie_word_embeddings"]:
        add("proj_out.weight", settings["vocab_size"], d)
    return made


def features(settings: Mapping[str, Any], frames: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Something to listen to, [2, n_mels, frames]."""
    drawn = np.random.default_rng(7).standard_normal((2, settings["num_mel_bins"], frames))
    return drawn.astype(np.float32)


def write_whisper(
    folder: Path,
    *,
    settings: Mapping[str, Any] | None = None,
    tensors: Mapping[str, np.ndarray[Any, Any]] | None = None,
    files: Mapping[str, Any] | None = None,
    shards: int = 1,
) -> Path:
    """A folder that converts, but for what the caller changes. A file given as None is left out."""
    from tests.convert.hf_folder import write_checkpoint  # needs what make_fixtures.py may not have

    settings = config() if settings is None else settings
    beside = {"generation_config.json": generation_config(), "tokenizer.json": tokenizer(), **(files or {})}
    return write_checkpoint(
        folder,
        settings,
        weights(settings) if tensors is None else tensors,
        shards=shards,
        files={name: content for name, content in beside.items() if content is not None},
    )
