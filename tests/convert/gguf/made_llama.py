"""A Llama checkpoint of random weights, with a SentencePiece vocabulary trained on generated words."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np

from tests.convert.hf_folder import write_checkpoint

WIDTH, HEADS, KV_HEADS, LAYERS, FEED_FORWARD, VOCABULARY = 64, 4, 2, 2, 96, 320
HEAD = WIDTH // HEADS
CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": WIDTH,
    "intermediate_size": FEED_FORWARD,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "torch_dtype": "float32",
}
TOKENIZER = {
    "tokenizer_class": "LlamaTokenizer",
    "add_bos_token": True,
    "add_eos_token": False,
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "legacy": True,
    "model_max_length": 512,
}


def weights(seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """All tensors of `CONFIG`, float32."""
    draw = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (VOCABULARY, WIDTH),
        "model.norm.weight": (WIDTH,),
        "lm_head.weight": (VOCABULARY, WIDTH),
    }
    for layer in range(LAYERS):
        shapes |= {
            f"model.layers.{layer}.{name}.weight": shape
            for name, shape in {
                "input_layernorm": (WIDTH,),
                "post_attention_layernorm": (WIDTH,),
                "self_attn.q_proj": (WIDTH, WIDTH),
                "self_attn.k_proj": (KV_HEADS * HEAD, WIDTH),
                "self_attn.v_proj": (KV_HEADS * HEAD, WIDTH),
                "self_attn.o_proj": (WIDTH, WIDTH),
                "mlp.gate_proj": (FEED_FORWARD, WIDTH),
                "mlp.up_proj": (FEED_FORWARD, WIDTH),
                "mlp.down_proj": (WIDTH, FEED_FORWARD),
            }.items()
        }
    return {
        name: (1 + draw.standard_normal(shape) / 10 if "norm" in name else draw.standard_normal(shape) / 5).astype(
            np.float32
        )
        for name, shape in sorted(shapes.items())
    }


def write_llama(folder: Path) -> Path:
    """The checkpoint, in two shards. Needs sentencepiece."""
    import sentencepiece

    draw = random.Random(0)
    words = ["".join(draw.choice("abcdefghijklmnop") for _ in range(draw.randint(2, 7))) for _ in range(300)]
    lines = [" ".join(draw.choices(words, k=12)) for _ in range(400)]
    write_checkpoint(folder, CONFIG, weights(), shards=2, files={"tokenizer_config.json": TOKENIZER})
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_prefix=str(folder / "tokenizer"),
        model_type="bpe",
        vocab_size=VOCABULARY,
        byte_fallback=True,
        num_threads=1,
        minloglevel=2,
    )
    (folder / "tokenizer.vocab").unlink()
    return folder
