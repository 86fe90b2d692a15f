"""The requests that one worker has: which stream gets an event, and how many slots are taken."""

from __future__ import annotations

from collections.abc import Callable

from agent.errors import EdgeAgentError
from agent.runtime.faults import error_from_wire
from agent.runtime.snapshot import Counters
from agent.runtime.stream import Stream
from agent.runtime.wire.embedding import Embedded
from agent.runtime.wire.errors import Failed
from agent.runtime.wire.generation import Delta, Finished
from agent.runtime.wire.messages import Event
from agent.runtime.wire.transcription import Started, Transcribed


class Flight:
    """One request in a worker. `open_choices` are those without a `Finished`; a dropped one keeps its slots until the
    worker confirms."""

    __slots__ = ("dropped_at", "open_choices", "prompt_counted", "started", "stream")

    def __init__(self, stream: Stream, started: float) -> None:
        self.stream = stream
        self.open_choices = stream.cost
        self.started = started
        self.dropped_at: float | None = None
        self.prompt_counted = False


def work_of(event: Event | Started, took_s: float) -> tuple[float, float]:
    """What a request came to, in tokens (those read, for vectors) or seconds of sound, and the seconds that this took:
    from the first token on for generation. `took_s` is how long the worker had it."""
    if isinstance(event, Finished):
        return float(event.completion_tokens), event.decode_s
    if isinstance(event, Transcribed):
        return event.audio_s, event.encode_s + event.decode_s
    return (float(event.prompt_tokens), took_s) if isinstance(event, Embedded) else (0.0, 0.0)


class Flights:
    def __init__(self, counters: Counters, *, slots: int) -> None:
        self.slots = max(1, slots)
        self.slots_used = 0
        self.counters = counters
        self._flights: dict[int, Flight] = {}

    def __len__(self) -> int:
        return len(self._flights)

    @property
    def room(self) -> int | None:
        """Free slots; None when nothing runs, as one request must go whatever it costs."""
        return self.slots - self.slots_used if self._flights else None

    def add(self, stream: Stream, now: float) -> None:
        self._flights[stream.id] = Flight(stream, now)
        self.slots_used += stream.cost

    def pass_on(self, delta: Delta) -> None:
        """`deliver` for new text, which never ends a flight."""
        flight = self._flights.get(delta.id)
        if flight is not None:
            self.counters.sampled_tokens += delta.tokens
            flight.stream.push(delta)

    def deliver(self, event: Event | Started) -> Flight | None:
        """Pass an event on to its stream; the flight if the event has ended it. Late events are dropped."""
        if isinstance(event, Delta):
            self.pass_on(event)
            return None
        flight = self._flights.get(event.id)
        if flight is None:
            return None
        stream = flight.stream
        if isinstance(event, Started):
            stream.compute(event.at_s)
            return None
        if isinstance(event, Failed):
            if flight.dropped_at is None:
                self.counters.failed += 1
            stream.fail(error_from_wire(event.error))
            return self._remove(flight)
        stream.push(event)
        self._count(flight, event)
        if isinstance(event, Finished):
            flight.open_choices -= 1
            if flight.open_choices > 0:
                return None
        if flight.dropped_at is None:
            self.counters.completed += 1
        stream.finish(event.ended_s if isinstance(event, Transcribed) else None)
        return self._remove(flight)

    def drop(self, stream: Stream, now: float, *, failed: bool) -> bool:
        """The stream is no longer wanted; whether the worker still has its request."""
        flight = self._flights.get(stream.id)
        if flight is None or flight.dropped_at is not None:
            return False
        flight.dropped_at = now
        if failed:
            self.counters.failed += 1
        else:
            self.counters.cancelled += 1
        return True

    def clear(self, error: Callable[[], EdgeAgentError]) -> list[int]:
        """Fail all streams, each with an error of its own; the ids of the requests."""
        for flight in self._flights.values():
            if flight.dropped_at is None:
                self.counters.failed += 1
            flight.stream.fail(error())
        ids = list(self._flights)
        self._flights.clear()
        self.slots_used = 0
        return ids

    def oldest_drop(self) -> float | None:
        """When the longest-waiting confirmation of a cancelled request was asked for."""
        return min((f.dropped_at for f in self._flights.values() if f.dropped_at is not None), default=None)

    def _count(self, flight: Flight, event: Finished | Embedded | Transcribed) -> None:
        counters = self.counters
        if not flight.prompt_counted:  # every choice reports the prompt that they share
            flight.prompt_counted = True
            if not isinstance(event, Transcribed):
                counters.prompt_tokens += event.prompt_tokens
            if isinstance(event, Finished):
                counters.cached_tokens += event.cached_tokens
                counters.prefill_s += event.prefill_s
        if isinstance(event, Finished):
            counters.completion_tokens += event.completion_tokens
            counters.decode_s += event.decode_s
        elif isinstance(event, Transcribed):
            counters.completion_tokens += event.completion_tokens
            counters.sampled_tokens += event.completion_tokens
            counters.prefill_s += event.encode_s
            counters.decode_s += event.decode_s

    def _remove(self, flight: Flight) -> Flight:
        del self._flights[flight.stream.id]
        self.slots_used -= flight.stream.cost
        return flight
