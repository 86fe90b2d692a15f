"""Many listeners of one microphone: who hears what, and that none holds up the others or leaves anything behind."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import nullcontext

import pytest

from agent.errors import RequestError
from agent.speech.event_queue import CAPACITY, DROPPABLE_CAPACITY
from agent.speech.events import Final, Level, Lost
from agent.speech.listener import Listener
from agent.speech.listening import Listening
from agent.speech.source import Missing

from .scripted_listening import ANY, Room, ScriptedEngine, hear, listening_of, rest, states, until
from .sounds import silence, tone


@pytest.fixture
def room() -> Room:
    return Room()


@pytest.fixture
async def listening(room: Room) -> AsyncIterator[Listening]:
    listening = listening_of(room, ScriptedEngine())
    yield listening
    await listening.close(0)


async def test_all_hear_the_same_and_levels_only_who_wants_them(room: Room, listening: Listening) -> None:
    async with listening.listen(ANY) as one, listening.listen(ANY, levels=False) as other:
        room.say(silence(0.5), tone(1.0), silence(1.0))
        heard = [await hear(listener, lambda event: isinstance(event, Final)) for listener in (one, other)]
    assert heard[1] == [event for event in heard[0] if not isinstance(event, Level)]
    assert len(heard[0]) > len(heard[1]) > 4


async def test_levels_begin_when_somebody_wants_them_and_are_of_now(room: Room, listening: Listening) -> None:
    async with listening.listen(ANY, levels=False) as quiet:
        room.say(tone(0.5), silence(1.0))
        await hear(quiet, lambda event: isinstance(event, Final))
        async with listening.listen(ANY) as other:
            room.say(silence(0.5))
            heard = await hear(other, lambda event: isinstance(event, Level))
            assert isinstance(heard[-1], Level)
            assert heard[-1].rms_dbfs == -120.0, "the tone was before"


async def test_who_does_not_read_loses_levels_first_is_dropped_in_the_end_and_holds_up_nobody(
    room: Room, listening: Listening
) -> None:
    async with listening.listen(ANY) as idle, listening.listen(ANY) as reader:
        room.say(silence(20.0), tone(0.5), silence(1.0))
        heard = await hear(reader, lambda event: isinstance(event, Final))
        assert sum(isinstance(event, Level) for event in heard) > DROPPABLE_CAPACITY * 2
        events = await hear(idle, lambda event: isinstance(event, Final))
        assert sum(isinstance(event, Level) for event in events) < DROPPABLE_CAPACITY
        assert states(events) == ["opening", "open"]
        for number in range(CAPACITY + 50):
            room.say(Missing(1, "device"))
            if number % 50 == 0:
                await hear(reader, lambda event: isinstance(event, Lost))
        await until(lambda: listening.state.lost_samples == CAPACITY + 50)
        with pytest.raises(RequestError, match="does not read"):
            await rest(idle)


async def test_a_thousand_listeners_come_and_go_and_leave_nothing(room: Room, listening: Listening) -> None:
    tasks = len(asyncio.all_tasks())

    async def come_and_go(number: int) -> None:
        with pytest.raises(asyncio.CancelledError) if number % 3 == 0 else nullcontext():
            async with listening.listen(ANY, levels=bool(number % 2)) as listener:
                await anext(listener)
                if number % 3 == 0:
                    raise asyncio.CancelledError

    for start in range(0, 1000, 20):
        await asyncio.gather(*[come_and_go(number) for number in range(start, start + 20)])
    await until(lambda: room.open == 0 and len(asyncio.all_tasks()) == tasks)
    assert 50 <= room.openings <= 1000
    assert listening.state.listeners == 0
    gc.collect()
    assert not [thing for thing in gc.get_objects() if isinstance(thing, Listener)]
