"""The roles of a repository, how many keys each has, and how long what they sign is good for.

root -> timestamp, snapshot, targets
targets -> CLASS...                     with keys of their own
targets, CLASS -> targets~NAME, CLASS~NAME    one for each model, with the keys of whoever delegates to it
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from agent.errors import RequestError
from agent.store.names import DEPTH_LIMIT, is_safe_name

ROOT: Final = "root"
TARGETS: Final = "targets"
SNAPSHOT: Final = "snapshot"
TIMESTAMP: Final = "timestamp"
TOP_LEVEL: Final = (ROOT, TARGETS, SNAPSHOT, TIMESTAMP)
ONLINE: Final = (SNAPSHOT, TIMESTAMP)
"""Signed by a machine, often; the others by people, seldom."""

MODEL_SIGN: Final = "~"
"""Between a role and the model that it delegates: no class and no model can have it in its name, and it may stand in
file names and in addresses as it is."""
CLASSES: Final = "classes"
"""In the table of days: all roles of device classes."""
DAYS: Final[dict[str, int]] = {ROOT: 365, TARGETS: 365, CLASSES: 365, SNAPSHOT: 30, TIMESTAMP: 7}
"""How long signed metadata is good for, unless chosen otherwise. A device that sees the timestamp expire installs
nothing more: its days are how long a frozen mirror goes unnoticed, and how often someone must renew it."""
MAX_DAYS: Final = 3650
MAX_KEYS: Final = 20


@dataclass(frozen=True)
class Quorum:
    """`threshold` of `keys` keys must sign."""

    threshold: int
    keys: int

    def __str__(self) -> str:
        return f"{self.threshold}/{self.keys}"


DEFAULT_QUORUMS: Final[dict[str, Quorum]] = {
    ROOT: Quorum(2, 3),
    TARGETS: Quorum(1, 2),
    SNAPSHOT: Quorum(1, 1),
    TIMESTAMP: Quorum(1, 1),
}


def quorum(text: str) -> Quorum:
    """`2/3` as a quorum. Raises `RequestError`."""
    threshold, slash, keys = text.partition("/")
    if slash and threshold.isdecimal() and keys.isdecimal() and 1 <= int(threshold) <= int(keys) <= MAX_KEYS:
        return Quorum(int(threshold), int(keys))
    raise RequestError(f"{text!r} is no quorum.", hint=f"Write 2/3 for two of three keys, {MAX_KEYS} at most.")


def days(pairs: list[str]) -> dict[str, int]:
    """`["timestamp=2"]` and the usual days for the other roles. Raises `RequestError`."""
    found = dict(DAYS)
    for pair in pairs:
        role, _, number = pair.partition("=")
        if role not in DAYS or not number.isdecimal() or not 1 <= int(number) <= MAX_DAYS:
            raise RequestError(
                f"{pair!r} is no expiry.",
                hint=f"Write ROLE=DAYS: one of {', '.join(DAYS)}, and 1 to {MAX_DAYS}.",
            )
        found[role] = int(number)
    return found


def check_class(name: str) -> None:
    """Raises `RequestError` unless `name` can be a device class."""
    if not is_safe_name(name) or name.lower() in (*TOP_LEVEL, CLASSES):
        raise RequestError(
            f"{name!r} cannot name a device class.",
            hint=f"Use letters, digits, '.', '_' or '-', and none of {', '.join((*TOP_LEVEL, CLASSES))}.",
        )


def scope(device_class: str | None) -> str:
    """Where the targets of a class are: what their paths start with."""
    return f"{CLASSES}/{device_class}/" if device_class else ""


def model_role(delegator: str, name: str) -> str:
    """The role that lists the files of a model: `targets~NAME` for all devices, `CLASS~NAME` for those of a class."""
    return f"{delegator}{MODEL_SIGN}{name}"


def is_model_role(role: str) -> bool:
    return MODEL_SIGN in role


def delegator_of(role: str) -> str:
    """Who says which keys a role has."""
    if role in TOP_LEVEL:
        return ROOT
    return role.partition(MODEL_SIGN)[0] if is_model_role(role) else TARGETS


def class_of(delegator: str) -> str | None:
    """None for the targets role, whose models are for all devices."""
    return None if delegator == TARGETS else delegator


def model_paths(device_class: str | None, name: str, depth: int) -> list[str]:
    """The path patterns that a model's role is trusted with, `depth` levels below the model's own folder."""
    base = f"{scope(device_class)}models/{name}/*"
    return [f"{base}{'/*' * below}" for below in range(depth)]


def delegated_paths(device_class: str) -> list[str]:
    """The path patterns that a class's role is trusted with. A `*` does not cross a slash, so one for each depth."""
    base = f"{scope(device_class)}models/*"
    return [f"{base}/*{'/*' * depth}" for depth in range(DEPTH_LIMIT + 1)]
