"""Which devices there are, as their retained topics tell it. Pure: topics and payloads in, rows out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, Final

from agent.fleet.commands.expiry import moment
from agent.fleet.remote.payload import GarbledError, read_object, text_of
from agent.fleet.topics import FleetTopics

REGISTRATION, HEALTH, MODELS = "", "status/health", "twin/model"
FILTERS: Final = (HEALTH, MODELS, REGISTRATION)
DEVICES: Final = 100_000
"""Whoever may publish below the root can make up names; more than these are not kept."""
MODELS_OF_ONE: Final = 256


@dataclass(frozen=True, slots=True)
class DeviceModel:
    """One that has no `version` lies on the device and is not served."""

    name: str
    version: str = ""
    state: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """`up` is None where nothing is known of its health. `since` is Unix time, by the device's clock."""

    name: str
    up: bool | None = None
    since: float | None = None
    version: str = ""
    board: str = ""
    models: tuple[DeviceModel, ...] = ()
    registered: bool = False
    garbled: tuple[str, ...] = ()
    """Which of its topics hold what no device of ours writes."""

    @property
    def state(self) -> str:
        return {True: "up", False: "down", None: "unknown"}[self.up]

    def fits(self, wanted: Mapping[str, str]) -> bool:
        """Whether each of `wanted` (keys of `CONDITIONS`) matches; `*` stands for anything."""
        return all(
            any(fnmatchcase(value, pattern) for value in CONDITIONS[key](self)) for key, pattern in wanted.items()
        )


CONDITIONS: Final[Mapping[str, Callable[[Device], list[str]]]] = {
    "model": lambda device: [
        text for one in device.models if one.version for text in (one.name, f"{one.name}@{one.version}")
    ],
    "version": lambda device: [device.version],
    "board": lambda device: [device.board],
    "state": lambda device: [device.state],
}
"""What devices can be chosen by, and their values for it; a model that is served as `NAME` or `NAME@VERSION`."""


class Roster:
    """Fed with what a subscription to `FILTERS` brings."""

    def __init__(self, fleet: FleetTopics) -> None:
        self._fleet = fleet
        self._devices: dict[str, Device] = {}
        self.left_out = 0
        """Messages of devices for which there was no room."""

    def feed(self, topic: str, payload: bytes, *, oversized_bytes: int = 0) -> Device | None:
        """The device if the message changed what is known of it."""
        parsed = self._fleet.parse(topic)
        if parsed is None or parsed[1] not in FILTERS:
            return None
        name, below = parsed[0].device, parsed[1]
        known = self._devices.get(name)
        if known is None:
            if len(self._devices) >= DEVICES:
                self.left_out += 1
                return None
            known = Device(name=name)
        device = _read(known, below, payload, oversized_bytes)
        self._devices[name] = device
        return device if device != known else None

    def device(self, name: str) -> Device | None:
        return self._devices.get(name)

    def devices(self) -> list[Device]:
        """By name; without those of which everything was cleared."""
        known = (one for one in self._devices.values() if one != Device(name=one.name))
        return sorted(known, key=lambda one: one.name)


def _read(device: Device, below: str, payload: bytes, oversized_bytes: int) -> Device:
    garbled = tuple(topic for topic in device.garbled if topic != below)
    found: dict[str, Any] = {}
    if payload or oversized_bytes:
        try:
            found = read_object(payload, oversized_bytes=oversized_bytes)
        except GarbledError:
            garbled = (*garbled, below)
    device = replace(device, garbled=garbled)
    if below == HEALTH:
        status = found.get("status")
        up = True if status == "up" else False if status == "down" else None
        return replace(device, up=up, since=moment(found.get("time")))
    if below == MODELS:
        return replace(device, models=tuple(_models(found.get("models"))))
    return replace(
        device, registered=bool(found), version=_name(found.get("version")), board=_board(found.get("board"))
    )


def _name(value: Any) -> str:
    return text_of(value)[:200]


def _board(value: Any) -> str:
    return _name(value.get("model") or value.get("name")) if isinstance(value, dict) else _name(value)


def _models(value: Any) -> Iterable[DeviceModel]:
    """`{NAME: {version, state}}`, or a list of objects with a `name`."""
    entries: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        entries = list(value.items())
    elif isinstance(value, list):
        entries = [(one.get("name"), one) for one in value if isinstance(one, dict)]
    for name, entry in entries[:MODELS_OF_ONE]:
        fields: Any = entry if isinstance(entry, dict) else {"version": entry}
        yield DeviceModel(_name(name), _name(fields.get("version")), _name(fields.get("state")))
