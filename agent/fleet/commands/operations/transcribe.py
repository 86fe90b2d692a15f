"""`transcribe`: a recording that the command brings along, or the device's own microphone."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from contextlib import aclosing
from typing import Annotated, Any, Literal

from msgspec import Meta

from agent.errors import RequestError
from agent.fleet.commands.device import Device, Recording
from agent.fleet.commands.operation import Args, Operation, Pieces


class TranscribeArgs(Args, kw_only=True):
    """Speech to text. One of `audio` and `microphone`."""

    audio: Annotated[str, Meta(description="A WAV, FLAC, ... file in base64.")] | None = None
    microphone: Annotated[Literal["start", "stop"], Meta(description="Hold it open, or close it.")] | None = None
    model: Annotated[str, Meta(max_length=200)] | None = None
    language: Annotated[str, Meta(max_length=40)] | None = None
    prompt: Annotated[str, Meta(max_length=4000, description="Text that came before: names, spelling.")] = ""
    translate: Annotated[bool, Meta(description="Into English.")] = False

    def check(self) -> None:
        if (self.audio is None) == (self.microphone is None):
            raise RequestError("args: expected one of audio and microphone.", param="args.audio")
        if self.audio is not None:
            self.sound()

    def sound(self) -> bytes:
        try:
            return base64.b64decode(self.audio or "", validate=True)
        except (binascii.Error, ValueError):
            raise RequestError("args.audio: expected base64.", param="args.audio") from None


class TranscribeOperation(Operation[TranscribeArgs]):
    name = "transcribe"
    title = "Transcribes a recording, or starts and stops the microphone."
    repeatable = True
    args = TranscribeArgs

    def __init__(self, device: Device) -> None:
        self._device = device

    async def run(self, args: TranscribeArgs, *, pieces: Pieces) -> Mapping[str, Any]:
        if args.microphone is not None:
            return await self._device.microphone(args.microphone == "start")
        recording = Recording(
            audio=args.sound(),
            model=args.model,
            language=args.language,
            prompt=args.prompt,
            translate=args.translate,
        )
        found: list[Mapping[str, Any]] = []
        async with aclosing(self._device.transcribe(recording)) as source:
            async for piece in source:
                found.append(piece)
                await pieces(piece)
        texts = [str(piece.get("text", "")).strip() for piece in found]
        language = next((piece["language"] for piece in found if piece.get("language")), args.language)
        known = [piece["joules"] for piece in found if "joules" in piece]
        cost = {"joules": round(sum(known), 3)} if found and "joules" in found[-1] else {}
        return {"text": " ".join(filter(None, texts)), "language": language, "segments": found, **cost}
