"""Slower for a while: fewer threads, smaller steps, and work that waits until the board has cooled down."""

from __future__ import annotations

import asyncio

import pytest

from agent.runtime.service import Priority, Runtime
from agent.runtime.throttle import FULL_SPEED, Throttle
from agent.runtime.wire.control import SetPace, SetThreads
from agent.runtime.wire.options import LlamaOptions, OnnxOptions
from tests.runtime.scripted import ask, model, runtime_of, state_of, text_of, until

OPTIONS = LlamaOptions(threads=4, threads_batch=6, batch_tokens=256)
HOLD = Throttle(admit=False)


@pytest.mark.parametrize(
    ("throttle", "threads", "pace"),
    [
        pytest.param(FULL_SPEED, SetThreads(4, 6), SetPace(0.0, 256), id="full speed is the model's own"),
        pytest.param(Throttle(threads=2, threads_batch=3), SetThreads(2, 3), SetPace(0.0, 256), id="fewer"),
        pytest.param(Throttle(threads=8, threads_batch=8), SetThreads(4, 6), SetPace(0.0, 256), id="never more"),
        pytest.param(Throttle(pause_ratio=0.5, batch_tokens=32), SetThreads(4, 6), SetPace(0.5, 32), id="rests"),
        pytest.param(Throttle(batch_tokens=512), SetThreads(4, 6), SetPace(0.0, 256), id="never longer steps"),
    ],
)
def test_what_a_model_is_told(throttle: Throttle, threads: SetThreads, pace: SetPace) -> None:
    assert (throttle.threads_of(OPTIONS), throttle.pace_of(OPTIONS)) == (threads, pace)


@pytest.mark.parametrize(
    ("throttle", "rest"),
    [
        pytest.param(FULL_SPEED, 0.0, id="full speed"),
        pytest.param(Throttle(threads=4), 0.0, id="as many threads as it has"),
        pytest.param(Throttle(threads=2), 1.0, id="half of them: half of the time"),
        pytest.param(Throttle(threads=3, pause_ratio=0.5), 1.0, id="pauses on top: 3/4 of 1/1.5 is half"),
        pytest.param(Throttle(threads=8, pause_ratio=0.5), 0.5, id="never faster"),
    ],
)
def test_a_model_of_onnx_rests_instead_of_giving_up_threads(throttle: Throttle, rest: float) -> None:
    pace = throttle.pace_of(OnnxOptions(threads=4, batch_tokens=1024))
    assert pace.pause_ratio == pytest.approx(rest)
    assert pace.batch_tokens == 1024


async def told(runtime: Runtime, name: str, **expected: int) -> None:
    """Until the worker's own words are as `expected`."""

    def as_expected() -> bool:
        stats = state_of(runtime, name).stats
        return stats is not None and all(getattr(stats, field) == value for field, value in expected.items())

    await until(as_expected)


async def test_workers_are_told_when_it_changes_and_those_that_are_loaded_later() -> None:
    async with runtime_of(model("a", options=OPTIONS), model("b", options=OPTIONS)) as runtime:
        await runtime.load("a")
        runtime.throttle(Throttle(threads=2, batch_tokens=32))
        await runtime.load("b")
        await told(runtime, "a", threads=2, batch_tokens=32)
        await told(runtime, "b", threads=2, batch_tokens=32)
        runtime.throttle(FULL_SPEED)
        await told(runtime, "a", threads=4, batch_tokens=256)
        await told(runtime, "b", threads=4, batch_tokens=256)


async def test_new_work_waits_until_it_is_admitted_but_urgent_work_goes() -> None:
    async with runtime_of(model()) as runtime:
        await text_of(ask(runtime, "tokens=1"))
        running = ask(runtime, "tokens=100000 delay_s=0.01")
        runtime.throttle(HOLD)
        waiting = [ask(runtime, "tokens=2"), ask(runtime, "tokens=2", priority=Priority.LOW)]
        assert await text_of(ask(runtime, "tokens=2", priority=Priority.HIGH)) == "0 1 "
        assert not any(stream.started for stream in waiting)
        assert running.started
        assert not running.ended, "what runs is finished"
        runtime.throttle(FULL_SPEED)
        assert [await text_of(stream) for stream in waiting] == ["0 1 ", "0 1 "]
        running.cancel()


async def test_work_that_waits_loads_no_model_until_it_is_admitted() -> None:
    async with runtime_of(model(keep_alive_s=0.0)) as runtime:
        runtime.throttle(HOLD)
        stream = ask(runtime, "tokens=2")
        await asyncio.sleep(0.05)
        assert runtime.snapshot().counters.loads == 0
        runtime.throttle(FULL_SPEED)
        assert await text_of(stream) == "0 1 "
        assert runtime.snapshot().counters.loads == 1


async def test_deadlines_count_while_work_waits() -> None:
    async with runtime_of(model()) as runtime:
        runtime.throttle(HOLD)
        with pytest.raises(Exception, match="its deadline passed"):
            await text_of(ask(runtime, deadline_s=0.02))


async def test_tokens_are_counted_as_they_come() -> None:
    async with runtime_of(model()) as runtime:
        stream = ask(runtime, "tokens=100000 delay_s=0.001")
        await until(lambda: runtime.work()[1] > 3)
        assert runtime.work()[0] == 1
        stream.cancel()
