"""What the store's tests import: files of random bytes, since the store opens no model format."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import msgspec

from agent.store.probe_report import ProbeReport
from agent.store.store import Store

MIB = 1024 * 1024

REPORT = ProbeReport(
    architecture="llama",
    name="Stories 260K",
    parameters=292_800,
    size_bytes=1_000_000,
    file_type="Q4_K_M",
    context_train=2048,
    embedding_dim=64,
    vocab_tokens=512,
    layers=5,
    pooling=None,
    task="generate",
    has_chat_template=True,
    license="mit",
    kv_bytes_per_1k_context=655_360,
    compute_bytes=2_000_000,
    split_count=1,
    can_shift=True,
)


def report(**changes: Any) -> ProbeReport:
    return msgspec.structs.replace(REPORT, **changes)


def random_bytes(count: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(count)


def gguf(path: Path, *, count: int = 5000, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(random_bytes(count, seed))
    return path


def small_store(root: Path, **options: Any) -> Store:
    """A store that does not insist on 64 MiB of free disk."""
    return Store(root, **{"margin_bytes": 0, **options})


def manifest_of(files: dict[str, bytes], **changes: Any) -> dict[str, Any]:
    """An author's manifest.json, as Python values."""
    return {
        "name": "assistant",
        "version": "2026.1",
        "task": "generate",
        "format": "gguf",
        "files": [
            {"path": path, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for path, data in files.items()
        ],
        "context": 2048,
        "quantization": "Q4_K_M",
        "memory_bytes": {"weights": 1000, "per_1k_context": 100, "compute": 10},
        **changes,
    }


def artifact(folder: Path, files: dict[str, bytes], **changes: Any) -> Path:
    """An artifact folder with a manifest that is right, but for `changes`."""
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    (folder / "manifest.json").write_text(json.dumps(manifest_of(files, **changes)))
    return folder


def tree(root: Path) -> dict[str, str]:
    """Every path below `root` and what it holds, but for the lock file."""
    found = {}
    for path in sorted(root.rglob("*")):
        key = path.relative_to(root).as_posix()
        if path.is_symlink():
            found[key] = f"-> {path.readlink()}"
        elif path.is_dir():
            found[key] = "folder"
        elif key != ".lock":
            found[key] = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    return found
