"""What a kill leaves goes on or ends, and what cannot be repeated is never begun twice."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agent.fleet.commands.operation import AnyOperation, Instance
from agent.fleet.commands.operations.restart import RestartArgs, RestartOperation
from agent.fleet.commands.permissions import Permission
from agent.fleet.commands.states import ATTEMPTS
from tests.fleet.commands.scripted import NoteOperation, Reboot, kill, station


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "commands.db"


async def killed_while_executing(path: Path, tmp_path: Path, operation: AnyOperation) -> Path:
    async with station(path, operation) as desk:
        await desk.send(operation.name, "1", {} if isinstance(operation, Reboot) else {"text": "a", "wait": "gate"})
        await desk.state(operation.name, "1", "executing")
        return kill(path, tmp_path / "killed")


async def test_what_is_not_repeatable_ends_and_says_so(path: Path, tmp_path: Path) -> None:
    left = await killed_while_executing(path, tmp_path, NoteOperation("strike", repeatable=False))
    strike = NoteOperation("strike", repeatable=False)
    async with station(left, strike) as desk:
        end = await desk.end("strike", "1")
        assert (end["status"], end["reason"]) == ("failed", "interrupted: it may have happened")
        await desk.send("strike", "1", {"text": "a", "wait": "gate"}, duplicate=True)
        await desk.send("strike", "2", {"text": "b"})
        await desk.end("strike", "2")
        assert strike.begun == ["b"]


async def test_a_retained_restart_happens_once(path: Path, tmp_path: Path) -> None:
    first = Reboot()
    left = await killed_while_executing(path, tmp_path, first)
    for _ in range(3):
        reboot = Reboot()
        async with station(left, reboot) as desk:
            await desk.send("restart", "1", {}, retain=True)
            end = await desk.end("restart", "1") if not _ else await desk.state("restart", "1", "successful")
            assert end["result"] == {"restarted": True}
            assert reboot.times == 0
    assert first.times == 1


async def test_a_restart_that_is_under_way_when_the_daemon_stops_is_done_at_the_next_start(path: Path) -> None:
    async with station(path, Reboot()) as desk:
        await desk.send("restart", "1", {})
        await desk.state("restart", "1", "executing")
    async with station(path, Reboot()) as desk:
        assert (await desk.end("restart", "1"))["status"] == "successful"


@pytest.mark.parametrize(
    ("what", "then", "now", "done"),
    [
        ("agent", Instance("boot", "a"), Instance("boot", "b"), True),
        ("agent", Instance("boot", "a"), Instance("next", "b"), True),
        ("agent", Instance("boot", "a"), Instance("boot", "a"), False),
        ("device", Instance("boot", "a"), Instance("next", "b"), True),
        ("device", Instance("boot", "a"), Instance("boot", "b"), False),
        ("device", Instance("process-1", "a"), Instance("process-2", "b"), False),  # nothing here knows the boot
    ],
)
def test_a_restart_is_recognized_by_the_instance(what: str, then: Instance, now: Instance, done: bool) -> None:
    args = RestartArgs(what=what)  # type: ignore[arg-type]
    found = RestartOperation.__new__(RestartOperation).recognize(args, then, now)
    assert (found is not None) == done


async def test_what_ends_the_daemon_each_time_is_given_up(path: Path, tmp_path: Path) -> None:
    left = path
    for number in range(ATTEMPTS):
        note = NoteOperation()
        async with station(left, note) as desk:
            if number == 0:
                await desk.send("note", "1", {"text": "a", "wait": "gate"})
            await desk.until(lambda note=note: note.begun)
            await asyncio.sleep(0.02)
            left = kill(left, tmp_path / f"killed-{number}")
    note = NoteOperation()
    async with station(left, note) as desk:
        end = await desk.end("note", "1")
        assert (end["code"], end["attempts"], note.begun) == ("interrupted", ATTEMPTS, [])


async def test_a_stop_on_purpose_is_no_attempt(path: Path) -> None:
    for number in range(ATTEMPTS + 2):
        note = NoteOperation()
        async with station(path, note) as desk:
            if number == 0:
                await desk.send("note", "1", {"text": "a", "wait": "gate"})
            await desk.until(lambda note=note: note.begun)
            if number == ATTEMPTS + 1:
                note.release("gate")
                assert (await desk.end("note", "1"))["status"] == "successful"


async def test_what_is_no_longer_allowed_does_not_go_on(path: Path, tmp_path: Path) -> None:
    left = await killed_while_executing(path, tmp_path, NoteOperation())
    note = NoteOperation()
    async with station(left, note, permissions={"note": Permission(allow=False, concurrency=1, per_hour=9)}) as desk:
        assert (await desk.end("note", "1"))["code"] == "not_allowed"
        assert note.begun == []


async def test_what_has_expired_while_the_device_was_off_does_not_begin(path: Path, tmp_path: Path) -> None:
    async with station(path, NoteOperation()) as desk:
        await desk.send("note", "first", {"wait": "for ever"})
        waiting = b'{"status": "init", "expires_at": 1900000060, "args": {"text": "late"}}'
        await desk.acknowledged(await desk.send("note", "1", waiting))
        left = kill(path, tmp_path / "killed")
    note = NoteOperation()
    async with station(left, note, wall_s=1_900_000_061.0, boot="boot-2") as desk:
        assert (await desk.end("note", "1"))["code"] == "expired"
        assert "late" not in note.begun
