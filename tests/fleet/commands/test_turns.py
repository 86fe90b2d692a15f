"""Order, concurrency, limits per hour, deadlines, cancellation."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agent.fleet.commands.admission import WAITING
from agent.fleet.commands.permissions import HOUR_S, Permission
from agent.fleet.link.messages import Publication
from tests.fleet.commands.scripted import TOPICS, NoteOperation, ScriptedLine, station


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "commands.db"


def permission(concurrency: int = 1, per_hour: int = 1000) -> Permission:
    return Permission(allow=True, concurrency=concurrency, per_hour=per_hour)


async def test_they_begin_in_the_order_in_which_they_came(path: Path) -> None:
    note = NoteOperation()
    async with station(path, note, permissions={"note": permission(2)}) as desk:
        for number in range(6):
            await desk.send("note", str(number), {"text": str(number), "wait": str(number)})
        await desk.until(lambda: note.begun == ["0", "1"])
        note.release("1")
        await desk.until(lambda: note.begun == ["0", "1", "2"])
        for number in range(6):
            note.release(str(number))
        await desk.until(lambda: note.begun == [str(number) for number in range(6)])
        for number in range(6):
            assert (await desk.end("note", str(number)))["status"] == "successful"


async def test_one_operation_does_not_wait_for_another(path: Path) -> None:
    note, other = NoteOperation(), NoteOperation("other")
    async with station(path, note, other) as desk:
        await desk.send("note", "1", {"wait": "for ever"})
        await desk.send("other", "1", {"text": "b"})
        await desk.end("other", "1")


async def test_the_order_outlives_a_restart(path: Path) -> None:
    note = NoteOperation()
    async with station(path, note) as desk:
        for number in range(4):
            await desk.send("note", str(number), {"text": str(number), "wait": "x"})
        await desk.until(lambda: len(desk.line.acknowledged) == 4)
    again = NoteOperation()
    again.release("x")
    async with station(path, again) as desk:
        await desk.end("note", "3")
        assert again.begun == ["0", "1", "2", "3"]


async def test_more_than_the_limit_fail_until_the_hour_is_over(path: Path) -> None:
    async with station(path, permissions={"note": permission(per_hour=2)}) as desk:
        for id in ("1", "2"):
            await desk.send("note", id)
            assert (await desk.end("note", id))["status"] == "successful"
        await desk.send("note", "3")
        assert (await desk.end("note", "3"))["code"] == "rate_limited"
    async with station(path, permissions={"note": permission(per_hour=2)}) as desk:  # a restart is no new hour
        await desk.send("note", "4")
        assert (await desk.end("note", "4"))["code"] == "rate_limited"
        desk.up_s += HOUR_S + 1
        await desk.send("note", "5")
        assert (await desk.end("note", "5"))["status"] == "successful"


async def test_too_many_that_wait_are_refused(path: Path) -> None:
    note = NoteOperation()
    async with station(path, note) as desk:
        for number in range(WAITING + 3):
            await desk.send("note", str(number), {"wait": "gate"})
        for number in (WAITING + 1, WAITING + 2):
            assert (await desk.end("note", str(number)))["code"] == "queue_full"
        note.release("gate")
        assert (await desk.end("note", str(WAITING)))["status"] == "successful"


@pytest.mark.parametrize(
    ("fields", "more"),
    [
        (b'"expires_at": 1899999999', {}),
        (b'"expires_at": "2030-01-31T12:00:00Z"', {}),
        (b'"args": {}', {"expiry_s": 0}),
    ],
)
async def test_what_comes_too_late_is_not_begun(path: Path, fields: bytes, more: dict[str, int]) -> None:
    note = NoteOperation()
    async with station(path, note) as desk:
        await desk.send("note", "1", b'{"status": "init", ' + fields + b"}", **more)
        assert (await desk.end("note", "1"))["code"] == "expired"
        assert note.begun == []


@pytest.mark.parametrize("wall_s", [1_900_000_000.0, 0.0, 1_900_000_000.0 - 1e6])
async def test_what_waits_too_long_is_not_begun_whatever_the_clock_says(path: Path, wall_s: float) -> None:
    note = NoteOperation()
    async with station(path, note, wall_s=wall_s) as desk:
        await desk.send("note", "first", {"wait": "gate"})
        payload = b'{"status": "init", "issued_at": 1899999990, "expires_at": 1900000060, "args": {"text": "late"}}'
        await desk.acknowledged(await desk.send("note", "1", payload))
        desk.up_s += 71  # and the time of day stands still
        await desk.acknowledged(await desk.send("note", "other", b'{"status": "init", "expires_at": 1e10}'))
        assert (await desk.end("note", "1"))["code"] == "expired"
        note.release("gate")
        await desk.end("note", "other")
        assert "late" not in note.begun


async def test_clearing_its_topic_cancels_what_waits_and_what_runs(path: Path) -> None:
    note = NoteOperation()
    async with station(path, note) as desk:
        await desk.send("note", "runs", {"text": "runs", "wait": "for ever"})
        await desk.send("note", "waits", {"text": "waits"})
        await desk.state("note", "runs", "executing")
        for id in ("waits", "runs"):
            await desk.acknowledged(await desk.send("note", id, b""))
            end = await desk.end("note", id)
            assert (end["status"], end["code"]) == ("failed", "cancelled")
            last = desk.line.on(TOPICS.command("note", id))[-1]
            assert not last.retain  # the topic stays clear
        assert (note.begun, note.cancelled, note.withdrawn) == (["runs"], ["runs"], ["runs"])
        await desk.send("note", "next", {"text": "next"})
        await desk.end("note", "next")


async def test_what_cannot_be_taken_back_ends_the_command_all_the_same(path: Path) -> None:
    note = NoteOperation()
    async with station(path, note) as desk:
        await desk.send("note", "1", {"text": "a", "wait": "for ever", "fail": True})
        await desk.state("note", "1", "executing")
        await desk.send("note", "1", b"")
        assert (await desk.end("note", "1"))["code"] == "cancelled"
    assert note.withdrawn == ["a"]


async def test_the_end_of_the_daemon_takes_nothing_back(path: Path) -> None:
    note = NoteOperation()
    async with station(path, note) as desk:
        await desk.send("note", "1", {"text": "a", "wait": "for ever"})
        await desk.state("note", "1", "executing")
    assert (note.cancelled, note.withdrawn) == (["a"], [])


async def test_a_cancelled_command_that_comes_again_stays_cancelled(path: Path) -> None:
    note = NoteOperation()
    async with station(path, note) as desk:
        await desk.send("note", "1", {"text": "a", "wait": "for ever"})
        await desk.send("note", "1", b"")
        await desk.end("note", "1")
    again = NoteOperation()
    async with station(path, again) as desk:
        await desk.send("note", "1", {"text": "a", "wait": "for ever"}, duplicate=True)
        await desk.send("note", "1", b"", duplicate=True)
        assert (await desk.end("note", "1"))["code"] == "cancelled"
        assert again.begun == []


async def test_what_is_not_repeatable_runs_to_its_end_once_it_has_begun(path: Path) -> None:
    strike = NoteOperation("strike", repeatable=False)
    async with station(path, strike) as desk:
        await desk.send("strike", "1", {"text": "a", "wait": "gate"})
        await desk.state("strike", "1", "executing")
        await desk.acknowledged(await desk.send("strike", "1", b""))
        strike.release("gate")
        assert (await desk.end("strike", "1"))["status"] == "successful"
        assert strike.done == ["a"]
        assert not desk.line.on(TOPICS.command("strike", "1"))[-1].retain


async def test_a_flood_is_answered_one_by_one(path: Path) -> None:
    async with station(path, permissions={"note": permission(4, 100_000)}) as desk:
        for number in range(600):
            await desk.send("note" if number % 3 else "unheard-of", str(number), {"text": "x"} if number % 2 else b"{")
        await desk.until(lambda: len(desk.line.acknowledged) == 600)
        for number in range(600):
            await desk.end("note" if number % 3 else "unheard-of", str(number))


async def test_a_state_that_meets_a_clear_on_its_way_leaves_the_topic_clear(path: Path) -> None:
    class Slow(ScriptedLine):
        """Its first confirmation is late."""

        gate = asyncio.Event()

        async def publish(self, publication: Publication) -> None:
            if not self.published:
                await super().publish(publication)
                await self.gate.wait()
            else:
                await super().publish(publication)

    note = NoteOperation()
    async with station(path, note, line=Slow()) as desk:
        await desk.send("note", "1", {"wait": "for ever"})
        await desk.state("note", "1", "executing")  # retained, and not confirmed yet
        await desk.acknowledged(await desk.send("note", "1", b""))
        await desk.end("note", "1")
        Slow.gate.set()
        topic = TOPICS.command("note", "1")
        await desk.until(lambda: desk.line.on(topic)[-1].payload == b"")
        retained = [one for one in desk.line.on(topic) if one.retain]
        assert retained[-1].payload == b""
