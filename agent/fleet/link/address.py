"""Where a broker is: `mqtt://HOST[:PORT]`, `mqtts://` (TLS), `ws://` or `wss://` with a path (WebSocket)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from agent.errors import ConfigError

PORTS: Final = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}
WEBSOCKET_PATH: Final = "/mqtt"
"""What EMQX, HiveMQ and AWS use; mosquitto takes any."""


@dataclass(frozen=True)
class Address:
    """`host` is a name in ASCII (IDNA) or a bare IP address; `path` is for WebSocket, with its query."""

    scheme: str
    host: str
    port: int
    path: str = ""

    @property
    def tls(self) -> bool:
        return self.scheme in ("mqtts", "wss")

    @property
    def websocket(self) -> bool:
        return self.scheme in ("ws", "wss")

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __str__(self) -> str:
        """Without the path's query, which may hold a signature."""
        return f"{self.scheme}://{self.authority}{self.path.partition('?')[0]}"

    @classmethod
    def parse(cls, url: str) -> Address:
        """Raises `ConfigError`; it shows no password that the URL may hold."""
        hidden = url if "@" not in url else f"{url.partition('://')[0]}://...@{url.rpartition('@')[2]}"

        def wrong(problem: str, hint: str = "") -> ConfigError:
            return ConfigError(f"mqtt.url = {hidden!r}: {problem}.", hint=hint, param="mqtt.url")

        try:
            parts = urlsplit(url.strip())
            port = parts.port
        except ValueError as error:
            raise wrong(str(error)) from None
        if parts.scheme not in PORTS:
            raise wrong("expected a URL that begins with mqtt://, mqtts://, ws:// or wss://")
        if parts.username is not None or parts.password is not None:
            raise wrong("it holds a user", "Set mqtt.username, and mqtt.password or mqtt.password_file.")
        if not parts.hostname:
            raise wrong("it names no host")
        if port == 0:
            raise wrong("port 0 cannot be connected to")
        try:
            host = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode()
        except UnicodeError:
            raise wrong("its host is no valid name") from None
        if any(character <= " " or character == "\x7f" for character in host + parts.path + parts.query):
            raise wrong("it holds a space or a control character")
        if parts.fragment or (parts.scheme in ("mqtt", "mqtts") and (parts.path not in ("", "/") or parts.query)):
            raise wrong("nothing may follow the port")
        path = ""
        if parts.scheme in ("ws", "wss"):
            path = (parts.path or WEBSOCKET_PATH) + (f"?{parts.query}" if parts.query else "")
            if not path.isascii():
                raise wrong("its path is not ASCII")
        return cls(parts.scheme, host, port or PORTS[parts.scheme], path)
