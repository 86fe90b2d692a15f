"""Commands to simulated devices over a real mosquitto: every answer is collected, nothing is left behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from agent.errors import NotConnectedError, TooLargeError
from agent.fleet.link.address import Address
from agent.fleet.link.settings import LinkSettings
from agent.fleet.remote.answers import Answer, Status
from agent.fleet.remote.census import take_census
from agent.fleet.remote.errand import Errand, ErrandEvent, Notice, Piece
from agent.fleet.remote.order import Order
from agent.fleet.topics import FleetTopics
from benchmarks.mqtt.responders import BEHAVIORS, Responder, responding
from tests.fleet.broker import Broker

FLEET = FleetTopics("te")
COMMANDS = "te/device/+/service/edge-agent/cmd/#"
PATIENCE_S = 30.0


def settings(broker: Broker) -> LinkSettings:
    return LinkSettings(brokers=(Address.parse(broker.url()),), client_id="kitchen")


def order(*devices: str, timeout_s: float = PATIENCE_S, **more: Any) -> Order:
    values: dict[str, Any] = {"operation": "generate", "expires_s": 60.0, **more}
    return Order(devices=devices, timeout_s=timeout_s, **values)


async def carried_out(broker: Broker, what: Order, **more: Any) -> tuple[Errand, list[ErrandEvent]]:
    events = []
    async with Errand(settings(broker), FLEET, what, quiet_s=0.3, **more) as errand:
        async for event in errand.events():
            events.append(event)
    return errand, events


def by_device(answers: Sequence[ErrandEvent] | Errand) -> dict[str, Answer]:
    found = answers.answers if isinstance(answers, Errand) else answers
    return {answer.device: answer for answer in found if isinstance(answer, Answer)}


def left_behind(broker: Broker) -> list[str]:
    return broker.listen(COMMANDS, 1000, "--retained-only", timeout_s=1)


@pytest.mark.parametrize(
    ("behavior", "status", "reason"),
    [
        ("plain", Status.SUCCESSFUL, ""),
        ("failing", Status.FAILED, "No model is loaded."),
        ("twice", Status.SUCCESSFUL, ""),
        ("recovering", Status.SUCCESSFUL, ""),
        ("hostile", Status.SUCCESSFUL, ""),
        ("chunked", Status.SUCCESSFUL, ""),
        ("torn", Status.FAILED, "Its result is not what its sha256 says."),
    ],
)
async def test_a_device_of_each_kind_is_understood(broker: Broker, behavior: str, status: Status, reason: str) -> None:
    async with responding(broker.port, [Responder("d", behavior)]) as [device]:
        errand, events = await carried_out(broker, order("d", args={"prompt": "é"}))
        assert (errand.answers["d"].status, errand.answers["d"].reason) == (status, reason)
        assert [event.status for event in events if isinstance(event, Answer)][-1] is status
        [command] = device.commands
        assert command["args"] == {"prompt": "é"}
        assert command["expires_at"] == pytest.approx(command["issued_at"] + 60)
        await asyncio.sleep(0.3)  # for the second thoughts of `twice`, and pieces that the device clears itself
        assert left_behind(broker) == []


async def test_the_missing_are_named_and_their_commands_cleared(broker: Broker) -> None:
    behaviors = {"a": "belated", "b": "silent", "c": "stuck", "d": "garbage"}
    async with responding(broker.port, [Responder(name, behavior) for name, behavior in behaviors.items()]) as devices:
        what = order(*behaviors, "absent", timeout_s=1.5)
        errand, events = await carried_out(broker, what)
        found = by_device(errand)
        missing = sorted(name for name, answer in found.items() if answer.status is Status.MISSING)
        assert missing == ["absent", "b", "c", "d"]
        assert by_device(events).keys() == found.keys()
        assert found["c"].reason.endswith("it had begun")
        assert left_behind(broker) == []
        assert errand.uncleared == ()
        assert [what.id in device.cleared for device in devices] == [True] * 4
        assert devices[0].cleared == [what.id] * 2


async def test_a_command_that_is_left_waits_for_the_device(broker: Broker) -> None:
    what = order("late", timeout_s=0.5, leave=True)
    errand, _ = await carried_out(broker, what)
    assert errand.answers["late"].status is Status.MISSING
    listener = broker.listening(COMMANDS, 3, "-F", "%p")
    async with responding(broker.port, [Responder("late")]):
        said = (await asyncio.to_thread(listener.communicate))[0].splitlines()
    # Whoever listens late has missed what came first.
    statuses = [json.loads(payload)["status"] for payload in said]
    assert statuses
    assert statuses == ["init", "executing", "successful"][-len(statuses) :]


async def test_nobody_waits_for_a_command_that_was_interrupted(broker: Broker) -> None:
    async with responding(broker.port, [Responder("d", "stuck")]) as [device]:
        what = order("d", "absent")

        async def run() -> None:
            async with Errand(settings(broker), FLEET, what) as errand:
                async for event in errand.events():
                    if isinstance(event, Answer) and event.status is Status.EXECUTING:
                        begun.set()

        begun = asyncio.Event()
        task = asyncio.create_task(run())
        await asyncio.wait_for(begun.wait(), PATIENCE_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert device.cleared == [what.id]
        assert left_behind(broker) == []


async def test_answers_for_which_the_broker_had_no_room_are_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred devices say a thousand things at once; of those that wait for us the broker keeps five."""
    names = [f"d{number}" for number in range(100)]
    asked: list[str] = []
    everybody = asyncio.Event()

    async def together(device: Responder, topic: str, command: Mapping[str, Any]) -> None:
        asked.append(device.device)
        if len(asked) == len(names):
            everybody.set()
        await everybody.wait()
        for _ in range(9):
            device.say(topic, {"status": "executing"})
        device.say(topic, {"status": "successful", "result": device.device})

    monkeypatch.setitem(BEHAVIORS, "together", together)
    with Broker(tmp_path / "small", persistent=False, lines=["max_queued_messages 5"]) as broker:
        async with responding(broker.port, [Responder(name, "together") for name in names]):
            errand, events = await carried_out(broker, order(*names), first_look_s=0.3)
            assert {answer.device: answer.result for answer in errand.answers} == {name: name for name in names}
            assert len([event for event in events if isinstance(event, Answer) and event.status.final]) == 100
            assert left_behind(broker) == []
        assert "messages are being dropped" in broker.log_path.read_text()


