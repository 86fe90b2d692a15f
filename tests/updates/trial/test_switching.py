"""Versions put into service and taken back, with real workers: the store and the runtime always say the same."""

from __future__ import annotations

import asyncio
import itertools
import time
from pathlib import Path

import pytest

from agent.errors import EdgeAgentError, LoadTimeoutError, ModelFailedError, UnavailableError
from agent.hardware.sensors.turns import Turns
from agent.updates.parts import Health
from agent.updates.trial.probation import outcome
from agent.updates.trial.switching import Switcher
from tests.updates.trial.device import Device, running, text_of
from tests.updates.trial.test_probation import LIMITS


@pytest.fixture
def device(tmp_path: Path, tiny_model: Path) -> Device:
    made = Device(tmp_path)
    made.add("1", tiny_model)
    return made


def active(device: Device) -> str | None:
    return device.store.layout.active_version("m")


async def test_a_switch_under_load_fails_no_request(device: Device, tiny_model: Path) -> None:
    device.add("2", tiny_model)
    done = asyncio.Event()
    lengths: list[int] = []

    async def traffic() -> None:
        while not done.is_set():
            lengths.append(len(await device.answer(tokens=20)) > 0)

    async with running(device):
        await device.runtime.load("m")
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(traffic())
            for version in ("2", "1", "2"):
                await device.switcher.switch("m", version)
                assert (device.serving, active(device)) == ((version, "ready"), version)
            done.set()
        counters = device.runtime.snapshot().counters
        assert all(lengths)
        assert (counters.failed, counters.expired, counters.rejected) == (0, 0, 0)


async def test_requests_that_have_not_ended_are_under_way(device: Device) -> None:
    async with running(device):
        await device.runtime.load("m")
        stream = device.ask(tokens=400)
        while not stream.started:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        health = device.switcher.health("m")
        assert (health.requests_ok, health.under_way) == (0, 1)
        await text_of(stream)
        health = device.switcher.health("m")
        assert (health.requests_ok, health.under_way) == (1, 0)


