"""What the files beside an embedding graph say of it: an artifact of `edge-convert embed`, or a folder in the layout of
onnx-community and sentence-transformers. Every file is hostile until proven otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from agent.errors import ModelLoadError

LIMIT_BYTES: Final = 1024 * 1024
GRAPHS: Final = tuple(
    f"{folder}model{suffix}.onnx" for suffix in ("_quantized", "_int8", "", "_fp16") for folder in ("onnx/", "")
)
"""Where no manifest says which: INT8 first, it is what a small CPU runs fastest."""
OFFSET_POSITIONS: Final = ("roberta", "xlm-roberta", "camembert", "mpnet")
"""Their positions start after the padding token, which takes two."""
DEFAULT_TOKENS: Final = 512
SUPPORTED_MODULES: Final = ("Transformer", "Pooling", "Normalize", "Dropout")
"""Of sentence-transformers, outside of the graph. Dropout does nothing when a model runs."""
POOLING: Final = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""Keys of 1_Pooling/config.json, in the order in which sentence-transformers puts several side by side."""


@dataclass(frozen=True)
class EmbeddingFolder:
    """`graph` is the file to open, `max_tokens` the longest text. `pooling`, `normalize` and the modules that are
    `unsupported` are for a graph whose output is the states of all tokens. `prompts` go before a text, by the kind of
    text; `default_prompt` is the name of one.
    """

    graph: Path
    max_tokens: int
    padding: int | None
    pooling: tuple[str, ...]
    normalize: bool
    unsupported: tuple[str, ...]
    prompts: dict[str, str]
    default_prompt: str | None
    compute_bytes: int
    """Of a run of one longest text, where a manifest says; else 0."""


def read_folder(folder: Path) -> EmbeddingFolder:
    """Raises `ModelLoadError` where a file is missing, broken, or asks for what cannot be done here."""
    config = _object(folder, "config.json")
    manifest = _object(folder, "manifest.json")
    memory = manifest.get("memory_bytes")
    modules = _modules(folder)
    prompts, default_prompt = _prompts(_object(folder, "config_sentence_transformers.json"))
    return EmbeddingFolder(
        graph=_graph(folder, manifest),
        max_tokens=_max_tokens(manifest, _object(folder, "sentence_bert_config.json"), config),
        padding=_integer(config, "pad_token_id", least=0),
        pooling=_pooling(_object(folder, "1_Pooling/config.json")),
        normalize="Normalize" in modules,
        unsupported=tuple(kind for kind in modules if kind not in SUPPORTED_MODULES),
        prompts=prompts,
        default_prompt=default_prompt,
        compute_bytes=_integer(memory, "compute") or 0 if isinstance(memory, dict) else 0,
    )


def _graph(folder: Path, manifest: dict[str, Any]) -> Path:
    metadata = manifest.get("metadata")
    graphs = metadata.get("graphs") if isinstance(metadata, dict) else None
    named = list(graphs.values()) if isinstance(graphs, dict) else []
    files = manifest.get("files")
    listed = [file.get("path") for file in files if isinstance(file, dict)] if isinstance(files, list) else []
    candidates = [*named, *(path for path in listed if isinstance(path, str) and path.endswith(".onnx")), *GRAPHS]
    for name in candidates:
        if not isinstance(name, str) or Path(name).is_absolute() or ".." in Path(name).parts:
            continue
        graph = folder / name
        if graph.is_file():
            return graph
    raise ModelLoadError(f"{folder.name} has no ONNX graph.", hint=f"Looked for {', '.join(GRAPHS)}.")


def _max_tokens(manifest: dict[str, Any], limits: dict[str, Any], config: dict[str, Any]) -> int:
    if context := _integer(manifest, "context"):
        return context
    positions = _integer(config, "max_position_embeddings") or DEFAULT_TOKENS
    if config.get("model_type") in OFFSET_POSITIONS:
        positions -= 2
    return max(1, min(positions, _integer(limits, "max_seq_length") or positions))


def _pooling(settings: dict[str, Any]) -> tuple[str, ...]:
    """Mean where nothing is said: what sentence-transformers does."""
    named = settings.get("pooling_mode")
    if isinstance(named, str):
        modes = tuple("mean_sqrt_len" if mode == "mean_sqrt_len_tokens" else mode for mode in named.lower().split("+"))
    else:
        modes = tuple(mode for key, mode in POOLING.items() if settings.get(key) is True)
    for mode in modes:
        if mode not in POOLING.values():
            raise ModelLoadError(
                f"1_Pooling/config.json: {ascii(mode)[:40]} is no pooling that is supported.",
                hint=f"Supported: {', '.join(POOLING.values())}.",
            )
    return modes or ("mean",)


def _prompts(settings: dict[str, Any]) -> tuple[dict[str, str], str | None]:
    given = settings.get("prompts")
    prompts = {key: text for key, text in given.items() if isinstance(text, str)} if isinstance(given, dict) else {}
    default = settings.get("default_prompt_name")
    return prompts, default if isinstance(default, str) and default in prompts else None


def _modules(folder: Path) -> list[str]:
    """The classes that modules.json lists, without their packages."""
    listed = _decoded(folder, "modules.json")
    kinds = [module.get("type") for module in listed if isinstance(module, dict)] if isinstance(listed, list) else []
    return [kind.rpartition(".")[2] for kind in kinds if isinstance(kind, str)]


def _integer(values: dict[str, Any], key: str, *, least: int = 1) -> int | None:
    value = values.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and least <= value <= 2**31 else None


def _object(folder: Path, name: str) -> dict[str, Any]:
    """The object in a file, empty where there is no such file."""
    value = _decoded(folder, name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ModelLoadError(f"{name} is not a JSON object.", hint="Import or convert the model again.")
    return value


def _decoded(folder: Path, name: str) -> Any:
    try:
        with (folder / name).open("rb") as file:
            data = file.read(LIMIT_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ModelLoadError(f"{folder / name} cannot be read: {error.strerror}.") from error
    try:
        if len(data) > LIMIT_BYTES:
            raise ModelLoadError(f"{name} is larger than {LIMIT_BYTES} bytes.")
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelLoadError(f"{name} is not valid JSON: {error}.", hint="Import the model again.") from None
