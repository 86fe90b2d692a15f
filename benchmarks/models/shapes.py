"""GGUF files with published shapes, random weights and a generated vocabulary.

How fast and how large a model is depends on its shape and its quantization, not on what it learned: such a file stands
in for the published model wherever only speed and memory are measured, and needs no download.

    python -m benchmarks.models.shapes qwen2.5-0.5b model.gguf --quant Q4_K_M

A file is a function of shape, quantization and seed. Memory stays bounded: tensors are written a few rows at a time.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
from pathlib import Path
from typing import Any, Literal

import gguf
import numpy as np

from benchmarks.models.vocabulary import Vocabulary, bpe, wordpiece
from benchmarks.models.weights import Shape, Tensor, draw, tensors

Quant = Literal["F32", "F16", "Q8_0", "Q4_K_M"]
QUANTS: tuple[Quant, ...] = ("F32", "F16", "Q8_0", "Q4_K_M")

# Part of the cached file's name: raise it when the same arguments give other bytes.
LAYOUT = 1

# Sources: config.json of Qwen/Qwen2.5-0.5B-Instruct, -1.5B-Instruct and -7B-Instruct,
# TinyLlama/TinyLlama-1.1B-Chat-v1.0 and sentence-transformers/all-MiniLM-L6-v2. `tiny`, `small` and `bert-tiny` are
# ours, for tests.
SHAPES: dict[str, Shape] = {
    "qwen2.5-0.5b": Shape(
        architecture="qwen2", layers=24, hidden=896, ffn=4864, heads=14, kv_heads=2, vocabulary=151_936,
        vocabulary_padding=290, context_tokens=32_768, rope_theta=1e6, tied=True,
    ),
    "qwen2.5-1.5b": Shape(
        architecture="qwen2", layers=28, hidden=1536, ffn=8960, heads=12, kv_heads=2, vocabulary=151_936,
        vocabulary_padding=290, context_tokens=32_768, rope_theta=1e6, tied=True,
    ),
    # Two of its 28 layers: the largest tensors of a 7B, for what is bound by one tensor at a time.
    "qwen2.5-7b-2-layers": Shape(
        architecture="qwen2", layers=2, hidden=3584, ffn=18_944, heads=28, kv_heads=4, vocabulary=152_064,
        vocabulary_padding=418, context_tokens=32_768, rope_theta=1e6,
    ),
    "tinyllama-1.1b": Shape(
        architecture="llama", layers=22, hidden=2048, ffn=5632, heads=32, kv_heads=4, vocabulary=32_000,
        context_tokens=2048, norm_eps=1e-5,
    ),
    "tiny": Shape(
        architecture="qwen2", layers=2, hidden=64, ffn=160, heads=2, kv_heads=1, vocabulary=1024,
        context_tokens=8192, tied=True,
    ),
    "small": Shape(
        architecture="qwen2", layers=8, hidden=512, ffn=1536, heads=8, kv_heads=2, vocabulary=32_000,
        context_tokens=8192, tied=True,
    ),
    "minilm": Shape(
        architecture="bert", layers=6, hidden=384, ffn=1536, heads=12, kv_heads=12, vocabulary=30_522,
        context_tokens=512, norm_eps=1e-12,
    ),
    "bert-tiny": Shape(
        architecture="bert", layers=2, hidden=64, ffn=128, heads=2, kv_heads=2, vocabulary=1024,
        context_tokens=512, norm_eps=1e-12,
    ),
}  # fmt: skip


def write(shape_name: str, out: Path, *, quant: Quant = "F32", seed: int = 0) -> Path:
    """Write the model to `out`, which appears only when it is complete.

    Q4_K_M is quantized by llama.cpp from an F16 file that is deleted afterwards. Raises `KeyError` for an unknown
    shape, `OSError`, and `RuntimeError` where quantizing fails.
    """
    shape = SHAPES[shape_name]
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".shapes-", dir=out.parent) as folder:
        part = Path(folder) / "model.gguf"
        if quant == "Q4_K_M":
            plain = Path(folder) / "f16.gguf"
            _write_plain(shape_name, shape, plain, "F16", seed)
            _quantize_q4_k_m(plain, part)
        else:
            _write_plain(shape_name, shape, part, quant, seed)
        part.replace(out)
    return out


def write_lora(
    shape_name: str, out: Path, *, rank: int = 4, alpha: float = 16.0, std: float = 0.2, seed: int = 0
) -> Path:
    """Write a LoRA adapter for the query and value projections of a decoder shape. Raises as `write` does."""
    shape = SHAPES[shape_name]
    writer = gguf.GGUFWriter(None, shape.architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", alpha)
    drawn: list[Tensor] = []
    for layer in range(shape.layers):
        for part, width in (("q", shape.hidden), ("v", shape.kv_width)):
            name = f"blk.{layer}.attn_{part}.weight"
            drawn.append(Tensor(f"{name}.lora_a", (rank, shape.hidden), shape.hidden**-0.5))
            drawn.append(Tensor(f"{name}.lora_b", (width, rank), std))
    with tempfile.TemporaryDirectory(prefix=".shapes-", dir=out.parent) as folder:
        part_file = Path(folder) / "adapter.gguf"
        _write_file(writer, part_file, drawn, "F32", seed)
        part_file.replace(out)
    return out


def ensure(shape_name: str, quant: Quant, cache_dir: Path, *, seed: int = 0) -> Path:
    """The path of this model in `cache_dir`, written first if it is not there. Raises as `write` does."""
    path = cache_dir / f"{shape_name}-{quant.lower()}-seed{seed}-layout{LAYOUT}.gguf"
    return path if path.exists() else write(shape_name, path, quant=quant, seed=seed)


def vocabulary(shape: Shape, seed: int = 0) -> Vocabulary:
    if shape.architecture == "bert":
        return wordpiece(tokens=shape.vocabulary, seed=seed)
    return bpe(tokens=shape.vocabulary, padding=shape.vocabulary_padding, seed=seed)


def _write_plain(name: str, shape: Shape, path: Path, quant: Quant, seed: int) -> None:
    writer = gguf.GGUFWriter(None, shape.architecture)
    file_types = {"F32": gguf.LlamaFileType.ALL_F32, "F16": gguf.LlamaFileType.MOSTLY_F16}
    writer.add_type("model")
    writer.add_name(f"{name} (random weights)")
    writer.add_file_type(file_types.get(quant, gguf.LlamaFileType.MOSTLY_Q8_0))
    writer.add_context_length(shape.context_tokens)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.ffn)
    writer.add_head_count(shape.heads)
    if shape.architecture == "bert":
        writer.add_layer_norm_eps(shape.norm_eps)
        writer.add_causal_attention(False)
        writer.add_pooling_type(gguf.PoolingType.MEAN)
    else:
        writer.add_head_count_kv(shape.kv_heads)
        writer.add_layer_norm_rms_eps(shape.norm_eps)
        writer.add_rope_freq_base(shape.rope_theta)
        writer.add_rope_dimension_count(shape.hidden // shape.heads)
        writer.add_vocab_size(shape.vocabulary)
    _add_vocabulary(writer, vocabulary(shape, seed))
    _write_file(writer, path, list(tensors(shape)), quant, seed)


def _add_vocabulary(writer: gguf.GGUFWriter, words: Vocabulary) -> None:
    writer.add_tokenizer_model(words.model)
    if words.pre:
        writer.add_tokenizer_pre(words.pre)
    writer.add_token_list(words.tokens)
    writer.add_token_types(words.types)
    writer.add_token_merges(words.merges)
    add = {
        "bos": writer.add_bos_token_id,
        "eos": writer.add_eos_token_id,
        "padding": writer.add_pad_token_id,
        "unknown": writer.add_unk_token_id,
        "separator": writer.add_sep_token_id,
        "mask": writer.add_mask_token_id,
    }
    for role, token in words.special.items():
        add[role](token)
    if words.model == "bert":
        writer.add_token_type_count(2)
    else:
        writer.add_add_bos_token(False)
    if words.chat_template:
        writer.add_chat_template(words.chat_template)


def _write_file(writer: gguf.GGUFWriter, path: Path, drawn: list[Tensor], quant: Quant, seed: int) -> None:
    types = [_tensor_type(tensor, quant) for tensor in drawn]
    for tensor, kind in zip(drawn, types, strict=True):
        block_values, block_bytes = gguf.GGML_QUANT_SIZES[kind]
        size_bytes = int(np.prod(tensor.dims)) // block_values * block_bytes
        writer.add_tensor_info(tensor.name, tensor.dims, np.dtype(np.float32), size_bytes, raw_dtype=kind)
    writer.write_header_to_file(path)
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    assert writer.fout is not None
    (file,) = writer.fout
    for tensor, kind in zip(drawn, types, strict=True):
        writer.write_padding(file, file.tell())
        for rows in draw(tensor, seed):
            file.write(gguf.quantize(rows, kind).tobytes())
    writer.write_padding(file, file.tell())
    file.flush()
    os.fsync(file.fileno())
    writer.close()


def _tensor_type(tensor: Tensor, quant: Quant) -> Any:
    """Matrices are quantized, vectors and BERT's position and type tables stay F32, as llama.cpp's converter does."""
    if len(tensor.dims) == 1 or tensor.name in ("position_embd.weight", "token_types.weight"):
        return gguf.GGMLQuantizationType.F32
    return gguf.GGMLQuantizationType[quant]


def _quantize_q4_k_m(source: Path, target: Path) -> None:
    from llama_cpp import llama_cpp

    # The bindings print llama.cpp's log at this logger's level.
    logging.getLogger("llama-cpp-python").setLevel(logging.CRITICAL + 1)
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M
    params.nthread = os.cpu_count() or 1
    failed = llama_cpp.llama_model_quantize(os.fsencode(source), os.fsencode(target), params)
    source.unlink()
    if failed:
        raise RuntimeError(f"llama.cpp could not quantize {source.name}: status {failed}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=sorted(SHAPES))
    parser.add_argument("out", type=Path)
    parser.add_argument("--quant", choices=QUANTS, default="Q4_K_M")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lora", action="store_true", help="write a LoRA adapter for the shape instead")
    arguments = parser.parse_args()
    if arguments.lora:
        path = write_lora(arguments.shape, arguments.out, seed=arguments.seed)
    else:
        path = write(arguments.shape, arguments.out, quant=arguments.quant, seed=arguments.seed)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
