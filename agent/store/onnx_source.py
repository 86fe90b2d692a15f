"""An ONNX folder in the layout that people download: graphs in `onnx/` or beside `config.json`, and a tokenizer.

The graphs are not opened. What the manifest says comes from `config.json`, `1_Pooling/config.json` and
`sentence_bert_config.json`; memory is estimated from the sizes of files and the shapes in the configuration.
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from agent.errors import ArtifactError
from agent.store.durable import read_start
from agent.store.manifest import Manifest, MemoryNeed
from agent.store.names import suggest_name
from agent.store.plan import Ignored, ImportPlan, SourceFile, inside, listing, source_file
from agent.store.probe_report import one_line

CONFIG_LIMIT_BYTES: Final = 1024 * 1024
FLOAT_BYTES: Final = 4
# Suffixes of a graph's name, the one we prefer first: INT8 is what a small CPU runs fastest.
PRECISIONS: Final = {"_quantized": "int8", "_int8": "int8", "": "fp32", "_fp16": "fp16"}
FOLDERS: Final = ("onnx/", "")
SPEECH_GRAPHS: Final = ("encoder_model", "decoder_model_merged")
TEXT_GRAPHS: Final = ("model",)
BESIDES: Final = ("*.json", "*.txt", "*.model", "1_Pooling/config.json", "LICENSE*", "NOTICE*")
PROMPTS: Final = "config_sentence_transformers.json"
# Position embeddings of these start after the padding index (transformers, create_position_ids_from_input_ids).
OFFSET_POSITIONS: Final = {"roberta": 2, "xlm-roberta": 2, "camembert": 2, "mpnet": 2}
# transformers' names for one shape: BERT and most others, DistilBERT, T5-like.
HIDDEN: Final = ("hidden_size", "dim", "d_model")
LAYERS: Final = ("num_hidden_layers", "n_layers", "num_layers")
HEADS: Final = ("num_attention_heads", "n_heads", "num_heads")
FEED_FORWARD: Final = ("intermediate_size", "hidden_dim", "d_ff")


@dataclass(frozen=True, kw_only=True)
class _Json:
    """A JSON object from a file of the folder, whose values are checked as they are read."""

    path: str
    values: dict[str, Any]

    def count(self, *keys: str, default: int | None = None) -> int:
        key = next((key for key in keys if self.values.get(key) is not None), keys[0])
        value = self.values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= 2**31:
            raise ArtifactError(
                f"{self.path}: {key}: expected an integer from 1 to {2**31}, got {ascii(value)[:80]}.", param=key
            )
        return value

    def text(self, key: str) -> str | None:
        value = self.values.get(key)
        return one_line(value) if isinstance(value, str) else None


def plan_onnx(folder: Path, *, name: str | None = None, version: str | None = None) -> ImportPlan:
    """The plan for a folder without a manifest. The name defaults to the folder's. One precision is brought, INT8
    where there is one; the rest is ignored. Raises `ArtifactError`.
    """
    paths = listing(folder)
    if "config.json" not in paths:
        raise ArtifactError(
            f"{folder} has neither manifest.json nor config.json.",
            hint="Import a .gguf file, an artifact folder with a manifest, or an ONNX model's folder.",
        )
    config = _read(folder, "config.json")
    graph_names = SPEECH_GRAPHS if config.values.get("model_type") == "whisper" else TEXT_GRAPHS
    if _generates(config) and graph_names is TEXT_GRAPHS and "1_Pooling/config.json" not in paths:
        raise ArtifactError(
            f"{folder.name} is a model that generates text; from ONNX only embeddings and Whisper are run.",
            hint="Import it as GGUF.",
        )
    graphs, quantization = _choose(folder, paths, graph_names)
    wanted = [*graphs, *_external_data(paths, graphs), *(path for path in paths if _is_beside(path))]
    files = tuple(source_file(inside(folder, path), path) for path in dict.fromkeys(wanted))
    taken = {file.path for file in files}
    weights_bytes = sum(file.bytes for file in files if not _is_beside(file.path))
    describe = _speech if graph_names is SPEECH_GRAPHS else _text
    draft = describe(folder, paths, config, weights_bytes)
    return ImportPlan(
        draft=msgspec.structs.replace(
            draft,
            name=name or suggest_name(folder.name),
            version=version or "",
            quantization=quantization,
            source=one_line(config.text("_name_or_path") or folder.name),
            metadata={**draft.metadata, "graphs": dict(zip(graph_names, graphs, strict=True))},
        ),
        files=tuple(sorted(files, key=_by_path)),
        ignored=tuple(Ignored(path=path, reason=_why_not(path)) for path in paths if path not in taken),
        folder=folder,
    )


def _speech(folder: Path, paths: list[str], config: _Json, weights_bytes: int) -> Manifest:
    width = config.count("d_model")
    frames = config.count("max_source_positions")
    decoder_layers = config.count("decoder_layers")
    heads = config.count("encoder_attention_heads")
    # Keys and values of one position in every decoder layer; the cross-attention's are of the encoder's frames.
    kv_bytes_per_position = 2 * decoder_layers * width * FLOAT_BYTES
    activations = frames * (4 * width + config.count("encoder_ffn_dim")) + heads * frames * frames
    return Manifest(
        name="",
        version="",
        task="transcribe",
        format="onnx",
        files=(),
        context=config.count("max_target_positions"),
        quantization="",
        memory_bytes=MemoryNeed(
            weights=weights_bytes,
            per_1k_context=1024 * kv_bytes_per_position,
            compute=activations * FLOAT_BYTES + frames * kv_bytes_per_position,
        ),
        metadata={
            "architecture": "whisper",
            "layers": config.count("encoder_layers") + decoder_layers,
            "vocab_tokens": config.count("vocab_size"),
            "mel_bins": config.count("num_mel_bins", default=80),
            "memory_estimated": True,
        },
    )


def _text(folder: Path, paths: list[str], config: _Json, weights_bytes: int) -> Manifest:
    architecture = config.text("model_type") or "unknown"
    width = config.count(*HIDDEN)
    context = config.count("max_position_embeddings", default=512) - OFFSET_POSITIONS.get(architecture, 0)
    if "sentence_bert_config.json" in paths:
        limits = _read(folder, "sentence_bert_config.json")
        context = min(context, limits.count("max_seq_length", default=context))
    pooling: str | None = None
    dimension = width
    if "1_Pooling/config.json" in paths:
        settings = _read(folder, "1_Pooling/config.json")
        pooling = _pooling(settings)
        dimension = settings.count("word_embedding_dimension", default=width)
    prompts: dict[str, str] = {}
    if PROMPTS in paths:
        given = _read(folder, PROMPTS).values.get("prompts")
        prompts = {str(key): str(text) for key, text in given.items()} if isinstance(given, dict) else {}
    heads = config.count(*HEADS)
    activations = context * (4 * width + config.count(*FEED_FORWARD, default=4 * width)) + heads * context * context
    return Manifest(
        name="",
        version="",
        task="embed",
        format="onnx",
        files=(),
        context=max(context, 1),
        embedding_dim=dimension,
        quantization="",
        memory_bytes=MemoryNeed(weights=weights_bytes, per_1k_context=0, compute=activations * FLOAT_BYTES),
        metadata={
            "architecture": architecture,
            "layers": config.count(*LAYERS),
            "vocab_tokens": config.count("vocab_size"),
            "pooling": pooling,
            "prompts": prompts,
            "memory_estimated": True,
        },
    )


def _generates(config: _Json) -> bool:
    architectures = config.values.get("architectures")
    ends = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
    return isinstance(architectures, list) and any(str(item).endswith(ends) for item in architectures)


def _pooling(settings: _Json) -> str | None:
    names = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_lasttoken": "last"}
    return next((name for key, name in names.items() if settings.values.get(key) is True), None)


def _choose(folder: Path, paths: list[str], names: tuple[str, ...]) -> tuple[list[str], str]:
    for suffix, quantization in PRECISIONS.items():
        for prefix in FOLDERS:
            graphs = [f"{prefix}{name}{suffix}.onnx" for name in names]
            if all(graph in paths for graph in graphs):
                return graphs, quantization
    wanted = " and ".join(f"onnx/{name}_quantized.onnx" for name in names)
    raise ArtifactError(
        f"{folder} has no {wanted}, nor another precision of it.",
        hint=f"Precisions looked for, by the end of the name: {', '.join(key or '(none)' for key in PRECISIONS)}.",
    )


def _external_data(paths: list[str], graphs: list[str]) -> list[str]:
    ends = (".onnx_data", ".onnx.data")
    stems = {graph.removesuffix(".onnx") + end for graph in graphs for end in ends}
    return [path for path in paths if any(path == stem or path.startswith(f"{stem}_") for stem in stems)]


def _is_beside(path: str) -> bool:
    return any(fnmatch.fnmatchcase(path, pattern) and path.count("/") == pattern.count("/") for pattern in BESIDES)


def _why_not(path: str) -> str:
    if path.endswith(".onnx") or ".onnx_data" in path or ".onnx.data" in path:
        return "another precision or part of the same model"
    return "not needed to run the model"


def _by_path(file: SourceFile) -> str:
    return file.path


def _read(folder: Path, path: str) -> _Json:
    data = read_start(source_file(inside(folder, path), path).source, CONFIG_LIMIT_BYTES + 1)
    if len(data) > CONFIG_LIMIT_BYTES:
        raise ArtifactError(f"{path} is larger than {CONFIG_LIMIT_BYTES} bytes.", param=path)
    try:
        return _Json(path=path, values=msgspec.json.decode(data, type=dict[str, Any]))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ArtifactError(f"{path} is not a JSON object: {error}.", param=path) from None
