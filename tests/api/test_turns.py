from __future__ import annotations

import asyncio

import pytest

from agent.api.turns import Turns
from agent.errors import DeadlineError, QueueFullError


async def test_they_come_in_order_and_never_more_at_once_than_allowed() -> None:
    turns, order, most, now = Turns(at_once=2, capacity=9), list[int](), 0, 0

    async def work(number: int) -> None:
        nonlocal most, now
        async with turns.turn(10):
            order.append(number)
            now += 1
            most = max(most, now)
            await asyncio.sleep(0)
            now -= 1

    await asyncio.gather(*map(work, range(6)))
    assert (order, most, turns.waiting) == ([0, 1, 2, 3, 4, 5], 2, 0)


async def test_one_too_many_is_refused_and_one_too_late_gives_up() -> None:
    turns = Turns(at_once=1, capacity=1)
    async with turns.turn(10):
        with pytest.raises(DeadlineError, match=r"within 0\.01 s"):
            async with turns.turn(0.01):
                pass
        waiting = asyncio.create_task(_hold(turns))
        await asyncio.sleep(0)
        with pytest.raises(QueueFullError, match="1 files wait"):
            async with turns.turn(10):
                pass
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert turns.waiting == 0
    async with turns.turn(0.01):
        pass


async def test_an_error_gives_the_turn_back() -> None:
    turns = Turns(at_once=1, capacity=0)
    for _ in range(2):
        with pytest.raises(ValueError, match="mine"):
            async with turns.turn(0.01):
                raise ValueError("mine")


async def _hold(turns: Turns) -> None:
    async with turns.turn(10):
        await asyncio.sleep(3600)
