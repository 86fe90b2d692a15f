"""Who asks for an update, asks again, and takes it back."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from agent.errors import (
    RequestError,
    UpdateError,
)
from agent.store.durable import Filesystem
from agent.updates.parts import Health
from agent.updates.policy import Terms
from agent.updates.record import Record
from agent.updates.report import as_values
from agent.updates.states import State
from agent.updates.updater import Updater
from tests.store.material import small_store
from tests.updates.driving import LONG, end, last, limits, on, reached, until, waiting, wish
from tests.updates.local import PIECE_BYTES, Site

pytestmark = pytest.mark.usefixtures("impatient")


def test_the_same_wish_twice_is_one_update(site: Site) -> None:
    async def work(updater: Updater) -> int:
        site.repository.pause = asyncio.Event()
        first = await updater.update("m", "2", origin="person")
        await until(updater, lambda: site.repository.fetched_bytes)
        second = await updater.update("m", "2", origin="command")
        assert first.id == second.id
        return len(updater.snapshot().records)

    assert on(site, work) == 1


def test_asking_again_does_not_wait_for_the_next_attempt(site: Site) -> None:
    site.policy = replace(site.policy, retry_first_s=3600, retry_cap_s=3600)
    site.repository.errors = [UpdateError("no answer", retry=True)]

    async def work(updater: Updater) -> Record:
        await updater.update("m", "2", origin="person")
        await waiting(updater, "the next attempt is at")
        assert "(no answer)" in as_values(updater.snapshot())["updates"][0]["says"]
        await updater.update("m", "2", origin="person")
        return await end(updater)

    assert on(site, work).state is State.COMMITTED


def test_the_last_word_counts(site: Site) -> None:
    site.publish("3", b"three")

    async def work(updater: Updater) -> list[tuple[str | None, State]]:
        site.repository.pause = asyncio.Event()
        await updater.update("m", "2", origin="person")
        await until(updater, lambda: site.repository.fetched_bytes)
        site.repository.pause.set()
        site.repository.pause = None
        await updater.update("m", "3", origin="person")
        await end(updater)
        return [(one.version, one.state) for one in updater.snapshot().ended]

    assert on(site, work) == [("3", State.COMMITTED), ("2", State.CANCELLED)]
    assert site.active == "3"
    assert site.store.layout.versions("m") == ["1", "3"]
    assert site.store.incoming.keys() == []


def test_a_newer_wish_waits_for_the_end_of_a_probation(site: Site) -> None:
    site.publish("3", b"three")
    limits(site, probation_requests=1, **LONG)

    async def work(updater: Updater) -> list[tuple[str | None, State]]:
        await updater.update("m", "2", origin="person")
        await reached(updater, State.PROBATION)
        await updater.update("m", "3", origin="person")
        await waiting(updater, "m 2 is on probation")
        site.watched.now = Health(requests_ok=1)
        await end(updater)
        return [(one.version, one.state) for one in updater.snapshot().ended]

    assert on(site, work) == [("3", State.COMMITTED), ("2", State.COMMITTED)]


def test_who_wants_the_version_before_ends_a_probation(site: Site) -> None:
    limits(site, **LONG)

    async def work(updater: Updater) -> list[tuple[str | None, State]]:
        await updater.update("m", "2", origin="person")
        await reached(updater, State.PROBATION)
        await updater.update("m", "1", origin="person")
        await end(updater)
        assert updater.snapshot().rejected == ()
        return [(one.version, one.state) for one in updater.snapshot().ended]

    assert on(site, work) == [("1", State.COMMITTED), ("2", State.CANCELLED)]
    assert site.active == "1"


def test_cancelling(site: Site) -> None:
    async def work(updater: Updater) -> Record:
        site.repository.pause = asyncio.Event()
        await updater.update("m", "2", origin="person")
        await until(updater, lambda: site.repository.fetched_bytes)
        await updater.cancel("m")
        return await end(updater)

    record = on(site, work)
    assert (record.state, record.reason, site.active) == (State.CANCELLED, "it was cancelled", "1")
    with pytest.raises(RequestError, match="No update of m"):
        on(site, lambda updater: updater.cancel("m"))
    assert site.repository.fetched_bytes == PIECE_BYTES
    site.repository.pause = None
    assert wish(site).state is State.COMMITTED
    assert site.repository.fetched_bytes == 3 * PIECE_BYTES, "what was fetched before is not fetched again"
    assert site.store.incoming.keys() == []


def test_what_is_left_of_another_gives_way_when_room_is_needed(site: Site) -> None:
    class Small(Filesystem):
        def free_bytes(self, folder: Path) -> int:
            return 1_000 if len(list(folder.parent.iterdir())) > 1 else 1_000_000_000

    site.publish("3", b"three" * 1000)
    site.store = small_store(site.root / "models", filesystem=Small())

    async def begin(updater: Updater) -> None:
        site.repository.pause = asyncio.Event()
        await updater.update("m", "2", origin="person")
        await until(updater, lambda: site.repository.fetched_bytes)
        await updater.cancel("m")
        await end(updater)

    on(site, begin)
    assert len(site.store.incoming.keys()) == 1
    site.repository.pause = None
    assert wish(site, "3").state is State.COMMITTED
    assert site.store.incoming.keys() == []


async def begun_by_a_command(site: Site, updater: Updater) -> None:
    site.repository.pause = asyncio.Event()
    await updater.update("m", "2", origin="command", terms=Terms(urgent=True))
    await until(updater, lambda: site.repository.fetched_bytes)


def test_a_command_that_is_taken_back_ends_its_update(site: Site) -> None:
    async def work(updater: Updater) -> Record:
        await begun_by_a_command(site, updater)
        for name, version, terms in (
            ("x", "2", Terms(urgent=True)),
            ("m", None, Terms(urgent=True)),
            ("m", "2", Terms()),
        ):
            await updater.withdraw(name, version, terms=terms)
        await updater.withdraw("m", "2", terms=Terms(urgent=True), spared={last(updater).id})
        assert last(updater).state is State.FETCHING, "another update, or one that another command waits for"
        await updater.withdraw("m", "2", terms=Terms(urgent=True))
        return await end(updater)

    record = on(site, work)
    assert (record.state, record.reason, site.active) == (State.CANCELLED, "its command was taken back", "1")


@pytest.mark.parametrize("origin", ["person", "desired"])
def test_a_command_that_is_taken_back_leaves_what_others_want_too(site: Site, origin: str) -> None:
    async def work(updater: Updater) -> Record:
        await begun_by_a_command(site, updater)
        if origin == "person":
            await updater.update("m", "2", origin="person", terms=Terms(urgent=True))
        else:
            whole = {"rev": 7, "models": {"m": {"target": "2", "policy": {"urgent": True}}}}
            await updater.desired(json.dumps(whole).encode())
        await updater.withdraw("m", "2", terms=Terms(urgent=True))
        assert site.repository.pause is not None
        site.repository.pause.set()
        return await end(updater)

    record = on(site, work)
    assert (record.state, record.origin, record.id) == (State.COMMITTED, origin, 1)


def test_what_is_served_from_a_file_is_not_updated(site: Site) -> None:
    async def work(updater: Updater) -> Record:
        await updater.update("m", "2", origin="person")
        return await end(updater)

    record = on(site, work, served_from=lambda name: Path(f"/srv/{name}.gguf"))
    assert (record.state, site.repository.asked) == (State.FAILED, [])
    assert record.reason.startswith("m is served from the file /srv/m.gguf, which an update does not change.")
