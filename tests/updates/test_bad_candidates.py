"""Versions that are not good enough, all the way: fetched, tried in real workers beside the one that serves, taken
back, told to the fleet, and remembered over a restart."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from agent.hardware.sensors.turns import Turns
from agent.updates.journal import Journal
from agent.updates.parts import Limits
from agent.updates.policy import Circumstances
from agent.updates.record import Record
from agent.updates.report import twin
from agent.updates.states import State
from agent.updates.updater import Updater
from tests.store.material import artifact
from tests.updates.driving import driven, end, reached
from tests.updates.local import NOON, POLICY, FolderRepository
from tests.updates.trial.device import Device, running

LIMITS = Limits(
    speed_ratio=0.5,
    memory_ratio=1.5,
    load_timeout_s=20,
    trial_timeout_s=60,
    hang_timeout_s=20,
    probation_s=600,
    probation_requests=1000,
    probation_crashes=1,
    probation_error_ratio=0.2,
    probation_error_requests=5,
)
UNDO_S: Final = 20.0
"""For what follows a trial: the worker goes, the files go."""
WRONG = {"kind": "exact", "prompt": "Once upon a time", "max_tokens": 4, "answers": ["what no model says"]}

pytestmark = pytest.mark.usefixtures("impatient", "nobody_else")


@pytest.fixture
def nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other program wants the processors, as far as the kernel says: none of this is anybody else's fault."""
    for module in ("load_watch", "candidate", "crowding"):
        monkeypatch.setattr(f"agent.runtime.{module}.read_turns", lambda *of: Turns(0.1 * time.monotonic(), 0.0))


@pytest.fixture
def device(tmp_path: Path, tiny_model: Path) -> Device:
    made = Device(tmp_path)
    made.add("1", tiny_model)
    return made


def publish(device: Device, model: Path, *, fault: str = "", golden: tuple[dict[str, Any], ...] = ()) -> None:
    """Version 2, with what is wrong with it."""
    files = {"model.gguf": model.read_bytes()}
    gates: dict[str, Any] = {}
    if fault:
        files["fault"] = fault.encode()
    if golden:
        files["golden.jsonl"] = "\n".join(map(json.dumps, golden)).encode()
        gates = {"gates": {"golden": "golden.jsonl"}}
    artifact(device.folder / "repository" / "m" / "2", files, name="m", version="2", **gates)


@contextlib.asynccontextmanager
async def updating(device: Device, **changes: Any) -> AsyncIterator[Updater]:
    """With the updater's real parts, but for the network."""
    updater = Updater(
        device.store,
        Journal(device.folder / "updates.db"),
        fetching=FolderRepository(device.folder / "repository"),
        trying=device.trial,
        switching=device.switcher,
        watching=device.switcher,
        policy=replace(POLICY, limits=replace(LIMITS, **changes)),
        around=lambda: Circumstances(now=NOON),
    )
    async with driven(updater):
        yield updater


async def ask(updater: Updater) -> Record:
    return await updater.update("m", "2", origin="desired")


def check_told(updater: Updater, says: str) -> None:
    said = twin(updater.snapshot())["models"]["m"]
    assert (said["update"]["state"], says in said["rejected"]["2"]) == (State.REJECTED, True), said


async def check_untouched(device: Device) -> None:
    assert device.store.layout.versions("m") == ["1"]
    assert device.store.incoming.keys() == []
    assert await device.answer()
    assert (device.store.layout.active_version("m"), device.serving, device.workers) == ("1", ("1", "ready"), 1)


async def check_remembered(device: Device, says: str) -> None:
    """By the next process, which does not load it once more."""
    loads = device.runtime.snapshot().counters.loads
    async with updating(device) as updater:
        await ask(updater)
        record = await end(updater)
        assert (record.state, record.reason.startswith("rejected before: ")) == (State.REJECTED, True)
        check_told(updater, says)
    assert device.runtime.snapshot().counters.loads == loads


@pytest.mark.parametrize(
    ("fault", "says", "changes"),
    [
        pytest.param("crash", "It cannot be loaded: ", {}, id="crashes on load"),
        pytest.param("hang", "did not load within 2 s", {"load_timeout_s": 2}, id="hangs on load"),
        pytest.param("mute", "gave no answer to a first question within 1 s", {"hang_timeout_s": 1}, id="hangs"),
        pytest.param("slow", "times as many as the version that runs; at least 0.5 times", {}, id="half as fast"),
        pytest.param("fat", "times as much as the version that runs; 1.5 times is", {}, id="twice the memory"),
        pytest.param("", "0 of 1 answers were as expected", {}, id="fails its golden set"),
    ],
)
async def test_one_that_fails_its_trial_is_taken_back_told_and_remembered(
    device: Device, tiny_model: Path, fault: str, says: str, changes: dict[str, Any]
) -> None:
    publish(device, tiny_model, fault=fault, golden=() if fault else (WRONG,))
    async with running(device):
        await device.runtime.load("m")
        async with updating(device, **changes) as updater:
            asked = await ask(updater)
            record = await end(updater, LIMITS.trial_timeout_s + UNDO_S)
            assert (record.id, record.state) == (asked.id, State.REJECTED), record.reason
            assert says in record.reason, record.reason
            check_told(updater, says)
            moves = [step["state"] for step in await updater.moves(record.id)]
            assert State.TRYING in moves
            assert State.SWITCHING not in moves
        await check_untouched(device)
        await check_remembered(device, says)
        assert device.runtime.snapshot().counters.failed == 0


def crash(device: Device) -> None:
    pid = device.runtime.worker_pid("m")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


async def test_one_that_crashes_on_probation_is_taken_back_told_and_remembered(
    device: Device, tiny_model: Path
) -> None:
    publish(device, tiny_model)
    async with running(device):
        await device.runtime.load("m")
        async with updating(device) as updater:
            await ask(updater)
            await reached(updater, State.PROBATION, LIMITS.trial_timeout_s)
            assert device.serving == ("2", "ready")
            crash(device)
            record = await end(updater, UNDO_S)
            assert (record.state, record.reason) == (State.REJECTED, "It crashed on probation (1 crash).")
            check_told(updater, "It crashed on probation")
        await check_untouched(device)
        await check_remembered(device, "It crashed on probation")
