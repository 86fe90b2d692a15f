"""A real mosquitto on free ports, with a folder of its own: started, killed, restarted by tests and benchmarks.

with Broker(folder) as broker:
    broker.publish("a/b", "hello", retain=True)
    broker.url()            # mqtt://127.0.0.1:PORT
    broker.kill()           # -9
    broker.start()          # same ports, and what it had saved
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import pytest

from benchmarks.mqtt.mosquitto import Mosquitto, find_mosquitto, free_port
from tests.fleet.certificates import Authority

__all__ = ["Broker", "Listener", "free_port"]

Listener = Literal["mqtt", "mqtts", "ws", "wss"]
CLIENT_TIMEOUT_S = 30


class Broker(Mosquitto):
    """`authority` makes the certificates that TLS listeners need. `passwords` by user; without any, all are let in.

    `lines` are added to its configuration. With `persistent` it saves each change at once, so that nothing that it has
    confirmed is lost when it is killed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        listeners: Sequence[Listener] = ("mqtt",),
        authority: Authority | None = None,
        client_certificates: bool = False,
        certificate_days: int = 30,
        passwords: Mapping[str, str] | None = None,
        persistent: bool = True,
        lines: Sequence[str] = (),
    ) -> None:
        executable = find_mosquitto()
        if executable is None:
            pytest.skip("mosquitto is not installed")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.ports = {listener: free_port() for listener in listeners}
        text = [f"persistence {str(persistent).lower()}", *lines]
        if persistent:
            text += ["autosave_interval 1", "autosave_on_changes true"]
        if passwords:
            file = folder / "passwords"
            file.touch(mode=0o600)
            for user, password in passwords.items():
                subprocess.run(["mosquitto_passwd", "-b", str(file), user, password], check=True, capture_output=True)
            text.append(f"password_file {file}")
        text.append(f"allow_anonymous {str(not passwords).lower()}")
        for listener, port in self.ports.items():
            text.append(f"listener {port} 127.0.0.1")
            if listener in ("ws", "wss"):
                text.append("protocol websockets")
            if listener in ("mqtts", "wss"):
                assert authority is not None
                server = authority.issue("broker", names=["localhost"], days=certificate_days)
                text += [f"cafile {authority.file}", f"certfile {server.file}", f"keyfile {server.key}"]
                text.append(f"require_certificate {str(client_certificates).lower()}")
        super().__init__(executable, folder, list(self.ports.values()), text)

    def __enter__(self) -> Broker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def url(self, listener: Listener = "mqtt", host: str | None = None) -> str:
        """TLS listeners answer to `localhost`."""
        default = "localhost" if listener in ("mqtts", "wss") else "127.0.0.1"
        return f"{listener}://{host or default}:{self.ports[listener]}"

    @property
    def port(self) -> int:
        return self.ports["mqtt"]

    def publish(
        self, topic: str, payload: str | bytes = b"", *arguments: str, qos: int = 1, retain: bool = False
    ) -> None:
        """By mosquitto_pub; `arguments` are its own, like `-D publish response-topic x`."""
        command = [*self._client("mosquitto_pub"), "-t", topic, "-q", str(qos), *arguments]
        command += ["-s"] if payload else ["-n"]
        command += ["-r"] if retain else []
        data = payload.encode() if isinstance(payload, str) else payload
        subprocess.run(command, input=data, check=True, timeout=CLIENT_TIMEOUT_S)

    def listen(self, filter: str, count: int, *arguments: str, timeout_s: int = 10) -> list[str]:
        """`count` messages, or those that came in time, as `topic payload`: the retained ones, then new ones."""
        return self.listening(filter, count, *arguments, timeout_s=timeout_s).communicate()[0].splitlines()

    def listening(self, filter: str, count: int, *arguments: str, timeout_s: int = 10) -> subprocess.Popen[str]:
        """The same without waiting for it."""
        command = [*self._client("mosquitto_sub"), "-t", filter, "-q", "1", "-C", str(count), "-W", str(timeout_s)]
        command += [*arguments] if "-F" in arguments else [*arguments, "-F", "%t %p"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def _client(self, name: str) -> list[str]:
        if shutil.which(name) is None:
            pytest.skip("mosquitto-clients is not installed")
        return [name, "-h", "127.0.0.1", "-p", str(self.port), "-V", "5"]
