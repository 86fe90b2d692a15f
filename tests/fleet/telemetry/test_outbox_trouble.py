"""The outbox where the disk is full, damaged or another's, and where the process is killed."""

from __future__ import annotations

import asyncio
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.fleet.telemetry.sample import Kind
from tests.fleet.telemetry.device import Time
from tests.fleet.telemetry.test_outbox import drained, numbers, opened

M, E, A = Kind.MEASUREMENT, Kind.EVENT, Kind.ALARM
MIB = 1024 * 1024
ROOT = Path(__file__).resolve().parents[3]


@contextmanager
def full_disk(limit_bytes: int) -> Iterator[None]:
    """No file of this process can grow beyond so much."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_full_disk_is_said_and_it_goes_on_in_memory_with_a_bound_then_on_the_disk(tmp_path: Path) -> None:
    time = Time()
    async with opened(tmp_path / "o.db", time, flush_s=60, memory_bytes=64 * 1024) as outbox:
        outbox.declare(A, "alarm")
        outbox.record(M, "rare", {"n": 0})
        outbox.record(M, "board", {"n": 0})
        await outbox.maintain()
        with full_disk((tmp_path / "o.db-wal").stat().st_size):
            await outbox.keep(A, "alarm", {"n": 0})
            assert outbox.state.trouble is not None
            for n in range(1, 3000):
                outbox.record(M, "board", {"n": n, "x": "x" * 50})
                if n % 100 == 0:
                    time.pass_s(60)
                    await outbox.maintain()
            state = outbox.state
            assert state.dropped.keys() == {"board"}
            assert state.memory_samples == 3002 - state.dropped["board"]
            assert numbers(await drained(outbox, "alarm", confirm=False)) == [(1, 0)]  # it can be sent
        time.pass_s(900)
        await outbox.maintain()
        assert outbox.state.trouble is None
        assert outbox.state.memory_samples == 0
        assert outbox.state.samples == state.memory_samples
        assert numbers(await drained(outbox, "rare")) == [(1, 0)]
        assert numbers(await drained(outbox, "alarm")) == [(1, 0)]
        assert numbers(await drained(outbox, "board"))[-1] == (3000, 2999)


@pytest.mark.parametrize("content", [b"not a database, " * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
async def test_a_damaged_file_is_set_aside_and_the_numbering_is_another(tmp_path: Path, content: bytes) -> None:
    path, time = tmp_path / "o.db", Time()
    path.write_bytes(content)
    async with opened(path, time) as outbox:
        await outbox.keep(E, "model", {"n": 0})
        assert outbox.state.trouble is None
        first = outbox.log
    assert (tmp_path / "o.db.damaged-1").read_bytes() == content
    async with opened(path, time) as outbox:
        assert numbers(await drained(outbox, "model")) == [(1, 0)]
        assert outbox.log == first


async def test_damage_while_it_runs_costs_what_was_on_the_disk_and_nothing_else(tmp_path: Path) -> None:
    path, time = tmp_path / "o.db", Time()
    async with opened(path, time, flush_s=1) as outbox:
        for n in range(2000):  # more than SQLite keeps in memory
            outbox.record(M, "board", {"n": n, "x": random.Random(n).randbytes(1000).hex()})
            await outbox.maintain()
        await outbox.keep(A, "alarm", {"n": 0})
        time.pass_s(1)
        await outbox.maintain()
        await outbox.close()
    async with opened(path, time) as outbox:
        log = outbox.log
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xa5" * (size - 4096))
        await outbox.keep(A, "alarm", {"n": 1})
        await drained(outbox, "board", confirm=False)
        time.pass_s(1)
        await outbox.keep(A, "alarm", {"n": 2})
        assert outbox.state.trouble is None
        assert outbox.log != log
        assert [values["n"] for _, values in await drained(outbox, "alarm")][-1] == 2


async def test_a_damaged_block_is_dropped_and_counted_the_others_are_not(tmp_path: Path) -> None:
    path, time = tmp_path / "o.db", Time()
    async with opened(path, time, flush_s=1) as outbox:
        for n in range(60):
            outbox.record(M, "board", {"n": n})
            if n % 20 == 19:
                time.pass_s(1)
                await outbox.maintain()
        await outbox.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE blocks SET body = x'00' WHERE last = 40")
    connection.close()
    async with opened(path, time) as outbox:
        found = await drained(outbox, "board")
        assert [seq for seq, _ in found] == [*range(1, 21), *range(41, 61)]
        assert outbox.state.dropped == {"board": 20}


async def test_a_folder_that_cannot_be_made_means_memory_only_until_it_can(tmp_path: Path) -> None:
    blocked, time = tmp_path / "state", Time()
    blocked.write_text("a file where a folder should be")
    async with opened(blocked / "o.db", time) as outbox:
        await outbox.keep(E, "model", {"n": 0})
        assert outbox.state.trouble is not None
        assert numbers(await drained(outbox, "model", confirm=False)) == [(1, 0)]
        blocked.unlink()
        time.pass_s(900)
        await outbox.maintain()
        assert outbox.state.trouble is None
    async with opened(blocked / "o.db", time) as outbox:
        assert numbers(await drained(outbox, "model")) == [(1, 0)]


async def test_another_process_that_holds_the_file_delays_and_loses_nothing(tmp_path: Path) -> None:
    path, time = tmp_path / "o.db", Time()
    async with opened(path, time) as outbox:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        await outbox.keep(E, "model", {"n": 0})
        assert outbox.state.trouble is not None
        other.execute("ROLLBACK")
        other.close()
        time.pass_s(30)
        await outbox.maintain()
        assert outbox.state.trouble is None
    async with opened(path, time) as outbox:
        assert numbers(await drained(outbox, "model")) == [(1, 0)]


_CHILD = """
import asyncio, sys
from pathlib import Path
from agent.fleet.telemetry.clock import Clock
from agent.fleet.telemetry.outbox import Outbox
from agent.fleet.telemetry.state import OutboxLimits
from agent.fleet.telemetry.sample import Kind

