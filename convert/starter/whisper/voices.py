"""Who speaks: espeak-ng in English accents and voice variants, and the voices of flite and Festival."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final, Literal

ACCENTS: Final = ("en-us", "en", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029")
VARIANTS: Final = (
    *("", "m1", "m2", "m3", "m4", "m5", "m6", "f1", "f2", "f3", "f4", "Alex", "Alicia", "Andy", "Annie", "Gene"),
    *("Michael", "linda", "max", "paul", "quincy", "edward", "klatt", "Adam", "Andrea", "antonio", "aunty", "belinda"),
    *("benjamin", "boris", "caleb", "david", "Denis", "Diogo", "ed", "edward2", "Gene2", "gustave", "Henrique", "Hugo"),
    *("iven", "iven3", "Jacky", "john", "kaukovalta", "marcelo", "Marco", "Mario", "michel", "miguel", "Nguyen"),
    *("pablo", "pedro", "rob", "robert", "robosoft", "robosoft4", "RicishayMax", "sandro", "shelby", "travis"),
    *("victor", "zac", "anika", "norbert", "grandma", "grandpa", "klatt4", "klatt5", "m8", "Storm"),
)
HELD_OUT_VARIANTS: Final = ("m7", "f5", "Lee", "steph", "Mike", "klatt2")
Program = Literal["espeak-ng", "flite", "festival"]
LIFELIKE: Final[tuple[tuple[Program, str], ...]] = (
    *(("flite", "slt"), ("flite", "awb"), ("flite", "kal16")),
    *(("festival", "ked_diphone"), ("festival", "cmu_us_slt_arctic_hts")),
)
"""Made of recordings of people. They are few."""
LIFELIKE_SHARE: Final = 0.55
HELD_OUT_LIFELIKE: Final[tuple[tuple[Program, str], ...]] = (("flite", "rms"),)
HELD_OUT_LIFELIKE_SHARE: Final = 0.38


@dataclass(frozen=True)
class Voice:
    """`rate` is words a minute for espeak-ng, a stretch of time for the others; `pitch` is 0-99, or hertz."""

    program: Program
    name: str
    rate: float
    pitch: float


def draw_voice(rng: random.Random, *, held_out: bool = False) -> Voice:
    """One of those that train, some of them slow or fast, or with `held_out` one that never does."""
    if rng.random() < (HELD_OUT_LIFELIKE_SHARE if held_out else LIFELIKE_SHARE):
        program, name = rng.choice(HELD_OUT_LIFELIKE if held_out else LIFELIKE)
        stretch = rng.uniform(0.8, 1.25) if held_out else rng.uniform(0.7, 1.5)
        return Voice(program, name, stretch, rng.uniform(85, 220))
    variant = rng.choice(HELD_OUT_VARIANTS if held_out else VARIANTS)
    name = rng.choice(ACCENTS) + (f"+{variant}" if variant else "")
    return Voice("espeak-ng", name, rng.uniform(115, 205), rng.uniform(22, 78))
