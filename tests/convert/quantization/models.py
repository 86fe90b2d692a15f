"""Small models of random weights whose activations are as uneven as those of trained ones."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from benchmarks.models.vocabulary import bpe

HIDDEN = 256
"""Wide enough for the types of 256 values to a block."""
FEED_FORWARD, HEADS, KV_HEADS, VOCABULARY, CONTEXT, EPSILON = 512, 4, 2, 512, 128, 1e-5


def write_model(path: Path, *, layers: int = 2, experts: int = 0, chosen: int = 0, seed: int = 0) -> Path:
    """A Llama with `layers` layers, F32; with `experts` it is a Mixtral, of which each token is given `chosen`."""
    generator = np.random.default_rng(seed)
    words = bpe(tokens=VOCABULARY, padding=0, seed=0)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("model")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(EPSILON)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model(words.model)
    writer.add_tokenizer_pre(words.pre or "default")
    writer.add_token_list(words.tokens)
    writer.add_token_types(words.types)
    writer.add_token_merges(words.merges)
    writer.add_eos_token_id(words.special["eos"])
    writer.add_add_bos_token(False)
    if experts:
        writer.add_expert_count(experts)
        writer.add_expert_used_count(chosen)

    def matrix(name: str, *shape: int) -> None:
        writer.add_tensor(name, (generator.standard_normal(shape) * shape[-1] ** -0.5).astype(np.float32))

    def norm(name: str) -> None:
        writer.add_tensor(name, np.exp(generator.standard_normal(HIDDEN)).astype(np.float32))

    matrix("token_embd.weight", VOCABULARY, HIDDEN)
    norm("output_norm.weight")
    for layer in range(layers):
        block = f"blk.{layer}"
        norm(f"{block}.attn_norm.weight")
        norm(f"{block}.ffn_norm.weight")
        matrix(f"{block}.attn_q.weight", HIDDEN, HIDDEN)
        matrix(f"{block}.attn_k.weight", HIDDEN // HEADS * KV_HEADS, HIDDEN)
        matrix(f"{block}.attn_v.weight", HIDDEN // HEADS * KV_HEADS, HIDDEN)
        matrix(f"{block}.attn_output.weight", HIDDEN, HIDDEN)
        if experts:
            matrix(f"{block}.ffn_gate_inp.weight", experts, HIDDEN)
        suffix, many = ("_exps", (experts,)) if experts else ("", ())
        matrix(f"{block}.ffn_gate{suffix}.weight", *many, FEED_FORWARD, HIDDEN)
        matrix(f"{block}.ffn_up{suffix}.weight", *many, FEED_FORWARD, HIDDEN)
        matrix(f"{block}.ffn_down{suffix}.weight", *many, HIDDEN, FEED_FORWARD)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def weights(path: Path) -> dict[str, NDArray[np.float32]]:
    """All tensors of a model as F32, by name, rows last but one."""
    return {
        str(tensor.name): gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        for tensor in gguf.GGUFReader(path).tensors
    }


def raw(path: Path) -> dict[str, tuple[str, bytes]]:
    """Type and bytes of each tensor, by name."""
    return {str(t.name): (t.tensor_type.name, t.data.tobytes()) for t in gguf.GGUFReader(path).tensors}
