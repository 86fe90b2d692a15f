"""The microphone as a source: a process that hangs, crashes or lies is killed, told about, and started again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from agent.speech.capture import Converter
from agent.speech.devices import DeviceError
from agent.speech.microphone import Microphone, list_devices, measure
from agent.speech.microphone_life import CaptureLimits
from agent.speech.ring import Ring
from agent.speech.source import Block, DeviceChange, Heard, Missing

from .sounds import tone

SCRIPT = Path(__file__).with_name("scripted_capture.py")
ROOT = Path(__file__).resolve().parents[2]
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
LIMITS = CaptureLimits(open_s=2.0, silent_s=0.4, backoff_s=(0.05,))


@pytest.fixture(autouse=True)
def _from_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def scripted(folder: Path, *scenes: str, limits: CaptureLimits = LIMITS) -> Microphone:
    return Microphone(limits=limits, command=(sys.executable, str(SCRIPT), str(folder / "starts"), *scenes))


async def until(microphone: Microphone, states: int) -> list[Heard]:
    """What comes until so many changes of state, the last of which is `open`."""
    heard: list[Heard] = []
    async with asyncio.timeout(20):
        async for item in microphone:
            heard.append(item)
            changes = [one for one in heard if isinstance(one, DeviceChange)]
            if len(changes) >= states and changes[-1].state == "open" and isinstance(item, Block):
                break
    return heard


def states(heard: list[Heard]) -> list[str]:
    return [item.state for item in heard if isinstance(item, DeviceChange)]


@pytest.mark.parametrize(
    ("scene", "expected", "reason"),
    [
        ("refuse", ["opening", "failed", "opening", "open"], "No such device."),
        ("hang", ["opening", "failed", "opening", "open"], "did not open within 0.5 s"),
        ("crash", ["opening", "failed", "opening", "open"], "killed by SIGABRT"),
        ("nonsense", ["opening", "failed", "opening", "open"], "nonsense"),
        ("silent", ["opening", "open", "lost", "opening", "open"], "No sound has come for 0.4 s"),
        ("gone", ["opening", "open", "lost", "opening", "open"], "ended (exit status 0)"),
    ],
)
async def test_trouble_is_told_and_the_device_opened_again(
    tmp_path: Path, scene: str, expected: list[str], reason: str
) -> None:
    limits = CaptureLimits(open_s=0.5 if scene == "hang" else 5.0, silent_s=0.4, backoff_s=(0.05,))
    async with scripted(tmp_path, scene, "sound", limits=limits) as microphone:
        heard = await until(microphone, len(expected))
        assert microphone.status.state == "open"
    assert states(heard) == expected
    trouble = next(item for item in heard if isinstance(item, DeviceChange) and item.state in ("failed", "lost"))
    assert reason in trouble.reason
    assert trouble.retry_s == 0.05
    assert microphone.status.state == "closed"


async def test_what_is_missed_between_two_openings_is_reported_in_samples(tmp_path: Path) -> None:
    async with scripted(tmp_path, "silent", "sound") as microphone:
        heard = await until(microphone, 5)
        status = microphone.status
    gaps = [item for item in heard if isinstance(item, Missing)]
    assert [gap.reason for gap in gaps] == ["reopened"]
    assert 0.4 * 16_000 < gaps[0].samples < 5 * 16_000
    assert status.lost_samples == gaps[0].samples
    assert status.openings == 2
    after = heard[heard.index(gaps[0]) + 1]
    assert isinstance(after, Block)


async def test_samples_that_were_not_taken_in_time_are_reported_where_they_are_missing(tmp_path: Path) -> None:
    async with scripted(tmp_path, "overrun", "sound") as microphone:
        heard = await until(microphone, 5)
    kinds = [type(item).__name__ for item in heard]
    assert kinds[:6] == ["DeviceChange", "DeviceChange", "Block", "Missing", "Block", "Block"]
    assert heard[3] == Missing(800, "overrun")


@linux
async def test_the_process_is_gone_when_the_microphone_is_closed(tmp_path: Path) -> None:
    async with scripted(tmp_path, "sound") as microphone:
        await until(microphone, 2)
        (pid,) = processes(tmp_path)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def processes(folder: Path) -> list[int]:
    """Those with `folder` in their command line."""
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdigit() and str(folder).encode() in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found


@linux
async def test_a_killed_process_is_replaced(tmp_path: Path) -> None:
    async with scripted(tmp_path, "sound") as microphone:
        await until(microphone, 2)
        (pid,) = processes(tmp_path)
        os.kill(pid, signal.SIGKILL)
        heard = await until(microphone, 3)
    assert states(heard) == ["lost", "opening", "open"]


async def test_devices_are_listed_by_the_process(tmp_path: Path) -> None:
    command = (sys.executable, str(SCRIPT), str(tmp_path / "starts"))
    assert [device.name for device in await list_devices(command=(*command, "list"))] == ["Scripted"]


@pytest.mark.parametrize(
    ("scene", "message"),
    [("hang", "did not list its devices within 1 s"), ("refuse", "No such device"), ("crash", "killed by SIGABRT")],
)
async def test_devices_that_cannot_be_listed(tmp_path: Path, scene: str, message: str) -> None:
    command = (sys.executable, str(SCRIPT), str(tmp_path / "starts"), scene)
    with pytest.raises(DeviceError, match=message):
        await list_devices(1.0, command=command)


async def test_a_second_of_input_is_measured_and_trouble_raised(tmp_path: Path) -> None:
    measured = await measure(scripted(tmp_path, "sound"), 0.2)
    assert measured.device == "Scripted"
    assert measured.rms_dbfs == -120.0
    assert measured.seconds >= 0.2
    (tmp_path / "starts").unlink()
    with pytest.raises(DeviceError, match="No such device"):
        await measure(scripted(tmp_path, "refuse"), 0.2)


def test_the_ring_is_bounded_and_says_how_much_it_refused() -> None:
    ring = Ring(8)
    for number in range(6):
        ring.write(bytes(4), 2, float(number), None)
    assert [(block.at, block.lost_frames) for block in ring.take(0.1)] == [(0.0, 0), (1.0, 0)]
    ring.write(bytes(4), 2, 6.0, 5.0)
    assert [(block.at, block.lost_frames) for block in ring.take(0.1)] == [(6.0, 8)]
    assert ring.take(0.01) == []


@pytest.mark.parametrize(("rate_hz", "channels"), [(16_000, 1), (16_000, 2), (44_100, 1), (48_000, 2), (8_000, 1)])
def test_any_rate_and_number_of_channels_becomes_16_khz_mono(rate_hz: int, channels: int) -> None:
    pytest.importorskip("soxr")
    seconds, hz = 1.0, 440.0
    at_rate = memoryview(tone(seconds * rate_hz / 16_000, hz=hz * 16_000 / rate_hz)).cast("h").tolist()
    data = b"".join(sample.to_bytes(2, "little", signed=True) * channels for sample in at_rate)
    convert = Converter(rate_hz, channels)
    block = 2 * channels * 512
    samples = memoryview(b"".join(convert(data[start : start + block]) for start in range(0, len(data), block)))
    mono = samples.cast("h").tolist()
    assert len(mono) == pytest.approx(16_000, abs=1600)  # the resampler holds some back
    crossings = sum(1 for before, after in pairwise(mono) if before < 0 <= after)
    assert crossings == pytest.approx(hz * len(mono) / 16_000, abs=3)
    assert max(mono) == pytest.approx(0.3 * 32767, rel=0.03)
