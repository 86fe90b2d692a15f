"""Changing what is served while it is served."""

from __future__ import annotations

import asyncio
import os

import pytest

from agent.errors import ConfigError, EdgeAgentError, ModelFailedError, ModelNotFoundError
from tests.runtime.scripted import ask, ended, model, runtime_of, state_of, text_of, until

RUNNING = "tokens=30 delay_s=0.01"


async def test_a_new_version_takes_new_requests_while_the_old_one_finishes_its_own() -> None:
    async with runtime_of(model(version="1")) as runtime:
        await runtime.load("m")
        old_pid = state_of(runtime).pid
        assert old_pid is not None
        running = ask(runtime, "tokens=100 delay_s=0.01")
        runtime.set_models([model(version="2")])
        await runtime.settled("m")
        assert await text_of(ask(runtime, "tokens=1")) == "0 "
        assert not running.ended, "both at the same time"
        assert state_of(runtime).version == "2"
        assert state_of(runtime).pid != old_pid
        assert runtime.snapshot().running == 1
        assert len((await text_of(running)).split()) == 100
        await until(lambda: len(runtime.snapshot().ledger.accounts) == 1)
        with pytest.raises(ProcessLookupError):
            os.kill(old_pid, 0)


async def test_the_old_version_serves_until_the_new_one_is_loaded() -> None:
    async with runtime_of(model()) as runtime:
        await runtime.load("m")
        pid = state_of(runtime).pid
        runtime.set_models([model(version="2", path="load_s=1")])
        for _ in range(3):
            assert await text_of(ask(runtime, "tokens=1")) == "0 "
            shown = state_of(runtime)
            assert (shown.version, shown.pid, shown.successor) == ("1", pid, "2")
        await runtime.settled("m")
        shown = state_of(runtime)
        assert (shown.version, shown.state, shown.successor) == ("2", "ready", None)


@pytest.mark.parametrize("path", ["die=9", "fail=model_load_failed", "memory=99999", "mute=1"])
async def test_the_old_version_serves_on_where_the_new_one_cannot_be_loaded(path: str) -> None:
    async with runtime_of(model(), start_timeout_s=1.0) as runtime:
        await runtime.load("m")
        pid = state_of(runtime).pid
        running = ask(runtime, "tokens=1000 delay_s=0.005")
        runtime.set_models([model(version="2", path=path)])
        for _ in range(2):
            with pytest.raises(EdgeAgentError):
                await runtime.settled("m")
        assert await text_of(ask(runtime, "tokens=1")) == "0 "
        shown = state_of(runtime)
        assert (shown.version, shown.pid, shown.successor) == ("1", pid, None)
        assert not running.ended
        await until(lambda: len(runtime.snapshot().ledger.accounts) == 1)
        runtime.set_models([model()])
        await runtime.settled("m")
        assert (runtime.snapshot().counters.failed, runtime.snapshot().counters.crashes) == (0, 0)


async def test_requests_that_wait_go_to_the_new_version() -> None:
    async with runtime_of(model(slots=1)) as runtime:
        await runtime.load("m")
        running, waiting = ask(runtime, "tokens=1000 delay_s=0.005"), ask(runtime, "tokens=1")
        runtime.set_models([model(slots=1, version="2")])
        assert await text_of(waiting) == "0 "
        assert not running.ended
        running.cancel()


async def test_who_waits_for_a_load_is_answered_by_the_version_that_replaces_it() -> None:
    async with runtime_of(model(path="load_s=30")) as runtime:
        loading, waiting = asyncio.create_task(runtime.load("m")), ask(runtime, "tokens=1")
        await until(lambda: runtime.snapshot().ledger.accounts)
        runtime.set_models([model(version="2")])
        await asyncio.wait_for(loading, 5)
        assert await text_of(waiting) == "0 "
        assert state_of(runtime).version == "2"


async def test_both_versions_do_not_fit() -> None:
    async with runtime_of(model(path="memory=6000", pinned=True)) as runtime:
        await runtime.load("m")
        running = ask(runtime, RUNNING)
        runtime.set_models([model(path="memory=6000", version="2", pinned=True)])
        answers = []
        while state_of(runtime).version == "1":
            answers.append(asyncio.create_task(text_of(ask(runtime, "tokens=1"))))
            await asyncio.sleep(0.02)
        assert len((await text_of(running)).split()) == 30
        assert set(await asyncio.wait_for(asyncio.gather(*answers), 20)) == {"0 "}
        assert runtime.snapshot().ledger.charged_bytes == 6000
        assert runtime.snapshot().ledger.accounts[0].pinned


