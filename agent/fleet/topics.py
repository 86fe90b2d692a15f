"""The topics of one device, in thin-edge.io's scheme: `P = {root}/device/{device}/service/edge-agent`. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from agent.errors import RequestError

ROOT: Final = "te"
SERVICE: Final = "edge-agent"
NAME_BYTES: Final = 128
"""Longest name of a device, an operation or a command, in UTF-8."""
TOPIC_BYTES: Final = 65_535
"""MQTT's own limit (MQTT 5.0, 1.5.4)."""

_FORBIDDEN = re.compile(r"[+#/\x00-\x1f\x7f-\x9f\ufffe\uffff\ud800-\udfff]")


class Command(NamedTuple):
    operation: str
    id: str


@dataclass(frozen=True)
class Topics:
    """What the device `device` publishes and listens to. Raises `RequestError` for names that no topic can carry."""

    root: str
    device: str
    service: str = field(init=False)
    """P itself, where the service is registered."""

    def __post_init__(self) -> None:
        check_root(self.root)
        check_name(self.device, "device")
        object.__setattr__(self, "service", f"{self.root}/device/{self.device}/service/{SERVICE}")

    @property
    def health(self) -> str:
        return f"{self.service}/status/health"

    def capability(self, operation: str) -> str:
        return f"{self.service}/cmd/{check_name(operation, 'operation')}"

    def command(self, operation: str, id: str) -> str:
        return f"{self.capability(operation)}/{check_name(id, 'id')}"

    def stream(self, operation: str, id: str) -> str:
        return f"{self.command(operation, id)}/stream"

    def result(self, operation: str, id: str, index: int) -> str:
        """Piece `index` of a result that is too large for one message."""
        return f"{self.command(operation, id)}/result/{index}"

    @property
    def commands_filter(self) -> str:
        return f"{self.service}/cmd/+/+"

    def request(self, operation: str) -> str:
        """Where MQTT 5 requests go that name a response topic."""
        return f"{self.service}/rpc/{check_name(operation, 'operation')}"

    @property
    def requests_filter(self) -> str:
        return f"{self.service}/rpc/+"

    @property
    def desired(self) -> str:
        return f"{self.service}/twin/desired"

    @property
    def model(self) -> str:
        return f"{self.service}/twin/model"

    def measurement(self, type: str) -> str:
        return f"{self.service}/m/{check_name(type, 'type')}"

    def event(self, type: str) -> str:
        return f"{self.service}/e/{check_name(type, 'type')}"

    def alarm(self, type: str) -> str:
        return f"{self.service}/a/{check_name(type, 'type')}"

    @property
    def acknowledgement(self) -> str:
        """Where a consumer says what it has stored."""
        return f"{self.service}/ack"

    @property
    def block_request(self) -> str:
        return f"{self.service}/blk/req"

    @property
    def blocks(self) -> str:
        """What the topics of all blocks begin with."""
        return f"{self.service}/blk/"

    @property
    def blocks_filter(self) -> str:
        return f"{self.service}/blk/+/+"

    def block(self, sha256: str, index: int) -> str:
        return f"{self.service}/blk/{check_name(sha256, 'sha256')}/{index}"

    def home_assistant(self, prefix: str = "homeassistant") -> str:
        """Where Home Assistant looks for this device; its ids know only letters, digits, `_` and `-`."""
        return f"{check_root(prefix)}/device/{re.sub(r'[^a-zA-Z0-9_-]', '_', self.device)}/config"

    def parse_command(self, topic: str) -> Command | None:
        """The command that a topic of `commands_filter` is about; None for any other topic."""
        levels = self._below("cmd", topic, 2)
        return Command(levels[0], levels[1]) if levels else None

    def parse_request(self, topic: str) -> str | None:
        """The operation that a topic of `requests_filter` asks for; None for any other topic."""
        levels = self._below("rpc", topic, 1)
        return levels[0] if levels else None

    def _below(self, branch: str, topic: str, count: int) -> list[str] | None:
        prefix = f"{self.service}/{branch}/"
        if not topic.startswith(prefix):
            return None
        levels = topic[len(prefix) :].split("/")
        return levels if len(levels) == count and all(map(is_name, levels)) else None


@dataclass(frozen=True)
class FleetTopics:
    """All devices below one root, as the other side sees them."""

    root: str

    def __post_init__(self) -> None:
        check_root(self.root)

    def filter(self, below: str = "") -> str:
        """Of every device: P itself, or what is `below` it, like `status/health` or `cmd/+/+`."""
        return f"{self.root}/device/+/service/{SERVICE}" + (f"/{below}" if below else "")

    def parse(self, topic: str) -> tuple[Topics, str] | None:
        """A device's topics, and what follows P in `topic` without its slash; None for what is of no edge-agent."""
        prefix = f"{self.root}/device/"
        if not topic.startswith(prefix):
            return None
        device, _, rest = topic[len(prefix) :].partition("/")
        service, _, below = rest.removeprefix("service/").partition("/")
        if not rest.startswith("service/") or service != SERVICE or not is_name(device):
            return None
        return Topics(self.root, device), below


def is_name(text: str) -> bool:
    """Whether this can be one level of a topic."""
    return bool(text) and not _FORBIDDEN.search(text) and len(text.encode()) <= NAME_BYTES


def check_name(text: str, what: str) -> str:
    if not is_name(text):
        raise RequestError(
            f"{what} = {text[:80]!r} cannot be part of an MQTT topic: expected 1 to {NAME_BYTES} bytes without"
            " + # / and control characters.",
            param=what,
        )
    return text


def check_root(text: str) -> str:
    """A root may have several levels; `$` begins the broker's own topics."""
    if text.startswith("$") or not all(map(is_name, text.split("/"))) or len(text.encode()) > NAME_BYTES:
        raise RequestError(
            f"root = {text[:80]!r} cannot begin an MQTT topic: expected levels without + # and control characters,"
            " and no $ at the beginning.",
            param="root",
        )
    return text


def device_name(hostname: str) -> str:
    """A host's name as the name of a device."""
    name = _FORBIDDEN.sub("-", hostname.split(".", 1)[0]).strip("- ")
    return name.encode()[:NAME_BYTES].decode(errors="ignore") or SERVICE


def matches(filter: str, topic: str) -> bool:
    """Whether a subscription to `filter` brings `topic` (MQTT 5.0, 4.7): wildcards do not match the broker's `$`."""
    if topic.startswith("$") and filter[:1] in ("+", "#"):
        return False
    wanted, levels = filter.split("/"), topic.split("/")
    for index, part in enumerate(wanted):
        if part == "#":
            return True
        if index >= len(levels) or part not in ("+", levels[index]):
            return False
    return len(wanted) == len(levels)
