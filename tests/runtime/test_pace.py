"""A worker that was only tried gets its place back, even if the kernel refuses for a while."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest

from agent.runtime import pace as paces
from agent.runtime.pace import TURN_TRIES, Pace
from agent.runtime.wire.options import OnnxOptions

PID = 4711


class Kernel:
    """Refuses the first `refusals` changes."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.asked = 0

    def take_turn(self, pid: int) -> bool:
        assert pid == PID
        self.asked += 1
        return self.asked > self.refusals


async def settle(kernel: Kernel, monkeypatch: pytest.MonkeyPatch, *, running: bool = True) -> None:
    monkeypatch.setattr(paces, "TURN_RETRY_S", 0.0)
    monkeypatch.setattr(paces, "take_turn", kernel.take_turn)
    monkeypatch.setattr(paces, "give_way", lambda pid: None)
    pace = Pace("small", cast("Any", OnnxOptions()), gives_way=True)
    worker = SimpleNamespace(pid=PID, running=True)
    pace.started(cast("Any", worker))
    pace.loaded(cast("Any", object()))
    pace.set(gives_way=False)
    worker.running = running
    for _ in range(3 * TURN_TRIES):
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("refusals", [0, 1, TURN_TRIES])
async def test_it_is_asked_for_until_it_is_given(refusals: int, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(refusals)
    await settle(kernel, monkeypatch)
    assert kernel.asked == refusals + 1


async def test_it_gives_up_and_says_so(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    kernel = Kernel(1000)
    with caplog.at_level(logging.WARNING):
        await settle(kernel, monkeypatch)
    assert kernel.asked == TURN_TRIES + 1
    assert "worker 4711 stays behind the others" in caplog.text


async def test_a_worker_that_has_ended_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(1000)
    await settle(kernel, monkeypatch, running=False)
    assert kernel.asked == 1
