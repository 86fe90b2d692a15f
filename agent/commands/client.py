"""Talking to the daemon over HTTP, with the standard library alone: a command should be quick to start."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Generator, Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from agent.commands.form import Form
from agent.errors import EdgeAgentError, QueueFullError, UnauthorizedError, UnavailableError, by_code

CONNECT_TIMEOUT_S = 5.0
SILENCE_TIMEOUT_S = 900.0
"""Longest wait between two pieces of an answer: a large model that loads from an SD card, then a long prompt."""

BEGIN_TIMEOUT_S = 60.0
"""Longest wait for the first event of a stream that has no end."""

_LINE_LIMIT_BYTES = 16 * 1024 * 1024


class NoDaemonError(UnavailableError):
    """Nobody answers at the address: the next request will not do better."""


class Client:
    """A daemon at `url`. Every method raises the daemon's own error, or `UnavailableError` if none answers."""

    def __init__(self, url: str, *, key: str | None = None) -> None:
        self.url = url
        self._key = key

    def get(self, path: str, *, timeout_s: float = 10.0) -> Any:
        """The JSON at `path`."""
        with self._exchange("GET", path, None, timeout_s) as response:
            return _decoded(response.read())

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON answer to `body`."""
        with self._exchange("POST", path, body or {}, SILENCE_TIMEOUT_S) as response:
            return _decoded(response.read())

    def delete(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON answer."""
        with self._exchange("DELETE", path, body, SILENCE_TIMEOUT_S) as response:
            return _decoded(response.read())

    def stream(self, path: str, body: Mapping[str, Any]) -> Generator[dict[str, Any]]:
        """The server-sent events of an answer, as they come. Closing the iterator cancels the request."""
        with self._exchange("POST", path, {**body, "stream": True}, SILENCE_TIMEOUT_S) as response:
            if not (yield from _events(response)):
                raise UnavailableError("The daemon closed the connection in mid-answer.", hint="Its log says why.")

    def upload(self, path: str, form: Form) -> Generator[dict[str, Any]]:
        """The server-sent events of the answer to a file; they may end without `[DONE]`."""
        with self._exchange("POST", path, form, SILENCE_TIMEOUT_S) as response:
            yield from _events(response)

    def listen(self, path: str) -> Generator[dict[str, Any]]:
        """The server-sent events at `path`, for as long as there are any; a day may pass between two."""
        with self._exchange("GET", path, None, BEGIN_TIMEOUT_S, endless=True) as response:
            yield from _events(response)

    @contextlib.contextmanager
    def _exchange(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | Form | None,
        timeout_s: float,
        *,
        endless: bool = False,
    ) -> Iterator[http.client.HTTPResponse]:
        """`timeout_s` is for the answer to begin and for each piece of it; an endless one may pause for ever."""
        address = urlsplit(self.url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=CONNECT_TIMEOUT_S)
        headers = {"Accept": "application/json, text/event-stream", "X-Client-Id": "edge-agent"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        payload: Any = None
        if isinstance(body, Form):
            payload = iter(body)
            headers.update({"Content-Type": body.content_type, "Content-Length": str(body.length)})
        elif body is not None:
            payload = _encoded(body)
            headers["Content-Type"] = "application/json"
        try:
            connection.connect()
            sock = connection.sock
            sock.settimeout(timeout_s)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            response = _answer(connection, method, quote(path, safe="/?=&%"), payload, headers)
            if response.status >= 400:
                raise error_of(_decoded(response.read()), response.status, response.getheader("Retry-After"))
            if endless:
                sock.settimeout(None)
            yield response
        except TimeoutError:
            raise UnavailableError(f"The daemon at {self.url} does not answer.", hint="Its log may say why.") from None
        except (ConnectionRefusedError, FileNotFoundError):
            raise NoDaemonError(f"No daemon answers at {self.url}.", hint="Start it: edge-agent serve.") from None
        except (http.client.HTTPException, socket.gaierror, ConnectionError, OSError) as error:
            raise UnavailableError(f"Talking to the daemon at {self.url} failed: {_reason(error)}.") from None
        finally:
            connection.close()


def _answer(
    connection: http.client.HTTPConnection, method: str, path: str, payload: Any, headers: Mapping[str, str]
) -> http.client.HTTPResponse:
    """The answer, also where the daemon gave it before it had read the whole request, as it does with a large file."""
    try:
        connection.request(method, path, payload, dict(headers))
    except (BrokenPipeError, ConnectionResetError) as error:
        try:
            return _early(connection.sock)
        except (OSError, http.client.HTTPException, AttributeError):
            raise error from None
    return connection.getresponse()


def _early(sock: socket.socket) -> http.client.HTTPResponse:
    response = http.client.HTTPResponse(sock)
    response.begin()
    return response


def _events(response: http.client.HTTPResponse) -> Generator[dict[str, Any], None, bool]:
    """Returns whether `[DONE]` came. Raises the error that an event carries."""
    while line := response.readline(_LINE_LIMIT_BYTES):
        if not line.startswith(b"data:"):
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            return True
        event = _decoded(data)
        if "error" in event:
            raise error_of(event, 500, None)
        yield event
    return False


def error_of(answer: Any, status: int, retry_after: str | None) -> EdgeAgentError:
    """The daemon's error as one of ours, out of OpenAI's envelope."""
    error = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(error, dict):
        return EdgeAgentError(f"The daemon answered with status {status}.")
    message, code, param = str(error.get("message") or "It gave no reason."), str(error.get("code")), error.get("param")
    if code == QueueFullError.code:
        seconds = float(retry_after) if retry_after and retry_after.isdecimal() else 1.0
        return QueueFullError(message, retry_after_s=seconds)
    kind = by_code(code)
    if kind is UnauthorizedError:
        return kind(message, hint="Give the command the key: --api-key or $EDGE_AGENT_API_KEY.", param=param)
    return kind(message, param=param)


def _encoded(body: Mapping[str, Any]) -> bytes:
    """UTF-8, which is half of what escapes take; half a surrogate pair can only be escaped, and is then refused."""
    try:
        return json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(body).encode()


def _decoded(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        raise UnavailableError(
            "What answers there is not edge-agent: it sent no JSON.", hint="Check --host and --port."
        ) from None


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).rstrip(".")
