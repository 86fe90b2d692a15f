"""What is asked of the booted system, from inside: systemd, processes, the daemon. Needs no package."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

URL = "http://127.0.0.1:8484"
UNIT = "edge-agent.service"


def command(*argv: str, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s, stdin=subprocess.DEVNULL)


def show(*names: str) -> dict[str, str]:
    text = command("systemctl", "show", UNIT, f"--property={','.join(names)}").stdout
    found = dict(line.split("=", 1) for line in text.splitlines())
    return {name: found[name] for name in names}


def journal(*arguments: str) -> str:
    return command("journalctl", "-b", "-u", UNIT, "--no-pager", *arguments).stdout


def get(path: str, timeout_s: float = 30) -> Any:
    with urllib.request.urlopen(f"{URL}{path}", timeout=timeout_s) as answer:
        return json.loads(answer.read())


def post(path: str, body: Any, timeout_s: float) -> Any:
    head = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{URL}{path}", json.dumps(body).encode(), head)
    with urllib.request.urlopen(request, timeout=timeout_s) as answer:
        return json.loads(answer.read())


def healthy() -> bool:
    return bool(get("/health", 10))


def wait_for(what: Callable[[], bool], timeout_s: float) -> bool:
    give_up = time.monotonic() + timeout_s
    while time.monotonic() < give_up:
        with contextlib.suppress(OSError, ValueError, KeyError):
            if what():
                return True
        time.sleep(0.1)
    return False


def children(pid: int) -> list[int]:
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (place / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid and fields[0] != "Z":
                found.append(int(place.name))
    return found


def memory_kib(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
