"""A disk that is full or broken: commands are refused with a reason, and the daemon goes on."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.fleet.commands import desk as desks
from agent.fleet.commands import work
from agent.fleet.commands.keeping import Keeping
from tests.fleet.commands.scripted import TOPICS, NoteOperation, ScriptedLine, station


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() or not shutil.which("mount"):
        pytest.skip("needs root, to mount a small file system")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("cannot mount a file system here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass


async def test_a_full_disk(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "RETRY_S", 0.05)
    note = NoteOperation()
    async with station(small_disk / "commands.db", note) as desk:
        await desk.send("note", "under way", {"text": "under way", "wait": "gate"})
        await desk.state("note", "under way", "executing")
        filler = small_disk / "filler"
        fill(filler)
        for number in range(3):
            await desk.acknowledged(await desk.send("note", str(number), {"text": "x" * 5000}))
            end = await desk.end("note", str(number))
            assert (end["status"], end["code"]) == ("failed", "disk_full")
            assert "disk is full" in end["reason"]
        note.release("gate")
        assert (await desk.end("note", "under way"))["status"] == "successful"
        filler.unlink()
        await desk.send("note", "0", {"text": "x" * 5000}, duplicate=True)  # it failed, and stays so
        await desk.send("note", "later", {"text": "later"})
        assert (await desk.end("note", "later"))["status"] == "successful"
        assert (await desk.end("note", "0"))["code"] == "disk_full"
        assert note.begun == ["under way", "later"]
    again = NoteOperation()
    async with station(small_disk / "commands.db", again) as desk:
        await desk.send("note", "under way", {"text": "under way", "wait": "gate"}, duplicate=True)
        assert (await desk.end("note", "under way"))["status"] == "successful"
        assert again.begun == []


async def test_a_journal_that_has_its_full_size(tmp_path: Path) -> None:
    note = NoteOperation()
    async with station(tmp_path / "commands.db", note, keeping=Keeping(limit_bytes=160_000)) as desk:
        await desk.send("note", "first", {"wait": "gate"})
        for number in range(10):
            await desk.acknowledged(await desk.send("note", str(number), {"text": "x" * 20_000}))
        assert (await desk.end("note", "9"))["code"] == "disk_full"
        note.release("gate")
        assert (await desk.end("note", "0"))["status"] == "successful"


async def test_a_folder_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desks, "RETRY_S", 0.05)
    blocked = tmp_path / "not a folder"
    blocked.write_text("")
    note = NoteOperation()
    async with station(blocked / "commands.db", note) as desk:
        await desk.acknowledged(await desk.send("note", "1", {"text": "a"}))
        end = await desk.end("note", "1")
        assert end["status"] == "failed"
        assert "command journal" in end["reason"]
        assert "command journal" in desk.desk.snapshot()["journal"]
        blocked.unlink()
        await desk.until(lambda: desk.desk.snapshot()["journal"] == "open")
        await desk.send("note", "2", {"text": "b"})
        assert (await desk.end("note", "2"))["status"] == "successful"
        assert note.begun == ["b"]


async def test_a_lost_journal_is_said_and_nothing_dangerous_is_repeated(tmp_path: Path) -> None:
    path = tmp_path / "commands.db"
    path.write_text("no database " * 1000)
    note, strike = NoteOperation(), NoteOperation("strike", repeatable=False)
    async with station(path, note, strike) as desk:
        event = TOPICS.event("command_journal_lost")
        await desk.until(lambda: desk.line.on(event))
        assert "commands.db.damaged-1" in json.loads(desk.line.on(event)[0].payload)["text"]
        await desk.send("strike", "old", {"text": "old"})
        assert (await desk.end("strike", "old"))["code"] == "journal_lost"
        await desk.send("note", "old", {"text": "old"})
        assert (await desk.end("note", "old"))["status"] == "successful"
        desk.up_s += desks.DISTRUST_S + 1
        await desk.send("strike", "new", {"text": "new"})
        assert (await desk.end("strike", "new"))["status"] == "successful"
        await desk.send("strike", "old", {"text": "old"}, duplicate=True)
        assert (await desk.end("strike", "old"))["code"] == "journal_lost"
        assert strike.begun == ["new"]
    async with station(path) as desk:
        await desk.send("note", "next", {})
        await desk.end("note", "next")
        assert desk.line.on(event) == []  # said once


async def test_it_is_said_when_a_broker_is_there(tmp_path: Path) -> None:
    path = tmp_path / "commands.db"
    path.write_text("no database " * 1000)
    line = ScriptedLine()
    line.connected = False
    async with station(path, line=line) as desk:
        await desk.until(lambda: desk.desk.snapshot()["journal"] == "open")
    async with station(path) as desk:
        await desk.until(lambda: desk.line.on(TOPICS.event("command_journal_lost")))
