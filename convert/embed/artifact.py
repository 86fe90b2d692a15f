"""The files of an embedding artifact, and what its manifest says: docs/convert-embed.md describes both."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Final

from agent.engines.onnx.text import FILE as TOKENIZER_FILE
from agent.store.manifest import MemoryNeed
from convert.embed.model import LIMITS_FILE, PROMPTS_FILE, EmbeddingModel, activation_bytes
from convert.onnx.graph import Graph
from convert.onnx.layers import Precision

GRAPH_FILE: Final = "model.onnx"
COPIED_FILES: Final = (
    "config.json",
    LIMITS_FILE,
    PROMPTS_FILE,
    "special_tokens_map.json",
    TOKENIZER_FILE,
    "tokenizer_config.json",
    "LICENSE",
    "LICENSE.txt",
    "NOTICE",
)
"""Besides what `modules.json` names."""


def write(model: EmbeddingModel, graph: Graph, folder: Path) -> None:
    """All files of the artifact but the manifest. Raises `ArtifactError` for weights that are not finite."""
    graph.save(folder / GRAPH_FILE)
    source = model.checkpoint.folder
    for name in (*COPIED_FILES, *model.head.files):
        if (source / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, folder / name)


def manifest_fields(model: EmbeddingModel, precision: Precision, folder: Path) -> dict[str, Any]:
    """What a manifest says of the artifact written to `folder`; name, version, source and quality are the caller's."""
    shape, head = model.shape, model.head
    weights = sum(path.stat().st_size for path in folder.iterdir() if path.name.startswith(GRAPH_FILE))
    metadata: dict[str, Any] = {
        "architecture": shape.architecture,
        "layers": shape.layers,
        "parameters": model.parameters(),
        "vocab_tokens": shape.vocabulary,
        "max_tokens": model.max_tokens,
        "pooling": "+".join(head.modes),
        "pooling_assumed": head.assumed,
        "normalized": head.normalized,
        "prompts": model.prompts,
        "default_prompt": model.default_prompt,
        "graphs": {"model": GRAPH_FILE},
    }
    return {
        "task": "embed",
        "format": "onnx",
        "context": model.max_tokens,
        "embedding_dim": model.dimension,
        "quantization": precision,
        "memory_bytes": MemoryNeed(
            weights=weights, per_1k_context=0, compute=activation_bytes(shape, model.max_tokens)
        ),
        "metadata": metadata,
    }
