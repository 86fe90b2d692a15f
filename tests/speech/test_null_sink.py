"""The whole way from a sound server to events: PulseAudio's null sink as the microphone."""

from __future__ import annotations

import asyncio
import json
import signal
import time
import wave
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from agent.runtime.wire.transcription import Transcribe, Transcribed
from agent.speech.events import Device, Final, LiveEvent, Lost
from agent.speech.live import LiveOptions, LiveSession
from agent.speech.microphone import Microphone, list_devices, measure
from agent.speech.pcm import SAMPLE_RATE_HZ
from agent.speech.source import Block, DeviceChange, Heard
from benchmarks.speech.null_sink import NullSink, why_not

from .sounds import LoudIsSpeech, silence, tone
from .test_live import said

LIVE = Path(__file__).resolve().parents[2] / ".." / "shared" / "audio" / "live"

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")]


@pytest.fixture
def sink(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NullSink]:
    with NullSink(tmp_path) as sink:
        for name, value in sink.environment.items():
            monkeypatch.setenv(name, value)
        yield sink


def recording(path: Path, pcm: bytes) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(pcm)
    return path


async def yes(request: Transcribe) -> Transcribed:
    return said(request, "yes")


async def ends_when(source: Microphone, over: Callable[[Heard], bool]) -> AsyncIterator[Heard]:
    async for item in source:
        yield item
        if over(item):
            return


async def test_the_default_device_is_listed_and_measured(sink: NullSink) -> None:
    devices = await list_devices()
    assert [device.name for device in devices if device.default] == ["default"]
    measured = await measure(Microphone("default"), 0.3)
    assert measured.rms_dbfs < -80
    assert measured.lost_samples == 0


async def test_tones_that_are_played_become_segments_at_their_times(sink: NullSink, tmp_path: Path) -> None:
    played = recording(tmp_path / "tones.wav", silence(0.6) + tone(1.0) + silence(1.2) + tone(0.7) + silence(1.0))
    finals: list[Final] = []
    options = LiveOptions(level_interval_s=0)
    async with asyncio.timeout(30), Microphone() as microphone:
        async with LiveSession(microphone, yes, voice=LoudIsSpeech(), options=options) as session:
            async for event in session:
                if isinstance(event, Device) and event.state == "open":
                    player = sink.play(played)
                if isinstance(event, Final):
                    finals.append(event)
                    if len(finals) == 2:
                        session.finish()
        player.wait()
        assert microphone.status.lost_samples == 0
    assert len(finals) == 2
    first, second = finals
    assert first.end_s - first.start_s == pytest.approx(1.9, abs=0.1)  # preroll and postroll with it
    assert second.start_s - first.start_s == pytest.approx(2.2, abs=0.1)
    assert all(final.latency_s < 0.9 for final in finals)


@pytest.mark.skipif(not LIVE.is_dir(), reason="no recordings beside the repository")
@pytest.mark.usefixtures("real_silero")
async def test_spoken_commands_are_found(sink: NullSink, tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    silero = pytest.importorskip("agent.speech.vad").silero
    spoken = [entry for entry in json.loads((LIVE / "track.json").read_text("utf-8")) if "text" in entry][:2]
    samples, _ = soundfile.read(LIVE / "track.flac", dtype="int16")
    played = recording(tmp_path / "track.wav", samples[: 9 * SAMPLE_RATE_HZ].tobytes())
    finals: list[Final] = []
    async with asyncio.timeout(40), Microphone() as microphone:
        async with LiveSession(microphone, yes, voice=silero()) as session:
            async for event in session:
                if isinstance(event, Device) and event.state == "open":
                    player = sink.play(played)
                if isinstance(event, Final):
                    finals.append(event)
                    if len(finals) == len(spoken):
                        session.finish()
        player.wait()
    offset = finals[0].start_s - spoken[0]["start"]
    for final, entry in zip(finals, spoken, strict=True):
        assert final.start_s - offset == pytest.approx(entry["start"], abs=0.3)
        assert final.end_s - offset == pytest.approx(entry["end"] + 0.8, abs=0.4)


async def test_a_sound_server_that_is_killed_and_comes_back(sink: NullSink) -> None:
    events: list[LiveEvent] = []
    back_at = 0.0
    async with asyncio.timeout(30), Microphone() as microphone:
        async with LiveSession(microphone, yes, voice=LoudIsSpeech()) as session:
            async for event in session:
                events.append(event)
                if isinstance(event, Device) and event.state == "open" and not back_at:
                    sink.kill()
                    killed_at = time.monotonic()
                    await asyncio.sleep(0.7)
                    await asyncio.to_thread(sink.start)
                    back_at = time.monotonic()
                elif isinstance(event, Lost):
                    break
        reopened_s, missing_s = time.monotonic() - back_at, time.monotonic() - killed_at
    states = [event.state for event in events if isinstance(event, Device)]
    assert states[:3] == ["opening", "open", "lost"]
    assert states[-1] == "open"
    lost = next(event for event in events if isinstance(event, Lost))
    assert lost.reason == "reopened"
    assert lost.samples / SAMPLE_RATE_HZ == pytest.approx(missing_s, abs=0.7)
    assert reopened_s < 5.0


async def test_a_device_that_is_missing_at_the_start(sink: NullSink) -> None:
    sink.kill()
    changes: list[DeviceChange] = []
    async with asyncio.timeout(30), Microphone("default") as microphone:
        async for item in ends_when(microphone, lambda item: isinstance(item, Block)):
            if isinstance(item, DeviceChange):
                changes.append(item)
                if item.state == "failed" and len(changes) == 2:
                    await asyncio.to_thread(sink.start)
    assert [change.state for change in changes[:2]] == ["opening", "failed"]
    assert "microphone" in changes[1].reason
    assert changes[-1].state == "open"


async def test_another_device_is_never_taken_instead(sink: NullSink) -> None:
    async with asyncio.timeout(20), Microphone("Headset") as microphone:
        async for item in microphone:
            if isinstance(item, DeviceChange) and item.state == "failed":
                break
    assert item.reason == 'There is no microphone named "Headset".'
    assert '"default"' in item.hint


async def test_a_stall_of_three_seconds_is_accounted_for_sample_by_sample(sink: NullSink) -> None:
    """Sound that was held back arrives late; what did not is reported: together they make up the time."""
    first = last = None
    stalled = False
    async with asyncio.timeout(40), Microphone() as microphone:
        async for item in microphone:
            if not isinstance(item, Block):
                continue
            last = item.heard_at
            first = first or last
            if not stalled and last - first > 1.5:
                stalled = True
                sink.signal(signal.SIGSTOP)
                await asyncio.sleep(3.0)
                sink.signal(signal.SIGCONT)
            if last - first > 6.5:
                break
        status = microphone.status
    assert last is not None
    assert first is not None
    accounted_s = (status.samples + status.lost_samples) / SAMPLE_RATE_HZ
    assert accounted_s == pytest.approx(last - first, abs=0.3)
