"""What doctor makes of the microphones that it finds."""

from __future__ import annotations

import pytest

from agent.commands.sound import Sound, judge, verdict
from agent.speech.devices import InputDevice
from agent.speech.microphone import Measured

MIC = InputDevice(index=2, name="USB Mic", host="ALSA", channels=1, rate_hz=48_000, default=True)
OTHER = InputDevice(index=4, name="Line", host="ALSA", channels=2, rate_hz=44_100)
HELD = {"state": "open", "device": "USB Mic", "listeners": 1, "held": False, "lost_samples": 0}


def measured(rms_dbfs: float, peak_dbfs: float, lost_samples: int = 0) -> Measured:
    return Measured(
        device="USB Mic",
        rate_hz=48_000,
        seconds=1.0,
        rms_dbfs=rms_dbfs,
        peak_dbfs=peak_dbfs,
        lost_samples=lost_samples,
        first_sound_s=0.2,
    )


@pytest.mark.parametrize(
    ("one", "is_", "codes"),
    [
        (measured(-120.0, -120.0), "silent", ["microphone_muted"]),
        (measured(-97.0, -90.3), "silent", ["microphone_muted"]),  # what resampling makes of nothing
        (measured(-80.0, -68.0), "faint", ["microphone_faint"]),
        (measured(-50.0, -30.0), "good", []),
        (measured(-50.0, -30.0, 160), "good", ["microphone_loses"]),
        (measured(-9.0, 0.0, 160), "clipping", ["microphone_clips", "microphone_loses"]),
    ],
)
def test_a_second_of_input_is_judged(one: Measured, is_: str, codes: list[str]) -> None:
    assert verdict(one) == is_
    findings = list(judge(one))
    assert [finding.code for finding in findings] == codes
    assert all(finding.remedy and "USB Mic" in finding.message for finding in findings)


@pytest.mark.parametrize(
    ("sound", "rows"),
    [
        (Sound(), [("Microphone", "none that can be used"), ("Speech", "no model that transcribes")]),
        (
            Sound(devices=(MIC, OTHER), chosen=MIC, measured=measured(-50.2, -30.1), models=("whisper 1",)),
            [
                (
                    "Microphone",
                    '2 "USB Mic" (ALSA, 1 channel), 48000 Hz; in 1.0 s: -50 dBFS, peak -30 dBFS, a live input',
                ),
                ("Inputs", '4 "Line"'),
                ("Speech", "whisper 1"),
            ],
        ),
        (
            Sound(why_not='the daemon has it: open "USB Mic", 1 listener', held=HELD),
            [
                ("Microphone", 'the daemon has it: open "USB Mic", 1 listener; not measured'),
                ("Speech", "no model that transcribes"),
            ],
        ),
    ],
)
def test_the_rows_of_the_report(sound: Sound, rows: list[tuple[str, str]]) -> None:
    assert list(sound.rows()) == rows


def test_the_value_names_its_units() -> None:
    value = Sound(devices=(MIC,), chosen=MIC, measured=measured(-120.0, -120.0)).value()
    assert value["devices"] == [
        {"index": 2, "name": "USB Mic", "channels": 1, "sample_rate_hz": 48_000, "default": True}
    ]
    assert (value["device"], value["measured"]["verdict"], value["measured"]["peak_dbfs"]) == (
        "USB Mic",
        "silent",
        -120.0,
    )
    assert value["held_by_daemon"] is None
