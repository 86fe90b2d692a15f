"""What somebody wants to listen with, and whether that is what runs already. Pure."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from agent.errors import RequestError
from agent.speech.languages import code_of

_LONGEST_NAME = 200
_DETECTED = "auto"


class MicrophoneInUseError(RequestError):
    """The microphone listens already, with something else than was asked for."""

    status = 409
    code = "microphone_in_use"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """None leaves it open: what runs already will do, else what the settings say.

    `device` is an index, a name or a part of one; without it, it is the system's default. `model` is the name of a
    model that transcribes, `language` a code or a name ("auto": detected, as without one), `prompt` the text before.
    """

    device: str | None = None
    model: str | None = None
    language: str | None = None
    prompt: str | None = None

    def over(self, settings: Wanted) -> Wanted:
        """With the settings' word where this leaves it open."""
        open_ones = {one.name: getattr(settings, one.name) for one in fields(self) if getattr(self, one.name) is None}
        return replace(self, **open_ones)

    def checked(self) -> Wanted:
        """With the language as a code. Raises `RequestError` for a device or a language that cannot be any."""
        device, language = self.device, self.language
        if device is not None and (not device.strip() or not device.isprintable() or len(device) > _LONGEST_NAME):
            raise RequestError(
                f"`device` is {device[:_LONGEST_NAME]!r}; expected an index, a name, or a part of a name.",
                hint="GET /v1/audio/devices lists the microphones.",
                param="device",
            )
        return replace(self, language=None if language is None else code_of(language) or _DETECTED)

    @property
    def language_code(self) -> str | None:
        """The code, after `checked`; None where the model shall find out."""
        return None if self.language == _DETECTED else self.language


def check_same(wanted: Wanted, running: Wanted, *, opened: str | None) -> None:
    """Raises `MicrophoneInUseError` where `wanted` names something else than `running`; models by their real names.

    `opened` is the name of the device that `running.device` was found to be.
    """
    for name in ("device", "model", "language", "prompt"):
        asked, has = getattr(wanted, name), getattr(running, name)
        if name == "language" and has is None:
            has = _DETECTED
        same = [has, opened] if name == "device" else [has]
        if asked is None or _plain(asked) in [_plain(one) for one in same if one is not None]:
            continue
        shown = (opened or has or "default") if name == "device" else has
        raise MicrophoneInUseError(
            f"The microphone is in use with {name} {_quoted(shown)}, not {_quoted(asked)}.",
            hint=f"Listen without `{name}`, or stop it first: POST /v1/audio/live/stop.",
            param=name,
        )


def _plain(value: str) -> str:
    return value.strip().casefold()


def _quoted(value: str | None) -> str:
    if value is None:
        return "(none)"
    return f'"{value}"' if len(value) <= _LONGEST_NAME else f'"{value[:_LONGEST_NAME]}..."'
