"""`edge-agent models pull` as a process, which finds a hub of ours."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.daemon_process import edge_agent
from tests.hub.hub_server import Hub

TINY = "hf:org/tiny-GGUF:F32"


def pull(folder: Path, hub: Hub, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return edge_agent(folder, "models", "pull", *arguments, extra=hub.environment(**environment))


def pulled(folder: Path, hub: Hub, *arguments: str) -> dict[str, Any]:
    done = pull(folder, hub, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    value: dict[str, Any] = json.loads(done.stdout)
    return value


def manifest(value: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(value["path"]) / "manifest.json").read_text())
    return found


def nothing_left(folder: Path) -> bool:
    downloads = folder / "state" / "downloads"
    return not downloads.exists() or not list(downloads.iterdir())


def keeping_back(folder: Path, reserve_mb: int) -> str:
    """The configuration of a board that keeps so much of its memory back."""
    file = folder / "agent.toml"
    file.write_text(f"[profile.memory]\nreserve_mb = {reserve_mb}\n")
    return str(file)