async def test_a_broker_that_is_killed_in_the_middle_costs_nothing(broker: Broker) -> None:
    """What the device says meanwhile comes with the next connection."""
    what = order("d")
    async with Errand(settings(broker), FLEET, what) as errand:
        async with responding(broker.port, [Responder("d", "stuck")]):
            async for event in errand.events():
                if isinstance(event, Answer) and event.status is Status.EXECUTING:
                    break
        await asyncio.sleep(1.2)  # mosquitto saves within a second
        broker.kill()
        broker.start()
        notices: list[str] = []
        async with responding(broker.port, [Responder("d")]) as [device]:
            device.say(f"/cmd/generate/{what.id}", {"status": "successful", "result": 1})
            async for event in errand.events():
                notices += [event.text] if isinstance(event, Notice) else []
        assert errand.answers["d"].result == 1
        assert len(notices) == 2
    assert left_behind(broker) == []


async def test_pieces_come_as_they_are_made(broker: Broker) -> None:
    async with responding(broker.port, [Responder("d", "streaming")]):
        _, events = await carried_out(broker, order("d", stream=True))
    pieces = [event.fields for event in events if isinstance(event, Piece)]
    assert [piece["n"] for piece in pieces] == [0, 1, 2]
    assert pieces[2]["text"] == "a time\x1b[2J"


async def test_no_broker_is_said_at_once(broker: Broker) -> None:
    broker.kill()
    with pytest.raises(NotConnectedError, match="nothing listens"):
        await carried_out(broker, order("d"))


async def test_arguments_that_no_broker_takes_are_refused(broker: Broker) -> None:
    with pytest.raises(TooLargeError):
        await carried_out(broker, order("d", args={"x": "y" * 2_000_000}))


async def test_the_census_knows_who_is_up_and_who_is_not(broker: Broker) -> None:
    async with responding(broker.port, [Responder("a"), Responder("b", model="whisper")]) as [_, second]:
        await second.close()
        await asyncio.to_thread(broker.listen, "te/device/b/service/edge-agent/status/health", 2, timeout_s=1)
        roster, whole = await take_census(settings(broker), FLEET, quiet_s=0.3)
    assert [(one.name, one.state, one.board, one.models[0].name) for one in roster.devices()] == [
        ("a", "up", "Raspberry Pi 5", "qwen"),
        ("b", "down", "Raspberry Pi 5", "whisper"),
    ]
    assert whole


async def test_a_census_of_more_devices_than_a_broker_s_queue_holds(broker: Broker) -> None:
    async with responding(broker.port, [Responder("one")]) as [one]:
        for number in range(1100):
            one.service = f"te/device/d{number}/service/edge-agent"
            one.say("/status/health", {"status": "up"})
            one.say("/twin/model", {"models": {}})
            one.say("", {"@type": "service", "name": "edge-agent"})
        await one.said()
        await asyncio.to_thread(broker.listen, f"{one.service}/#", 3, timeout_s=5)
        roster, whole = await take_census(settings(broker), FLEET, quiet_s=0.5)
    assert (len(roster.devices()), whole) == (1101, True)


async def test_a_census_that_a_broker_cut_short_says_so(broker: Broker) -> None:
    async with responding(broker.port, [Responder("one")]) as [one]:
        for number in range(1100):
            one.service = f"te/device/d{number}/service/edge-agent"
            one.say("/status/health", {"status": "up"})
        await one.said()
        await asyncio.to_thread(broker.listen, f"{one.service}/#", 1, timeout_s=5)
        _, whole = await take_census(settings(broker), FLEET, quiet_s=0.5)
    assert not whole, "of 1,100 there is a health and nothing else"
