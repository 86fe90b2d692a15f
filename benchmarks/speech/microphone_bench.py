"""A daemon that hears a null sink, and somebody who listens to its microphone."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.client import call
from benchmarks.daemon import Daemon
from benchmarks.process import children
from benchmarks.speech.null_sink import NullSink

SETTLE_S = 12.0
"""PulseAudio needs two seconds, the noise gate a few."""
Event = dict[str, Any]


class Listener:
    """Somebody who listens to the microphone: every event with the wall clock of its arrival."""

    def __init__(self, port: int, *, levels: bool = False, language: str = "") -> None:
        self.events: list[tuple[float, Event]] = []
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3600)
        self._connection.request(
            "GET", f"/v1/audio/live?level={int(levels)}" + (f"&language={language}" if language else "")
        )
        self._answer = self._connection.getresponse()
        if self._answer.status != 200:
            raise RuntimeError(f"live: {self._answer.status} {self._answer.read().decode()}")
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def of(self, kind: str, since: int = 0) -> list[tuple[float, Event]]:
        return [(at, event) for at, event in self.events[since:] if event["type"] == kind]

    def wait(self, found: Callable[[], bool], timeout_s: float) -> bool:
        limit = time.monotonic() + timeout_s
        while not found():
            if time.monotonic() > limit:
                return False
            time.sleep(0.02)
        return True

    def wait_open(self, timeout_s: float = 15.0, since: int = 0) -> bool:
        return self.wait(lambda: any(event["state"] == "open" for _, event in self.of("device", since)[-1:]), timeout_s)

    def close(self) -> None:
        if self._connection.sock is not None:
            self._connection.sock.close()
        self._thread.join(timeout=5)

    def _read(self) -> None:
        try:
            for line in self._answer:
                if line.startswith(b"data: {"):
                    self.events.append((time.time(), json.loads(line[6:])))
        except (OSError, http.client.HTTPException, ValueError):
            return  # closed


class Bench:
    """The daemon, its sound server, and what there is to say."""

    def __init__(self, daemon: Daemon, sink: NullSink, model: str, audio: Path, folder: Path) -> None:
        self.daemon, self.sink, self.model, self.audio, self.folder = daemon, sink, model, audio, folder

    def microphone(self) -> dict[str, Any]:
        state: dict[str, Any] = self.daemon.status()["microphone"]
        return state

    def capture_pid(self) -> int:
        for pid in children(self.daemon.pid):
            if b"agent.speech.capture" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
        raise RuntimeError("nothing captures")

    def requests(self) -> int:
        """Passes of the model so far."""
        text = call(self.daemon.port, "/metrics").body.decode()
        return int(
            sum(
                float(line.rsplit(" ", 1)[1])
                for line in text.splitlines()
                if line.startswith("llm_requests_total") and f'"{self.model}"' in line
            )
        )
