"""The trained model as an unquantized GGUF file, tokenizer and chat template in it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import gguf
from tokenizers import Tokenizer

from convert.starter.chat.gguf_tokenizer import add_tokenizer
from convert.starter.chat.model import NORM_EPSILON, ROPE_BASE, Llama

NAME: Final = "starter-chat"
TEMPERATURE: Final = 0.0
"""What a request that does not say gets: the model is too small to gain from chance."""
_MEAN_ALL_F32: Final = 0
"""`general.file_type`: LLAMA_FTYPE_ALL_F32 of llama.h."""


def write(path: Path, model: Llama, tokenizer: Tokenizer) -> None:
    """`path` in F32, architecture llama."""
    shape = model.shape
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(NAME)
    writer.add_license("mit")
    writer.add_languages(["en"])
    writer.add_file_type(_MEAN_ALL_F32)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(NORM_EPSILON)
    writer.add_rope_dimension_count(shape.head)
    writer.add_rope_freq_base(ROPE_BASE)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_sampling_temp(TEMPERATURE)
    add_tokenizer(writer, tokenizer)
    for name, tensor in model.tensors().items():
        writer.add_tensor(name, tensor.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
