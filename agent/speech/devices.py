"""Input devices, and the one that was asked for: by index or by name, and never another one instead. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from agent.errors import UnavailableError

COMMON_RATES_HZ = (48_000, 44_100, 16_000, 32_000, 96_000, 8_000)


class InputDevice(msgspec.Struct, frozen=True, kw_only=True):
    """As PortAudio lists it. `host` is the sound system: ALSA, Core Audio."""

    index: int
    name: str
    host: str
    channels: int
    rate_hz: int
    default: bool = False


class DeviceError(UnavailableError):
    """No such microphone, or it cannot be opened; the hint lists those that there are."""

    code = "audio_device_unavailable"


def choose(devices: Sequence[InputDevice], wanted: str | int | None) -> InputDevice:
    """The device with that index, with exactly that name, or the only one whose name contains it (whatever the case);
    the system's default for None. Raises `DeviceError`."""
    if not devices:
        raise DeviceError("No microphone was found.", hint="Connect one; edge-agent doctor lists what is there.")
    if wanted is None:
        for device in devices:
            if device.default:
                return device
        raise DeviceError("The system has no default microphone.", hint=f"Name one. {listed(devices)}")
    if isinstance(wanted, int) or wanted.strip().isdecimal():
        for device in devices:
            if device.index == int(wanted):
                return device
        raise DeviceError(f"There is no microphone with index {int(wanted)}.", hint=listed(devices))
    name = wanted.strip().casefold()
    for exact in (True, False):
        found = [one for one in devices if (one.name.casefold() == name if exact else name in one.name.casefold())]
        if len(found) == 1 and name:
            return found[0]
        if len(found) > 1 and name:
            which = ", ".join(f"{one.index} ({one.name})" for one in found)
            raise DeviceError(f'"{wanted}" fits several microphones: {which}.', hint="Give the index of one.")
    raise DeviceError(f'There is no microphone named "{wanted}".', hint=listed(devices))


def listed(devices: Sequence[InputDevice]) -> str:
    """One sentence with index and name of each."""
    return "Microphones: " + ", ".join(f'{one.index} "{one.name}"' for one in devices) + "."


def rates_to_try(device: InputDevice, asked_hz: int | None) -> tuple[int, ...]:
    """In this order. What was asked for and nothing else; or the device's own rate, which nobody has to convert,
    and then the common ones."""
    if asked_hz is not None:
        return (asked_hz,)
    return tuple(dict.fromkeys((device.rate_hz, *COMMON_RATES_HZ)))
