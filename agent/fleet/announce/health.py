"""`P/status/health`: whether the daemon is there. Pure."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from agent.fleet.announce.about import About
from agent.fleet.link.messages import Publication
from agent.fleet.topics import Topics

Status = Literal["up", "down"]


def health(topics: Topics, about: About, status: Status, time_s: float | None = None) -> Publication:
    """`time_s` is Unix time. The last will has none: nobody knows when the broker will publish it."""
    body: dict[str, Any] = {"status": status, "pid": about.pid, "boot_id": about.boot_id}
    if time_s is not None:
        body["time"] = round(time_s, 3)
    return Publication(topic=topics.health, payload=msgspec.json.encode(body), retain=True)


def last_will(topics: Topics, about: About) -> Publication:
    return health(topics, about, "down")


def is_down(payload: bytes) -> bool:
    """Whether a message on such a topic says that nobody is there."""
    try:
        found = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("status") == "down"
