"""kill -9 at every point of an update: around each write of the journal, each step of the store, each piece fetched.

Each point is a process of its own (forked, killed by SIGKILL, no cleanup runs); the next one goes on with what it finds
on the disk.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from agent.store.durable import Filesystem
from agent.updates.journal import Journal
from agent.updates.parts import Health
from agent.updates.record import Record
from agent.updates.states import State
from tests.store.material import small_store
from tests.updates.local import BAD, PIECE_BYTES, POLICY, Site

OLD, NEW, FAULTY = b"one" * 1000, b"two" * 1000, BAD + b"two" * 1000
CHILD_S = 20
SEED = 20260520
RANDOM_KILLS = 100

Hook = Callable[[str], None]


class Points:
    """Counts the points that a process passes, and kills it at one of them."""

    def __init__(self, at: int | None) -> None:
        self.at = at
        self.passed = 0

    def __call__(self, point: str) -> None:
        if point.startswith("fsync"):
            return  # to SIGKILL, what is written is written
        if self.passed == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.passed += 1


class WatchedJournal(Journal):
    """Tells before and after each write."""

    def __init__(self, path: Path, hook: Hook) -> None:
        super().__init__(path)
        self._hook = hook

    def add(self, record: Record) -> Record:
        self._hook("before an update is written")
        added = super().add(record)
        self._hook("after it")
        return added

    def move(self, record: Record, move, **changes):  # type: ignore[no-untyped-def]
        self._hook(f"before {move}")
        after = super().move(record, move, **changes)
        self._hook(f"after {move}")
        return after

    def note(self, record: Record, **rest) -> None:  # type: ignore[no-untyped-def]
        self._hook("before a note")
        super().note(record, **rest)
        self._hook("after a note")


def site_at(root: Path, hook: Hook, *, crashes: int = 0) -> Site:
    """`crashes` are what its probation shows. Interruptions, which these are, are not counted against the candidate."""
    site = Site(root, hook=hook, policy=replace(POLICY, interruptions=1000))
    site.store = site.switch.store = small_store(root / "models", filesystem=Filesystem(hook))
    site.watched.now = Health(crashes=crashes)
    return site


async def carry_through(site: Site, hook: Hook) -> None:
    """Asks for version 2, unless that was done, and goes on to the end."""
    updater = site.updater()
    updater._register._journal = WatchedJournal(site.root / "updates.db", hook)
    task = asyncio.create_task(updater.run())
    while not updater.opened:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    if not updater.snapshot().records and not updater.snapshot().ended:
        await updater.update("m", "2", origin="person")
    while updater.snapshot().records:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.wait([task])


def in_a_child(work: Callable[[], None], *, kill_after_s: float | None = None) -> bool:
    """Whether the child lived to its end; it may only die of SIGKILL."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.alarm(CHILD_S)
            work()
            status = 0
        finally:
            os._exit(status)
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) is (status != 0), "the child failed"
    assert not os.WIFSIGNALED(status) or os.WTERMSIG(status) == signal.SIGKILL
    return status == 0


def run(root: Path, hook: Hook, *, crashes: int = 0) -> Callable[[], None]:
    def work() -> None:
        asyncio.run(carry_through(site_at(root, hook, crashes=crashes), hook))

    return work


def check_what_serves(root: Path, *, allowed: set[str]) -> None:
    """The old or the new version is active, and whole to the last byte."""
    store = small_store(root / "models")
    version = store.layout.active_version("m")
    assert version in allowed
    store.verify("m", version)
    for model in store.scan().models:
        store.verify("m", model.version)
    assert not store.scan().broken


def check_the_end(root: Path, state: State) -> None:
    journal = Journal(root / "updates.db")
    (record,) = journal.recent()
    assert record.state is state
    store = small_store(root / "models")
    assert store.layout.active_version("m") == ("2" if state is State.COMMITTED else "1")
    assert store.layout.versions("m") == (["1", "2"] if state is State.COMMITTED else ["1"])
    assert store.incoming.keys() == []
    assert [one.version for one in journal.rejections()] == ([] if state is State.COMMITTED else ["2"])
    journal.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in (("updater", "LOOK_S"), ("updater", "WATCH_S"), ("steps", "LOOK_S"), ("register", "NOTE_S")):
        monkeypatch.setattr(f"agent.updates.{module}.{name}", 0.002)


def template(tmp_path: Path, content: bytes) -> Path:
    root = tmp_path / "template"
    site = Site(root)
    site.install("1", OLD)
    site.publish("2", content)
    return root


def points_of(clean: Path, root: Path, *, crashes: int) -> list[str]:
    """The points of a life that nobody ends."""
    shutil.copytree(clean, root, symlinks=True)
    names: list[str] = []

    def note(point: str) -> None:
        if not point.startswith("fsync"):
            names.append(point)

    asyncio.run(carry_through(site_at(root, note, crashes=crashes), note))
    return names


LIVES = {
    "one that crashes on probation": (NEW, 1, State.REJECTED, ""),
    "a good version": (NEW, 0, State.COMMITTED, "after switch"),
    "one that fails its trial": (FAULTY, 0, State.REJECTED, "judging"),
}
"""The others are the first one up to a point."""


@pytest.mark.parametrize(("content", "crashes", "end", "first"), LIVES.values(), ids=LIVES)
def test_killed_at_every_point_the_old_or_the_new_version_serves_and_it_goes_on(
    tmp_path: Path, content: bytes, crashes: int, end: State, first: str
) -> None:
    clean = template(tmp_path, content)
    names = points_of(clean, tmp_path / "whole", crashes=crashes)
    start = names.index(first) if first else 0
    point = start
    while True:
        root = tmp_path / "device"
        shutil.copytree(clean, root, symlinks=True)
        if in_a_child(run(root, Points(point), crashes=crashes)):
            break  # there is no such point any more
        check_what_serves(root, allowed={"1", "2"})
        assert in_a_child(run(root, Points(None), crashes=crashes))
        check_what_serves(root, allowed={"2" if end is State.COMMITTED else "1"})
        check_the_end(root, end)
        shutil.rmtree(root)
        point += 1
    assert len(names) > 20
    assert point > start


def test_killed_at_random_moments_again_and_again(tmp_path: Path) -> None:
    """Each process gets a few milliseconds; the update comes to its end all the same, and nothing is fetched twice but
    what a kill has cut off."""
    clean, dice = template(tmp_path, NEW), random.Random(SEED)
    kills = 0
    while kills < RANDOM_KILLS:
        root = tmp_path / "device"
        shutil.copytree(clean, root, symlinks=True)
        while not in_a_child(run(root, Points(None)), kill_after_s=dice.uniform(0.005, 0.12)):
            kills += 1
            check_what_serves(root, allowed={"1", "2"})
        check_the_end(root, State.COMMITTED)
        shutil.rmtree(root)


def test_a_kill_costs_at_most_a_piece(tmp_path: Path) -> None:
    clean = template(tmp_path, NEW)
    for pieces in range(1, len(NEW) // PIECE_BYTES + 1):
        root = tmp_path / f"device{pieces}"
        shutil.copytree(clean, root, symlinks=True)
        left = iter(range(pieces))

        def stop(point: str, left: object = left) -> None:
            if point == "piece" and next(left, None) is None:  # type: ignore[call-overload]
                os.kill(os.getpid(), signal.SIGKILL)

        in_a_child(run(root, stop))
        again: list[str] = []
        site = site_at(root, again.append)
        asyncio.run(carry_through(site, again.append))
        assert site.repository.fetched_bytes <= len(NEW) - (pieces - 1) * PIECE_BYTES
        check_the_end(root, State.COMMITTED)
