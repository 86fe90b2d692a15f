"""Servers that are broken, slow or busy: a reason for people, an end to it, and few bytes for nothing."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from agent.errors import ConfigError, UpdateError
from agent.updates.fetch.http import HttpTransport
from agent.updates.fetch.meter import Meter
from agent.updates.fetch.wire import Found
from tests.convert.publish.published import Repository
from tests.fleet.certificates import Authority
from tests.updates.fetch.device import FetchingDevice, contents
from tests.updates.fetch.web import Fault, Handler, Web

MODEL = np.random.default_rng(2).bytes(600_000)


@pytest.fixture
def found(repository: Repository, device: FetchingDevice) -> Iterator[Found]:
    repository.publish("1", files={"model.onnx": MODEL})
    yield device.resolve()
    assert contents(device.models) == {}


def status(code: int, **headers: str) -> Fault:
    return lambda handler, content: handler.give(code, b"", headers)


def flipped(handler: Handler, content: bytes) -> None:
    handler.range(content, lambda data: bytes([data[0] ^ 1]) + data[1:])


def all_flipped(handler: Handler, content: bytes) -> None:
    handler.range(content, lambda data: bytes(255 - byte for byte in data))


def shorter(handler: Handler, content: bytes) -> None:
    handler.range(content, lambda data: data[:-1])


def longer(handler: Handler, content: bytes) -> None:
    handler.range(content, lambda data: data + b"more")


def another_range(handler: Handler, content: bytes) -> None:
    first, end = handler.asked(content)
    headers = {"Content-Range": f"bytes {first + 1}-{end}/{len(content) + 1}"}
    handler.give(206, content[first:end], headers)


def compressed(handler: Handler, content: bytes) -> None:
    first, end = handler.asked(content)
    headers = {"Content-Range": f"bytes {first}-{end - 1}/{len(content)}", "Content-Encoding": "gzip"}
    handler.give(206, content[first:end], headers)


def hangs_up(handler: Handler, content: bytes) -> None:
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


def silent(handler: Handler, content: bytes) -> None:
    time.sleep(1.0)
    handler.close_connection = True


def slow_head(handler: Handler, content: bytes) -> None:
    handler.close_connection = True
    for byte in b"HTTP/1.1 200 OK\r\nX-Padding: " + b"x" * 1000:
        handler.wfile.write(bytes([byte]))
        time.sleep(0.05)


def slow_body(handler: Handler, content: bytes) -> None:
    first, end = handler.asked(content)
    handler.send_response(206 if "Range" in handler.headers else 200)
    handler.send_header("Content-Range", f"bytes {first}-{end - 1}/{len(content)}")
    handler.send_header("Content-Length", str(end - first))
    handler.end_headers()
    handler.close_connection = True
    for byte in content[first:end]:
        handler.wfile.write(bytes([byte]))
        time.sleep(0.05)


def nonsense(handler: Handler, content: bytes) -> None:
    handler.wfile.write(b"220 this is no web server\r\n\r\n")
    handler.close_connection = True


FAULTS: dict[str, tuple[Fault, str]] = {
    "404": (status(404), "status 404"),
    "403": (status(403), "status 403"),
    "500": (status(500), "status 500"),
    "429": (status(429), "status 429"),
    "304": (status(304), "304"),
    "a redirect loop": (lambda handler, content: handler.give(302, b"", {"Location": handler.path}), "more than 5"),
    "a redirect to a file": (status(302, Location="file:///etc/passwd"), "not followed"),
    "a redirect to nowhere": (status(302), "more than 5"),
    "wrong length: less": (shorter, "instead of"),
    "wrong length: more": (longer, "instead of"),
    "another range": (another_range, "another range"),
    "compressed": (compressed, "compressed"),
    "flipped bits": (all_flipped, "wrong SHA-256"),
    "a flipped bit": (flipped, "wrong SHA-256"),
    "hanging up": (hangs_up, "The line broke"),
    "silence": (silent, "no answer in time"),
    "slow loris: the head": (slow_head, "The line broke"),
    "slow loris: the body": (slow_body, "too slow"),
    "not HTTP": (nonsense, "The line broke"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_chunks_from_a_server_with(fault: str, device: FetchingDevice, found: Found, web: Web) -> None:
    web.faults["model.onnx"], words = FAULTS[fault]
    web.sent_bytes = 0
    began = time.monotonic()
    with pytest.raises(UpdateError, match=words) as caught:
        device.download(found)
    assert caught.value.retry
    assert time.monotonic() - began < 10
    assert len(web.requests) < 60
    assert len(device.pauses) < 12
    assert device.meter.fetched_bytes < 3 * len(MODEL)
    assert not (device.into / "model.onnx").exists()
    web.faults.clear()  # and as soon as it is repaired, it goes on
    assert (device.download(found) / "model.onnx").read_bytes() == MODEL


@pytest.mark.parametrize("fault", [name for name in FAULTS if "flip" not in name and "another" not in name])
def test_metadata_from_a_server_with(fault: str, device: FetchingDevice, found: Found, web: Web) -> None:
    web.faults["timestamp.json"], _ = FAULTS[fault]
    if fault in ("wrong length: less", "wrong length: more"):
        with pytest.raises(UpdateError, match="not to be trusted"):
            device.resolve()
        return
    with pytest.raises(UpdateError) as caught:
        device.resolve()
    assert caught.value.retry


def test_a_server_that_is_sometimes_broken(device: FetchingDevice, found: Found, web: Web) -> None:
    turns = iter([status(503, **{"Retry-After": "7"}), hangs_up, flipped, status(500)])

    def moody(handler: Handler, content: bytes) -> None:
        next(turns, Handler.range)(handler, content)

    web.faults["model.onnx"] = moody
    assert (device.download(found) / "model.onnx").read_bytes() == MODEL
    assert max(device.pauses) == 7.0


def test_what_came_before_the_line_broke_is_kept(device: FetchingDevice, found: Found, web: Web) -> None:
    def half(handler: Handler, content: bytes) -> None:
        first, end = handler.asked(content)
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {first}-{end - 1}/{len(content)}")
        handler.send_header("Content-Length", str(end - first))
        handler.end_headers()
        handler.wfile.write(content[first : min(end, first + 200_000)])
        handler.connection.shutdown(socket.SHUT_RDWR)
        handler.close_connection = True

    web.faults["model.onnx"] = half
    assert (device.download(found) / "model.onnx").read_bytes() == MODEL
    assert device.meter.fetched_bytes < len(MODEL) + 6 * 128 * 1024


def test_a_redirect_to_another_server(device: FetchingDevice, found: Found, web: Web, repository: Repository) -> None:
    with Web(repository.path) as elsewhere:
        web.faults["model.onnx"] = lambda handler, content: handler.give(
            307, b"", {"Location": elsewhere.url.rstrip("/") + handler.path}
        )
        assert (device.download(found) / "model.onnx").read_bytes() == MODEL
        assert elsewhere.sent_bytes == len(MODEL)


def test_one_connection_serves_many_requests(device: FetchingDevice, found: Found, web: Web) -> None:
    ports = set()

    def noting(handler: Handler, content: bytes) -> None:
        ports.add(handler.client_address)
        handler.range(content)

    web.faults["model.onnx"] = noting
    transport = device.transport()
    assert isinstance(transport, HttpTransport)
    transport._patience = type(transport._patience)(run_bytes=1)
    device.download(found, transport=transport)
    assert len(web.requests) > 6
    assert len(ports) == 1


def test_https_with_a_certificate_that_is_checked(
    device: FetchingDevice, found: Found, repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path / "authority")
    server = authority.issue("web", names=["localhost"])
    with Web(repository.path, (server.file, server.key)) as secure:
        stranger = FetchingDevice(tmp_path / "stranger", repository.created.root, secure.url)
        with pytest.raises(UpdateError, match=r"cannot be reached: .*certificate"):
            stranger.resolve()
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
        assert (stranger.download(stranger.resolve()) / "model.onnx").read_bytes() == MODEL
        secure.faults["timestamp"] = lambda handler, content: handler.give(302, b"", {"Location": "http://localhost/"})
        with pytest.raises(UpdateError, match="not followed"):
            stranger.resolve()


def test_by_a_proxy(
    device: FetchingDevice, found: Found, web: Web, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy is another server of the same folder: it is asked with whole addresses."""
    with Web(repository.path) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "")
        assert (device.download(found) / "model.onnx").read_bytes() == MODEL
        assert [address for address in proxy.requests if address.startswith(web.url)]


def test_nobody_there(device: FetchingDevice, found: Found, repository: Repository) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        lost = FetchingDevice(
            device.folder.parent, repository.created.root, f"http://127.0.0.1:{unused.getsockname()[1]}"
        )
        with pytest.raises(UpdateError, match="cannot be reached"):
            lost.resolve()


@pytest.mark.parametrize(
    "url", ["", "repo", "ftp://host/repo", "http://", "http://host:99999/", "http://a b/", "http://me:secret@h/"]
)
def test_addresses_that_cannot_be(url: str) -> None:
    with pytest.raises(ConfigError, match=r"updates\.url"):
        HttpTransport(url, Meter())
