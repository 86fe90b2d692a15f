"""From an address to a socket on which MQTT can begin: name, TCP, TLS, WebSocket. All but the first can be stopped."""

from __future__ import annotations

import os
import socket
import ssl
import time

from agent.fleet.link.address import Address
from agent.fleet.link.failure import Kind, LinkFailure, of_error
from agent.fleet.link.waker import Waker
from agent.fleet.link.websocket import Upgrade, WebSocket


def dial(
    address: Address, context: ssl.SSLContext | None, waker: Waker, deadline: float, *, keepalive_s: int
) -> tuple[socket.socket, WebSocket | None]:
    """The socket, not blocking, and the WebSocket on it, if the address asks for one. `deadline` is monotonic.

    Raises `LinkFailure`, and `StoppedError` once the waker was stopped.
    """
    try:
        sock = _connect(address, waker, deadline)
    except OSError as error:
        raise of_error(error, address, connected=False) from error
    try:
        _tune(sock, keepalive_s)
        if address.tls:
            if context is None:
                raise LinkFailure(Kind.LOCAL, "no TLS context was made for this broker")
            sock = _handshake(sock, context, address, waker, deadline)
        websocket = _upgrade(sock, address, waker, deadline) if address.websocket else None
    except BaseException as error:
        sock.close()
        if isinstance(error, OSError):
            raise of_error(error, address, connected=False) from error
        raise
    return sock, websocket


def _connect(address: Address, waker: Waker, deadline: float) -> socket.socket:
    """The first of the name's addresses that answers; each gets an equal part of the time."""
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    last: OSError = TimeoutError()
    for index, (family, kind, protocol, _, target) in enumerate(found):
        now = time.monotonic()
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            try:
                sock.connect(target)
            except BlockingIOError:
                waker.need(sock.fileno(), now + (deadline - now) / (len(found) - index), write=True)
            if number := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(number, os.strerror(number))
            return sock
        except OSError as error:
            sock.close()
            last = error
        except BaseException:
            sock.close()
            raise
    raise last


def _tune(sock: socket.socket, keepalive_s: int) -> None:
    """Small messages go at once; the kernel gives up on a dead line too, for a broker may turn our own checks off."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 2000 * keepalive_s)


def _handshake(
    sock: socket.socket, context: ssl.SSLContext, address: Address, waker: Waker, deadline: float
) -> ssl.SSLSocket:
    secure = context.wrap_socket(sock, server_hostname=address.host, do_handshake_on_connect=False)
    try:
        while True:
            try:
                secure.do_handshake()
                return secure
            except ssl.SSLWantReadError:
                waker.need(secure.fileno(), deadline, write=False)
            except ssl.SSLWantWriteError:
                waker.need(secure.fileno(), deadline, write=True)
    except (ConnectionError, ssl.SSLEOFError):
        secure.close()
        what = "the broker closed the connection during the TLS handshake: does it speak TLS on this port?"
        raise LinkFailure(Kind.UNREACHABLE, what) from None
    except BaseException:
        secure.close()
        raise


def _upgrade(sock: socket.socket, address: Address, waker: Waker, deadline: float) -> WebSocket:
    upgrade = Upgrade(address)
    unsent, rest = upgrade.request, None
    try:
        while rest is None:
            try:
                if unsent:
                    unsent = unsent[sock.send(unsent) :]
                    continue
                data = sock.recv(4096)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                waker.need(sock.fileno(), deadline, write=bool(unsent))
                continue
            if not data:
                raise ConnectionResetError
            rest = upgrade.feed(data)
    except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
        what = "the other side closed the connection during the WebSocket upgrade"
        raise LinkFailure(Kind.UNREACHABLE, what) from None
    return WebSocket(sock, rest)
