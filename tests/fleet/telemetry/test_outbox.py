from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.fleet.telemetry.outbox import FORGET_S, Outbox
from agent.fleet.telemetry.sample import Kind
from agent.fleet.telemetry.state import OutboxLimits
from tests.fleet.telemetry.device import Time

M, E, A = Kind.MEASUREMENT, Kind.EVENT, Kind.ALARM
MIB = 1024 * 1024
ROOT = Path(__file__).resolve().parents[3]


@asynccontextmanager
async def opened(path: Path, time: Time, **limits: Any) -> AsyncIterator[Outbox]:
    """Not closed at the end: what was not written is lost, as in a kill."""
    outbox = Outbox(path, clock=time.clock, limits=OutboxLimits(**limits))
    await outbox.open()
    await outbox.maintain()
    yield outbox


async def drained(outbox: Outbox, type: str, *, confirm: bool = True) -> list[tuple[int, Any]]:
    """Every sample that could be sent, with its number."""
    found: list[tuple[int, Any]] = []
    line = outbox.line(type)
    after = line.confirmed if line else 0
    while line is not None and (run := await outbox.read(type, after, 500)) is not None:
        found += [(run.first + index, msgspec.json.decode(one)) for index, one in enumerate(run.lines)]
        after = run.last
        if confirm:
            outbox.confirm(type, after)
    return found


def numbers(found: list[tuple[int, Any]]) -> list[tuple[int, int]]:
    return [(seq, values["n"]) for seq, values in found]


async def test_what_arrives_at_once_never_touches_the_disk(tmp_path: Path) -> None:
    time = Time()
    async with opened(tmp_path / "o.db", time) as outbox:
        outbox.record(M, "board", {"n": 0})
        await outbox.maintain()  # numbers are reserved
        before = outbox.state.written.commits
        for n in range(1, 500):
            outbox.record(M, "board", {"n": n})
            time.pass_s(60)
            assert numbers(await drained(outbox, "board"))[-1] == (n + 1, n)
            await outbox.maintain()
        assert outbox.state.written.commits == before
        assert outbox.state.samples == 0


async def test_what_waits_too_long_is_written_all_types_in_one_transaction(tmp_path: Path) -> None:
    time = Time()
    async with opened(tmp_path / "o.db", time, flush_s=300) as outbox:
        for type in ("board", "engine", "models"):
            outbox.record(M, type, {"n": 0})
        await outbox.maintain()
        before = outbox.state.written.commits
        time.pass_s(299)
        await outbox.maintain()
        assert (outbox.state.memory_samples, outbox.state.written.commits) == (3, before)
        time.pass_s(1)
        await outbox.maintain()
        assert (outbox.state.memory_samples, outbox.state.samples) == (0, 3)
        assert outbox.state.written.commits == before + 1


async def test_order_and_numbers_from_disk_and_memory_together(tmp_path: Path) -> None:
    time = Time()
    async with opened(tmp_path / "o.db", time, flush_s=10) as outbox:
        for n in range(100):
            outbox.record(M, "board", {"n": n})
            if n % 30 == 29:
                time.pass_s(10)
                await outbox.maintain()
        assert 0 < outbox.state.memory_samples < 100
        assert numbers(await drained(outbox, "board")) == [(n + 1, n) for n in range(100)]


async def test_events_and_alarms_are_on_the_disk_when_keep_returns_measurements_need_not_be(tmp_path: Path) -> None:
    time = Time()
    async with opened(tmp_path / "o.db", time) as outbox:
        outbox.record(M, "board", {"n": 1})
        await outbox.keep(E, "model", {"n": 2})
        await outbox.keep(A, "alarm", {"n": 3}, raised={"too_hot": b"{}"})
    async with opened(tmp_path / "o.db", time) as outbox:
        assert numbers(await drained(outbox, "model")) == [(1, 2)]
        assert numbers(await drained(outbox, "alarm")) == [(1, 3)]
        assert outbox.raised == {"too_hot": b"{}"}
        assert await drained(outbox, "board") == []


async def test_numbers_go_on_without_a_gap_after_a_clean_end(tmp_path: Path) -> None:
    time = Time()
    for n in range(3):
        async with opened(tmp_path / "o.db", time) as outbox:
            outbox.record(M, "board", {"n": n})
            await outbox.maintain()
            assert numbers(await drained(outbox, "board")) == [(n + 1, n)]
            await outbox.close()


async def test_no_number_is_used_twice_after_a_kill(tmp_path: Path) -> None:
    time, seen = Time(), []
    for n in range(3):
        async with opened(tmp_path / "o.db", time) as outbox:
            outbox.record(M, "board", {"n": n})
            if n == 0:
                assert await outbox.read("board", 0, 500) is None  # its number is not reserved yet
            await outbox.maintain()
            seen += await drained(outbox, "board")
    assert len({seq for seq, _ in seen}) == 3
    assert [values["n"] for _, values in seen] == [0, 1, 2]


