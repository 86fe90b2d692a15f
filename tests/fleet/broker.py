"""A real mosquitto on free ports, with a folder of its own: started, killed, restarted by tests and benchmarks.

with Broker(folder) as broker:
    broker.publish("a/b", "hello", retain=True)
    broker.url()            # mqtt://127.0.0.1:PORT
    broker.kill()           # -9
    broker.start()          # same ports, and what it had saved
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import pytest

from tests.fleet.certificates import Authority

Listener = Literal["mqtt", "mqtts", "ws", "wss"]
START_TIMEOUT_S = 20.0
CLIENT_TIMEOUT_S = 30


def find_mosquitto() -> str | None:
    """Debian keeps it where the PATH of a person does not lead."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Broker:
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
        self.folder = folder
        self.ports = {listener: free_port() for listener in listeners}
        self.log_path = folder / "mosquitto.log"
        self._command = [executable, "-c", str(folder / "mosquitto.conf")]
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        text = [f"persistence_location {folder}/", f"persistence {str(persistent).lower()}", *lines]
        if persistent:
            text += ["autosave_interval 1", "autosave_on_changes true"]
        if os.geteuid() == 0:
            text.append("user root")
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
        (folder / "mosquitto.conf").write_text("\n".join(text) + "\n")

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

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Returns when it takes connections."""
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        deadline = time.monotonic() + START_TIMEOUT_S
        for port in self.ports.values():
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"mosquitto did not start: {self.log_path.read_text()[-2000:]}")
                time.sleep(0.02)

    def kill(self) -> None:
        """As a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """It keeps its connections and answers nothing, until `go_on`."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(10)
            self._process = None

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
