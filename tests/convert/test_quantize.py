"""`edge-convert quantize`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from agent.runtime.probe import probe_gguf
from tests.engines.worker_process import REPO


def convert(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "convert.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=REPO, timeout=60, check=False)


def test_a_quantized_model_loads_and_is_smaller(tiny_model: Path, tmp_path: Path) -> None:
    target = tmp_path / "small.gguf"
    done = convert("quantize", tiny_model, target, "--quant", "q8_0")
    assert done.returncode == 0, done.stderr
    assert "Q8_0" in done.stdout
    assert probe_gguf(target).file_type == "Q8_0"
    assert target.stat().st_size < tiny_model.stat().st_size
    assert [p.name for p in tmp_path.iterdir()] == ["small.gguf"]


@pytest.mark.parametrize(
    ("source", "target", "kind", "status", "says"),
    [
        ("tiny", "taken.gguf", "Q8_0", 1, "exists already"),
        ("tiny", "new.gguf", "Q99", 2, "no quantization"),
        ("absent.gguf", "new.gguf", "Q8_0", 1, "is not a file"),
        ("noise.gguf", "new.gguf", "Q8_0", 1, "cannot be quantized"),
        ("tiny", "nowhere/new.gguf", "Q8_0", 1, "is not a folder"),
    ],
)
def test_failures_are_one_sentence_and_leave_nothing(
    tiny_model: Path, tmp_path: Path, source: str, target: str, kind: str, status: int, says: str
) -> None:
    (tmp_path / "taken.gguf").write_bytes(b"x")
    (tmp_path / "noise.gguf").write_bytes(b"noise" * 100)
    before = sorted(p.name for p in tmp_path.iterdir())
    path = tiny_model if source == "tiny" else tmp_path / source
    done = convert("quantize", path, tmp_path / target, "--quant", kind)
    assert (done.returncode, "Traceback" in done.stderr) == (status, False)
    assert says in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == before
