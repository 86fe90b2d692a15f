"""What a worker says of a request, on its way to the request's stream and to whoever measures its cost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import msgspec
import pytest

from agent.runtime.flights import Flights
from agent.runtime.snapshot import Counters
from agent.runtime.stream import Stream
from agent.runtime.wire.errors import Failed, WireError
from agent.runtime.wire.generation import Finished, Generate
from agent.runtime.wire.transcription import Started, Transcribe, Transcribed

TRANSCRIBED = Transcribed(
    id=1, language=None, language_probability=0, audio_s=1, segments=(), completion_tokens=0, encode_s=0, decode_s=0
)
FAILED = Failed(id=1, error=WireError(code="engine_error", message="No."))
WAITS = ("begin", True)


class Notes:
    """Of an `Energy`: what it was told, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def begin(self, key: int, model: str, task: str, *, waits: bool = False) -> None:
        self.told.append(("begin", waits))

    def compute(self, key: int, at_s: float) -> None:
        self.told.append(("compute", at_s))

    def finish(self, key: int, at_s: float | None = None) -> Awaitable[float | None]:
        self.told.append(("finish", at_s))
        return asyncio.get_running_loop().create_future()

    def drop(self, key: int) -> None:
        self.told.append(("drop",))


class Holder:
    def drop(self, stream: Stream) -> None: ...


def flight_of(request: Transcribe | Generate, notes: Notes) -> tuple[Flights, Stream]:
    stream = Stream(
        request, model="m", client="c", submitted_at=0, holder=Holder(), limit_events=9, limit_bytes=999, energy=notes
    )
    flights = Flights(Counters(), slots=2)
    flights.add(stream, 1.0)
    stream.begin(Holder(), 1.0)
    return flights, stream


@pytest.mark.parametrize(
    ("events", "told"),
    [
        pytest.param(
            [Started(id=1, at_s=5.0), TRANSCRIBED, Started(id=1, at_s=6.0)],
            [WAITS, ("compute", 5.0), ("finish", None)],
            id="nobody looked at the clock at its end; late news is dropped",
        ),
        pytest.param([Started(id=1, at_s=5.0), FAILED], [WAITS, ("compute", 5.0), ("drop",)], id="failed"),
        pytest.param([FAILED], [WAITS, ("drop",)], id="could not be prepared"),
        pytest.param([Started(id=2, at_s=5.0)], [WAITS], id="another's"),
    ],
)
async def test_sound_is_paid_for_from_its_turn_in_the_worker_on(
    events: list[Started | Transcribed | Failed], told: list[tuple[object, ...]]
) -> None:
    notes = Notes()
    flights, _ = flight_of(Transcribe(id=1, audio=b""), notes)
    for event in events:
        flights.deliver(event)
    assert notes.told == told


async def test_the_workers_clock_says_when_sound_was_done_and_its_beginning_is_no_event() -> None:
    notes = Notes()
    flights, stream = flight_of(Transcribe(id=1, audio=b""), notes)
    assert flights.deliver(Started(id=1, at_s=5.0)) is None
    done = msgspec.structs.replace(TRANSCRIBED, ended_s=7.0)
    assert flights.deliver(done) is not None
    assert notes.told == [WAITS, ("compute", 5.0), ("finish", 7.0)]
    assert [events async for events in stream] == [[done]]


async def test_sound_that_nobody_wants_any_more_begins_for_nobody() -> None:
    notes = Notes()
    flights, stream = flight_of(Transcribe(id=1, audio=b""), notes)
    stream.cancel()
    flights.deliver(Started(id=1, at_s=5.0))
    flights.deliver(Finished(id=1, reason="cancelled"))
    assert notes.told == [WAITS, ("drop",)]


async def test_text_is_paid_for_from_the_moment_a_worker_has_it() -> None:
    notes = Notes()
    flights, _ = flight_of(Generate(id=1, prompt="x"), notes)
    flights.deliver(Finished(id=1, reason="stop"))
    assert notes.told == [("begin", False), ("finish", None)]
