"""Sockets that systemd opened for us (sd_listen_fds(3)): edge-agent.socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from agent.errors import ConfigError

FIRST_DESCRIPTOR = 3
MOST_DESCRIPTORS = 64
"""More is no socket unit of ours."""


def inherited_sockets(environment: Mapping[str, str] = os.environ) -> list[socket.socket]:
    """The listening TCP sockets that were handed over; empty where none were meant for this process.

    None of them is left open in child processes. Raises `ConfigError`, with all of them closed, if one is of another
    kind: a UNIX socket, say, on which the API would take anybody for a local client.
    """
    count = environment.get("LISTEN_FDS", "")
    if environment.get("LISTEN_PID") != str(os.getpid()) or not (count.isascii() and count.isdecimal()):
        return []
    descriptors = range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + min(int(count), MOST_DESCRIPTORS))
    sockets: list[socket.socket] = []
    wrong = ""
    for descriptor in descriptors:
        try:
            os.set_inheritable(descriptor, False)
            found = socket.socket(fileno=descriptor)
        except OSError as error:
            wrong = wrong or f"file descriptor {descriptor} is no socket ({error.strerror})"
            continue
        sockets.append(found)
        if not _listens_to_tcp(found):
            wrong = wrong or f"file descriptor {descriptor} is no listening TCP socket"
    if wrong:
        for found in sockets:
            found.close()
        raise ConfigError(
            f"systemd handed over what cannot be served: {wrong}.",
            hint="In edge-agent.socket, use ListenStream= with an address and a port.",
        )
    return sockets


def _listens_to_tcp(found: socket.socket) -> bool:
    if found.family not in (socket.AF_INET, socket.AF_INET6) or found.type != socket.SOCK_STREAM:
        return False
    return found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
