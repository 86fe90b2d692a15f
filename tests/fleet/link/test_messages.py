from __future__ import annotations

import pytest

from agent.errors import RequestError
from agent.fleet.link.client import Client
from agent.fleet.link.inbox import HARD, Inbox
from agent.fleet.link.inspector import Inspector
from agent.fleet.link.messages import Connected, Publication, Received
from agent.fleet.link.settings import LinkSettings
from agent.fleet.link.stream import Stream
from tests.fleet.link.linked import settings


@pytest.mark.parametrize("topic", ["", "a/+", "a/#", "a\0b", "\ud800", "x" * 65_536])
def test_topics_that_nothing_can_be_published_to(topic: str) -> None:
    with pytest.raises(RequestError, match="topic"):
        Publication(topic=topic)
    with pytest.raises(RequestError, match="topic"):
        Publication(topic="a", response_topic=topic)


@pytest.mark.parametrize(
    "publication",
    [
        Publication(topic="a"),
        Publication(topic="ä" * 200, payload=b"x" * 70_000, retain=True),
        Publication(
            topic="a",
            payload=b"x" * 300,
            response_topic="r" * 100,
            correlation=b"c" * 200,
            expiry_s=3600,
            content_type="application/json",
            user_properties=(("name", "ä" * 500), ("name", "")),
        ),
    ],
)
def test_a_packet_is_never_larger_than_it_was_said_to_be(
    publication: Publication, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[bytes] = []
    client = made_client(settings("mqtt://h"))
    monkeypatch.setattr(client, "_sock", object())
    monkeypatch.setattr(client, "_packet_queue", lambda _command, packet, *_: sent.append(packet) or 0)
    client.send_publish(publication, 1, publication.retain)
    assert publication.packet_bytes - 40 <= len(sent[0]) <= publication.packet_bytes
    monkeypatch.setattr(client, "_sock", None)


def made_client(made: LinkSettings) -> Client:
    import socket

    return Client(Stream(socket.socket(), None, Inspector(1000, version5=True)), made, "5")


async def test_the_inbox_is_full_until_enough_was_taken() -> None:
    inbox = Inbox(room_messages=2, room_bytes=100)
    small, large = Received(topic="t", payload=b"x"), Received(topic="t", payload=b"x" * 99)
    for received in (small, large):
        assert not inbox.full
        inbox.arriving(received)
        inbox.put(received)
    assert inbox.full
    assert not inbox.overfull
    for _ in range(2 * HARD):
        inbox.arriving(small)
    assert inbox.overfull
    assert await inbox.take() == small
    assert await inbox.take() == large


async def test_the_inbox_gives_what_it_has_before_it_ends() -> None:
    inbox = Inbox()
    event = Connected(broker="b", protocol="5", session_present=False)
    inbox.put(event)
    inbox.close()
    assert [await inbox.take(), await inbox.take()] == [event, None]


def test_secrets_are_in_no_representation() -> None:
    assert "secret" not in repr(settings("mqtt://h", username="me", password="secret"))
