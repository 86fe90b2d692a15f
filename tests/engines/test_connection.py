"""The worker's end of the socket: whole messages out of pieces, and when they came."""

from __future__ import annotations

import socket
import threading
import time

from agent.engines.connection import Connection
from agent.runtime.wire.control import Ping
from agent.runtime.wire.frames import encode
from agent.runtime.wire.transcription import Transcribe

REQUEST = Transcribe(id=1, audio=bytes(300_000))


def test_what_was_waited_for_a_request_lies_before_the_moment_at_which_it_came() -> None:
    daemon, worker = socket.socketpair()
    with daemon:
        connection = Connection(worker.detach())
        frame = encode([REQUEST])
        received: list[object] = []
        reads = threading.Thread(target=lambda: received.extend(connection.receive()))
        began_s = time.monotonic()
        reads.start()
        daemon.sendall(frame[:1000])
        time.sleep(0.3)
        daemon.sendall(frame[1000:])
        reads.join(30)
        assert received == [REQUEST]
        assert began_s + 0.15 < connection.came_s < time.monotonic()


def test_each_frame_has_a_time_of_its_own() -> None:
    daemon, worker = socket.socketpair()
    with daemon:
        connection = Connection(worker.detach())
        times = []
        for seq in (1, 2):
            before_s = time.monotonic()
            daemon.sendall(encode([Ping(seq)]))
            assert connection.receive() == [Ping(seq)]
            times += [before_s, connection.came_s]
        assert times == sorted(times)