async def test_what_was_confirmed_is_gone_from_the_disk_a_little_later(tmp_path: Path) -> None:
    time = Time()
    async with opened(tmp_path / "o.db", time, flush_s=1) as outbox:
        for n in range(200):
            outbox.record(M, "board", {"n": n})
        time.pass_s(1)
        await outbox.maintain()
        await drained(outbox, "board")
        assert outbox.state.samples == 200
        before = outbox.state.written.commits
        time.pass_s(FORGET_S)
        await outbox.maintain()
        assert outbox.state.samples == 0
        assert outbox.state.written.commits == before + 1
    async with opened(tmp_path / "o.db", time) as outbox:
        assert await drained(outbox, "board") == []


async def test_samples_of_another_boot_travel_apart_with_their_own_clock(tmp_path: Path) -> None:
    first = Time(up_s=10, wall_s=1000, boot="one")
    async with opened(tmp_path / "o.db", first) as outbox:
        outbox.record(M, "board", {"n": 0})
        await outbox.maintain()
        first.pass_s(60)
        first.wall_s += 1_000_000  # the clock is set: what was recorded before can be corrected
        outbox.record(M, "board", {"n": 1})
        await outbox.close()
    second = Time(up_s=5, wall_s=2_000_000, boot="two")
    async with opened(tmp_path / "o.db", second) as outbox:
        outbox.record(M, "board", {"n": 2})
        await outbox.maintain()
        old = await outbox.read("board", 0, 500)
        assert old is not None
        assert (old.boot, len(old.lines)) == ("one", 2)
        times = [old.offset_s + msgspec.json.decode(line)["up"] for line in old.lines]
        assert times == [1_001_000, 1_001_060]
        new = await outbox.read("board", old.last, 500)
        assert new is not None
        assert (new.boot, new.first, new.offset_s) == ("two", old.last + 1, 1_999_995)


@pytest.mark.parametrize("limit_bytes", [1, 30, 100, 1000, 10**6])
async def test_a_run_is_as_long_as_asked_for_but_at_least_one_sample(tmp_path: Path, limit_bytes: int) -> None:
    time = Time()
    async with opened(tmp_path / "o.db", time, flush_s=1) as outbox:
        for n in range(100):
            outbox.record(M, "board", {"n": n})
            if n == 60:
                time.pass_s(1)
                await outbox.maintain()
        after, count = 0, 0
        while (run := await outbox.read("board", after, limit_bytes)) is not None:
            size = sum(len(line) + 1 for line in run.lines)
            assert len(run.lines) == 1 or size <= limit_bytes
            assert run.first == after + 1
            after, count = run.last, count + len(run.lines)
        assert count == 100


async def test_expired_measurements_are_counted_and_the_newest_stays(tmp_path: Path) -> None:
    time = Time()
    async with opened(tmp_path / "o.db", time, flush_s=60, keep_s=86_400) as outbox:
        await outbox.keep(E, "model", {"n": 0})
        for n in range(48):
            outbox.record(M, "board", {"n": n})
            time.pass_s(3600)
            await outbox.maintain()
        state = outbox.state
        assert state.expired == {"board": 48 - state.samples + 1}  # one is the event
        assert 22 <= state.samples <= 27
        time.pass_s(10 * 86_400)
        await outbox.maintain()
        assert [values["n"] for _, values in await drained(outbox, "board")] == [47]
        assert numbers(await drained(outbox, "model")) == [(1, 0)]


async def test_the_cap_holds_newest_and_alarms_survive_and_drops_are_counted_over_a_restart(tmp_path: Path) -> None:
    time, folder, most = Time(), tmp_path / "outbox", 0
    folder.mkdir()
    noise = random.Random(7)
    async with opened(folder / "o.db", time, flush_s=1, cap_bytes=4 * MIB) as outbox:
        outbox.record(M, "rare", {"n": -1})
        for n in range(700):
            for _ in range(40):
                outbox.record(M, "board", {"n": n, "x": noise.randbytes(120).hex()})
            if n % 100 == 0:
                await outbox.keep(A, "alarm", {"n": n})
            time.pass_s(1)
            await outbox.maintain()
            most = max(most, sum(file.stat().st_size for file in folder.iterdir()))
        assert most <= 4 * MIB
        dropped = outbox.state.dropped
        assert dropped["board"] > 1000
        assert dropped.keys() == {"board"}
        await outbox.close()
    async with opened(folder / "o.db", time) as outbox:
        assert outbox.state.dropped == dropped
        assert [values["n"] for _, values in await drained(outbox, "alarm")] == list(range(0, 700, 100))
        assert numbers(await drained(outbox, "rare")) == [(1, -1)]
        kept = await drained(outbox, "board")
        assert (kept[-1][0], kept[-1][1]["n"]) == (28_000, 699)
        assert len(kept) == 28_000 - dropped["board"]
