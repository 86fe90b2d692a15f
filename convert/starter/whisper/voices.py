"""Who speaks: espeak-ng in English accents and voice variants, and the voices of flite. Both are packages of Debian."""

from __future__ import annotations

import random
import shutil
import subprocess
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import soxr

from agent.errors import UnavailableError

RATE_HZ: Final = 16_000
ACCENTS: Final = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029")
VARIANTS: Final = (
    *("", "m1", "m2", "m3", "m4", "m5", "m6", "f1", "f2", "f3", "f4", "Alex", "Alicia", "Andy", "Annie", "Gene"),
    *("Michael", "linda", "max", "paul", "quincy", "edward", "klatt"),
)
MORE_VARIANTS: Final = (
    *("Adam", "Andrea", "antonio", "aunty", "belinda", "benjamin", "boris", "caleb", "david", "Denis", "Diogo", "ed"),
    *("edward2", "Gene2", "gustave", "Henrique", "Hugo", "iven", "iven3", "Jacky", "john", "kaukovalta", "marcelo"),
    *("Marco", "Mario", "michel", "miguel", "Nguyen", "pablo", "pedro", "rob", "robert", "robosoft", "robosoft4"),
    *("RicishayMax", "sandro", "shelby", "travis", "victor", "zac", "anika", "norbert", "grandma", "grandpa"),
    *("klatt4", "klatt5", "m8", "Storm"),
)
HELD_OUT_VARIANTS: Final = ("m7", "f5", "Lee", "steph", "Mike", "klatt2")
FLITE: Final = ("slt", "awb", "kal16")
HELD_OUT_FLITE: Final = ("rms",)
FLITE_SHARE: Final = 0.38
MORE_FLITE_SHARE: Final = 0.6
LOUD: Final = 0.01
"""Of full scale: what is softer at the ends is silence."""
LIMIT_S: Final = 20.0

Samples = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Voice:
    """`rate` is words a minute for espeak-ng, a stretch of time for flite; `pitch` is 0-99, or hertz."""

    program: Literal["espeak-ng", "flite"]
    name: str
    rate: float
    pitch: float

    def command(self, text: str) -> list[str]:
        """A call that writes a WAV to its standard output."""
        if self.program == "flite":
            settings = (f"duration_stretch={self.rate:.2f}", f"int_f0_target_mean={self.pitch:.0f}")
            options = [part for setting in settings for part in ("--setf", setting)]
            return ["flite", "-voice", self.name, "-t", text, "-o", "/dev/stdout", *options]
        return ["espeak-ng", "-v", self.name, "-s", f"{self.rate:.0f}", "-p", f"{self.pitch:.0f}", "--stdout", text]


def draw_voice(rng: random.Random, *, held_out: bool = False, more: bool = False) -> Voice:
    """One of those that train, or with `held_out` one that never does. `more` draws from twice as many voices that
    train, and from slower and faster ones."""
    if rng.random() < (MORE_FLITE_SHARE if more else FLITE_SHARE):
        name = rng.choice(HELD_OUT_FLITE if held_out else FLITE)
        stretch = rng.uniform(0.7, 1.5) if more else rng.uniform(0.8, 1.25)
        return Voice("flite", name, stretch, rng.uniform(85, 220))
    variant = rng.choice(HELD_OUT_VARIANTS if held_out else (*VARIANTS, *MORE_VARIANTS) if more else VARIANTS)
    name = rng.choice(ACCENTS) + (f"+{variant}" if variant else "")
    return Voice("espeak-ng", name, rng.uniform(115, 205), rng.uniform(22, 78))


def check_programs() -> None:
    """Raises `UnavailableError` where a synthesizer is missing."""
    missing = [name for name in ("espeak-ng", "flite") if shutil.which(name) is None]
    if missing:
        raise UnavailableError(
            f"{' and '.join(missing)} cannot be found, which speak the training's sentences.",
            hint=f"sudo apt-get install {' '.join(missing)}",
        )


def in_range(samples: Samples) -> npt.NDArray[np.float32]:
    """In -1..1."""
    return np.divide(samples, 32768, dtype=np.float32)


def speak(text: str, voice: Voice) -> Samples | None:
    """16 kHz, without the silence at both ends, at one loudness for all; None where nothing was said."""
    done = subprocess.run(voice.command(text), capture_output=True, check=True, timeout=60)
    rate_hz, samples = _wav(done.stdout)
    if not len(samples):
        return None
    resampled = soxr.resample(in_range(samples), rate_hz, RATE_HZ)
    loud = np.flatnonzero(np.abs(resampled) > LOUD)
    if not len(loud) or len(resampled) > LIMIT_S * RATE_HZ:
        return None
    kept = resampled[max(0, loud[0] - 160) : loud[-1] + 160]
    result: Samples = (kept / np.abs(kept).max() * 20_000).astype(np.int16)
    return result


def _wav(data: bytes) -> tuple[int, Samples]:
    """Rate in hertz and 16-bit samples. A WAV on a pipe does not say how long it is: it ends where the data ends."""
    start = data.find(b"data")
    if data[:4] != b"RIFF" or start < 0:
        return RATE_HZ, np.empty(0, np.int16)
    body = data[start + 8 :]
    return int.from_bytes(data[24:28], "little"), np.frombuffer(body[: len(body) // 2 * 2], "<i2")
