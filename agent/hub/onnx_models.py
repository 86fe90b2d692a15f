"""The ONNX model of a repository: which files are brought, and what the store will say of them, before they are here.

The store's own importer decides, on a shadow of the repository: a folder with its small files for real and the large
ones as holes of the right size, which take no space. So what is downloaded is what the import takes.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import msgspec

from agent.errors import ArtifactError, StoreError
from agent.hub.repository import RemoteFile
from agent.hub.room import Need, Room, embedding_need, whisper_need
from agent.store.manifest import Manifest
from agent.store.names import path_fault, suggest_name
from agent.store.onnx_source import BESIDES, CONFIG_LIMIT_BYTES, PROMPTS, plan_onnx

READ_BY_THE_STORE: Final = ("config.json", "1_Pooling/config.json", "sentence_bert_config.json", PROMPTS)
MOST_FILES: Final = 4096
SMALL_BYTES: Final = 64 * 1024 * 1024
"""A tokenizer for a million words has less."""

# What sentence-transformers publishes INT8 graphs for: (machine, feature in /proc/cpuinfo, end of the graph's name),
# the fastest first. A quint8 graph saturates less on an x86-64 without VNNI.
CPU_GRAPHS: Final = (
    ("x86_64", "avx512_vnni", "_qint8_avx512_vnni"),
    ("x86_64", "avx512f", "_qint8_avx512"),
    ("x86_64", "avx2", "_quint8_avx2"),
    ("aarch64", "asimd", "_qint8_arm64"),
    ("arm64", "", "_qint8_arm64"),
)
_STORED_AS: Final = "onnx/model_quantized.onnx"
"""The importer's name for what suits a small CPU best."""


@dataclass(frozen=True, kw_only=True)
class OnnxModel:
    """`files` to bring, each with its path in the artifact; `draft` is the manifest without files and version."""

    files: tuple[tuple[RemoteFile, str], ...]
    draft: Manifest
    need: Need

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file, _ in self.files)


def has_onnx(files: Sequence[RemoteFile]) -> bool:
    return any(file.path.endswith(".onnx") for file in files)


def onnx_model(
    name: str,
    files: Sequence[RemoteFile],
    read: Callable[[RemoteFile], bytes],
    *,
    machine: str,
    features: Collection[str],
    room: Room,
) -> OnnxModel:
    """What to bring of a repository. `read` gets the bytes of a small file; `machine` and `features` are the CPU's.

    Raises `ArtifactError` where it is no model that can be run from ONNX, and what `read` raises.
    """
    local = {path: file for path, file in _renamed(files, machine, features).items() if _matters(path)}
    if len(local) > MOST_FILES:
        raise ArtifactError(f"{name} has {len(local)} files that a model may need; at most {MOST_FILES} are looked at.")
    texts: dict[str, bytes] = {path: _text(local[path], read) for path in READ_BY_THE_STORE if path in local}
    try:
        with tempfile.TemporaryDirectory(prefix="edge-agent-") as temporary:
            folder = Path(temporary).resolve() / suggest_name(name)
            for path, file in local.items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_bytes(texts.get(path, b""))
                os.truncate(folder / path, file.bytes)
            plan = plan_onnx(folder)
    except OSError as error:
        raise StoreError(f"{tempfile.gettempdir()} cannot be used: {error.strerror}.") from None
    except ArtifactError as error:  # it names our folder
        raise ArtifactError(error.message.replace(str(folder), name), hint=error.hint, param=error.param) from None
    wanted = tuple((local[file.path], file.path) for file in plan.files)
    config: dict[str, Any] = msgspec.json.decode(texts["config.json"])
    return OnnxModel(files=wanted, draft=plan.draft, need=need_of(plan.draft, config, room))


def need_of(draft: Manifest, config: dict[str, Any], room: Room) -> Need:
    """Of a model that the store has planned; `config` is its config.json."""
    if draft.task == "transcribe":
        return whisper_need(config, draft.memory_bytes.weights, room)
    return embedding_need(draft.memory_bytes, draft.context, room)


def _renamed(files: Sequence[RemoteFile], machine: str, features: Collection[str]) -> dict[str, RemoteFile]:
    """Files by the paths that they will have: the graph for this CPU takes the name that the importer likes best."""
    paths = {file.path: file for file in files}
    for kind, feature, end in CPU_GRAPHS:
        graph = f"onnx/model{end}.onnx"
        here = machine == kind and (not feature or feature in features)
        if here and graph in paths and not any(path.startswith(f"{graph}_data") for path in paths):
            return {**paths, _STORED_AS: paths[graph]}
    return paths


def _matters(path: str) -> bool:
    if path_fault(path) or path.startswith("."):
        return False
    if path.endswith(".onnx") or ".onnx_data" in path or ".onnx.data" in path:
        return True
    return any(PurePosixPath(path).match(pattern) and path.count("/") == pattern.count("/") for pattern in BESIDES)


def _text(file: RemoteFile, read: Callable[[RemoteFile], bytes]) -> bytes:
    if file.bytes > CONFIG_LIMIT_BYTES:
        raise ArtifactError(f"{file.path} has {file.bytes} bytes; at most {CONFIG_LIMIT_BYTES} are read.")
    return read(file)
