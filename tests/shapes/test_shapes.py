"""The generated model files are what their names say, and llama.cpp takes them."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from llama_cpp import llama_cpp  # the bindings: other tests in this process import them without the package

from benchmarks.models import shapes
from benchmarks.models.vocabulary import byte_characters


@pytest.fixture(scope="module", autouse=True)
def _backend() -> None:
    llama_cpp.llama_backend_init()


@contextmanager
def loaded(path: Path, **settings: Any) -> Iterator[tuple[Any, Any]]:
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), llama_cpp.llama_model_default_params())
    assert model, f"llama.cpp refused {path}"
    params = llama_cpp.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch, params.n_threads = 256, 256, 256, 1
    for name, value in settings.items():
        setattr(params, name, value)
    context = llama_cpp.llama_init_from_model(model, params)
    assert context
    try:
        yield model, context
    finally:
        llama_cpp.llama_free(context)
        llama_cpp.llama_model_free(model)


def tokenize(model: Any, text: str, *, special: bool = False) -> list[int]:
    buffer = (llama_cpp.llama_token * 256)()
    raw = text.encode()
    count = llama_cpp.llama_tokenize(
        llama_cpp.llama_model_get_vocab(model), raw, len(raw), buffer, 256, special, special
    )
    assert count >= 0
    return list(buffer[:count])


def text_of(model: Any, tokens: list[int]) -> bytes:
    buffer = ctypes.create_string_buffer(4096)
    array = (llama_cpp.llama_token * len(tokens))(*tokens)
    size = llama_cpp.llama_detokenize(
        llama_cpp.llama_model_get_vocab(model), array, len(tokens), buffer, 4096, False, True
    )
    return buffer.raw[:size]


def last_logits(context: Any, model: Any, tokens: list[int]) -> np.ndarray[Any, np.dtype[np.float32]]:
    array = (llama_cpp.llama_token * len(tokens))(*tokens)
    assert llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(array, len(tokens))) == 0
    size = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    return np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(context, -1), (size,)).copy()


@pytest.mark.parametrize("quant", ["F32", "F16", "Q8_0", "Q4_K_M"])
def test_tiny_decodes_at_every_quantization(tmp_path: Path, quant: shapes.Quant) -> None:
    path = shapes.ensure("tiny", quant, tmp_path)
    with loaded(path) as (model, context):
        logits = last_logits(context, model, tokenize(model, "Once upon a time"))
    assert np.isfinite(logits).all()
    assert 1.0 < logits.std() < 10.0


def test_greedy_text_of_tiny_does_not_collapse_to_a_few_tokens(tmp_path: Path) -> None:
    with loaded(shapes.ensure("tiny", "F32", tmp_path)) as (model, context):
        tokens = tokenize(model, "Hello")
        produced: list[int] = []
        for _ in range(64):
            tokens = [int(last_logits(context, model, tokens).argmax())]
            produced += tokens
    assert len(set(produced)) >= 16


def test_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    files = [shapes.write("tiny", tmp_path / f"{i}.gguf", seed=seed).read_bytes() for i, seed in enumerate((3, 3, 4))]
    assert files[0] == files[1]
    assert files[0] != files[2]


def test_ensure_writes_once_and_leaves_nothing_else(tmp_path: Path) -> None:
    first = shapes.ensure("tiny", "F32", tmp_path)
    written_ns = first.stat().st_mtime_ns
    assert shapes.ensure("tiny", "F32", tmp_path) == first
    assert first.stat().st_mtime_ns == written_ns
    assert [p.name for p in tmp_path.iterdir()] == [first.name]


@pytest.mark.parametrize(
    "text",
    ["hello world", " baba dodo\n\n", "naïve 中文 😀 €", '{"a": [1, 2.5e-3, null]}', "".join(map(chr, range(1, 400)))],
)
def test_tokenizing_loses_nothing(tmp_path: Path, text: str) -> None:
    with loaded(shapes.ensure("tiny", "F32", tmp_path), n_ctx=64) as (model, _):
        buffer = (llama_cpp.llama_token * 2048)()
        raw = text.encode()
        count = llama_cpp.llama_tokenize(
            llama_cpp.llama_model_get_vocab(model), raw, len(raw), buffer, 2048, False, False
        )
        assert text_of(model, list(buffer[:count])) == raw


def test_special_tokens_are_single_and_end_generation(tmp_path: Path) -> None:
    with loaded(shapes.ensure("tiny", "F32", tmp_path)) as (model, _):
        words = llama_cpp.llama_model_get_vocab(model)
        for name in ("<|endoftext|>", "<|im_start|>", "<|im_end|>"):
            assert len(tokenize(model, name, special=True)) == 1
        (end,) = tokenize(model, "<|im_end|>", special=True)
        assert llama_cpp.llama_vocab_is_eog(words, end)
        assert llama_cpp.llama_model_chat_template(model, None)


@pytest.mark.parametrize(("name", "tokens", "merges"), [("qwen2.5-0.5b", 151_936, 151_387), ("tiny", 1024, 765)])
def test_vocabulary_has_the_published_size_and_consistent_merges(name: str, tokens: int, merges: int) -> None:
    vocabulary = shapes.vocabulary(shapes.SHAPES[name])
    assert len(vocabulary.tokens) == len(set(vocabulary.tokens)) == len(vocabulary.types) == tokens
    assert len(vocabulary.merges) == merges
    known = set(byte_characters())
    for merge, token in zip(vocabulary.merges, vocabulary.tokens[256:], strict=False):
        left, right = merge.split(" ")
        assert left in known
        assert right in known
        assert left + right == token
        known.add(token)


def test_qwen_shape_has_the_published_parameter_count() -> None:
    from benchmarks.models.weights import tensors

    # 494,032,768: the safetensors header of Qwen/Qwen2.5-0.5B.
    assert sum(int(np.prod(t.dims)) for t in tensors(shapes.SHAPES["qwen2.5-0.5b"])) == 494_032_768


def test_bert_tiny_embeds_different_texts_differently(tmp_path: Path) -> None:
    path = shapes.ensure("bert-tiny", "F32", tmp_path)
    rows = []
    with loaded(path, embeddings=True, n_seq_max=1) as (model, context):
        assert llama_cpp.llama_pooling_type(context) == llama_cpp.LLAMA_POOLING_TYPE_MEAN
        for text in ("the lamp is on", "the lamp is on", "play some music"):
            tokens = tokenize(model, text, special=True)
            array = (llama_cpp.llama_token * len(tokens))(*tokens)
            assert llama_cpp.llama_encode(context, llama_cpp.llama_batch_get_one(array, len(tokens))) == 0
            pointer = llama_cpp.llama_get_embeddings_seq(context, 0)
            row = np.ctypeslib.as_array(pointer, (shapes.SHAPES["bert-tiny"].hidden,)).copy()
            rows.append(row / np.linalg.norm(row))
    assert float(rows[0] @ rows[1]) == pytest.approx(1.0, abs=1e-5)
    assert float(rows[0] @ rows[2]) < 0.95


def test_lora_adapter_changes_the_logits_and_scale_zero_does_not(tmp_path: Path) -> None:
    model_path = shapes.ensure("tiny", "F32", tmp_path)
    adapter_path = shapes.write_lora("tiny", tmp_path / "adapter.gguf")
    assert adapter_path.read_bytes() == shapes.write_lora("tiny", tmp_path / "again.gguf").read_bytes()
    with loaded(model_path) as (model, context):
        tokens = tokenize(model, "Once upon a time")
        adapter = llama_cpp.llama_adapter_lora_init(model, str(adapter_path).encode())
        assert adapter
        logits = {}
        for scale in (None, 1.0, 0.0):
            if scale is not None:
                adapters = (llama_cpp.llama_adapter_lora_p_ctypes * 1)(adapter)
                assert llama_cpp.llama_set_adapters_lora(context, adapters, 1, (ctypes.c_float * 1)(scale)) == 0
            llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
            logits[scale] = last_logits(context, model, tokens)
    assert float(np.abs(logits[1.0] - logits[None]).max()) > 0.1
    assert np.allclose(logits[0.0], logits[None], atol=1e-4)


def test_metadata_reads_back(tmp_path: Path) -> None:
    reader = gguf.GGUFReader(shapes.ensure("tiny", "F32", tmp_path))
    shape = shapes.SHAPES["tiny"]
    assert reader.get_field("qwen2.context_length").contents() == shape.context_tokens  # type: ignore[union-attr]
    assert {t.name for t in reader.tensors} >= {"token_embd.weight", "output_norm.weight", "blk.1.ffn_down.weight"}
