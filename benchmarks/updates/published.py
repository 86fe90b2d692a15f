"""A repository of a model of random bytes, made by `edge-convert`."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Published:
    """A repository with versions 1 and 2 of a model in `folder`; 2 has other bytes at its beginning."""

    folder: Path
    size_bytes: int

    @property
    def repo(self) -> Path:
        return self.folder / "repo"

    @property
    def root(self) -> Path:
        return self.repo / "metadata" / "1.root.json"

    def make(self) -> None:
        keys = self.folder / "keys"
        _edge_convert("keys", "create", "--repo", str(self.repo), "--keys", str(keys))
        for version in ("1", "2"):
            artifact = self.folder / f"artifact{version}"
            artifact.mkdir()
            digest, path = hashlib.sha256(), artifact / "model.onnx"
            with path.open("wb") as file:
                draw = random.Random(1)
                for at in range(0, self.size_bytes, 1 << 20):
                    block = draw.randbytes(min(1 << 20, self.size_bytes - at))
                    if at == 0 and version == "2":
                        block = b"a longer chat template" * 10 + block[100:]
                    file.write(block)
                    digest.update(block)
            manifest = {
                "name": "toy", "version": version, "task": "embed", "format": "onnx", "context": 128,
                "files": [{"path": path.name, "bytes": path.stat().st_size, "sha256": digest.hexdigest()}],
                "quantization": "none", "memory_bytes": {"weights": 1, "per_1k_context": 0, "compute": 0},
            }  # fmt: skip
            (artifact / "manifest.json").write_text(json.dumps(manifest))
            _edge_convert("publish", str(artifact), "--repo", str(self.repo), "--keys", str(keys))
            shutil.rmtree(artifact)


def _edge_convert(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "convert.cli", *arguments], cwd=ROOT, check=True, capture_output=True)
