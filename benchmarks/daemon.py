"""A real daemon in a process of its own: configured, started, asked and stopped the way a person would."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.client import Exchange, call

ROOT = Path(__file__).resolve().parents[1]

# Fields of `agent.runtime.wire.memory.Memory` that add up to what a model takes.
MEMORY_PARTS = ("weights_bytes", "kv_bytes", "compute_bytes", "overhead_bytes", "prefix_cache_bytes")


class Daemon:
    """`edge-agent serve` on a free loopback port, with a state folder of its own that goes away with it.

    `models` is {name: settings of its [models.NAME] table}, `settings` the top level of agent.toml. Use as a context
    manager; models are imported between construction and entering.
    """

    def __init__(
        self,
        *,
        models: Mapping[str, Mapping[str, Any]] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="edge-agent-bench-")
        self.folder = Path(self._folder.name)
        self.state_dir = self.folder / "state"
        self.config = self.folder / "agent.toml"
        self.log = self.folder / "daemon.log"
        self.port = _free_port()
        self.ready_s = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        chosen = {"starter_models": "never", **(settings or {})}
        lines = [f"{key} = {_toml(value)}" for key, value in chosen.items()]
        for name, table in (models or {}).items():
            lines.append(f'[models."{name}"]')
            lines += [f"{key} = {_toml(value)}" for key, value in table.items()]
        self.config.write_text("\n".join(lines) + "\n")

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("the daemon has not been started")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `edge-agent ARGUMENTS` with this daemon's state folder; the caller looks at the exit status."""
        return subprocess.run(
            [sys.executable, "-m", "agent.cli", *arguments],
            cwd=ROOT, env=self._environment(), capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    def import_model(self, path: Path, name: str) -> None:
        """Raises `RuntimeError` with the command's output where the import fails."""
        done = self.command("models", "import", str(path), "--name", name)
        if done.returncode:
            raise RuntimeError(f"models import {path}: exit {done.returncode}\n{done.stdout}{done.stderr}")

    def __enter__(self) -> Daemon:
        started = time.perf_counter()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "agent.cli", "serve", "--port", str(self.port)],
                cwd=ROOT, env=self._environment(), stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        while True:
            answer = call(self.port, "/health", timeout_s=5)
            if answer.status == 200:
                break
            if self._process.poll() is not None or time.perf_counter() - started > 30:
                self._stop()
                raise RuntimeError(f"the daemon did not start:\n{self.log_tail()}")
            time.sleep(0.005)
        self.ready_s = time.perf_counter() - started
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            print(self.log_tail(), file=sys.stderr)
        self._stop()
        self._folder.cleanup()

    def log_tail(self, lines: int = 25) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def status(self) -> dict[str, Any]:
        answer: dict[str, Any] = call(self.port, "/status").json()
        return answer

    def model(self, name: str) -> dict[str, Any]:
        """The model's part of /status. Raises `KeyError` for a model that the daemon does not know."""
        for model in self.status()["runtime"]["models"]:
            if model["name"] == name:
                found: dict[str, Any] = model
                return found
        raise KeyError(name)

    def load(self, name: str) -> Exchange:
        return call(self.port, f"/models/{name}/load", {}, timeout_s=300)

    def wait_until_loaded(self, name: str) -> dict[str, Any]:
        """Load the model and give its part of /status. Raises `RuntimeError` where it cannot be loaded."""
        answer = self.load(name)
        if answer.status >= 300 or answer.error:
            raise RuntimeError(f"load {name}: {answer.status} {answer.body.decode()} {answer.error}")
        limit = time.monotonic() + 120
        while (model := self.model(name))["state"] != "ready":
            if time.monotonic() > limit:
                raise RuntimeError(f"load {name}: still {model['state']}: {model['reason']}")
            time.sleep(0.05)
        return model

    def wait_until_idle(self, timeout_s: float = 60) -> None:
        """Until no request runs or waits. Raises `TimeoutError`."""
        limit = time.monotonic() + timeout_s
        while (runtime := self.status()["runtime"])["running"] or runtime["queue"]["waiting"]:
            if time.monotonic() > limit:
                raise TimeoutError(f"still running {runtime['running']}, waiting {runtime['queue']['waiting']}")
            time.sleep(0.02)

    def _environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("EDGE_AGENT_")}
        return {**kept, "EDGE_AGENT_CONFIG": str(self.config), "EDGE_AGENT_STATE_DIR": str(self.state_dir)}

    def _stop(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise


def memory_total(memory: Mapping[str, int]) -> int:
    """Bytes of a `Memory` as /status shows it."""
    return sum(memory.get(part, 0) for part in MEMORY_PARTS)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | Path):
        return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value)
