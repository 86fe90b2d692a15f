"""What people say to the device: sentences of a closed vocabulary, most of which starter-chat turns into actions.

Two sources. `PATTERNS` are the plain commands, answers and numbers. The others are starter-chat's own requests, those
whose every word is in `WORDS`: a recognizer of this size hears a few hundred words well and thousands badly, and a word
that it was never taught it replaces by one that it was.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from typing import Final

from convert.starter.chat import requests
from convert.starter.chat.numbers import ONES, in_words
from convert.starter.chat.pattern import draw, fill
from convert.starter.chat.split import is_held_out, normal

ROOMS: Final = (
    *("kitchen", "living room", "bedroom", "bathroom", "garage", "hallway", "office", "garden", "basement", "attic"),
    *("nursery", "balcony"),
)
SWITCHES: Final = (
    *("light", "lights", "lamp", "fan", "heater", "radio", "camera", "speaker", "socket", "sprinkler", "humidifier"),
    "television",
)
DOORS: Final = ("front door", "back door", "garage door", "side gate", "cellar door")
COVERS: Final = ("blinds", "curtains", "shutters", "window", "awning")
APPLIANCES: Final = ("washing machine", "dishwasher", "vacuum", "coffee machine", "oven", "dryer", "pump")
ITEMS: Final = (
    *("milk", "bread", "eggs", "butter", "coffee", "apples", "rice", "soap", "batteries", "tomatoes", "cheese"),
    "water",
)
TASKS: Final = (
    *("call the doctor", "feed the cat", "water the plants", "take the medicine", "charge the battery"),
    *("close the valve", "empty the tank", "check the sensor"),
)
SENSORS: Final = (
    *("temperature", "humidity", "pressure", "air quality", "power", "water level", "battery level", "noise level"),
)
COLORS: Final = ("red", "green", "blue", "yellow", "white", "orange", "purple", "pink")

PATTERNS: Final = (
    "(turn|switch) {onoff} the {room} {switch}",
    "(turn|switch) {onoff} the {switch} in the {room}",
    "(please |)turn the {switch} {onoff}",
    "turn everything {onoff}",
    "set the {room} {switch} to {percent} percent",
    "dim the {room} lights to {percent} percent",
    "make the {room} lamp {color}",
    "set the (thermostat|{room}) to {degrees} degrees",
    "what is the {sensor} in the {room}",
    "how high is the {sensor}",
    "read the {sensor} sensor",
    "is the {door} (locked|open)",
    "(lock|unlock) the {door}",
    "(open|close) the {room} {cover}",
    "(open|close) the {cover} in the {room}",
    "(start|stop) the {appliance}",
    "pause the {appliance} for {minutes} minutes",
    "set a timer for {minutes} minutes",
    "(cancel the timer|how long is left on the timer|what time is it)",
    "remind me to {task} at {hour}",
    "wake me at {hour} in the morning",
    "add {item} to the shopping list",
    "remove {item} from the (list|shopping list)",
    "play the radio in the {room}",
    "(turn the volume (up|down)|stop the music)",
    "(good morning|good night|thank you|never mind)",
    "motion detected in the {room}",
    "the {door} is open",
    "the {sensor} is too (high|low)",
    "report the status of the {appliance}",
    "restart the {room} {switch}",
    "(run a self test|update the model now|which devices are offline)",
    "the answer is {count}",
    "{digit} {digit} {digit}( {digit}|)",
    "call {digit} {digit} {digit} {digit} {digit}",
    "is anyone in the {room}",
    "(arm|disarm) the alarm",
)
_QUESTIONS: Final = ("what", "how", "is", "are", "which", "who", "when", "did", "do", "can", "could", "will", "has")
CHAT_SHARE: Final = 0.3
MORE_DIGITS_SHARE: Final = 0.08
"""Of what is taught, beyond those that the language has: each word of them must be heard, for none tells the next."""
_DIGITS: Final = tuple(pattern for pattern in PATTERNS if "{digit}" in pattern)
LONGEST_WORDS: Final = 12
_SLOTS: Final[dict[str, Callable[[random.Random], str]]] = {
    "onoff": lambda rng: rng.choice(("on", "off")),
    "room": lambda rng: rng.choice(ROOMS),
    "switch": lambda rng: rng.choice(SWITCHES),
    "door": lambda rng: rng.choice(DOORS),
    "cover": lambda rng: rng.choice(COVERS),
    "appliance": lambda rng: rng.choice(APPLIANCES),
    "item": lambda rng: rng.choice(ITEMS),
    "task": lambda rng: rng.choice(TASKS),
    "sensor": lambda rng: rng.choice(SENSORS),
    "color": lambda rng: rng.choice(COLORS),
    "percent": lambda rng: in_words(5 * rng.randint(0, 20)),
    "degrees": lambda rng: in_words(rng.randint(5, 30)),
    "minutes": lambda rng: in_words(rng.randint(2, 60)),
    "hour": lambda rng: in_words(rng.randint(1, 12)),
    "count": lambda rng: in_words(rng.randint(0, 100)),
    "digit": lambda rng: rng.choice(ONES[:10]),
}


def _vocabulary() -> frozenset[str]:
    lists = (ROOMS, SWITCHES, DOORS, COVERS, APPLIANCES, ITEMS, TASKS, SENSORS, COLORS)
    text = [*PATTERNS, *(entry for entries in lists for entry in entries), *(in_words(number) for number in range(101))]
    more = "all both every half past quarter hour hours seconds minute second please again up down next song channel"
    more += " mute resume and a an my me i want need would like what's it's too dark bright cold warm here hello bye"
    more += " on off"
    return frozenset(re.findall(r"[a-z']+", " ".join([*(re.sub(r"\{\w+\}", " ", line) for line in text), more])))


WORDS: Final = _vocabulary()


def draw_sentence(rng: random.Random) -> str:
    """Any sentence of the language, held out or not, as it is written: `Turn on the kitchen light.`"""
    if rng.random() < CHAT_SHARE:
        while True:
            text = normal(requests.taught(rng).text)
            if text and len(text.split()) <= LONGEST_WORDS and set(text.split()) <= WORDS:
                return written(text)
    return _filled(PATTERNS, rng)


def _filled(patterns: Sequence[str], rng: random.Random) -> str:
    return written(fill(draw(rng.choice(patterns), rng), lambda slot: _SLOTS[slot](rng)))


def written(text: str) -> str:
    """Words in lower case -> a sentence with its capital and its mark."""
    mark = "?" if text.split()[0] in _QUESTIONS else "."
    return f"{text[0].upper()}{text[1:]}{mark}"


def training_sentence(rng: random.Random, kept_out: frozenset[str] = frozenset()) -> str:
    """One that is not held out: by its hash, as in starter-chat, or because `kept_out` has it (as `split.normal` makes
    it)."""
    while True:
        text = _filled(_DIGITS, rng) if rng.random() < MORE_DIGITS_SHARE else draw_sentence(rng)
        if is_short(text) or not (is_held_out(text) or normal(text) in kept_out):
            return text


def held_out_sentences(count: int, seed: int) -> list[str]:
    """Different ones, which training never says."""
    rng = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        # starter-chat's requests that are held out never come from `taught`: those of the patterns are enough.
        text = _filled(PATTERNS, rng)
        if is_held_out(text) and not is_short(text):
            found[text] = None
    return list(found)


def is_short(text: str) -> bool:
    """Of three words or fewer: there are so few of them that all are taught."""
    return len(text.split()) <= 3
