"""Stopping: finishes or refuses, never hangs, leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable

import pytest

from agent.errors import ShuttingDownError
from agent.runtime.service import Runtime
from tests.runtime.scripted import COMMAND, ENVIRONMENT, QUICK, ask, ended, model, runtime_of, state_of, text_of, until

LONG = "tokens=100000 delay_s=0.005"


async def test_running_requests_finish_and_waiting_ones_are_refused_at_once() -> None:
    async with runtime_of(model(slots=1)) as runtime:
        await runtime.load("m")
        running, waiting = ask(runtime, "tokens=10 delay_s=0.02"), ask(runtime)
        stopping = asyncio.create_task(runtime.stop(grace_s=5))
        with pytest.raises(ShuttingDownError):
            await asyncio.wait_for(text_of(waiting), 0.1)
        with pytest.raises(ShuttingDownError):
            ask(runtime)
        with pytest.raises(ShuttingDownError):
            await runtime.load("m")
        assert len((await text_of(running)).split()) == 10
        await asyncio.wait_for(stopping, 20)
        assert runtime.snapshot().stopping


async def test_what_does_not_finish_in_time_is_failed() -> None:
    async with runtime_of(model()) as runtime:
        await runtime.load("m")
        running = ask(runtime, LONG)
        started = time.monotonic()
        await runtime.stop(grace_s=0.2)
        assert time.monotonic() - started < 10
        assert isinstance(await ended(text_of(running)), ShuttingDownError)


@pytest.mark.parametrize("prompt", ["hang=1", "signal=SIGSTOP", LONG + " deaf=1"])
async def test_a_worker_that_hangs_does_not_hold_it_up(prompt: str) -> None:
    async with runtime_of(model(path="deaf=1"), heartbeat_timeout_s=60, hang_timeout_s=60) as runtime:
        await runtime.load("m")
        running = ask(runtime, prompt)
        await asyncio.sleep(0.05)
        started = time.monotonic()
        await runtime.stop(grace_s=0.1)
        assert time.monotonic() - started < 10
        assert isinstance(await ended(text_of(running)), ShuttingDownError)


@pytest.mark.parametrize("path", ["load_s=30", "mute=1", "die=1", "memory=99999", "fail=model_load_failed"])
async def test_a_load_in_progress_is_given_up(path: str) -> None:
    async with runtime_of(model(path=path)) as runtime:
        waiting = ask(runtime)
        await asyncio.sleep(0.05)
        started = time.monotonic()
        await runtime.stop(grace_s=1)
        assert time.monotonic() - started < 10
        assert isinstance(await ended(text_of(waiting)), Exception)


async def test_a_load_that_waits_for_memory_is_given_up() -> None:
    async with runtime_of(model("a", "memory=6000"), model("b", "memory=6000")) as runtime:
        await runtime.load("a")
        ask(runtime, LONG, name="a")
        loading = asyncio.create_task(runtime.load("b"))
        await until(lambda: "waiting" in state_of(runtime, "b").reason)
        await asyncio.wait_for(runtime.stop(grace_s=0), 20)
        assert isinstance(await ended(loading), Exception)


async def test_stopping_twice_and_without_models() -> None:
    async with runtime_of() as runtime:
        await asyncio.gather(runtime.stop(grace_s=1), runtime.stop(grace_s=1))


async def test_stopping_before_the_start() -> None:
    runtime = Runtime(QUICK, memory=lambda held_bytes: 1, worker_command=COMMAND)
    runtime.set_models([model(preload=True)])
    await runtime.stop(grace_s=1)
    await asyncio.wait_for(runtime.run(), 20)


async def test_cancelling_the_service_kills_the_workers(open_fds: Callable[[], set[str]]) -> None:
    before = open_fds()
    runtime = Runtime(QUICK, memory=lambda held_bytes: 10_000, worker_command=COMMAND, environment=ENVIRONMENT)
    runtime.set_models([model(slots=1)])
    task = asyncio.create_task(runtime.run())
    await runtime.load("m")
    running, waiting = ask(runtime, LONG), ask(runtime)
    pid = state_of(runtime).pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 20)
    for stream in (running, waiting):
        assert isinstance(await ended(text_of(stream)), ShuttingDownError)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert open_fds() == before
