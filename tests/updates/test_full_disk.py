"""A disk that is full from any point of an update on, and has room again later: around each write of the journal, each
step of the store, each piece fetched."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.errors import DiskFullError
from agent.store.durable import Filesystem
from agent.updates.journal import Journal
from agent.updates.states import State
from agent.updates.updater import Updater
from tests.store.material import small_store
from tests.updates.local import BAD, Site
from tests.updates.test_kill import NEW, OLD, WatchedJournal, check_what_serves

GIVE_UP_S = 20.0
FULL = "The device's disk is full."
NEEDS_NO_ROOM = ("fsync", "unlink", "remove", "after", "judging", "whole")
"""Points at which nothing grows."""


class Disk:
    """Notes the points that need room; from the first one called `full_at` on there is none, until `free`."""

    def __init__(self, full_at: str | None) -> None:
        self.full_at = full_at
        self.points: list[str] = []
        self.refused = 0

    def __call__(self, point: str) -> None:
        if point.startswith(NEEDS_NO_ROOM):
            return
        self.points.append(re.sub(r"[0-9a-f]{32}", "...", point))
        if self.full_at in self.points:
            self.refused += 1
            if point == "piece" or point.startswith("before"):  # a fetch and a journal say it in our words
                raise DiskFullError(FULL)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def free(self) -> None:
        self.full_at = None


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in (("updater", "LOOK_S"), ("updater", "WATCH_S"), ("steps", "LOOK_S"), ("register", "NOTE_S")):
        monkeypatch.setattr(f"agent.updates.{module}.{name}", 0.002)
    for module in ("updater", "failures"):
        monkeypatch.setattr(f"agent.updates.{module}.TROUBLE_S", 0.005, raising=False)


async def until(what: Callable[[], object]) -> None:
    async with asyncio.timeout(GIVE_UP_S):
        while not what():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


def device(root: Path, disk: Disk) -> Updater:
    site = Site(root, hook=disk)
    site.store = site.switch.store = small_store(root / "models", filesystem=Filesystem(disk))
    updater = site.updater()
    updater._register._journal = WatchedJournal(root / "updates.db", disk)
    return updater


async def ask(updater: Updater) -> None:
    """Until it is written down; who asks is told each time."""
    while True:
        try:
            await updater.update("m", "2", origin="person")
            return
        except DiskFullError:
            await asyncio.sleep(0.005)


def complaints(updater: Updater) -> Iterator[str]:
    """All that anybody is told of what is wrong."""
    snapshot = updater.snapshot()
    yield snapshot.error or ""
    for record in (*snapshot.records, *snapshot.ended):
        yield record.reason


async def live(root: Path, disk: Disk) -> State:
    """An update with a disk that becomes full, until that is seen; then there is room again, and it is asked for once
    more if it has failed."""
    updater = device(root, disk)
    running = asyncio.create_task(updater.run())
    try:
        await until(lambda: updater.opened)
        asking = asyncio.create_task(ask(updater))
        if disk.full_at is not None:
            await until(lambda: disk.refused > 3 or updater.snapshot().ended)
            check_what_serves(root, allowed={"1", "2"})
            if not asking.done():
                assert not updater.snapshot().records
            elif disk.refused:
                await until(lambda: any("full" in text for text in complaints(updater)))
            disk.free()
        await asking
        await until(lambda: not updater.snapshot().records)
        if updater.snapshot().ended[0].state is State.FAILED:
            assert "full" in updater.snapshot().ended[0].reason
            check_what_serves(root, allowed={"1"})
            await updater.update("m", "2", origin="person")
            await until(lambda: not updater.snapshot().records)
        return updater.snapshot().ended[0].state
    finally:
        running.cancel()
        await asyncio.wait([running])


@pytest.mark.parametrize(
    ("content", "end", "first"),
    [(NEW, State.COMMITTED, "before an update is written"), (BAD + NEW, State.REJECTED, "before refuse")],
    ids=["a good version", "one that fails its trial"],
)
def test_full_at_any_point_the_old_version_serves_and_with_room_it_goes_on(
    tmp_path: Path, content: bytes, end: State, first: str
) -> None:
    """The second course is the first one up to its trial."""
    clean = tmp_path / "clean"
    site = Site(clean)
    site.install("1", OLD)
    site.publish("2", content)
    whole = Disk(None)
    shutil.copytree(clean, tmp_path / "whole", symlinks=True)
    assert asyncio.run(live(tmp_path / "whole", whole)) is end
    points = list(dict.fromkeys(whole.points[whole.points.index(first) :]))
    missed = []
    for number, point in enumerate(points):
        root = tmp_path / f"full at {number}"
        shutil.copytree(clean, root, symlinks=True)
        disk = Disk(point)
        assert asyncio.run(live(root, disk)) is end, point
        missed += [point] if not disk.refused else []
        check_what_serves(root, allowed={"2" if end is State.COMMITTED else "1"})
        journal = Journal(root / "updates.db")
        assert journal.recent()[0].state is end
        journal.close()
        assert small_store(root / "models").incoming.keys() == []
        shutil.rmtree(root)
    assert len(missed) <= 1, missed  # how far a step has come is noted now and then, which a quick one never needs
    assert len(points) > 1
    assert len(whole.points) > 15
