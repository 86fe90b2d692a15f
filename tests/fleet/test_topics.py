from __future__ import annotations

import subprocess
import sys

import pytest

from agent.errors import RequestError
from agent.fleet.topics import Command, FleetTopics, Topics, device_name, is_name, matches

P = "te/device/kitchen/service/edge-agent"
TOPICS = Topics("te", "kitchen")


@pytest.mark.parametrize(
    ("topic", "expected"),
    [
        (TOPICS.service, P),
        (TOPICS.health, f"{P}/status/health"),
        (TOPICS.capability("generate"), f"{P}/cmd/generate"),
        (TOPICS.command("generate", "1"), f"{P}/cmd/generate/1"),
        (TOPICS.stream("generate", "1"), f"{P}/cmd/generate/1/stream"),
        (TOPICS.result("generate", "1", 3), f"{P}/cmd/generate/1/result/3"),
        (TOPICS.commands_filter, f"{P}/cmd/+/+"),
        (TOPICS.request("embed"), f"{P}/rpc/embed"),
        (TOPICS.desired, f"{P}/twin/desired"),
        (TOPICS.model, f"{P}/twin/model"),
        (TOPICS.measurement("board"), f"{P}/m/board"),
        (TOPICS.event("started"), f"{P}/e/started"),
        (TOPICS.alarm("hot"), f"{P}/a/hot"),
        (TOPICS.acknowledgement, f"{P}/ack"),
        (TOPICS.block_request, f"{P}/blk/req"),
        (TOPICS.block("ab", 0), f"{P}/blk/ab/0"),
        (TOPICS.home_assistant(), "homeassistant/device/kitchen/config"),
        (Topics("te", "Büro 2").home_assistant("ha"), "ha/device/B_ro_2/config"),
        (Topics("site/a", "d").health, "site/a/device/d/service/edge-agent/status/health"),
    ],
)
def test_topics_are_those_of_the_design(topic: str, expected: str) -> None:
    assert topic == expected


@pytest.mark.parametrize(
    ("topic", "expected"),
    [
        (f"{P}/cmd/generate/1", Command("generate", "1")),
        (f"{P}/cmd/restart/c8y-mapper-12", Command("restart", "c8y-mapper-12")),
        (f"{P}/cmd/generate/1/stream", None),
        (f"{P}/cmd/generate", None),
        (f"{P}/cmd/generate/", None),
        (f"{P}/cmd//1", None),
        (f"{P}/cmd/generate/{'x' * 129}", None),
        (f"{P}/cmd/generate/a\tb", None),
        ("te/device/cellar/service/edge-agent/cmd/generate/1", None),
        (f"x{P}/cmd/generate/1", None),
        ("", None),
    ],
)
def test_a_command_is_one_of_this_device_with_a_sound_name(topic: str, expected: Command | None) -> None:
    assert TOPICS.parse_command(topic) == expected


def test_a_request_names_its_operation() -> None:
    assert TOPICS.parse_request(f"{P}/rpc/embed") == "embed"
    assert TOPICS.parse_request(f"{P}/rpc/embed/x") is None


@pytest.mark.parametrize("name", ["", "a+b", "#", "a/b", "a\0", "a\n", "\x85", "\ud800", "ä" * 65])
def test_names_that_no_topic_can_carry(name: str) -> None:
    assert not is_name(name)
    with pytest.raises(RequestError) as caught:
        Topics("te", name)
    assert caught.value.param == "device"
    with pytest.raises(RequestError):
        TOPICS.command("generate", name)


@pytest.mark.parametrize("root", ["", "/te", "te/", "te//x", "$SYS", "te/+", "#"])
def test_roots_that_no_topic_can_begin_with(root: str) -> None:
    with pytest.raises(RequestError, match="root"):
        Topics(root, "d")


@pytest.mark.parametrize(
    ("hostname", "device"),
    [("kitchen", "kitchen"), ("pi.local", "pi"), ("a+b#c", "a-b-c"), ("", "edge-agent"), ("ä" * 100, "ä" * 64)],
)
def test_a_host_s_name_as_a_device_s(hostname: str, device: str) -> None:
    assert device_name(hostname) == device


def test_all_devices_as_the_other_side_sees_them() -> None:
    fleet = FleetTopics("te")
    assert fleet.filter("status/health") == "te/device/+/service/edge-agent/status/health"
    assert matches(fleet.filter("status/health"), TOPICS.health)
    assert fleet.parse(TOPICS.stream("generate", "1")) == (TOPICS, "cmd/generate/1/stream")
    assert fleet.parse(TOPICS.service) == (TOPICS, "")
    for foreign in ("te/device/a/service/other", "te/device//service/edge-agent", "x", "te/device/a", f"{P}2/cmd"):
        assert fleet.parse(foreign) is None


@pytest.mark.parametrize(
    ("filter", "topic", "expected"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/b/c", False),
        ("a/b", "a", False),
        ("a/+", "a/b", True),
        ("a/+", "a/", True),
        ("a/+", "a", False),
        ("a/+", "a/b/c", False),
        ("+/+", "a/b", True),
        ("+", "$SYS", False),
        ("#", "a/b", True),
        ("#", "$SYS/x", False),
        ("$SYS/#", "$SYS/x", True),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("a/#", "b", False),
    ],
)
def test_a_subscription_brings_what_the_specification_says(filter: str, topic: str, expected: bool) -> None:
    assert matches(filter, topic) is expected


def test_topics_need_no_mqtt_library() -> None:
    program = "import sys, agent.fleet.topics, agent.fleet.link.link, agent.mqtt; sys.exit('paho' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
