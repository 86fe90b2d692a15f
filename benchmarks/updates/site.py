"""A publisher and a device with a real daemon: what the benchmarks of updates are made of."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agent.store.manifest import MemoryNeed
from benchmarks.process import children
from benchmarks.updates.line import Link
from convert.artifact import new_artifact
from convert.publish.create import create
from convert.publish.publish import publish

ROOT: Final = Path(__file__).resolve().parents[2]
NAME: Final = "m"
PROMPT: Final = "Once upon a time"
TOKENS: Final = 8
READY_S: Final = 60.0


class Publisher:
    """A repository below `folder`, made and filled as a person does it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.repo = folder / "repo"
        self._created = create(self.repo, folder / "keys")
        self.root = self._created.root

    def publish(
        self, version: str, model: Path, golden: list[dict[str, Any]] | None = None, gates: Mapping[str, Any] = {}
    ) -> None:
        place = self._folder / f"artifact-{version}"
        with new_artifact(place) as staged:
            shutil.copyfile(model, staged.folder / "model.gguf")
            described: dict[str, Any] = dict(gates)
            if golden is not None:
                (staged.folder / "golden.jsonl").write_text("\n".join(json.dumps(one) for one in golden) + "\n")
                described["golden"] = "golden.jsonl"
            need = MemoryNeed(weights=model.stat().st_size, per_1k_context=0, compute=0)
            staged.finish(
                name=NAME, version=version, task="generate", format="gguf", context=2048, quantization="?",
                memory_bytes=need, **({"gates": described} if described else {}),
            )  # fmt: skip
        publish(place, self.repo, self._created.ring)
        shutil.rmtree(place)


@dataclass
class Answer:
    status: int
    body: Any

    @property
    def text(self) -> str:
        return str(self.body["choices"][0]["text"])


class Device:
    """`edge-agent serve` with its state in `folder`, started and killed again and again; `settings` is agent.toml."""

    def __init__(self, folder: Path, settings: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.state_dir = folder / "state"
        self.log = folder / "daemon.log"
        (folder / "agent.toml").write_text(settings)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Returns at once."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("EDGE_AGENT_", "XDG_"))}
        kept |= {"EDGE_AGENT_STARTER_MODELS": "never", "HOME": str(self.folder), "PYTHONPATH": str(ROOT)}
        with contextlib.suppress(FileNotFoundError):
            (self.state_dir / "daemon.json").unlink()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "agent.cli", "serve", "--state-dir", str(self.state_dir), "--port", "0",
                 "--config", str(self.folder / "agent.toml")],
                cwd=self.folder, env=kept, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log,
            )  # fmt: skip

    def wait_ready(self) -> None:
        """Raises `RuntimeError` with what it logged."""
        assert self._process is not None
        give_up = time.monotonic() + READY_S
        while time.monotonic() < give_up and self._process.poll() is None:
            with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
                if self.ask("GET", "/health").status == 200:
                    return
            time.sleep(0.02)
        raise RuntimeError(f"the daemon did not become ready:\n{self.log_tail()}")

    def ask(self, method: str, path: str, body: Any = None) -> Answer:
        """Raises `OSError`, `HTTPException`, `ValueError` where there is nobody."""
        host, _, port = json.loads((self.state_dir / "daemon.json").read_text())["url"].rpartition(":")
        connection = http.client.HTTPConnection(host.rpartition("/")[2], int(port.rstrip("/")), timeout=60)
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, path, payload, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return Answer(response.status, json.loads(response.read()))
        finally:
            connection.close()

    def complete(self) -> Answer:
        """What the model says, always the same for one version."""
        asked = {"model": NAME, "prompt": PROMPT, "max_tokens": TOKENS, "temperature": 0, "ignore_eos": True}
        return self.ask("POST", "/v1/completions", asked)

    def freeze(self) -> None:
        """Stops it and all it has started, until `kill`."""
        _signal([self.pid, *_started_by(self.pid)], signal.SIGSTOP)

    def kill(self, *, children_too: bool) -> None:
        """SIGKILL, to it alone or to all it has started; returns when it is gone. What it has started ends by itself,
        sooner or later."""
        assert self._process is not None
        started = _started_by(self.pid)
        _signal([self.pid, *(started if children_too else ())], signal.SIGKILL)
        self._process.wait()
        _signal([] if children_too else started, signal.SIGCONT)

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def log_tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def _started_by(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return children(pid)
    return []


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


class JournalReader:
    """The updates' journal as another process sees it: what it shows has been committed."""

    def __init__(self, device: Device) -> None:
        self._path = device.state_dir / "updates" / "updates.db"
        self._connection: sqlite3.Connection | None = None

    def last(self) -> tuple[int, str] | None:
        """Number and state of the update that was asked for last; None while there is none."""
        try:
            if self._connection is None:
                self._connection = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=1)
            row = self._connection.execute("SELECT id, state FROM updates ORDER BY id DESC LIMIT 1").fetchone()
        except sqlite3.Error:
            self.close()
            return None
        return None if row is None else (int(row[0]), str(row[1]))

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> JournalReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def settings(publisher: Publisher, link: Link, **updates: Any) -> str:
    """agent.toml with `updates` in its table of that name."""
    lines = ["[updates]", f'url = "{link.url}"', f'root_file = "{publisher.root}"']
    return "\n".join(lines + [f"{key} = {json.dumps(value)}" for key, value in updates.items()]) + "\n"
