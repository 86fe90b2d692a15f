"""The real daemon, and other edge-agent commands, as processes with a state folder of their own."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[1]
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 30.0


def environment_for(folder: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without anything that configures edge-agent, and with `folder` as home.

    Models that ship with edge-agent are not served unless `extra` says so: most tests bring their own.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("EDGE_AGENT_", "XDG_"))}
    for name in ("NOTIFY_SOCKET", "STATE_DIRECTORY", "JOURNAL_STREAM"):
        kept.pop(name, None)
    ours = {"HOME": str(folder), "PYTHONPATH": str(ROOT), "EDGE_AGENT_STARTER_MODELS": "never"}
    return {**kept, **ours, **(extra or {})}


def edge_agent(
    folder: Path,
    *arguments: str,
    stdin: str = "",
    extra: Mapping[str, str] | None = None,
    timeout_s: float = 60.0,
) -> subprocess.CompletedProcess[str]:
    """Runs one command to its end, with its state in `folder`/state."""
    return subprocess.run(
        [sys.executable, "-m", "agent.cli", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env=environment_for(folder, {"EDGE_AGENT_STATE_DIR": str(folder / "state"), **(extra or {})}),
        cwd=folder,
    )


class DaemonProcess:
    """`edge-agent serve`, on a port that the system chose unless told otherwise."""

    def __init__(self, folder: Path, *arguments: str, extra: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.state_dir = folder / "state"
        self.log_path = folder / "daemon.log"
        self._arguments = arguments
        self._extra = extra
        self.started_at = 0.0

    def start(self) -> None:
        """Returns at once; `wait_ready` waits."""
        port = () if "--port" in self._arguments else ("--port", "0")
        self.started_at = time.monotonic()
        command = [sys.executable, "-m", "agent.cli", "serve", "--state-dir", str(self.state_dir)]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *port, *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment_for(self.folder, self._extra),
                cwd=self.folder,
            )

    def wait_ready(self) -> float:
        """Waits until /health answers; returns the seconds since the start."""
        give_up = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < give_up:
            if self.process.poll() is not None:
                raise AssertionError(f"the daemon ended with {self.process.returncode}: {self.log()}")
            with contextlib.suppress(OSError, ValueError):
                if self.get("/health")[0] == 200:
                    return time.monotonic() - self.started_at
            time.sleep(0.01)
        raise AssertionError(f"the daemon did not become ready: {self.log()}")

    @property
    def url(self) -> str:
        return str(json.loads((self.state_dir / "daemon.json").read_text())["url"])

    def log(self) -> str:
        return self.log_path.read_text("utf-8", "replace")

    def wait_for_log(self, text: str, timeout_s: float = 10.0) -> None:
        give_up = time.monotonic() + timeout_s
        while text not in self.log():
            assert time.monotonic() < give_up, f"{text!r} was not logged: {self.log()}"
            time.sleep(0.01)

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
        return self.request("GET", path, None, headers)

    def request(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        connection = self.connect()
        payload = None if body is None else json.dumps(body)
        try:
            connection.request(method, path, payload, {"Content-Type": "application/json", **(headers or {})})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def connect(self) -> http.client.HTTPConnection:
        address = urlsplit(self.url)
        return http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """The exit status. Raises `subprocess.TimeoutExpired`."""
        return self.process.wait(timeout_s)

    def stop(self) -> None:
        """Ends it for good, whatever state it is in."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


@contextlib.contextmanager
def running_daemon(
    folder: Path, arguments: Sequence[str] = (), extra: Mapping[str, str] | None = None
) -> Iterator[DaemonProcess]:
    """A daemon that is ready, and stopped at the end."""
    daemon = DaemonProcess(folder, *arguments, extra=extra)
    daemon.start()
    try:
        daemon.wait_ready()
        yield daemon
    finally:
        daemon.stop()
