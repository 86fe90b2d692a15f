"""The admission queue: who waits for which model, and who goes next. No clock, no I/O.

Within a model, requests of one priority take turns by client, so that a client with a hundred requests delays another
by one request at most. Between priorities, a class is worth `aging_s` seconds of waiting: the class whose oldest entry
has the smallest `arrived + priority * aging_s` goes first, so HIGH overtakes, and LOW always gets there.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, TypeVar

from agent.errors import QueueFullError

T = TypeVar("T")

RECENT_SERVICES = 32
UNKNOWN_SERVICE_S = 1.0
RETRY_AFTER_MIN_S = 1.0
RETRY_AFTER_MAX_S = 120.0


class Priority(IntEnum):
    HIGH = 0
    NORMAL = 1
    LOW = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry(Generic[T]):
    """One waiting request. `cost` is the number of slots it takes; times are of the caller's clock, in seconds."""

    id: int
    model: str
    client: str
    priority: Priority
    arrived: float
    item: T
    cost: int = 1
    deadline: float | None = None

    def overdue(self, now: float) -> bool:
        return self.deadline is not None and self.deadline <= now


class _Lane(Generic[T]):
    """Entries of one model and one priority: a ring of clients, each with its entries in order of arrival."""

    def __init__(self) -> None:
        self.ring: OrderedDict[str, OrderedDict[int, Entry[T]]] = OrderedDict()
        self.arrivals: OrderedDict[int, Entry[T]] = OrderedDict()

    def put(self, entry: Entry[T]) -> None:
        self.ring.setdefault(entry.client, OrderedDict())[entry.id] = entry
        self.arrivals[entry.id] = entry

    def next(self) -> Entry[T]:
        return next(iter(next(iter(self.ring.values())).values()))

    def oldest(self) -> Entry[T]:
        return next(iter(self.arrivals.values()))

    def remove(self, entry: Entry[T]) -> None:
        del self.arrivals[entry.id]
        own = self.ring[entry.client]
        del own[entry.id]
        if not own:
            del self.ring[entry.client]

    def turn(self, client: str) -> None:
        """`client` has had its turn."""
        if client in self.ring:
            self.ring.move_to_end(client)


class AdmissionQueue(Generic[T]):
    """Waiting requests of all models. `capacity` is their number; every operation but `clear` is O(log n) or better."""

    def __init__(self, capacity: int, *, aging_s: float) -> None:
        self.capacity = capacity
        self.holding = False
        """Only HIGH entries may go; the others keep their places."""
        self._aging_s = aging_s
        self._entries: dict[int, Entry[T]] = {}
        self._lanes: dict[str, dict[Priority, _Lane[T]]] = {}
        self._deadlines: list[tuple[float, int]] = []
        self._services_s: deque[float] = deque(maxlen=RECENT_SERVICES)

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, entry: Entry[T], *, parallel: int = 1) -> None:
        """Let `entry` wait. Raises `QueueFullError`; its `retry_after_s` assumes `parallel` requests run at a time."""
        if len(self._entries) >= self.capacity:
            raise QueueFullError(
                f"The queue is full: {len(self._entries)} requests are waiting.",
                retry_after_s=self.retry_after_s(parallel),
                hint="Wait as long as Retry-After says, then send the request again.",
            )
        self._entries[entry.id] = entry
        lanes = self._lanes.setdefault(entry.model, {})
        lane = lanes.get(entry.priority)
        if lane is None:
            lane = lanes[entry.priority] = _Lane()
        lane.put(entry)
        if entry.deadline is not None:
            heapq.heappush(self._deadlines, (entry.deadline, entry.id))

    def pop(self, model: str, *, room: int | None = None) -> Entry[T] | None:
        """Take the next entry of `model`, or None if there is none or it costs more than `room` (None: any cost).

        A costly entry at the front is not overtaken by cheaper ones, or it would never run. The caller checks
        `overdue`: time is not the queue's.
        """
        lanes = self._may_go(model)
        if not lanes:
            return None
        lane = lanes[min(lanes, key=lambda p: (lanes[p].oldest().arrived + p * self._aging_s, p))]
        entry = lane.next()
        if room is not None and entry.cost > room:
            return None
        self._discard(entry)
        lane.turn(entry.client)
        return entry

    def remove(self, entry_id: int) -> Entry[T] | None:
        """Take an entry out, whoever's turn it is; None if it is not waiting."""
        entry = self._entries.get(entry_id)
        if entry is not None:
            self._discard(entry)
        return entry

    def expire(self, now: float) -> list[Entry[T]]:
        """Take out the entries whose deadline has passed, soonest first."""
        overdue: list[Entry[T]] = []
        while (first := self.next_deadline()) is not None and first <= now:
            _, entry_id = heapq.heappop(self._deadlines)
            entry = self._entries[entry_id]
            self._discard(entry)
            overdue.append(entry)
        return overdue

    def next_deadline(self) -> float | None:
        while self._deadlines and self._deadlines[0][1] not in self._entries:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def clear(self, model: str | None = None) -> list[Entry[T]]:
        """Take out all entries, or all of one model."""
        taken = [entry for entry in self._entries.values() if model is None or entry.model == model]
        for entry in taken:
            self._discard(entry)
        return taken

    def waiting(self, model: str) -> int:
        return sum(len(lane.arrivals) for lane in self._lanes.get(model, {}).values())

    def due(self, model: str) -> int:
        """Of those that wait, how many may go at this time."""
        return sum(len(lane.arrivals) for lane in self._may_go(model).values())

    def _may_go(self, model: str) -> dict[Priority, _Lane[T]]:
        lanes = self._lanes.get(model, {})
        return lanes if not self.holding else {each: lane for each, lane in lanes.items() if each is Priority.HIGH}

    def waiting_by_priority(self) -> dict[Priority, int]:
        counts = dict.fromkeys(Priority, 0)
        for lanes in self._lanes.values():
            for priority, lane in lanes.items():
                counts[priority] += len(lane.arrivals)
        return counts

    def served(self, service_s: float) -> None:
        """A request ran for `service_s`: the ground for `retry_after_s`."""
        self._services_s.append(service_s)

    def retry_after_s(self, parallel: int = 1) -> float:
        """When half of the queue should have been served, so that whoever was refused finds room among the others."""
        mean_s = sum(self._services_s) / len(self._services_s) if self._services_s else UNKNOWN_SERVICE_S
        estimate_s = mean_s * max(1.0, len(self._entries) / 2) / max(1, parallel)
        return min(max(estimate_s, RETRY_AFTER_MIN_S), RETRY_AFTER_MAX_S)

    def __iter__(self) -> Iterator[Entry[T]]:
        return iter(list(self._entries.values()))

    def _discard(self, entry: Entry[T]) -> None:
        del self._entries[entry.id]
        lanes = self._lanes[entry.model]
        lane = lanes[entry.priority]
        lane.remove(entry)
        if not lane.arrivals:
            del lanes[entry.priority]
            if not lanes:
                del self._lanes[entry.model]
        if len(self._deadlines) > 64 and len(self._deadlines) > 2 * len(self._entries):
            live = [(d, i) for d, i in self._deadlines if i in self._entries]
            heapq.heapify(live)
            self._deadlines = live
