"""Sound to transcribe where there is no recording: something like speech, the same on every board."""

from __future__ import annotations

import array
import io
import math
import random
import sys
import wave
from typing import Final

RATE_HZ: Final = 16_000
_SYLLABLE_S: Final = 0.22
_TABLE: Final = 1024

FORMANTS_HZ: Final = (
    (730, 1090, 2440),
    (270, 2290, 3010),
    (300, 870, 2240),
    (530, 1840, 2480),
    (570, 840, 2410),
)
"""Of the vowels of "hod", "heed", "who'd", "head", "hawed" (men): Peterson and Barney, 1952, table II."""


def babble(seconds: float, seed: int) -> bytes:
    """A WAV file: 16 kHz, one channel, 16 bits. Vowels on a falling voice, in groups with pauses between them: loud
    and quiet as speech is, without a word in it."""
    draw = random.Random(seed)
    sine = [math.sin(2 * math.pi * step / _TABLE) for step in range(_TABLE)]
    samples = array.array("h")
    wanted = round(seconds * RATE_HZ)
    while len(samples) < wanted:
        for place in range(draw.randint(3, 7)):
            samples.extend(_syllable(sine, draw.choice(FORMANTS_HZ), pitch_hz=125 - 6 * place))
        samples.extend([0] * round(draw.uniform(0.15, 0.5) * RATE_HZ))
    del samples[wanted:]
    if sys.byteorder == "big":
        samples.byteswap()
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE_HZ)
        out.writeframes(samples.tobytes())
    return file.getvalue()


def _syllable(sine: list[float], formants_hz: tuple[int, ...], pitch_hz: float) -> array.array[int]:
    """Harmonics of the voice, each as loud as it is near to a formant, swelling and fading."""
    harmonics = []
    for number in range(1, int(3500 / pitch_hz)):
        hz = number * pitch_hz
        loud = sum(1 / (1 + ((hz - formant) / 90) ** 2) for formant in formants_hz)
        if loud > 0.05:
            harmonics.append((hz * _TABLE / RATE_HZ, loud))
    total = sum(loud for _, loud in harmonics)
    count = round(_SYLLABLE_S * RATE_HZ)
    out = array.array("h", bytes(2 * count))
    for at in range(count):
        swell = math.sin(math.pi * at / count)
        value = sum(loud * sine[int(step * at) % _TABLE] for step, loud in harmonics)
        out[at] = int(16_000 * swell * value / total)
    return out


def duration_s(wav: bytes) -> float | None:
    """Of a WAV file; None for any other kind, or a broken one."""
    try:
        with wave.open(io.BytesIO(wav)) as file:
            length_s: float = file.getnframes() / file.getframerate()
            return length_s
    except (wave.Error, EOFError, ZeroDivisionError):
        return None
