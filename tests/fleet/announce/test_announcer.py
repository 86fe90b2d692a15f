"""What lies on the broker after connects, changes, refusals and renames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.errors import PublishRefusedError, TooLargeError
from agent.fleet.announce.announcer import watched
from agent.fleet.announce.record import Record
from agent.fleet.topics import Topics
from tests.fleet.announce.scripted import BROKER, TOPICS, Announcing, P, ScriptedBroker, ScriptedModels

HA = "homeassistant/device/kitchen/config"
EVERYTHING = {P, f"{P}/status/health", f"{P}/cmd/generate", f"{P}/twin/model", f"{P}/twin/alarms", HA}
DOWN, UP = b'{"status": "down"}', b'{"status": "up"}'


async def test_everything_is_announced_on_each_connect_registration_and_health_first(tmp_path: Path) -> None:
    broker = ScriptedBroker()
    async with Announcing(tmp_path, broker) as device:
        for _ in range(2):
            await device.connect()
            said = broker.take()
            assert said[:2] == [P, f"{P}/status/health"]
            assert set(said) == EVERYTHING
            assert len(said) == len(EVERYTHING)
        assert broker.json(f"{P}/status/health") == {"status": "up", "pid": 7, "boot_id": "b", "time": 1000.5}


async def test_then_only_what_changes_is_said(tmp_path: Path) -> None:
    broker = ScriptedBroker()
    async with Announcing(tmp_path, broker) as device:
        await device.connect()
        broker.take()
        await device.settle()
        assert broker.take() == []
        device.models.models["m"]["state"] = "failed"
        await device.settle()
        assert broker.take() == [f"{P}/twin/model"]
        device.alarms.raised = ("too_hot",)
        await device.settle()
        assert broker.take() == [f"{P}/twin/alarms"]
        assert broker.json(f"{P}/twin/alarms")["too_hot"] is True
        device.announcer.say_health()
        await device.settle()
        assert broker.take() == [f"{P}/status/health"]


@pytest.mark.parametrize(
    ("fields", "cleared"),
    [
        ({"capabilities": {}}, f"{P}/cmd/generate"),
        ({"home_assistant": None}, HA),
        ({"home_assistant": "other"}, HA),
    ],
)
async def test_what_the_next_start_no_longer_announces_is_cleared(
    tmp_path: Path, fields: dict[str, Any], cleared: str
) -> None:
    broker = ScriptedBroker()
    async with Announcing(tmp_path, broker) as device:
        await device.connect()
    broker.take()
    async with Announcing(tmp_path, broker, **fields) as device:
        await device.connect()
        assert f"-{cleared}" in broker.take()
        assert cleared not in broker.retained
        await device.connect()
        assert f"-{cleared}" not in broker.take()


async def test_an_entity_that_is_gone_is_removed_from_home_assistant_also_after_a_restart(tmp_path: Path) -> None:
    broker, models = ScriptedBroker(), ScriptedModels({"m": {"version": "1"}, "n": {"version": "1"}})
    async with Announcing(tmp_path, broker, models=models) as device:
        await device.connect()
        assert "state_topic" in broker.json(HA)["components"]["model_n"]
        del models.models["n"]
        await device.settle()
        assert broker.json(HA)["components"]["model_n"] == {"platform": "update"}
    broker.retained.clear()
    async with Announcing(tmp_path, broker, models=models) as device:
        await device.connect()
        assert broker.json(HA)["components"]["model_n"] == {"platform": "update"}
        models.models["n"] = {"version": "2"}
        await device.settle()
        assert "state_topic" in broker.json(HA)["components"]["model_n"]


async def test_after_a_kill_between_two_messages_the_next_start_still_clears(tmp_path: Path) -> None:
    """A topic is written down before it is published."""
    whole = ScriptedBroker()
    async with Announcing(tmp_path / "whole", whole) as device:
        await device.connect()
    for count in range(len(whole.published)):
        folder, broker = tmp_path / str(count), ScriptedBroker(breaks_after=count)
        async with Announcing(folder, broker) as device:
            await device.connect()
        broker.breaks_after = None
        async with Announcing(folder, broker, capabilities={}, home_assistant=None) as device:
            await device.connect()
        assert set(broker.retained) == EVERYTHING - {HA, f"{P}/cmd/generate"}


async def test_a_clearing_that_was_interrupted_is_done_at_the_next_connect(tmp_path: Path) -> None:
    broker = ScriptedBroker()
    async with Announcing(tmp_path, broker) as device:
        await device.connect()
    broker.take()
    async with Announcing(tmp_path, broker, home_assistant=None) as device:
        broker.breaks_after = len(EVERYTHING) - 1  # all but the clearing
        await device.connect()
        assert HA in broker.retained
        broker.breaks_after = None
        await device.connect()
        assert HA not in broker.retained


async def test_a_renamed_device_clears_its_old_name_once_it_is_known_to_be_down(tmp_path: Path) -> None:
    broker = ScriptedBroker()
    async with Announcing(tmp_path, broker) as device:
        await device.connect()
    broker.retained |= {f"{P}/a/too_hot": b"{}", f"{P}/cmd/generate/1": b"{}"}
    pantry = Topics("te", "pantry")
    async with Announcing(tmp_path, broker, topics=pantry) as device:
        assert watched(device.record, pantry) == (f"{P}/status/health",)
        await device.connect()
        assert set(broker.retained) >= EVERYTHING
        device.see(f"{P}/status/health", UP)
        await device.settle()
        assert set(broker.retained) >= EVERYTHING, "another device has the name now"
        device.see(f"{P}/status/health", DOWN)
        await device.settle()
        assert not (EVERYTHING | {f"{P}/a/too_hot"}) & set(broker.retained)
        assert f"{P}/cmd/generate/1" in broker.retained, "somebody else's message"
    assert watched(Record(tmp_path / "announced.json"), pantry) == ()


async def test_the_old_health_goes_last_so_that_an_interrupted_clearing_begins_again(tmp_path: Path) -> None:
    broker = ScriptedBroker()
    async with Announcing(tmp_path, broker) as device:
        await device.connect()
    async with Announcing(tmp_path, broker, topics=Topics("te", "pantry")) as device:
        await device.connect()
        broker.take()
        broker.breaks_after = 3
        device.see(f"{P}/status/health", DOWN)
        await device.settle()
        assert f"{P}/status/health" in broker.retained
        broker.breaks_after = None
        await device.connect()
        device.see(f"{P}/status/health", DOWN)
        await device.settle()
        assert not EVERYTHING & set(broker.retained)


async def test_what_is_said_of_strangers_is_not_acted_on(tmp_path: Path) -> None:
    broker = ScriptedBroker({"te/device/x/service/edge-agent": b"{}"})
    async with Announcing(tmp_path, broker) as device:
        await device.connect()
        broker.take()
        for topic in ("te/device/x/service/edge-agent/status/health", f"{P}/status/health", "", "/status/health"):
            device.see(topic, DOWN)
        await device.settle()
        assert broker.take() == []


async def test_each_broker_has_its_own_record(tmp_path: Path) -> None:
    one, other = ScriptedBroker(), ScriptedBroker()
    async with Announcing(tmp_path, one) as device:
        await device.connect("mqtt://one")
    async with Announcing(tmp_path, other, home_assistant=None) as device:
        await device.connect("mqtt://other")
        assert not [topic for topic in other.take() if topic.startswith("-")]
    async with Announcing(tmp_path, one, home_assistant=None) as device:
        await device.connect("mqtt://one")
        assert HA not in one.retained


async def test_a_message_that_is_refused_holds_up_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    broker = ScriptedBroker()
    broker.refusals = {
        f"{P}/cmd/generate": TooLargeError("The message is too large."),
        HA: PublishRefusedError("not authorized"),
    }
    async with Announcing(tmp_path, broker) as device:
        await device.connect()
        assert set(broker.take()) == EVERYTHING - set(broker.refusals)
        device.models.models["m"]["state"] = "loading"
        for _ in range(3):
            await device.settle()
        assert broker.take() == [f"{P}/twin/model"]
    assert len([record for record in caplog.records if "was not announced" in record.message]) == 2


async def test_a_disk_that_does_not_work_costs_no_announcement(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    broker = ScriptedBroker()
    async with Announcing(tmp_path / "file", broker) as device:
        await device.connect()
        assert set(broker.retained) == EVERYTHING


async def test_a_damaged_record_is_begun_anew(tmp_path: Path) -> None:
    for damage in (b"", b"{", b'{"topics": 3}', b"\xff", b"[" * 100_000):
        (tmp_path / "announced.json").write_bytes(damage)
        broker = ScriptedBroker()
        async with Announcing(tmp_path, broker) as device:
            await device.connect()
        assert Record(tmp_path / "announced.json").topics(BROKER, TOPICS.service) == EVERYTHING
