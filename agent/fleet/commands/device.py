"""What operations need of the process around them, and may not import."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Restarted = Literal["agent", "device"]


@dataclass(frozen=True, kw_only=True)
class Recording:
    """Sound to transcribe: a file's bytes, in any format that the daemon decodes."""

    audio: bytes
    model: str | None = None
    language: str | None = None
    prompt: str = ""
    translate: bool = False


class Device(Protocol):
    """`agent.app` satisfies it. Every method raises `EdgeAgentError` for what does not work."""

    def transcribe(self, recording: Recording) -> AsyncGenerator[Mapping[str, Any], None]:
        """Pieces in order, as they are done: `{"text", "start_s", "end_s", "language", ...}`, ready for JSON."""

    async def microphone(self, on: bool) -> Mapping[str, Any]:
        """Opens it and holds it open, or closes it; its state then."""

    async def diagnose(self) -> Mapping[str, Any]:
        """A report for somebody far away, ready for JSON."""

    async def update_model(self, name: str, version: str | None, policy: Mapping[str, Any]) -> Mapping[str, Any]:
        """Asks for a version, None for the latest, and returns when it is the model's version for good. Raises
        `UpdateError` where it does not come to that."""

    async def withdraw_update(self, name: str, version: str | None, policy: Mapping[str, Any]) -> None:
        """What `update_model` was asked with these arguments is not wanted any more."""

    async def models_changed(self) -> None:
        """The store has another version active than before."""

    async def restart(self, what: Restarted) -> None:
        """Begins it and returns: the process ends soon afterwards."""
