"""Work that is turned away at the door, while the device has no memory to spare."""

from __future__ import annotations

import pytest

from agent.errors import OverloadedError, QueueFullError, by_code
from agent.runtime.service import Priority
from tests.runtime.scripted import ask, model, runtime_of, text_of


async def test_new_work_is_refused_except_urgent_work_and_what_runs_goes_on() -> None:
    async with runtime_of(model()) as runtime:
        running = ask(runtime, "tokens=3 delay_s=0.05")
        runtime.refusal = OverloadedError("Too little memory.", retry_after_s=10.0)
        for priority in (Priority.NORMAL, Priority.LOW):
            with pytest.raises(OverloadedError) as caught:
                ask(runtime, "tokens=2", priority=priority)
            assert (caught.value.status, caught.value.code, caught.value.retry_after_s) == (503, "overloaded", 10.0)
            assert caught.value is not runtime.refusal
        assert await text_of(ask(runtime, "tokens=2", priority=Priority.HIGH)) == "0 1 "
        assert await text_of(running) == "0 1 2 "
        assert runtime.snapshot().counters.rejected == 2
        runtime.refusal = None
        assert await text_of(ask(runtime, "tokens=2")) == "0 1 "


def test_a_code_from_another_process_never_makes_an_error_that_needs_more_than_words() -> None:
    assert not issubclass(by_code("overloaded"), QueueFullError)
