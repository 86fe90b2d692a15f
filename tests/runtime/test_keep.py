"""A model that somebody needs at hand although no request waits: the microphone's."""

from __future__ import annotations

import asyncio
import os
import signal

from tests.runtime.scripted import ask, model, runtime_of, state_of, text_of, until


async def test_a_kept_model_is_not_unloaded_for_being_idle_until_it_is_let_go() -> None:
    async with runtime_of(model(keep_alive_s=0.6)) as runtime:
        with runtime.keep("m"), runtime.keep("m"):
            await text_of(ask(runtime, "tokens=1"))
            pid = state_of(runtime).pid
            await asyncio.sleep(0.8)
            assert (state_of(runtime).state, state_of(runtime).pid) == ("ready", pid)
            assert state_of(runtime).keep_alive_s is None
        await asyncio.sleep(0.2)  # several looks at who has been idle for too long
        assert state_of(runtime).state == "ready", "the keep-alive counts from the end"
        assert state_of(runtime).keep_alive_s == 0.6
        await until(lambda: state_of(runtime).state == "unloaded")


async def test_keeping_loads_nothing_and_minds_no_unknown_name() -> None:
    async with runtime_of(model()) as runtime:
        with runtime.keep("m"), runtime.keep("nobody"):
            await asyncio.sleep(0.05)
            assert state_of(runtime).state == "unloaded"
        with runtime.keep("m"):
            await runtime.load("m")
            runtime.set_models([])
        assert runtime.snapshot().models == ()


async def test_a_kept_model_that_dies_idle_comes_back() -> None:
    async with runtime_of(model()) as runtime:
        with runtime.keep("m"):
            await runtime.load("m")
            killed = state_of(runtime).pid
            assert killed is not None
            os.kill(killed, signal.SIGKILL)
            await until(lambda: state_of(runtime).crashes == 1 and state_of(runtime).state == "ready")
            assert state_of(runtime).pid != killed


async def test_the_next_version_of_a_kept_model_is_loaded_without_a_request_and_kept() -> None:
    async with runtime_of(model(keep_alive_s=0.1)) as runtime:
        with runtime.keep("m"):
            await runtime.load("m")
            runtime.set_models([model(version="2", keep_alive_s=0.1)])
            await until(lambda: (state_of(runtime).version, state_of(runtime).state) == ("2", "ready"))
            await until(lambda: len(runtime.snapshot().ledger.accounts) == 1)
            await text_of(ask(runtime, "tokens=1"))
            await asyncio.sleep(0.3)
            assert state_of(runtime).state == "ready"


async def test_another_model_may_still_take_the_memory_of_a_kept_one() -> None:
    async with runtime_of(model("a", "memory=6000"), model("b", "memory=6000")) as runtime:
        with runtime.keep("a"):
            await runtime.load("a")
            await text_of(ask(runtime, "tokens=1", name="b"))
            assert state_of(runtime, "a").state == "unloaded"
            await text_of(ask(runtime, "tokens=1", name="a"))
            assert state_of(runtime, "a").state == "ready"
