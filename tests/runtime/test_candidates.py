"""A version that is loaded to be tried, beside the one that serves or in its place."""

from __future__ import annotations

import asyncio
import os

import pytest

from agent.errors import (
    EdgeAgentError,
    LoadTimeoutError,
    MemoryBudgetError,
    ModelFailedError,
    ModelLoadError,
    UnavailableError,
)
from agent.runtime.candidate import Candidate
from agent.runtime.niceness import TRIED, may_take_back
from agent.runtime.service import Runtime
from agent.runtime.wire.generation import Generate
from tests.runtime.scripted import ask, ended, model, runtime_of, state_of, text_of, until

LONG = "tokens=1000 delay_s=0.005"
NEXT = model(version="2")


def accounts(runtime: Runtime) -> int:
    return len(runtime.snapshot().ledger.accounts)


async def answer(candidate: Candidate, prompt: str = "tokens=1") -> str:
    return await text_of(candidate.submit(Generate(prompt=prompt)))


async def test_it_answers_for_itself_and_nobody_else_notices() -> None:
    async with runtime_of(model()) as runtime:
        await runtime.load("m")
        shown = state_of(runtime)
        candidate = await runtime.introduce(NEXT)
        assert await answer(candidate, "tokens=2") == "0 1 "
        assert state_of(runtime).pid == shown.pid
        assert (state_of(runtime).version, state_of(runtime).successor) == ("1", "2")
        assert runtime.snapshot().counters.accepted == 0
        assert (candidate.in_place, candidate.charged_bytes, candidate.fault(), candidate.lost()) == (
            False,
            1000,
            None,
            None,
        )
        await candidate.dismiss("seen enough")
        assert accounts(runtime) == 1
        assert state_of(runtime).successor is None
        with pytest.raises(UnavailableError, match="taken away"):
            candidate.submit(Generate(prompt=""))


async def test_choosing_its_version_takes_the_worker_as_it_is() -> None:
    async with runtime_of(model()) as runtime:
        await runtime.load("m")
        running = ask(runtime, LONG)
        candidate = await runtime.introduce(NEXT)
        await answer(candidate)
        loads = runtime.snapshot().counters.loads
        runtime.set_models([model(version="2", pinned=True)])
        shown = state_of(runtime)
        assert (shown.version, shown.state, shown.pinned, shown.health.requests_ok) == ("2", "ready", True, 0)
        assert await text_of(ask(runtime, "tokens=1")) == "0 "
        assert not running.ended
        assert runtime.snapshot().counters.loads == loads, "nothing was loaded again"
        assert runtime.health("m").requests_ok == 1
        await candidate.dismiss("too late")
        assert state_of(runtime).state == "ready"


async def test_the_first_version_of_a_model() -> None:
    async with runtime_of() as runtime:
        candidate = await runtime.introduce(model())
        assert await answer(candidate) == "0 "
        assert runtime.snapshot().models == ()
        runtime.set_models([model()])
        assert state_of(runtime).state == "ready"


async def test_where_both_do_not_fit_requests_wait_until_it_is_dismissed() -> None:
    async with runtime_of(model(path="memory=6000", pinned=True)) as runtime:
        await runtime.load("m")
        running = ask(runtime, "tokens=20 delay_s=0.01")
        introducing = asyncio.create_task(runtime.introduce(model(path="memory=7000", version="2")))
        assert len((await text_of(running)).split()) == 20
        candidate = await introducing
        assert candidate.in_place
        waiting = ask(runtime, "tokens=1")
        assert await answer(candidate) == "0 "
        assert not waiting.started
        patience_s = runtime.patience_s("m")
        assert patience_s is not None
        assert 0 < patience_s <= 300
        await candidate.dismiss("it failed")
        assert await asyncio.wait_for(text_of(waiting), 5) == "0 "
        assert (state_of(runtime).version, accounts(runtime)) == ("1", 1)


async def test_where_both_do_not_fit_requests_wait_until_it_serves() -> None:
    async with runtime_of(model(path="memory=6000")) as runtime:
        await runtime.load("m")
        spec = model(path="memory=7000", version="2")
        await runtime.introduce(spec)
        waiting = [ask(runtime, "tokens=1") for _ in range(5)]
        loading = asyncio.create_task(runtime.load("m"))
        await asyncio.sleep(0)
        runtime.set_models([spec])
        assert await asyncio.gather(*[text_of(stream) for stream in waiting]) == ["0 "] * 5
        await asyncio.wait_for(loading, 20)
        assert accounts(runtime) == 1


@pytest.mark.parametrize(
    ("path", "timeout_s", "error", "says"),
    [
        ("die=9", 20, ModelFailedError, "its worker was lost: it exited with status 9"),
        ("die_late=9", 20, ModelFailedError, "exited with status 9"),
        ("mute=1", 0.5, LoadTimeoutError, "did not load within 0.5 s"),
        ("load_s=30", 0.5, LoadTimeoutError, "did not load within 0.5 s"),
        ("fail=invalid_request", 20, ModelLoadError, "scripted to fail"),
        ("memory=99999", 20, MemoryBudgetError, "needs weights"),
    ],
)
async def test_one_that_cannot_be_loaded_leaves_all_as_it_was(
    path: str, timeout_s: float, error: type[EdgeAgentError], says: str
) -> None:
    async with runtime_of(model()) as runtime:
        await runtime.load("m")
        pid = state_of(runtime).pid
        with pytest.raises(error, match=says) as refused:
            await runtime.introduce(model(path=path, version="2"), load_timeout_s=timeout_s)
        assert type(refused.value) is error
        assert accounts(runtime) == 1
        assert await text_of(ask(runtime, "tokens=1")) == "0 "
        assert (state_of(runtime).pid, state_of(runtime).successor) == (pid, None)


