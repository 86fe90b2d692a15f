"""The process and its socket, without a model's life around them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.runtime.wire.control import Ping, Pong
from agent.runtime.wire.generation import Generate
from agent.runtime.wire.loading import Loaded, LoadModel, Predicted, Proceed
from agent.runtime.wire.options import LlamaOptions
from agent.runtime.worker import Exit, Worker, WorkerGoneError, describe_exit
from tests.runtime.scripted import COMMAND, ENVIRONMENT, until


async def loaded(path: str = "") -> Worker:
    worker = await Worker.spawn(COMMAND, "m", environment=ENVIRONMENT)
    worker.send(LoadModel(name="m", path=path, options=LlamaOptions()))
    assert isinstance((await worker.receive())[0], Predicted)
    worker.send(Proceed())
    assert isinstance((await worker.receive())[0], Loaded)
    return worker


async def gone(worker: Worker) -> Exit:
    return (await last_words(worker))[1]


async def last_words(worker: Worker) -> tuple[list[str], Exit]:
    """The kinds of the messages that still come, and how it ended."""
    kinds: list[str] = []
    async with asyncio.timeout(5):
        while True:
            try:
                kinds += [type(message).__name__ for message in await worker.receive()]
            except WorkerGoneError as end:
                return kinds, end.exit


def living_in_group(group: int) -> list[str]:
    """The processes of a group, zombies apart."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, its_group = path.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state != "Z":
                found.append(path.parent.name)
    return found


def shell(script: str) -> tuple[str, ...]:
    return (sys.executable, "-c", script)


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("exit=3", "exited with status 3"),
        ("signal=SIGSEGV", "killed by SIGSEGV"),
        ("signal=SIGKILL", "killed by SIGKILL (out of memory?)"),
        ("garbage=1 hang=1", "sent a frame that is none"),
        ("close=1", "closed its socket"),
    ],
)
async def test_how_it_ended(prompt: str, reason: str, open_fds: Callable[[], set[str]]) -> None:
    before = open_fds()
    worker = await loaded()
    worker.send(Generate(id=1, prompt=prompt))
    assert (await gone(worker)).reason.startswith(reason)
    assert not worker.running
    assert open_fds() == before
    with pytest.raises(ProcessLookupError):
        os.kill(worker.pid, 0)


async def test_what_it_sent_before_it_died_is_received_first() -> None:
    worker = await loaded()
    worker.send(Ping(1), Generate(id=1, prompt="tokens=9 exit=1 at=3"))
    assert (await last_words(worker))[0] == ["Pong", "Delta", "Delta", "Delta"]


async def test_text_passes_by_until_something_else_waits_to_be_received() -> None:
    worker = await loaded()
    passed: list[str] = []
    worker.express = lambda delta: passed.append(delta.text)
    worker.send(Generate(id=1, prompt="tokens=3"))
    received: list[str] = []
    async with asyncio.timeout(5):
        while "Finished" not in received:
            received += [type(message).__name__ for message in await worker.receive()]
    assert len(passed) == 3
    assert received == ["Finished"]
    worker.send(Ping(1))
    await until(lambda: bool(worker._inbox))
    worker.send(Generate(id=2, prompt="tokens=3"))
    await until(lambda: len(worker._inbox) == 5)
    assert [type(message).__name__ for message in await worker.receive()] == ["Pong", *["Delta"] * 3, "Finished"]
    assert len(passed) == 3
    await worker.kill("the test is over")


async def test_a_write_that_meets_a_dead_worker_does_not_lose_what_it_had_sent() -> None:
    worker = await loaded()
    worker.send(Generate(id=1, prompt="tokens=9 exit=1 at=3"))
    time.sleep(0.2)  # noqa: ASYNC251 (the loop must not see the end before the write does)
    worker.send(Ping(1))
    assert (await last_words(worker))[0] == ["Delta"] * 3


