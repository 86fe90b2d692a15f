"""Workers that die, hang or stop: their running requests get a clear error, the queued ones are served."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.errors import LoadTimeoutError, ModelFailedError, WorkerCrashedError, by_code
from tests.runtime.scripted import ask, ended, model, runtime_of, state_of, text_of, until

LONG = "tokens=100000 delay_s=0.005"


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        pytest.param("tokens=9 at=3 delay_s=0.005 signal=SIGSEGV", "killed by SIGSEGV", id="SIGSEGV"),
        pytest.param("tokens=9 at=3 delay_s=0.005 signal=SIGKILL", "out of memory?", id="SIGKILL"),
        pytest.param("tokens=9 at=3 delay_s=0.005 signal=SIGSTOP", "did not answer for 0.5 s", id="SIGSTOP"),
        pytest.param("tokens=9 at=3 delay_s=0.005 hang=1", "did not answer for 0.5 s", id="hang"),
        pytest.param("tokens=9 at=3 delay_s=0.005 stuck=1", "hung in one step", id="hang in the engine"),
        pytest.param("tokens=9 at=3 delay_s=0.005 exit=0", "exited with status 0", id="exit"),
        pytest.param("tokens=9 at=3 delay_s=0.005 garbage=1", "a frame that is none", id="garbage"),
    ],
)
async def test_running_requests_get_an_error_and_queued_ones_complete(prompt: str, reason: str) -> None:
    async with runtime_of(model(slots=2)) as runtime:
        await runtime.load("m")
        culprit, bystander = ask(runtime, prompt), ask(runtime, LONG)
        queued = [ask(runtime, "tokens=2") for _ in range(3)]
        for stream in (culprit, bystander):
            with pytest.raises(WorkerCrashedError, match=reason) as error:
                await asyncio.wait_for(text_of(stream), 5)
            assert error.value.hint == "It is safe to send the request again."
        assert await asyncio.gather(*[text_of(stream) for stream in queued]) == ["0 1 "] * 3
        shown = state_of(runtime)
        assert (shown.state, shown.crashes, shown.crashes_in_a_row) == ("ready", 1, 0)


async def test_what_was_generated_before_the_crash_is_delivered() -> None:
    async with runtime_of(model()) as runtime:
        stream = ask(runtime, "tokens=9 at=3 signal=SIGSEGV")
        received = 0
        with contextlib.suppress(WorkerCrashedError):
            async for events in stream:
                received += len(events)
        assert received == 3
        assert stream.failed


async def test_a_crash_loop_ends_in_failed_and_load_revives(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.touch()
    async with runtime_of(model(path=f"die_while={broken}")) as runtime:
        waiting = [ask(runtime, "tokens=1") for _ in range(2)]
        for answer in await asyncio.gather(*[ended(text_of(stream)) for stream in waiting]):
            assert isinstance(answer, ModelFailedError)
            assert "5 workers in a row were lost, the last one exited with status 9" in answer.message
        assert state_of(runtime).state == "failed"
        broken.unlink()
        with pytest.raises(ModelFailedError):
            ask(runtime)
        await runtime.load("m")
        assert await text_of(ask(runtime, "tokens=1")) == "0 "
        assert runtime.snapshot().counters.crashes == 5


async def test_crashes_under_requests_count_until_one_completes() -> None:
    async with runtime_of(model(), crash_limit=3) as runtime:
        for _ in range(2):
            for _ in range(2):
                assert isinstance(await ended(text_of(ask(runtime, "signal=SIGSEGV"))), WorkerCrashedError)
            assert await text_of(ask(runtime, "tokens=1")) == "0 "
        for _ in range(3):
            assert isinstance(await ended(text_of(ask(runtime, "signal=SIGSEGV"))), WorkerCrashedError)
        with pytest.raises(ModelFailedError, match="3 workers in a row"):
            ask(runtime)


async def test_load_waits_through_restarts_and_tells_when_they_end() -> None:
    async with runtime_of(model(path="die=4"), crash_limit=3) as runtime:
        with pytest.raises(ModelFailedError, match="status 4"):
            await asyncio.wait_for(runtime.load("m"), 5)
        assert runtime.snapshot().counters.crashes == 3


async def test_a_worker_that_cannot_be_started() -> None:
    async with runtime_of(model(), command=("/nonexistent",), crash_limit=2) as runtime:
        with pytest.raises(ModelFailedError, match="could not be started"):
            await asyncio.wait_for(text_of(ask(runtime)), 5)


async def test_a_load_that_never_ends_is_given_up() -> None:
    async with runtime_of(model(path="mute=1"), start_timeout_s=0.2, crash_limit=2) as runtime:
        with pytest.raises(LoadTimeoutError, match=r"did not load within 0\.2 s") as given_up:
            await asyncio.wait_for(text_of(ask(runtime)), 5)
        assert given_up.value.code == "model_failed"
        assert by_code(given_up.value.code) is ModelFailedError


async def test_a_load_that_took_too_long_counts_only_if_it_was_the_last(tmp_path: Path) -> None:
    dies = tmp_path / "dies"
    path = f"load_s=30 die_while={dies}"
    async with runtime_of(model(path=path), load_timeout_s=0.5, crash_limit=2, backoff_first_s=(0.5,)) as runtime:
        asked = asyncio.create_task(ended(text_of(ask(runtime))))
        await until(lambda: state_of(runtime).crashes == 1)
        dies.touch()
        error = await asked
    assert type(error) is ModelFailedError
    assert "the last one exited with status 9" in error.message


@pytest.mark.parametrize(("preload", "after"), [(True, "ready"), (False, "unloaded")])
async def test_a_model_that_dies_idle_comes_back_if_it_is_meant_to_be_there(preload: bool, after: str) -> None:
    async with runtime_of(model(preload=preload)) as runtime:
        await runtime.load("m")
        killed = state_of(runtime).pid
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        await until(lambda: state_of(runtime).crashes == 1 and state_of(runtime).state == after)
        assert state_of(runtime).pid != killed


async def test_other_models_do_not_notice() -> None:
    async with runtime_of(model("m"), model("other")) as runtime:
        await runtime.load("other")
        steady = ask(runtime, "tokens=40 delay_s=0.005", name="other")
        assert isinstance(await ended(text_of(ask(runtime, "signal=SIGSEGV"))), WorkerCrashedError)
        assert len((await text_of(steady)).split()) == 40
        assert state_of(runtime, "other").crashes == 0


async def test_fifty_crashes_leave_no_process_and_no_file_descriptor(open_fds: Callable[[], set[str]]) -> None:
    causes = itertools.cycle(["SIGKILL", "SIGSEGV", "SIGABRT"])
    before = open_fds()
    async with runtime_of(model(slots=1)) as runtime:
        await runtime.load("m")
        pids = {state_of(runtime).pid}
        for _ in range(50):
            culprit = ask(runtime, f"tokens=5 at=2 signal={next(causes)}")
            queued = ask(runtime, "tokens=1")
            await anext(culprit)
            assert isinstance(await ended(text_of(culprit)), WorkerCrashedError)
            assert await text_of(queued) == "0 "
            pids.add(state_of(runtime).pid)
        assert runtime.snapshot().counters.crashes == 50
    assert len(pids) == 51
    for pid in pids:
        assert pid is not None
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert open_fds() == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)  # noqa: ASYNC222 (does not wait)
