"""`python -m convert.starter.chat`: what it refuses before it trains."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "convert.starter.chat", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        ((), 2, "--out"),
        (("--out", "{there}"), 1, "exists already"),
        (("--out", "{new}", "--steps", "0"), 2, "above 0"),
        (("--out", "{new}", "--minutes", "-1"), 2, "above 0"),
        (("--out", "{new}", "--minutes", "1", "--steps", "1"), 2, "not allowed with"),
    ],
)
def test_what_cannot_begin_says_why(options: tuple[str, ...], status: int, said: str, tmp_path: Path) -> None:
    done = run(*(option.format(there=tmp_path, new=tmp_path / "new") for option in options))
    assert done.returncode == status
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="PyTorch is installed")
def test_without_pytorch_it_says_what_to_install(tmp_path: Path) -> None:
    done = run("--out", str(tmp_path / "new"))
    assert done.returncode == 1
    assert "torch" in done.stderr
    assert "edge-agent[convert]" in done.stderr
