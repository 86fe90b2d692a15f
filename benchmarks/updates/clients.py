"""Clients of a daemon that stream one answer after another, without a pause."""

from __future__ import annotations

import http.client
import json
import threading
import time
from dataclasses import dataclass, field
from typing import Final

from benchmarks.updates.site import NAME, Device

CLIENTS: Final = 2
ANSWER_TOKENS: Final = 64


@dataclass
class Load:
    """Clients in threads. `gaps` are (begin, end) of the time between two pieces of text, `waits` of that before the
    first one, in seconds of `time.monotonic`."""

    device: Device
    gaps: list[tuple[float, float]] = field(default_factory=list)
    waits: list[tuple[float, float]] = field(default_factory=list)
    answers: int = 0
    failures: list[str] = field(default_factory=list)
    done: bool = False

    def __enter__(self) -> Load:
        self._threads = [threading.Thread(target=self._client, args=(number,)) for number in range(CLIENTS)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done = True
        for thread in self._threads:
            thread.join()

    def _client(self, number: int) -> None:
        while not self.done:
            try:
                self._ask(number)
                self.answers += 1
            except (OSError, ValueError, http.client.HTTPException) as error:
                self.failures.append(f"{type(error).__name__}: {error}")
                time.sleep(0.2)

    def _ask(self, number: int) -> None:
        host, _, port = json.loads((self.device.state_dir / "daemon.json").read_text())["url"].rpartition(":")
        connection = http.client.HTTPConnection(host.rpartition("/")[2], int(port.rstrip("/")), timeout=60)
        body = {
            "model": NAME, "prompt": f"Client {number} asks for a story about a harbor.", "stream": True,
            "max_tokens": ANSWER_TOKENS, "temperature": 0, "ignore_eos": True,
        }  # fmt: skip
        asked, last = time.monotonic(), None
        try:
            connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            if response.status != 200:
                raise ValueError(f"status {response.status}: {response.read()[:200]!r}")
            ended = ""
            for line in response:
                now = time.monotonic()
                if not line.startswith(b"data: "):
                    continue
                if line.strip() == b"data: [DONE]":
                    break
                event = json.loads(line[6:])
                if "error" in event:
                    raise ValueError(event["error"]["message"])
                for choice in event["choices"]:
                    ended = choice.get("finish_reason") or ended
                    if choice.get("text"):
                        (self.waits if last is None else self.gaps).append((asked if last is None else last, now))
                        last = now
            else:
                raise ValueError("the stream broke off")
            if ended != "length":
                raise ValueError(f"an answer that ended with {ended!r}")
        finally:
            connection.close()
