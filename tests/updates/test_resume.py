"""Updates of a daemon that is stopped, killed, switched off."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agent.updates.parts import Health
from agent.updates.states import State
from agent.updates.updater import Updater
from tests.updates.driving import LONG, end, last, limits, on, reached, until
from tests.updates.local import PIECE_BYTES, POLICY, Site

pytestmark = pytest.mark.usefixtures("impatient")


def test_a_fetch_goes_on_where_it_was(site: Site) -> None:
    async def half(updater: Updater) -> None:
        site.repository.pause = asyncio.Event()
        await updater.update("m", "2", origin="person")
        await until(updater, lambda: site.repository.fetched_bytes)

    on(site, half)
    assert site.repository.fetched_bytes == PIECE_BYTES
    site.repository.pause = None
    record = on(site, end)
    assert (record.state, site.repository.fetched_bytes) == (State.COMMITTED, 3 * PIECE_BYTES)
    assert record.bytes_fetched == 3 * PIECE_BYTES


def test_what_is_published_anew_under_its_name_begins_anew(site: Site) -> None:
    async def half(updater: Updater) -> None:
        site.repository.pause = asyncio.Event()
        await updater.update("m", "2", origin="person")
        await until(updater, lambda: site.repository.fetched_bytes)

    on(site, half)
    site.repository.pause = None
    site.publish("2", b"new" * 1000)
    assert on(site, end).state is State.COMMITTED
    assert site.store.get("m", "2").main_path.read_bytes() == b"new" * 1000


@pytest.mark.parametrize("state", [State.TRYING, State.PROBATION])
def test_a_candidate_that_ends_the_daemon_again_and_again_is_rejected(site: Site, state: State) -> None:
    limits(site, **LONG)

    async def killed(updater: Updater) -> None:
        await until(updater, lambda: updater.opened)
        if not updater.snapshot().records:
            await updater.update("m", "2", origin="person")
        await reached(updater, state)
        # What SIGKILL leaves behind: no word that it stopped.
        updater._register.set_fact = lambda *_: asyncio.sleep(0)  # type: ignore[method-assign]

    if state is State.TRYING:

        async def judge(*_: Any) -> Any:
            await asyncio.sleep(60)

        site.trial.judge = judge  # type: ignore[assignment, method-assign]
    for _ in range(POLICY.interruptions):
        on(site, killed)
    record = on(site, end)
    assert record.state is State.REJECTED
    assert "the daemon was lost 3 times while it was" in record.reason
    assert site.active == "1"


def test_a_device_that_is_switched_off_after_each_use_comes_to_the_end_of_a_probation(site: Site) -> None:
    limits(site, **LONG)

    async def used_then_cut_off(updater: Updater) -> int:
        await until(updater, lambda: updater.opened)
        if not updater.snapshot().records:
            await updater.update("m", "2", origin="person")
        await reached(updater, State.PROBATION)
        site.watched.now = Health(requests_ok=1)
        asked = last(updater).health.requests_ok
        await until(updater, lambda: last(updater).health.requests_ok > asked)
        await updater._register.note(last(updater).id, force=True)
        updater._register.set_fact = lambda *_: asyncio.sleep(0)  # type: ignore[method-assign]
        return last(updater).interruptions

    for _ in range(5):
        site.watched.now = Health()
        assert on(site, used_then_cut_off) == 0
    assert site.active == "2"


def test_stops_in_order_count_for_nothing(site: Site) -> None:
    limits(site, **LONG)

    async def stopped(updater: Updater) -> int:
        await until(updater, lambda: updater.opened)
        if not updater.snapshot().records:
            await updater.update("m", "2", origin="person")
        return (await reached(updater, State.PROBATION)).interruptions

    assert [on(site, stopped) for _ in range(5)] == [0] * 5


def test_folders_that_nobody_goes_on_with_are_swept(site: Site) -> None:
    folder = site.store.incoming.folder("abc")
    (folder / "half").write_bytes(b"x")

    async def begun(updater: Updater) -> None:
        await until(updater, lambda: updater.opened)

    on(site, begun)
    assert site.store.incoming.keys() == []