async def test_what_others_took_of_the_processors_counts_from_the_switch_on(
    device: Device, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: dict[int, float] = {}

    def turns(pid: int) -> Turns:
        """A second more at each look."""
        waited[pid] = waited.get(pid, 100.0) + 1.0
        return Turns(0.0, waited[pid])

    monkeypatch.setattr("agent.runtime.crowding.read_turns", turns)
    device.add("2", tiny_model)
    async with running(device):
        await device.runtime.load("m")
        assert [device.switcher.health("m").held_up for _ in range(2)] == [0.0, 1.0]
        for version in ("2", "1"):
            await device.switcher.switch("m", version)
            assert [device.switcher.health("m").held_up for _ in range(2)] == [0.0, 1.0]
        await device.switcher.back("m", "2")
        assert device.switcher.health("m").held_up == 0.0


@pytest.mark.parametrize(("cores", "held_up"), [(1, 0.25), (2, 0.5), (8, 1.0)])
async def test_one_of_the_cores_that_may_be_used_can_hold_up_all_of_them(
    device: Device, monkeypatch: pytest.MonkeyPatch, cores: int, held_up: float
) -> None:
    """Threads ran for 3 s and waited for 1 s: all the waiting may have been at one of them, while the others stood
    still. Cores of the board that this process may not use do not count."""
    looks = itertools.count(1)
    monkeypatch.setattr("agent.runtime.crowding.read_turns", lambda pid: Turns(3.0 * (n := next(looks)), float(n)))
    switcher = Switcher(device.runtime, device.store, device.changed, cores=cores)
    async with running(device):
        await device.runtime.load("m")
        assert [switcher.health("m").held_up for _ in range(3)] == [0.0, held_up, held_up]


@pytest.mark.parametrize(
    ("got", "kind", "says"),
    [
        pytest.param((0.0, 2.0), UnavailableError, "Others left too little time to load m", id="others are"),
        pytest.param((0.1, 0.0), LoadTimeoutError, "did not load within 2 s", id="it is"),
    ],
)
async def test_who_is_to_blame_for_one_that_is_not_loaded_in_time(
    tmp_path: Path,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    got: tuple[float, float],
    kind: type[UnavailableError],
    says: str,
) -> None:
    """`got`: for how much of each second it ran, and waited for a processor."""

    def turns(pid: int, root: Path) -> Turns:
        return Turns(*(share * time.monotonic() for share in got))

    monkeypatch.setattr("agent.runtime.load_watch.read_turns", turns)
    device = Device(tmp_path, load_timeout_s=2.0)
    device.add("1", tiny_model)
    device.add("2", tiny_model, fault="hang")
    async with running(device):
        await device.runtime.load("m")
        with pytest.raises(UnavailableError, match=says) as caught:
            await device.switcher.switch("m", "2")
        assert type(caught.value) is kind
        assert (device.serving, active(device)) == (("1", "ready"), "1")


async def test_one_that_cannot_be_loaded_leaves_the_one_before_active_and_serving(
    device: Device, tiny_model: Path
) -> None:
    device.add("2", tiny_model, fault="crash")
    async with running(device):
        said = await device.answer()
        asked = device.ask(tokens=200)
        with pytest.raises(ModelFailedError, match="its worker was lost"):
            await device.switcher.switch("m", "2")
        assert (device.serving, active(device)) == (("1", "ready"), "1")
        assert await text_of(asked)
        assert await device.answer() == said
        assert device.store.previous_version("m") is None, "a rollback does not lead to what was taken back"


async def test_one_that_cannot_be_loaded_while_nothing_is(device: Device, tiny_model: Path) -> None:
    device.add("2", tiny_model, fault="crash")
    async with running(device):
        with pytest.raises(EdgeAgentError):
            await device.switcher.switch("m", "2")
        assert active(device) == "1"
        assert await device.answer()


async def test_a_crash_on_probation_is_counted_and_the_way_back_serves(device: Device, tiny_model: Path) -> None:
    device.add("2", tiny_model, fault="die")
    async with running(device):
        await device.runtime.load("m")
        await device.switcher.switch("m", "2")
        assert device.switcher.health("m") == Health()
        with pytest.raises(EdgeAgentError):
            await device.answer()
        health = device.switcher.health("m")
        assert (health.requests_failed, health.crashes) == (1, 1)
        found = outcome(health, 1.0, LIMITS)
        assert found is not None
        assert not found.healthy
        waiting = [device.ask() for _ in range(3)]
        await device.switcher.back("m", "1")
        assert all([await text_of(stream) for stream in waiting])
        assert active(device) == "1"
        assert device.serving == ("1", "ready")
        assert device.switcher.health("m").crashes == 0


async def test_errors_on_probation_are_counted_and_the_way_back_serves(device: Device, tiny_model: Path) -> None:
    device.add("2", tiny_model, fault="liar")
    async with running(device):
        await device.runtime.load("m")
        await device.switcher.switch("m", "2")
        for _ in range(5):
            with pytest.raises(EdgeAgentError):
                await device.answer()
        found = outcome(device.switcher.health("m"), 1.0, LIMITS)
        assert found is not None
        assert found.reason == "5 of 5 requests failed on probation (100%; 20% are allowed)."
        await device.switcher.back("m", "1")
        assert await device.answer()


async def test_switching_and_going_back_twice_is_as_once(device: Device, tiny_model: Path) -> None:
    device.add("2", tiny_model)
    async with running(device):
        for _ in range(2):
            await device.switcher.switch("m", "2")
            assert (device.serving, active(device)) == (("2", "ready"), "2")
        for _ in range(2):
            await device.switcher.back("m", "1")
            assert (device.serving[0], active(device)) == ("1", "1")
        assert device.store.previous_version("m") is None
        assert await device.answer()


async def test_back_to_no_version_at_all(device: Device) -> None:
    async with running(device):
        await device.runtime.load("m")
        for _ in range(2):
            await device.switcher.back("m", None)
            assert active(device) is None
            assert device.runtime.models() == ()
        assert device.switcher.health("m") == Health()
        await device.switcher.switch("m", "1")
        assert device.serving == ("1", "ready")
