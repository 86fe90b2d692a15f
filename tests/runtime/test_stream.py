from __future__ import annotations

import asyncio

import pytest

from agent.errors import RequestError, WorkerCrashedError
from agent.runtime.stream import Stream
from agent.runtime.wire.embedding import Embedded
from agent.runtime.wire.generation import Delta, Generate, TokenLogprob
from agent.runtime.wire.messages import Event


class Holder:
    def __init__(self) -> None:
        self.dropped: list[int] = []

    def drop(self, stream: Stream) -> None:
        self.dropped.append(stream.id)


def stream_of(holder: Holder | None = None, *, limit_events: int = 100, limit_bytes: int = 12_000) -> Stream:
    return Stream(
        Generate(id=7, prompt="x"),
        model="m",
        client="c",
        submitted_at=1.0,
        holder=holder or Holder(),
        limit_events=limit_events,
        limit_bytes=limit_bytes,
    )


def delta(text: str = "x") -> Delta:
    return Delta(id=7, text=text, tokens=1)


def embedded() -> Embedded:
    return Embedded(id=7, dim=8, vectors=b"", prompt_tokens=1)


async def test_events_that_came_together_are_read_together() -> None:
    stream = stream_of()
    stream.push(delta("a"))
    stream.push(delta("b"))
    assert await anext(stream) == [delta("a"), delta("b")]
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    stream.push(delta("c"))
    stream.push(delta("d"))
    assert await waiting == [delta("c"), delta("d")]


async def test_new_text_is_handed_over_only_while_the_reader_waits_and_the_reader_has_the_rest_in_order() -> None:
    stream = stream_of()
    handed: list[str] = []
    refused = {"c"}

    def take(delta: Delta) -> bool:
        if delta.text in refused:
            return False
        handed.append(delta.text)
        return True

    stream.hand_to(take)
    stream.push(delta("a"))
    assert await anext(stream) == [delta("a")]
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    stream.push(delta("b"))
    await asyncio.sleep(0)
    assert handed == ["b"]
    assert not waiting.done()
    stream.push(delta("c"))
    stream.push(delta("d"))  # the reader has been woken for "c", which must be first
    assert await waiting == [delta("c"), delta("d")]
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    stream.push(embedded())
    assert await waiting == [embedded()]
    stream.cancel()
    stream.push(delta("late"))
    assert handed == ["b"]


async def test_the_end_comes_after_the_last_events() -> None:
    stream = stream_of()
    stream.push(delta())
    stream.finish()
    stream.push(delta("late"))
    assert [events async for events in stream] == [[delta()]]


async def test_an_error_comes_after_the_events_before_it_and_stays() -> None:
    stream = stream_of()
    stream.push(delta())
    stream.fail(WorkerCrashedError("gone"))
    assert await anext(stream) == [delta()]
    for _ in range(2):
        with pytest.raises(WorkerCrashedError):
            await anext(stream)


async def test_cancel_ends_a_waiting_reader_and_tells_the_holder_once() -> None:
    holder = Holder()
    stream = stream_of(holder)
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    stream.cancel()
    stream.cancel()
    await stream.aclose()
    with pytest.raises(StopAsyncIteration):
        await waiting
    assert holder.dropped == [7]


async def test_leaving_the_block_cancels() -> None:
    holder = Holder()
    async with stream_of(holder):
        pass
    assert holder.dropped == [7]


async def test_cancelling_the_reading_task_leaves_the_stream_usable() -> None:
    stream = stream_of()
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    stream.push(delta())
    assert await anext(stream) == [delta()]


async def test_only_one_task_may_read() -> None:
    stream = stream_of()
    first = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="two tasks"):
        await anext(stream)
    stream.finish()
    with pytest.raises(StopAsyncIteration):
        await first


LOGPROB = TokenLogprob(token=1, piece=b"x", logprob=0.0, top=((1, b"x", 0.0),) * 20)


@pytest.mark.parametrize(
    ("event", "count"),
    [
        pytest.param(delta(), 101, id="events"),
        pytest.param(delta("x" * 3000), 4, id="text"),
        pytest.param(Delta(id=7, text="", logprobs=(LOGPROB,)), 6, id="logprobs"),
        pytest.param(Embedded(id=7, dim=1, vectors=b"x" * 9000, prompt_tokens=1), 2, id="vectors"),
    ],
)
async def test_a_reader_that_falls_behind_loses_its_request(event: Event, count: int) -> None:
    holder = Holder()
    stream = stream_of(holder)
    for _ in range(count):
        assert not holder.dropped
        stream.push(event)
    assert holder.dropped == [7]
    assert stream.failed
    with pytest.raises(RequestError, match="does not read"):
        await anext(stream)


async def test_one_large_event_is_never_too_much() -> None:
    stream = stream_of()
    large = Embedded(id=7, dim=1, vectors=b"x" * 100_000, prompt_tokens=1)
    stream.push(large)
    assert await anext(stream) == [large]


def test_time_in_the_queue() -> None:
    stream = stream_of()
    assert (stream.started, stream.queued_s) == (False, 0.0)
    stream.begin(Holder(), 3.5)
    assert (stream.started, stream.queued_s) == (True, 2.5)
