"""Rollouts over simulated devices and a real mosquitto."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from agent.errors import NotConnectedError, NotFoundError
from agent.fleet.link.address import Address
from agent.fleet.link.settings import LinkSettings
from agent.fleet.remote.errand import Notice
from agent.fleet.remote.rolling import Look, Rolling
from agent.fleet.remote.rollout import Phase, Plan, Share
from agent.fleet.remote.standing import Standing
from agent.fleet.topics import FleetTopics
from benchmarks.mqtt.rollout_devices import MODEL, NEW, OLD, UpdatingDevice, made, updating
from tests.fleet.broker import Broker

FLEET = FleetTopics("te")
PATIENCE_S = 60.0


def plan(*stages: str, limit: str = "100%", wait_s: float = 30.0, **more: Any) -> Plan:
    shares = tuple(map(Share.parse, stages or ("5%", "25%", "100%")))
    return Plan(model=MODEL, version=NEW, stages=shares, limit=Share.parse(limit), wait_s=wait_s, **more)


def rolling(broker: Broker, what: Plan, *, run: str = "desk", **more: Any) -> Rolling:
    settings = LinkSettings(brokers=(Address.parse(broker.url()),), client_id="desk")
    return Rolling(settings, FLEET, what, run=run, quiet_s=0.3, **more)


async def rolled(broker: Broker, what: Plan, **more: Any) -> tuple[Look, list[Look], list[str]]:
    looks, notices = [], []
    async with asyncio.timeout(PATIENCE_S):
        async for event in rolling(broker, what, **more).events():
            if isinstance(event, Notice):
                notices.append(event.text)
            else:
                looks.append(event)
    return looks[-1], looks, notices


def by_standing(look: Look) -> dict[Standing, set[str]]:
    found: dict[Standing, set[str]] = {}
    for one in look.members:
        found.setdefault(one.standing, set()).add(one.name)
    return found


def desired(broker: Broker) -> dict[str, dict[str, Any]]:
    """What is retained, by device."""
    lines = broker.listen("te/device/+/service/edge-agent/twin/desired", 1000, "--retained-only", timeout_s=1)
    pairs = (line.split(" ", 1) for line in lines)
    return {topic.split("/")[2]: json.loads(payload) for topic, payload in pairs}


async def at_rest(devices: Sequence[UpdatingDevice]) -> None:
    for device in devices:
        if device._work is not None:
            await asyncio.wait([device._work])


async def test_a_good_version_reaches_all_stage_by_stage(broker: Broker) -> None:
    async with updating(broker.port, made(20, {})) as devices:
        last, looks, notices = await rolled(broker, plan())
    assert last.decision.phase is Phase.DONE
    assert {device.active for device in devices} == {NEW}
    assert notices == []
    ranked = [one.name for one in last.members]
    for look in looks:
        begun = [one.name for one in look.members if one.standing is not Standing.UNASKED]
        committed = {one.name for one in look.members if one.standing is Standing.COMMITTED}
        allowed = 1 if not committed.issuperset(ranked[:1]) else 5 if not committed.issuperset(ranked[:5]) else 20
        assert begun == ranked[: len(begun)]
        assert len(begun) <= allowed


async def test_too_many_failures_stop_it_and_the_failed_run_the_old_version(broker: Broker) -> None:
    async with updating(broker.port, made(40, {"rejecting": 4, "reverting": 4, "failing": 4})) as devices:
        last, _, _ = await rolled(broker, plan("10%", "50%", "100%", limit="10%"))
        await at_rest(devices)
        assert last.decision.phase is Phase.STOPPED
        found = by_standing(last)
        behaviors = {device.device: device.behavior for device in devices}
        failed = {name for standing in found if standing.bad for name in found[standing]}
        assert failed
        assert all(behaviors[name] != "good" for name in failed)
        assert {device.active for device in devices if device.device in failed} == {OLD}
        left = desired(broker)
        assert {left[name]["models"][MODEL]["target"] for name in failed} == {OLD}
        assert all(left[name]["rollouts"][MODEL]["outcome"] for name in failed)
        wanting = {name for name, document in left.items() if document["models"][MODEL]["target"] == NEW}
        assert {device.active for device in devices if device.device in wanting} <= {NEW}
        assert len(left) <= 20, "nobody of the last stage was asked"

        again, _, _ = await rolled(broker, plan("10%", "50%", "100%", limit="10%"), run="laptop")
        assert again.decision.phase is Phase.STOPPED
        assert desired(broker) == left, "a second run stops at once, and changes nothing"


async def test_who_runs_it_elsewhere_goes_on_where_the_fleet_is(broker: Broker) -> None:
    async with updating(broker.port, made(20, {})) as devices:
        async for event in rolling(broker, plan()).events():
            if isinstance(event, Look) and event.decision.stage == 1 and not event.decision.ask:
                break  # as somebody whose line is cut
        first = desired(broker)
        last, looks, _ = await rolled(broker, plan(), run="laptop")
        assert last.decision.phase is Phase.DONE
        assert {device.active for device in devices} == {NEW}
        assert looks[0].decision.stage >= 1
        second = desired(broker)
        assert 0 < len(first) < 20
        assert {name: second[name] for name in first} == first, "nobody is asked twice"


async def test_two_who_run_it_at_once_do_not_get_into_each_other_s_way(broker: Broker) -> None:
    async with updating(broker.port, made(20, {"rejecting": 1})) as devices:
        runs = await asyncio.gather(*(rolled(broker, plan(), run=run) for run in ("desk", "laptop")))
    assert [last.decision.phase for last, _, _ in runs] == [Phase.DONE] * 2
    assert sum(device.active == NEW for device in devices) == 19
    assert {tuple(device.history) for device in devices if device.behavior == "good"} == {(NEW,)}
    assert {text for _, _, notices in runs for text in notices} <= {
        f"this rollout is also run by {run}" for run in ("desk", "laptop")
    }


async def test_another_version_s_rollout_takes_over(broker: Broker) -> None:
    async with updating(broker.port, made(3, {"waiting": 3})):
        first = rolling(broker, plan("100%"))
        second: asyncio.Task[Any] | None = None
        last, notices = None, []
        async with asyncio.timeout(PATIENCE_S):
            async for event in first.events():
                if isinstance(event, Notice):
                    notices.append(event.text)
                    continue
                last = event
                working = sum(one.standing is Standing.WORKING for one in event.members)
                if working == 3 and second is None:
                    other = replace(plan("100%"), version="3.0.0")
                    second = asyncio.create_task(rolled(broker, other, run="laptop"))
        assert last is not None
        assert second is not None
        assert last.taken_over == f"A rollout of {MODEL}@3.0.0, run by laptop, has taken over"
        assert notices[0].split(": ", 1)[1].startswith("somebody wants 3.0.0 of it (rev ")
        ended = (await second)[0]
        assert ended.decision.phase is Phase.DONE


async def test_devices_that_are_not_there_are_waited_for_and_counted_as_neither(broker: Broker) -> None:
    devices = made(10, {"deaf": 1})
    async with updating(broker.port, devices):
        absent = next(device for device in devices if device.behavior == "good")
        await absent.close()
        last, looks, _ = await rolled(broker, plan("100%", limit="1", wait_s=1.5))
    deaf = next(device.device for device in devices if device.behavior == "deaf")
    assert last.decision.phase is Phase.DONE
    assert set(last.decision.missing) == {deaf, absent.device}
    assert any(set(look.decision.away) == {deaf, absent.device} for look in looks)
    assert {one.name: one.reason for one in last.members if one.away_s is not None} == {
        deaf: "it does not react",
        absent.device: "it is down",
    }
    assert desired(broker)[absent.device]["models"][MODEL]["target"] == NEW, "it finds that when it is back"


async def test_a_canary_that_is_not_there_gives_nothing_to_the_others(broker: Broker) -> None:
    async with updating(broker.port, made(4, {"deaf": 4})):
        last, _, _ = await rolled(broker, plan("1", "100%", wait_s=1.0))
    assert last.decision.phase is Phase.UNPROVEN
    assert len(desired(broker)) == 1


async def test_what_others_want_of_a_device_stays(broker: Broker) -> None:
    before = {
        "rev": 41,
        "models": {"whisper": {"target": "3"}, MODEL: {"target": OLD, "policy": {"attempts": 3}}},
        "x": 1,
    }
    broker.publish("te/device/device-0/service/edge-agent/twin/desired", json.dumps(before), retain=True)
    async with updating(broker.port, made(1, {})):
        await rolled(broker, plan("100%"))
    after = desired(broker)["device-0"]
    assert after["rev"] == 42
    assert after["x"] == 1
    assert after["models"] == {"whisper": {"target": "3"}, MODEL: {"target": NEW, "policy": {"attempts": 3}}}
    assert after["rollouts"][MODEL] == {"version": NEW, "stage": "100%", "before": OLD, "by": "desk"}


async def test_somebody_who_wants_something_else_meanwhile_is_noticed(broker: Broker) -> None:
    async with updating(broker.port, made(2, {"waiting": 2})):
        notices, last = [], None
        async with asyncio.timeout(PATIENCE_S):
            async for event in rolling(broker, plan("100%")).events():
                if isinstance(event, Notice):
                    notices.append(event.text)
                    continue
                last = event
                working = [one.name for one in event.members if one.standing is Standing.WORKING]
                if len(working) == 2 and not notices:
                    wish: Mapping[str, Any] = {"rev": 2**40, "models": {MODEL: {"target": OLD}}}
                    topic = "te/device/device-1/service/edge-agent/twin/desired"
                    await asyncio.to_thread(broker.publish, topic, json.dumps(wish), retain=True)
                if notices:
                    break
    assert notices == [f"device-1: somebody wants {OLD} of it (rev {2**40})"]
    assert last is not None
    assert {one.name: one.standing for one in last.members}["device-1"] is Standing.OVERRULED


async def test_it_is_withdrawn_where_it_has_not_ended(broker: Broker) -> None:
    async with updating(broker.port, made(6, {"waiting": 3})) as devices:
        async for event in rolling(broker, plan("100%")).events():
            if isinstance(event, Look):
                found = by_standing(event)
                if len(found.get(Standing.COMMITTED, ())) == 3 and len(found.get(Standing.WORKING, ())) == 3:
                    break
        last, _, _ = await rolled(broker, plan("100%", cancel=True))
        await at_rest([device for device in devices if device.behavior == "good"])
    assert last.decision.phase is Phase.CANCELLED
    targets = {name: document["models"][MODEL]["target"] for name, document in desired(broker).items()}
    assert targets == {one.device: OLD if one.behavior == "waiting" else NEW for one in devices}


async def test_those_that_failed_are_asked_once_more_where_that_is_said(broker: Broker) -> None:
    async with updating(broker.port, made(4, {"rejecting": 1})) as devices:
        first, _, _ = await rolled(broker, plan("100%", limit="1"))
        assert first.decision.phase is Phase.STOPPED
        bad = next(device for device in devices if device.behavior == "rejecting")
        await at_rest(devices)
        bad.behavior = "good"
        last, _, _ = await rolled(broker, plan("100%", limit="1", again=True))
        assert last.decision.phase is Phase.DONE
        assert {device.active for device in devices} == {NEW}


async def test_a_dry_run_writes_nothing(broker: Broker) -> None:
    async with updating(broker.port, made(4, {})):
        last, looks, _ = await rolled(broker, plan(), dry=True)
    assert len(looks) == 1
    assert by_standing(last).keys() == {Standing.UNASKED}
    assert desired(broker) == {}


async def test_a_broker_that_is_lost_meanwhile_costs_nothing(broker: Broker) -> None:
    async with updating(broker.port, made(3, {"waiting": 3})) as devices:
        lost, names = False, set()
        async with asyncio.timeout(PATIENCE_S):
            async for event in rolling(broker, plan("100%")).events():
                if isinstance(event, Notice):
                    assert event.text.startswith("MQTT: ")
                    continue
                names = {one.name for one in event.members if one.standing is Standing.WORKING}
                if len(names) == 3 and not lost:
                    lost = True
                    await asyncio.sleep(1.2)  # mosquitto saves within a second
                    broker.kill()
                    broker.start()
                    fresh = UpdatingDevice(devices[0].device, "good", model=MODEL)
                    await fresh.connect(broker.port)
                if lost and any(one.standing is Standing.COMMITTED for one in event.members):
                    break
        await fresh.close()


@pytest.mark.parametrize(("patterns", "expected"), [((), {"device-0"}), (("dev*", "new"), {"device-0", "new"})])
async def test_devices_without_the_model_are_asked_only_by_name(
    broker: Broker, patterns: tuple[str, ...], expected: set[str]
) -> None:
    async with updating(broker.port, made(1, {})):
        broker.publish("te/device/other/service/edge-agent/status/health", '{"status": "up"}', retain=True)
        last, _, _ = await rolled(broker, plan("100%", wait_s=0.5), patterns=patterns)
    assert {one.name for one in last.members} == expected == set(desired(broker))


async def test_a_fleet_without_the_model_and_a_broker_that_is_not_there_are_said(broker: Broker) -> None:
    with pytest.raises(NotFoundError, match="No device has the model qwen"):
        await rolled(broker, plan())
    broker.kill()
    with pytest.raises(NotConnectedError, match="nothing listens"):
        await rolled(broker, plan())
