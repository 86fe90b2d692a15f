"""Which microphone is meant."""

from __future__ import annotations

import pytest

from agent.speech.devices import DeviceError, InputDevice, choose, rates_to_try


def device(index: int, name: str, *, default: bool = False, rate_hz: int = 48_000) -> InputDevice:
    return InputDevice(index=index, name=name, host="ALSA", channels=2, rate_hz=rate_hz, default=default)


DEVICES = (
    device(0, "Built-in Audio"),
    device(2, "USB PnP Sound Device: Audio (hw:1,0)"),
    device(5, "USB Camera"),
    device(7, "default", default=True),
)


@pytest.mark.parametrize(
    ("wanted", "index"),
    [(None, 7), (2, 2), ("2", 2), ("usb camera", 5), ("camera", 5), ("Built-in", 0), ("DEFAULT", 7), (" 5 ", 5)],
)
def test_the_device_that_was_asked_for(wanted: str | int | None, index: int) -> None:
    assert choose(DEVICES, wanted).index == index


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (1, "no microphone with index 1"),
        ("9", "no microphone with index 9"),
        ("headset", 'no microphone named "headset"'),
        ("usb", r"fits several microphones: 2 \(USB PnP.*, 5 \(USB Camera\)"),
        ("", 'no microphone named ""'),
    ],
)
def test_never_another_one_instead(wanted: str | int, message: str) -> None:
    with pytest.raises(DeviceError, match=message) as raised:
        choose(DEVICES, wanted)
    assert raised.value.hint
    assert raised.value.status == 503


def test_the_hint_lists_what_there_is() -> None:
    with pytest.raises(DeviceError) as raised:
        choose(DEVICES, "headset")
    assert '5 "USB Camera"' in raised.value.hint


@pytest.mark.parametrize(("devices", "message"), [((), "No microphone was found"), (DEVICES[:2], "no default")])
def test_no_device_and_no_default(devices: tuple[InputDevice, ...], message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        choose(devices, None)


def test_the_device_s_own_rate_is_tried_first_and_a_given_one_alone() -> None:
    assert rates_to_try(device(0, "x", rate_hz=44_100), None)[:2] == (44_100, 48_000)
    assert rates_to_try(device(0, "x"), 16_000) == (16_000,)
