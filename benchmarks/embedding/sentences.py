"""Made-up sentences of real words: the same ones for every side of a comparison."""

from __future__ import annotations

import math
import random

_TEXT = """
the of and to in is that it was for on are with as his they be at one have this from or had by hot word but what
some we can out other were all there when up use your how said an each she which do their time if will way about
many then them write would like so these her long make thing see him two has look more day could go come did number
sound no most people my over know water than call first who may down side been now find any new work part take get
place made live where after back little only round man year came show every good me give our under name very
through just form sentence great think say help low line differ turn cause much mean before move right boy old too
same tell does set three want air well also play small end put home read hand port large spell add even land here
must big high such follow act why ask men change went light kind off need house picture try us again animal point
mother world near build self earth father router battery garden window kitchen morning signal device memory network
button pressure valve engine answer
"""
_WORDS = _TEXT.split()


def varied(count: int, *, least: int = 5, most: int = 200, seed: int = 1) -> list[str]:
    """Sentences of about `least` to `most` tokens, special ones included; lengths are uniform in their logarithm."""
    chance = random.Random(seed)
    made = []
    for _ in range(count):
        tokens = round(math.exp(chance.uniform(math.log(least), math.log(most))))
        made.append(" ".join(chance.choices(_WORDS, k=max(1, tokens - 2))))
    return made


def short(count: int, *, words: int = 10, seed: int = 2) -> list[str]:
    """Sentences of `words` words, all different."""
    chance = random.Random(seed)
    return [" ".join(chance.choices(_WORDS, k=words)) for _ in range(count)]
