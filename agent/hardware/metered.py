"""Whether the network costs by the byte, as NetworkManager knows it: set by a person, said by a phone, or guessed.

Its property `Metered` on D-Bus (NMMetered, networkmanager.dev): 0 unknown, 1 yes, 2 no, 3 guessed yes, 4 guessed no.
systemd-networkd, dhcpcd and macOS say nothing of the kind.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Final

BUSCTL: Final = (
    "busctl", "--system", "--auto-start=no", "--json=short", "get-property", "org.freedesktop.NetworkManager",
    "/org/freedesktop/NetworkManager", "org.freedesktop.NetworkManager", "Metered",
)  # fmt: skip
NMCLI: Final = ("nmcli", "--terse", "--fields", "GENERAL.STATE,GENERAL.METERED", "device", "show")
TIMEOUT_S: Final = 3.0
_CONNECTED: Final = "100"
"""NM_DEVICE_STATE_ACTIVATED."""
_LIMIT_BYTES: Final = 64 * 1024


async def read_metered(busctl: Sequence[str] = BUSCTL, nmcli: Sequence[str] = NMCLI) -> bool | None:
    """None where nobody says: without NetworkManager, or where it does not know. Takes two short processes at most."""
    said = await _output(busctl)
    if said is not None and (found := of_property(said)) is not None:
        return found
    said = await _output(nmcli)
    return None if said is None else of_devices(said)


def of_property(text: str) -> bool | None:
    """`busctl --json=short get-property`: {"type":"u","data":4}."""
    try:
        value = json.loads(text)["data"]
    except (ValueError, KeyError, TypeError):
        return None
    return {1: True, 2: False, 3: True, 4: False}.get(value) if isinstance(value, int) else None


def of_devices(text: str) -> bool | None:
    """`nmcli --terse`: for each device `GENERAL.STATE:100 (connected)` and `GENERAL.METERED:yes (guessed)`. One metered
    device that is connected is enough: which one a fetch will take is not known."""
    found: set[bool] = set()
    connected = False
    for line in text.splitlines():
        name, _, value = line.partition(":")
        word = value.strip().partition(" ")[0]
        if name == "GENERAL.STATE":
            connected = word == _CONNECTED
        elif name == "GENERAL.METERED" and connected and word in ("yes", "no"):
            found.add(word == "yes")
    return any(found) if found else None


async def _output(command: Sequence[str]) -> str | None:
    """What it prints; None where it cannot be run, fails, or does not end in time."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=_LIMIT_BYTES,
        )
    except OSError:
        return None
    try:
        async with asyncio.timeout(TIMEOUT_S):
            out, _ = await process.communicate()
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return out.decode(errors="replace") if process.returncode == 0 else None
