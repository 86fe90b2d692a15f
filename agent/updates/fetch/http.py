"""HTTP: whole files and ranges, from servers that may be slow, wrong or hostile.

The standard library's client, as redirects, decoding and retries of others would have to be switched off: here every
byte is counted, every wait has an end, and a range is what was asked for or an error.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from itertools import chain
from typing import Final
from urllib.parse import SplitResult, urljoin, urlsplit

from agent.errors import ConfigError
from agent.updates.fetch.faults import InterruptedFetchError, NotThereError
from agent.updates.fetch.meter import Meter
from agent.updates.fetch.transport import Place, Wanted

PIECE_BYTES: Final = 64 * 1024
REDIRECTS: Final = 5
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_BUSY: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_LONGEST_WAIT_S: Final = 300.0
_CONNECTIONS: Final = 4
_CAPPED_S: Final = 0.25
"""Under a bandwidth cap the server is always ahead: so much of the cap may wait in the system's buffers."""
_BUFFER_BYTES: Final = 64 * 1024
_LARGEST_BUFFER_BYTES: Final = 4 * 1024 * 1024
_UNKNOWN_BYTES: Final = 16 * 1024
"""Read at a time where the end is not known: what an endless answer costs at most beyond its limit."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a server may take. Less than `slow_bytes` in `slow_s` is no transfer (a 2G line brings 30 times that);
    no answer's head takes longer than `head_s`. `run_bytes` is the most that is asked for at once."""

    connect_s: float = 15.0
    head_s: float = 60.0
    silence_s: float = 30.0
    slow_s: float = 60.0
    slow_bytes: int = 6_000
    run_bytes: int = 16 * 1024 * 1024


