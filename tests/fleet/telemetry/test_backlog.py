from __future__ import annotations

from pathlib import Path

import pytest

from agent.errors import NotConnectedError
from agent.fleet.telemetry.pace import BURST, BURST_EVERY_S, FIRST_BYTES, LATE_S
from agent.fleet.telemetry.sample import Kind
from tests.fleet.telemetry.device import TOPICS, Device, device, until

M, E, A = Kind.MEASUREMENT, Kind.EVENT, Kind.ALARM


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "o.db"


async def backlog(d: Device, kilobytes: int) -> None:
    """Measurements of a KB each, on the disk."""
    for _ in range(kilobytes):
        d.outbox.record(M, "board", {"text": "x" * 970})
    await d.outbox.maintain()


def sizes(d: Device) -> list[int]:
    return [len(publication.payload) for publication in d.link.tried]


async def test_messages_of_a_backlog_grow_while_they_arrive_soon(path: Path) -> None:
    async with device(path, connected=False) as d:
        d.link.room = 200_000
        await backlog(d, 500)
        d.sender.connected()
        await until(lambda: d.outbox.state.samples == 0 or len(d.link.seqs()) == 500)
        assert d.link.seqs() == list(range(1, 501))
        for size, limit_bytes in zip(sizes(d), (FIRST_BYTES, 2 * FIRST_BYTES, 120 * 1024), strict=False):
            assert limit_bytes * 0.7 < size <= limit_bytes
        assert max(sizes(d)) <= 120 * 1024


async def test_a_slow_line_gets_short_messages(path: Path) -> None:
    async with device(path, connected=False) as d:
        d.link.hold = True
        await backlog(d, 100)
        d.sender.connected()
        await until(lambda: len(d.link.tried) == 1)
        d.time.pass_s(LATE_S + 1)
        d.link.release()
        await until(lambda: len(d.link.tried) > 1)
        assert FIRST_BYTES * 0.7 < sizes(d)[0] <= FIRST_BYTES
        assert sizes(d)[1] <= FIRST_BYTES // 2
        await until(lambda: d.link.seqs() == list(range(1, 101)))


async def test_what_the_connection_ended_with_comes_again_in_shorter_messages(path: Path) -> None:
    async with device(path, connected=False) as d:
        d.link.answers = [NotConnectedError("lost")]
        await backlog(d, 100)
        d.sender.connected()
        await until(lambda: len(d.link.tried) == 1)
        await d.settled()
        assert len(d.link.tried) == 1
        d.sender.connected()
        await until(lambda: d.link.seqs() == list(range(1, 101)))
        assert FIRST_BYTES * 0.7 < sizes(d)[0] <= FIRST_BYTES
        assert max(sizes(d)[1:]) <= FIRST_BYTES // 2


async def test_a_backlog_yields_to_whoever_is_served(path: Path) -> None:
    """One message at a time, in bursts; not an alarm."""
    async with device(path, connected=False, message_bytes=1000, busy=lambda: True) as d:
        for type in ("board", "engine"):
            await d.record(*range(1500), type=type)
        d.sender.connected()
        for count in range(1, 4):
            await until(lambda count=count: len(d.link.taken) == count * BURST)  # type: ignore[misc]
            await d.later(BURST_EVERY_S * 0.9)
            assert len(d.link.taken) == count * BURST
            await d.later(BURST_EVERY_S * 0.1 + 0.01)
        await d.settled()
        assert len(d.link.taken) == 4 * BURST
        await d.record(1, type="alarm", kind=A)
        await until(lambda: len(d.link.of(TOPICS.event("alarm"))) == 1)
        d.link.hold = True
        await d.later(BURST_EVERY_S)
        on_its_way = len(d.link.tried) - len(d.link.taken)
        assert on_its_way == 1
        await d.record(2, type="alarm", kind=A)
        await until(lambda: len(d.link.tried) - len(d.link.taken) == 2)
        d.link.release()


async def test_a_backlog_goes_at_once_when_the_device_is_idle_again(path: Path) -> None:
    serving = True
    async with device(path, connected=False, message_bytes=1000, busy=lambda: serving) as d:
        await d.record(*range(1500))
        d.sender.connected()
        await until(lambda: len(d.link.taken) == BURST)
        serving = False
        await d.later(BURST_EVERY_S)
        await until(lambda: d.link.seqs() == list(range(1, 1501)))


async def test_while_the_device_is_busy_alarms_go_first_then_events(path: Path) -> None:
    async with device(path, connected=False, busy=lambda: True) as d:
        await d.record(*range(10))
        await d.record(1, type="model", kind=E)
        await d.record(1, type="alarm", kind=A)
        d.sender.connected()
        await until(lambda: len(d.link.taken) == 3)
        topics = [publication.topic for publication in d.link.taken]
        assert topics == [TOPICS.event("alarm"), TOPICS.event("model"), TOPICS.measurement("board")]
