"""A command's life: it is written down, acknowledged, carried out once, and its end is said."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from agent.fleet.commands.permissions import Permission
from tests.fleet.commands.scripted import TOPICS, NoteOperation, ScriptedLine, kill, station


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "commands.db"


async def test_from_init_to_successful(path: Path) -> None:
    async with station(path) as desk:
        payload = {"status": "init", "args": {"text": "hello"}, "expires_at": 2e9, "te_custom": {"kept": [1.50]}}
        sent = await desk.send("note", "1", json.dumps(payload).encode())
        end = await desk.end("note", "1")
        assert end == {**payload, "status": "successful", "result": {"noted": "hello"}}
        assert [state["status"] for state in desk.line.states("note", "1")] == ["executing", "successful"]
        assert all(one.retain and one.qos == 1 for one in desk.line.on(TOPICS.command("note", "1")))
        assert desk.line.acknowledged == [sent]


async def test_it_is_on_the_disk_before_it_is_acknowledged(path: Path, tmp_path: Path) -> None:
    async with station(path) as desk:
        sent = await desk.send("note", "1", {"text": "a", "wait": "gate"})
        await desk.acknowledged(sent)
        left = kill(path, tmp_path / "killed")
    again = NoteOperation()
    async with station(left, again) as desk:
        again.release("gate")
        end = await desk.end("note", "1")
        assert (end["status"], end["attempts"], again.done) == ("successful", 2, ["a"])


async def test_however_often_it_comes_it_happens_once(path: Path) -> None:
    note = NoteOperation()
    async with station(path, note) as desk:
        for number in range(5):
            await desk.send("note", "1", {"text": "a", "wait": "gate"}, duplicate=number > 0)
        await desk.state("note", "1", "executing")
        note.release("gate")
        await desk.end("note", "1")
        for _ in range(3):
            await desk.send("note", "1", {"text": "a", "wait": "gate"}, duplicate=True)
        await desk.until(lambda: len(desk.line.acknowledged) == 8)
        await desk.end("note", "1")
        assert note.begun == ["a"]


async def test_after_a_restart_a_duplicate_gets_the_old_answer(path: Path) -> None:
    async with station(path) as desk:
        await desk.send("note", "1", {"text": "a"})
        first = await desk.end("note", "1")
    note = NoteOperation()
    async with station(path, note) as desk:
        await desk.send("note", "1", {"text": "a"}, duplicate=True)
        assert await desk.end("note", "1") == first
        assert note.begun == []


async def test_an_end_that_could_not_be_said_is_said_at_the_next_connect(path: Path) -> None:
    note = NoteOperation()
    async with station(path, note) as desk:
        await desk.send("note", "1", {"text": "a", "wait": "gate"})
        await desk.state("note", "1", "executing")
        desk.line.connected = False
        note.release("gate")
        await desk.until(lambda: note.done)
        await asyncio.sleep(0.02)
        assert len(desk.line.states("note", "1")) == 1
    async with station(path, note) as desk:  # said after a restart just as well
        assert (await desk.end("note", "1"))["status"] == "successful"
        assert note.begun == ["a"]


async def test_another_command_with_the_same_id_fails(path: Path) -> None:
    note = NoteOperation()
    async with station(path, note) as desk:
        await desk.send("note", "1", {"text": "a"})
        await desk.end("note", "1")
        await desk.send("note", "1", {"text": "b"})
        failed = await desk.state("note", "1", "failed")
        assert (failed["code"], failed["args"], note.begun) == ("id_used", {"text": "b"}, ["a"])


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        ({"fail": True}, "invalid_request", "The note is wrong. Write another."),
        ({"crash": True}, "internal_error", "its log says what"),
        ({"text": 3}, "invalid_request", "args.text: expected `str`"),
        ({"txet": "a"}, "invalid_request", "unknown field `txet`"),
        ({"result_bytes": 9_000_000}, "result_too_large", "bytes"),
    ],
)
async def test_what_goes_wrong_is_answered(path: Path, args: dict[str, Any], code: str, words: str) -> None:
    async with station(path) as desk:
        await desk.send("note", "1", args)
        end = await desk.end("note", "1")
        assert (end["status"], end["code"]) == ("failed", code)
        assert words in end["reason"]
        assert "secret-in-a-traceback" not in end["reason"]
        await desk.send("note", "2", {"text": "fine"})
        assert (await desk.end("note", "2"))["status"] == "successful"


@pytest.mark.parametrize(
    ("operation", "payload", "code"),
    [
        ("note", b"{", "invalid_request"),
        ("note", b"\xff" * 100, "invalid_request"),
        ("note", b"[" * 5000, "invalid_request"),
        ("note", b"{}", "invalid_request"),
        ("note", b'{"status": "init", "args": []}', "invalid_request"),
        ("unheard-of", b'{"status": "init"}', "unknown_operation"),
        ("unheard-of", b"{", "unknown_operation"),
        ("strike", b'{"status": "init"}', "not_allowed"),
    ],
)
async def test_what_cannot_be_done_is_answered(path: Path, operation: str, payload: bytes, code: str) -> None:
    note, strike = NoteOperation(), NoteOperation("strike", repeatable=False)
    off = Permission(allow=False, concurrency=1, per_hour=10)
    async with station(path, note, strike, permissions={"strike": off}) as desk:
        sent = await desk.send(operation, "1", payload)
        end = await desk.end(operation, "1")
        assert (end["status"], end["code"]) == ("failed", code)
        await desk.acknowledged(sent)
        await desk.send(operation, "1", payload, duplicate=True)
        assert await desk.end(operation, "1") == end
        assert note.begun == strike.begun == []


async def test_what_was_too_large_for_the_link_is_answered(path: Path) -> None:
    async with station(path) as desk:
        sent = await desk.send("note", "1", b"", oversized_bytes=5_000_000)
        end = await desk.end("note", "1")
        assert "5,000,000 bytes" in end["reason"]
        await desk.acknowledged(sent)


@pytest.mark.parametrize(
    "topic",
    [
        "te/device/other/service/edge-agent/cmd/note/1",
        "te/device/d/service/other/cmd/note/1",
        "te/device/d/service/edge-agent/cmd/note",
        "te/device/d/service/edge-agent/cmd/note/1/stream",
        "te/device/other/service/edge-agent/rpc/note",
        "x",
    ],
)
async def test_what_is_for_others_is_forgotten(path: Path, topic: str) -> None:
    note = NoteOperation()
    async with station(path, note) as desk:
        sent = await desk.deliver(topic, b'{"status": "init"}')
        await desk.acknowledged(sent)
        assert (note.begun, desk.line.published) == ([], [])


async def test_our_own_words_are_ignored(path: Path) -> None:
    note = NoteOperation()
    async with station(path, note) as desk:
        await desk.send("note", "1", {"text": "a"})
        await desk.end("note", "1")
        said = len(desk.line.published)
        echoes = [await desk.send("note", "1", one.payload) for one in desk.line.on(TOPICS.command("note", "1"))]
        echoes.append(await desk.send("note", "unknown", b'{"status": "successful"}'))
        await desk.acknowledged(*echoes)
        assert (len(desk.line.published), note.begun) == (said, ["a"])


async def test_one_that_seems_to_run_here_and_does_not_is_ended(path: Path) -> None:
    async with station(path) as desk:
        await desk.send("strike", "lost", b'{"status": "executing", "args": {"text": "a"}}')
        end = await desk.end("strike", "lost")
        assert (end["code"], end["args"]) == ("interrupted", {"text": "a"})


async def test_pieces_are_numbered_and_not_kept(path: Path) -> None:
    async with station(path) as desk:
        await desk.send("note", "1", {"pieces": 3})
        await desk.end("note", "1")
        pieces = desk.line.on(TOPICS.stream("note", "1"))
        assert [json.loads(piece.payload) for piece in pieces] == [{"n": n, "text": f"piece {n}"} for n in range(3)]
        assert all(piece.qos == 0 and not piece.retain for piece in pieces)
        order = [one.topic for one in desk.line.published]
        assert order.index(pieces[-1].topic) < len(order) - 1  # the end comes last


async def test_a_state_that_the_broker_refuses_holds_nothing_up(path: Path) -> None:
    from agent.errors import PublishRefusedError

    line = ScriptedLine()
    line.refusal = PublishRefusedError("not authorized")
    note = NoteOperation()
    async with station(path, note, line=line) as desk:
        for id in "abc":
            await desk.acknowledged(await desk.send("note", id, {"text": id}))
        await desk.until(lambda: note.done == ["a", "b", "c"])


async def test_secrets_of_a_crash_are_not_published(path: Path) -> None:
    async with station(path) as desk:
        await desk.send("note", "1", {"crash": True})
        await desk.end("note", "1")
        assert not any(b"secret-in-a-traceback" in one.payload for one in desk.line.published)