async def test_both_versions_do_not_fit_and_the_new_one_fails_when_it_is_loaded() -> None:
    async with runtime_of(model(path="memory=6000")) as runtime:
        await runtime.load("m")
        runtime.set_models([model(path="memory=6000 die_late=1", version="2")])
        await until(lambda: state_of(runtime).pid is None)
        waiting = ask(runtime, "tokens=1")
        with pytest.raises(ModelFailedError, match="exited with status 1"):
            await runtime.settled("m")
        assert await asyncio.wait_for(text_of(waiting), 5) == "0 "
        assert (state_of(runtime).version, state_of(runtime).state) == ("1", "ready")


async def test_a_choice_that_is_taken_back_while_it_loads() -> None:
    async with runtime_of(model()) as runtime:
        await runtime.load("m")
        pid = state_of(runtime).pid
        runtime.set_models([model(version="2", path="load_s=30")])
        await until(lambda: len(runtime.snapshot().ledger.accounts) == 2)
        runtime.set_models([model(aliases=("other",))])
        await until(lambda: len(runtime.snapshot().ledger.accounts) == 1)
        assert await text_of(ask(runtime, "tokens=1", name="other")) == "0 "
        assert (state_of(runtime).pid, state_of(runtime).successor) == (pid, None)


async def test_a_third_version_is_chosen_while_the_second_loads() -> None:
    async with runtime_of(model()) as runtime:
        await runtime.load("m")
        runtime.set_models([model(version="2", path="load_s=30")])
        second = asyncio.create_task(runtime.settled("m"))
        await until(lambda: len(runtime.snapshot().ledger.accounts) == 2)
        runtime.set_models([model(version="3")])
        await runtime.settled("m")
        assert "Version 3 of m was chosen meanwhile" in str(await ended(second))
        assert state_of(runtime).version == "3"


async def test_other_terms_need_no_other_worker() -> None:
    async with runtime_of(model(keep_alive_s=None)) as runtime:
        await runtime.load("m")
        pid = state_of(runtime).pid
        runtime.set_models([model(keep_alive_s=100, aliases=("other",), pinned=True)])
        await text_of(ask(runtime, "tokens=1", name="other"))
        assert state_of(runtime).pid == pid
        assert runtime.snapshot().ledger.accounts[0].pinned
        runtime.set_models([model(keep_alive_s=0)])
        await until(lambda: state_of(runtime).state == "unloaded")


async def test_a_removed_model_finishes_what_runs_and_refuses_what_waits() -> None:
    async with runtime_of(model(slots=1), model("other")) as runtime:
        await runtime.load("m")
        running, waiting = ask(runtime, RUNNING), ask(runtime)
        runtime.set_models([model("other")])
        with pytest.raises(ModelNotFoundError, match="no model 'm'"):
            await text_of(waiting)
        with pytest.raises(ModelNotFoundError):
            ask(runtime)
        assert len((await text_of(running)).split()) == 30
        await until(lambda: not runtime.snapshot().ledger.accounts)


async def test_a_model_removed_while_it_loads() -> None:
    async with runtime_of(model(path="load_s=30")) as runtime:
        loading = asyncio.create_task(runtime.load("m"))
        waiting = ask(runtime)
        await until(lambda: runtime.snapshot().ledger.accounts)
        runtime.set_models([])
        assert isinstance(await ended(text_of(waiting)), ModelNotFoundError)
        assert "removed" in str(await ended(loading))
        await until(lambda: not runtime.snapshot().ledger.accounts)


async def test_a_failed_model_gets_a_new_chance_with_a_new_version() -> None:
    async with runtime_of(model(path="fail=model_load_failed")) as runtime:
        await ended(text_of(ask(runtime)))
        assert state_of(runtime).state == "failed"
        runtime.set_models([model(version="2")])
        assert await text_of(ask(runtime, "tokens=1")) == "0 "


async def test_back_and_forth_while_requests_come() -> None:
    async with runtime_of(model(version="0")) as runtime:
        answers = []
        for version in range(1, 6):
            answers.append(asyncio.create_task(text_of(ask(runtime, "tokens=3 delay_s=0.01"))))
            await asyncio.sleep(0.03)
            runtime.set_models([model(version=str(version))])
        assert await asyncio.wait_for(asyncio.gather(*answers), 5) == ["0 1 2 "] * 5
        await until(lambda: len(runtime.snapshot().ledger.accounts) <= 1)


async def test_two_models_of_one_name_are_a_mistake() -> None:
    async with runtime_of() as runtime:
        with pytest.raises(ConfigError, match="m"):
            runtime.set_models([model(), model(version="2")])
