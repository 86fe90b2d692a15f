"""What the connection does to its socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from agent.fleet.link.inspector import Inspector
from agent.fleet.link.stream import Stream
from tests.fleet.link.relay import CONNACK_5


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A broker's end and a device's, over TCP."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        device = socket.create_connection(server.getsockname())
        broker = server.accept()[0]
        with broker, device:
            device.setblocking(False)
            yield broker, device


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="Linux only")
@pytest.mark.parametrize("said", [CONNACK_5, b""], ids=["with something to read", "with nothing to read"])
def test_what_comes_next_is_confirmed_at_once(pair: tuple[socket.socket, socket.socket], said: bytes) -> None:
    """Else a broker that holds small messages back until the one before is confirmed (Nagle) waits 40 ms for it."""
    broker, device = pair
    stream = Stream(device, None, Inspector(1000, version5=True))
    broker.sendall(said)
    device.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
    if said:
        device.setblocking(True)  # until it is there
        assert stream.recv(100) == said
    else:
        with pytest.raises(BlockingIOError):
            stream.recv(100)
    assert device.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK) == 1


def test_a_dead_line_is_the_read_s_to_tell(pair: tuple[socket.socket, socket.socket]) -> None:
    broker, device = pair
    stream = Stream(device, None, Inspector(1000, version5=True))
    device.setblocking(True)
    broker.close()
    assert stream.recv(100) == b""
    assert "closed the connection" in str(stream.error)