async def test_cancelled_while_it_loads_in_the_place_of_the_other() -> None:
    async with runtime_of(model(path="memory=6000")) as runtime:
        await runtime.load("m")
        introducing = asyncio.create_task(runtime.introduce(model(path="memory=6000 load_s=30", version="2")))
        await until(lambda: state_of(runtime).pid is None)
        waiting = ask(runtime, "tokens=1")
        introducing.cancel()
        assert isinstance(await ended(text_of(waiting)), str)
        assert introducing.cancelled()
        assert (state_of(runtime).version, accounts(runtime)) == ("1", 1)


@pytest.mark.parametrize(("prompt", "says"), [("signal=SIGSEGV", "SIGSEGV"), ("hang=1", "did not answer")])
async def test_one_that_crashes_under_a_request_is_not_started_again(prompt: str, says: str) -> None:
    async with runtime_of(model()) as runtime:
        candidate = await runtime.introduce(NEXT)
        assert says in str(await ended(answer(candidate, prompt)))
        assert says in str(candidate.fault())
        with pytest.raises(ModelFailedError, match=says):
            candidate.submit(Generate(prompt=""))
        await candidate.dismiss("it crashed")
        assert accounts(runtime) == 0
        assert runtime.snapshot().counters.crashes == 0


async def test_a_model_that_somebody_asks_for_may_take_its_memory() -> None:
    async with runtime_of(model(path="memory=3000"), model("b", "memory=5000")) as runtime:
        await runtime.load("m")
        candidate = await runtime.introduce(model(path="memory=3000", version="2"))
        ask(runtime, LONG)
        assert await text_of(ask(runtime, "tokens=1", name="b")) == "0 "
        assert candidate.lost() == "evicted to make room for b"
        assert candidate.fault() is None
        await candidate.dismiss("it was evicted")
        assert state_of(runtime).state == "ready"


async def test_another_candidate_takes_the_place_of_the_first() -> None:
    async with runtime_of(model()) as runtime:
        first = await runtime.introduce(NEXT)
        second = await runtime.introduce(model(version="3"))
        assert first.lost() == "another version was chosen meanwhile"
        assert await answer(second) == "0 "
        assert accounts(runtime) == 1


async def test_one_that_does_not_even_cancel_is_gone_at_once_when_it_is_dismissed() -> None:
    async with runtime_of(model(), hang_timeout_s=60) as runtime:
        candidate = await runtime.introduce(NEXT)
        asking = asyncio.create_task(answer(candidate, LONG + " deaf=1"))
        await asyncio.sleep(0.05)
        asking.cancel()
        await asyncio.wait_for(candidate.dismiss("enough"), 20)
        assert accounts(runtime) == 0


async def test_nobody_chooses_it_in_time() -> None:
    async with runtime_of(model(path="memory=6000")) as runtime:
        await runtime.load("m")
        candidate = await runtime.introduce(model(path="memory=6000", version="2"))
        candidate.stand_by(0.1)
        assert await asyncio.wait_for(text_of(ask(runtime, "tokens=1")), 5) == "0 "
        assert candidate.lost() is not None


async def test_one_in_a_runtime_that_stops() -> None:
    async with runtime_of(model()) as runtime:
        introducing = asyncio.create_task(runtime.introduce(model(version="2", path="load_s=30")))
        await until(lambda: runtime.snapshot().ledger.accounts)
        await runtime.stop(grace_s=0)
        assert "shutting down" in str(await ended(introducing))


@pytest.mark.skipif(not may_take_back(), reason="may not take a niceness back")
async def test_it_gives_way_to_others_until_it_serves() -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    async with runtime_of(model()) as runtime:
        candidate = await runtime.introduce(NEXT)
        pid = candidate.pid
        assert pid is not None
        levels = [os.getpriority(os.PRIO_PROCESS, pid)]
        candidate.set_pace(gives_way=False)
        levels.append(os.getpriority(os.PRIO_PROCESS, pid))
        candidate.set_pace(gives_way=True)
        runtime.set_models([NEXT])
        assert state_of(runtime).pid == pid
        levels.append(os.getpriority(os.PRIO_PROCESS, pid))
        assert levels == [min(19, own + TRIED), own, own]


async def test_health_counts_what_is_the_models_own_doing() -> None:
    async with runtime_of(model()) as runtime:
        for prompt in ("tokens=1", "fail=invalid_request", "fail=engine_error", "signal=SIGKILL", "tokens=1"):
            await ended(text_of(ask(runtime, prompt)))
        ask(runtime, LONG).cancel()
        health = runtime.health("m")
        assert (health.requests_ok, health.requests_failed, health.crashes) == (2, 2, 1)
        runtime.set_models([NEXT])
        await runtime.settled("m")
        assert runtime.health("m").crashes == 0


async def test_back_and_forth_under_load_fails_no_request() -> None:
    async with runtime_of(model(version="0"), queue_capacity=1000) as runtime:
        await runtime.load("m")
        done = asyncio.Event()
        answers: list[str] = []

        async def traffic() -> None:
            while not done.is_set():
                answers.append(await text_of(ask(runtime, "tokens=3 delay_s=0.003")))

        async with asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(traffic())
            for version in range(1, 4):
                await runtime.introduce(model(version=str(version)))
                runtime.set_models([model(version=str(version))])
                await runtime.settled("m")
            done.set()
        assert set(answers) == {"0 1 2 "}
        assert runtime.snapshot().counters.failed == 0
