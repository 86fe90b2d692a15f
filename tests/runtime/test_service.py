"""Requests: who gets in, in which order, and how each of them ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from agent.errors import (
    ContextOverflowError,
    DeadlineError,
    EdgeAgentError,
    ModelLoadError,
    ModelNotFoundError,
    QueueFullError,
    RequestError,
)
from agent.runtime.service import Priority, Stream
from agent.runtime.wire.embedding import Embed, Embedded
from agent.runtime.wire.generation import Finished, Generate
from tests.runtime.scripted import ask, ended, kinds_of, model, runtime_of, state_of, text_of, until

LONG = "tokens=100000 delay_s=0.01"


async def test_a_request_from_start_to_end() -> None:
    async with runtime_of(model()) as runtime:
        stream = ask(runtime, "tokens=2")
        started = [stream.started]
        assert await kinds_of(stream) == ["Delta", "Delta", "Finished"]
        started.append(stream.started)
        assert started == [False, True]
        assert stream.queued_s > 0
        second = ask(runtime, "tokens=2")
        assert second.started, "a free slot is taken at once"
        assert second.queued_s < stream.queued_s, "the first waited for the load"
        assert await text_of(second) == "0 1 "
        counters = runtime.snapshot().counters
        assert (counters.accepted, counters.completed) == (2, 2)
        assert (counters.prompt_tokens, counters.cached_tokens, counters.completion_tokens) == (8, 2, 4)


async def test_n_choices_are_one_request() -> None:
    async with runtime_of(model()) as runtime:
        kinds = await kinds_of(ask(runtime, "tokens=1", n=3))
        assert sorted(kinds) == ["Delta"] * 3 + ["Finished"] * 3
        counters = runtime.snapshot().counters
        assert (counters.completed, counters.prompt_tokens, counters.completion_tokens) == (1, 4, 3)


async def test_an_embedding() -> None:
    async with runtime_of(model("e", task="embed")) as runtime:
        stream = runtime.submit("e", Embed(inputs=("a", "b")), client="c")
        ((event,),) = [events async for events in stream]
        assert isinstance(event, Embedded)
        assert len(event.vectors) == 16


async def test_a_request_that_the_engine_refuses_gets_its_own_error() -> None:
    async with runtime_of(model()) as runtime:
        stream = ask(runtime, "tokens=9 fail=context_length_exceeded at=1")
        await anext(stream)
        with pytest.raises(ContextOverflowError) as error:
            await text_of(stream)
        assert error.value.param == "prompt"
        assert await text_of(ask(runtime, "tokens=1")) == "0 "
        assert runtime.snapshot().counters.failed == 1


@pytest.mark.parametrize(
    ("name", "request_", "error"),
    [
        ("nobody", Generate(prompt=""), ModelNotFoundError),
        ("e", Generate(prompt=""), RequestError),
        ("g", Embed(inputs=("x",)), RequestError),
    ],
)
async def test_the_wrong_model(name: str, request_: Generate | Embed, error: type[EdgeAgentError]) -> None:
    async with runtime_of(model("g"), model("e", task="embed")) as runtime:
        with pytest.raises(error) as refusal:
            runtime.submit(name, request_, client="c")
        assert refusal.value.param == "model"
        assert runtime.snapshot().counters.accepted == 0


async def test_models_are_found_by_name_by_alias_and_by_task() -> None:
    specs = [model("e", task="embed"), model("g", aliases=("gpt", "e")), model("h", aliases=("gpt",))]
    async with runtime_of(*specs) as runtime:
        assert runtime.submit("", Generate(prompt=""), client="c").model == "g"
        assert runtime.submit("", Embed(inputs=("x",)), client="c").model == "e"
        assert runtime.submit("gpt", Generate(prompt=""), client="c").model == "g"
        assert runtime.submit("e", Embed(inputs=("x",)), client="c").model == "e", "a name beats an alias"
    async with runtime_of() as runtime:
        with pytest.raises(ModelNotFoundError):
            runtime.submit("", Generate(prompt=""), client="c")


async def test_no_more_choices_run_than_there_are_slots() -> None:
    async with runtime_of(model(slots=4)) as runtime:
        await runtime.load("m")
        first, second, third = ask(runtime, LONG, n=3), ask(runtime, "tokens=1", n=2), ask(runtime, "tokens=1")
        assert [first.started, second.started, third.started] == [True, False, False]
        assert state_of(runtime).slots_used == 3
        first.cancel()
        await asyncio.gather(text_of(second), text_of(third))
        assert second.dispatched_at is not None
        assert third.dispatched_at is not None
        assert second.dispatched_at <= third.dispatched_at


async def test_a_request_larger_than_all_slots_runs_alone() -> None:
    async with runtime_of(model(slots=2)) as runtime:
        assert (await kinds_of(ask(runtime, "tokens=1", n=5))).count("Finished") == 5


async def test_clients_take_turns_and_priority_goes_first() -> None:
    order: list[str] = []

    async def follow(label: str, stream: Stream) -> None:
        await text_of(stream)
        order.append(label)

    async with runtime_of(model(slots=1), aging_s=1000) as runtime:
        await runtime.load("m")
        streams = {"first": ask(runtime, "tokens=2 delay_s=0.02")}
        for label, client, priority in [
            ("a1", "a", Priority.NORMAL),
            ("a2", "a", Priority.NORMAL),
            ("low", "b", Priority.LOW),
            ("b1", "b", Priority.NORMAL),
            ("high", "c", Priority.HIGH),
        ]:
            streams[label] = ask(runtime, "tokens=1", client=client, priority=priority)
        waiting = runtime.snapshot().queue
        assert (waiting.high, waiting.normal, waiting.low) == (1, 3, 1)
        await asyncio.gather(*[follow(label, stream) for label, stream in streams.items()])
    assert order == ["first", "high", "a1", "b1", "a2", "low"]


async def test_capacity_counts_those_who_wait_and_nobody_else() -> None:
    async with runtime_of(model(slots=2), queue_capacity=3) as runtime:
        await runtime.load("m")
        running = [ask(runtime, LONG) for _ in range(2)]
        waiting = [ask(runtime, "tokens=1") for _ in range(3)]
        with pytest.raises(QueueFullError) as refusal:
            ask(runtime)
        assert refusal.value.retry_after_s >= 1
        assert runtime.snapshot().counters.rejected == 1
        waiting[1].cancel()
        waiting[1] = ask(runtime, "tokens=1")
        for stream in running:
            stream.cancel()
        assert await asyncio.gather(*[text_of(stream) for stream in waiting]) == ["0 "] * 3


async def test_of_500_requests_at_once_each_gets_its_answer_or_a_refusal() -> None:
    async with runtime_of(model(slots=4), queue_capacity=32) as runtime:

        async def one(number: int) -> str:
            try:
                return await text_of(ask(runtime, "tokens=2", client=str(number % 7)))
            except QueueFullError:
                return "refused"

        answers = await asyncio.wait_for(asyncio.gather(*[one(number) for number in range(500)]), 10)
        assert set(answers) == {"0 1 ", "refused"}
        assert answers.count("0 1 ") == 32
        counters = runtime.snapshot().counters
        assert (counters.completed, counters.rejected) == (32, 468)


async def test_a_deadline_passes_while_the_request_waits_for_a_slot() -> None:
    async with runtime_of(model(slots=1)) as runtime:
        await runtime.load("m")
        running = ask(runtime, LONG)
        late, patient = ask(runtime, "tokens=1", deadline_s=0.05), ask(runtime, "tokens=1")
        with pytest.raises(DeadlineError, match=r"waited 0\.\d s for model m"):
            await text_of(late)
        assert runtime.snapshot().counters.expired == 1
        running.cancel()
        assert await text_of(patient) == "0 "


async def test_a_deadline_passes_while_the_model_loads() -> None:
    async with runtime_of(model(path="load_s=60")) as runtime:
        with pytest.raises(DeadlineError, match="The model is loading"):
            await asyncio.wait_for(text_of(ask(runtime, deadline_s=0.3)), 20)


async def test_a_deadline_does_not_end_what_runs() -> None:
    async with runtime_of(model()) as runtime:
        await runtime.load("m")
        assert await text_of(ask(runtime, "tokens=3 delay_s=0.05", deadline_s=0.05)) == "0 1 2 "


async def test_cancelling_what_waits_takes_it_out_of_the_queue() -> None:
    async with runtime_of(model(slots=1)) as runtime:
        await runtime.load("m")
        running, waiting = ask(runtime, LONG), ask(runtime, LONG)
        waiting.cancel()
        assert runtime.snapshot().queue.waiting == 0
        assert await text_of(waiting) == ""
        running.cancel()
        assert await text_of(ask(runtime, "tokens=1")) == "0 "
        assert runtime.snapshot().counters.cancelled == 2


async def test_cancelling_what_runs_frees_its_slot() -> None:
    async with runtime_of(model(slots=1)) as runtime:
        stream = ask(runtime, LONG)
        await anext(stream)
        stream.cancel()
        assert [events async for events in stream] == []
        assert state_of(runtime).running == 1, "until the worker confirms"
        await until(lambda: state_of(runtime).running == 0)
        assert runtime.snapshot().counters.cancelled == 1
        assert runtime.snapshot().counters.completed == 0


async def test_a_cancellation_that_is_never_confirmed_costs_the_worker() -> None:
    async with runtime_of(model(slots=1)) as runtime:
        stream = ask(runtime, LONG + " deaf=1")
        await anext(stream)
        stream.cancel()
        assert await text_of(ask(runtime, "tokens=1")) == "0 "
        assert runtime.snapshot().counters.crashes == 1


async def test_a_client_that_does_not_read_is_cut_off_and_the_others_are_not() -> None:
    async with runtime_of(model(slots=2), pending_events=50) as runtime:
        await runtime.load("m")
        slow, brisk = ask(runtime, "tokens=100000"), ask(runtime, "tokens=200 delay_s=0.001")
        assert len((await text_of(brisk)).split()) == 200
        with pytest.raises(RequestError, match="does not read"):
            await text_of(slow)
        await until(lambda: state_of(runtime).running == 0)
        assert runtime.snapshot().counters.failed == 1


async def test_a_model_that_cannot_be_loaded_tells_all_who_wait_and_is_left_alone_for_a_while() -> None:
    async with runtime_of(model(path="fail=model_load_failed")) as runtime:
        waiting = [ask(runtime) for _ in range(3)]
        for answer in await asyncio.gather(*[ended(text_of(stream)) for stream in waiting]):
            assert isinstance(answer, ModelLoadError)
            assert answer.hint == "do not"
        assert state_of(runtime).state == "failed"
        with pytest.raises(ModelLoadError):
            ask(runtime)
        assert runtime.snapshot().counters.load_failures == 1
        with pytest.raises(ModelLoadError):
            await runtime.load("m")
        assert runtime.snapshot().counters.load_failures == 2, "an explicit load does not wait"
        await asyncio.sleep(0.31)
        assert isinstance(await ended(text_of(ask(runtime))), ModelLoadError)
        assert runtime.snapshot().counters.load_failures == 3


async def test_a_load_that_fails_is_not_the_request_s_fault_whatever_the_worker_calls_it() -> None:
    async with runtime_of(model(path="fail=invalid_request")) as runtime:
        error = await ended(text_of(ask(runtime)))
        assert type(error) is ModelLoadError


async def test_requests_submitted_before_the_start_run_after_it() -> None:
    async with runtime_of(model(preload=True)) as runtime:
        await until(lambda: state_of(runtime).state == "ready")
        assert runtime.snapshot().counters.loads == 1


@pytest.mark.parametrize(
    ("fields", "unloads"),
    [({"keep_alive_s": 0.1}, True), ({"keep_alive_s": 0.0}, True), ({"keep_alive_s": None}, False)],
)
async def test_keep_alive(fields: dict[str, Any], unloads: bool) -> None:
    async with runtime_of(model(**fields)) as runtime:
        assert await text_of(ask(runtime, "tokens=1")) == "0 "
        if unloads:
            await until(lambda: state_of(runtime).state == "unloaded")
            assert state_of(runtime).pid is None
            assert runtime.snapshot().ledger.charged_bytes == 0
            assert await text_of(ask(runtime, "tokens=1")) == "0 "
        else:
            await asyncio.sleep(0.3)
            assert state_of(runtime).state == "ready"


async def test_unload_finishes_what_runs_and_what_waits_loads_it_again() -> None:
    async with runtime_of(model(slots=1)) as runtime:
        await runtime.load("m")
        running, waiting = ask(runtime, "tokens=4 delay_s=0.02"), ask(runtime, "tokens=1")
        unloading = asyncio.create_task(runtime.unload("m"))
        assert await text_of(running) == "0 1 2 3 "
        await asyncio.wait_for(unloading, 20)
        assert await text_of(waiting) == "0 "
        assert runtime.snapshot().counters.loads == 2


async def test_unload_while_loading() -> None:
    async with runtime_of(model(path="load_s=60")) as runtime:
        loading = asyncio.create_task(runtime.load("m"))
        await until(lambda: state_of(runtime).charged_bytes)
        await asyncio.wait_for(runtime.unload("m"), 20)
        assert isinstance(await ended(loading), EdgeAgentError)
        assert state_of(runtime).state == "unloaded"
        assert runtime.snapshot().ledger.charged_bytes == 0


async def test_the_snapshot_shows_the_worker_s_own_figures() -> None:
    async with runtime_of(model(version="7", path="memory=2000 resident=2500")) as runtime:
        stream = ask(runtime, LONG)
        await anext(stream)
        await until(lambda: (stats := state_of(runtime).stats) is not None and stats.active_sequences == 1)
        shown = state_of(runtime)
        assert (shown.version, shown.state, shown.running, shown.slots) == ("7", "ready", 1, 2)
        assert shown.predicted is not None
        assert shown.predicted.total_bytes == 2000
        assert shown.charged_bytes == 2500, "measured"
        assert shown.pid
        assert shown.idle_for_s == 0
        assert shown.loaded is not None
        assert shown.loaded.description == "scripted"
        stream.cancel()


async def test_a_finished_event_per_choice_says_how_it_went() -> None:
    async with runtime_of(model()) as runtime:
        events = [event async for batch in ask(runtime, "tokens=1", n=2) for event in batch]
        assert {event.choice for event in events if isinstance(event, Finished)} == {0, 1}


async def test_many_requests_leave_no_file_descriptor(open_fds: Callable[[], set[str]]) -> None:
    async with runtime_of(model(slots=4)) as runtime:
        await runtime.load("m")
        before = open_fds()
        await asyncio.gather(*[text_of(ask(runtime, "tokens=2")) for _ in range(30)])
        assert open_fds() == before
