"""Pieces never hold up the work that makes them."""

from __future__ import annotations

import asyncio
import json

from agent.fleet.commands import pieces as module
from agent.fleet.commands.pieces import WAITING, PieceStream
from agent.fleet.link.messages import Publication
from tests.fleet.commands.scripted import ScriptedLine


class StuckLine(ScriptedLine):
    """Takes nothing until it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()

    async def publish(self, publication: Publication) -> None:
        await self.gate.wait()
        await super().publish(publication)


def numbers(line: ScriptedLine) -> list[int]:
    return [json.loads(one.payload)["n"] for one in line.published]


async def test_what_a_slow_line_cannot_take_is_left_out_and_its_number_missing() -> None:
    line = StuckLine()
    async with asyncio.timeout(5), PieceStream(line, "t") as pieces:
        for number in range(WAITING + 50):
            await pieces({"text": str(number)})
        line.gate.set()
        while len(line.published) < WAITING:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await pieces({"text": "last"})
    assert numbers(line) == [*range(WAITING), WAITING + 50]


async def test_a_line_that_is_stuck_does_not_keep_the_end_waiting() -> None:
    line = StuckLine()
    before = asyncio.get_running_loop().time()
    async with PieceStream(line, "t") as pieces:
        await pieces({"text": "a"})
    assert asyncio.get_running_loop().time() - before < module.LAST_S + 5
    assert line.published == []
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "pieces"]


async def test_what_goes_wrong_on_the_way_is_left_out() -> None:
    line = ScriptedLine()
    async with PieceStream(line, "t") as pieces:
        line.connected = False
        await pieces({"text": "a"})
        await asyncio.sleep(0.01)
        line.connected = True
        await pieces({"text": "b"})
    assert numbers(line) == [1]


async def test_without_a_topic_nothing_is_sent() -> None:
    line = ScriptedLine()
    async with PieceStream(line, None) as pieces:
        await pieces({"text": "a"})
    assert line.published == []
