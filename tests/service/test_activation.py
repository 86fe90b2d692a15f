"""Sockets from edge-agent.socket: served when they are meant for this process, refused when of a wrong kind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from agent.service.activation import inherited_sockets
from tests.daemon_process import environment_for

HANDED_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS=sys.argv[2], LISTEN_PID=str(os.getpid()))
os.execv(sys.executable, [sys.executable, *sys.argv[3:]])
"""
"""systemd's part: the descriptor becomes number 3, and the process is told so."""


@contextmanager
def started(
    folder: Path, handed: socket.socket | IO[str], *arguments: str, extra: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """The daemon with one socket handed over."""
    serve = ["-m", "agent.cli", "serve", "--state-dir", str(folder / "state"), *arguments]
    process = subprocess.Popen(
        [sys.executable, "-c", HANDED_OVER, str(handed.fileno()), "1", *serve],
        pass_fds=(handed.fileno(),),
        env=environment_for(folder, extra),
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_the_first_request_waits_for_the_daemon_and_is_answered(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as handed:
        port = handed.getsockname()[1]
        with started(tmp_path, handed, "--port", "1") as process:  # the socket decides, not --port
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=30) as answer:
                assert answer.status == 200
            assert f":{port}" in (tmp_path / "state/daemon.json").read_text()
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0


def test_who_comes_between_two_daemons_is_answered_by_the_second(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as handed:
        port = handed.getsockname()[1]
        with started(tmp_path, handed) as first:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=30):
                pass
            first.send_signal(signal.SIGTERM)
            assert first.wait(30) == 0
        with socket.create_connection(("127.0.0.1", port), timeout=30) as waiting:
            waiting.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            with started(tmp_path, handed):
                assert waiting.recv(100).startswith(b"HTTP/1.1 200 ")


def test_an_open_address_needs_a_key_also_when_systemd_opened_it(tmp_path: Path) -> None:
    with socket.create_server(("0.0.0.0", 0)) as handed, started(tmp_path, handed) as process:
        assert process.wait(30) == 2
        assert process.stderr is not None
        assert "no API key" in process.stderr.read()


@pytest.mark.parametrize("kind", ["unix", "udp", "not listening", "file"])
def test_what_cannot_be_served_is_refused(tmp_path: Path, kind: str) -> None:
    with make(kind, tmp_path) as handed, started(tmp_path, handed) as process:
        assert process.wait(30) == 2
        assert process.stderr is not None
        error = process.stderr.read()
        assert "file descriptor 3 is no" in error
        assert "ListenStream=" in error
        assert "Traceback" not in error


def make(kind: str, folder: Path) -> socket.socket | IO[str]:
    if kind == "unix":
        made = socket.socket(socket.AF_UNIX)
        made.bind(str(folder / "s"))
        made.listen()
        return made
    if kind == "udp":
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    return socket.socket() if kind == "not listening" else (folder / "f").open("w")


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"LISTEN_FDS": "1"},
        {"LISTEN_FDS": "1", "LISTEN_PID": "1"},
        {"LISTEN_FDS": "", "LISTEN_PID": str(os.getpid())},
        {"LISTEN_FDS": "-1", "LISTEN_PID": str(os.getpid())},
        {"LISTEN_FDS": "many", "LISTEN_PID": str(os.getpid())},
        {"LISTEN_FDS": "0", "LISTEN_PID": str(os.getpid())},
    ],
)
def test_what_is_not_for_us_is_left_alone(environment: dict[str, str]) -> None:
    assert inherited_sockets(environment) == []