async def test_the_last_lines_of_stderr_come_with_the_exit(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    script = "import sys; print('to stdout', flush=True); sys.exit('no model here')"
    worker = await Worker.spawn(shell(script), "qwen")
    exit = await gone(worker)
    assert exit == Exit("exited with status 1", 1, ("to stdout", "no model here"))
    assert "qwen: no model here" in caplog.text


async def test_a_command_that_does_not_exist(open_fds: Callable[[], set[str]]) -> None:
    before = open_fds()
    with pytest.raises(WorkerGoneError, match="could not be started"):
        await Worker.spawn(("/nonexistent/python",), "m")
    assert open_fds() == before


async def test_shutdown_asks_first() -> None:
    worker = await loaded()
    assert await worker.shutdown(grace_s=2, terminate_s=1) == Exit("exited with status 0", 0)
    assert (await gone(worker)).returncode == 0


@pytest.mark.parametrize("stopped", [False, True])
async def test_shutdown_of_one_that_ignores_it(stopped: bool, open_fds: Callable[[], set[str]]) -> None:
    before = open_fds()
    worker = await loaded("deaf=1")
    if stopped:
        os.kill(worker.pid, signal.SIGSTOP)
    started = time.monotonic()
    exit = await worker.shutdown(grace_s=0.1, terminate_s=0.1)
    assert exit.returncode == -signal.SIGKILL
    assert exit.reason == "did not exit when asked to"
    assert time.monotonic() - started < 10
    assert open_fds() == before


async def test_a_stopped_one_still_gets_the_sigterm() -> None:
    worker = await Worker.spawn(shell("import time; time.sleep(60)"), "m")
    os.kill(worker.pid, signal.SIGSTOP)
    assert (await worker.shutdown(grace_s=0.1, terminate_s=3)).returncode == -signal.SIGTERM


async def test_descendants_die_with_it(open_fds: Callable[[], set[str]]) -> None:
    before = open_fds()
    worker = await loaded("holder=1")
    assert len(living_in_group(worker.pid)) == 2
    started = time.monotonic()
    await worker.kill("enough")
    assert time.monotonic() - started < 10
    await until(lambda: not living_in_group(worker.pid))
    assert open_fds() == before


async def test_a_worker_that_does_not_read_makes_writing_stop_not_block() -> None:
    worker = await loaded()
    os.kill(worker.pid, signal.SIGSTOP)
    states = [worker.writable]
    started = time.monotonic()
    worker.send(Generate(id=1, prompt="x" * 2_000_000))
    assert time.monotonic() - started < 10
    states.append(worker.writable)
    assert states == [True, False]
    os.kill(worker.pid, signal.SIGCONT)
    await worker.receive()
    await until(lambda: worker.writable)
    await worker.kill("done")


async def test_a_worker_notices_that_the_daemon_is_gone() -> None:
    """Closing our end is all that a dead daemon does."""
    worker = await loaded()
    transport = worker._channel.transport
    assert transport is not None
    transport.abort()
    assert (await gone(worker)).returncode == 0


async def test_an_exit_is_noticed_without_pidfd(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int) -> int:
        raise OSError("not permitted")

    monkeypatch.setattr(os, "pidfd_open", refuse, raising=False)
    worker = await loaded()
    worker.send(Ping(1))
    assert isinstance((await worker.receive())[0], Pong)
    worker.send(Generate(id=1, prompt="signal=SIGSEGV"))
    assert (await gone(worker)).reason == "killed by SIGSEGV"


@pytest.mark.parametrize(
    ("returncode", "text"),
    [
        (0, "exited with status 0"),
        (-11, "killed by SIGSEGV"),
        (-9, "killed by SIGKILL (out of memory?)"),
        (-4, "killed by SIGILL"),
        (-99, "killed by signal 99"),
    ],
)
def test_descriptions(returncode: int, text: str) -> None:
    assert describe_exit(returncode) == text