async def main():
    outbox = Outbox(Path(sys.argv[1]), clock=Clock.of_this_machine(), limits=OutboxLimits(flush_s=0.01))
    await outbox.open()
    print("open", flush=True)
    for n in range(10**9):
        outbox.record(Kind.MEASUREMENT, "board", {"n": n})
        await outbox.keep(Kind.EVENT, "model", {"n": n})
        print(n, flush=True)

asyncio.run(main())
"""


def test_a_kill_at_any_moment_loses_no_event(tmp_path: Path) -> None:
    path, said = tmp_path / "o.db", 0
    for lines in (2, 40, 150):
        child = subprocess.Popen([sys.executable, "-c", _CHILD, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        written = [child.stdout.readline() for _ in range(lines)]
        child.send_signal(signal.SIGKILL)
        written += child.stdout.readlines()
        child.wait()
        child.stdout.close()
        said += len([line for line in written if line.endswith("\n") and line != "open\n"])
        events, board = asyncio.run(_left(path))
        assert len(events) in (said, said + 1)  # one may have been kept and not been said
        assert events == sorted(set(events))
        assert board == sorted(set(board))
        said = len(events)


async def _left(path: Path) -> tuple[list[int], list[int]]:
    """The numbers of all events and measurements."""
    async with opened(path, Time()) as outbox:
        events, board = [await drained(outbox, type, confirm=False) for type in ("model", "board")]
        return [seq for seq, _ in events], [seq for seq, _ in board]


async def test_cancelled_in_the_middle_of_a_write_nothing_is_twice(tmp_path: Path) -> None:
    time = Time()
    async with opened(tmp_path / "o.db", time, flush_s=1) as outbox:
        for n in range(300):
            outbox.record(M, "board", {"n": n})
        time.pass_s(1)
        task = asyncio.create_task(outbox.maintain())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await outbox.maintain()
        assert numbers(await drained(outbox, "board")) == [(n + 1, n) for n in range(300)]
        await outbox.close()
    shutil.rmtree(tmp_path)