class HttpTransport:
    """`url` is the repository's. Raises `ConfigError` for one that cannot be."""

    def __init__(self, url: str, meter: Meter, patience: Patience | None = None) -> None:
        self._base = url if url.endswith("/") else f"{url}/"
        parts = _split(self._base)
        if parts is None:
            raise ConfigError(f"updates.url = {url!r} is no address of a repository: expected http:// or https://.")
        self._meter = meter
        self._patience = patience or Patience()
        self._open: dict[tuple[str, str], http.client.HTTPConnection] = {}
        self._tls: ssl.SSLContext | None = None

    def read(self, place: Place, size_bytes: int | None = None) -> Iterator[bytes]:
        with self._get(place, {"Cache-Control": "no-cache"} if size_bytes is None else {}) as body:
            if body.response.status != 200:
                raise _unexpected(body.response.status, place)
            body.expect(size_bytes)
            left_bytes = _UNKNOWN_BYTES if size_bytes is None else size_bytes
            while left_bytes and (piece := body.some(left_bytes)):
                left_bytes -= len(piece) if size_bytes is not None else 0
                yield piece
            if size_bytes is not None and left_bytes:
                raise InterruptedFetchError(f"The server ended {place.path} {left_bytes} bytes before its end.")

    def chunks(self, place: Place, total_bytes: int, wanted: Iterable[Wanted]) -> Iterator[tuple[Wanted, bytes]]:
        runs = self._runs(wanted)
        for run in runs:
            first, end = run[0].offset, run[-1].offset + run[-1].length
            with self._get(place, {"Range": f"bytes={first}-{end - 1}"}) as body:
                if body.response.status == 200:  # knows no ranges: the whole file passes by, once
                    body.expect(total_bytes)
                    yield from _pick(body, 0, chain(run, chain.from_iterable(runs)))
                    return
                if body.response.status != 206:
                    raise _unexpected(body.response.status, place)
                body.expect(end - first)
                body.expect_range(first, end, total_bytes)
                yield from _pick(body, first, run)

    def close(self) -> None:
        for connection in self._open.values():
            connection.close()
        self._open.clear()

    def _runs(self, wanted: Iterable[Wanted]) -> Iterator[list[Wanted]]:
        """Neighbors, as many as may be asked for at once."""
        run: list[Wanted] = []
        run_bytes = 0
        for chunk in wanted:
            joins = run and run[-1].offset + run[-1].length == chunk.offset
            if run and (not joins or run_bytes + chunk.length > self._room_bytes()):
                yield run
                run, run_bytes = [], 0
            run.append(chunk)
            run_bytes += chunk.length
        if run:
            yield run

    def _room_bytes(self) -> int:
        """What is asked for at once is on its way, and lost if this process dies: little, under a bandwidth cap."""
        room_bytes = self._patience.run_bytes
        if (left_bytes := self._meter.left_bytes) is not None:
            room_bytes = min(room_bytes, left_bytes)
        if (bytes_per_s := self._meter.bytes_per_s) is not None:
            room_bytes = min(room_bytes, int(bytes_per_s * _CAPPED_S))
        return room_bytes

    @contextlib.contextmanager
    def _get(self, place: Place, headers: dict[str, str]) -> Iterator[_Body]:
        """The answer to a GET, after redirects. Its connection is used again if the answer was read to its end."""
        url = self._base + place.path
        for _ in range(REDIRECTS + 1):
            parts = _split(url)
            if parts is None or (parts.scheme == "http" and self._base.startswith("https:")):
                raise InterruptedFetchError(f"The server redirects {place.path} to an address that is not followed.")
            with self._answer(parts, headers, place) as response:
                if response.status not in _REDIRECTS:
                    yield _Body(response, self._meter, self._patience, place)
                    return
                url = urljoin(url, response.headers.get("Location", ""))
        raise InterruptedFetchError(f"The server redirects {place.path} more than {REDIRECTS} times.")

    @contextlib.contextmanager
    def _answer(self, parts: SplitResult, headers: dict[str, str], place: Place) -> Iterator[http.client.HTTPResponse]:
        self._meter.wait()
        key = (parts.scheme, parts.netloc)
        connection = self._open.pop(key, None)
        if connection is not None:  # one that the server has closed meanwhile is no failure
            try:
                response = self._ask(connection, parts, headers, place)
            except InterruptedFetchError:
                connection.close()
                connection = None
        if connection is None:
            connection = self._connect(parts)
            try:
                response = self._ask(connection, parts, headers, place)
            except BaseException:
                connection.close()
                raise
        kept = False
        try:
            _raise_for(response, place)
            with _translated(place):
                yield response
            kept = (response.isclosed() or response.length == 0) and connection.sock is not None
        finally:
            response.close()
            if kept and len(self._open) < _CONNECTIONS:
                self._open[key] = connection
            else:
                connection.close()

    def _connect(self, parts: SplitResult) -> http.client.HTTPConnection:
        host, port = parts.hostname or "", parts.port
        proxy = _proxy(parts.scheme, host)
        at = (proxy.hostname or "", proxy.port or 80) if proxy else (host, port)
        timeout_s = self._patience.connect_s
        if parts.scheme == "https":
            self._tls = self._tls or ssl.create_default_context()
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                *at, timeout=timeout_s, context=self._tls
            )
            if proxy:
                connection.set_tunnel(host, port)
        else:
            connection = http.client.HTTPConnection(*at, timeout=timeout_s)
        try:
            connection.connect()
        except (OSError, http.client.HTTPException, ValueError) as error:
            connection.close()
            raise InterruptedFetchError(f"{parts.netloc} cannot be reached: {_said(error)}.") from error
        connection.sock.settimeout(self._patience.silence_s)
        if (bytes_per_s := self._meter.bytes_per_s) is not None:
            size = min(max(_BUFFER_BYTES, int(bytes_per_s * _CAPPED_S)), _LARGEST_BUFFER_BYTES)
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
        return connection

    def _ask(
        self, connection: http.client.HTTPConnection, parts: SplitResult, headers: dict[str, str], place: Place
    ) -> http.client.HTTPResponse:
        proxied = parts.scheme == "http" and _proxy(parts.scheme, parts.hostname or "") is not None
        target = parts.geturl() if proxied else (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        sent = {"Accept-Encoding": "identity", "User-Agent": "edge-agent", **headers}
        with _translated(place), _ended_after(connection, self._patience.head_s):
            connection.request("GET", target, headers=sent)
            response = connection.getresponse()
        self._meter.count(sum(len(name) + len(value) + 4 for name, value in response.getheaders()))
        return response


class _Body:
    """The bytes of an answer, counted as they come."""

    def __init__(self, response: http.client.HTTPResponse, meter: Meter, patience: Patience, place: Place) -> None:
        self.response = response
        self._meter = meter
        self._patience = patience
        self._place = place
        self._window_bytes = 0
        self._window_s = 0.0

    def expect(self, size_bytes: int | None) -> None:
        """Raises `InterruptedFetchError` for an answer that is encoded, or announces another length."""
        if self.response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise InterruptedFetchError(f"The server sends {self._place.path} compressed, though it was asked not to.")
        if size_bytes is not None and self.response.length is not None and self.response.length != size_bytes:
            raise InterruptedFetchError(
                f"The server sends {self.response.length} bytes of {self._place.path} instead of {size_bytes}."
            )

    def expect_range(self, first: int, end: int, total_bytes: int) -> None:
        said = self.response.headers.get("Content-Range", "").lower().replace(" ", "")
        if said not in (f"bytes{first}-{end - 1}/{total_bytes}", f"bytes{first}-{end - 1}/*"):
            raise InterruptedFetchError(f"The server sends another range of {self._place.path}: {said[:80]!r}.")

    def some(self, limit_bytes: int) -> bytes:
        """What has come, at most `limit_bytes` and a piece; nothing at the end."""
        wanted_bytes = min(limit_bytes, PIECE_BYTES)
        self._meter.wait()
        began = time.monotonic()
        data = self.response.read1(wanted_bytes)
        self._meter.count(len(data))
        self._watch(len(data), time.monotonic() - began)
        return data

    def exactly(self, size_bytes: int) -> bytes:
        """Raises `InterruptedFetchError` if the answer ends before."""
        pieces: list[bytes] = []
        while size_bytes:
            piece = self.some(size_bytes)
            if not piece:
                raise InterruptedFetchError(f"The server ended {self._place.path} before it had sent all.")
            size_bytes -= len(piece)
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _watch(self, received_bytes: int, waited_s: float) -> None:
        """Only the time that the server took counts, not what the allowance made us wait."""
        self._window_bytes += received_bytes
        self._window_s += waited_s
        if self._window_s > self._patience.slow_s:
            if self._window_bytes < self._patience.slow_bytes:
                raise InterruptedFetchError(
                    f"The server is too slow: {self._window_bytes} bytes of {self._place.path}"
                    f" in {self._window_s:.0f} s."
                )
            self._window_bytes, self._window_s = 0, 0.0


def _pick(body: _Body, position: int, wanted: Iterable[Wanted]) -> Iterator[tuple[Wanted, bytes]]:
    """The `wanted` chunks from a body that begins at `position`; what lies between them is read and forgotten."""
    for chunk in wanted:
        while position < chunk.offset:
            piece = body.some(chunk.offset - position)
            if not piece:
                raise InterruptedFetchError("The server ended the file before it had sent all.")
            position += len(piece)
        yield chunk, body.exactly(chunk.length)
        position += chunk.length


def _split(url: str) -> SplitResult | None:
    """None for what is no address, or has a user in it, who would stand in logs."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1) and "@" not in parts.netloc
    except ValueError:
        return None
    return parts if usable and url.isprintable() and " " not in url else None


def _proxy(scheme: str, host: str) -> SplitResult | None:
    if urllib.request.proxy_bypass(host):
        return None
    return _split(urllib.request.getproxies().get(scheme, ""))


def _raise_for(response: http.client.HTTPResponse, place: Place) -> None:
    status = response.status
    if status in (200, 206) or status in _REDIRECTS:
        return
    if status in _BUSY:
        wait_s = _retry_after_s(response.headers.get("Retry-After", ""))
        raise InterruptedFetchError(f"The server answers with status {status} for {place.path}.", wait_s=wait_s)
    hint = "Check updates.url and the server's access rules." if status in (401, 403) else "Check updates.url."
    raise NotThereError(f"The server answers with status {status} for {place.path}.", answer=status, hint=hint)


def _retry_after_s(said: str) -> float:
    if said.isdecimal():
        return min(float(said), _LONGEST_WAIT_S)
    with contextlib.suppress(ValueError, TypeError):
        return min(max(0.0, parsedate_to_datetime(said).timestamp() - time.time()), _LONGEST_WAIT_S)
    return 0.0


def _unexpected(status: int, place: Place) -> InterruptedFetchError:
    return InterruptedFetchError(f"The server answers with status {status} for {place.path}, which does not fit.")


@contextlib.contextmanager
def _ended_after(connection: http.client.HTTPConnection, seconds: float) -> Iterator[None]:
    """A server that sends its head byte by byte: each byte is in time, all of them are not."""

    def end() -> None:
        with contextlib.suppress(OSError, AttributeError):
            connection.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextlib.contextmanager
def _translated(place: Place) -> Iterator[None]:
    try:
        yield
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise InterruptedFetchError(f"The line broke while {place.path} was read: {_said(error)}.") from error


def _said(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (text or type(error).__name__).splitlines()[0][:200].rstrip(".")
