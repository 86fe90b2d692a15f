"""The device as commands from the fleet see it, beyond its models: sound, the microphone, a diagnosis, a restart."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import msgspec

from agent.errors import UnavailableError
from agent.fleet.commands.device import Recording, Restarted
from agent.hardware import checks, doctor, report
from agent.hardware.board import Board
from agent.hardware.memory import read_memory
from agent.hardware.profile import Match, Profile
from agent.runtime.queue import Priority
from agent.runtime.service import Runtime
from agent.runtime.wire.transcription import Transcribe
from agent.speech.files import AudioFile, transcribe_pieces
from agent.speech.languages import code_of
from agent.speech.listening import Listening
from agent.speech.transcriber import RuntimeTranscriber
from agent.speech.wanted import Wanted

CLIENT: Final = "mqtt"
"""Who asks, for the fairness of the queue."""
PIECE_DEADLINE_S: Final = 86_400.0
REBOOT: Final = ("systemctl", "reboot")
_REBOOT_S: Final = 30.0

_log = logging.getLogger("agent.device")


class Updates(Protocol):
    """`agent.updates_side.Updates`."""

    async def update(
        self, name: str, version: str | None = None, *, origin: Literal["command"], policy: Mapping[str, Any] | None
    ) -> Mapping[str, Any]: ...

    async def outcome(self, id: int) -> Mapping[str, Any]: ...

    async def withdraw(self, name: str, version: str | None = None, *, policy: Mapping[str, Any] | None) -> None: ...


class Daemon(Protocol):
    """`agent.app.Daemon`."""

    def about(self) -> Mapping[str, Any]:
        """Sections of /status."""

    def find_transcriber(self, model: str | None) -> str:
        """The model's real name. Raises `ModelNotFoundError`, `RequestError`."""

    async def models_changed(self) -> None: ...

    def restart(self) -> None:
        """Shut down, and begin again."""


class LocalDevice:
    """`agent.fleet.commands.device.Device` on this machine."""

    def __init__(
        self,
        daemon: Daemon,
        runtime: Runtime,
        listening: Listening,
        *,
        board: Board,
        match: Match,
        profile: Profile,
        state_dir: Path,
        updates: Updates,
    ) -> None:
        self._daemon = daemon
        self._runtime = runtime
        self._listening = listening
        self._board = board
        self._match = match
        self._profile = profile
        self._state_dir = state_dir
        self._updates = updates

    async def transcribe(self, recording: Recording) -> AsyncGenerator[Mapping[str, Any], None]:
        """Pieces in order, as they are done. Raises `EdgeAgentError`. A piece that was over before a slow meter was
        read has no `joules`; they are in those of a later one."""
        pattern = Transcribe(
            audio=b"",
            language=None if recording.language is None else code_of(recording.language),
            task="translate" if recording.translate else "transcribe",
            prompt=recording.prompt,
            timestamps="segment",
        )
        ask = RuntimeTranscriber(
            self._runtime,
            self._daemon.find_transcriber(recording.model),
            client=CLIENT,
            priority=Priority.NORMAL,
            deadline_s=PIECE_DEADLINE_S,
            billed=True,
        )
        paid = 0.0
        async with AudioFile(recording.audio) as audio, aclosing(transcribe_pieces(audio, pattern, ask)) as pieces:
            async for piece in pieces:
                said, known = piece.transcribed, await ask.joules()
                yield {
                    "text": "".join(segment.text for segment in said.segments).strip(),
                    "start_s": round(piece.start_s, 2),
                    "end_s": round(piece.end_s, 2),
                    "language": said.language,
                    "segments": [
                        {"text": one.text.strip(), "start_s": round(one.start_s, 2), "end_s": round(one.end_s, 2)}
                        for one in said.segments
                    ],
                    **({} if known is None else {"joules": round(max(0.0, known - paid), 3)}),
                }
                paid = paid if known is None else known

    async def microphone(self, on: bool) -> Mapping[str, Any]:
        state = await (self._listening.start(Wanted()) if on else self._listening.stop())
        plain: Mapping[str, Any] = _plain(state)
        return plain

    async def diagnose(self) -> Mapping[str, Any]:
        """What `edge-agent doctor` finds, and what /status says."""
        found = await asyncio.to_thread(self._examine)
        status = {**self._daemon.about(), "runtime": self._runtime.snapshot(), "microphone": self._listening.state}
        return {"doctor": _plain(found), "status": _plain(status)}

    async def update_model(self, name: str, version: str | None, policy: Mapping[str, Any]) -> Mapping[str, Any]:
        asked = await self._updates.update(name, version, origin="command", policy=policy)
        return await self._updates.outcome(asked["id"])

    async def withdraw_update(self, name: str, version: str | None, policy: Mapping[str, Any]) -> None:
        await self._updates.withdraw(name, version, policy=policy)

    async def models_changed(self) -> None:
        await self._daemon.models_changed()

    async def restart(self, what: Restarted) -> None:
        if what == "device":
            await _reboot()
        else:
            self._daemon.restart()

    def _examine(self) -> dict[str, Any]:
        found = doctor.examine(self._board, self._match, self._profile, read_memory(), checks.gather(self._state_dir))
        return report.as_value(found)


async def _reboot() -> None:
    """Asks the service manager, which may not let us. Raises `UnavailableError`."""
    try:
        process = await asyncio.create_subprocess_exec(
            *REBOOT, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(_REBOOT_S):
            _, said = await process.communicate()
    except TimeoutError:
        raise UnavailableError("The system did not answer to `systemctl reboot`.") from None
    except OSError as error:
        raise UnavailableError(f"`systemctl reboot` cannot be run: {error.strerror}.") from None
    if process.returncode:
        text = said.decode(errors="replace").strip()[:300]
        raise UnavailableError(
            f"The system does not reboot for edge-agent: {text}.", hint="docs/mqtt.md says what it must be allowed."
        )
    _log.warning("the device restarts, as it was told over MQTT")


def _plain(value: Any) -> Any:
    """Ready for JSON, as JSON would say it."""
    return msgspec.to_builtins(value, enc_hook=str)
