"""Requests (`P/rpc`): answered where they say, once for each delivery that is new."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fleet.commands.scripted import TOPICS, NoteOperation, ScriptedLine, Station, kill, station

ANSWERS = "fleet/answers/1"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "commands.db"


async def answers(desk: Station, count: int = 1) -> list[dict[str, object]]:
    await desk.until(lambda: len(desk.line.on(ANSWERS)) >= count)
    return [json.loads(one.payload) for one in desk.line.on(ANSWERS)]


@pytest.mark.parametrize(
    ("payload", "answer"),
    [
        (b'{"text": "a"}', {"status": "successful", "result": {"noted": "a"}}),
        (b"", {"status": "successful", "result": {"noted": ""}}),
        (b"{", {"status": "failed", "code": "invalid_request"}),
        (b'{"text": 1}', {"status": "failed", "code": "invalid_request"}),
        (b'{"fail": true}', {"status": "failed", "code": "invalid_request"}),
    ],
)
async def test_the_answer_goes_where_the_request_says(path: Path, payload: bytes, answer: dict[str, object]) -> None:
    async with station(path) as desk:
        await desk.deliver(TOPICS.request("note"), payload, response_topic=ANSWERS, correlation=b"\0c")
        found = (await answers(desk))[0]
        assert {name: found[name] for name in answer} == answer
        (sent,) = desk.line.on(ANSWERS)
        assert (sent.correlation, sent.retain, sent.qos) == (b"\0c", False, 1)
        assert [one for one in desk.line.published if one.topic != ANSWERS] == []


async def test_the_same_again_is_a_new_request(path: Path) -> None:
    note = NoteOperation()
    async with station(path, note) as desk:
        for _ in range(2):
            await desk.deliver(TOPICS.request("note"), b'{"text": "a"}', response_topic=ANSWERS)
        await answers(desk, 2)
        assert note.begun == ["a", "a"]


async def test_the_same_delivered_again_is_not(path: Path, tmp_path: Path) -> None:
    async with station(path) as desk:
        sent = {"response_topic": ANSWERS, "correlation": b"c", "packet_id": 7}
        received = await desk.deliver(TOPICS.request("note"), b'{"text": "a"}', **sent)
        await desk.acknowledged(received)
        await answers(desk)
        left = kill(path, tmp_path / "killed")
    note = NoteOperation()
    async with station(left, note) as desk:
        await desk.deliver(TOPICS.request("note"), b'{"text": "a"}', **sent, duplicate=True)
        assert (await answers(desk))[0]["status"] == "successful"
        assert note.begun == []
        await desk.deliver(TOPICS.request("note"), b'{"text": "a"}', **{**sent, "packet_id": 8}, duplicate=True)
        await answers(desk, 2)
        assert note.begun == ["a"]  # another number: it only never arrived the first time


async def test_without_anybody_to_answer_it_is_done(path: Path) -> None:
    note = NoteOperation()
    async with station(path, note) as desk:
        await desk.acknowledged(await desk.deliver(TOPICS.request("note"), b'{"text": "a"}'))
        await desk.until(lambda: note.done == ["a"])
        assert desk.line.published == []


async def test_it_never_speaks_for_another_device(path: Path) -> None:
    note = NoteOperation()
    async with station(path, note) as desk:
        for topic in (
            "te/device/other/service/edge-agent/cmd/restart/1",
            "te/device/d/service/edge-agent/rpc/note",
            "a/#",
            "$SYS/a",
        ):
            await desk.deliver(TOPICS.request("note"), b'{"text": "a"}', response_topic=topic)
        await desk.until(lambda: len(note.done) == 4)
        assert desk.line.published == []


async def test_a_retained_request_is_refused_or_it_would_come_at_every_connect(path: Path) -> None:
    note = NoteOperation()
    async with station(path, note) as desk:
        sent = await desk.deliver(TOPICS.request("note"), b'{"text": "a"}', retain=True, response_topic=ANSWERS)
        assert (await answers(desk))[0]["status"] == "failed"
        await desk.acknowledged(sent)
        assert note.begun == []


async def test_a_large_answer_names_its_pieces(path: Path) -> None:
    async with station(path, line=ScriptedLine(packet_bytes=4096)) as desk:
        await desk.deliver(TOPICS.request("note"), b'{"result_bytes": 9000}', response_topic=ANSWERS)
        manifest = (await answers(desk))[0]["result_pieces"]
        assert isinstance(manifest, dict)
        topics = [f"{manifest['topic']}/{index}" for index in range(manifest["count"])]
        whole = b"".join(desk.line.on(topic)[0].payload for topic in topics)
        assert len(json.loads(whole)["long"]) == 9000
