"""macOS: the property list for launchd, as a service of one person or of the machine."""

from __future__ import annotations

import plistlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

from agent.errors import ConfigError
from agent.service.units import Wish, unit_text

LABEL = "org.edge-agent"
FILE = f"{LABEL}.plist"


@dataclass(frozen=True, kw_only=True)
class Person:
    """Who it runs as: the sound of a Mac belongs to a person, and so does the permission to record it."""

    name: str
    uid: int
    home: Path


def plist_path(person: Person, *, user: bool) -> Path:
    """Where launchd looks: an agent of the person, or a daemon of the machine."""
    return (person.home / "Library/LaunchAgents" if user else Path("/Library/LaunchDaemons")) / FILE


def log_path(person: Person, *, user: bool) -> Path:
    return (person.home / "Library/Logs" if user else Path("/Library/Logs")) / "edge-agent.log"


def domain(person: Person, *, user: bool) -> str:
    """launchctl's name of where the service lives."""
    return f"gui/{person.uid}" if user else "system"


def plist(wish: Wish, person: Person, *, user: bool) -> bytes:
    """The template with this machine's program, user, log and settings. Raises `ConfigError` if it is no property list.

    A machine's daemon runs as `person` as well: nothing of edge-agent needs root.
    """
    values = read_plist(unit_text(FILE).encode())
    values["ProgramArguments"] = [wish.program, "serve"]
    values["StandardErrorPath"] = str(log_path(person, user=user))
    environment = values["EnvironmentVariables"] = dict(wish.environment)
    if not user:
        values["UserName"] = person.name
        environment["HOME"] = str(person.home)
    return plistlib.dumps(values, sort_keys=False)


def read_plist(data: bytes) -> dict[str, Any]:
    """A property list of a service. Raises `ConfigError` naming what is wrong with it."""
    try:
        values = plistlib.loads(data)
    except (ExpatError, plistlib.InvalidFileException, ValueError) as error:
        raise ConfigError(f"{FILE} is no property list: {error}.") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{FILE} holds {type(values).__name__}; expected a dictionary.")
    expected: dict[str, type] = {"Label": str, "ProgramArguments": list, "KeepAlive": dict, "RunAtLoad": bool}
    for key, kind in expected.items():
        if not isinstance(values.get(key), kind):
            raise ConfigError(f"{FILE}: {key} is {values.get(key)!r}; expected a {kind.__name__}.", param=key)
    return values
