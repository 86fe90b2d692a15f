"""espeak-ng, through its library."""

from __future__ import annotations

import ctypes
import threading
from functools import cache
from typing import Any, Final

import numpy as np

from agent.errors import UnavailableError
from convert.starter.whisper.synthesizers.sound import Sound, phone_name

PROGRAM: Final = "espeak-ng"
_LIBRARY: Final = "libespeak-ng.so.1"
# Of espeak-ng's speak_lib.h.
_SYNCHRONOUS, _PHONEME_EVENTS, _UTF8, _RATE, _PITCH, _PHONEME_EVENT = 2, 1, 1, 1, 3, 7


def say(text: str, voice: str, words_per_minute: float, pitch: float) -> Sound:
    """`pitch` is 0 to 99. Raises `UnavailableError` for a voice that is not installed."""
    return _espeak().say(text, voice, words_per_minute, pitch)


def is_installed() -> bool:
    """Whether the library is there."""
    try:
        ctypes.CDLL(_LIBRARY)
    except OSError:
        return False
    return True


class _Id(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    """`espeak_EVENT`: `audio_ms` from the start of the speech."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_ms", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class _Espeak:
    """The library has one state for a process: one call at a time."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._lock = threading.Lock()
        self._sound: list[bytes] = []
        self._phones: list[tuple[str, float]] = []
        self._heard = _Callback(self._hear)  # the library keeps a pointer to it
        self._rate_hz = int(library.espeak_Initialize(_SYNCHRONOUS, 0, None, _PHONEME_EVENTS))
        library.espeak_SetSynthCallback(self._heard)

    def say(self, text: str, voice: str, words_per_minute: float, pitch: float) -> Sound:
        encoded = text.encode()
        with self._lock:
            self._sound, self._phones = [], []
            if self._rate_hz <= 0 or self._library.espeak_SetVoiceByName(voice.encode()):
                raise UnavailableError(
                    f"espeak-ng has no voice {voice}.", hint="sudo apt-get install espeak-ng espeak-ng-data"
                )
            self._library.espeak_SetParameter(_RATE, round(words_per_minute), 0)
            self._library.espeak_SetParameter(_PITCH, round(pitch), 0)
            self._library.espeak_Synth(encoded, len(encoded) + 1, 0, 0, 0, _UTF8, None, None)
            self._library.espeak_Synchronize()
            return self._rate_hz, np.frombuffer(b"".join(self._sound), "<i2"), self._phones

    def _hear(self, samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            self._sound.append(ctypes.string_at(samples, 2 * count))
        place = 0
        while kind := events[place].type:
            if kind == _PHONEME_EVENT:
                name = events[place].id.string.decode("utf-8", "replace")
                self._phones.append((phone_name(PROGRAM, name), events[place].audio_ms / 1000))
            place += 1
        return 0


@cache
def _espeak() -> _Espeak:
    return _Espeak(ctypes.CDLL(_LIBRARY))
