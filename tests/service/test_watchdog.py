"""systemd's watchdog is fed while all is well, and by nobody else's rules."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.service.notify import notify
from agent.service.watchdog import feed, limit_s
from tests.daemon_process import running_daemon


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The service manager's end, at tmp_path/notify."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(str(tmp_path / "notify"))
        line.settimeout(10)
        yield line


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "²"}, None),
        ({"WATCHDOG_USEC": ""}, None),
    ],
)
def test_limit_is_read_as_systemd_writes_it(environment: dict[str, str], expected: float | None) -> None:
    assert limit_s(environment, 7) == expected


@pytest.mark.parametrize("abstract", [False, True])
def test_a_state_reaches_the_manager(tmp_path: Path, abstract: bool) -> None:
    address = f"\0edge-agent-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(address)
        notify("READY=1", {"NOTIFY_SOCKET": address.replace("\0", "@")})
        assert line.recv(100) == b"READY=1"


@pytest.mark.parametrize("address", ["", "/nowhere/notify", "@nobody-listens-here", "x" * 200])
def test_nobody_to_tell_is_no_trouble(address: str) -> None:
    notify("READY=1", {"NOTIFY_SOCKET": address})


async def test_it_is_not_fed_while_something_hangs(tmp_path: Path, manager: socket.socket) -> None:
    # A busy machine may hold it up for less than two thirds of that.
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "900000"}
    manager.setblocking(False)
    loop = asyncio.get_running_loop()
    trouble: list[str | None] = [None]
    asked: asyncio.Queue[str | None] = asyncio.Queue()

    def hung() -> str | None:
        asked.put_nowait(trouble[0])
        return trouble[0]

    async def until_asked(times: int) -> None:
        while times:
            times -= await asked.get() is not None

    feeding = asyncio.create_task(feed(hung, environment))
    try:
        assert await asyncio.wait_for(loop.sock_recv(manager, 100), 5) == b"WATCHDOG=1"
        trouble[0] = "the worker of model a has not answered for 99 s"
        await asyncio.wait_for(until_asked(1), 10)
        _drain(manager)
        await asyncio.wait_for(until_asked(2), 10)
        with pytest.raises(BlockingIOError):
            manager.recv(100)
        trouble[0] = None
        assert await asyncio.wait_for(loop.sock_recv(manager, 100), 5) == b"WATCHDOG=1"
    finally:
        feeding.cancel()


async def test_what_hangs_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    environment = {"WATCHDOG_USEC": "900000"}  # a busy machine may hold it up for less than two thirds of that
    asked: list[float] = []
    often = asyncio.Event()

    def hung() -> str:
        asked.append(time.monotonic())
        if len(asked) == 4:
            often.set()
        return "the worker of model a has not answered for 99 s"

    feeding = asyncio.create_task(feed(hung, environment))
    await asyncio.wait_for(often.wait(), 10)
    feeding.cancel()
    assert [record.message for record in caplog.records if "model a" in record.message] == [
        "the watchdog is not fed: the worker of model a has not answered for 99 s; "
        "systemd restarts the service within 0.9 s"
    ]


async def test_nothing_runs_where_nobody_watches() -> None:
    await asyncio.wait_for(feed(lambda: None, {}), 5)


def test_the_daemon_feeds_it_and_a_stopped_one_does_not(tmp_path: Path, manager: socket.socket) -> None:
    extra = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "300000"}
    with running_daemon(tmp_path, extra=extra) as daemon:
        fed = 0
        while fed < 3:
            fed += manager.recv(200) == b"WATCHDOG=1"
        daemon.signal(signal.SIGSTOP)
        _wait_stopped(daemon.process.pid)
        _drain(manager)
        manager.settimeout(0.5)
        with pytest.raises(TimeoutError):
            manager.recv(200)
        daemon.signal(signal.SIGCONT)
        manager.settimeout(10)
        assert manager.recv(200) == b"WATCHDOG=1"
        assert "not fed" not in daemon.log()


def test_sigabrt_tells_where_every_thread_is(tmp_path: Path) -> None:
    """What systemd sends when the watchdog was not fed. Python may crash while it reads what a thread is just running
    (python/cpython#116008); for systemd that is a failure like the other, but the stacks are cut short."""
    for attempt in range(3):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        with running_daemon(folder, extra={"WATCHDOG_USEC": "30000000"}) as daemon:
            daemon.signal(signal.SIGABRT)
            status = daemon.wait()
            assert status in (-signal.SIGABRT, -signal.SIGSEGV)
            assert "Fatal Python error: Aborted" in daemon.log()
            if status == -signal.SIGABRT:
                assert "asyncio/base_events.py" in daemon.log()
                return
    pytest.fail("it crashed three times while it wrote the stacks")


def _drain(manager: socket.socket) -> None:
    """Take what was sent before."""
    manager.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            manager.recv(200)


def _wait_stopped(pid: int) -> None:
    give_up = time.monotonic() + 5
    while (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]) != "T":
        assert time.monotonic() < give_up
        time.sleep(0.01)
