"""A result that does not fit into a message comes in pieces that can be put together and checked."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from agent.fleet.commands.entry import Key
from agent.fleet.commands.journal import Journal
from agent.fleet.commands.report import ECHO_BYTES, cut
from tests.fleet.commands.scripted import TOPICS, NoteOperation, ScriptedLine, kill, station


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "commands.db"


@pytest.mark.parametrize("result_bytes", [4000, 20_000, 100_000])
async def test_pieces_make_the_result_again(path: Path, result_bytes: int) -> None:
    async with station(path, line=ScriptedLine(packet_bytes=4096)) as desk:
        await desk.send("note", "1", {"text": "ü", "result_bytes": result_bytes})
        end = await desk.end("note", "1")
        assert "result" not in end
        manifest = end["result_pieces"]
        pieces = [desk.line.on(TOPICS.result("note", "1", index)) for index in range(manifest["count"])]
        assert all(len(copies) == 1 and copies[0].retain and copies[0].packet_bytes <= 4096 for copies in pieces)
        whole = b"".join(copies[0].payload for copies in pieces)
        assert (len(whole), hashlib.sha256(whole).hexdigest()) == (manifest["bytes"], manifest["sha256"])
        assert json.loads(whole) == {"noted": "ü", "long": "x" * result_bytes}
        assert manifest["topic"] == TOPICS.result("note", "1", 0).removesuffix("/0")
        assert desk.line.published[-1].topic == TOPICS.command("note", "1")  # the end comes after its pieces


async def test_they_are_cleared_with_the_command(path: Path) -> None:
    async with station(path, line=ScriptedLine(packet_bytes=4096)) as desk:
        await desk.send("note", "1", {"result_bytes": 9000})
        count = (await desk.end("note", "1"))["result_pieces"]["count"]
        await desk.acknowledged(await desk.send("note", "1", b""))
        for index in range(count):
            topic = TOPICS.result("note", "1", index)
            await desk.until(lambda topic=topic: desk.line.on(topic)[-1].payload == b"")
            assert desk.line.on(topic)[-1].retain


async def test_killed_in_the_middle_of_them_they_come_again(path: Path, tmp_path: Path) -> None:
    async with station(path, line=ScriptedLine(packet_bytes=4096)) as desk:
        desk.line.breaks_after = TOPICS.result("note", "1", 1)
        await desk.send("note", "1", {"result_bytes": 20_000})
        await desk.until(lambda: desk.line.on(TOPICS.result("note", "1", 1)))
        left = kill(path, tmp_path / "killed")
    note = NoteOperation()
    async with station(left, note, line=ScriptedLine(packet_bytes=4096)) as desk:
        assert (await desk.end("note", "1"))["result_pieces"]["count"] >= 5
        assert note.begun == []


async def test_long_arguments_do_not_come_back(path: Path) -> None:
    async with station(path) as desk:
        message = {"status": "init", "args": {"text": "x" * 50_000}, "kept": 1}
        await desk.send("note", "1", json.dumps(message).encode())
        end = await desk.end("note", "1")
        assert (end["left_out"], end["kept"], len(end["result"]["noted"])) == (["args"], 1, 50_000)
    async with station(path) as desk:  # and are not kept either, but that the same comes again is seen
        await desk.send("note", "1", json.dumps(message).encode(), duplicate=True)
        assert await desk.end("note", "1") == end
    journal = Journal(path)
    kept = journal.read(journal.find([Key("note", "1")])[Key("note", "1")].seq or 0)
    assert kept is not None
    assert len(kept.request or b"") <= ECHO_BYTES


@pytest.mark.parametrize(("size", "room", "count"), [(0, 10, 1), (10, 10, 1), (11, 10, 2), (5, 0, 5)])
def test_cutting(size: int, room: int, count: int) -> None:
    pieces = cut(b"x" * size, room)
    assert (len(pieces), b"".join(pieces)) == (count, b"x" * size)
