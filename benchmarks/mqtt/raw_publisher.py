"""Publishes bursts of messages of one size, with next to no work of its own: what a broker on this machine costs
whoever sends to it. MQTT 3.1.1, QoS 1, one at a time; until it is killed.

python -m benchmarks.mqtt.raw_publisher PORT BYTES BURST EVERY_S
"""

from __future__ import annotations

import socket
import sys
import time
from typing import Final

_CONNECT: Final = b"\x00\x04MQTT\x04\x02\x00\x00\x00\x03raw"  # clean session, no keepalive
_TOPIC: Final = b"te/device/raw///m/board"
_CONFIRMED_BYTES: Final = 4
"""CONNACK and PUBACK both have so many."""


def _packet(first: int, body: bytes) -> bytes:
    """A length has seven bits in each byte, the lowest first."""
    length, left = bytearray(), len(body)
    while True:
        left, digit = divmod(left, 128)
        length.append(digit | (0x80 if left else 0))
        if not left:
            return bytes([first]) + bytes(length) + body


def _exchange(sock: socket.socket, packet: bytes) -> None:
    sock.sendall(packet)
    left = _CONFIRMED_BYTES
    while left:
        if not (data := sock.recv(left)):
            raise ConnectionError("the broker closed the connection")
        left -= len(data)


def main(port: int, size_bytes: int, burst: int, every_s: float) -> None:
    publish = _packet(0x32, len(_TOPIC).to_bytes(2, "big") + _TOPIC + b"\x00\x01" + b"x" * size_bytes)
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _exchange(sock, _packet(0x10, _CONNECT))
        print("connected", flush=True)
        while True:
            began = time.monotonic()
            for _ in range(burst):
                _exchange(sock, publish)
            time.sleep(max(0.0, began + every_s - time.monotonic()))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
